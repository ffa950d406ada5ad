# shellcheck shell=bash
# Two gateways whose proxies agree only in part: the kernels of both get exactly the part that they agree on, for every
# direction, and what lies outside meets the failure action. The configuration is changed under running agents.
#
# topology: fig1-ted
# needs: esp agent

work=$(state_folder "$lab")

# set_proxy NODE PEER LINE...: the proxy of a gateway, line by line, besides `on-failure`.
on_failure=block
set_proxy() {
    local node=$1 peer=$2
    shift 2
    {
        printf '[identity]\nid = "gw%s.example"\n\n[discovery]\ntimeout = "2s"\n\n' "$node"
        printf '[[proxy]]\nname = "site"\non-failure = "%s"\n' "$on_failure"
        printf '%s\n' "$@"
        printf '\n[[peer]]\nid = "gw%s.example"\npsk-file = "104-106.psk"\nmay-protect = ["10.0.0.0/8"]\n' "$peer"
    } | configure "$node"
}

# act NAME: the changed configurations take effect, and nothing of the act before is left.
act() {
    heading "$1"
    local gateway
    for gateway in 104 106; do
        agent "$gateway" reload >"$work/reloaded" || fail "$(<"$work/reloaded")"
    done
    eventually 10 nothing_protected || fail "still there: $(protected 104 out) $(protected 106 out)"
}

nothing_protected() { [[ -z $(protected 104 out)$(protected 106 out) ]]; }

# expect_tunnels OUT BACK: the selectors at 104 and, reversed, at 106.
expect_tunnels() {
    # What was in flight when the configuration changed is still taken for a while.
    eventually 12 both_have "$1" "$2" || fail "104: $(protected 104 out), $(protected 104 in), $(protected 104 fwd)" \
        "106: $(protected 106 out), $(protected 106 in), $(protected 106 fwd)"
    echo "$1"
}

both_have() {
    [[ $(protected 104 out) == "$1" && $(protected 106 out) == "$2" ]] &&
        [[ $(protected 104 in) == "$2" && $(protected 106 in) == "$1" ]] &&
        [[ $(protected 104 fwd) == "$2" && $(protected 106 fwd) == "$1" ]]
}

# ping_from SOURCE: 0 % loss, from host 102.
ping_from() {
    local answers
    answers=$(on 102 ping -c 3 -i 0.1 -W 5 -I "$1" 10.2.0.108) || true
    [[ $(received "$answers") == 3 ]] || fail "$answers"
}

# Whether host 108 answers a connection to this port.
connects() { on 102 timeout 8 bash -c "exec 3<>/dev/tcp/10.2.0.108/$1" 2>/dev/null; }

# blocked_ping SOURCE: no answer; and once that is settled, 104 drops and counts each packet.
blocked_ping() {
    local before
    ! on 102 ping -q -c 1 -W 4 -I "$1" 10.2.0.108 >/dev/null || fail "a ping from $1 was answered"
    eventually 5 settled || fail "no failure: $(agent 104 status)"
    before=$(xfrm_counter 104 XfrmOutPolBlock)
    ! on 102 ping -q -c 5 -i 0.1 -W 1 -I "$1" 10.2.0.108 >/dev/null || fail "a ping from $1 was answered"
    (($(xfrm_counter 104 XfrmOutPolBlock) - before == 5)) ||
        fail "of 5 packets, $(($(xfrm_counter 104 XfrmOutPolBlock) - before)) were counted as blocked"
    [[ $(ask 104 '.failures[0].action') == block ]] || fail "$(agent 104 status)"
}

settled() { (($(ask 104 '.failures | length') > 0)); }

on 102 ip address add 10.1.2.102/16 dev to-104
on 102 ip address add 10.1.5.102/16 dev to-104
for port in 80 81; do start_process 108 "httpd-$port" busybox httpd -f -p "$port" -h /; done
share_secret 104-106.psk 104 106
west='local = "10.1.0.0/16"' east='local = "10.2.0.0/16"'
set_proxy 104 106 "$west" 'remote = "10.0.0.0/8"'
set_proxy 106 104 "$east" 'remote = "10.0.0.0/8"'
start_agent 104
start_agent 106
capture r1 to-r2 "$work/middle"

