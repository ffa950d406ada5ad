//! `ike::endpoint` against strongSwan, over real sockets between two network namespaces.
//!
//! ```text
//! the endpoint (this binary again)          charon, ESP in user space (kernel-libipsec,
//! 192.0.2.1 ─────────── veth ──────────── 192.0.2.2   which claims a NAT: UDP 4500 as well)
//! ```
//!
//! AH is not known to kernel-libipsec: there charon uses the kernel, which must have IPsec.
//!
//! Needs root, charon-systemd, swanctl and strongSwan's extra plugins; says so and passes where
//! they are missing.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use xfrm_agent::ike::configuration::Assigned;
use xfrm_agent::ike::effects::{ChildId, Compression, DownReason, Effect};
use xfrm_agent::ike::endpoint::Endpoint;
use xfrm_agent::ike::settings::{
    AddressRange, AddressRequest, ChildProtocol, Client, Connect, Gateway, Mode, Peer, RequestId,
    Settings, Timing,
};
use xfrm_agent::net::random::Seeded;
use xfrm_agent::net::{Secret, Selector};

/// Named after the process, so that two runs do not meet.
fn namespaces() -> [String; 2] {
    let pid = std::process::id();
    ["a", "b"].map(|end| format!("ike-interop-{end}-{pid}"))
}

/// strongSwan in an emulated guest, on a busy machine, has the kernel load its modules first.
const PATIENCE: Duration = Duration::from_secs(90);

const CHARON: &str = "/usr/sbin/charon-systemd";

