//! Generic netlink: families of messages, to which the kernel gives numbers as they come.

use super::error::KernelError;
use super::message::{Attributes, Message, attributes_after};
use super::socket::Requests;

/// The family that tells of the others, and the group in which it does (`GENL_ID_CTRL`).
pub const CONTROLLER: u16 = 16;
/// `struct genlmsghdr`: what it is, a version, two octets that nobody reads.
const HEADER_LEN: usize = 4;
pub const CTRL_CMD_NEWFAMILY: u8 = 1;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
const CTRL_ATTR_MCAST_GROUPS: u16 = 7;
const CTRL_ATTR_MCAST_GRP_NAME: u16 = 1;
const CTRL_ATTR_MCAST_GRP_ID: u16 = 2;

/// What its messages begin with.
pub const fn header(command: u8) -> [u8; HEADER_LEN] {
    [command, 0, 0, 0]
}

/// What a message of any family is, and its attributes.
pub fn parts<'a>(message: &Message<'a>) -> Option<(u8, Attributes<'a>)> {
    let attributes = attributes_after(message.payload, HEADER_LEN);
    Some((*message.payload.first()?, attributes))
}

/// A family, and one of its groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// The kind of its messages.
    pub id: u16,
    pub group: u32,
}

/// `None` where this kernel has none of that name. All are listed: the kernel would load the module of one that is
/// asked for by its name.
pub fn find(
    requests: &mut Requests,
    name: &str,
    group: &str,
) -> Result<Option<Family>, KernelError> {
    let request = header(CTRL_CMD_GETFAMILY);
    let found = requests.dump(CONTROLLER, &request, |m| read(m, name, group))?;
    Ok(found.first().copied())
}

/// Where it says that there is the family of that name.
pub fn read(message: &Message<'_>, name: &str, group: &str) -> Option<Family> {
    let (CTRL_CMD_NEWFAMILY, attributes) = parts(message)? else {
        return None;
    };
    if message.kind != CONTROLLER || attributes.find_str(CTRL_ATTR_FAMILY_NAME)? != name {
        return None;
    }
    let id = attributes.find(CTRL_ATTR_FAMILY_ID)?;
    let groups = Attributes(attributes.find(CTRL_ATTR_MCAST_GROUPS)?);
    let mut groups = groups.map(|(_, its)| Attributes(its));
    let its = groups.find(|its| its.find_str(CTRL_ATTR_MCAST_GRP_NAME) == Some(group))?;
    Some(Family {
        id: u16::from_ne_bytes(id.try_into().ok()?),
        group: its.find_u32(CTRL_ATTR_MCAST_GRP_ID)?,
    })
}
