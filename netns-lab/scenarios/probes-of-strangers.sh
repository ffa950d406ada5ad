# shellcheck shell=bash
# What a gateway does with probes that nobody honest sends: each is refused or counted, none makes it send more than it
# received, and none of it reaches the hosts behind.
#
# topology: fig1-ted
# needs: agent

trace=$(state_folder "$lab")/trace
behind=$(state_folder "$lab")/behind

answered_once() { [[ -n $(packets "$trace" udp and src host 203.0.113.106 and dst host 198.51.100.1) ]]; }
counted() { (($(counter "$1" "$2") >= $3)); }
all_seen() { (($(counter 106 probes-answered) + $(counter 106 probes-limited) >= $1)); }
octets() { echo $(($(packets "$1" -e "$2" | sed -n 's/.*ethertype [^,]*, length \([0-9]*\):.*/\1/p' | paste -sd+))); }

share_secret 104-106.psk 104 106
configure_gateway 106 10.2.0.0/16 10.0.0.0/8 104=10.1.0.0/16
start_agent 106
capture r2 to-106 "$trace"
capture 108 to-106 "$behind"

# An honest one first: the answer goes to where the ID says.
strangers r1 probe 10.1.0.102 10.2.0.108 --id 198.51.100.1
eventually 10 answered_once || fail "an honest probe was not answered"

# Answers to nobody: multicast, loopback, the gateway itself, a host behind it.
for id in 224.0.0.1 127.0.0.1 255.255.255.255 203.0.113.106 10.2.0.108 10.2.0.106; do
    strangers r1 probe 10.1.0.102 10.2.0.108 --id "$id"
done
# Another packet described than the one that the probe travels as.
strangers r1 probe 10.1.0.102 10.2.0.108 --id 198.51.100.1 --spoil summary
eventually 10 counted 106 probes-refused 7 || counts 106 probes-refused=7

# Cut short, and longer than a probe can be.
strangers r1 probe 10.1.0.102 10.2.0.108 --id 198.51.100.1 --spoil truncated
strangers r1 probe 10.1.0.102 10.2.0.108 --id 198.51.100.1 --spoil padded
strangers r1 probe 10.1.0.102 10.2.0.108 --id 198.51.100.1 --spoil oversized
eventually 10 counted 106 probes-malformed 3 || counts 106 probes-malformed=3

counts 106 probes-answered=1 probes-refused=7 probes-malformed=3 probes-limited=0

# Somebody else's address as ID: it gets a few small datagrams, and no more for more probes.
strangers r1 probe 10.1.0.102 10.2.0.108 --id 198.51.100.77 --count 300 --every 0.005
eventually 10 all_seen 300 || fail "300 probes: $(counter 106 probes-answered) answered, $(counter 106 probes-limited) not"
answered=$(packets "$trace" udp and dst host 198.51.100.77 | wc -l)
limited=$(counter 106 probes-limited)
echo "300 probes in another's name: $answered answers, $limited refused"
# 40 at once and 20 a second; the emulated machine may take several seconds to send 300.
((answered >= 40 && answered <= 40 + 20 * 10)) || fail "$answered answers to somebody who did not ask"
sent=$(octets "$trace" "udp and dst host 198.51.100.77")
received=$(octets "$trace" "udp and src host 10.1.0.102")
echo "$received octets of probes, $sent octets of answers"
((sent * 5 < received)) || fail "answers of $sent octets for probes of $received"

stop_capture 108 to-106
through=$(packets "$behind" udp)
[[ -z $through ]] || fail "probes reached the host: $through"
