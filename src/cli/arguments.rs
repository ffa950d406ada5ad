//! The command line.

use super::presence::arguments::{Policy, Presence, Questions};
use crate::config;
use crate::net::{IpNet, MaskedAddr, Protocol};
use clap::{Args, Parser, Subcommand};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

/// Opportunistic IPsec: discovers the gateway at the other end and protects what both ends agree on.
#[derive(Debug, Parser)]
#[command(
    name = "xfrm-agent",
    version,
    after_help = "Exit status: 0 all went well, 1 something failed or is not as it should be, \
                  2 the command line was not understood."
)]
pub struct Arguments {
    /// Control socket of the agent to talk to.
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "XFRM_AGENT_SOCKET",
        default_value_os_t = default_socket()
    )]
    pub socket: PathBuf,
    #[command(subcommand)]
    pub command: Command,
}

fn default_socket() -> PathBuf {
    PathBuf::from(config::DEFAULT_RUNTIME_DIR).join(config::CONTROL_SOCKET)
}

#[derive(Debug, Subcommand)]
pub enum Vpn {
    /// Set it up.
    Up {
        /// Of its `[[vpn]]`; otherwise the first.
        name: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Take it down, and guard its address no longer.
    Down {
        #[command(flatten)]
        output: Output,
    },
    /// Leave it as it is, and say nothing to the gateway.
    Warm {
        #[command(flatten)]
        output: Output,
    },
    /// Show it, and the clients of this gateway.
    Show {
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the agent in the foreground.
    Run {
        /// Configuration file.
        #[arg(short, long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
        config: PathBuf,
    },
    /// Validate a configuration file and say how it is read.
    Check {
        /// Configuration file.
        #[arg(short, long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
        config: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Show what the agent protects, with whom, and what does not work.
    Status {
        #[command(flatten)]
        output: Output,
    },
    /// List the agent's policies in the kernel.
    Policies {
        #[command(flatten)]
        output: Output,
    },
    /// List the agent's security associations in the kernel, without their keys.
    Sas {
        #[command(flatten)]
        output: Output,
    },
    /// List the tunnels.
    Tunnels {
        #[command(flatten)]
        output: Output,
    },
    /// List who is registered with the agent's own home agent, and where.
    Bindings {
        #[command(flatten)]
        output: Output,
    },
    /// List who visits the agent's own foreign agent.
    Visitors {
        #[command(flatten)]
        output: Output,
    },
    /// Withdraw what a mobile node has registered with the agent's own home agent, or through its own
    /// foreign agent, and tell who understands that.
    Revoke {
        /// Its home address.
        home: Ipv4Addr,
        #[command(flatten)]
        output: Output,
    },
    /// Probe for the gateway of an address now, and show every answer. Sets nothing up.
    Discover {
        /// Destination of the packet that would be protected.
        address: IpAddr,
        /// Source of that packet; otherwise an address that the agent's proxies protect.
        #[arg(long, value_name = "ADDRESS")]
        from: Option<IpAddr>,
        /// Protocol of that packet, a name or a number; otherwise ICMP.
        #[arg(long)]
        protocol: Option<Protocol>,
        /// Destination port of that packet.
        #[arg(long, requires = "protocol", value_parser = clap::value_parser!(u16).range(1..))]
        port: Option<u16>,
        #[command(flatten)]
        output: Output,
    },
    /// Follow what the agent does, one line for each event.
    Events {
        #[command(flatten)]
        output: Output,
    },
    /// Who is where, and what to believe of it.
    #[command(subcommand)]
    Presence(Presence),
    /// What packets need, as rows of the security policy database.
    #[command(subcommand)]
    Policy(Policy),
    /// Ask the agent of a peer for its policy towards us and for its presence; both where neither
    /// is named.
    Request {
        #[command(flatten)]
        questions: Questions,
        #[command(flatten)]
        output: Output,
    },
    /// Our own VPN: a tunnel to a gateway that gives us an address.
    #[command(subcommand)]
    Vpn(Vpn),
    /// Show where this machine thinks it is, why, and which tunnels carry what.
    Mobility {
        #[command(flatten)]
        output: Output,
    },
    /// Look at presence and policies, live, and ask, judge and register in dialogs.
    Tui,
    /// Read the configuration file again.
    Reload {
        #[command(flatten)]
        output: Output,
    },
    /// Let go of addresses that were once protected: `on-failure = "clear"` holds for them again.
    Forget {
        #[command(flatten)]
        what: Forgotten,
        #[command(flatten)]
        output: Output,
    },
    /// Take everything of the agent out of the kernel, where none runs any more: what was to be
    /// protected flows as if there had never been one.
    Withdraw {
        /// Configuration file.
        #[arg(short, long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
        config: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Examine this machine: what is missing or in the way, and the command that mends it.
    Doctor {
        /// Configuration file to examine too.
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
        #[command(flatten)]
        output: Output,
    },
    /// Print the completion script of a shell.
    Completions { shell: clap_complete::Shell },
    /// Write man pages to a directory.
    #[command(hide = true)]
    Man { directory: PathBuf },
}

#[derive(Debug, Args)]
pub struct Output {
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Everything is let go of only where that was said.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Forgotten {
    /// Prefix, or one address.
    #[arg(value_parser = prefix)]
    pub prefix: Option<IpNet>,
    /// All of them.
    #[arg(long)]
    pub all: bool,
}

pub(super) fn prefix(text: &str) -> Result<IpNet, String> {
    let masked: MaskedAddr = text.parse().map_err(|_| "use a prefix like 10.2.0.0/16")?;
    masked
        .to_prefix()
        .ok_or_else(|| "ones and zeros are mixed in its mask".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Arguments, String> {
        let words = std::iter::once("xfrm-agent").chain(line.split_whitespace());
        Arguments::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_but_run_prints_json() {
        for line in [
            "check --json",
            "status --json",
            "policies --json",
            "sas --json",
            "tunnels --json",
            "bindings --json",
            "visitors --json",
            "revoke 198.51.100.5 --json",
            "discover 10.2.0.8 --json",
            "events --json",
            "reload --json",
            "forget 10.2.0.0/16 --json",
            "doctor --json",
            "presence list --json",
            "presence show a@example.com --json",
            "presence set a@example.com --location office --json",
            "presence clear a@example.com --json",
            "policy list --json",
            "policy propose a@example.com --json",
            "policy register --source 192.0.2.1 --destination 192.0.2.2 --action none --json",
            "policy remove 3 --json",
            "request 192.0.2.2 --json",
        ] {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
        assert!(
            parse("run --json")
                .unwrap_err()
                .contains("unexpected argument '--json'")
        );
    }

    #[test]
    fn forgetting_everything_has_to_be_said() {
        let forgotten = |line: &str| match parse(line).map(|a| a.command) {
            Ok(Command::Forget { what, .. }) => Ok(what.prefix.map(|p| p.to_string())),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        };
        assert!(forgotten("forget").is_err());
        assert!(forgotten("forget --all 10.2.0.0/16").is_err());
        assert_eq!(forgotten("forget --all"), Ok(None));
        assert_eq!(forgotten("forget 10.2.0.8"), Ok(Some("10.2.0.8/32".into())));
        let error = forgotten("forget ten").unwrap_err();
        assert!(error.contains("use a prefix like 10.2.0.0/16"), "{error}");
    }

    #[test]
    fn a_discovery_may_name_the_packet() {
        let line = "discover 10.2.0.8 --from 10.1.0.2 --protocol tcp --port 80";
        let Command::Discover { protocol, port, .. } = parse(line).unwrap().command else {
            panic!("not discover");
        };
        assert_eq!((protocol, port), (Some(Protocol::TCP), Some(80)));
        assert!(
            parse("discover 10.2.0.8 --port 80").is_err(),
            "a port of which protocol?"
        );
        let error = parse("discover 10.2.0.8 --protocol tpc").unwrap_err();
        assert!(error.contains("`tpc` is not a protocol"), "{error}");
    }

    #[test]
    fn completions_and_man_pages_are_generated() {
        let mut script = Vec::new();
        let bash = clap_complete::Shell::Bash;
        clap_complete::generate(bash, &mut Arguments::command(), "xfrm-agent", &mut script);
        assert!(String::from_utf8(script).unwrap().contains("--protocol"));
        let dir = tempfile::tempdir().unwrap();
        clap_mangen::generate_to(Arguments::command(), dir.path()).unwrap();
        let page = std::fs::read_to_string(dir.path().join("xfrm-agent-doctor.1")).unwrap();
        assert!(page.contains("Examine this machine"), "{page}");
    }
}
