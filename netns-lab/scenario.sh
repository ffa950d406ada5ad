# shellcheck shell=bash
# What a scenario can say. `lab run` brings the topology up, sources this file and then the scenario with
# `set -euo pipefail`, so that the first command that fails fails the scenario; the topology is removed in any case.
#
# The head of a scenario says on which topologies `lab test` runs it, once on each, and what it needs:
#
#   # topology: fig1-ted --delay 50ms
#   # needs: esp agent

# --- nodes ------------------------------------------------------------------------------------------------------

# on NODE COMMAND...
on() {
    local node=$1
    shift
    ip netns exec "$(namespace "$node")" "$@"
}

# nodes [KIND]: the names of all nodes, or of the hosts, gateways or routers.
nodes() { awk -v kind="${1:-host|gateway|router}" '$1 ~ "^(" kind ")$" { print $2 }' "$(topology_file "$lab")"; }

# addresses NODE inet|inet6: its global addresses, without prefix length, in the order of the topology file.
addresses() {
    ip -n "$(namespace "$1")" -family "$2" -oneline address show scope global | awk '{ sub("/.*", "", $4); print $4 }'
}

# --- verdicts ---------------------------------------------------------------------------------------------------

fail() {
    say "FAIL: $*"
    exit 1
}

# 77 is what the test runner counts as skipped; the reason is the last line.
skip() {
    echo "$*" >&2
    exit 77
}

# report TEXT...: a figure, which `lab test` shows although nothing failed.
report() { echo "= $*"; }

# received PING_OUTPUT: how many answers there were.
received() { sed -n 's/.* \([0-9]*\) received.*/\1/p' <<<"$1"; }

# quoted TEXT: the first thing between backquotes in it, such as a command that somebody is advised to run.
quoted() {
    local rest=${1#*\`}
    echo "${rest%%\`*}"
}

# eventually SECONDS COMMAND...: repeats it until it succeeds.
eventually() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || return 1
        sleep 0.1
    done
}

# --- streams: traffic that goes on in the background -------------------------------------------------------------

# start_stream NODE ADDRESS [LABEL]: ten pings a second.
start_stream() { start_process "$1" "${3:-stream}" ping -i 0.1 -W 5 "$2"; }

# answered_so_far [LABEL]: how many of them were answered, by more than that there is no way.
answered_so_far() { grep -c 'bytes from' "$(state_folder "$lab")/${1:-stream}.log" || true; }

# flows [LABEL]: whether an answer comes within half a second.
flows() {
    local before
    before=$(answered_so_far "${1:-stream}")
    sleep 0.5
    (($(answered_so_far "${1:-stream}") > before))
}

# end_stream [LABEL]: `SENT LOST GAP`, where GAP is how many pings in a row went unanswered at most.
end_stream() {
    local label=${1:-stream}
    end_process "$label" INT || fail "the pings of $label did not end"
    # Held packets are released queue by queue, so answers need not come in order.
    awk -F 'icmp_seq=| packets transmitted, | received' '
        / packets transmitted/ { sent = $1; answered = $2 }
        /bytes from/ { split($2, number, " "); seen[number[1]] }
        END {
            for (n = 1; n <= sent; n++) { run = n in seen ? 0 : run + 1; if (run > gap) gap = run }
            print sent, sent - answered, gap + 0
        }' "$(state_folder "$lab")/$label.log"
}

# --- captures ---------------------------------------------------------------------------------------------------

# capture NODE INTERFACE FILE [FILTER...]: records in the background; returns when packets are being recorded.
# Outgoing packets are seen after any delay or loss, incoming ones before the kernel has decided anything.
capture() {
    local node=$1 interface=$2 file=$3 label
    shift 3
    label=capture-$node-$interface
    ! runs "$label" || die "$node $interface is being captured already"
    # Each packet takes a slot as long as the longest that is recorded: of these there are thousands in the buffer.
    start_process "$node" "$label" tcpdump -n -U -Z root --immediate-mode -s 2048 -B 8192 -i "$interface" -w "$file" "$@"
    eventually 10 grep -q 'listening on' "$(state_folder "$lab")/$label.log" || {
        cat "$(state_folder "$lab")/$label.log" >&2
        die "tcpdump did not start on $node $interface"
    }
}

