# shellcheck shell=bash
# Up and down leave the machine as it was, can be repeated, and a second `up` is refused with the command that helps.
#
# topology: fig1-host-to-host

other=fig1-ted
packets=$(state_folder "$lab")/packets
command=$lab_folder/lab

machine() {
    ip netns list | sort
    ip -brief link
    ip -brief address
    ip route show table all
    find /run/netns /run/xfrm-lab -mindepth 1 | sort
    mount
    pgrep --full "tcpdump.*$packets" || true
    sysctl -a 2>/dev/null | grep -E '^net\.ipv[46]\.(ip_forward|conf)' | sort
}

before=$(machine)
for _ in 1 2; do
    "$command" up "$other"
    "$command" capture "$other" r1 to-r2 "$packets"
    refusal=$("$command" up "$other" 2>&1) && fail "a second up was not refused"
    [[ $refusal == *"already up"*"lab down $other"* ]] || fail "the refusal does not help: $refusal"
    "$command" exec "$other" 102 ping -q -c 1 -W 5 "$(lab=$other addresses 108 inet)" >/dev/null
    "$command" down "$other"
    "$command" down "$other"
done
rm "$packets"
[[ $(machine) == "$before" ]] || fail "something stayed behind: $(diff <(echo "$before") <(machine))"