fn settings() -> Settings {
    Settings {
        identity: "ours.example".parse().unwrap(),
        peers: vec![Peer {
            id: "theirs.example".parse().unwrap(),
            psk: Secret::from(&b"swordfish"[..]),
            may_protect: vec!["10.2.0.0/16".parse().unwrap()],
            may_protect_itself: false,
            contact: true,
        }],
        protects: vec![Selector::between(
            "10.1.0.0/16".parse().unwrap(),
            "10.0.0.0/8".parse().unwrap(),
        )],
        timing: Timing::default(),
        compression: true,
        // `theirs.example` is a client where it asks for an address, or for its own.
        gateway: Some(Gateway {
            clients: [(
                "theirs.example".parse().unwrap(),
                Client {
                    keeps: vec!["192.0.2.2/32".parse().unwrap()],
                    ..Client::default()
                },
            )]
            .into(),
            pool: AddressRange::new(address("10.40.0.5"), address("10.40.0.9"))
                .into_iter()
                .collect(),
            subnets: vec!["10.1.0.0/16".parse().unwrap()],
            dns: vec![address("10.1.0.53")],
            liveness: Duration::from_secs(1800),
        }),
        kept_with: [(
            "theirs.example".parse().unwrap(),
            vec!["10.2.0.0/16".parse().unwrap()],
        )]
        .into(),
    }
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The endpoint on real sockets, inside its namespace.
struct Driver {
    endpoint: Endpoint,
    sockets: Vec<UdpSocket>,
    /// With what each replaces, and its protocol.
    up: BTreeMap<ChildId, (Option<ChildId>, ChildProtocol)>,
    compressed: BTreeMap<ChildId, Compression>,
    down: Vec<(ChildId, DownReason)>,
    selectors: Vec<Selector>,
    assigned: Option<Assigned>,
    ikes: usize,
}

impl Driver {
    fn new() -> Self {
        let seed = std::process::id().into();
        let sockets = [500, 4500].map(|port| {
            let socket = UdpSocket::bind(("192.0.2.1", port)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        });
        Self {
            endpoint: Endpoint::new(settings(), Box::new(Seeded(seed))),
            sockets: sockets.into(),
            up: BTreeMap::new(),
            compressed: BTreeMap::new(),
            down: Vec::new(),
            selectors: Vec::new(),
            assigned: None,
            ikes: 0,
        }
    }

    fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "in vain: {what}");
            self.turn();
        }
        println!("reached: {what}");
    }

    fn turn(&mut self) {
        let mut buffer = [0; 4096];
        for (at, socket) in self.sockets.iter().enumerate() {
            if let Ok((len, remote)) = socket.recv_from(&mut buffer) {
                let local = socket.local_addr().unwrap();
                let marker = if at == 1 { 4 } else { 0 };
                if let Some(message) = buffer[..len].get(marker..) {
                    let now = Instant::now();
                    self.endpoint.handle_datagram(now, local, remote, message);
                }
            }
        }
        let now = Instant::now();
        if self.endpoint.poll_timeout().is_some_and(|at| at <= now) {
            self.endpoint.handle_timeout(now);
        }
        while let Some(effect) = self.endpoint.poll_effect() {
            self.perform(effect);
        }
        std::thread::sleep(Duration::from_millis(2));
    }

    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Transmit {
                local,
                remote,
                payload,
            } => self.send(local, remote, &payload),
            Effect::ChildUp { child, .. } => {
                self.up.insert(child.id, (child.replaces, child.protocol));
                self.compressed
                    .extend(child.compression.map(|c| (child.id, c)));
                self.selectors = child.selectors;
            }
            Effect::ChildDown { child, reason } => {
                self.up.remove(&child);
                self.compressed.remove(&child);
                self.down.push((child, reason));
            }
            Effect::Configured { assigned, .. } => self.assigned = Some(assigned),
            Effect::IkeUp { .. } => self.ikes += 1,
            Effect::IkeDown { .. } => self.ikes -= 1,
            Effect::Failed { error, .. } => panic!("{error}"),
            Effect::ClientRefused { refusal, .. } => panic!("{refusal}"),
            Effect::OutboundReady { .. } => {}
            Effect::Answered { .. } | Effect::AskFailed { .. } | Effect::Asked { .. } => {
                panic!("nobody asks")
            }
        }
    }

    fn send(&self, local: SocketAddr, remote: SocketAddr, payload: &[u8]) {
        let (socket, marker) = match local.port() {
            500 => (&self.sockets[0], &[][..]),
            _ => (&self.sockets[1], &[0; 4][..]),
        };
        socket.send_to(&[marker, payload].concat(), remote).unwrap();
    }

    fn connect(&mut self, request: u64, local: &str) {
        let selector = Selector::between(local.parse().unwrap(), "10.2.0.0/16".parse().unwrap());
        self.endpoint
            .connect(Instant::now(), wish(request, selector));
    }

    /// In transport mode, for the two hosts themselves.
    fn connect_hosts(&mut self, request: u64, protocol: ChildProtocol) {
        let [ours, theirs] = ["192.0.2.1/32", "192.0.2.2/32"].map(|net| net.parse().unwrap());
        let connect = Connect {
            mode: Mode::Transport,
            protocol,
            transport_only: true,
            ..wish(request, Selector::between(ours, theirs))
        };
        self.endpoint.connect(Instant::now(), connect);
    }

    /// The same, compressed if they agree.
    fn connect_compressed(&mut self, request: u64) {
        let [ours, theirs] = ["192.0.2.1/32", "192.0.2.2/32"].map(|net| net.parse().unwrap());
        let connect = Connect {
            mode: Mode::Transport,
            transport_only: true,
            compression: true,
            ..wish(request, Selector::between(ours, theirs))
        };
        self.endpoint.connect(Instant::now(), connect);
    }

    /// How the one child is compressed, which their kernel has the same view of.
    fn compression(&self) -> Compression {
        assert_eq!(self.compressed.len(), 1);
        let compression = *self.compressed.values().next().unwrap();
        let theirs = std::env::var("IKE_INTEROP_THEIRS").unwrap();
        let states = Command::new("ip")
            .args(["-n", &theirs, "xfrm", "state", "list", "nokeys"])
            .output()
            .unwrap();
        let states = String::from_utf8(states.stdout).unwrap();
        for cpi in [compression.cpi_in, compression.cpi_out] {
            let state = format!("proto comp spi 0x{:08x}", cpi.0);
            assert!(states.contains(&state), "{state}:\n{states}");
        }
        compression
    }

    fn the_one_of(&self, protocol: ChildProtocol) -> Option<ChildId> {
        let mut all = self.up.iter().filter(|(_, (_, p))| *p == protocol);
        let (id, _) = all.next()?;
        all.next().is_none().then_some(*id)
    }

    /// Replaces the child of a protocol.
    fn rekey(&mut self, protocol: ChildProtocol) {
        let old = self.the_one_of(protocol).unwrap();
        self.endpoint.rekey_child(Instant::now(), old);
        self.until("replaced by us", |d| {
            d.the_one_of(protocol).is_some_and(|new| new != old)
        });
    }
}

