# shellcheck shell=bash
# The VPN between the systems is other software's: commands make an interface (GRE in ESP, keyed by hand) that holds V. S follows it,
# outside and back inside, where the VPN goes down, also when the agent was killed outside, and out again where there is no IPv4. A command
# that hangs is killed with what it has started, and told once; while there is no VPN, nothing of S leaves.
#
# topology: mip-fig13-15
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

command=$(agent_folder 103)/vpn
key=0x$(printf 'ab%.0s' {1..20})

# keyed LOCAL REMOTE OUT IN: GRE between the two goes in ESP, with these SPIs.
keyed=$(
    cat <<END
keyed() {
    ip xfrm state add src "\$1" dst "\$2" proto esp spi "\$3" mode transport aead 'rfc4106(gcm(aes))' $key 128
    ip xfrm state add src "\$2" dst "\$1" proto esp spi "\$4" mode transport aead 'rfc4106(gcm(aes))' $key 128
    ip xfrm policy add src "\$1" dst "\$2" proto gre dir out priority 5 tmpl src "\$1" dst "\$2" proto esp mode transport
    ip xfrm policy add src "\$2" dst "\$1" proto gre dir in priority 5 tmpl src "\$2" dst "\$1" proto esp mode transport
}
# tunnelled LOCAL REMOTE OUT IN FROM TO: what goes between the last two is in ESP over IPv6.
tunnelled() {
    ip xfrm state add src "\$1" dst "\$2" proto esp spi "\$3" mode tunnel flag af-unspec aead 'rfc4106(gcm(aes))' $key 128
    ip xfrm state add src "\$2" dst "\$1" proto esp spi "\$4" mode tunnel flag af-unspec aead 'rfc4106(gcm(aes))' $key 128
    ip xfrm policy add src "\$5" dst "\$6" dir out priority 5 tmpl src "\$1" dst "\$2" proto esp mode tunnel
    for dir in in fwd; do
        ip xfrm policy add src "\$6" dst "\$5" dir "\$dir" priority 5 tmpl src "\$2" dst "\$1" proto esp mode tunnel
    done
}
END
)

install -d -m 700 "$(agent_folder 103)"
cat >"$command" <<END
#!/bin/bash
$keyed
env | sort >"$mobility_trace/environment-\$XFRM_AGENT_ACTION"
down() {
    ip link del tun0
    ip xfrm policy del src "\$XFRM_AGENT_LOCAL" dst "\$XFRM_AGENT_GATEWAY" proto gre dir out
    ip xfrm policy del src "\$XFRM_AGENT_GATEWAY" dst "\$XFRM_AGENT_LOCAL" proto gre dir in
    ip xfrm state deleteall src "\$XFRM_AGENT_LOCAL" dst "\$XFRM_AGENT_GATEWAY"
    ip xfrm state deleteall src "\$XFRM_AGENT_GATEWAY" dst "\$XFRM_AGENT_LOCAL"
    ip xfrm policy del src $vpn_address dst 10.10.0.0/16 dir out
    for dir in in fwd; do ip xfrm policy del src 10.10.0.0/16 dst $vpn_address dir "\$dir"; done
} 2>/dev/null
down
[[ \$XFRM_AGENT_ACTION == up ]] || exit 0
if [[ -e $mobility_trace/hangs ]]; then
    sleep 4747 &
    wait
fi
if [[ -e $mobility_trace/fails ]]; then
    echo "nobody answers" >&2
    exit 7
fi
set -e
if [[ \$XFRM_AGENT_LOCAL == *:* ]]; then
    tunnelled "\$XFRM_AGENT_LOCAL" "\$XFRM_AGENT_GATEWAY" 0x2001 0x2002 $vpn_address 10.10.0.0/16
    ip link add tun0 mtu 1400 type dummy
    ip addr add $vpn_address/32 dev tun0
    ip link set tun0 up
    exit
fi
keyed "\$XFRM_AGENT_LOCAL" "\$XFRM_AGENT_GATEWAY" 0x1001 0x1002
ip link add tun0 mtu 1400 type gre local "\$XFRM_AGENT_LOCAL" remote "\$XFRM_AGENT_GATEWAY" ttl 64
ip addr add $vpn_address/32 dev tun0
ip link set tun0 up
END
chmod 700 "$command"

# The gateway's end.
on 104 bash -ec "$keyed
keyed $gateway $mobility 0x1002 0x1001
ip link add tun0 mtu 1400 type gre local $gateway remote $mobility ttl 64
ip link set tun0 up
ip route add $vpn_address/32 dev tun0
sysctl -q net.ipv4.conf.tun0.rp_filter=0" || fail "no GRE at the gateway"

offer_ipv6
configure_dual_client '' 'vpn-warm = false' <<END
[[vpn]]
name = "enterprise"
gateway = ["$gateway", "$gateway6"]
up = ["$command", "with an argument; not a shell"]
down = ["$command"]
command-patience = "2s"
interface = "tun0"
END
start_dual_agents
start_agent 103

