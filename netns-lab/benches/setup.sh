# shellcheck shell=bash
# How long the first packet of a stream waits at gateway 104 until one leaves as ESP, and how many of the stream are lost:
# with our agent on 104 and 106, and with strongSwan's trap on both. A line a trial:
#
#   SYSTEM RATE WAITED ROUND-TRIPS BEYOND LOST SENT      times in milliseconds
#
# RATE is packets a second. What the kernel holds it lets go at a tick (every 4 ms with HZ=250), while a packet that comes
# when the tunnel is in place leaves at once: so 1000 a second show when the tunnel is there, and 100 when what waited
# leaves. ROUND-TRIPS are requests of 104 that were answered before; BEYOND is WAITED less the time that each of their
# messages took from the one gateway's interface to the other's, as captures on both show, which have one kernel's clock: what
# the gateways make of it, and nothing of what links and routers do. strongSwan is told both ends beforehand, so that it needs no discovery.
#
# scripts/bench-setup makes a table of it.

trials=${TRIALS:-7}
work=$(state_folder "$lab")

negotiation='udp and (port 500 or port 4500)'

# stopwatch NODE FILTER
stopwatch() {
    start_process "$1" "stopwatch-$1" tcpdump -n -s 128 -B 16384 -i any -w "$work/stopwatch-$1" "$2"
    eventually 20 grep -q 'listening on' "$work/stopwatch-$1.log" || fail "tcpdump: $(cat "$work/stopwatch-$1.log")"
}

# recorded NODE: what its stopwatch saw, a line a packet.
recorded() { on "$1" tcpdump -n -tt -r "$work/stopwatch-$1" 2>/dev/null; }

