//! The kernel's refusal: errno, and the explanation that it adds to it (extended ack).

use super::message::{Attributes, HEADER_LEN, Message, flags};
use nix::errno::Errno;
use std::fmt;

/// `NLMSGERR_ATTR_MSG`: a sentence for people.
const TEXT: u16 = 1;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct KernelError {
    pub errno: Errno,
    /// The kernel's own words, where it has some.
    pub text: Option<String>,
}

impl KernelError {
    /// Whether a deletion found nothing to delete.
    pub fn is_gone(&self) -> bool {
        matches!(self.errno, Errno::ENOENT | Errno::ESRCH)
    }
}

impl From<Errno> for KernelError {
    fn from(errno: Errno) -> Self {
        Self { errno, text: None }
    }
}

impl From<std::io::Error> for KernelError {
    fn from(error: std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Errno::from_raw(errno).into(),
            None => Self {
                errno: Errno::EIO,
                text: Some(error.to_string()),
            },
        }
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => write!(f, "{text} ({:?}: {})", self.errno, self.errno.desc()),
            None => write!(f, "{} ({:?})", self.errno.desc(), self.errno),
        }
    }
}

/// Reads `NLMSG_ERROR`: `Ok` is an acknowledgement.
///
/// ```text
/// | error (negative errno) | header of the request | request unless CAPPED | attributes |
/// ```
pub fn parse(message: &Message<'_>) -> Result<(), KernelError> {
    let Some(code) = message.payload.first_chunk::<4>() else {
        return Err(Errno::EBADMSG.into());
    };
    let code = i32::from_ne_bytes(*code);
    if code == 0 {
        return Ok(());
    }
    Err(KernelError {
        errno: Errno::from_raw(code.checked_neg().unwrap_or_default()),
        text: text(message),
    })
}

fn text(message: &Message<'_>) -> Option<String> {
    if message.flags & flags::ACK_TLVS == 0 {
        return None;
    }
    let repeated = if message.flags & flags::CAPPED != 0 {
        HEADER_LEN
    } else {
        let length = message.payload.get(4..8)?;
        u32::from_ne_bytes(length.try_into().ok()?) as usize
    };
    let attributes = message.payload.get(4usize.checked_add(repeated)?..)?;
    let text = Attributes(attributes).find(TEXT)?;
    let text = String::from_utf8_lossy(text.strip_suffix(&[0]).unwrap_or(text));
    Some(text.chars().filter(|c| !c.is_control()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error_message(flags: u16, payload: &[u8]) -> Message<'_> {
        Message {
            kind: super::super::message::NLMSG_ERROR,
            flags,
            sequence: 1,
            port: 0,
            payload,
        }
    }

    #[test]
    fn errno_and_the_kernels_words_are_read_from_a_capped_error() {
        let mut payload = (-22i32).to_ne_bytes().to_vec();
        payload.extend([0; 16]);
        payload.extend([12, 0, 1, 0]);
        payload.extend(b"bad sel\0");
        let error = parse(&error_message(flags::CAPPED | flags::ACK_TLVS, &payload)).unwrap_err();
        assert_eq!(error.errno, Errno::EINVAL);
        assert_eq!(error.to_string(), "bad sel (EINVAL: Invalid argument)");
    }

    #[test]
    fn a_zero_code_is_an_acknowledgement_and_a_short_message_is_not() {
        assert_eq!(parse(&error_message(0, &[0; 20])), Ok(()));
        assert!(parse(&error_message(0, &[0; 3])).is_err());
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(flags: u16, payload in prop::collection::vec(any::<u8>(), 0..96)) {
            let _ = parse(&error_message(flags, &payload));
        }
    }
}