fn wish(request: u64, selector: Selector) -> Connect {
    Connect {
        request: RequestId(request),
        local: "192.0.2.1".parse().unwrap(),
        remote: "192.0.2.2".parse().unwrap(),
        peer: "theirs.example".parse().unwrap(),
        selectors: vec![selector],
        flow: None,
        mode: Mode::Tunnel,
        protocol: ChildProtocol::Esp,
        transport_only: false,
        compression: false,
        initial_contact: true,
        address: None,
    }
}

fn swanctl(arguments: &[&str]) -> Child {
    let socket = std::env::var("IKE_INTEROP_VICI").unwrap();
    Command::new("swanctl")
        .args(arguments)
        .args(["--uri", &socket])
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// The other end's counterpart: the test below starts this binary again in its namespace. Nothing
/// to do in a run of its own.
#[test]
fn inside() {
    let Ok(role) = std::env::var("IKE_INTEROP_ROLE") else {
        return;
    };
    let mut driver = Driver::new();
    match role.as_str() {
        "initiator" => initiate(&mut driver),
        "responder" => respond(&mut driver),
        "client" => be_client(&mut driver),
        "gateway" => be_gateway(&mut driver),
        "keeping-client" => keep_our_address(&mut driver),
        "keeping-gateway" => let_keep_theirs(&mut driver),
        "ah-initiator" => initiate_both_protocols(&mut driver),
        "ah-responder" => respond_with_both_protocols(&mut driver),
        "ipcomp-initiator" => initiate_compressed(&mut driver),
        "without-ipcomp" => initiate_in_vain_compressed(&mut driver),
        "ipcomp-responder" => respond_compressed(&mut driver),
        other => panic!("no role {other}"),
    }
    driver.endpoint.close_all(Instant::now());
    driver.until("everything closed", |d| d.up.is_empty() && d.ikes == 0);
}

fn initiate(driver: &mut Driver) {
    driver.connect(1, "10.1.0.0/16");
    driver.until("first child", |d| d.up.len() == 1);
    let first = *driver.up.keys().next().unwrap();
    driver.endpoint.rekey_child(Instant::now(), first);
    driver.until("first child replaced", |d| {
        d.up.values().any(|(old, _)| *old == Some(first)) && d.up.len() == 1
    });
    driver.connect(2, "10.1.7.0/24");
    driver.until("second child", |d| d.up.len() == 2 && d.ikes == 1);
    let second = *driver.up.keys().max().unwrap();
    let now = Instant::now();
    driver.endpoint.close_child(now, second, DownReason::Closed);
    driver.until("second child closed", |d| d.up.len() == 1);
}

fn respond(driver: &mut Driver) {
    let ask = |arguments: &[&str]| swanctl(arguments);
    let mut initiate = ask(&["--initiate", "--child", "site", "--timeout", "10"]);
    driver.until("their first child", |d| d.up.len() == 1);
    driver.until("swanctl done", |_| initiate.try_wait().unwrap().is_some());
    assert!(initiate.wait().unwrap().success());
    let first = *driver.up.keys().next().unwrap();
    let mut rekey = ask(&["--rekey", "--child", "site"]);
    driver.until("their child replaced", |d| {
        d.up.values().any(|(old, _)| *old == Some(first)) && d.up.len() == 1
    });
    driver.until("swanctl done", |_| rekey.try_wait().unwrap().is_some());
    let mut rekey = ask(&["--rekey", "--ike", "ours"]);
    driver.until("swanctl done", |_| rekey.try_wait().unwrap().is_some());
    let replaced = Instant::now() + Duration::from_secs(1);
    driver.until("their IKE SA replaced", |_| Instant::now() > replaced);
    assert_eq!((driver.ikes, driver.up.len()), (1, 1));
    // Both directions work under the new keys.
    let second = *driver.up.keys().next().unwrap();
    driver.endpoint.rekey_child(Instant::now(), second);
    driver.until("their child replaced by us", |d| {
        d.up.values().any(|(old, _)| *old == Some(second)) && d.up.len() == 1
    });
    let mut terminate = ask(&["--terminate", "--ike", "ours", "--timeout", "10"]);
    driver.until("their IKE SA deleted", |d| d.ikes == 0 && d.up.is_empty());
    driver.until("swanctl done", |_| terminate.try_wait().unwrap().is_some());
}

/// Their pool gives us an address, and the tunnel is for that.
fn be_client(driver: &mut Driver) {
    let everything =
        Selector::between("0.0.0.0/0".parse().unwrap(), "10.2.0.0/16".parse().unwrap());
    let connect = Connect {
        address: Some(AddressRequest::default()),
        ..wish(1, everything)
    };
    driver.endpoint.connect(Instant::now(), connect);
    driver.until("a child", |d| d.up.len() == 1);
    let assigned = driver.assigned.take().unwrap();
    assert_eq!(assigned.addresses, [address("10.30.0.1")]);
    assert_eq!(assigned.dns, [address("10.2.0.53")]);
    let own = Selector::between(
        "10.30.0.1/32".parse().unwrap(),
        "10.2.0.0/16".parse().unwrap(),
    );
    assert_eq!(driver.selectors, [own]);
    driver.rekey(ESP);
    assert_eq!(driver.selectors, [own]);
}

/// They ask for an address, and get one of ours.
fn be_gateway(driver: &mut Driver) {
    let mut initiate = swanctl(&["--initiate", "--child", "site", "--timeout", "10"]);
    driver.until("their child", |d| d.up.len() == 1);
    driver.until("swanctl done", |_| initiate.try_wait().unwrap().is_some());
    assert!(initiate.wait().unwrap().success());
    let client = Selector::between(
        "10.1.0.0/16".parse().unwrap(),
        "10.40.0.5/32".parse().unwrap(),
    );
    assert_eq!(driver.selectors, [client]);
    let first = driver.the_one_of(ESP).unwrap();
    let mut rekey = swanctl(&["--rekey", "--child", "site"]);
    driver.until("their child replaced", |d| {
        d.the_one_of(ESP).is_some_and(|new| new != first)
    });
    driver.until("swanctl done", |_| rekey.try_wait().unwrap().is_some());
    assert_eq!(driver.selectors, [client]);
    let mut terminate = swanctl(&["--terminate", "--ike", "ours", "--timeout", "10"]);
    driver.until("their IKE SA deleted", |d| d.ikes == 0 && d.up.is_empty());
    driver.until("swanctl done", |_| terminate.try_wait().unwrap().is_some());
}

/// They give us nothing, and let us speak from where we are.
fn keep_our_address(driver: &mut Driver) {
    driver.connect(1, "192.0.2.1/32");
    driver.until("a child", |d| d.up.len() == 1);
    rekey_from_both_ends(driver, "192.0.2.1/32", "10.2.0.0/16");
    assert!(driver.assigned.is_none());
}

/// They ask for no address, and keep the one that they have.
fn let_keep_theirs(driver: &mut Driver) {
    let mut initiate = swanctl(&["--initiate", "--child", "site", "--timeout", "10"]);
    driver.until("their child", |d| d.up.len() == 1);
    driver.until("swanctl done", |_| initiate.try_wait().unwrap().is_some());
    assert!(initiate.wait().unwrap().success());
    rekey_from_both_ends(driver, "10.1.0.0/16", "192.0.2.2/32");
}

/// Both times for the same traffic.
fn rekey_from_both_ends(driver: &mut Driver, local: &str, remote: &str) {
    let own = Selector::between(local.parse().unwrap(), remote.parse().unwrap());
    assert_eq!(driver.selectors, [own]);
    driver.rekey(ESP);
    assert_eq!(driver.selectors, [own], "by us");
    let before = driver.the_one_of(ESP).unwrap();
    let mut rekey = swanctl(&["--rekey", "--child", "site"]);
    driver.until("their child replaced", |d| {
        d.the_one_of(ESP).is_some_and(|new| new != before)
    });
    driver.until("swanctl done", |_| rekey.try_wait().unwrap().is_some());
    assert_eq!(driver.selectors, [own], "by them");
}

const AH: ChildProtocol = ChildProtocol::Ah;
const ESP: ChildProtocol = ChildProtocol::Esp;

fn initiate_both_protocols(driver: &mut Driver) {
    for order in [[AH, ESP], [ESP, AH]] {
        // In IKE_AUTH the one, in CREATE_CHILD_SA the other.
        for (request, protocol) in (1..).zip(order) {
            driver.connect_hosts(request, protocol);
            driver.until("a child in transport mode", |d| {
                d.the_one_of(protocol).is_some()
            });
        }
        assert_eq!((driver.up.len(), driver.ikes), (2, 1));
        driver.rekey(AH);
        driver.rekey(ESP);
        for protocol in order {
            let child = driver.the_one_of(protocol).unwrap();
            let now = Instant::now();
            driver.endpoint.close_child(now, child, DownReason::Closed);
            driver.until("a child closed", |d| d.the_one_of(protocol).is_none());
        }
        driver.endpoint.close_all(Instant::now());
        driver.until("their IKE SA closed", |d| d.ikes == 0);
    }
}

fn respond_with_both_protocols(driver: &mut Driver) {
    let ask = |driver: &mut Driver, arguments: &[&str]| {
        let mut asked = swanctl(arguments);
        driver.until("swanctl done", |_| asked.try_wait().unwrap().is_some());
        assert!(asked.wait().unwrap().success(), "{arguments:?}");
    };
    for (child, protocol) in [("ah", AH), ("esp", ESP)] {
        ask(driver, &["--initiate", "--child", child, "--timeout", "10"]);
        driver.until("their child", |d| d.the_one_of(protocol).is_some());
    }
    assert_eq!((driver.up.len(), driver.ikes), (2, 1));
    let first = driver.the_one_of(AH).unwrap();
    ask(driver, &["--rekey", "--child", "ah"]);
    driver.until("their child of AH replaced", |d| {
        d.the_one_of(AH).is_some_and(|new| new != first)
    });
    driver.rekey(AH);
    ask(driver, &["--terminate", "--child", "ah", "--timeout", "10"]);
    driver.until("their child of AH deleted", |d| d.up.len() == 1);
    assert!(driver.the_one_of(ESP).is_some());
    ask(driver, &["--terminate", "--ike", "ours", "--timeout", "10"]);
    driver.until("their IKE SA deleted", |d| d.ikes == 0 && d.up.is_empty());
}

fn initiate_compressed(driver: &mut Driver) {
    driver.connect_compressed(1);
    driver.until("a compressed child", |d| d.compressed.len() == 1);
    let before = driver.compression();
    driver.rekey(ESP);
    driver.until("the old one gone", |d| d.up.len() == 1);
    assert_ne!(driver.compression().cpi_in, before.cpi_in);
}

fn initiate_in_vain_compressed(driver: &mut Driver) {
    driver.connect_compressed(1);
    driver.until("a child", |d| d.up.len() == 1);
    assert!(driver.compressed.is_empty());
}

fn respond_compressed(driver: &mut Driver) {
    let ask = |driver: &mut Driver, arguments: &[&str]| {
        let mut asked = swanctl(arguments);
        driver.until("swanctl done", |_| asked.try_wait().unwrap().is_some());
        assert!(asked.wait().unwrap().success(), "{arguments:?}");
    };
    ask(
        driver,
        &["--initiate", "--child", "hosts", "--timeout", "10"],
    );
    driver.until("their compressed child", |d| d.compressed.len() == 1);
    let before = driver.compression();
    ask(driver, &["--rekey", "--child", "hosts"]);
    driver.until("their child replaced", |d| {
        d.compressed.values().any(|c| c.cpi_in != before.cpi_in) && d.up.len() == 1
    });
    driver.compression();
    driver.rekey(ESP);
    driver.until("replaced by us", |d| d.up.len() == 1);
    driver.compression();
}

// --- outside ------------------------------------------------------------------------------------

fn run(command: &str) -> bool {
    let status = Command::new("sh")
        .args(["-c", command])
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|s| s.success())
}

