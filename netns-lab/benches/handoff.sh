# shellcheck shell=bash
# What a move costs a numbered UDP stream (1,000 packets a second) and a TCP session ($OCTETS, 10,000,000 octets a second) that
# go on meanwhile: $ROUNDS (10) rounds through two networks inside, two outside, one of them behind a NAT, and the WLAN of FIG. 8, with our
# agent; and through the two outside with strongSwan and MOBIKE. On mip-fig8. A line for each move:
#
#   SYSTEM NETWORK LOST GAP TCP-GAP WAIT NEEDED      milliseconds
#
# A cable is pulled before the next one is plugged in (tens of milliseconds of `ip`, which are in the gaps). WAIT begins when that
# has an address and a gateway, and ends with the first packet behind which none is missing. NEEDED is the time of the round trips
# that a move there cannot do without: one to the home agent, or gateway, that has to hear of it. Each place has been visited once
# before, so that routers need not ask for MACs over a delayed link.
# While a move goes on nobody asks for its outcome, because that would take more of the processor than the move.
#
# Meanwhile captures on the links outside look for what of the inside anybody could read there, which must be nothing.
#
# scripts/bench-handoff makes a table of it.

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

rounds=${ROUNDS:-10}
octets=${OCTETS:-10000000}
delay=${netem[1]:-0ms}
delay=${delay%ms}

# The middle links are between the providers' router and the gateway, and between the offices and the servers.
needed() { case $1 in 109) echo 0 ;; *) echo $((2 * delay)) ;; esac }

# costs SYSTEM: the lines of the streams that have ended.
costs() {
    local network rest
    report_streams | while read -r network rest; do
        echo "$1 $network $rest $(needed "$network")"
    done
}

# Addresses of the inside, in the clear or in a tunnel of IP in IP or of UDP (RFC 3519). What asks whether the laptop is inside may
# have them, and so may, as the outermost, what goes from inside to the outer home agent: registrations, and the warm VPN. The
# kernel looks, so that the moves are not kept waiting.
asking="(host $inner_agent and udp port 434 and (udp[8] = 1 or udp[8] = 3))"
from_inside="(host ${outer_agent:?} and (ip proto 4 or udp port 434 or udp port 500 or udp port 4500 or esp))"
readable="(net 10.0.0.0/8 and not $asking and not $from_inside) or (ip proto 4 and (ip[32] = 10 or ip[36] = 10)) or
    (udp port 434 and udp[8] = 4 and (udp[24] = 10 or udp[28] = 10))"
outside='isp:to-x1 isp:to-home 102o:to-109 109:to-104'

watch_outside() {
    local link
    for link in $outside; do capture "${link%:*}" "${link#*:}" "$mobility_trace/readable-${link/:/-}" "$readable"; done
}

nothing_readable_outside() {
    local link found
    for link in $outside; do
        stop_capture "${link%:*}" "${link#*:}"
        found=$(packets "$mobility_trace/readable-${link/:/-}")
        [[ -z $found ]] || fail "at $link $(wc -l <<<"$found") packets show the inside: $(head -n 5 <<<"$found")"
    done
}

# --- our agent ----------------------------------------------------------------------------------------------------

configure_dual '' '' '' 198.51.100.0/24 to-109
state() { agent 103 mobility; tail -n 30 "$(agent_log 103)"; refusals 103; }
on_wlan() { at 103 "outside, with a VPN adapter" && mobile 103 '.addresses[] | select(.name == "T") | .way' | has '^native over eth0'; }
arrived() {
    case $1 in
    105*) dwells 103 inside "$1" ;;
    109) on_wlan ;;
    *) dwells 103 "outside, with a VPN adapter" "$1" ;;
    esac
}
visit() {
    move 103 "$1"
    # An adapter that loses its carrier more than four times in ten seconds is left alone for a while.
    sleep 2.5
    eventually 30 arrived "$1" || fail "not in $1: $(state)"
}
round() { for network in 105b x1 x2 109 105a; do visit "$network"; done; }

move 103 105a
eventually 15 arrived 105a || fail "not inside: $(state)"
round
watch_outside
start_streams 101 103 "$intranet" 1000 "$octets"
sleep 1
for ((i = 0; i < rounds; i++)); do round; done
end_streams
costs xfrm-agent
nothing_readable_outside
for node in 103 104 102i 102o; do stop_agent "$node"; done
leave_nothing 103 104 102i 102o
for node in 103 104 102i 102o; do start_agent "$node" && stop_agent "$node"; done

# --- strongSwan ---------------------------------------------------------------------------------------------------

# start_charon NODE CONNECTION...: with the words of its connection in swanctl.conf.
start_charon() {
    local node=$1 folder=$mobility_trace/charon-$1
    mkdir -p "$folder"
    cat >"$folder/strongswan.conf" <<END
charon-systemd {
  load = random nonce openssl sha2 hmac kdf gcm curve25519 kernel-netlink socket-default vici updown
  filelog {
    log {
      path = $folder/log
      default = 1
      flush_line = yes
    }
  }
  plugins {
    vici {
      socket = unix://$folder/vici
    }
  }
}
END
    {
        printf 'connections {\n  peer {\n    version = 2\n    mobike = yes\n    proposals = aes128gcm16-prfsha256-x25519\n'
        printf '    %s\n' "${@:2}"
        printf '  }\n}\npools {\n  clients {\n    addrs = %s\n  }\n}\nsecrets {\n  ike-1 {\n    secret = %s\n  }\n}\n' \
            "$vpn_address" "$(<"$(agent_folder 104)/vpn.psk")"
    } >"$folder/swanctl.conf"
    start_process "$node" "charon-$node" env "STRONGSWAN_CONF=$folder/strongswan.conf" /usr/sbin/charon-systemd
    eventually 60 swanctl --load-all --file "$folder/swanctl.conf" --uri "unix://$folder/vici" >/dev/null 2>&1 ||
        fail "strongSwan did not take its configuration: $(cat "$folder/log")"
}
ends='local { auth = psk
      id = %s
    }
    remote { auth = psk
      id = %s
    }'
# shellcheck disable=SC2059 # it is a format
start_charon 104 "local_addrs = $gateway" "pools = clients" "$(printf "$ends" gateway laptop)" \
    "children { site { local_ts = 10.10.0.0/16
      esp_proposals = aes128gcm16 } }"
unplug 103
plug 103 x1
# shellcheck disable=SC2059 # it is a format
start_charon 103 "remote_addrs = $gateway" "vips = 0.0.0.0" "$(printf "$ends" laptop gateway)" \
    "children { site { remote_ts = 10.10.0.0/16
      esp_proposals = aes128gcm16 } }"
swanctl --initiate --child site --timeout 20 --uri "unix://$mobility_trace/charon-103/vici" >/dev/null ||
    fail "strongSwan: $(tail -n 20 "$mobility_trace"/charon-*/log)"
start_streams 101 103 "$vpn_address" 1000 "$octets"
sleep 1
for ((i = 0; i < rounds; i++)); do
    for network in x2 x1; do
        move 103 "$network"
        # It has no better word for having arrived than that packets do.
        sleep 2.5
    done
done
end_streams
costs strongSwan
