# shellcheck shell=bash
# How long gateway 104 takes from the packet that raises the ACQUIRE to the answer to IKE_AUTH, both gateways included.
# Needs no ESP: a kernel without it refuses the SAs afterwards. One line a trial, in milliseconds: ACQUIRE to probe, its
# answer, to IKE_AUTH, its answer, and the sum.

trials=${TRIALS:-7}
trace=$(state_folder "$lab")/handshake

share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16 10.0.0.0/8 106=10.2.0.0/16
configure_gateway 106 10.2.0.0/16 10.0.0.0/8 104=10.1.0.0/16
leave_nothing 104 106

# handshake: the times, once all five packets are in the capture.
handshake() {
    on 104 tcpdump -n -tt -r "$trace" 2>/dev/null | awk '
        n < 5 && (/ to-102 +In .* echo request/ && !n || n && / to-r1 /) { at[n++] = $1 }
        END {
            if (n < 5) exit 1
            for (i = 1; i < 5; i++) printf "%.2f ", (at[i] - at[i - 1]) * 1000
            printf "%.2f\n", (at[4] - at[0]) * 1000
        }'
}

for ((i = 0; i < trials; i++)); do
    start_agent 104
    start_agent 106
    start_process 104 recorder tcpdump -n -U -s 128 -i any -w "$trace" 'icmp or (udp and port 500)'
    eventually 20 grep -q 'listening on' "$(state_folder "$lab")/recorder.log" || fail "tcpdump does not listen"
    on 102 ping -q -c 1 -W 1 10.2.0.108 >/dev/null || true
    eventually 20 handshake || fail "no handshake: $(on 104 tcpdump -n -tt -r "$trace" 2>/dev/null)"
    end_process recorder INT
    rm "$trace"
    stop_agent 104
    stop_agent 106
    # While the kernel has a larval SA of the trial before, it does not announce the pair again.
    on 104 ip xfrm state flush
done