struct Lab {
    namespaces: [String; 2],
    charon: Child,
    directory: tempfile::TempDir,
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.charon.kill();
        let _ = self.charon.wait();
        for name in &self.namespaces {
            run(&format!("ip netns del {name}"));
        }
    }
}

fn write(directory: &Path, name: &str, text: &str) -> PathBuf {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// How charon is set up.
struct Setup<'a> {
    proposals: &'a str,
    children: &'a str,
    /// Beside those of IKE itself.
    plugins: &'a str,
}

/// `None` where something is missing, with a line that says what.
fn lab(setup: &Setup<'_>) -> Option<Lab> {
    let Setup {
        proposals,
        children,
        plugins: kernel,
    } = setup;
    let plugins = Path::new("/usr/lib/ipsec/plugins");
    let files = [
        Path::new(CHARON).to_path_buf(),
        plugins.join("libstrongswan-openssl.so"),
        plugins.join("libstrongswan-kernel-libipsec.so"),
    ];
    if let Some(missing) = files.iter().find(|f| !f.exists()) {
        eprintln!("skipped: {} is not there", missing.display());
        return None;
    }
    let [ours, theirs] = namespaces();
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: network namespaces need root");
        return None;
    }
    assert!(run(&format!(
        "ip netns add {ours} && ip netns add {theirs}"
    )));
    assert!(run(&format!(
        "ip link add ike0 netns {ours} type veth peer name ike0 netns {theirs} &&
         ip -n {ours} addr add 192.0.2.1/24 dev ike0 && ip -n {ours} link set ike0 up &&
         ip -n {theirs} addr add 192.0.2.2/24 dev ike0 && ip -n {theirs} link set ike0 up &&
         ip -n {theirs} addr add 10.2.0.1/32 dev lo && ip -n {theirs} link set lo up"
    )));
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path();
    let vici = format!("unix://{}/vici", at.display());
    let conf = write(
        at,
        "strongswan.conf",
        &format!(
            "charon-systemd {{
               load = random nonce openssl sha2 hmac kdf gcm curve25519 {kernel} \
                      kernel-netlink socket-default vici
               filelog {{ log {{ path = {}/log
                 default = 1
                 ike = 2
                 flush_line = yes }} }}
               plugins {{ vici {{ socket = {vici} }} }}
             }}",
            at.display()
        ),
    );
    let swan = write(
        at,
        "swanctl.conf",
        &format!(
            "connections {{ ours {{
               version = 2
               local_addrs = 192.0.2.2
               remote_addrs = 192.0.2.1
               {proposals}
               local {{ auth = psk
                 id = theirs.example }}
               remote {{ auth = psk
                 id = ours.example }}
               children {{ {children} }}
             }} }}
             pools {{ clients {{ addrs = 10.30.0.0/28
               dns = 10.2.0.53 }} }}
             secrets {{ ike-1 {{ secret = swordfish }} }}"
        ),
    );
    let charon = Command::new("ip")
        .args(["netns", "exec", &theirs, CHARON])
        .env("STRONGSWAN_CONF", &conf)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lab = Lab {
        namespaces: [ours, theirs],
        charon,
        directory,
    };
    let load = format!("swanctl --load-all --file {} --uri {vici}", swan.display());
    let deadline = Instant::now() + PATIENCE;
    while !run(&format!("{load} >/dev/null")) {
        assert!(Instant::now() < deadline, "charon did not start");
        std::thread::sleep(Duration::from_millis(100));
    }
    Some(lab)
}

