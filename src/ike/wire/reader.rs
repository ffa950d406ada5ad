//! Taking octets off the front of a slice, checked.

use super::WireError;

/// What remains of a structure named `what`, for the error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    pub(super) fn new(octets: &'a [u8], what: &'static str) -> Self {
        Self { rest: octets, what }
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        let (head, tail) = self
            .rest
            .split_at_checked(n)
            .ok_or(WireError::Truncated(self.what))?;
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, tail) = self
            .rest
            .split_first_chunk()
            .ok_or(WireError::Truncated(self.what))?;
        self.rest = tail;
        Ok(*head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, WireError> {
        self.array().map(|[b]| b)
    }

    pub(super) fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.rest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// A substructure whose 16-bit length counts the `header` octets already taken.
    pub(super) fn sub(
        &mut self,
        length: u16,
        header: usize,
        what: &'static str,
    ) -> Result<Reader<'a>, WireError> {
        let body = usize::from(length)
            .checked_sub(header)
            .ok_or(WireError::Length(what))?;
        let octets = self.take(body).map_err(|_| WireError::Length(what))?;
        Ok(Reader::new(octets, what))
    }
}

/// Length of an encoded structure as its 16-bit field. Structures are built from bounded parts
/// only; an overlong one becomes an invalid length that every decoder refuses.
pub(super) fn length(octets: usize) -> u16 {
    u16::try_from(octets).unwrap_or(0)
}