# trial SYSTEM RATE: a stream from 102 to 108, and its line.
trial() {
    local system=$1 rate=$2 sent received
    stopwatch 104 "udp dst port 7777 or esp or ($negotiation)"
    stopwatch 106 "$negotiation"
    start_process 108 sink python3 "$lab_folder/benches/stream.py" receive
    eventually 20 grep -q listening "$work/sink.log" || fail "108 does not listen: $(cat "$work/sink.log")"
    sent=$(on 102 python3 "$lab_folder/benches/stream.py" send 10.2.0.108 "$rate" "$seconds")
    wait_for sink
    # A second after the last packet: tcpdump is handed what has come once a second, and what it has not read it forgets.
    end_process stopwatch-104 INT
    end_process stopwatch-106 INT
    received=$(tail -n 1 "$work/sink.log")
    recorded 104 >"$work/near"
    recorded 106 >"$work/far"
    awk -v name="$system $rate" -v lost=$((sent - received)) -v sent="$sent" '
        # The n-th message that leaves one gateway is the n-th that comes to the other: the links lose nothing.
        FILENAME != near && $1 >= first && / to-r2 +In /  { came[++n] = $1 }
        FILENAME != near && $1 >= first && / to-r2 +Out / { answered[++m] = $1 }
        FILENAME != near                                  { next }
        / to-102 +In .*\.7777:/ && !first                 { first = $1 }
        / to-r1 +Out .* ESP\(/ && first && !released      { released = $1 }
        # What they say to each other afterwards is not waited for.
        !first || done                                    { next }
        / to-r1 +Out .*: (isakmp|NONESP-encap)/           { left[++i] = $1 }
        / to-r1 +In .*: (isakmp|NONESP-encap)/            { back[++j] = $1 }
        / to-r1 +In .* ikev2_auth\[R\]/                   { done = 1 }
        END {
            if (!done || !released || i != j) exit 1
            for (k = 1; k <= i; k++) {
                if (!came[k] || !answered[k] || came[k] < left[k] || back[k] < answered[k]) exit 1
                underway += came[k] - left[k] + back[k] - answered[k]
            }
            waited = released - first
            printf "%s %.2f %d %.2f %d %d\n", name, waited * 1000, i, (waited - underway) * 1000, lost, sent
        }' near="$work/near" "$work/near" "$work/far" || fail "$system: $(grep -v " ESP(" "$work/near")"
}

# The first tunnel of all loads modules.
warm_up() { eventually 30 on 102 ping -q -c 1 -W 1 10.2.0.108 >/dev/null || fail "no tunnel: $(tail -n 20 "$work"/*.log)"; }

wait_for() { eventually 20 ended "$1" || fail "$1 did not end"; }
ended() { ! runs "$1"; }

seconds=$(awk -v delay="${netem[1]:-0ms}" 'BEGIN { printf "%.1f", 0.4 + 12 * delay / 1000 }')

# --- our agent ----------------------------------------------------------------------------------------------------

share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16 10.0.0.0/8 106=10.2.0.0/16
configure_gateway 106 10.2.0.0/16 10.0.0.0/8 104=10.1.0.0/16
leave_nothing 104 106
start_agent 104
start_agent 106

no_tunnel() { [[ -z $(sas_of 104) && -z $(sas_of 106) ]]; }

# Both agents go on running: a peer that the configuration no longer knows is left on both sides.
end_tunnel() {
    local file
    file=$(agent_folder 104)/agent.toml
    sed -i 's/"gw106.example"/"nobody.example"/' "$file"
    agent 104 reload >/dev/null
    eventually 20 no_tunnel || fail "SAs are left: $(sas_of 104) $(sas_of 106)"
    sed -i 's/"nobody.example"/"gw106.example"/' "$file"
    agent 104 reload >/dev/null
}

warm_up
for ((i = 0; i < trials; i++)); do
    end_tunnel
    trial xfrm-agent 100
    end_tunnel
    trial xfrm-agent 1000
done
stop_agent 104
stop_agent 106

# --- strongSwan ---------------------------------------------------------------------------------------------------

# start_charon NODE LOCAL-ADDRESS LOCAL-PREFIX REMOTE-ADDRESS REMOTE-PREFIX
start_charon() {
    local node=$1 folder=$work/charon-$1
    mkdir -p "$folder"
    cat >"$folder/strongswan.conf" <<END
charon-systemd {
  load = random nonce openssl sha2 hmac kdf gcm curve25519 kernel-netlink socket-default vici
  install_routes = no
  plugins {
    vici {
      socket = unix://$folder/vici
    }
  }
}
END
    cat >"$folder/swanctl.conf" <<END
connections {
  peer {
    version = 2
    local_addrs = $2
    remote_addrs = $4
    proposals = aes128gcm16-prfsha256-x25519
    local {
      auth = psk
      id = $2
    }
    remote {
      auth = psk
      id = $4
    }
    children {
      site {
        local_ts = $3
        remote_ts = $5
        esp_proposals = aes128gcm16
        start_action = trap
      }
    }
  }
}
secrets {
  ike-1 {
    secret = $(<"$(agent_folder 104)/104-106.psk")
  }
}
END
    start_process "$node" "charon-$node" env "STRONGSWAN_CONF=$folder/strongswan.conf" /usr/sbin/charon-systemd
    eventually 60 swanctl --load-all --file "$folder/swanctl.conf" --uri "unix://$folder/vici" >/dev/null 2>&1 ||
        fail "strongSwan did not take its configuration: $(cat "$work/charon-$node.log")"
}

end_ike() {
    swanctl --terminate --ike peer --timeout 20 --uri "unix://$work/charon-104/vici" >/dev/null 2>&1 || true
    eventually 20 no_tunnel || fail "SAs are left: $(sas_of 104) $(sas_of 106)"
}

start_charon 104 192.0.2.104 10.1.0.0/16 203.0.113.106 10.2.0.0/16
start_charon 106 203.0.113.106 10.2.0.0/16 192.0.2.104 10.1.0.0/16
warm_up
for hold in 0 1; do
    # As it comes the kernel drops what waits; with larval_drop=0 it holds it, as our agent has it do.
    on 104 sysctl -q net.core.xfrm_larval_drop=$((1 - hold))
    system=strongSwan
    ((hold)) && system=strongSwan-holding
    for ((i = 0; i < trials; i++)); do
        end_ike
        trial "$system" 100
        end_ike
        trial "$system" 1000
    done
done