/// There is one pair of namespaces, whichever test plays in it.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn play(role: &str, setup: &Setup<'_>) {
    // A test that failed has ended all the same.
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(lab) = lab(setup) else { return };
    let output = Command::new("ip")
        .args(["netns", "exec", &lab.namespaces[0]])
        .arg(std::env::current_exe().unwrap())
        .args(["inside", "--exact", "--nocapture"])
        .env("IKE_INTEROP_ROLE", role)
        .env("IKE_INTEROP_THEIRS", &lab.namespaces[1])
        .env(
            "IKE_INTEROP_VICI",
            format!("unix://{}/vici", lab.directory.path().display()),
        )
        .output()
        .unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    if !output.status.success() {
        let log = std::fs::read_to_string(lab.directory.path().join("log"));
        panic!(
            "{}\n{}\n{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            log.unwrap_or_default()
        );
    }
}

/// One after the other, in one pair of namespaces at a time.
#[test]
fn strongswan_and_the_endpoint_agree_in_both_roles() {
    let variants = [
        // Whatever strongSwan proposes by itself.
        "",
        // Curve25519 and GCM.
        "proposals = aes128gcm16-prfsha256-x25519",
        // P-256: INVALID_KE_PAYLOAD when we begin.
        "proposals = aes256-sha384-prfsha384-ecp256",
    ];
    for variant in variants {
        for role in ["initiator", "responder"] {
            let setup = Setup {
                proposals: variant,
                children: "site { local_ts = 10.2.0.0/16
                    remote_ts = 10.1.0.0/16 }",
                plugins: "kernel-libipsec",
            };
            play(role, &setup);
        }
    }
}

