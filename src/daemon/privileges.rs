//! Only what the work needs: the capabilities of a network administrator, not all of root's.

use std::io;

/// `capget(2)` and `capset(2)`, version 3: two words of 32 capabilities.
const VERSION_3: u32 = 0x2008_0522;

const CAP_NET_BIND_SERVICE: u32 = 10;
const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;

/// Ports 500 and 4500; XFRM, routes, nftables, marks, transparent sockets; packets with the
/// addresses of others.
pub const NEEDED: [(u32, &str); 3] = [
    (CAP_NET_ADMIN, "CAP_NET_ADMIN"),
    (CAP_NET_RAW, "CAP_NET_RAW"),
    (CAP_NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE"),
];

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} is missing: run the agent as root, or with dist/xfrm-agent.service")]
    Missing(&'static str),
    #[error("cannot read or drop capabilities: {0}")]
    Io(#[from] io::Error),
}

/// Gives up every capability but [`NEEDED`], and the way to get any back: `nft`, and the commands of a VPN
/// of other software, inherit no more than these.
pub fn reduce() -> Result<(), Error> {
    let held = sys::permitted()?;
    for (capability, name) in NEEDED {
        if held & (1 << capability) == 0 {
            return Err(Error::Missing(name));
        }
    }
    let mask = NEEDED
        .iter()
        .fold(0, |mask, (capability, _)| mask | 1 << capability);
    sys::bound(mask)?;
    sys::set(mask)?;
    // Keys do not belong into a core file, nor before another process's debugger.
    nix::sys::prctl::set_dumpable(false).map_err(io::Error::from)?;
    Ok(())
}

mod sys {
    #![expect(unsafe_code, reason = "nix has no capget, capset and PR_CAPBSET_DROP")]

    use super::VERSION_3;
    use std::io;

    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }

    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }

    pub(super) fn permitted() -> io::Result<u64> {
        let mut header = Header {
            version: VERSION_3,
            pid: 0,
        };
        let mut data = [Data::default(); 2];
        // SAFETY: both pointers are to live values of the layout that version 3 demands, two data
        // words; pid 0 is this thread.
        let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
        check(result)?;
        Ok(u64::from(data[0].permitted) | u64::from(data[1].permitted) << 32)
    }

    /// Inheritable as well, so that a child started by root has them and no others.
    pub(super) fn set(mask: u64) -> io::Result<()> {
        let mut header = Header {
            version: VERSION_3,
            pid: 0,
        };
        let word = |bits: u32| Data {
            effective: bits,
            permitted: bits,
            inheritable: bits,
        };
        let data = [word(mask as u32), word((mask >> 32) as u32)];
        // SAFETY: as in `permitted`; the kernel only reads the data.
        let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
        check(result)
    }

    /// Takes everything outside of `mask` out of the bounding set. What is not there already, or
    /// does not exist in this kernel, is skipped.
    pub(super) fn bound(mask: u64) -> io::Result<()> {
        for capability in 0..64u32 {
            // SAFETY: prctl with integer arguments only.
            let present =
                unsafe { libc::prctl(libc::PR_CAPBSET_READ, libc::c_ulong::from(capability)) };
            if present != 1 || mask & (1 << capability) != 0 {
                continue;
            }
            // SAFETY: prctl with integer arguments only.
            let result =
                unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(capability)) };
            match check(result.into()) {
                // Without CAP_SETPCAP the set is whoever started us's business.
                Err(e) if e.raw_os_error() == Some(libc::EPERM) => return Ok(()),
                other => other?,
            }
        }
        Ok(())
    }

    fn check(result: libc::c_long) -> io::Result<()> {
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    }
}
