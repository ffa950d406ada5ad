# shellcheck shell=bash
# Bob outside: FIG. 11, then FIG. 13 key by key from the blank form, registered.
#
# topology: presence-external
# needs: esp agent

# shellcheck source=netns-lab/presence.sh
. "${lab_folder:?}/presence.sh"
# shellcheck source=netns-lab/screens/typing.sh
. "$lab_folder/screens/typing.sh"

the_peer_is peerB@example.com Bob
# shellcheck disable=SC2154,SC2034 # from presence.sh, for it
home[bob]=$bob_outside
configure_presence 2s 6s
rules_for_udp
start_presence

open_tui alice
press Tab
type_text r
shows 'POLICY REQUEST'
type_text "$bob_outside"
# Presence alone.
press Tab
type_text ' '
press Tab Tab Enter
shows 'PRESENCE INFORMATION ───'
keep fig-11
press Escape

type_text n
shows 'type an address or a prefix'
# shellcheck disable=SC2154 # from presence.sh
type_text "$alice_in_office"
press Tab Tab Tab
type_text "$bob_outside"
# Over port, any, transport layer and direction to the action, where none is ticked; ipsec is beside it.
press_times 5 Tab
press Right
type_text ' '
shows 'ipsec needs ah, esp or both'
press Tab
type_text ' '
press Right
type_text ' '
# Past the mode, which stays unticked, to the third level.
press Tab Tab Right Right
type_text ' '
shows '☒ require'
keep fig-13

press Tab Enter
shows 'registered as number'
keep databases-registered
close_tui
keep_output fig-7-registered alice policy list --kernel