#[test]
fn strongswan_and_the_endpoint_give_each_other_addresses() {
    let roles = [
        ("client", "pools = clients", "local_ts = 10.2.0.0/16"),
        ("gateway", "vips = 0.0.0.0", "remote_ts = 10.1.0.0/16"),
    ];
    for (role, addresses, traffic) in roles {
        let setup = Setup {
            proposals: addresses,
            children: &format!("site {{ {traffic} }}"),
            plugins: "kernel-libipsec",
        };
        play(role, &setup);
    }
}

/// In user space its ESP pretends that there is a NAT, behind which nobody keeps an address.
#[test]
#[ignore = "needs ESP"]
fn strongswan_and_the_endpoint_let_each_other_keep_the_address_that_they_have() {
    let roles = [
        ("keeping-client", "local_ts = 10.2.0.0/16"),
        ("keeping-gateway", "remote_ts = 10.1.0.0/16"),
    ];
    for (role, traffic) in roles {
        let setup = Setup {
            proposals: "",
            children: &format!("site {{ {traffic} }}"),
            plugins: "",
        };
        play(role, &setup);
    }
}

#[test]
#[ignore = "needs ESP"]
fn strongswan_and_the_endpoint_agree_on_ah_beside_esp() {
    // Who answers chooses a child by its traffic alone, so there one must have both.
    let roles = [
        (
            "ah-initiator",
            "hosts { mode = transport
               ah_proposals = sha384
               esp_proposals = aes128gcm16 }",
        ),
        (
            "ah-responder",
            "ah { mode = transport
               ah_proposals = sha256 }
             esp { mode = transport
               esp_proposals = aes256gcm16 }",
        ),
    ];
    for (role, children) in roles {
        let setup = Setup {
            proposals: "",
            children,
            plugins: "",
        };
        play(role, &setup);
    }
}

#[test]
#[ignore = "needs ESP and IPComp"]
fn strongswan_and_the_endpoint_agree_on_compression() {
    for role in ["ipcomp-initiator", "ipcomp-responder"] {
        let setup = Setup {
            proposals: "",
            children: "hosts { mode = transport
                ipcomp = yes
                esp_proposals = aes128gcm16 }",
            plugins: "",
        };
        play(role, &setup);
    }
}

/// It is asked, and does not answer that.
#[test]
#[ignore = "needs ESP"]
fn a_strongswan_that_does_not_compress_protects_all_the_same() {
    let setup = Setup {
        proposals: "",
        children: "hosts { mode = transport
            esp_proposals = aes128gcm16 }",
        plugins: "",
    };
    play("without-ipcomp", &setup);
}
