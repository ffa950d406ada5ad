//! From presence to protection: which rule holds, and the stricter of both ends.
