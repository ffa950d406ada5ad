//! Everything that may leave the agent. Drained with `Agent::poll_effect` after every input.

use super::event::Token;
use super::on_link::Frame;
use super::presence::commands::{AskReport, PolicyEntry, PresenceEntry};
use super::snapshot::{BindingView, DiscoverReport, EventView, Snapshot, VisitorView};
use super::vpn::commands::{Command, Run};
use crate::kernel::desired::{Change, LinkName};
use crate::kernel::first_packets::PacketId;
use crate::mobile_ip;
use crate::net::{IpNet, Selector};
use crate::presence::Keep;
use crate::tun::tunnels::{Binding, Side};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use tracing::Level;

#[derive(Debug)]
pub enum Effect {
    Kernel(Change),
    /// From one of our own ports, 500 or 4500; on the latter after four zero octets.
    Send {
        local: SocketAddr,
        remote: SocketAddr,
        payload: Vec<u8>,
    },
    /// With the addresses of the packet that it stands for, or of a probe that is passed on.
    SendAs {
        src: SocketAddr,
        dst: SocketAddr,
        hop_limit: u8,
        payload: Vec<u8>,
    },
    /// A first packet goes on to the policies.
    LetGo(PacketId),
    /// The next packet from the one to the other is a first one again.
    Forget {
        src: IpAddr,
        dst: IpAddr,
    },
    /// From port 434, by the link that it names or as the routing table has it.
    SendRegistration(mobile_ip::Datagram),
    /// On a link that is listened on.
    OnLink(Frame),
    /// In user space, between the tunnels of this binding and an adapter that we want of the kernel.
    /// Replaces what was said of the same side and home address.
    Carry {
        adapter: LinkName,
        binding: Binding,
    },
    CarryNoMore {
        side: Side,
        home: Ipv4Addr,
    },
    /// Answered with [`super::event::Event::CommandEnded`], and [`super::event::Event::VpnSays`] where there is more
    /// to say.
    RunCommand {
        run: Run,
        command: Command,
    },
    /// Kills it with what it has started; nothing is to be said of it any more.
    StopCommand(Run),
    /// Gratuitous ARP: packets for this address come to us on that link from now on.
    Announce {
        link: LinkName,
        address: Ipv4Addr,
    },
    /// To be kept across restarts: `clear` never applies to these again.
    Remember(Vec<Selector>),
    /// To be kept in the store.
    Keep(Keep),
    /// Every network that is known, for [`super::event::Event::Networks`] of the next start. Replaces what was kept.
    KeepNetworks(Vec<mobile_ip::domain::Context>),
    /// The home address that was given to us, for [`super::event::Event::Home`] of the next start. Replaces what was kept.
    KeepHome(super::mobility::given::GivenHome),
    /// To be kept in the store, and answered with [`super::event::Event::BindingsKept`]; numbers
    /// rise by one.
    KeepBinding {
        number: u64,
        kept: Box<mobile_ip::home_agent::effects::Kept>,
    },
    Reply {
        token: Token,
        reply: Reply,
    },
    /// One line for whoever follows `events`, and for the log at this level.
    Tell {
        line: EventView,
        level: Level,
    },
}

#[derive(Debug)]
pub enum Reply {
    Status(Box<Snapshot>),
    Discovered(DiscoverReport),
    /// The prefixes that were let go of.
    Forgotten(Vec<IpNet>),
    Presence(Vec<PresenceEntry>),
    Policies(Vec<PolicyEntry>),
    /// The row's number.
    Registered(u64),
    /// `Err` where no peer answered at all; what it keeps to itself is in the report.
    Asked(Result<AskReport, String>),
    Bindings(Vec<BindingView>),
    Visitors(Vec<VisitorView>),
    Done,
    Failed(String),
}

/// Which of our addresses packets towards somebody leave from: a look-up in the routing table,
/// injected like randomness.
pub trait Routes: Send {
    /// `None` where there is no route.
    fn source_towards(&mut self, dst: IpAddr) -> Option<IpAddr>;
}

impl std::fmt::Debug for dyn Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Routes")
    }
}