# stop_capture NODE INTERFACE: the file is complete when this returns. One that has lost packets proves nothing.
stop_capture() {
    local label=capture-$1-$2 lost
    end_process "$label" INT
    lost=$(sed -n 's/^\([0-9]*\) packets dropped by kernel$/\1/p' "$(state_folder "$lab")/$label.log")
    [[ ${lost:-0} == 0 ]] || fail "the capture of $1 $2 has lost $lost packets"
}

# packets FILE [FILTER...]: the packets of a capture, a line each.
packets() { tcpdump -n -r "$@" 2>/dev/null; }

# A probe: UDP to port 500, exchange 240 at octet 18 of the ISAKMP header. (BPF knows udp[] for IPv4 only.)
is_probe='((udp dst port 500 and udp[26] = 240) or (ip6[6] = 17 and ip6[42:2] = 500 and ip6[66] = 240))'

# What a host says to a probe that no gateway kept from it: port unreachable, about UDP port 500.
is_probe_unreachable='(icmp[0] = 3 and icmp[17] = 17 and icmp[30:2] = 500)'

# in_the_clear FILE: the packets that name a host of a site as sender or receiver, outside ESP. Probes do so by design,
# because they travel as the packet would have that they are sent for; they carry none of its content.
in_the_clear() {
    packets "$1" "(net 10.0.0.0/8 or net 2001:db8:1::/48 or net 2001:db8:2::/48)
        and not $is_probe and not $is_probe_unreachable"
}

# --- agents -----------------------------------------------------------------------------------------------------

# configure NODE <CONFIGURATION: keeps it, with folders of the agent's own, so that several run side by side.
configure() {
    local folder
    folder=$(agent_folder "$1")
    mkdir -p "$folder"
    {
        printf '[agent]\nruntime-dir = "%s/run"\nstate-dir = "%s/state"\n\n' "$folder" "$folder"
        cat
    } >"$folder/agent.toml"
    chmod 600 "$folder/agent.toml"
}

