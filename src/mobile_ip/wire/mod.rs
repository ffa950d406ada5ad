//! Messages of Mobile IP as octets.

pub mod advertisement;
