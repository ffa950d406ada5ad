//! What the kernel says of datagrams, and is told, besides their octets: control messages of
//! `sendmsg` and `recvmsg` as they lie in memory.
//!
//! ```text
//! │ length of this and of the data (a word) │ level (4) │ type (4) │ data │ up to the next word │
//! ```

use std::net::Ipv4Addr;

const WORD: usize = size_of::<usize>();
const HEADER_LEN: usize = WORD + 8;

/// Room for all that is written or read here.
pub const LEN: usize = 160;

/// Aligned as the kernel's own structure.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub struct Control {
    octets: [u8; LEN],
    len: usize,
}

impl Default for Control {
    fn default() -> Self {
        Self {
            octets: [0; LEN],
            len: 0,
        }
    }
}

/// What came with a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Came {
    pub local: Option<Ipv4Addr>,
    pub tos: u8,
    /// Octets of each datagram in it but the last; `None` where it is one.
    pub size: Option<usize>,
}

impl Control {
    /// From which address to send; which interface is left to the routes.
    pub fn from(&mut self, local: Ipv4Addr) {
        let mut info = [0; 12];
        info[4..8].copy_from_slice(&local.octets());
        self.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
    }

    pub fn tos(&mut self, tos: u8) {
        self.push(
            libc::IPPROTO_IP,
            libc::IP_TOS,
            &i32::from(tos).to_ne_bytes(),
        );
    }

    pub fn ttl(&mut self, ttl: u8) {
        self.push(
            libc::IPPROTO_IP,
            libc::IP_TTL,
            &i32::from(ttl).to_ne_bytes(),
        );
    }

    pub fn segments(&mut self, size: u16) {
        self.push(libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes());
    }

    pub fn written(&mut self) -> (*mut u8, usize) {
        (self.octets.as_mut_ptr(), self.len)
    }

    pub fn room(&mut self) -> (*mut u8, usize) {
        (self.octets.as_mut_ptr(), LEN)
    }

    /// What the kernel wrote, `len` octets of it.
    pub fn read(&self, len: usize) -> Came {
        let mut came = Came::default();
        let mut rest = &self.octets[..len.min(LEN)];
        while let Some((header, _)) = rest.split_at_checked(HEADER_LEN) {
            let (len, kind) = header.split_at(WORD);
            let len = usize::from_ne_bytes(len.try_into().expect("a word"));
            let Some(data) = rest.get(HEADER_LEN..len) else {
                break;
            };
            let number = |at: usize| i32::from_ne_bytes(kind[at..at + 4].try_into().expect("four"));
            match (number(0), number(4), data) {
                (libc::IPPROTO_IP, libc::IP_PKTINFO, [_, _, _, _, _, _, _, _, a, b, c, d, ..]) => {
                    came.local = Some(Ipv4Addr::new(*a, *b, *c, *d));
                }
                (libc::IPPROTO_IP, libc::IP_TOS, [tos, ..]) => came.tos = *tos,
                (libc::SOL_UDP, libc::UDP_GRO, [a, b, c, d, ..]) => {
                    came.size = usize::try_from(i32::from_ne_bytes([*a, *b, *c, *d])).ok();
                }
                _ => {}
            }
            rest = rest.get(len.next_multiple_of(WORD)..).unwrap_or(&[]);
        }
        came.size = came.size.filter(|size| *size > 0);
        came
    }

    fn push(&mut self, level: i32, kind: i32, data: &[u8]) {
        let len = HEADER_LEN + data.len();
        let room = &mut self.octets[self.len..self.len + len.next_multiple_of(WORD)];
        room[..WORD].copy_from_slice(&len.to_ne_bytes());
        room[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
        room[WORD + 4..HEADER_LEN].copy_from_slice(&kind.to_ne_bytes());
        room[HEADER_LEN..len].copy_from_slice(data);
        self.len += len.next_multiple_of(WORD);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_would_write_is_read_and_anything_else_is_passed_over() {
        let mut control = Control::default();
        control.push(libc::SOL_SOCKET, libc::SCM_TIMESTAMP, &[0; 16]);
        let mut info = [0; 12];
        info[8..].copy_from_slice(&[192, 0, 2, 1]);
        control.push(libc::IPPROTO_IP, libc::IP_PKTINFO, &info);
        control.push(libc::IPPROTO_IP, libc::IP_TOS, &[0x2e]);
        control.push(libc::SOL_UDP, libc::UDP_GRO, &1400_i32.to_ne_bytes());
        let expected = Came {
            local: Some(Ipv4Addr::new(192, 0, 2, 1)),
            tos: 0x2e,
            size: Some(1400),
        };
        assert_eq!(control.read(control.len), expected);
        assert_eq!(control.read(0), Came::default());
        assert_eq!(control.read(control.len - 20).size, None);
    }
}