# configure_gateway NODE LOCAL[,...] REMOTE[,...] PEER=PREFIX[,...]...: gwNODE.example with one proxy, on failure `block`,
# which believes each gwPEER.example for its prefixes. The secret of 104 and 106 is 104-106.psk, for both to have by
# share_secret.
configure_gateway() {
    local node=$1 local=$2 remote=$3 pair peer
    shift 3
    {
        printf '[identity]\nid = "gw%s.example"\n\n' "$node"
        printf '[[proxy]]\nname = "site"\nlocal = %s\nremote = %s\n' "$(toml_list "$local")" "$(toml_list "$remote")"
        for pair; do
            peer=${pair%%=*}
            printf '\n[[peer]]\nid = "gw%s.example"\npsk-file = "%s.psk"\nmay-protect = %s\n' "$peer" \
                "$(printf '%s\n' "$node" "$peer" | sort | paste -sd-)" "$(toml_list "${pair#*=}")"
        done
    } | configure "$node"
}

# leave_nothing NODE...: their agents take everything with them when they stop, so that the next start is a first one.
leave_nothing() {
    local node
    for node; do sed -i '1a on-stop = "remove"' "$(agent_folder "$node")/agent.toml"; done
}

toml_list() { echo "[\"${1//,/\", \"}\"]"; }

# share_secret FILE NODE...: the same new pre-shared key, as FILE beside the configuration of each node.
share_secret() {
    local file=$1 node secret
    shift
    secret=$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')
    for node; do
        mkdir -p "$(agent_folder "$node")"
        (umask 077 && printf '%s\n' "$secret" >"$(agent_folder "$node")/$file")
    done
}

agent_folder() { echo "$(state_folder "$lab")/$1"; }
agent_log() { echo "$(state_folder "$lab")/agent-$1.log"; }

# The binary to test: $XFRM_AGENT, or the newest build of this checkout.
agent_binary() {
    if [[ -n ${XFRM_AGENT:-} ]]; then
        realpath "$XFRM_AGENT"
        return
    fi
    local built
    built=$(find "$repository"/target/{release,debug} -maxdepth 1 -name xfrm-agent -printf '%T@ %p\n' 2>/dev/null |
        sort -n | tail -n 1 | cut -d' ' -f2-)
    [[ -n $built ]] || die "xfrm-agent is not built: cargo build, or set XFRM_AGENT"
    echo "$built"
}

# start_agent NODE [CONFIGURATION]: returns when it answers on its control socket.
start_agent() {
    local node=$1 configuration=${2:-$(agent_folder "$1")/agent.toml} binary socket _
    binary=$(agent_binary)
    socket=$(agent_folder "$node")/run/control.sock
    ! runs "agent-$node" || die "an agent runs on $node already"
    mkdir -p "$(agent_folder "$node")/run" "$(agent_folder "$node")/state"
    start_process "$node" "agent-$node" "$binary" run -c "$configuration"
    for _ in {1..300}; do
        runs "agent-$node" || break
        # Asking takes an emulated machine longer than starting.
        if [[ -S $socket ]] && agent "$node" status >/dev/null 2>&1; then return; fi
        sleep 0.05
    done
    tail -n 20 "$(agent_log "$node")" >&2
    die "the agent on $node did not start; its log ends as above"
}

# agent NODE ARGUMENT...: a client command, to the agent on that node.
agent() {
    local node=$1
    shift
    on "$node" "$(agent_binary)" --socket "$(agent_folder "$node")/run/control.sock" "$@"
}

# ask NODE FILTER: what jq makes of `status --json`.
ask() { agent "$1" status --json | jq -r "$2"; }

# refusals NODE: what its agent cannot put into the kernel for now, a line each. refused NODE NUMBER: whether it is so many.
refusals() { ask "$1" '.refusals[] | "\(.attempt): \(.error); \(.advice)"'; }
refused() { [[ $(ask "$1" '.refusals | length') == "$2" ]]; }

# --- the kernel of a gateway --------------------------------------------------------------------------------------

# policies_of NODE: its XFRM policies, a line each.
policies_of() { on "$1" ip xfrm policy | sed ':a; N; $!ba; s/[ \t]*\n[ \t]\+/ /g'; }

# protected NODE out|in|fwd: the selectors of its tunnels, sorted, a line each.
protected() { policies_of "$1" | sed -n "s/ *dir $2 .* proto esp .* mode tunnel.*//p" | sort; }

# sas_of NODE: `SRC > DST SPI` of its SAs, sorted, without those that only stand for a request to negotiate one.
sas_of() {
    on "$1" ip xfrm state list nokeys | awk '
        $1 == "src"                                   { ends = $2 " > " $4 }
        $1 == "proto" && $4 !~ /^0x00000000/          { print ends, substr($4, 1, 10) }' | sort
}

# xfrm_counter NODE NAME: of /proc/net/xfrm_stat.
# shellcheck disable=SC2016 # awk's own words
xfrm_counter() { on "$1" awk -v name="$2" '$1 == name { print $2 }' /proc/net/xfrm_stat; }

# stop_agent NODE [SIGNAL]
stop_agent() { end_process "agent-$1" "${2:-TERM}"; }

# signal_agent NODE SIGNAL: STOP and CONT, say.
signal_agent() {
    kill -"$2" "$(process_of "$1")"
}

# process_of NODE: the process id of its agent. resident PID: what it has in memory, in KiB.
process_of() { cut -d' ' -f2 "$(state_folder "$lab")/agent-$1.pid"; }
resident() { awk '$1 == "VmRSS:" { print $2 }' "/proc/$1/status"; }

# counter NODE NAME: one of those that `status --json` shows.
counter() { agent "$1" status --json | sed -n "s/^ *\"$2\": \([0-9]*\),\{0,1\}$/\1/p"; }

# counts NODE NAME=NUMBER...: fails unless each counter is exactly that.
counts() {
    local node=$1 wanted seen
    shift
    for wanted; do
        seen=$(counter "$node" "${wanted%%=*}")
        [[ $seen == "${wanted#*=}" ]] || fail "$node counts ${wanted%%=*}=$seen, not ${wanted#*=}"
    done
}

# policies NODE: `ip xfrm policy`, one a line, without those of sockets.
policies() { on "$1" ip xfrm policy | sed ':a; N; $!ba; s/\n[ \t]\+/ /g' | { grep -v ' socket ' || true; }; }

# --- strangers: packets, probes and responses with anything in them -----------------------------------------------

# strangers NODE WORD...: see strangers.py.
strangers() {
    local node=$1
    shift
    on "$node" python3 "$lab_folder/strangers.py" "$@"
}

# start_strangers NODE LABEL WORD...: goes on in the background; returns when it is ready.
start_strangers() {
    local node=$1 label=$2
    shift 2
    start_process "$node" "$label" python3 "$lab_folder/strangers.py" "$@"
    eventually 20 grep -q 'listening\|holding' "$(state_folder "$lab")/$label.log" || die "$label did not start on $node"
}
