//! `check`: a configuration file as it is read.

mod presence;

use super::render::{Table, blocks, count};
use crate::agent::settings::{FailureAction, OnStop, ProxyGroup, TunnelMode};
use crate::config::report::Problem;
use crate::config::{self, Loaded};
use crate::ike::settings::Peer;
use presence::Presence;
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(Debug, Serialize)]
pub struct Report {
    pub file: PathBuf,
    pub accepted: bool,
    /// Why it was not accepted.
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
    /// `None` where it was not accepted.
    pub interpretation: Option<Interpretation>,
    /// The problems with their places.
    #[serde(skip)]
    refusal: String,
}

/// Holds no secrets: of a key, its length.
#[derive(Debug, Serialize)]
pub struct Interpretation {
    pub identity: String,
    pub control_socket: PathBuf,
    pub control_group: Option<String>,
    pub state_dir: PathBuf,
    pub on_stop: &'static str,
    pub proxies: Vec<Proxy>,
    pub peers: Vec<BelievedPeer>,
    /// `None`: it is off.
    pub presence: Option<Presence>,
}

#[derive(Debug, Serialize)]
pub struct Proxy {
    pub name: String,
    pub on_failure: &'static str,
    pub failure_lifetime_ms: u128,
    pub mode: &'static str,
    /// Every pair of local and remote.
    pub traffic: Vec<String>,
    #[serde(skip)]
    retry: String,
}

#[derive(Debug, Serialize)]
pub struct BelievedPeer {
    pub id: String,
    pub key_octets: usize,
    pub may_protect: Vec<String>,
}

impl Report {
    pub fn of(file: &Path, loaded: Result<Loaded, config::Error>) -> Self {
        let mut report = Self {
            file: file.to_owned(),
            accepted: loaded.is_ok(),
            problems: Vec::new(),
            warnings: Vec::new(),
            interpretation: None,
            refusal: String::new(),
        };
        if let Err(error) = &loaded {
            report.refusal = error.to_string();
        }
        match loaded {
            Ok(loaded) => {
                report.interpretation = Some(Interpretation::of(&loaded));
                report.warnings = loaded.warnings;
            }
            Err(config::Error::Invalid { problems, .. }) => report.problems = problems,
            Err(error) => report.problems.push(Problem {
                position: None,
                message: error.to_string(),
            }),
        }
        report
    }

    pub fn render(&self, width: usize) -> String {
        let Some(interpretation) = &self.interpretation else {
            let problems = count(self.problems.len(), "problem");
            return format!("{}\n{problems}: not accepted\n", self.refusal);
        };
        let mut parts = vec![interpretation.render(width)];
        if !self.warnings.is_empty() {
            let warnings = config::listed(&self.file, &self.warnings);
            parts.push(format!("Warnings\n{warnings}\n"));
        }
        parts.push(format!("{}: accepted\n", self.file.display()));
        blocks(&parts)
    }
}

impl Interpretation {
    fn of(loaded: &Loaded) -> Self {
        let settings = &loaded.agent;
        let group = loaded.daemon.control_group.as_ref();
        Self {
            identity: settings.identity.to_string(),
            control_socket: loaded.daemon.control_socket(),
            control_group: group.map(|group| group.name.clone()),
            state_dir: loaded.daemon.state_dir.clone(),
            on_stop: match settings.on_stop {
                OnStop::Keep => "keep",
                OnStop::Remove => "remove",
            },
            proxies: settings.proxies.iter().map(Proxy::of).collect(),
            peers: settings.peers.iter().map(BelievedPeer::of).collect(),
            presence: settings.presence.as_ref().map(Presence::of),
        }
    }

    fn render(&self, width: usize) -> String {
        let readers = match &self.control_group {
            Some(group) => format!(
                "{} (root, and {group} to look)",
                self.control_socket.display()
            ),
            None => format!("{} (root)", self.control_socket.display()),
        };
        let mut general = Table::bare(2);
        general.row(["identity", &self.identity]);
        general.row(["control socket", &readers]);
        general.row(["state", &self.state_dir.display().to_string()]);
        general.row(["on stop", self.on_stop]);

        let mut proxies = Table::new(&["NAME", "ON FAILURE", "RETRY", "MODE", "TRAFFIC"]);
        for proxy in &self.proxies {
            for (index, traffic) in proxy.traffic.iter().enumerate() {
                if index == 0 {
                    proxies.row([
                        &proxy.name,
                        proxy.on_failure,
                        &proxy.retry,
                        proxy.mode,
                        traffic,
                    ]);
                } else {
                    proxies.row(["", "", "", "", traffic]);
                }
            }
        }
        let mut peers = Table::new(&["ID", "KEY", "MAY PROTECT"]);
        for peer in &self.peers {
            let key = count(peer.key_octets, "octet");
            peers.row([&peer.id, &key, &peer.may_protect.join(", ")]);
        }
        let mut parts = vec![
            general.render(width),
            format!("Proxies\n{}", proxies.render(width)),
            format!("Peers\n{}", peers.render(width)),
        ];
        parts.extend(self.presence.iter().flat_map(|p| p.render(width)));
        blocks(&parts)
    }
}

