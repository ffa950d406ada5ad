use super::*;

const WALL: Timestamp = Timestamp(1_033_210_169);
const OFFICE_ADDRESS: &str = "192.168.1.1";
const CAFE_ADDRESS: &str = "133.134.10.10";

struct World {
    start: Instant,
    own: Own,
}

fn location(name: &str) -> Location {
    name.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

impl World {
    fn in_office() -> Self {
        let anchor = Anchor {
            location: location("office"),
            addresses: vec!["192.168.1.0/24".parse().unwrap()],
            identity: "anchor.example".parse().unwrap(),
            address: ip("192.168.1.254"),
        };
        let mut own = Own::new(location("external"), vec![anchor]);
        own.addresses_changed(&[ip(OFFICE_ADDRESS)]);
        Self {
            start: Instant::now(),
            own,
        }
    }

    fn instant(&self, seconds: u64) -> Instant {
        self.start + Duration::from_secs(seconds)
    }

    fn at(&self, seconds: u64) -> Now {
        Now {
            instant: self.instant(seconds),
            wall: WALL.after(Duration::from_secs(seconds)),
        }
    }

    fn ask(&mut self, seconds: u64) -> usize {
        let now = self.instant(seconds);
        self.own.due_attestations(now).len()
    }

    fn prove(&mut self, seconds: u64) -> bool {
        let now = self.instant(seconds);
        self.own
            .proved(now, &location("office"), ip(OFFICE_ADDRESS))
    }

    fn basis(&self, seconds: u64) -> Basis {
        self.own.location(self.at(seconds)).basis
    }
}

fn office() -> Basis {
    Basis::Anchor(location("office"))
}

#[test]
fn addresses_of_the_office_alone_prove_nothing() {
    let world = World::in_office();
    let here = world.own.location(world.at(0));
    assert_eq!(here.location, location("external"));
    assert_eq!((here.basis, here.valid_until), (Basis::Default, None));
}

#[test]
fn an_answer_proves_the_office_for_a_minute_from_the_question() {
    let mut world = World::in_office();
    let asked = world.own.due_attestations(world.start);
    let expected = Attestation {
        site: location("office"),
        identity: "anchor.example".parse().unwrap(),
        anchor: ip("192.168.1.254"),
        local: ip(OFFICE_ADDRESS),
    };
    assert_eq!(asked, [expected]);
    assert!(world.prove(3));
    assert_eq!(world.basis(59), office());
    assert_eq!(world.basis(60), Basis::Default);
    let here = world.own.location(world.at(3));
    assert_eq!(here.valid_until, Some(world.instant(60)));
}

#[test]
fn anchors_are_asked_every_twenty_seconds_and_five_after_a_failure() {
    let mut world = World::in_office();
    assert_eq!((world.ask(0), world.ask(0)), (1, 0));
    assert!(world.prove(1));
    assert_eq!(
        world.own.poll_timeout(world.instant(1)),
        Some(world.instant(20))
    );
    assert_eq!((world.ask(19), world.ask(20)), (0, 1));
    let now = world.instant(22);
    world.own.failed(now, &location("office"));
    assert_eq!(world.own.poll_timeout(now), Some(world.instant(27)));
    assert_eq!(world.basis(30), office(), "the earlier proof still holds");
    assert_eq!((world.ask(26), world.ask(27)), (0, 1));
    assert_eq!(world.ask(46), 0);
    assert_eq!(
        world.ask(47),
        1,
        "an answer that never comes does not stop the questions"
    );
}

#[test]
fn answers_to_nothing_prove_nothing() {
    let mut world = World::in_office();
    assert!(!world.prove(0), "nothing was asked");
    world.ask(0);
    let now = world.instant(1);
    assert!(
        !world
            .own
            .proved(now, &location("office"), ip("192.168.1.7"))
    );
    assert!(!world.own.proved(now, &location("home"), ip(OFFICE_ADDRESS)));
    assert!(world.prove(1));
    assert!(!world.prove(2), "twice");
    assert_eq!(world.ask(20), 1);
    world.ask(40);
    assert!(world.prove(99));
    assert_eq!(world.ask(99), 1);
    assert!(!world.prove(160), "older than a proof may be");
}

#[test]
fn whatever_may_have_moved_us_drops_proofs_and_questions_under_way() {
    let moves: [fn(&mut Own); 4] = [Own::link_changed, Own::clock_stepped, Own::resumed, |own| {
        own.addresses_changed(&[ip(CAFE_ADDRESS)]);
    }];
    for moved in moves {
        let mut world = World::in_office();
        world.ask(0);
        assert!(world.prove(0));
        world.ask(20);
        moved(&mut world.own);
        assert_eq!(world.basis(21), Basis::Default);
        assert!(!world.prove(21), "asked before the move");
        world.own.addresses_changed(&[ip(OFFICE_ADDRESS)]);
        assert_eq!(
            world.basis(21),
            Basis::Default,
            "back, and not proved again"
        );
        assert_eq!(world.ask(21), 1, "asked at once");
    }
}

#[test]
fn outside_the_sites_addresses_nobody_is_asked() {
    let mut world = World::in_office();
    world.own.addresses_changed(&[ip(CAFE_ADDRESS)]);
    assert_eq!(world.ask(0), 0);
    assert_eq!(world.own.poll_timeout(world.start), None);
    world
        .own
        .addresses_changed(&[ip(CAFE_ADDRESS), ip(OFFICE_ADDRESS)]);
    assert_eq!(world.own.poll_timeout(world.start), Some(world.start));
    assert_eq!(world.ask(0), 1);
}

#[test]
fn an_address_more_leaves_the_proof() {
    let mut world = World::in_office();
    world.ask(0);
    assert!(world.prove(0));
    world
        .own
        .addresses_changed(&[ip(CAFE_ADDRESS), ip(OFFICE_ADDRESS)]);
    assert_eq!(world.basis(1), office());
}

#[test]
fn what_is_set_by_hand_goes_first_and_ends_by_either_clock() {
    let mut world = World::in_office();
    world.ask(0);
    assert!(world.prove(0));
    let expires = WALL.after(Duration::from_secs(30));
    world.own.by_hand(world.at(0), location("home"), expires);
    assert_eq!(world.basis(29), Basis::Hand);
    assert_eq!(
        world.own.location(world.at(1)).valid_until,
        Some(world.instant(30))
    );
    assert_eq!(world.basis(30), office());

    let clock_set_back = Now {
        instant: world.instant(30),
        wall: WALL,
    };
    assert_eq!(world.own.location(clock_set_back).basis, office());
    let slept = Now {
        instant: world.instant(1),
        wall: expires,
    };
    assert_eq!(world.own.location(slept).basis, office());

    world.own.by_hand(world.at(31), location("home"), WALL);
    assert_eq!(world.basis(31), office(), "set with an expiry that is over");
}

#[test]
fn hints_speak_only_against() {
    let mut world = World::in_office();
    world.ask(0);
    assert!(world.prove(0));
    world.own.hints_against([location("office")].into());
    assert_eq!(world.basis(1), Basis::Default);
    world.own.by_hand(
        world.at(1),
        location("office"),
        WALL.after(Duration::from_secs(60)),
    );
    assert_eq!(world.basis(1), Basis::Default);
    world.own.hints_against(BTreeSet::new());
    assert_eq!(world.basis(1), Basis::Hand);
    world.own.addresses_changed(&[ip(CAFE_ADDRESS)]);
    assert_eq!(
        world.basis(1),
        Basis::Default,
        "the office has no such address"
    );
}

#[test]
fn what_is_published_expires_with_what_it_rests_on() {
    let mut world = World::in_office();
    let entity: Entity = "alice@example.com".parse().unwrap();
    let addresses = [
        ip("fe80::1"),
        ip(OFFICE_ADDRESS),
        ip("127.0.0.1"),
        ip(OFFICE_ADDRESS),
    ];
    let publish = |world: &World, seconds, addresses: &[IpAddr]| {
        world
            .own
            .presence(world.at(seconds), entity.clone(), None, addresses, 9)
    };
    let strict = publish(&world, 0, &addresses).unwrap();
    assert_eq!(strict.location, location("external"));
    assert_eq!(strict.expires, WALL.after(DEFAULT_PUBLISHED));
    assert_eq!(strict.addresses, [ip(OFFICE_ADDRESS)]);

    world.ask(0);
    assert!(world.prove(0));
    let office = publish(&world, 10, &addresses).unwrap();
    assert_eq!(office.location, location("office"));
    assert_eq!(office.expires, WALL.after(Duration::from_secs(60)));
    assert_eq!((office.time, office.sequence), (world.at(10).wall, 9));

    assert_eq!(publish(&world, 0, &[ip("::1")]), None);
    let many: Vec<IpAddr> = (1..20).map(|n| IpAddr::from([10, 0, 0, n])).collect();
    assert_eq!(
        publish(&world, 0, &many).unwrap().addresses,
        many[..MAX_ADDRESSES]
    );
}
