# shellcheck shell=bash
# FIG. 14 and 15 by hand, with ipip devices, ESP and no agent: the packet has exactly the headers drawn, on every cable and in
# both directions; outside, nothing of it is in the clear. What shows it are the helpers that the agent is judged with.
#
# topology: mip-fig13-15
# needs: esp

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

care_of=203.0.113.10
move 103 x1

# tunnel NODE NAME LOCAL REMOTE: IP in IP.
tunnel() {
    on "$1" ip link add "$2" type ipip local "$3" remote "$4" 2>/dev/null || skip "this kernel has no ipip"
    on "$1" ip link set "$2" up
}
# The outer system: T on its adapter, reverse tunnel to T_HA and back.
on 103 ip link add mobility0 type dummy
on 103 ip address add "$mobility/32" dev mobility0
on 103 ip link set mobility0 up
tunnel 103 outer "$care_of" "$outer_agent"
tunnel 102o outer "$outer_agent" "$care_of"
on 103 ip route add "$outer_agent" via 203.0.113.1 dev eth0
on 103 ip route add "$gateway" dev outer src "$mobility"
on 102o ip route add "$mobility" dev outer
# The VPN, from T to T_gw, for V.
on 103 ip link add vpn0 type dummy
on 103 ip address add "$vpn_address/32" dev vpn0
on 103 ip link set vpn0 up
aead=('rfc4106(gcm(aes))' 0x0102030405060708090a0b0c0d0e0f1011121314 128)
for node in 103 104; do
    on "$node" ip xfrm state add src "$mobility" dst "$gateway" proto esp spi 0x1001 reqid 1 mode tunnel aead "${aead[@]}"
    on "$node" ip xfrm state add src "$gateway" dst "$mobility" proto esp spi 0x1002 reqid 1 mode tunnel aead "${aead[@]}"
done
out_of() { on "$1" ip xfrm policy add "${@:3}" dir "$2" tmpl src "$from" dst "$to" proto esp reqid 1 mode tunnel; }
from=$mobility to=$gateway
out_of 103 out src "$vpn_address" dst 10.0.0.0/8
out_of 104 fwd src "$vpn_address" dst 10.0.0.0/8
out_of 104 in src "$vpn_address" dst 10.0.0.0/8
from=$gateway to=$mobility
out_of 104 out src 10.0.0.0/8 dst "$vpn_address"
out_of 103 in src 10.0.0.0/8 dst "$vpn_address"
on 103 ip route add "$inner_agent" dev outer src "$vpn_address"
# The inner system: S on its adapter, reverse tunnel from V to S_HA and back.
on 103 ip link add intranet0 type dummy
on 103 ip address add "$intranet/32" dev intranet0
on 103 ip link set intranet0 up
tunnel 103 inner "$vpn_address" "$inner_agent"
tunnel 102i inner "$inner_agent" "$vpn_address"
on 103 ip route add 10.10.0.101 dev inner src "$intranet"
on 102i ip route add "$intranet" dev inner
for node in 103 102i 102o; do on "$node" sysctl -q net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0; done

# On the far end of the cable from the gateway: where a kernel decrypts, a capture has the packet once more, in the clear.
links=(isp:to-x1 isp:to-106 106:to-104 104:to-105 101:to-105)
for link in "${links[@]}"; do capture "${link%:*}" "${link#*:}" "$mobility_trace/${link%:*}-${link#*:}" ip; done
on 103 ping -c 3 -W 5 -I "$intranet" 10.10.0.101 >"$mobility_trace/ping" || fail "no answer: $(cat "$mobility_trace/ping")"
for link in "${links[@]}"; do stop_capture "${link%:*}" "${link#*:}"; done

# shows LINK NESTING...: exactly these.
shows() {
    local seen wanted
    seen=$(headers "$mobility_trace/${1/:/-}" 103)
    wanted=$(printf '%s\n' "${@:2}" | sort -u)
    [[ $seen == "$wanted" ]] || fail "$1 shows $seen, not $wanted"
}
for link in isp:to-x1 isp:to-106; do
    shows "$link" 'X>T_HA (4) T>T_gw (50) V>S_HA (4) S>CN' 'T_HA>X (4) T_gw>T (50) S_HA>V (4) CN>S'
done
shows 106:to-104 'T>T_gw (50) V>S_HA (4) S>CN' 'T_gw>T (50) S_HA>V (4) CN>S'
shows 104:to-105 'V>S_HA (4) S>CN' 'S_HA>V (4) CN>S'
shows 101:to-105 'S>CN' 'CN>S'

clear=$(clear_outside "$mobility_trace/isp-to-x1")
[[ -z $clear ]] || fail "in the clear outside: $clear"
clear=$(clear_outside "$mobility_trace/104-to-105")
[[ -n $clear ]] || fail "clear_outside does not see what is in the clear"
