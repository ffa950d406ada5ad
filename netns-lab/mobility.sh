# shellcheck shell=bash
# What the scenarios of mobility share: who is who, moves, streams that go on meanwhile, and what captures show. Sourced by
# a scenario on one of the topologies mip-*. `plug`, `unplug`, `lease` and `networks_of` are in topology.sh.

mobility_trace=$(state_folder "${lab:?}")

# --- who is who --------------------------------------------------------------------------------------------------

# shellcheck disable=SC2034 # for scenarios
{
    intranet=10.20.0.5     # S
    vpn_address=10.30.0.5  # V
    mobility=198.51.100.5  # T
    correspondent=10.10.0.101
    gateway=192.0.2.1      # T_gw
    inner_agent=10.10.0.2  # S_HA
    outer_agent=192.0.2.2  # T_HA
    case $lab in
    mip-fig1 | mip-agents) inner_agent='' ;;
    mip-fig2) outer_agent='' ;;
    mip-fig3) inner_agent=10.10.0.1 outer_agent=192.0.2.1 ;;
    mip-fig4) outer_agent=192.0.2.8 ;;
    mip-fig8) outer_agent=198.51.100.2 ;;
    esac
}

# The letters of FIG. 13 in what `headers` prints.
declare -A letters=([$intranet]=S [$vpn_address]=V [$mobility]=T [$correspondent]=CN [$gateway]=T_gw)
[[ -z $inner_agent ]] || letters[$inner_agent]=S_HA
[[ -z $outer_agent || -n ${letters[$outer_agent]:-} ]] || letters[$outer_agent]=T_HA

# --- moves -------------------------------------------------------------------------------------------------------

# move NODE NETWORK [CARD]: the cable is pulled, and put into another network. The time when it was pulled goes to the file
# of moves, which `report_streams` reads.
move() {
    echo "$(date +%s.%N) $2" >>"$mobility_trace/moves"
    unplug "$1" "${3:-$(first_card "$1")}"
    plug "$@"
}

# offer_ipv6: the provider has IPv6 in x2, and leads from there to the gateway.
gateway6=2001:db8:106::1
own6=2001:db8:72::10
offer_ipv6() {
    on isp sysctl -q net.ipv6.conf.all.forwarding=1
    on isp ip address add 2001:db8:72::1/64 dev to-x2 nodad
    on isp ip address add 2001:db8:106::254/64 dev to-106 nodad
    on 104 ip address add "$gateway6/64" dev to-106 nodad
    on 104 ip route add 2001:db8:72::/64 via 2001:db8:106::254
}

# move_without_ipv4 NODE: to x2, which gives it nothing but IPv6.
move_without_ipv4() {
    echo "$(date +%s.%N) ipv6" >>"$mobility_trace/moves"
    unplug "$1" "$(first_card "$1")"
    plug_with "$1" x2 "$own6/64" 2001:db8:72::1
}

# only_vpn_in_ipv6 FILE: of IPv6, a capture shows the VPN and what finds neighbours, and of the inside nothing.
only_vpn_in_ipv6() {
    local other esp
    other=$(tshark -n -r "$1" -Y 'ipv6 && !icmpv6 && !esp && !isakmp' 2>/dev/null)
    [[ -z $other ]] || fail "beside the VPN: $other"
    esp=$(tshark -n -r "$1" -Y "esp && ipv6.src == $own6 && ipv6.dst == $gateway6" 2>/dev/null | wc -l)
    ((esp > 20)) || fail "$esp packets of ESP over IPv6"
}

# --- radios ------------------------------------------------------------------------------------------------------

# simulated_radios: their folders in /sys, a line each. User-mode Linux of scripts/uml-kernel has them, others after
# `modprobe mac80211_hwsim`.
simulated_radios() { find /sys/devices -path '*mac80211_hwsim/*/ieee80211/*' -name 'phy*' 2>/dev/null | sort; }

