//! Lists for whoever only looks.

use super::netlink::error::KernelError;
use super::netlink::socket::Requests;
use super::netlink::{neighbour, sa};
use super::observed::ObservedSa;
use super::ownership;
use netlink_packet_xfrm::constants::XFRM_MSG_GETSA;
use netlink_sys::protocols::{NETLINK_ROUTE, NETLINK_XFRM};

/// Our SAs, in the calling thread's network namespace.
pub fn own_sas() -> Result<Vec<ObservedSa>, KernelError> {
    let mut requests = Requests::open(NETLINK_XFRM)?;
    let sas = requests.dump(XFRM_MSG_GETSA, &[], sa::read)?;
    Ok(sas.into_iter().filter(ownership::owns_sa).collect())
}

/// The MAC addresses of the default gateways, there as well, as far as they are known.
pub fn gateways() -> Result<Vec<[u8; 6]>, KernelError> {
    neighbour::gateways(&mut Requests::open_strict(NETLINK_ROUTE)?)
}
