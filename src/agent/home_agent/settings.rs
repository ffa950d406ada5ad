//! What the configuration says of our own home agent.

use crate::kernel::desired::LinkName;
use crate::mobile_ip::home_agent::settings::Settings;

#[derive(Clone, Debug)]
pub struct HomeAgentSettings {
    pub protocol: Settings,
    /// Where the home network is; `None` for a virtual one.
    pub link: Option<LinkName>,
}
