//! Takes fields from the front of octets; every one is checked.

use super::WireError;
use std::net::{Ipv4Addr, Ipv6Addr};

pub(super) struct Reader<'a> {
    octets: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(octets: &'a [u8], what: &'static str) -> Self {
        Self { octets, what }
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let cut = WireError::Truncated(self.what);
        let (taken, rest) = self.octets.split_at_checked(len).ok_or(cut)?;
        self.octets = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let cut = WireError::Truncated(self.what);
        let (taken, rest) = self.octets.split_first_chunk().ok_or(cut)?;
        self.octets = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        Ok(u8::from_be_bytes(self.array()?))
    }

    pub(super) fn u16(&mut self) -> Result<u16, WireError> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_be_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        Ok(u64::from_be_bytes(self.array()?))
    }

    pub(super) fn v4(&mut self) -> Result<Ipv4Addr, WireError> {
        Ok(Ipv4Addr::from(self.array::<4>()?))
    }

    pub(super) fn v6(&mut self) -> Result<Ipv6Addr, WireError> {
        Ok(Ipv6Addr::from(self.array::<16>()?))
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.octets
    }
}
