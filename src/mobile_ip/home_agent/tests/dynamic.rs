//! Mobile nodes that have a name and no home address (RFC 2794).

use super::*;

/// So many mobile nodes share six addresses.
fn crowd(nodes: u8) -> Scene {
    let mut settings = settings();
    let node = Arc::unwrap_or_clone(settings.mobile_nodes.remove(1));
    settings.mobile_nodes.extend((0..nodes).map(|n| {
        let nai = Some(name(n));
        Arc::new(MobileNode {
            nai,
            ..node.clone()
        })
    }));
    Scene::new(settings)
}

fn name(n: u8) -> Vec<u8> {
    format!("u{n}@b.c").into_bytes()
}

fn given(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 20, 9, last)
}

impl Scene {
    /// A request of the mobile node with that name and without a home address, changed.
    fn named(&mut self, n: u8, change: impl FnOnce(&mut RegistrationRequest)) -> RegistrationReply {
        self.ask(|request| {
            request.home = Ipv4Addr::UNSPECIFIED;
            request.extensions.push(Extension::Nai(name(n)));
            change(request);
        })
    }

    /// As after `kill -9`, with what the store has of each.
    fn restarted(mut self, kept: Vec<Kept>) -> Self {
        let settings = self.agent.settings.clone();
        self.agent = HomeAgent::new(self.now, self.clock, settings, kept, Box::new(Seeded(7)));
        self.drain();
        self
    }
}

fn leave(request: &mut RegistrationRequest) {
    request.lifetime = 0;
}

#[test]
fn a_node_without_address_gets_one_of_the_pool_by_its_name() {
    let mut scene = Scene::new(settings());
    let nai = Extension::Nai(b"u@b.c".to_vec());
    let reply = scene.ask(|request| {
        request.home = Ipv4Addr::UNSPECIFIED;
        request.extensions.push(nai.clone());
    });
    assert_eq!(reply.code, Code::ACCEPTED);
    assert_eq!(reply.home, given(1));
    assert_eq!(reply.nai(), Some(&b"u@b.c"[..]));
    let home = reply.home;
    // From now on it may say so itself, with its name or without.
    let reply = scene.ask(|request| {
        request.home = home;
        request.extensions.push(nai.clone());
    });
    assert_eq!((reply.code, reply.home), (Code::ACCEPTED, home));
    scene.ask(|request| {
        (request.home, request.care_of, request.lifetime) = (home, home, 0);
        request.extensions.push(nai.clone());
    });
    assert!(scene.effects.contains(&Effect::Unbind { home }));
    // Somebody else's address is none that it may have.
    let reply = scene.ask(|request| {
        request.home = Ipv4Addr::new(10, 30, 0, 1);
        request.extensions.push(nai);
    });
    assert_eq!(reply.code, Code::HA_PROHIBITED);
}

#[test]
fn an_accepted_request_that_comes_again_is_told_the_address_again() {
    let mut scene = crowd(1);
    let mut request = scene.request();
    request.home = Ipv4Addr::UNSPECIFIED;
    request.extensions.push(Extension::Nai(name(0)));
    for _ in 0..2 {
        let reply = scene.from(X, signed(&request)).unwrap();
        assert_eq!((reply.code, reply.home), (Code::ACCEPTED, given(1)));
    }
}

#[test]
fn an_address_stays_with_its_node_until_the_others_are_all_given() {
    let mut scene = crowd(8);
    for n in 0..3 {
        assert_eq!(scene.named(n, |_| {}).home, given(n + 1));
    }
    scene.named(1, leave);
    scene.named(0, leave);
    // Others come, and it is still there.
    assert_eq!(scene.named(3, |_| {}).home, given(4));
    assert_eq!(scene.named(1, |_| {}).home, given(2));
    scene.named(1, leave);
    for n in 4..6 {
        assert_eq!(scene.named(n, |_| {}).home, given(n + 1));
    }
    // Of the two that are not in use, the one that has been so for longer.
    assert_eq!(scene.named(6, |_| {}).home, given(1));
    assert_eq!(scene.named(7, |_| {}).home, given(2));
    let reply = scene.named(0, |_| {});
    assert_eq!(reply.code, Code::HA_RESOURCES);
    assert_eq!(reply.nai(), Some(&name(0)[..]));
    // What was its address is somebody else's now, and the answer is to it.
    let reply = scene.named(0, |request| request.home = given(1));
    assert_eq!(reply.code, Code::HA_PROHIBITED);
    scene.named(6, leave);
    assert_eq!(scene.named(0, |_| {}).home, given(1));
}

