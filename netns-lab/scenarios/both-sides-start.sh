# shellcheck shell=bash
# A TCP connection needs no second SYN, whichever side opens it; and when both sides start at the same moment, nothing is
# lost and one tunnel is left.
#
# topology: fig1-ted
# needs: esp agent

work=$(state_folder "$lab")

# Gateways that remember nothing of the act before, because they took it with them.
start_gateways() {
    start_agent 104
    start_agent 106
}

stop_gateways() {
    local gateway
    for gateway in 104 106; do stop_agent "$gateway" || fail "$gateway did not stop"; done
    [[ -z $(sas_of 104)$(sas_of 106) ]] || fail "SAs stayed behind"
}

# fetch FROM TO LINK: a page over TCP; counts the SYNs that it took.
fetch() {
    local from=$1 to=$2 link=$3 page syns
    capture "$from" "$link" "$work/syns" 'tcp[tcpflags] & (tcp-syn | tcp-ack) == tcp-syn'
    page=$(on "$from" timeout 10 bash -c "exec 3<>/dev/tcp/$(addresses "$to" inet)/80
        printf 'GET /page HTTP/1.0\r\n\r\n' >&3
        cat <&3") || fail "$from could not fetch a page from $to"
    stop_capture "$from" "$link"
    [[ $page == *"of $to" ]] || fail "$from got: $page"
    syns=$(packets "$work/syns" | wc -l)
    ((syns == 1)) || fail "$from needed $syns SYNs: $(packets "$work/syns")"
}

for host in 102 108; do
    mkdir "$work/www-$host"
    echo "of $host" >"$work/www-$host/page"
    start_process "$host" "httpd-$host" busybox httpd -f -p 80 -h "$work/www-$host"
done
share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16 10.0.0.0/8 106=10.2.0.0/16
configure_gateway 106 10.2.0.0/16 10.0.0.0/8 104=10.1.0.0/16
leave_nothing 104 106

# 104's side opens it, then 106's.
start_gateways
fetch 102 108 to-104
stop_gateways
start_gateways
fetch 108 102 to-106
stop_gateways

one_pair() { [[ $(sas_of 104 | wc -l) == 2 && $(sas_of 104) == "$(sas_of 106)" ]]; }

for round in 1 2; do
    start_gateways
    on 102 ping -c 10 -i 0.1 -W 5 10.2.0.108 >"$work/from-102" &
    from_102=$!
    on 108 ping -c 10 -i 0.1 -W 5 10.1.0.102 >"$work/from-108" || true
    wait "$from_102" || true
    for host in 102 108; do
        answers=$(<"$work/from-$host")
        [[ $(received "$answers") == 10 ]] || fail "round $round, from $host: $answers"
    done
    eventually 15 one_pair || fail "round $round, 104 has $(sas_of 104), 106 has $(sas_of 106)"
    for gateway in 104 106; do
        tunnels=$(ask "$gateway" '[.tunnels[] | select(.state == "up")] | length')
        [[ $tunnels == 1 ]] || fail "round $round, $gateway has $tunnels tunnels"
    done
    stop_gateways
done
