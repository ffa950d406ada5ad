//! Compression between contacts (RFC 7296 §2.22).

use super::contacts::contacts;
use super::network::{A, B, CLEAN, Network, ROUGH, connect, hosts_alone};
use crate::ike::effects::{ChildSa, Compression};
use crate::ike::settings::{ChildProtocol, Connect};

const ESP: ChildProtocol = ChildProtocol::Esp;

fn sending(net: &Network, host: usize) -> &ChildSa {
    net.hosts[host].sending().next().unwrap()
}

fn compressed(protocol: ChildProtocol) -> Connect {
    Connect {
        compression: true,
        ..hosts_alone(1, A, B, protocol)
    }
}

/// Of the child that each host sends on.
fn compressions(net: &Network) -> [Option<Compression>; 2] {
    [A, B].map(|host| sending(net, host).compression)
}

#[test]
fn each_end_compresses_by_the_cpi_that_the_other_names() {
    for protocol in [ESP, ChildProtocol::Ah] {
        for weather in [CLEAN, ROUGH] {
            let mut net = Network::with(contacts().to_vec(), 1);
            net.conditions = weather;
            net.connect(A, compressed(protocol));
            net.run_seconds(30);
            net.assert_consistent();
            let [a, b] = compressions(&net).map(Option::unwrap);
            assert_eq!((a.cpi_in, a.cpi_out), (b.cpi_out, b.cpi_in));
            assert!(a.cpi_in.is_negotiable() && a.cpi_out.is_negotiable());
        }
    }
}

#[test]
fn who_does_not_compress_gets_the_same_protection_without() {
    for incapable in [A, B] {
        let mut both = contacts();
        both[incapable].compression = false;
        let mut net = Network::with(both.to_vec(), 1);
        net.connect(A, compressed(ESP));
        net.run_seconds(1);
        net.assert_consistent();
        assert_eq!(compressions(&net), [None, None]);
    }
    let mut net = Network::with(contacts().to_vec(), 1);
    net.connect(A, hosts_alone(1, A, B, ESP));
    net.run_seconds(1);
    assert_eq!(compressions(&net), [None, None], "nobody asked");
}

#[test]
fn only_what_contacts_say_themselves_is_compressed() {
    let mut net = Network::new(2, 1);
    let wish = Connect {
        compression: true,
        ..connect(1, A, B)
    };
    net.connect(A, wish);
    net.run_seconds(1);
    assert_eq!(compressions(&net), [None, None]);
}

#[test]
fn a_replacement_is_compressed_by_cpis_of_its_own() {
    let mut net = Network::with(contacts().to_vec(), 1);
    net.connect(A, compressed(ESP));
    net.run_seconds(1);
    let before = compressions(&net)[0].unwrap();
    for (host, seconds) in [(A, 2), (B, 4)] {
        let (now, old) = (net.now, sending(&net, host).id);
        net.act(host, |e| e.rekey_child(now, old));
        net.run_seconds(seconds);
        net.assert_consistent();
        let [a, b] = compressions(&net).map(Option::unwrap);
        assert_eq!((a.cpi_in, a.cpi_out), (b.cpi_out, b.cpi_in));
        assert_ne!(a.cpi_in, before.cpi_in);
    }
}

#[test]
fn a_child_is_compressed_later_if_that_is_wanted_later() {
    let mut net = Network::with(contacts().to_vec(), 1);
    net.connect(A, hosts_alone(1, A, B, ESP));
    net.run_seconds(1);
    let (now, child) = (net.now, sending(&net, A).id);
    net.act(A, |e| e.compress_child(now, child));
    net.run_seconds(2);
    net.assert_consistent();
    assert!(compressions(&net).iter().all(Option::is_some));
}
