# shellcheck shell=bash
# John in the office: FIG. 4, 9 and 8, one after the other as they are typed; FIG. 12; FIG. 6 and 7.
#
# topology: presence-office
# needs: esp agent

# shellcheck source=netns-lab/presence.sh
. "${lab_folder:?}/presence.sh"
# shellcheck source=netns-lab/screens/typing.sh
. "$lab_folder/screens/typing.sh"

the_peer_is peerA@example.com John
configure_presence 2s 6s
rules_for_udp
start_presence
# shellcheck disable=SC2154 # from presence.sh
eventually 40 believes alice bob "office $bob_in_office" || fail "John is not believed to be in the office: $(what_is)"

open_tui alice
shows 'peerA@example.com'
# From the list of policies, so that the address is typed as in the figure.
press Tab
type_text r
shows 'POLICY REQUEST'
type_text "$bob_in_office"
shows "COMMUNICATION PEER: \[$bob_in_office"
keep fig-4

press Tab Tab Tab Enter
shows 'PRESENCE INFORMATION ───'
keep fig-9

press Enter
shows 'POLICY INFORMATION'
# The peer may tell several rows; the figure shows the one for udp.
for _ in {1..8}; do
    is_shown '☒ udp' && break
    press NPage
    sleep 0.5
done
shows '☒ udp'
keep fig-8
press Escape

type_text n
shows 'type an address or a prefix'
keep fig-12
press Escape
shows 'Tab other list'
keep databases
close_tui

keep_output fig-6 alice presence list
keep_output fig-7 alice policy list --kernel