heading "local inside remote"
ping_from 10.1.0.102
expect_tunnels "src 10.1.0.0/16 dst 10.2.0.0/16" "src 10.2.0.0/16 dst 10.1.0.0/16"

set_proxy 104 106 "$west" 'remote = "10.2.0.0/24"'
set_proxy 106 104 "$east" 'remote = "10.1.0.0/24"'
act "addresses nested, one each way"
ping_from 10.1.0.102
expect_tunnels "src 10.1.0.0/24 dst 10.2.0.0/24" "src 10.2.0.0/24 dst 10.1.0.0/24"
blocked_ping 10.1.5.102

set_proxy 104 106 "$west" 'remote = "10.2.0.0/16"'
set_proxy 106 104 "$east" 'remote = "10.1.0.0/16"' 'protocol = "tcp"'
act "one side only TCP"
connects 80 || fail "no connection"
expect_tunnels "src 10.1.0.0/16 dst 10.2.0.0/16 proto tcp" "src 10.2.0.0/16 dst 10.1.0.0/16 proto tcp"
blocked_ping 10.1.0.102

set_proxy 104 106 "$west" 'remote = "10.2.0.0/16"' 'protocol = "tcp"'
set_proxy 106 104 "$east" 'remote = "10.1.0.0/16"' 'protocol = "tcp"' 'local-port = 80'
act "TCP, and one side only its port 80"
connects 80 || fail "no connection"
expect_tunnels "src 10.1.0.0/16 dst 10.2.0.0/16 proto tcp dport 80" \
    "src 10.2.0.0/16 dst 10.1.0.0/16 proto tcp sport 80"
! connects 81 || fail "port 81 was reached"

# 10.1.0.0/24 and 10.1.2.0/24.
set_proxy 104 106 'local = "10.1.0.0 255.255.253.0"' 'remote = "10.2.0.0/16"'
set_proxy 106 104 "$east" 'remote = "10.1.0.0/16"'
act "a mask with a hole"
ping_from 10.1.0.102
expect_tunnels $'src 10.1.0.0/24 dst 10.2.0.0/16\nsrc 10.1.2.0/24 dst 10.2.0.0/16' \
    $'src 10.2.0.0/16 dst 10.1.0.0/24\nsrc 10.2.0.0/16 dst 10.1.2.0/24'
ping_from 10.1.2.102
stop_capture r1 to-r2
clear=$(in_the_clear "$work/middle")
[[ -z $clear ]] || fail "in the clear: $clear"

# 10.1.5.102 is none of 104's business now, so it passes there; 106 expects it protected, refuses it and counts that.
before=$(xfrm_counter 106 XfrmInPolBlock)
! on 102 ping -q -c 5 -i 0.1 -W 1 -I 10.1.5.102 10.2.0.108 >/dev/null || fail "106 let a clear packet in"
(($(xfrm_counter 106 XfrmInPolBlock) - before == 5)) ||
    fail "106 counted $(($(xfrm_counter 106 XfrmInPolBlock) - before)) of 5 clear packets"

# With `clear`, what the other side does not protect passes, but not before that is known; and what was once protected
# does not, until an administrator says so.
on_failure=clear
set_proxy 104 106 "$west" 'remote = "10.2.0.0/16"'
set_proxy 106 104 "$east" 'remote = "10.1.0.0/16"' 'protocol = "tcp"'
act "on failure: clear"
blocked_ping 10.1.0.102
agent 104 forget --all
sent=$(date +%s%N)
answers=$(on 102 ping -c 3 -i 0.1 -W 8 10.2.0.108) || true
[[ $(received "$answers") == 3 ]] || fail "$answers"
held=$((($(date +%s%N) - sent) / 1000000))
((held >= 2000)) || fail "in the clear after $held ms, before discovery could have failed"
[[ $(ask 104 '.failures[0].action') == clear ]] || fail "$(agent 104 status)"
connects 80 || fail "no connection"
expect_tunnels "src 10.1.0.0/16 dst 10.2.0.0/16 proto tcp" "src 10.2.0.0/16 dst 10.1.0.0/16 proto tcp"
