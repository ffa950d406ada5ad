//! Several care-of addresses at a time (RFC 5944 §3.8.2.2), which is for tunnels that user space carries.

use super::*;

const OTHER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 200);

fn at_most(bindings_each: usize) -> Scene {
    let mut settings = settings();
    settings.limits.bindings_each = bindings_each;
    Scene::new(settings)
}

/// In UDP, and the other bindings are to stay.
fn beside(request: &mut RegistrationRequest) {
    request.flags |= Flags::SIMULTANEOUS;
    in_udp(request);
}

fn in_udp(request: &mut RegistrationRequest) {
    let asked = UdpTunnelRequest {
        force: true,
        through_foreign_agent: false,
        encapsulation: 0,
        reserved: 0,
    };
    request.extensions.push(Extension::UdpTunnelRequest(asked));
}

fn remotes(scene: &Scene) -> Vec<Ipv4Addr> {
    let tunnels = scene.bound().unwrap();
    tunnels.iter().map(|tunnel| tunnel.remote).collect()
}

#[test]
fn deregistration_drops_one_care_of_address_or_all() {
    let mut scene = at_most(2);
    scene.ask(in_udp);
    let reply = scene.ask(|request| {
        request.care_of = OTHER;
        beside(request);
    });
    assert_eq!(reply.code, Code::ACCEPTED);
    assert_eq!(remotes(&scene), [X, OTHER]);
    let reply = scene.ask(|request| request.lifetime = 0);
    assert_eq!((reply.code, reply.lifetime), (Code::ACCEPTED, 0));
    assert_eq!(remotes(&scene), [OTHER]);
    scene.ask(beside);
    assert_eq!(remotes(&scene), [OTHER, X]);
    scene.ask(|request| {
        request.lifetime = 0;
        request.care_of = S;
    });
    assert!(scene.effects.contains(&Effect::Unbind { home: S }));
}

#[test]
fn without_the_s_bit_the_new_care_of_address_replaces_the_old_ones() {
    let mut scene = at_most(2);
    scene.ask(|_| {});
    let reply = scene.ask(|request| request.care_of = OTHER);
    assert_eq!(reply.code, Code::ACCEPTED);
    assert_eq!(remotes(&scene), [OTHER]);
    scene.ask(in_udp);
    scene.ask(|request| {
        request.care_of = OTHER;
        beside(request);
    });
    scene.ask(|_| {});
    assert_eq!(remotes(&scene), [X]);
    assert_eq!(scene.agent.view(scene.now).count(), 1);
}

#[test]
fn beyond_the_limit_it_is_denied_and_where_it_is_one_the_new_one_replaces_the_old_one() {
    let mut scene = at_most(2);
    for (last, code) in [
        (1, Code::ACCEPTED),
        (2, Code::ACCEPTED),
        (3, Code::HA_TOO_MANY_BINDINGS),
        // Renewed.
        (1, Code::ACCEPTED),
    ] {
        let reply = scene.ask(|request| {
            request.care_of = Ipv4Addr::new(203, 0, 113, last);
            beside(request);
        });
        assert_eq!(reply.code, code);
    }
    let mut scene = at_most(1);
    for care_of in [X, OTHER] {
        let reply = scene.ask(|request| {
            request.care_of = care_of;
            beside(request);
        });
        assert_eq!(reply.code, Code::ACCEPTED_WITHOUT_SIMULTANEOUS);
        assert_eq!(remotes(&scene), [care_of]);
    }
}

#[test]
fn who_cannot_have_copies_is_told_so_and_the_new_care_of_address_replaces_the_old_ones() {
    let mut scene = at_most(3);
    // Not in UDP, and nobody else there: still no other one would be beside it.
    let reply = scene.ask(|request| request.flags |= Flags::SIMULTANEOUS);
    assert_eq!(reply.code, Code::ACCEPTED_WITHOUT_SIMULTANEOUS);
    let reply = scene.ask(|request| {
        request.care_of = OTHER;
        beside(request);
    });
    assert_eq!(reply.code, Code::ACCEPTED_WITHOUT_SIMULTANEOUS);
    assert_eq!(remotes(&scene), [OTHER]);
    let reply = scene.ask(beside);
    assert_eq!(reply.code, Code::ACCEPTED);
    assert_eq!(remotes(&scene), [OTHER, X]);
    let reply = scene.ask(|request| request.flags |= Flags::SIMULTANEOUS);
    assert_eq!(reply.code, Code::ACCEPTED_WITHOUT_SIMULTANEOUS);
    assert_eq!(remotes(&scene), [X]);
    // What only replaces itself is beside nobody.
    let reply = scene.ask(beside);
    assert_eq!(reply.code, Code::ACCEPTED);
}

#[test]
fn minimal_encapsulation_is_copied_as_tunnels_in_udp_are() {
    let mut settings = settings();
    settings.limits.bindings_each = 2;
    settings.encapsulations = vec![TunnelKind::Minimal];
    let mut scene = Scene::new(settings);
    scene.ask(in_udp);
    let minimal = |request: &mut RegistrationRequest| {
        request.flags |= Flags::MINIMAL | Flags::SIMULTANEOUS;
        request.care_of = OTHER;
    };
    assert_eq!(scene.ask(minimal).code, Code::ACCEPTED);
    assert_eq!(remotes(&scene), [X, OTHER]);
    assert_eq!(scene.bound().unwrap()[1].kind, TunnelKind::Minimal);
}
