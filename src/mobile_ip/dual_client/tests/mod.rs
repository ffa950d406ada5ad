//! The dual client in virtual time, among networks that are not what they seem.

mod edges;
mod histories;
mod hostile;
mod networks;
mod reception;
mod roaming;
mod sites;
mod spare;
mod without_ipv4;
mod world;
