# shellcheck shell=bash
# 106 runs strongSwan, which knows nothing of discovery: it begins, our agent answers, traffic flows both ways, it replaces
# its child and deletes it; and where something in front of it answers probes, our agent begins.
#
# topology: fig1-ted
# needs: esp agent strongswan

trace=$(state_folder "$lab")/trace
folder=$(state_folder "$lab")/106
vici=unix://$folder/vici
mkdir -p "$folder"

share_secret 104-106.psk 104
configure_gateway 104 10.1.0.0/16 10.2.0.0/16 106=10.2.0.0/16
start_agent 104
capture r1 to-r2 "$trace"

cat >"$folder/strongswan.conf" <<END
charon-systemd {
  load = random nonce openssl sha2 hmac kdf gcm curve25519 kernel-netlink socket-default vici
  install_routes = no
  plugins {
    vici {
      socket = $vici
    }
  }
}
END

# swan_with LINE...: its connection, with these lines besides.
swan_with() {
    cat >"$folder/swanctl.conf" <<END
connections {
  ours {
    version = 2
    local_addrs = 203.0.113.106
    remote_addrs = 192.0.2.104
    $1
    local {
      auth = psk
      id = gw106.example
    }
    remote {
      auth = psk
      id = gw104.example
    }
    children {
      site {
        local_ts = 10.2.0.0/16
        remote_ts = 10.1.0.0/16
        $2
      }
    }
  }
}
secrets {
  ike-1 {
    secret = $(<"$(agent_folder 104)/104-106.psk")
  }
}
END
    eventually 60 swanctl --load-all --clear --file "$folder/swanctl.conf" --uri "$vici" >/dev/null 2>&1 ||
        fail "strongSwan did not take its configuration: $(cat "$(state_folder "$lab")/charon.log")"
}
swan() { swanctl "$@" --uri "$vici" >"$folder/swanctl.log" 2>&1 || fail "swanctl $*: $(tail -n 5 "$folder/swanctl.log")"; }

# ping_all FROM ADDRESS
ping_all() {
    local answers
    answers=$(on "$1" ping -c 3 -i 0.1 -W 9 "$2") || true
    [[ $(received "$answers") == 3 ]] || fail "from $1 to $2: $answers"
}
spis() { on "$1" ip xfrm state list nokeys | sed -n 's/.*spi \(0x[0-9a-f]*\).*/\1/p' | sort; }
no_sas() { [[ -z $(spis 104) && -z $(spis 106) ]]; }
replaced() { [[ $(spis 104) != "$1" && $(spis 104 | wc -l) == 2 && $(spis 104) == "$(spis 106)" ]]; }

# both_ways WHAT: pings in both directions, a new child, pings again, the end.
both_ways() {
    local before
    ping_all 102 10.2.0.108
    ping_all 108 10.1.0.102
    policies 104 | has '^src 10.1.0.0/16 dst 10.2.0.0/16 .*dir out .*src 192.0.2.104 dst 203.0.113.106 proto esp' ||
        fail "$1: 104 has $(policies 104)"
    before=$(spis 104)
    swan --rekey --child site
    eventually 20 replaced "$before" || fail "$1: not replaced: $(spis 104) and $(spis 106), before $before"
    ping_all 102 10.2.0.108
    ping_all 108 10.1.0.102
    swan --terminate --ike ours --timeout 20
    eventually 20 no_sas || fail "$1: SAs are left: $(spis 104) and $(spis 106)"
    echo "$1: up, used both ways, replaced, deleted"
}

start_process 106 charon env "STRONGSWAN_CONF=$folder/strongswan.conf" /usr/sbin/charon-systemd

swan_with "" ""
swan --initiate --child site --timeout 30
both_ways "its defaults"

# A group first that we do not have: INVALID_KE_PAYLOAD.
before=$(counter 104 ike-invalid-ke)
swan_with "proposals = aes256-sha256-modp2048-x25519" "esp_proposals = aes256-sha256"
swan --initiate --child site --timeout 30
(($(counter 104 ike-invalid-ke) > before)) || fail "MODP2048 first, and no INVALID_KE"
on 104 ip xfrm state list nokeys | has 'enc cbc(aes)' || fail "not AES-CBC: $(on 104 ip xfrm state list nokeys)"
both_ways "MODP2048 first, AES-CBC with HMAC-SHA-256"

# Our turn: the packet of a host, a probe, and an answer that names strongSwan.
swan_with "proposals = aes128gcm16-prfsha256-ecp256" "esp_proposals = aes128gcm16"
start_strangers 106 herald answer to-r2 203.0.113.106
both_ways "found by discovery, P-256"
end_process herald || true

stop_capture r1 to-r2
clear=$(in_the_clear "$trace")
[[ -z $clear ]] || fail "in the clear: $clear"
