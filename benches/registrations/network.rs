//! A home agent between its mobile nodes and somebody who speaks to them.
//!
//! ```text
//!  correspondent .1 ── 192.0.3.0/24 ── .2 home agent .2 ── 192.0.2.0/24 ── .1 mobile nodes
//!                                                                   198.18.0.0/15, wherever they are
//! ```

use super::host::{Host, ip};
use super::machine::read;
use super::{AGENT, KEY, home};
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use xfrm_agent::control::client::Client;
use xfrm_agent::control::protocol::{Request, Response};

/// What the mobile nodes ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tunnels {
    /// IP in IP.
    InKernel,
    /// The same in UDP, which user space carries.
    InUdp,
}

pub struct Network {
    pub correspondent: Host,
    pub agent: Host,
    pub nodes: Host,
    directory: tempfile::TempDir,
    daemon: Option<Child>,
}

impl Network {
    /// With an agent that knows so many mobile nodes.
    pub fn new(count: u32) -> Self {
        let (correspondent, agent, nodes) = (Host::new(), Host::new(), Host::new());
        let [near, far] = [correspondent.thread, nodes.thread];
        agent.run(move || {
            ip(&format!(
                "link add near type veth peer name agent netns {near}"
            ));
            ip(&format!(
                "link add far type veth peer name agent netns {far}"
            ));
            ip(&format!("address add {AGENT}/24 dev far"));
            ip("address add 192.0.3.2/24 dev near");
            ip("link set near up");
            ip("link set far up");
        });
        correspondent.run(|| {
            ip("address add 192.0.3.1/24 dev agent");
            ip("link set agent up");
            ip("route add default via 192.0.3.2");
        });
        nodes.run(|| {
            ip("address add 192.0.2.1/24 dev agent");
            ip("link set agent up");
            ip("route add local 198.18.0.0/15 dev lo");
        });
        agent.run(|| ip("route add 198.18.0.0/15 via 192.0.2.1"));
        let directory = tempfile::tempdir().expect("a directory");
        let mut network = Self {
            correspondent,
            agent,
            nodes,
            directory,
            daemon: None,
        };
        network.configure(count);
        network.start();
        network
    }

    fn configure(&self, count: u32) {
        let folder = self.directory.path();
        for name in ["run", "state"] {
            fs::create_dir(folder.join(name)).expect("a new directory");
        }
        let mut text = format!(
            "[agent]\nruntime-dir = \"{0}/run\"\nstate-dir = \"{0}/state\"\n[identity]\nid = \"ha.example\"\n\
             [home-agent]\naddress = \"{AGENT}\"\nhome-network = \"10.64.0.0/10\"\n",
            folder.display()
        );
        for home in (0..count).map(home) {
            write!(
                text,
                "[[mobile-node]]\nhome = \"{home}\"\nspi = 256\nkey-file = \"node.key\"\n"
            )
            .expect("a string takes every text");
        }
        let mut key = "0x".to_owned();
        for octet in KEY {
            write!(key, "{octet:02x}").expect("a string takes every text");
        }
        for (name, text) in [("agent.toml", text), ("node.key", key)] {
            let path = folder.join(name);
            fs::write(&path, text).expect("room for a file");
            fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("our own file");
        }
    }

    /// Returns when it answers, and how long that took.
    pub fn start(&mut self) -> Duration {
        let program: PathBuf = std::env::var_os("XFRM_AGENT").expect("XFRM_AGENT").into();
        let configuration = self.directory.path().join("agent.toml");
        let log = File::create(self.directory.path().join("log")).expect("room for a file");
        let began = Instant::now();
        let start = move || {
            let mut command = Command::new(program);
            command.arg("run").arg("-c").arg(configuration);
            command.stdout(Stdio::null()).stderr(log).spawn()
        };
        self.daemon = Some(self.agent.run(start).expect("XFRM_AGENT is a program"));
        while self.bindings().is_none() {
            let daemon = self.daemon.as_mut().expect("just started");
            if let Some(status) = daemon.try_wait().expect("our child") {
                let log = read(&self.directory.path().join("log").to_string_lossy());
                panic!("the agent ended with {status}: {log}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        began.elapsed()
    }

    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().expect("our child");
            daemon.wait().expect("our child");
        }
    }

    /// As the agent counts them; `None` while it does not answer.
    pub fn bindings(&self) -> Option<usize> {
        let socket = self.directory.path().join("run/control.sock");
        let response = Client::connect(&socket).ok()?.call(&Request::Status).ok()?;
        match response {
            Response::Status(snapshot) => Some(snapshot.home_agent?.bindings),
            other => panic!("{other:?}"),
        }
    }

    fn of_process(&self, file: &str) -> String {
        let id = self.daemon.as_ref().map_or(0, Child::id);
        read(&format!("/proc/{id}/{file}"))
    }

    /// Octets of the agent in memory.
    pub fn resident(&self) -> u64 {
        let status = self.of_process("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
        kib.expect("it runs") * 1024
    }

    /// Of all threads of the agent, in seconds.
    pub fn processor_time(&self) -> f64 {
        let stat = self.of_process("stat");
        // Behind the name, which stands in parentheses.
        let (_, stat) = stat.rsplit_once(')').expect("it runs");
        let fields = stat.split_whitespace();
        let ticks = fields.skip(11).take(2);
        let ticks = ticks.map(|ticks| ticks.parse::<f64>().expect("a number"));
        ticks.sum::<f64>() / 100.0
    }

    /// Octets of the store's file.
    pub fn stored(&self) -> u64 {
        let file = self.directory.path().join("state/bindings.redb");
        fs::metadata(file).expect("it has a store").len()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.kill();
    }
}
