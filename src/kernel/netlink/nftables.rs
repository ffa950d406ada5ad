//! Whether an nftables table is there: one message, where running `nft` takes 5 ms.

use super::error::KernelError;
use super::socket::Requests;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;

/// `NFNL_SUBSYS_NFTABLES`, `NFT_MSG_GETTABLE`.
const GET_TABLE: u16 = 10 << 8 | 1;
const TABLE_NAME: u16 = 1;
/// `struct nfgenmsg`: `NFPROTO_INET`, version 0, no resource.
const INET: [u8; 4] = [1, 0, 0, 0];

/// In family `inet` of the calling thread's network namespace.
pub fn has_inet_table(name: &str) -> Result<bool, KernelError> {
    let mut requests = Requests::open(NETLINK_NETFILTER)?;
    let there = requests.fetch(
        GET_TABLE,
        |payload| {
            payload.put_bytes(&INET);
            payload.attribute_bytes(TABLE_NAME, &[name.as_bytes(), &[0]]);
        },
        |_| Some(()),
    );
    match there {
        Ok(()) => Ok(true),
        Err(error) if error.errno == Errno::ENOENT => Ok(false),
        Err(error) => Err(error),
    }
}
