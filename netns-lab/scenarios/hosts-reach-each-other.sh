# shellcheck shell=bash
# The networks themselves, with no agent: every host reaches every other, IPv4 and IPv6, and sees its packets routed.
#
# topology: fig1-ted
# topology: fig1-ted --delay 20ms
# topology: fig1-two-gateways
# topology: fig1-host-to-host
# topology: fig1-middle
# topology: fig1-nested-local
# topology: presence-office
# topology: presence-external

for from in $(nodes host); do
    for to in $(nodes host); do
        for address in $(addresses "$to" inet) $(addresses "$to" inet6); do
            on "$from" ping -q -c 1 -W 5 "$address" >/dev/null || fail "$from does not reach $to at $address"
        done
    done
done

if [[ ${netem[*]} == *delay* ]]; then
    # 20 ms in each direction.
    round_trip=$(on 102 ping -q -c 3 "$(addresses 108 inet)" | sed -n 's/^rtt .* = \([0-9]*\).*/\1/p')
    ((round_trip >= 40)) || fail "the delay does not work: a round trip of $round_trip ms"
fi

if [[ $lab == fig1-two-gateways ]]; then
    # The dead prefix is silent: no unreachable message that would tell an initiator anything.
    answer=$(on 102 ping -n -c 1 -W 1 10.9.0.1 || true)
    [[ $answer == *"100% packet loss"* && $answer != *nreachable* ]] || fail "10.9.0.1 answered: $answer"
fi
