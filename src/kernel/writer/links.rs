//! Makes and removes network interfaces.

use crate::kernel::desired::{Link, LinkKind};
use crate::kernel::netlink::error::KernelError;
use crate::kernel::netlink::link;
use crate::kernel::netlink::socket::Requests;
use crate::kernel::tun;

/// Its index. One that could not be made whole is taken out again, so that the next attempt finds
/// none.
pub(super) fn make(requests: &mut Requests, wanted: &Link) -> Result<u32, KernelError> {
    match wanted.kind {
        LinkKind::Tun(offload) => {
            tun::make(requests, wanted, offload)?;
            keep_free_of_ipv6(requests, wanted)?;
        }
        kind => {
            // Within one system call: no signal comes between, so it is not left without its mark.
            link::add_tunnel(requests.batch(), wanted);
            link::mark(requests.batch(), wanted);
            all_done(requests)?;
            // Those of IPv6 carry it, and have no need of a link-local address.
            if matches!(
                kind,
                LinkKind::Ipv6InIp { .. } | LinkKind::Ipv6InIpBetween { .. }
            ) {
                keep_free_of_ipv6(requests, wanted)?;
            }
        }
    }
    let index = link::fetch(requests, wanted.name)?.index;
    set(requests, wanted).inspect_err(|_| {
        if let Err(error) = delete(requests, index) {
            tracing::warn!(%error, link = %wanted.name, "it is left half made");
        }
    })?;
    Ok(index)
}

fn keep_free_of_ipv6(requests: &mut Requests, wanted: &Link) -> Result<(), KernelError> {
    link::keep_free_of_ipv6(requests.batch(), wanted);
    if let Some((_, error)) = requests.flush()?.pop() {
        tracing::debug!(%error, link = %wanted.name, "no IPv6 to keep it free of");
    }
    Ok(())
}

pub(super) fn set(requests: &mut Requests, wanted: &Link) -> Result<(), KernelError> {
    link::set(requests.batch(), wanted);
    all_done(requests)
}

pub(super) fn delete(requests: &mut Requests, index: u32) -> Result<(), KernelError> {
    link::delete(requests.batch(), index);
    all_done(requests)
}

/// The first refusal is the cause of the others.
fn all_done(requests: &mut Requests) -> Result<(), KernelError> {
    match requests.flush()?.into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}
