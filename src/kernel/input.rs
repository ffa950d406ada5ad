//! Descriptors of the kernel's that the runtime watches.
#![expect(
    unsafe_code,
    reason = "the runtime has no safe registration for reading alone"
)]

use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Within a tokio runtime. Not to be told of room for writing, too, as tokio's own socket is: that
/// comes with every datagram that has left, while the peer may be answering already.
pub fn awaiting_input(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the `AsyncFd` owns the descriptor and gives it away to nobody, so that its number
    // names the same open file for as long as it is registered.
    Ok(unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) }?)
}
