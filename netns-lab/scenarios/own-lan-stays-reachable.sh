# shellcheck shell=bash
# The document's own numbers: what 104 protects, 10.11.0.0/16, lies inside what it wants protected elsewhere, 10.0.0.0/8.
# The tunnel is for the intersection, and the gateway's own LAN goes on as before: hosts, SSH, DHCP.
#
# topology: fig1-nested-local
# needs: esp agent

work=$(state_folder "$lab")

# ping_all FROM ADDRESS [OPTION...]
ping_all() {
    local answers
    answers=$(on "$1" ping -c 3 -i 0.1 -W 5 "${@:2}") || true
    [[ $(received "$answers") == 3 ]] || fail "from $1 to $2: $answers"
}

# start_ssh: on 104, with keys and a home folder for this run only. (Each process of `on` has mounts of its own.)
start_ssh() {
    local home key
    home=$(getent passwd root | cut -d: -f6)
    mkdir -p "$work/home/.ssh"
    chmod 700 "$work/home" "$work/home/.ssh"
    for key in host client; do dropbearkey -t ed25519 -f "$work/$key-key" >"$work/$key-key.pub" 2>&1; done
    grep '^ssh-ed25519 ' "$work/client-key.pub" >"$work/home/.ssh/authorized_keys"
    start_process 104 sshd bash -c "mount --bind '$work/home' '$home'
        exec dropbear -F -E -s -r '$work/host-key' -p 10.11.0.104:22 -P '$work/sshd-pid'"
}

# The client's own address, as the SSH server saw it.
ssh_to_gateway() {
    # shellcheck disable=SC2016
    on 102 timeout 20 dbclient -y -y -i "$work/client-key" root@10.11.0.104 'echo "$SSH_CONNECTION"' 2>"$work/ssh-log" ||
        fail "ssh: $(<"$work/ssh-log")$(<"$work/sshd.log")"
}

start_dhcp_server() {
    cat >"$work/udhcpd.conf" <<END
start 10.11.1.10
end 10.11.1.10
interface to-102
max_leases 1
lease_file $work/leases
pidfile $work/udhcpd-pid
option subnet 255.255.0.0
option lease 60
END
    touch "$work/leases"
    start_process 104 dhcp-server busybox udhcpd -f "$work/udhcpd.conf"
}

# Runs until the end of the scenario; each event is a line of `leased`.
start_dhcp_client() {
    cat >"$work/udhcpc-script" <<END
#!/bin/sh
echo "\$1 \$ip" >>$work/leased
if [ "\$1" = bound ]; then ip address add "\$ip/16" dev "\$interface"; fi
END
    chmod +x "$work/udhcpc-script"
    touch "$work/leased"
    start_process 102 dhcp-client busybox udhcpc -f -i to-104 -s "$work/udhcpc-script"
}

leased() { grep -qx "$1 10.11.1.10" "$work/leased"; }

share_secret 104-106.psk 104 106
configure_gateway 104 10.11.0.0/16 10.0.0.0/8 106=10.12.0.0/16
configure_gateway 106 10.12.0.0/16 10.0.0.0/8 104=10.11.0.0/16
start_agent 104
start_agent 106
capture 104 to-102 "$work/lan"
capture r1 to-r2 "$work/middle"

# Before there is a tunnel, and with one: the gateway and its LAN reach each other, at once.
for tunnel in none 10.12.0.108; do
    if [[ $tunnel != none ]]; then ping_all 102 "$tunnel"; fi
    ping_all 102 10.11.0.104
    ping_all 104 10.11.0.102
    [[ $(ask 104 '.discoveries + .failures | length') == 0 ]] || fail "104 looks for itself: $(agent 104 status)"
done
[[ $(protected 104 out) == "src 10.11.0.0/16 dst 10.12.0.0/16" ]] || fail "104 protects $(protected 104 out)"
[[ $(protected 106 out) == "src 10.12.0.0/16 dst 10.11.0.0/16" ]] || fail "106 protects $(protected 106 out)"

# The LAN addresses of the gateways themselves use the tunnel, too.
ping_all 104 10.12.0.108 -I 10.11.0.104
ping_all 102 10.12.0.106

start_ssh
eventually 10 on 102 bash -c 'exec 3<>/dev/tcp/10.11.0.104/22' 2>/dev/null || fail "no SSH server: $(<"$work/sshd.log")"
[[ $(ssh_to_gateway) == "10.11.0.102 "*" 10.11.0.104 22" ]] || fail "SSH from elsewhere: $(ssh_to_gateway)"

start_dhcp_server
start_dhcp_client
eventually 20 leased bound || fail "no lease: $(<"$work/dhcp-client.log")$(<"$work/dhcp-server.log")"
# The renewal is from address to address.
kill -USR1 "$(cut -d' ' -f2 "$work/dhcp-client.pid")"
eventually 20 leased renew || fail "no renewal: $(<"$work/dhcp-client.log")$(<"$work/dhcp-server.log")"

stop_capture 104 to-102
stop_capture r1 to-r2
[[ -n $(packets "$work/lan" 'src host 10.11.0.104 and dst host 10.11.1.10 and udp src port 67') ]] ||
    fail "no DHCP answer from address to address: $(packets "$work/lan" udp port 67)"
[[ -z $(packets "$work/lan" esp) ]] || fail "ESP on the LAN"
clear=$(in_the_clear "$work/middle")
[[ -z $clear ]] || fail "in the clear: $clear"
