//! From nothing to a child SA.

use super::network::{A, B, CLEAN, Network, ROUGH, address, between, connect, name, settings};
use crate::ike::effects::{ConnectError, Outbound};
use crate::ike::settings::RequestId;
use std::time::Duration;

#[test]
fn two_endpoints_agree_on_a_child_in_two_round_trips() {
    let mut net = Network::new(2, 1);
    net.connect(A, connect(1, A, B));
    net.run(Duration::from_millis(40));
    // IKE_SA_INIT and IKE_AUTH there and back, 10 ms each way.
    assert_eq!(net.elapsed(), Duration::from_millis(40));
    assert_eq!(net.hosts[A].children.len(), 1);
    let (at_b, outbound) = net.hosts[B].children.values().next().unwrap();
    assert_eq!(at_b.selectors, [between(B, A)]);
    assert_eq!(at_b.request, None);
    assert_eq!(*outbound, Outbound::AfterConfirmation);
    net.run(Duration::from_millis(10));
    net.assert_one_tunnel();
    let at_a = &net.hosts[A].children.values().next().unwrap().0;
    assert_eq!(at_a.request, Some(RequestId(1)));
    assert_eq!((at_a.local, at_a.remote), (address(A), address(B)));
    assert_eq!(at_a.encapsulation, None);
    // IKE_SA_INIT, IKE_AUTH, and the INFORMATIONAL that confirms.
    net.run_seconds(1);
    assert_eq!(net.sent.len(), 6);
}