# find_radios: two of them and who uses them, or the scenario is skipped; sets radios.
find_radios() {
    local program
    for program in hostapd iw wpa_supplicant; do
        command -v "$program" >/dev/null || skip "no $program (scripts/test installs it)"
    done
    mapfile -t radios < <(simulated_radios)
    ((${#radios[@]} >= 2)) || skip "no simulated radios (mac80211_hwsim)"
}

# give_radio RADIO NODE NAME: with its interface, which gets that name. It comes back when the namespace goes.
give_radio() {
    local interface
    interface=$(basename "$1"/device/net/*)
    ip link set "$interface" down
    ip link set "$interface" name "$3"
    iw phy "$(basename "$1")" set netns name "$(namespace "$2")"
}

# --- streams that go on meanwhile --------------------------------------------------------------------------------

# start_streams FROM TO ADDRESS [RATE] [OCTETS]: numbered UDP packets from FROM to ADDRESS of TO, RATE (1,000) a second, and a
# TCP session that TO begins from that address and in which FROM sends OCTETS (10,000,000) a second.
start_streams() {
    local from=$1 to=$2 address=$3 rate=${4:-1000} octets=${5:-10000000} moving=$lab_folder/moving.py server
    server=$(addresses "$from" inet | head -n 1)
    rm -f "$mobility_trace/moves"
    # When a network that it has moved to can be used; at once, and not when others have done what they make of it.
    start_process "$to" streams-routes chrt --fifo 1 ip -4 -ts -o monitor route
    start_process "$to" streams-numbers python3 "$moving" receive 5004 "$mobility_trace/numbers"
    start_process "$from" streams-serve python3 "$moving" serve 5005 "$octets"
    eventually 40 streams_say numbers listening && eventually 40 streams_say serve listening || fail "the streams do not listen"
    start_process "$to" streams-take python3 "$moving" take "$server" 5005 "$mobility_trace/taken" "$address"
    start_process "$from" streams-send python3 "$moving" send "$address" 5004 "$rate"
    eventually 40 streams_say take connected || fail "no TCP session: $(cat "$mobility_trace/streams-take.log")"
}
streams_say() { grep -q "$2" "$mobility_trace/streams-$1.log"; }

# end_streams: fails if the TCP session broke. Then `report_streams` has, for each `move` since the start, a line
# `NETWORK LOST GAP TCP-GAP WAIT`, in milliseconds, as moving.py reports.
end_streams() {
    end_process streams-send INT || fail "the UDP stream did not end"
    sleep 1
    end_process streams-numbers INT || fail "the UDP receiver did not end"
    end_process streams-take INT || true
    end_process streams-serve INT || true
    end_process streams-routes TERM || true
    streams_say take '^octets [1-9]' || fail "TCP: $(cat "$mobility_trace/streams-take.log" "$mobility_trace/streams-serve.log")"
}
report_streams() {
    python3 "$lab_folder/moving.py" report "$mobility_trace/moves" "$mobility_trace/streams-send.log" \
        "$mobility_trace/numbers" "$mobility_trace/taken" "$mobility_trace/streams-routes.log"
}

# report_moves: that, beside the result of the scenario.
report_moves() {
    local moves
    moves=$(report_streams)
    report "network lost gap tcp-gap wait: ${moves//$'\n'/; }"
}

# start_streams_back RATE: numbered UDP packets from 103 to 101 as well, as S.
start_streams_back() {
    start_process 101 back-numbers python3 "$lab_folder/moving.py" receive 5006 "$mobility_trace/back"
    eventually 40 grep -q listening "$mobility_trace/back-numbers.log" || fail "nobody listens"
    start_process 103 back-send python3 "$lab_folder/moving.py" send "$correspondent" 5006 "$1" "$intranet"
}

# none_lost: all of them end, and none of either way was lost in a move.
none_lost() {
    local there back lost
    end_process back-send INT || fail "the UDP stream from 103 did not end"
    end_streams
    end_process back-numbers INT || fail "the UDP receiver of 101 did not end"
    there=$(report_streams)
    back=$(python3 "$lab_folder/moving.py" report "$mobility_trace/moves" "$mobility_trace/back-send.log" "$mobility_trace/back")
    report "to S, network lost gap tcp-gap wait: ${there//$'\n'/; }"
    report "from S, network lost gap: ${back//$'\n'/; }"
    lost=$(awk '{ lost += $2 } END { print lost + 0 }' <<<"$there"$'\n'"$back")
    ((lost == 0)) || fail "$lost packets are lost: $(state)"
}

# wrapped AGENT KIND: its bindings have tunnels of that kind, as it names it.
wrapped() { agent "$1" bindings --json | jq -r '.[].encapsulation' | has -x "$2"; }

# fits OCTETS: packets of 103 so long go through to the correspondent whole, one octet more is answered by who is nearest.
fits() {
    local answers
    answers=$(on 103 ping -c 2 -i 0.2 -W 5 -M 'do' -s $(($1 - 28)) "$correspondent") || fail "$1 octets: $answers $(state)"
    ! answers=$(on 103 ping -c 1 -W 2 -M 'do' -s $(($1 - 27)) "$correspondent" 2>&1) || fail "more than $1 octets: $answers"
    has "mtu[ =:]*$1" <<<"$answers" || fail "nobody says how much fits: $answers"
}

# --- what captures show ------------------------------------------------------------------------------------------

# clear_outside FILE [ALLOWED]: the packets of a capture on an access link that carry S, V or an address of the inside where
# anybody can read it, at whatever depth, a line each. ALLOWED is a display filter of tshark for what a figure lets through.
# Capture at the far end of the link: where a kernel decrypts, a capture has the packet once more, in the clear.
# Encrypted contents match nothing, as they are not decoded; the octets of S are looked for wherever nothing is encrypted, so
# that an encapsulation which tshark does not know hides nothing.
clear_outside() {
    local filter="ip.addr == 10.0.0.0/8 || (frame contains 0a:14:00:05 && !esp && !(ip.proto == 50))"
    [[ -z ${2:-} ]] || filter="($filter) && !($2)"
    tshark -n -r "$1" -Y "$filter" 2>/dev/null
}

# What a proof of being inside may show (RFC 5265 §3.2.1): a registration in the clear to the inner home agent.
# shellcheck disable=SC2034
registration_probe="(mip.type == 1 || mip.type == 3) && ip.addr == $inner_agent"

# nothing_clear NETWORK...: the captures of the provider's links there end, with nothing of the inside in the clear but proofs.
nothing_clear() {
    local network clear
    for network; do
        stop_capture isp "to-$network"
        clear=$(clear_outside "$mobility_trace/$network.pcap" "$registration_probe")
        [[ -z $clear ]] || fail "in the clear in $network: $clear"
    done
}

# t_over_each NETWORK...: the captures of these links of providers, as `NODE to-NETWORK`, end. Nothing of the inside is in the clear
# there but proofs, and T goes to the gateway in the outer tunnel.
t_over_each() {
    local network file clear seen
    for network; do
        # shellcheck disable=SC2086 # a node and its interface
        stop_capture $network
        file=$mobility_trace/${network#*to-}.pcap
        clear=$(clear_outside "$file" "$registration_probe")
        [[ -z $clear ]] || fail "in the clear in $network: $clear"
        # The keys of the VPNs before have gone; what is outside of them has not.
        seen=$(headers "$file")
        [[ $seen == *'X>T_HA (4) T>T_gw (50)'* || $seen == *'X>T_HA (17 4) T>T_gw (50)'* ]] || fail "$network shows $seen"
    done
}

# headers FILE [NODE...]: how the packets of a capture nest, as `X>T_HA (4) T>T_gw (50) V>S_HA (4) S>CN`, each nesting once,
# sorted: addresses by their letters, and in brackets the protocol of what follows; behind UDP, `(17 4)` and `(17 50)`. With
# NODEs, ESP is decrypted with the keys that their kernels have now. Registrations and whatever is no IPv4 are left out.
headers() {
    local file=$1 letter names='' keys=()
    shift
    for letter in "${!letters[@]}"; do names+="$letter=${letters[$letter]} "; done
    mapfile -t keys < <(esp_keys "$@")
    tshark -n -r "$file" "${keys[@]}" -o esp.enable_null_encryption_decode_heuristic:TRUE -Y 'ip && !(mip.type == 1 || mip.type == 3) && !isakmp' \
        -T fields -E separator=/t -e frame.protocols -e ip.src -e ip.dst -e ip.proto 2>/dev/null |
        awk -F '\t' -v names="$names" '
            BEGIN { n = split(names, list, " "); for (i = 1; i <= n; i++) { split(list[i], pair, "="); letter[pair[1]] = pair[2] } }
            function named(address) { return address in letter ? letter[address] : address ~ /^(203\.0\.113|192\.168)\./ ? "X" : address }
            {
                depth = split($2, from, ","); split($3, to, ","); split($4, protocol, ","); layers = split($1, layer, ":")
                # What an ICMP error quotes is no nesting of this packet.
                for (i = at = 0; i++ < layers && layer[i] != "icmp";) {
                    if (layer[i] != "ip") continue
                    at++
                    nesting = at == 1 ? "" : nesting (protocol[at - 1] == 17 ? " (17 " (before == "esp" ? 50 : 4) ") " : " (" protocol[at - 1] ") ")
                    nesting = nesting named(from[at]) ">" named(to[at])
                    for (j = i + 1; j <= layers && layer[j] != "ip"; j++) if (layer[j] == "esp") before = "esp"; else if (layer[j] == "mip") before = "mip"
                }
                if (at == 0) next
                # Encrypted: its protocol stands without what follows.
                if (protocol[at] == 50 || before == "esp" && layer[layers] == "esp") nesting = nesting " (50)"
                before = ""
                print nesting
            }' | sort -u
}

# esp_keys NODE...: options of tshark, a word a line, for the SAs that the kernels of these nodes have: AES-GCM, AES-CBC with
# HMAC-SHA-256, and NULL.
esp_keys() {
    local node
    (($#)) || return 0
    printf '%s\n' -o esp.enable_encryption_decode:TRUE
    for node; do
        on "$node" ip xfrm state | awk '
            $1 == "src"       { row() ; src = $2; dst = $4 }
            $1 == "proto"     { spi = $4 }
            $1 == "aead"      { cipher = "AES-GCM with 16 octet ICV [RFC4106]"; key = $3; hash = "NULL"; secret = "" }
            $1 == "enc"       { cipher = $2 ~ /aes/ ? "AES-CBC [RFC3602]" : "NULL"; key = $2 ~ /aes/ ? $3 : "" }
            $1 ~ /^auth/      { hash = $2 ~ /256/ ? "HMAC-SHA-256-128 [RFC4868]" : "HMAC-SHA-1-96 [RFC2404]"; secret = $3 }
            function row() {
                if (spi && cipher) printf "-o\nuat:esp_sa:\"IPv4\",\"%s\",\"%s\",\"%s\",\"%s\",\"%s\",\"%s\",\"%s\"\n", src, dst, spi, cipher, key, hash, secret
                spi = cipher = ""
            }
            END { row() }'
    done
}

# --- home agents that share no code with ours --------------------------------------------------------------------

# start_scapy_agent NODE ADDRESS KEY-FILE WORD...: tests/mobile_ip/home_agent.py with a data path of the kernel. Its lines are
# in scapy-ADDRESS.log.
start_scapy_agent() {
    local node=$1 address=$2 key=$3 log=scapy-$2
    shift 3
    # It may have run before.
    on "$node" ip link show tunnels >/dev/null 2>&1 || on "$node" ip link add tunnels mtu 1480 type ipip external 2>/dev/null ||
        skip "this kernel has no ipip"
    on "$node" ip link show wrapped >/dev/null 2>&1 || on "$node" ip link add wrapped mtu 1476 type gre external 2>/dev/null ||
        skip "this kernel has no gre"
    on "$node" ip link set tunnels up
    on "$node" ip link set wrapped up
    on "$node" sysctl -q net.ipv4.conf.tunnels.rp_filter=2 net.ipv4.conf.wrapped.rp_filter=2
    # Its key as octets: what the agent takes from such a file is the text itself.
    # shellcheck disable=SC2016 # for the shell that it starts
    start_process "$node" "$log" bash -c 'set -o pipefail; "$1" "${@:4}" | "$2" "$3" tunnels wrapped' _ \
        "${repository:?}/tests/mobile_ip/home_agent.py" "$lab_folder/bindings.py" "$address" \
        "$address" --key "$(tr -d '\n' <"$key" | od -An -v -tx1 | tr -d ' \n')" "$@"
    eventually 60 grep -q listening "$mobility_trace/$log.log" || fail "no home agent: $(cat "$mobility_trace/$log.log")"
}

# dissect CAPTURE[,...] LINES...: fails unless tshark has every message as the peers whose LINES these are.
dissect() {
    local table
    table=$("${repository:?}/tests/mobile_ip/dissection.py" "$@") || fail "tshark and the peers do not agree: $table"
    report "tshark agrees: $(awk '{ printf "%s%s %s ×%s", (NR > 1 ? ", " : ""), $2, $3, $1 }' <<<"$table")"
}

# mobile_node HOME: its line in a configuration. HOME may be a NAI, whose home agent gives it an address.
mobile_node() { if [[ $1 == *@* ]]; then echo "nai = \"$1\""; else echo "home = \"$1\""; fi; }

# start_own_agent NODE ADDRESS HOME-NETWORK HOME KEY-FILE [TRUSTED[,...] [LINK]]: our own, for one mobile node, which may be a NAI and
# is given an address of $pool then; LINK is that of a physical home network. With $encapsulation, packets may be wrapped so; with
# $networks, these move with it.
start_own_agent() {
    {
        printf '[identity]\nid = "%s.example"\n\n[home-agent]\naddress = "%s"\nhome-network = "%s"\n' "$1" "$2" "$3"
        [[ -z ${encapsulation:-} ]] || printf 'encapsulations = "%s"\n' "$encapsulation"
        [[ -z ${6:-} ]] || printf 'trusted-networks = %s\n' "$(toml_list "$6")"
        [[ -z ${7:-} ]] || printf 'link = "%s"\n' "$7"
        [[ $4 != *@* ]] || printf 'pool = "%s"\n' "${pool:?}"
        printf '\n[[mobile-node]]\n%s\nspi = 256\nalgorithm = "hmac-sha256"\nkey-file = "%s"\n' "$(mobile_node "$4")" "$5"
        [[ -z ${networks:-} ]] || printf 'networks = "%s"\n' "$networks"
    } | configure "$1"
    start_agent "$1"
}

# vpn_gateway ID PSK-FILE POOL ADDRESS: the configuration of a gateway that gives ADDRESS of POOL to 103.
vpn_gateway() {
    cat <<END
[identity]
id = "$1"

[[peer]]
id = "laptop.example"
psk-file = "$2"
may-protect = "nothing"

[vpn-gateway]
pool = "$3"
subnets = "10.10.0.0/16"

[[vpn-client]]
peer = "laptop.example"
addresses = "$4"
END
}

# own_vpn NAME PEER PSK-FILE GATEWAY[,GATEWAY]: the configuration of a VPN of our own; what follows it belongs to [[vpn]].
own_vpn() {
    cat <<END
[[peer]]
id = "$2"
psk-file = "$3"
may-protect = "10.10.0.0/16"

[[vpn]]
name = "$1"
peer = "$2"
gateway = $(toml_list "$4")
subnets = "10.10.0.0/16"
END
}

# configure_dual: 103 as a dual client whose VPN is our own, to the gateway 104, with home agents of ours on 102i and 102o. S has its
# home in the network $1 behind the interface $3 of 102i, or nowhere; $2 are the networks inside; T has its home in the network $4
# behind the interface $5 of 102o, or nowhere.
configure_dual() {
    share_secret vpn.psk 103 104
    own_vpn enterprise gw.example vpn.psk "$gateway,$gateway6" | configure_dual_client "${1:-}" '' "${4:-}"
    vpn_gateway gw.example vpn.psk 10.30.0.0/24 "$vpn_address" | configure 104
    start_dual_agents "${2:-}" "${3:-}" "${5:-}"
    start_agent 104
    start_agent 103
}

# configure_dual_client: 103 as a dual client with the VPN `enterprise` that standard input has, S in the network $1 or nowhere, the
# lines $2 in [mobility], and T in the network $3 or nowhere. With $encapsulation, both systems ask for that. With $outer_name, that is
# who is given T.
configure_dual_client() {
    local network='' outer_network='' wrapped=''
    [[ -z ${encapsulation:-} ]] || wrapped="encapsulation = \"$encapsulation\""
    [[ -z ${1:-} ]] || network="home-network = \"$1\""
    [[ -z ${3:-} ]] || outer_network="home-network = \"$3\""
    # The home agents go on with theirs.
    if [[ ! -e $(agent_folder 103)/inner.key ]]; then
        share_secret inner.key 103 102i
        share_secret outer.key 103 102o
    fi
    {
        printf '[identity]\nid = "laptop.example"\n\n'
        cat
        cat <<END

[mobility]
home = "$intranet"
home-agent = "$inner_agent"
spi = 256
algorithm = "hmac-sha256"
key-file = "inner.key"
destinations = "10.0.0.0/8"
inside-ranges = "10.0.0.0/8"
$wrapped
$network
${2:-}

[[mobility-site]]
name = "enterprise"
$(mobile_node "${outer_name:-$mobility}")
home-agent = "$outer_agent"
spi = 256
algorithm = "hmac-sha256"
key-file = "outer.key"
vpn = "enterprise"
$wrapped
$outer_network
END
    } | configure 103
}

# start_dual_agents [NETWORKS [LINK [OUTER-LINK]]]: the home agents 102i, for which NETWORKS are inside, and 102o, with physical home
# networks on these links.
start_dual_agents() {
    start_own_agent 102i "$inner_agent" 10.20.0.0/24 "$intranet" inner.key \
        "${1:-10.11.0.0/24,10.12.0.0/24},10.30.0.0/24" "${2:-}"
    start_own_agent 102o "$outer_agent" 198.51.100.0/24 "${outer_name:-$mobility}" outer.key '' "${3:-}"
}

# mobile NODE FILTER: what jq makes of `mobility --json`. at NODE PLACE: whether it is there.
mobile() { agent "$1" mobility --json | jq -r "$2"; }
at() { [[ $(mobile "$1" .place) == "$2" ]]; }

# dwells NODE PLACE NETWORK: that place, with the care-of address of that network.
dwells() {
    local address
    read -r address _ < <(lease "$1" "$3")
    at "$1" "$2" && mobile "$1" '.registrations[] | select(.state == "registered") | .care_of' | has -xF "${address%/*}"
}

# came NETWORK PLACE: 103 moved there, and what goes on meanwhile has gone on. The scenario's `state` says why not.
came() {
    move 103 "$1"
    eventually 15 dwells 103 "$2" "$1" || fail "$1: $(state)"
    sleep 1.5
}
