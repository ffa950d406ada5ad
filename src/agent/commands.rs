//! What an administrator asks of a running agent.

use super::Agent;
use super::effect::{Effect, Reply};
use super::event::{Command, Token};
use super::snapshot::DiscoverReport;
use super::vpn::VpnCommand;
use crate::net::Flow;
use crate::ted::initiator::RequestId;
use crate::ted::proxies::ProxyId;
use std::net::Ipv4Addr;
use std::time::Instant;

impl Agent {
    pub(super) fn command(&mut self, now: Instant, token: Token, command: Command) {
        let reply = match command {
            Command::Status => Reply::Status(Box::new(self.snapshot(now))),
            Command::Forget { prefix } => Reply::Forgotten(self.forget(prefix)),
            Command::Discover { flow } => match self.discover(now, token, flow) {
                Ok(()) => return,
                Err(error) => Reply::Discovered(DiscoverReport {
                    flow: flow.to_string(),
                    answers: Vec::new(),
                    error,
                }),
            },
            Command::Bindings => self.bindings(now),
            Command::Visitors => self.visitors(now),
            Command::Revoke(home) => self.revoke(now, home),
            Command::Vpn(command) => self.vpn_command(now, &command),
            Command::Presence(command) => return self.presence_command(now, token, command),
            Command::Policy(command) => return self.policy_command(now, token, command),
            Command::Ask(ask) => return self.ask_command(now, token, ask),
        };
        self.effects.push_back(Effect::Reply { token, reply });
    }

    /// Of our home agent, and of our foreign agent.
    fn revoke(&mut self, now: Instant, home: Ipv4Addr) -> Reply {
        if self.home.is_none() && self.foreign.is_none() {
            let message = "the configuration has neither [home-agent] nor [foreign-agent]";
            return Reply::Failed(message.to_owned());
        }
        let was_bound = self.revoke_binding(now, home);
        let visited = self.revoke_visitor(now, home);
        if was_bound || visited {
            Reply::Done
        } else {
            Reply::Failed(format!("nobody is registered as {home}"))
        }
    }

    fn vpn_command(&mut self, now: Instant, command: &VpnCommand) -> Reply {
        if self.mobility_has_vpn() {
            let message = "[mobility] decides when the VPN is up: `xfrm-agent mobility` says why it \
                           is as it is";
            return Reply::Failed(message.to_owned());
        }
        match command {
            VpnCommand::Up { name } => match self.vpn_up(now, name.as_deref()) {
                Ok(()) => return Reply::Done,
                Err(error) => return Reply::Failed(error),
            },
            VpnCommand::Down => self.vpn_down(now),
            VpnCommand::Warm => self.vpn_warm(now),
        }
        Reply::Done
    }

    /// Probes; the report follows when answers have had time to come.
    fn discover(&mut self, now: Instant, token: Token, flow: Flow) -> Result<(), String> {
        let own = self
            .own_address_towards(flow.dst)
            .ok_or_else(|| format!("no route to {}: `ip route get {}`", flow.dst, flow.dst))?;
        let proxy = (0..)
            .zip(&self.proxies)
            .filter(|(_, (_, proxy))| proxy.covers(&flow))
            .max_by_key(|(_, (_, proxy))| proxy.specificity())
            .map(|(id, _)| ProxyId(id));
        let request = RequestId(token.0);
        self.initiator
            .discover(now, request, proxy, flow, own)
            .map_err(|error| error.to_string())?;
        self.discovering.insert(token.0, (token, flow));
        Ok(())
    }
}
