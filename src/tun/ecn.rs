//! Congestion told by routers inside the tunnel (RFC 6040).

use super::ipv4::ECN;
use super::tunnels::Congestion;

const NOT_CAPABLE: u8 = 0;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CONGESTION: u8 = 3;

/// The type of service of the outer header (RFC 2003 §3.1, RFC 6040 §4.1).
pub fn encapsulated(inner: u8, congestion: Congestion) -> u8 {
    match congestion {
        Congestion::Normal => inner,
        Congestion::Compatible => inner & !ECN,
    }
}

/// The type of service with which a packet comes out of the tunnel, after the table of RFC 6040
/// §4.2; `None` where it is dropped. The code point stays that of the packet (RFC 2983 §3: pipe).
pub fn decapsulated(outer: u8, inner: u8) -> Option<u8> {
    let ecn = match (inner & ECN, outer & ECN) {
        // Its transport would not understand.
        (NOT_CAPABLE, CONGESTION) => return None,
        (NOT_CAPABLE, _) => NOT_CAPABLE,
        (_, CONGESTION) => CONGESTION,
        (ECT_0, ECT_1) => ECT_1,
        (inner, _) => inner,
    };
    Some(inner & !ECN | ecn)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows: inner Not-ECT, ECT(0), ECT(1), CE. Columns: outer Not-ECT, ECT(0), ECT(1), CE.
    #[test]
    fn the_table_is_that_of_the_standard() {
        let (n, a, b, c) = (NOT_CAPABLE, ECT_0, ECT_1, CONGESTION);
        let table = [
            (n, [Some(n), Some(n), Some(n), None]),
            (a, [Some(a), Some(a), Some(b), Some(c)]),
            (b, [Some(b), Some(b), Some(b), Some(c)]),
            (c, [Some(c), Some(c), Some(c), Some(c)]),
        ];
        for (inner, row) in table {
            for (outer, expected) in [n, a, b, c].into_iter().zip(row) {
                let got = decapsulated(0x20 | outer, 0xb8 | inner);
                assert_eq!(got, expected.map(|ecn| 0xb8 | ecn), "{inner} {outer}");
            }
        }
    }
}
