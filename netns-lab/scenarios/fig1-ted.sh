# shellcheck shell=bash
# FIG. 1 from the first packet: nothing is configured between the gateways, a host pings another, and the first answer
# comes back through ESP. Prints what there is to see; scripts/demo is this.
#
# topology: fig1-ted
# needs: esp agent

trace=${XFRM_AGENT_OUT:-$(state_folder "$lab")}/fig1-ted.pcap

main_act() {
    heading "FIG. 1"
    sed -n '/^#/!q; s/^# \{0,1\}//p' "$(topology_file "$lab")"
    print_addresses
    echo
    echo "Kernel $(uname -r). Agent: $(basename "$(agent_binary)"), $("$(agent_binary)" --version)"

    configure_gateways
    for gateway in 104 106; do
        heading "Configuration of $gateway"
        sed '1,/^$/d' "$(agent_folder "$gateway")/agent.toml"
    done

    capture r1 to-r2 "$trace"
    start_agent 104
    start_agent 106

    heading "Host 102 pings host 108; there is no tunnel yet"
    ping_without_loss 10.2.0.108
    ping_without_loss 2001:db8:2::108
    stop_capture r1 to-r2

    heading "The conversation, captured half-way between 104 and 106"
    packets "$trace" "(ip or ip6) and not $is_neighbour_discovery" | name_exchanges

    heading "The intersection, as the agents see it"
    for gateway in 104 106; do
        echo "--- $gateway"
        agent "$gateway" tunnels
    done

    for gateway in 104 106; do
        heading "ip xfrm policy list nosock on $gateway"
        on "$gateway" ip xfrm policy list nosock
        heading "ip xfrm state on $gateway"
        on "$gateway" ip xfrm state list nokeys
    done

    heading "What held"
    check_conversation
    check_intersection
    stop_agent 104
    stop_agent 106
}

is_neighbour_discovery='(icmp6 and ip6[40] >= 133 and ip6[40] <= 137)'

print_addresses() {
    local node
    for node in $(nodes); do
        printf '%6s  %s\n' "$node" "$(echo "$(addresses "$node" inet)" "$(addresses "$node" inet6)" | tr '\n' ' ')"
    done
}

# Neither names the other's address or prefix as something to protect; only whom to believe, and for what.
configure_gateways() {
    share_secret peer.psk 104 106
    configure 104 <<'END'
[identity]
id = "gw104.example"

[[proxy]]
name = "site-w"
local = ["10.1.0.0/16", "2001:db8:1::/48"]
remote = ["10.0.0.0/8", "2001:db8::/40"]
on-failure = "block"

[[peer]]
id = "gw106.example"
psk-file = "peer.psk"
may-protect = ["10.2.0.0/16", "2001:db8:2::/48"]
END
    configure 106 <<'END'
[identity]
id = "gw106.example"

[[proxy]]
name = "site-x"
local = ["10.2.0.0/16", "2001:db8:2::/48"]
remote = ["10.0.0.0/8", "2001:db8::/40"]
on-failure = "block"

[[peer]]
id = "gw104.example"
psk-file = "peer.psk"
may-protect = ["10.1.0.0/16", "2001:db8:1::/48"]
END
}

ping_without_loss() {
    on 102 ping -c 3 -i 0.1 -W 5 "$1" || fail "pings to $1 were lost"
}

# tcpdump knows the exchanges of IKE, and of discovery only the numbers.
name_exchanges() { sed -e 's/#240$/#240  (probe, IKE_SA_INIT with it)/' -e 's/#241$/#241  (response, with its answer)/'; }

check() {
    local what=$1
    shift
    "$@" || fail "$what"
    echo "ok  $what"
}

seen() { [[ -n $(packets "$trace" "$@") ]]; }

# What the side of 104 says first and second.
# shellcheck disable=SC2317
next_is_auth() {
    local said
    said=$(packets "$trace" "udp port 500 and (src host 10.1.0.102 or src host 192.0.2.104)" | head -n 2)
    [[ $said == *'#240'*'ikev2_auth[I]' ]]
}

# shellcheck disable=SC2317
nothing_in_the_clear() { [[ -z $(in_the_clear "$trace") ]]; }

check_conversation() {
    echo "pings: 0 % loss, IPv4 and IPv6"
    echo "probes: $(packets "$trace" "$is_probe" | wc -l)"
    # The exchange type is octet 18 of the ISAKMP header, behind eight of UDP.
    check "a probe, exchange 240, with the addresses of the ping" \
        seen src host 10.1.0.102 and dst host 10.2.0.108 and udp dst port 500 and 'udp[26] = 240'
    check "a response, exchange 241, from 106 to 104" \
        seen src host 203.0.113.106 and dst host 192.0.2.104 and udp port 500 and 'udp[26] = 241'
    check "IKE_AUTH, exchange 35, next, since IKE_SA_INIT came along with discovery" next_is_auth
    check "ESP from 104 to 106" seen esp and src host 192.0.2.104 and dst host 203.0.113.106
    check "ESP from 106 to 104" seen esp and src host 203.0.113.106 and dst host 192.0.2.104
    check "ESP over IPv6" seen ip6 proto 50
    in_the_clear "$trace"
    check "no packet of the hosts crossed the middle in the clear" nothing_in_the_clear
}

# Exactly the intersection, towards the peer and back.
check_intersection() {
    local sites=(10.1.0.0/16 10.2.0.0/16 2001:db8:1::/48 2001:db8:2::/48)
    check "104 protects ${sites[0]} - ${sites[1]}" has_tunnel 104 "${sites[0]}" "${sites[1]}"
    check "106 protects ${sites[1]} - ${sites[0]}" has_tunnel 106 "${sites[1]}" "${sites[0]}"
    check "104 protects ${sites[2]} - ${sites[3]}" has_tunnel 104 "${sites[2]}" "${sites[3]}"
    check "106 protects ${sites[3]} - ${sites[2]}" has_tunnel 106 "${sites[3]}" "${sites[2]}"
}

# has_tunnel NODE LOCAL REMOTE: an ESP tunnel policy out, and one in and one forward for the way back.
has_tunnel() {
    local node=$1 here=$2 there=$3 policies
    # One policy a line.
    policies=$(on "$node" ip xfrm policy | sed ':a; N; $!ba; s/\n[ \t]\+/ /g')
    grep -q "^src $here dst $there .*dir out .*proto esp .*mode tunnel" <<<"$policies" &&
        grep -q "^src $there dst $here .*dir in .*proto esp .*mode tunnel" <<<"$policies" &&
        grep -q "^src $there dst $here .*dir fwd .*proto esp .*mode tunnel" <<<"$policies"
}

main_act
