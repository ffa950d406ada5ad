//! Persistent TUN adapters: made through `/dev/net/tun`, since routing netlink refuses to.

use super::desired::{Link, Offload};
use super::netlink::error::KernelError;
use super::netlink::link;
use super::netlink::socket::Requests;
use nix::errno::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;

const DEVICE: &str = "/dev/net/tun";
/// `TUNSETIFF` and `TUNSETPERSIST`.
const SET_INTERFACE: libc::Ioctl = 0x4004_54ca_u32 as libc::Ioctl;
const SET_PERSISTENT: libc::Ioctl = 0x4004_54cb_u32 as libc::Ioctl;

/// It is marked as ours before it becomes persistent: wherever the process is killed, it is ours or
/// it is gone.
pub(super) fn make(
    requests: &mut Requests,
    wanted: &Link,
    offload: Offload,
) -> Result<(), KernelError> {
    let device = OpenOptions::new().read(true).write(true).open(DEVICE)?;
    attach(&device, wanted, offload)?;
    link::mark(requests.batch(), wanted);
    if let Some((_, error)) = requests.flush()?.pop() {
        return Err(error);
    }
    persist(&device)?;
    Ok(())
}

#[expect(unsafe_code, reason = "no crate has these requests")]
fn attach(device: &File, wanted: &Link, offload: Offload) -> io::Result<()> {
    let offload = match offload {
        Offload::None => 0,
        Offload::VirtioHeader => libc::IFF_VNET_HDR,
    };
    // With the last flag an interface that is there is refused and not attached to.
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_TUN_EXCL | offload;
    // SAFETY: a structure of integers and unions of them, for which zeros are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request
        .ifr_name
        .iter_mut()
        .zip(wanted.name.as_str().bytes())
    {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: the request is an `ifreq`, as `TUNSETIFF` wants, and outlives the call.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), SET_INTERFACE, &raw mut request) };
    Ok(Errno::result(done).map(drop)?)
}

#[expect(unsafe_code, reason = "no crate has these requests")]
fn persist(device: &File) -> io::Result<()> {
    let yes: libc::c_ulong = 1;
    // SAFETY: `TUNSETPERSIST` takes its argument by value.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), SET_PERSISTENT, yes) };
    Ok(Errno::result(done).map(drop)?)
}
