# shellcheck shell=bash
# The first packet between two hosts waits in a queue of nftables', not in the kernel's hold queue, and goes when its
# tunnel is up. Nothing depends on the queue: of what waits there nothing leaves in the clear when the agent is killed, and
# the traps hold what comes while nobody reads it. What somebody else's policy decides over is left to it.
#
# topology: fig1-ted
# needs: esp agent

trace=$(state_folder "$lab")/trace

# waiting: packets in the queue of 104. held: whether its kernel has announced, and so holds, a packet.
# shellcheck disable=SC2016 # awk's own words
waiting() { on 104 awk '{ n += $3 } END { print n + 0 }' /proc/net/netfilter/nfnetlink_queue; }
waits() { [[ $(waiting) == "$1" ]]; }
held() { on 104 ip xfrm state list nokeys | has 'spi 0x00000000'; }
# A ping that nobody answers, in the background: one packet.
packet_to() { start_process 102 "ping-$1" ping -q -c 1 -W 20 "$1"; }
# first_packets NUMBER: how many were announced to the agent since it was started, none of them by the kernel.
first_packets() {
    counts 104 "first-packets=$1"
    held && fail "the kernel has announced something: $(on 104 ip xfrm state list nokeys)"
    return 0
}
announced() { (($(counter 104 first-packets) >= $1)); }
answered() { on 102 ping -q -c 1 -W 9 "$1" >/dev/null || fail "$1 did not answer: $(agent 104 status)"; }

share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16,2001:db8:1::/48 10.0.0.0/8,2001:db8::/40 106=10.2.0.0/16,2001:db8:2::/48
configure_gateway 106 10.2.0.0/16,2001:db8:2::/48 10.0.0.0/8,2001:db8::/40 104=10.1.0.0/16,2001:db8:1::/48
capture r1 to-104 "$trace" -Q in

# Nobody answers yet.
start_agent 104
packet_to 10.2.0.107
eventually 5 waits 1 || fail "nothing waits: $(on 104 cat /proc/net/netfilter/nfnetlink_queue)"
held && fail "the kernel holds it: $(on 104 ip xfrm state list nokeys)"
packet_to 10.3.0.9
eventually 5 waits 2 || fail "$(waiting) wait, not two"
report "$(waiting) first packets wait in the queue, none in the kernel's"

# Killed: what waited is dropped.
stop_agent 104 KILL || fail "104 was not killed"
for host in 10.2.0.107 10.3.0.9; do end_process "ping-$host" INT || true; done
[[ -z $(on 104 cat /proc/net/netfilter/nfnetlink_queue) ]] || fail "somebody reads the queue"

# The first packet of each of two hosts, over both IP versions: the second of them finds the tunnel.
start_agent 104
start_agent 106
answered 10.2.0.108
first_packets 1
answered 2001:db8:2::108
first_packets 2
on 102 ip addr add 10.1.0.99/16 dev to-104
on 102 ping -q -c 1 -W 9 -I 10.1.0.99 10.2.0.108 >/dev/null || fail "no answer to 10.1.0.99"
first_packets 3
answered 10.2.0.108
first_packets 3
waits 0 || fail "$(waiting) still wait"
# What is known is nobody's change: the table that is looked at again has counted all three.
on 104 nft add element inet xfrm-agent known4 '{ 10.1.0.7 . 10.2.0.7 }'
sleep 1
counts 104 packets-queued=3
report "each first packet was announced once and answered, and none by an ACQUIRE"

# A policy by hand comes before the traps.
probes=$(counter 104 probes-sent)
on 104 ip xfrm policy add src 10.1.0.0/16 dst 10.6.0.0/16 dir out action block
packet_to 10.6.0.1
eventually 5 announced 4 || fail "10.6.0.1 was not announced: $(agent 104 status)"
waits 0 || fail "what somebody else blocks waits"
[[ $(counter 104 probes-sent) == "$probes" ]] || fail "a gateway was looked for in front of 10.6.0.1"
on 104 ip xfrm policy delete src 10.1.0.0/16 dst 10.6.0.0/16 dir out
packet_to 10.7.0.1
eventually 5 waits 1 || fail "nothing waits after the policy by hand has gone: $(agent 104 status)"

# Stopped: the traps have it, and what comes while nobody reads the queue.
stop_agent 104 || fail "104 did not stop"
eventually 3 held || fail "the trap does not hold what waited: $(on 104 ip xfrm state list nokeys)"
on 102 ping -q -c 1 -W 1 10.4.0.1 >/dev/null && fail "10.4.0.1 answered"

stop_capture r1 to-104
clear=$(in_the_clear "$trace")
[[ -z $clear ]] || fail "in the clear: $clear"
