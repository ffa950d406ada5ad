//! What answers comes before what carries: peers, mobile nodes and home agents wait for this thread, while
//! packets that wait for a processor are in a queue. And where several of those share a processor, the one that has just
//! been asked comes before the one that has asked.

use nix::errno::Errno;

const NICE: i32 = -10;
/// Nanoseconds, the least that Linux takes, since 6.12: with the usual slice of 3 ms somebody else's question waits until
/// this thread has nothing more to do.
const SLICE: u64 = 100_000;

/// `struct sched_attr` of its first version.
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// The calling thread from now on; threads and processes that it starts are as urgent as everything.
/// `EPERM` where that is not allowed: it stays as it is.
#[expect(unsafe_code, reason = "nix has no sched_setattr")]
pub(super) fn raise() -> nix::Result<()> {
    let attributes = Attributes {
        size: size_of::<Attributes>() as u32,
        policy: libc::SCHED_OTHER as u32,
        flags: libc::SCHED_FLAG_RESET_ON_FORK as u64,
        nice: NICE,
        priority: 0,
        runtime: SLICE,
        deadline: 0,
        period: 0,
    };
    // SAFETY: the kernel reads as many octets of it as it says it has; 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::thread;

    /// The 19th of `proc_pid_stat(5)`, counted behind the name.
    fn nice() -> i32 {
        let stat = fs::read_to_string("/proc/thread-self/stat").unwrap();
        let (_, behind) = stat.rsplit_once(')').unwrap();
        behind.split_whitespace().nth(16).unwrap().parse().unwrap()
    }

    #[test]
    fn nobody_inherits_the_urgency() {
        let urgent = thread::spawn(|| {
            let before = nice();
            let raised = match raise() {
                Ok(()) => NICE,
                Err(error) => {
                    assert_eq!(error, Errno::EPERM);
                    before
                }
            };
            assert_eq!(nice(), raised);
            thread::spawn(nice).join().unwrap()
        });
        assert!(urgent.join().unwrap() >= 0);
    }
}
