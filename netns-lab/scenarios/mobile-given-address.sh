# shellcheck shell=bash
# A mobile node that has a name and no home address: our home agent gives it one, its adapter comes up with that, and it stays
# through moves, kill -9 of both, and the wish of somebody else for an address.
#
# topology: mip-fig1
# needs: esp agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

given=198.51.100.129
share_secret alice.key 103 102o
configure 103 <<END
[identity]
id = "laptop.example"

[mobility]
nai = "alice@example.org"
home-agent = "$outer_agent"
spi = 256
algorithm = "hmac-sha256"
key-file = "alice.key"
destinations = "192.0.2.0/24"
END
configure 102o <<END
[identity]
id = "ha.example"

[home-agent]
address = "$outer_agent"
home-network = "198.51.100.0/24"
pool = "198.51.100.128/30"

[[mobile-node]]
nai = "alice@example.org"
spi = 256
algorithm = "hmac-sha256"
key-file = "alice.key"

[[mobile-node]]
nai = "bob@example.org"
spi = 256
key-file = "alice.key"
END
start_agent 103
# Nothing leaves from elsewhere, and there is nothing yet that it could leave from.
on 103 ip route show table 7380 | has '^unreachable default' || fail "the table has no end: $(on 103 ip route show table 7380)"
! on 103 ip link show intranet0 >/dev/null 2>&1 || fail "an adapter without an address"
mobile 103 .waits_for | has 'the time of day\|alice@example.org' || fail "$(agent 103 mobility)"
move 103 x1
start_agent 102o

# has_it NETWORK: registered from there, and reached at what was given.
has_it() {
    eventually 20 dwells 103 "without VPN" "$1" || fail "$1: $(agent 103 mobility; cat "$(agent_log 103)")"
    [[ $(on 103 ip -4 -oneline address show intranet0) == *"$given/32"* ]] || fail "intranet0: $(on 103 ip address show intranet0)"
    on isp ping -c 2 -i 0.2 -W 5 -I 192.0.2.254 "$given" >/dev/null || fail "$1: not reached"
    on 103 ip route get "$gateway" | has "src $given" || fail "$1: not from $given: $(on 103 ip route get "$gateway")"
}
has_it x1
agent 102o bindings | has "^$given  *alice@example.org " || fail "no name: $(agent 102o bindings)"
[[ $(jq -r .home "$(agent_folder 103)"/state/home-address.json) == "$given" ]] || fail "not kept: $(find "$(agent_folder 103)")"
move 103 x2
has_it x2

# Both are killed, and both know it afterwards.
stop_agent 103 KILL || true
stop_agent 102o KILL || true
start_agent 103
on 103 ip -4 -oneline address show intranet0 | has "$given/32" || fail "after kill -9: $(on 103 ip address show intranet0)"
start_agent 102o
has_it x2

# Taken back: another one is asked for.
sed -i "s/128\/30/136\/30/" "$(agent_folder 102o)/agent.toml"
agent 102o reload >/dev/null || fail "no reload"
given=198.51.100.137
move 103 x1
has_it x1

# Only the home agent knows.
stop_agent 103
rm "$(agent_folder 103)"/state/home-address.json
start_agent 103
has_it x1
