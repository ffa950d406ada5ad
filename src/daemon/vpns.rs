//! VPNs of other software, as the daemon sees them: their interfaces, and the policies of the kernel that they rely on.

use crate::agent::event::Event;
use crate::agent::vpn::settings::VpnSettings;
use crate::kernel::adapters::{Adapter, Look};
use crate::kernel::outbound::{self, Watch};
use std::io;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;

#[derive(Debug)]
pub struct Vpns {
    told: UnboundedSender<Event>,
    interfaces: Vec<Adapter>,
    /// While a VPN relies on policies.
    watch: Option<AbortHandle>,
}

impl Vpns {
    /// Tells when policies have changed.
    pub fn new(told: UnboundedSender<Event>) -> Self {
        Self {
            told,
            interfaces: Vec::new(),
            watch: None,
        }
    }

    /// The interfaces, where they are not what they were.
    pub fn interfaces(&mut self, look: &mut Look, settings: &VpnSettings) -> Option<Event> {
        let names = settings.interfaces();
        if names.is_empty() && self.interfaces.is_empty() {
            return None;
        }
        match look.named(&names) {
            Ok(interfaces) if interfaces == self.interfaces => None,
            Ok(interfaces) => {
                self.interfaces.clone_from(&interfaces);
                Some(Event::VpnInterfaces(interfaces))
            }
            Err(error) => {
                tracing::warn!(%error, "cannot tell what became of the VPN's interface");
                None
            }
        }
    }

    /// Begins or ends to look at policies, as the settings want.
    pub fn watch(&mut self, settings: &VpnSettings) {
        match (settings.relies_on_policies(), self.watch.take()) {
            (true, None) => {
                let task = tokio::task::spawn_local(look_at_policies(self.told.clone()));
                self.watch = Some(task.abort_handle());
            }
            (false, Some(task)) => task.abort(),
            (_, watch) => self.watch = watch,
        }
    }
}

/// Until the agent ends. What cannot be looked at protects nothing.
async fn look_at_policies(told: UnboundedSender<Event>) {
    if let Err(error) = follow_policies(&told).await {
        tracing::error!(%error, "cannot tell whether the VPN's policies are there: it carries nothing");
        // The agent ends, where nobody hears it.
        let _ = told.send(Event::OutboundPolicies(Vec::new()));
    }
}

async fn follow_policies(told: &UnboundedSender<Event>) -> io::Result<()> {
    let mut watch = Watch::open()?;
    let mut before = Vec::new();
    loop {
        let policies = outbound::of_others().map_err(|error| io::Error::from(error.errno))?;
        if policies != before {
            before.clone_from(&policies);
            if told.send(Event::OutboundPolicies(policies)).is_err() {
                return Ok(());
            }
        }
        watch.changed().await?;
    }
}
