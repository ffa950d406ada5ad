//! An adapter's packets: a TUN adapter that is there already, opened for reading and writing.
#![expect(unsafe_code, reason = "no crate has these requests")]

use nix::errno::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

const DEVICE: &str = "/dev/net/tun";
/// `TUNSETIFF`, `TUNSETOFFLOAD`, `TUNSETVNETHDRSZ`.
const SET_INTERFACE: libc::Ioctl = 0x4004_54ca_u32 as libc::Ioctl;
const SET_OFFLOAD: libc::Ioctl = 0x4004_54d0_u32 as libc::Ioctl;
const SET_HEADER_LEN: libc::Ioctl = 0x4004_54d8_u32 as libc::Ioctl;

/// `TUN_F_*`: checksums, TCP over IPv4 also where congestion is told, and datagrams, which kernels
/// before 6.2 do not have and the others offer for both versions of IP together.
const CHECKSUMS: libc::c_ulong = 0x01;
const TCP_SEGMENTS: libc::c_ulong = 0x02;
const ECN_SEGMENTS: libc::c_ulong = 0x08;
const UDP_SEGMENTS: libc::c_ulong = 0x20 | 0x40;

/// [`frame::LEN`](super::frame::LEN), as the kernel wants it.
const HEADER_LEN: libc::c_int = 10;

/// Not waited for: reading an empty one is `WouldBlock`.
#[derive(Debug)]
pub struct Device(File);

impl Device {
    /// In the calling thread's network namespace. One that nobody has made is made and goes with
    /// this; one that another program holds is an error.
    pub fn attach(name: &str) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(DEVICE)?;
        // SAFETY: a structure of integers and unions of them, for which zeros are a value.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        if name.len() >= request.ifr_name.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
            *to = libc::c_char::from_ne_bytes([from]);
        }
        let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
        request.ifr_ifru.ifru_flags = flags as libc::c_short;
        // SAFETY: the request is an `ifreq`, as `TUNSETIFF` wants, and outlives the call.
        let done = unsafe { libc::ioctl(file.as_raw_fd(), SET_INTERFACE, &raw mut request) };
        Errno::result(done)?;
        let len = HEADER_LEN;
        // SAFETY: `TUNSETVNETHDRSZ` reads an integer, which outlives the call.
        let done = unsafe { libc::ioctl(file.as_raw_fd(), SET_HEADER_LEN, &raw const len) };
        Errno::result(done)?;
        let device = Self(file);
        // The adapter remembers what was offered by who had it before, so it is always said.
        let offered = CHECKSUMS | TCP_SEGMENTS | ECN_SEGMENTS;
        device
            .offer(offered | UDP_SEGMENTS)
            .or_else(|_| device.offer(offered))?;
        Ok(device)
    }

    fn offer(&self, segments: libc::c_ulong) -> io::Result<()> {
        // SAFETY: `TUNSETOFFLOAD` takes its argument by value.
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), SET_OFFLOAD, segments) };
        Ok(Errno::result(done).map(drop)?)
    }

    /// A [`frame`](super::frame) header and a packet.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    pub fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        (&self.0).write_vectored(parts).map(drop)
    }
}

impl AsFd for Device {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Drop for Device {
    /// A persistent adapter stays, and its next owner may not know what to do with segments.
    fn drop(&mut self) {
        let _ = self.offer(0);
    }
}
