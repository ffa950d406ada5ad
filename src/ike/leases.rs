//! Which client has which address of the pool.
//!
//! An address belongs to an identity, so that a client that comes back has the one it had; it is
//! leased while an IKE SA with that identity holds it. When the pool runs out, the address whose
//! last holder went longest ago is given to somebody else.

use super::effects::IkeId;
use super::settings::{AddressRange, Gateway};
use crate::net::{Family, Identity};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

#[derive(Debug, Default)]
pub(super) struct Leases {
    by_address: BTreeMap<IpAddr, Lease>,
    by_identity: BTreeMap<(Identity, Family), IpAddr>,
    /// Counts releases, to tell which was first.
    released: u64,
}

#[derive(Debug)]
struct Lease {
    identity: Identity,
    holders: BTreeSet<IkeId>,
    released: u64,
}

impl Leases {
    /// An address for one more IKE SA of this identity. Of the `named` ones one is taken if it is
    /// free.
    pub(super) fn lease(
        &mut self,
        gateway: &Gateway,
        reserved: &[IpAddr],
        (ike, identity): (IkeId, &Identity),
        family: Family,
        named: &[IpAddr],
    ) -> Option<IpAddr> {
        let of_family = |addr: &&IpAddr| Family::of(**addr) == family;
        let known = self.by_identity.get(&(identity.clone(), family)).copied();
        let usable = |addr: &IpAddr| gateway.holds(*addr) && !gateway.is_reserved(*addr);
        let addr = match reserved.iter().find(of_family) {
            Some(addr) => *addr,
            None => known.filter(usable).or_else(|| {
                let free = |addr: &&IpAddr| usable(addr) && !self.by_address.contains_key(addr);
                let named = named.iter().filter(of_family).find(free).copied();
                named
                    .or_else(|| self.first_free(gateway, family))
                    .or_else(|| self.longest_released(usable, family))
            })?,
        };
        if known.is_some_and(|known| known != addr) {
            self.forget(identity, family);
        }
        if let Some(other) = self.by_address.get(&addr)
            && other.identity != *identity
        {
            if !other.holders.is_empty() {
                return None;
            }
            let other = other.identity.clone();
            self.forget(&other, family);
        }
        let lease = self.by_address.entry(addr).or_insert_with(|| Lease {
            identity: identity.clone(),
            holders: BTreeSet::new(),
            released: 0,
        });
        lease.holders.insert(ike);
        self.by_identity.insert((identity.clone(), family), addr);
        Some(addr)
    }

    pub(super) fn release(&mut self, ike: IkeId, addresses: &[IpAddr]) {
        for addr in addresses {
            if let Some(lease) = self.by_address.get_mut(addr)
                && lease.holders.remove(&ike)
            {
                self.released += 1;
                lease.released = self.released;
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }

    fn forget(&mut self, identity: &Identity, family: Family) {
        if let Some(addr) = self.by_identity.remove(&(identity.clone(), family))
            && self
                .by_address
                .get(&addr)
                .is_some_and(|l| l.identity == *identity)
        {
            self.by_address.remove(&addr);
        }
    }

    /// Looks at no more addresses than are taken, and one.
    fn first_free(&self, gateway: &Gateway, family: Family) -> Option<IpAddr> {
        let ranges = gateway.pool.iter().filter(|r| r.family() == family);
        ranges
            .flat_map(AddressRange::iter)
            .find(|addr| !self.by_address.contains_key(addr) && !gateway.is_reserved(*addr))
    }

    fn longest_released(&self, usable: impl Fn(&IpAddr) -> bool, family: Family) -> Option<IpAddr> {
        self.by_address
            .iter()
            .filter(|(addr, l)| l.holders.is_empty() && Family::of(**addr) == family)
            .filter(|(addr, _)| usable(addr))
            .min_by_key(|(_, lease)| lease.released)
            .map(|(addr, _)| *addr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ike::settings::Client;

    fn addr(s: &str) -> IpAddr {
        s.parse().unwrap()
    }

    fn id(n: u64) -> Identity {
        format!("client{n}.example").parse().unwrap()
    }

    /// Three addresses, one of them reserved for client 9.
    fn gateway() -> Gateway {
        Gateway {
            pool: vec![AddressRange::new(addr("10.30.0.1"), addr("10.30.0.3")).unwrap()],
            clients: [(
                id(9),
                Client {
                    reserved: vec![addr("10.30.0.2")],
                    keeps: Vec::new(),
                },
            )]
            .into(),
            ..Gateway::default()
        }
    }

    #[test]
    fn an_address_stays_its_clients_until_the_pool_runs_out() {
        let (gateway, mut leases) = (gateway(), Leases::default());
        let lease = |leases: &mut Leases, n, named: &[IpAddr]| {
            leases.lease(&gateway, &[], (IkeId(n), &id(n)), Family::V4, named)
        };
        assert_eq!(lease(&mut leases, 1, &[]), Some(addr("10.30.0.1")));
        assert_eq!(
            lease(&mut leases, 2, &[]),
            Some(addr("10.30.0.3")),
            "2 is reserved"
        );
        assert_eq!(lease(&mut leases, 3, &[]), None, "all are held");
        leases.release(IkeId(2), &[addr("10.30.0.3")]);
        leases.release(IkeId(1), &[addr("10.30.0.1")]);
        assert_eq!(
            lease(&mut leases, 1, &[]),
            Some(addr("10.30.0.1")),
            "his again"
        );
        assert_eq!(lease(&mut leases, 3, &[]), Some(addr("10.30.0.3")));
        assert_eq!(lease(&mut leases, 2, &[]), None);
        assert_eq!(leases.len(), 2);
    }

    #[test]
    fn what_is_named_is_given_where_it_is_free_and_what_is_reserved_to_nobody_else() {
        let (gateway, mut leases) = (gateway(), Leases::default());
        let reserved = [addr("10.30.0.2")];
        let named = [addr("10.30.0.2"), addr("10.99.0.1"), addr("10.30.0.3")];
        let given = leases.lease(&gateway, &[], (IkeId(1), &id(1)), Family::V4, &named);
        assert_eq!(given, Some(addr("10.30.0.3")));
        let given = leases.lease(&gateway, &reserved, (IkeId(9), &id(9)), Family::V4, &named);
        assert_eq!(given, Some(addr("10.30.0.2")));
        let given = leases.lease(&gateway, &[], (IkeId(2), &id(2)), Family::V6, &[]);
        assert_eq!(given, None);
    }

    #[test]
    fn a_second_ike_sa_of_a_client_shares_its_address() {
        let (gateway, mut leases) = (gateway(), Leases::default());
        let lease = |leases: &mut Leases, ike| {
            leases.lease(&gateway, &[], (IkeId(ike), &id(1)), Family::V4, &[])
        };
        let first = lease(&mut leases, 1);
        assert_eq!(lease(&mut leases, 2), first);
        leases.release(IkeId(1), &[addr("10.30.0.1")]);
        let other = leases.lease(&gateway, &[], (IkeId(3), &id(3)), Family::V4, &[]);
        assert_ne!(other, first, "the second IKE SA still holds it");
    }
}