impl Proxy {
    fn of(group: &ProxyGroup) -> Self {
        Self {
            name: group.name.clone(),
            on_failure: match group.on_failure {
                FailureAction::Block => "block",
                FailureAction::Clear => "clear",
            },
            failure_lifetime_ms: group.failure_lifetime.as_millis(),
            mode: match group.mode {
                TunnelMode::Tunnel => "tunnel",
                TunnelMode::Transport => "transport",
            },
            traffic: group.proxies.iter().map(ToString::to_string).collect(),
            retry: config::show_duration(group.failure_lifetime),
        }
    }
}

impl BelievedPeer {
    fn of(peer: &Peer) -> Self {
        let itself = peer.may_protect_itself.then(|| "self".to_owned());
        let nets = peer.may_protect.iter().map(ToString::to_string);
        Self {
            id: peer.id.to_string(),
            key_octets: peer.psk.len(),
            may_protect: itself.into_iter().chain(nets).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    pub(super) fn checked(config: &str) -> (Report, String) {
        let dir = tempfile::tempdir().unwrap();
        let psk = dir.path().join("gw106.psk");
        fs::write(&psk, "correct horse battery").unwrap();
        fs::set_permissions(&psk, Permissions::from_mode(0o600)).unwrap();
        let file = dir.path().join("c.toml");
        fs::write(&file, config).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        let report = Report::of(&file, config::load(&file));
        let directory = format!("{}/", dir.path().display());
        let text = report.render(160).replace(&directory, "");
        (report, text)
    }

    #[test]
    fn a_good_file_is_spelled_out() {
        let (report, text) = checked(
            r#"
            [identity]
            id = "gw104.example"
            [[proxy]]
            name = "site-w"
            local = ["10.1.0.0/16", "2001:db8:1::/48"]
            remote = ["10.2.0.0/16", "10.3.0.0/16", "2001:db8:2::/48"]
            on-failure = "clear"
            [[peer]]
            id = "gw106.example"
            psk-file = "gw106.psk"
            may-protect = ["10.2.0.0/16", "2001:db8:2::/48", "self"]
            "#,
        );
        assert!(report.accepted);
        assert_eq!(
            text,
            "\
identity        gw104.example
control socket  /run/xfrm-agent/control.sock (root)
state           /var/lib/xfrm-agent
on stop         keep

Proxies
NAME    ON FAILURE  RETRY  MODE    TRAFFIC
site-w  clear       30s    tunnel  10.1.0.0/16 <> 10.2.0.0/16 any
                                   10.1.0.0/16 <> 10.3.0.0/16 any
                                   2001:db8:1::/48 <> 2001:db8:2::/48 any

Peers
ID             KEY        MAY PROTECT
gw106.example  21 octets  self, 10.2.0.0/16, 2001:db8:2::/48

c.toml: accepted
"
        );
        let json = serde_json::to_string(&report).unwrap();
        assert!(!json.contains("horse"), "{json}");
    }

    #[test]
    fn a_missing_file_is_named_once() {
        let file = Path::new("/nonexistent/c.toml");
        let text = Report::of(file, config::load(file)).render(100);
        let expected = "cannot open /nonexistent/c.toml: No such file or directory (os error 2)\n\
                        1 problem: not accepted\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_bad_file_is_listed_with_its_places() {
        let (report, text) =
            checked("[identity]\nid = \"a\"\nname = \"b\"\n[ike]\nliveness = \"x\"\n");
        assert!(!report.accepted);
        assert_eq!(
            text,
            "\
c.toml:3:1: unknown key `name` in [identity]: it is a key of [[proxy]]
c.toml:5:12: liveness: `x` is not a duration: seconds as a number, or a text like \"250ms\", \
\"30s\", \"5m\" or \"1h\"
2 problems: not accepted
"
        );
    }
}
