# shellcheck shell=bash
# Shared by the scripts of this repository: messages, packages, the Rust toolchain, what this kernel can do.
# Source it after `set -euo pipefail`; it defines functions and runs nothing but the line below.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# --- messages: everything that is not a result goes to stderr -----------------------------------------------------

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

# die [STATUS] MESSAGE
die() {
    local status=1
    if [[ $1 =~ ^[0-9]+$ ]]; then
        status=$1
        shift
    fi
    say "$*"
    exit "$status"
}

heading() { printf '\n=== %s\n\n' "$*"; }

need_root() {
    [[ $EUID -eq 0 ]] || die "must run as root: sudo $0"
}

# has GREP-ARGUMENT...: as `grep -q`, but reads to the end: with pipefail, a writer that is cut off fails the pipe.
has() { grep "$@" >/dev/null; }

# --- packages ---------------------------------------------------------------------------------------------------

is_installed() {
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# Installs those of the named Debian packages that are missing. Silent when none is.
install_packages() {
    local package missing=() log
    command -v dpkg-query >/dev/null || die "not a Debian system; install by hand what provides: $*"
    for package; do
        is_installed "$package" || missing+=("$package")
    done
    ((${#missing[@]})) || return 0

    [[ $EUID -eq 0 ]] || die "missing packages: sudo apt-get install ${missing[*]}"
    say "installing ${missing[*]}"
    log=$(mktemp)
    if ! { unless_locked apt_get update && unless_locked apt_get install "${missing[@]}"; } >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        rm -f "$log"
        die "could not install ${missing[*]}; try: apt-get update && apt-get install ${missing[*]}"
    fi
    rm -f "$log"
}

# install_idle PACKAGE...: the same for packages with a daemon, which neither starts now nor at the next boot: tests start
# their own, and a machine that tests ran on must not find an IKE daemon on its port 500 afterwards.
install_idle() {
    local package missing=() policy=/usr/sbin/policy-rc.d unit
    for package; do
        is_installed "$package" || missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    # invoke-rc.d(8) asks this program, which 101 forbids to start anything; somebody's own stays in force.
    if [[ ! -e $policy ]]; then
        trap 'rm -f /usr/sbin/policy-rc.d' RETURN
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    install_packages "${missing[@]}"
    if command -v systemctl >/dev/null; then
        for unit in $(dpkg-query -L "${missing[@]}" | sed -n 's#.*/systemd/system/\([^/]*\.service\)$#\1#p'); do
            systemctl --quiet disable "$unit" >/dev/null 2>&1 || true
        done
    fi
}

# unless_locked COMMAND...: once more, for five minutes, while another package manager is at work: the machine's own upgrades,
# or the second guest that these scripts start.
unless_locked() {
    local attempt said status
    for attempt in {1..60}; do
        status=0
        said=$("$@" 2>&1) || status=$?
        if ((status == 0 || attempt == 60)) || ! has 'Could not get lock' <<<"$said"; then break; fi
        sleep 5
    done
    echo "$said"
    return "$status"
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0 --no-install-recommends "$@" </dev/null
}

# shellcheck disable=SC2034 # for those who source this
# What the lab's namespaces, captures and firewall rules are made with, what its hosts talk to each other with, and what tells
# packets apart.
lab_packages=(busybox-static dropbear-bin iproute2 iputils-ping jq nftables procps python3 python3-scapy strace tcpdump tshark)
# shellcheck disable=SC2034
# What the agent's cryptographic library is compiled with.
build_packages=(gcc libc6-dev)
# shellcheck disable=SC2034
# strongSwan, to test against something that we did not write: see install_idle.
peer_packages=(charon-systemd strongswan-swanctl libstrongswan-standard-plugins libstrongswan-extra-plugins
    libcharon-extra-plugins)
# shellcheck disable=SC2034
# Access points and who uses them: see install_idle too.
radio_packages=(hostapd iw wpasupplicant)

# --- the Rust toolchain: the one thing that these scripts ask for -------------------------------------------------

# Builds happen as the owner of the checkout, with that user's toolchain, so that `sudo scripts/demo` leaves no
# files behind that the user cannot delete.
builder() { stat -c %U "$repository"; }

home_of() { getent passwd "$1" | cut -d: -f6; }

# as_builder COMMAND...
as_builder() {
    local user home
    user=$(builder)
    if [[ $user == "$(id -un)" || $user == UNKNOWN ]]; then
        PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin "$@"
    else
        home=$(home_of "$user")
        runuser -u "$user" -- env HOME="$home" PATH="$PATH:$home/.cargo/bin" "$@"
    fi
}

minimum_rust() { sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$repository/Cargo.toml"; }

need_rust() {
    local want have
    want=$(minimum_rust)
    # Inside the repository, so that rustup chooses the toolchain that cargo will build with.
    have=$(cd "$repository" && as_builder rustc --version 2>/dev/null | cut -d' ' -f2) || have=
    if [[ -z $have || $(printf '%s\n' "$want" "$have" | sort -V | head -n 1) != "$want" ]]; then
        die "needs Rust $want or newer (found ${have:-none} for user $(builder)): install it from https://rustup.rs and run this again"
    fi
}

# uml_kernel HZ: where scripts/uml-kernel keeps what it builds.
uml_kernel() {
    local config
    config=$(sha256sum "$repository/scripts/guest/uml.config")
    echo "/var/cache/xfrm-agent/linux-uml-$1-${config:0:12}"
}

# one_processor: the number of the one that user-mode Linux runs on, the last of those that we may use, because the first has the most
# interrupts. A program in it and its kernel are processes that take turns at each system call, and each turn takes a multiple
# where it wakes another processor of a virtual machine.
one_processor() { taskset --cpu-list --pid $$ | sed 's/.*[^0-9]//'; }

# undisturbed: sets vm to what runs user-mode Linux so that other jobs of this machine do not count: with real-time priority,
# where that is allowed, and notes to what a table says of it. Its processor is kept awake by the job $awake, which runs when nothing
# else does and which the caller ends: waking a processor of a virtual machine can take a tenth of a millisecond, which an exchange over
# links with a delay meets a dozen times.
undisturbed() {
    vm=(scripts/vm --uml)
    notes=', user-mode Linux, one processor'
    if chrt --fifo 1 true 2>/dev/null; then
        vm=(chrt --fifo 1 "${vm[@]}")
        notes+=', real-time priority'
    fi
    chrt --idle 0 taskset --cpu-list "$(one_processor)" setpriv --pdeathsig KILL bash -c 'while :; do :; done' &
    # shellcheck disable=SC2034 # for the caller
    awake=$!
}

# In awk: the middle one of n values, with the least and the most.
# shellcheck disable=SC2016,SC2034 # the words of awk, for scripts
median_of='
    function median(values, n, format,   i, j, t) {
        for (i = 2; i <= n; i++)
            for (j = i; j > 1 && values[j - 1] > values[j]; j--) { t = values[j]; values[j] = values[j - 1]; values[j - 1] = t }
        return sprintf(format " (" format " - " format ")", values[int((n + 1) / 2)], values[1], values[n])
    }'

# run_bench NAME ARGUMENT...: in place of this script; built as the owner of the checkout, run as root.
run_bench() {
    local name=$1 bench
    shift
    cd "$repository" || die "no folder $repository"
    need_root
    install_packages "${build_packages[@]}" iproute2
    need_rust
    bench=$(build_bench "$name")
    exec "$bench" "$@"
}

# build_bench NAME: prints which program it is.
build_bench() {
    as_builder cargo bench --locked --quiet --no-run --bench "$1" --message-format=json |
        sed -n "s|.*\"executable\":\"\([^\"]*/$1-[^\"]*\)\".*|\1|p"
}

# --- what this kernel can do ------------------------------------------------------------------------------------

# Succeeds if the running kernel has what the agent needs: an AES-GCM ESP state and a TPROXY rule are really made, in
# a network namespace that is gone afterwards. Otherwise says, on stdout, what is missing.
probe_own_kernel() {
    [[ $EUID -eq 0 ]] || { echo "root" && return 1; }
    unshare --net true 2>/dev/null || { echo "network namespaces" && return 1; }
    unshare --net ip xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x100 mode tunnel \
        aead 'rfc4106(gcm(aes))' 0x0102030405060708090a0b0c0d0e0f1011121314 128 2>/dev/null ||
        { echo "ESP with AES-GCM" && return 1; }
    unshare --net nft -f - 2>/dev/null <<'END' || { echo "nftables with TPROXY" && return 1; }
table inet probe {
    chain prerouting {
        type filter hook prerouting priority mangle
        udp dport 500 tproxy ip to :500 accept
    }
}
END
}

# Whether it has tunnels of IP in IP whose ends come from routes.
has_ip_in_ip() { unshare --net ip link add probe type ipip external 2>/dev/null; }
