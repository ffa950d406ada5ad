//! Memory that reading the configuration has left: with 80,000 mobile nodes, twice what is kept of them.
#![cfg_attr(
    target_env = "gnu",
    expect(unsafe_code, reason = "no crate has glibc's malloc_trim")
)]

/// What is free goes back to the system. Other libraries than glibc do so by themselves, or cannot.
pub(super) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it locks what it looks at, and touches nothing that is in use.
    unsafe {
        libc::malloc_trim(0);
    }
}