#[test]
fn a_restart_leaves_everybody_the_address_registered_or_not() {
    let mut scene = crowd(3);
    let mut store = std::collections::BTreeMap::new();
    for n in [2, 0, 1] {
        scene.named(n, |_| {});
        store.insert(n, scene.kept().unwrap());
    }
    scene.named(0, leave);
    store.insert(0, scene.kept().unwrap());
    let mut scene = scene.restarted(store.into_values().collect());
    let bound: Vec<_> = scene.agent.view(scene.now).map(|b| b.home).collect();
    assert_eq!(bound, [given(3), given(1)]);
    for (n, last) in [(0, 2), (1, 3), (2, 1)] {
        assert_eq!(scene.named(n, |_| {}).home, given(last));
    }
}

#[test]
fn after_a_restart_who_is_registered_keeps_what_another_one_had_before() {
    let mut scene = crowd(7);
    for n in 0..6 {
        scene.named(n, |_| {});
    }
    scene.named(3, leave);
    let had = scene.kept().unwrap();
    assert_eq!(scene.named(6, |_| {}).home, given(4));
    let has = scene.kept().unwrap();
    assert_eq!((had.home, has.home), (given(4), given(4)));
    let mut scene = scene.restarted(vec![had, has]);
    assert_eq!(scene.named(6, |_| {}).home, given(4));
    assert_eq!(scene.named(3, |_| {}).home, given(1));
}

#[test]
fn who_was_denied_an_address_is_kept_too_so_that_nothing_works_twice() {
    let mut scene = crowd(7);
    for n in 0..6 {
        scene.named(n, |_| {});
    }
    let mut request = scene.request();
    request.home = Ipv4Addr::UNSPECIFIED;
    request.extensions.push(Extension::Nai(name(6)));
    let denied = signed(&request);
    let reply = scene.from(X, denied.clone()).unwrap();
    assert_eq!(reply.code, Code::HA_RESOURCES);
    let kept = scene.kept().unwrap();
    assert!(kept.home.is_unspecified());
    let mut scene = scene.restarted(vec![kept]);
    let reply = scene.from(X, denied.clone()).unwrap();
    assert_eq!(reply.code, Code::HA_IDENTIFICATION);
    scene.named(6, |_| {});
    // And over a reload.
    let settings = scene.agent.settings.clone();
    scene.agent.reconfigure(scene.now, settings);
    let reply = scene.from(X, denied).unwrap();
    assert_eq!(reply.code, Code::HA_IDENTIFICATION);
}

#[test]
fn a_reload_keeps_what_is_still_of_the_pool() {
    let mut scene = crowd(2);
    scene.named(1, |_| {});
    scene.named(0, |_| {});
    scene.named(0, leave);
    let mut settings = scene.agent.settings.clone();
    scene.agent.reconfigure(scene.now, settings.clone());
    scene.drain();
    assert_eq!(scene.bound().unwrap().len(), 1);
    assert_eq!(scene.named(0, |_| {}).home, given(2));
    settings.pool = Some("10.20.8.0/29".parse().unwrap());
    scene.agent.reconfigure(scene.now, settings);
    assert_eq!(scene.agent.view(scene.now).count(), 0);
    let reply = scene.named(0, |request| request.home = given(2));
    assert_eq!(reply.code, Code::HA_PROHIBITED);
    let reply = scene.named(0, |_| {});
    assert_eq!(reply.home, Ipv4Addr::new(10, 20, 8, 1));
}

#[test]
fn what_it_is_given_cannot_be_its_care_of_address_and_goes_back() {
    let mut scene = crowd(7);
    let reply = scene.named(0, |request| request.care_of = given(1));
    assert_eq!(reply.code, Code::HA_PROHIBITED);
    assert_eq!(scene.bound(), None);
    for n in 1..7 {
        assert_eq!(scene.named(n, |_| {}).code, Code::ACCEPTED);
    }
}

#[test]
fn the_first_and_the_last_address_name_the_network_and_everybody() {
    let mut scene = crowd(1);
    for last in [0, 7] {
        let reply = scene.named(0, |request| request.home = given(last));
        assert_eq!(reply.code, Code::HA_PROHIBITED);
    }
    let reply = scene.named(0, |request| request.home = given(5));
    assert_eq!((reply.code, reply.home), (Code::ACCEPTED, given(5)));
}
