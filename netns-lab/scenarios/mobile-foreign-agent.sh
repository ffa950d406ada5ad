# shellcheck shell=bash
# Our mobile node, our foreign agent and our home agent: registered through the agent of the link, reached both ways with
# no tunnel on the last link and IP in IP between the agents; a stream lives through moves to a network without an agent and
# back; an agent that starts anew is registered with anew; strangers' advertisements change nothing.
#
# topology: mip-agents
# needs: agent

# shellcheck source=netns-lab/mobility.sh
. "${lab_folder:?}/mobility.sh"

correspondent=192.0.2.101
care_of=198.18.0.2
agent_on_link=203.0.112.1

share_secret outer.key 103 102o
share_secret visitor.key 103 109
share_secret agents.key 109 102o
configure 103 <<END
[identity]
id = "laptop.example"

[mobility]
home = "$mobility"
home-agent = "$outer_agent"
spi = 256
algorithm = "hmac-sha256"
key-file = "outer.key"
destinations = "192.0.2.0/24"

[[agent-key]]
foreign-agent = "$agent_on_link"
spi = 300
algorithm = "hmac-sha256"
key-file = "visitor.key"
END
configure 109 <<END
[identity]
id = "fa.example"

[foreign-agent]
link = "to-x3"
address = "$agent_on_link"
prefix-length = 24
care-of = "$care_of"
interval = "2s"

[[agent-key]]
mobile-node = "$mobility"
spi = 300
algorithm = "hmac-sha256"
key-file = "visitor.key"

[[agent-key]]
home-agent = "$outer_agent"
spi = 400
algorithm = "hmac-sha256"
key-file = "agents.key"
END
start_own_agent 102o "$outer_agent" 198.51.100.0/24 "$mobility" outer.key
cat >>"$(agent_folder 102o)/agent.toml" <<END

[[agent-key]]
foreign-agent = "$care_of"
spi = 400
algorithm = "hmac-sha256"
key-file = "agents.key"
END
agent 102o reload
on 109 ip link show to-x3 >/dev/null
start_agent 109
start_agent 103

move 103 x3
sleep 3
agent 103 mobility || true
agent 109 visitors || true
agent 102o bindings || true
on 109 ip route; on 109 ip rule; on 109 nft list ruleset; on 109 ip neigh
on 103 ip route show table 7380; on 103 ip neigh
on 103 ping -c 3 -i 0.2 -W 2 "$correspondent" || true
on 101 ping -c 3 -i 0.2 -W 2 "$mobility" || true
agent 109 status
tail -n 20 "$(agent_log 103)" "$(agent_log 109)" "$(agent_log 102o)"
fail look
