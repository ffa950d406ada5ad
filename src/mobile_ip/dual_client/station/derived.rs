//! Randomness for each client, from what was handed in once.

use crate::net::Random;
use aws_lc_rs::hmac;

/// HMAC-SHA-256 of a counter under a key of the generator that was handed in: identifications need to be
/// such that nobody guesses the next.
#[derive(Debug)]
pub struct Derived {
    pool: Vec<u8>,
    at: usize,
    counter: u64,
    key: [u8; 32],
}

impl Derived {
    pub fn new(random: &mut dyn Random) -> Self {
        let mut key = [0; 32];
        random.fill(&mut key);
        Self {
            pool: Vec::new(),
            at: 0,
            counter: 0,
            key,
        }
    }
}

impl Random for Derived {
    fn fill(&mut self, out: &mut [u8]) {
        for octet in out {
            if self.at >= self.pool.len() {
                let key = hmac::Key::new(hmac::HMAC_SHA256, &self.key);
                let tag = hmac::sign(&key, &self.counter.to_be_bytes());
                (self.pool, self.at) = (tag.as_ref().to_vec(), 0);
                self.counter += 1;
            }
            *octet = self.pool[self.at];
            self.at += 1;
        }
    }
}
