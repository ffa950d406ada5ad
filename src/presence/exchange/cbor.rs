//! CBOR (RFC 8949) as far as messages need it: arrays and maps with small unsigned keys.

use super::{MAX_LEN, Malformed};
use ciborium::Value;
use std::collections::BTreeMap;

/// An unknown field may nest a little deeper than any known one does.
const DEEPEST: usize = 8;

pub(super) fn encode(value: &Value) -> Vec<u8> {
    let mut octets = Vec::new();
    ciborium::into_writer(value, &mut octets).expect("a vector takes every value");
    octets
}

/// Exactly one value. It takes no more memory than a small multiple of the octets, whatever lengths
/// they claim.
pub(super) fn decode(octets: &[u8]) -> Result<Value, Malformed> {
    if octets.len() > MAX_LEN {
        return Err(Malformed::TooLong(octets.len()));
    }
    let mut rest = octets;
    let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, DEEPEST);
    match value {
        Ok(value) if rest.is_empty() => Ok(value),
        _ => Err(Malformed::NotCbor),
    }
}

pub(super) fn unsigned(value: &Value) -> Option<u64> {
    u64::try_from(value.as_integer()?).ok()
}

/// A map under construction, in the order of its keys; what is `None` is left out.
pub(super) struct Map(Vec<(Value, Value)>);

impl Map {
    pub fn new() -> Self {
        Self(Vec::new())
    }

    pub fn with(mut self, key: u64, value: impl Into<Value>) -> Self {
        self.0.push((key.into(), value.into()));
        self
    }

    pub fn with_some(self, key: u64, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }

    pub fn build(self) -> Value {
        Value::Map(self.0)
    }
}

/// A map that was received. Keys that nobody takes are ignored: a later version may add some.
pub(super) struct Fields(BTreeMap<u64, Value>);

impl Fields {
    pub fn of(value: Value, what: &'static str) -> Result<Self, Malformed> {
        let Value::Map(pairs) = value else {
            return Err(Malformed::Field(what));
        };
        let mut fields = BTreeMap::new();
        for (key, value) in pairs {
            let key = unsigned(&key).ok_or(Malformed::Field(what))?;
            if fields.insert(key, value).is_some() {
                return Err(Malformed::Field(what));
            }
        }
        Ok(Self(fields))
    }

    /// The field, read by `read`, where it is there.
    pub fn optional<T>(
        &mut self,
        key: u64,
        what: &'static str,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Result<Option<T>, Malformed> {
        match self.0.remove(&key) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or(Malformed::Field(what)),
        }
    }

    pub fn required<T>(
        &mut self,
        key: u64,
        what: &'static str,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Result<T, Malformed> {
        self.optional(key, what, read)?
            .ok_or(Malformed::Field(what))
    }

    /// A field that is a map, or something else that can be wrong inside.
    pub fn nested<T>(
        &mut self,
        key: u64,
        read: impl FnOnce(Value) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        self.0.remove(&key).map(read).transpose()
    }
}
