# shellcheck shell=bash
# Seeds for the fuzz targets, from a real conversation of FIG. 1: datagrams on the wire, messages of the kernel, what is
# said on the control socket, and what tools print.
#
#   sudo XFRM_AGENT_OUT=$PWD/fuzz/corpus netns-lab/lab run fig1-ted fuzz/record.sh
#
# Secrets in it are of a lab that is gone.
#
# topology: fig1-ted
# needs: esp agent

out=${XFRM_AGENT_OUT:?names the folder of the corpus}
work=$(state_folder "${lab:?}")/corpus
seeds() { python3 "${repository:?}/fuzz/seeds.py" "$@"; }

mkdir -p "$work"
share_secret 104-106.psk 104 106
configure_gateway 104 10.1.0.0/16,2001:db8:1::/48 10.0.0.0/8,2001:db8::/40 106=10.2.0.0/16,2001:db8:2::/48
configure_gateway 106 10.2.0.0/16,2001:db8:2::/48 10.0.0.0/8,2001:db8::/40 104=10.1.0.0/16,2001:db8:1::/48
capture r1 to-r2 "$work/wire.pcap" udp
start_process 104 netlink python3 "$repository/fuzz/seeds.py" listen "$work/netlink"
eventually 20 grep -q listening "$(state_folder "$lab")/netlink.log" || die "nobody listens to the kernel"
start_agent 104
start_agent 106
on 102 ping -c 3 -i 0.2 -W 10 10.2.0.108
on 102 ping -c 3 -i 0.2 -W 10 2001:db8:2::108
agent 104 discover 10.2.0.108 >/dev/null
on 104 nft -j list ruleset >"$work/nft"
on 104 cat /proc/net/xfrm_stat >"$work/xfrm_stat"
agent 104 status --json >"$work/status"
# A child that ends before its time, and a policy that expires.
on 104 ip xfrm policy add src 10.99.0.0/24 dst 10.98.0.0/24 dir out action block limit time-hard 1
sleep 2
stop_agent 104
stop_agent 106
stop_capture r1 to-r2
end_process netlink

seeds datagrams "$work/wire.pcap" "$out"
seeds payloads "$out/ike_payloads"
seeds mobile_ip "$out"
seeds headers "$out/packet_headers"
seeds vici "$out/vici"
seeds messages "$work/netlink" "$out/netlink"
for what in nft_listing:nft xfrm_stat:xfrm_stat; do
    mkdir -p "$out/${what%%:*}"
    cp "$work/${what#*:}" "$out/${what%%:*}/lab"
done
seeds lines "$work/status" "$out/control_lines"
seeds vectors "$repository/docs/policy-exchange.md" "$out/policy_exchange"
mkdir -p "$out/configuration"
cp "$(agent_folder 104)/agent.toml" "$out/configuration/lab"
ls -R "$out"
