//! The words of classic BPF, for filters that keep from a socket what would wake the agent for nothing.

use libc::{BPF_JEQ, BPF_JGE, BPF_JMP, BPF_K, sock_filter};

pub const fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Passes over so many instructions where it does, and where it does not.
pub const fn equals(k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        code: (BPF_JMP | BPF_JEQ | BPF_K) as u16,
        jt,
        jf,
        k,
    }
}

/// As [`equals`].
pub const fn is_less(k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        code: (BPF_JMP | BPF_JGE | BPF_K) as u16,
        jt: jf,
        jf: jt,
        k,
    }
}

/// Runs a filter as the kernel would.
#[cfg(test)]
pub fn passes(filter: &[sock_filter], packet: &[u8]) -> bool {
    use libc::{BPF_ABS, BPF_B, BPF_H, BPF_IND, BPF_LD, BPF_LDX, BPF_MSH, BPF_W};
    let load = |from: usize, len: usize| {
        let octets = packet[from..from + len].iter();
        octets.fold(0, |value, octet| value << 8 | u32::from(*octet))
    };
    let (mut a, mut x, mut at) = (0, 0, 0);
    loop {
        let sock_filter { code, jt, jf, k } = filter[at];
        let place = usize::try_from(k).unwrap();
        at += 1;
        match u32::from(code) {
            c if c == BPF_LDX | BPF_B | BPF_MSH => x = usize::from(packet[place] & 0xf) * 4,
            c if c == BPF_LD | BPF_B | BPF_ABS => a = load(place, 1),
            c if c == BPF_LD | BPF_H | BPF_ABS => a = load(place, 2),
            c if c == BPF_LD | BPF_B | BPF_IND => a = load(x + place, 1),
            c if c == BPF_LD | BPF_W | BPF_IND => a = load(x + place, 4),
            c if c == BPF_JMP | BPF_JEQ | BPF_K => {
                at += usize::from(if a == k { jt } else { jf });
            }
            c if c == BPF_JMP | BPF_JGE | BPF_K => {
                at += usize::from(if a >= k { jt } else { jf });
            }
            _ => return k != 0,
        }
    }
}
