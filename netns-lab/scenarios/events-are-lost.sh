# shellcheck shell=bash
# The kernel has more to tell than the agent's sockets hold, since the agent stands still meanwhile: thousands of packets
# without a tunnel, thousands of policies of others that come and go, and objects of its own that somebody removes. When
# it goes on it notices, puts back what was removed, renews what must not be put back, and protects what comes next.
#
# topology: fig1-ted
# needs: agent

work=$(state_folder "$lab")
flood=3000

share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16,2001:db8:1::/48 10.0.0.0/8,2001:db8:2::/48 106=10.2.0.0/16,2001:db8:2::/48
configure_gateway 106 10.2.0.0/16,2001:db8:2::/48 10.0.0.0/8,2001:db8:1::/48 104=10.1.0.0/16,2001:db8:1::/48
start_agent 104
capture r1 to-104 "$work/wire" -Q in
agent=$(process_of 104)

# answered HOST: three pings from 102, one after the other.
answered() {
    local answers
    answers=$(on 102 ping -c 3 -i 0.1 -W 9 "$1") || true
    [[ $(received "$answers") == 3 ]]
}

with_esp=no
if probe_own_kernel >/dev/null; then
    with_esp=yes
    start_agent 106
    answered 10.2.0.108 || fail "no tunnel: $(agent 104 status)"
    sas=$(sas_of 104)
fi
# What the configuration, and the tunnel, want; not what waits for a while.
own() { policies 104 | grep 'priority \(8\|9\|1[0-5]\)[0-9][0-9][0-9] ' | grep -v '/32\|/128' | sort; }
own_before=$(own)
resident_before=$(resident "$agent")
on 104 ip xfrm policy add src 172.20.0.0/16 dst 172.21.0.0/16 dir out priority 77
foreign() { policies 104 | grep 'priority 77 '; }
foreign_before=$(foreign)

# As if the flood were a hundred times larger: room for a few hundred events, where 8 MiB hold 13,000.
python3 - "$agent" <<'END_OF_PYTHON'
import ctypes, os, socket, sys
GETFD = 438
process = int(sys.argv[1])
handle = os.pidfd_open(process)
shrunk = 0
for descriptor in os.listdir(f"/proc/{process}/fd"):
    if os.readlink(f"/proc/{process}/fd/{descriptor}").startswith("socket:"):
        copy = socket.socket(fileno=ctypes.CDLL(None).syscall(GETFD, handle, int(descriptor), 0))
        if copy.family == socket.AF_NETLINK:
            copy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
            shrunk += 1
assert shrunk >= 4, shrunk
END_OF_PYTHON

echo "--- $flood packets without a tunnel and $flood policies of others while the agent stands still"
kill -STOP "$agent"
on 102 python3 - "$flood" <<'END_OF_PYTHON'
import socket, sys
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in range(int(sys.argv[1])):
    out.sendto(b"P", (f"10.3.{n // 250}.{n % 250 + 1}", 9000))
END_OF_PYTHON
# policies_of_others add|delete
policies_of_others() {
    local n
    for ((n = 0; n < flood; n++)); do
        echo "xfrm policy $1 src 172.16.$((n / 250)).$((n % 250))/32 dst 172.31.0.1/32 dir out"
    done | on 104 ip -batch -
}
policies_of_others add
# Its own, too: those that refuse clear packets, neighbour discovery, and, with a tunnel, its outbound SA.
on 104 ip xfrm policy deleteall src 10.0.0.0/8 dst 10.1.0.0/16 dir fwd
on 104 ip xfrm policy deleteall src ::/0 dst ::/0 proto ipv6-icmp dir in
if [[ $with_esp == yes ]]; then
    spi=$(sed -n 's/^192.0.2.104 > 203.0.113.106 //p' <<<"$sas")
    on 104 ip xfrm state delete dst 203.0.113.106 proto esp spi "$spi"
fi
policies_of_others delete
[[ $(own) != "$own_before" ]] || fail "nothing was removed"
kill -CONT "$agent"

put_back() { [[ $(own | grep -v ' 11[0-9]* ') == "$(grep -v ' 11[0-9]* ' <<<"$own_before")" ]]; }
eventually 15 put_back || fail "not put back: $(diff <(echo "$own_before") <(own))"
[[ $(foreign) == "$foreign_before" ]] || fail "foreign: $foreign_before, now $(foreign)"
eventually 10 grep -q 'WARN.*some are lost' "$(agent_log 104)" || fail "it did not notice: $(tail -n 5 "$(agent_log 104)")"
resident_after=$(resident "$agent")
echo "resident: $resident_before KiB before, $resident_after KiB after"
((resident_after < resident_before + 16384)) || fail "$((resident_after - resident_before)) KiB more"

# What comes next is heard: a trap raises an ACQUIRE for each new destination.
before=$(counter 104 acquires)
on 102 ping -q -c 2 -i 0.2 -W 1 10.4.0.1 >/dev/null && fail "10.4.0.1 answered"
heard() { (($(counter 104 acquires) > before)); }
eventually 10 heard || fail "a new packet was not heard of: $(agent 104 status)"
refused 104 0 || fail "refused: $(refusals 104)"
if [[ $with_esp == yes ]]; then
    # First come, first probed: what is left of the flood has its turn before.
    eventually 60 answered 10.2.0.108 || fail "no tunnel in place of the one that lost an SA: $(agent 104 status)"
    sas_of 104 | has "$spi" && fail "the SA that was removed was put back: $(sas_of 104)"
    eventually 60 answered 2001:db8:2::108 || fail "no new tunnel: $(agent 104 status)"
fi

stop_capture r1 to-104
clear=$(in_the_clear "$work/wire")
[[ -z $clear ]] || fail "in the clear: $clear"
