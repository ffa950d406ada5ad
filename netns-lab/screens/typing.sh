# shellcheck shell=bash
# How a scenario types into the terminal interface and keeps what it shows. Sourced by the scenarios of scripts/screens,
# after presence.sh.

screens=${XFRM_AGENT_OUT:?names the folder for the screens}

# The names of the figures: John, or Bob, is asked by somebody they do not name.
# the_peer_is ENTITY USER: the machine `bob`.
# shellcheck disable=SC2034,SC2154 # both arrays are of presence.sh
the_peer_is() {
    entity[alice]=me@example.com
    entity[bob]=$1 user[bob]=$2
}

# rules_for_udp: the rows of the figures name udp. What else is sent gets what unknown presence gets.
rules_for_udp() {
    local node
    for node in alice bob; do
        sed -i '/^\[\[rule]]/,$ s/^action = /transport = "udp"\n&/' "$(agent_folder "$node")/agent.toml"
    done
}

terminal() { LC_ALL=C.UTF-8 tmux -u -S "$(state_folder "${lab:?}")/tmux" -f /dev/null "$@"; }

# open_tui NODE: on a terminal of 80 columns and 24 lines.
open_tui() {
    terminal new-session -d -x 80 -y 24 env TZ=UTC ip netns exec "$(namespace "$1")" \
        "$(agent_binary)" --socket "$(agent_folder "$1")/run/control.sock" tui
    shows 'DATA BASE'
}

# type_text TEXT, press KEY...: `press Tab Tab Enter`.
type_text() { terminal send-keys -l "$1"; }
press() { terminal send-keys "$@"; }

# press_times NUMBER KEY
press_times() { terminal send-keys -N "$1" "$2"; }

shown() { terminal capture-pane -p; }
is_shown() { shown | grep -e "$1" >/dev/null; }

# shows PATTERN: waits for it.
shows() { eventually 20 is_shown "$1" || fail "the screen does not show '$1': $(shown)"; }

# keep FIGURE: the screen, as docs/screens/FIGURE.txt.
keep() {
    shown >"$screens/$1.txt"
    echo "ok  $1"
}

# keep_output FIGURE NODE ARGUMENT...: what a command prints.
keep_output() {
    local figure=$1 node=$2
    shift 2
    {
        echo "\$ xfrm-agent $*"
        COLUMNS=130 TZ=UTC agent "$node" "$@"
    } >"$screens/$figure.txt"
    echo "ok  $figure"
}

close_tui() {
    press q
    eventually 10 tui_is_closed || fail "the screen stays: $(shown)"
}
tui_is_closed() { ! terminal has-session 2>/dev/null; }