state() { agent 103 mobility; agent 103 vpn show; tail -n 30 "$(agent_log 103)"; refusals 103; on 103 ip route show table all; }
capture isp to-x1 "$mobility_trace/x1.pcap" ip

# outside: there, and S reaches the correspondent.
outside() {
    local answers
    eventually 20 dwells 103 "outside, with a VPN adapter" x1 || fail "not outside: $(state)"
    answers=$(on 103 ping -c 5 -i 0.1 -W 5 "$correspondent") || true
    [[ $(received "$answers") == 5 ]] || fail "$answers $(state)"
}
move 103 x1
outside
for line in "XFRM_AGENT_LOCAL=$mobility" "XFRM_AGENT_GATEWAY=$gateway" XFRM_AGENT_ADAPTER=eth0 XFRM_AGENT_VPN=enterprise; do
    grep -qx "$line" "$mobility_trace/environment-up" || fail "not told $line: $(cat "$mobility_trace/environment-up")"
done
! grep -q '^HOME=\|^SHELL=' "$mobility_trace/environment-up" || fail "not clean: $(cat "$mobility_trace/environment-up")"
on 103 ip route show table 7381 | has '^default dev tun0' || fail "V leads elsewhere: $(on 103 ip route show table 7381)"
seen=$(headers "$mobility_trace/x1.pcap" 103)
for nesting in 'X>T_HA (4) T>T_gw (50) V>S_HA (4) S>CN' 'T_HA>X (4) T_gw>T (50) S_HA>V (4) CN>S'; do
    [[ $seen == *"$nesting"* ]] || fail "no $nesting: $seen"
done

# told KIND: how often the log has it.
told() { grep -c "$1" "$(agent_log 103)" || true; }
is_blocked() { at 103 blocked && [[ $(on 103 ip route show table 7380) == unreachable* ]]; }
failed() { (($(told vpn-failed) > $1)); }

# The VPN is lost, and the command hangs: twice at least.
touch "$mobility_trace/hangs"
before=$(told vpn-failed)
on 103 ip link del tun0
eventually 10 is_blocked || fail "S is not blocked without the interface: $(state)"
start_stream 103 "$correspondent"
eventually 10 failed "$before" || fail "the command hangs, and nobody says so: $(state)"
sleep 6
(($(told vpn-failed) == before + 1)) || fail "told $(told vpn-failed) times: $(state)"
grep -q "took more than 2s and was killed" "$(agent_log 103)" || fail "no reason: $(state)"
# What it had started died with it; one may run now.
(($(pgrep -c -f '^sleep 4747$') <= 1)) || fail "they are left: $(pgrep -a -f 'sleep 4747')"

# It fails, with a reason.
rm "$mobility_trace/hangs"
touch "$mobility_trace/fails"
eventually 20 grep -q 'ended with status 7: nobody answers' "$(agent_log 103)" || fail "no reason: $(state)"
rm "$mobility_trace/fails"
end_process stream INT || true
eventually 20 at 103 "outside, with a VPN adapter" || fail "not outside again: $(state)"
outside

# Inside it goes down, since nothing is kept warm.
move 103 105a
eventually 15 dwells 103 inside 105a || fail "not inside: $(state)"
gone() { ! on 103 ip link show tun0 >/dev/null 2>&1; }
eventually 10 gone || fail "the VPN stays up: $(state)"
grep -qx XFRM_AGENT_ACTION=down "$mobility_trace/environment-down" || fail "$(cat "$mobility_trace/environment-down")"

# Killed outside, and started inside, where nobody has brought up what stands.
move 103 x1
outside
stop_agent 103 KILL || true
move 103 105a
! gone || fail "the VPN went with the agent"
start_agent 103
eventually 15 dwells 103 inside 105a || fail "not inside after the restart: $(state)"
eventually 10 gone || fail "what an earlier run has left stays up: $(state)"

# Where there is no IPv4, the command is told what there is, and S goes through what it makes of that.
on 104 bash -ec "$keyed
ip route del $vpn_address/32 dev tun0
tunnelled $gateway6 $own6 0x2002 0x2001 10.10.0.0/16 $vpn_address"
capture isp to-x2 "$mobility_trace/x2.pcap" ip or ip6
move_without_ipv4 103
over_ipv6() { at 103 "outside, with a VPN adapter" && [[ $(ask 103 .vpn.local) == "$own6" ]]; }
eventually 15 over_ipv6 || fail "not over IPv6: $(state)"
answers=$(on 103 ping -c 25 -i 0.05 -W 5 "$correspondent") || true
[[ $(received "$answers") == 25 ]] || fail "over IPv6: $answers $(state)"
for line in "XFRM_AGENT_LOCAL=$own6" "XFRM_AGENT_GATEWAY=$gateway6" XFRM_AGENT_ADAPTER=eth0; do
    grep -qx "$line" "$mobility_trace/environment-up" || fail "not told $line: $(cat "$mobility_trace/environment-up")"
done

nothing_clear x1 x2
only_vpn_in_ipv6 "$mobility_trace/x2.pcap"
