//! The kernel's own counters of packets that IPsec refused: `/proc/net/xfrm_stat`.

use std::collections::BTreeMap;
use std::io;

/// Name to count, for example `XfrmInNoPols` (clear packets that should have been protected) or
/// `XfrmOutPolBlock`. Of the calling thread's network namespace.
///
/// # Errors
/// `NotFound` on a kernel without `CONFIG_XFRM_STATISTICS`.
pub fn read() -> io::Result<BTreeMap<String, u64>> {
    Ok(parse(&std::fs::read_to_string(
        "/proc/thread-self/net/xfrm_stat",
    )?))
}

/// The counters of such a file; lines that are none are passed over.
pub fn parse(text: &str) -> BTreeMap<String, u64> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_and_counts_are_read_and_other_lines_passed_over() {
        let counts = super::parse("XfrmInNoPols            \t3\nXfrmOutPolBlock\t0\nodd\nodd x\n");
        assert_eq!(counts.len(), 2);
        assert_eq!(counts["XfrmInNoPols"], 3);
    }
}
