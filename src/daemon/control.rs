//! Requests of the control socket, turned into the agent's commands and back.

use crate::agent::effect::Reply;
use crate::agent::event::{Command, Token};
use crate::config;
use crate::config::difference::Difference;
use crate::control::protocol::{
    Discover, FailureKind, Forget, Forgotten, Reloaded, Request, Response,
};
use crate::control::server::Call;
use crate::kernel::{interception, statistics};
use crate::net::{Family, Flow, Protocol};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use tokio::sync::oneshot;

/// Callers that wait for the agent's answer.
#[derive(Debug, Default)]
pub(super) struct Calls {
    waiting: BTreeMap<Token, oneshot::Sender<Response>>,
    next: u64,
}

/// What a call means for the daemon.
pub(super) enum Meaning {
    Ask(Token, Command),
    Reload(oneshot::Sender<Response>),
    /// Answered already.
    Done,
}

/// A source port of its own for packets that exist only on paper.
const IMAGINED_PORT: u16 = 49152;

impl Calls {
    /// `source` gives an address that the configured proxies protect.
    pub(super) fn accept(
        &mut self,
        call: Call,
        source: impl FnOnce(IpAddr) -> Option<IpAddr>,
    ) -> Meaning {
        let command = match call.request {
            Request::Status => Command::Status,
            Request::Forget(Forget { prefix }) => Command::Forget { prefix },
            Request::Reload => return Meaning::Reload(call.reply),
            Request::Discover(discover) => match imagine(&discover, source) {
                Ok(flow) => Command::Discover { flow },
                Err(message) => {
                    let _ = call
                        .reply
                        .send(Response::failed(FailureKind::Refused, message));
                    return Meaning::Done;
                }
            },
            Request::Presence(command) => Command::Presence(command),
            Request::Policy(command) => Command::Policy(command),
            Request::Ask(ask) => Command::Ask(ask),
            Request::Vpn(command) => Command::Vpn(command),
            Request::Bindings => Command::Bindings,
            Request::Visitors => Command::Visitors,
            Request::Revoke(home) => Command::Revoke(home),
            // The server serves these itself.
            Request::Events => return Meaning::Done,
        };
        self.next += 1;
        let token = Token(self.next);
        self.waiting.insert(token, call.reply);
        Meaning::Ask(token, command)
    }

    pub(super) fn answer(&mut self, token: Token, reply: Reply) {
        let response = match reply {
            Reply::Status(mut snapshot) => {
                snapshot.counters.extend(kernel_counters());
                Response::Status(snapshot)
            }
            Reply::Discovered(report) => Response::Discovered(report),
            Reply::Forgotten(prefixes) => Response::Forgotten(Forgotten { prefixes }),
            Reply::Presence(entries) => Response::Presence(entries),
            Reply::Policies(entries) => Response::Policies(entries),
            Reply::Registered(number) => Response::Registered(number),
            Reply::Asked(Ok(report)) => Response::Asked(report),
            Reply::Bindings(bindings) => Response::Bindings(bindings),
            Reply::Visitors(visitors) => Response::Visitors(visitors),
            Reply::Done => Response::Done,
            Reply::Asked(Err(message)) | Reply::Failed(message) => {
                Response::failed(FailureKind::Refused, message)
            }
        };
        if let Some(caller) = self.waiting.remove(&token) {
            // A caller that has gone away does not need it.
            let _ = caller.send(response);
        }
    }
}

/// The packet that `discover` probes for.
fn imagine(
    discover: &Discover,
    source: impl FnOnce(IpAddr) -> Option<IpAddr>,
) -> Result<Flow, String> {
    let dst = discover.address;
    let src = match discover.from.or_else(|| source(dst)) {
        Some(src) if Family::of(src) == Family::of(dst) => src,
        Some(src) => return Err(format!("{src} and {dst} are of different IP versions")),
        None => {
            return Err(format!(
                "no [[proxy]] leads to {dst}: say the source with --from"
            ));
        }
    };
    let icmp = if dst.is_ipv4() {
        Protocol::ICMP
    } else {
        Protocol::ICMPV6
    };
    let protocol = discover.protocol.unwrap_or(icmp.number());
    let ports = match discover.port {
        Some(port) => Some((IMAGINED_PORT, port)),
        None if Protocol::Is(protocol).has_ports() => {
            return Err(format!(
                "{} packets have ports: say --port",
                Protocol::Is(protocol)
            ));
        }
        None => None,
    };
    Ok(Flow {
        src,
        dst,
        protocol,
        ports,
    })
}

/// What the kernel counted where the agent does not see packets: refused by IPsec (its own names),
/// and intercepted or let through by the agent's nftables table.
fn kernel_counters() -> BTreeMap<String, u64> {
    let mut counters = statistics::read().unwrap_or_default();
    let table = interception::counters().unwrap_or_default();
    counters.extend(
        table
            .into_iter()
            .map(|(name, n)| (format!("packets-{name}"), n)),
    );
    counters
}

/// The answer to `reload`, and the new configuration where there is one.
pub(super) fn reloaded(
    path: &Path,
    old: &config::Loaded,
    new: Result<config::Loaded, config::Error>,
) -> (Response, Option<config::Loaded>) {
    match new {
        Err(error) => (
            Response::failed(FailureKind::Refused, error.to_string()),
            None,
        ),
        Ok(new) => {
            let answer = Reloaded {
                changes: lines(&Difference::between(old, &new)),
                warnings: lines(&config::listed(path, &new.warnings)),
            };
            (Response::Reloaded(answer), Some(new))
        }
    }
}

fn lines(text: &impl ToString) -> Vec<String> {
    text.to_string().lines().map(str::to_owned).collect()
}
