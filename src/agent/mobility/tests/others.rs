//! A laptop between whose systems is a VPN of other software.

use super::*;
use crate::agent::vpn::commands::Ended;
use crate::agent::vpn::settings::{Driver, OtherVpn, Shape};
use crate::kernel::adapters::Ipv6;
use crate::kernel::desired::{
    Action, Direction, IpsecProtocol, Level as Needed, LinkName, Mark, Mode, Policy, PolicyKey,
    Template,
};
use crate::kernel::ownership::Band;
use crate::mobile_ip::dual_client::WITHOUT_IPV4;
use crate::net::{Selector, host};

const V: Ipv4Addr = Ipv4Addr::new(10, 30, 0, 5);
const NOTHING: Ended = Ok(String::new());

fn office(shape: Shape) -> VpnSettings {
    let words = |what: &str| vec!["/etc/xfrm-agent/vpn".to_owned(), what.to_owned()];
    VpnSettings {
        others: vec![OtherVpn {
            name: "office".into(),
            addresses: vec![[192, 0, 2, 1].into()],
            driver: Driver::Programs {
                up: words("up"),
                down: words("down"),
            },
            patience: Duration::from_secs(20),
            shape,
        }],
        ..VpnSettings::default()
    }
}

fn program(command: &commands::Command) -> &commands::Program {
    match command {
        commands::Command::Program(program) => program,
        commands::Command::Charon(charon) => panic!("{charon:?}"),
    }
}

fn tun0() -> LinkName {
    "tun0".parse().unwrap()
}

/// One system, and this VPN.
fn over(vpn: &str, reach: Reach) -> MobilitySettings {
    let mut mobility = settings();
    mobility.dual.sites = vec![Site {
        name: "north".into(),
        outer: None,
        gateway: Some(vpn.into()),
        near: Vec::new(),
        reach,
    }];
    mobility.outer = BTreeMap::new();
    mobility
}

/// Outside, where only what comes through the VPN reaches the inner home agent.
fn outside(shape: Shape) -> Laptop {
    started(office(shape), Reach::Ipv4, at("203.0.113.10/25"))
}

/// The same where there is no IPv4, and long enough to see that.
fn without_ipv4(shape: Shape) -> Laptop {
    let mut vpn = office(shape);
    vpn.others[0]
        .addresses
        .push("2001:db8:106::1".parse().unwrap());
    let adapters = at("203.0.113.10/25").into_iter().map(|adapter| Adapter {
        addresses: Vec::new(),
        gateway: None,
        ipv6: Some(Ipv6 {
            address: "2001:db8:72::10".parse().unwrap(),
            metric: 1024,
        }),
        ..adapter
    });
    let mut laptop = started(vpn, Reach::Either, adapters.collect());
    assert!(laptop.commands.is_empty(), "IPv4 may come yet");
    laptop.pass(WITHOUT_IPV4);
    laptop
}

fn started(vpn: VpnSettings, reach: Reach, adapters: Vec<Adapter>) -> Laptop {
    let mut laptop = Laptop::with_vpn(over("office", reach), vpn);
    laptop.over_vpn_only();
    laptop.clock_is_known();
    laptop.on(adapters);
    // The command has been run, where there is IPv4.
    laptop.pass(Duration::from_millis(800));
    laptop
}

/// Started where the inner home agent takes the network for trusted.
fn started_inside(mobility: MobilitySettings, vpn: VpnSettings) -> Laptop {
    let mut laptop = Laptop::with_vpn(mobility, vpn);
    let clock = Clock::new(laptop.now, Duration::from_secs(UNIX));
    let serving = Serving {
        trusted: vec!["203.0.113.0/25".parse().unwrap()],
        ..serving()
    };
    let random = Box::new(Seeded(97));
    laptop.home_agent = HomeAgent::new(laptop.now, clock, serving, Vec::new(), random);
    laptop.on(at("203.0.113.10/25"));
    laptop.pass(Duration::from_secs(5));
    assert!(laptop.ran().is_empty(), "nothing is proved yet");
    laptop.clock_is_known();
    laptop.pass(Duration::from_secs(1));
    laptop
}

impl Laptop {
    fn over_vpn_only(&mut self) {
        self.is_reached = false;
        self.is_reached_routed = true;
        let clock = Clock::new(self.now, Duration::from_secs(UNIX));
        let mut serving = serving();
        serving.nat.allowed = true;
        self.home_agent =
            HomeAgent::new(self.now, clock, serving, Vec::new(), Box::new(Seeded(98)));
    }

    /// The last command has ended so.
    fn ended(&mut self, ended: Ended) {
        let run = self.commands.last().unwrap().0;
        self.hand(Event::CommandEnded { run, ended });
        self.pass(Duration::from_millis(100));
    }

    fn ran(&self) -> Vec<&str> {
        self.commands
            .iter()
            .map(|(_, command)| program(command).words[1].as_str())
            .collect()
    }

    fn interface(&mut self, address: Option<&str>) {
        let mut tun = adapter(9, "tun0", "10.30.0.5/32", Ipv4Addr::UNSPECIFIED);
        tun.gateway = None;
        tun.addresses = address.iter().map(|it| it.parse().unwrap()).collect();
        self.hand(Event::VpnInterfaces(vec![tun]));
        self.pass(Duration::from_millis(100));
    }

    fn policies(&mut self, local: Option<Ipv4Addr>) {
        let esp = |local: Ipv4Addr| Policy {
            key: PolicyKey {
                direction: Direction::Out,
                selector: Selector::between(host(local.into()), "10.10.0.0/16".parse().unwrap()),
                mark: Mark::default(),
                if_id: 0,
            },
            priority: 375_423,
            action: Action::Allow(vec![Template {
                protocol: IpsecProtocol::Esp,
                mode: Mode::Tunnel,
                level: Needed::Required,
                src: local.into(),
                dst: [192, 0, 2, 1].into(),
                reqid: 1,
                spi: None,
            }]),
            lifetime: None,
        };
        let policies = local.map(esp).into_iter().collect();
        self.hand(Event::OutboundPolicies(policies));
        self.pass(Duration::from_millis(100));
    }

    /// From where nothing leaves unless somebody else protects it.
    pub(super) fn held_back(&self) -> Vec<IpAddr> {
        let last = |object: &Object| match object {
            Object::Policy(policy) if Band::of(policy.priority) == Some(Band::Last) => {
                Some(policy.key.selector.src.addr())
            }
            _ => None,
        };
        let mut from: Vec<_> = self.kernel.objects.values().filter_map(last).collect();
        from.dedup();
        from
    }

    fn is_nested(&self) -> bool {
        self.ways()
            == [
                format!("0.0.0.0/0 table 7380 proto 88 dev xa-nested src {S}"),
                END.into(),
            ]
    }
}

#[test]
fn the_command_is_told_what_to_bind_to_and_s_follows_the_interface() {
    let mut laptop = outside(Shape::Interface(tun0()));
    let (_, command) = &laptop.commands[0];
    let told = |name| {
        let mut variables = program(command).environment.iter();
        variables
            .find(|(it, _)| *it == name)
            .map(|(_, value)| value.as_str())
    };
    assert_eq!(told("XFRM_AGENT_ACTION"), Some("up"));
    assert_eq!(told("XFRM_AGENT_VPN"), Some("office"));
    assert_eq!(told("XFRM_AGENT_GATEWAY"), Some("192.0.2.1"));
    assert_eq!(told("XFRM_AGENT_LOCAL"), Some("203.0.113.10"));
    assert_eq!(told("XFRM_AGENT_ADAPTER"), Some("eth0"));
    laptop.ended(NOTHING);
    assert_eq!(laptop.ways(), [END], "the interface is not there yet");
    laptop.interface(None);
    assert_eq!(laptop.ways(), [END], "it has no address yet");
    laptop.interface(Some("10.30.0.5/24"));
    assert!(laptop.is_nested(), "{:?}", laptop.ways());
    assert_eq!(
        laptop.agent.snapshot(laptop.now).vpn.addresses,
        ["10.30.0.5"]
    );
    assert!(
        laptop.held_back().is_empty(),
        "what goes into the interface is its to protect"
    );
    laptop.hand(Event::VpnInterfaces(Vec::new()));
    assert_eq!(laptop.ways(), [END], "it has gone");
    laptop.pass(Duration::from_secs(1));
    assert_eq!(laptop.ran(), ["up", "up"], "and is brought up again");
}

#[test]
fn where_there_is_no_ipv4_the_command_is_told_of_ipv6_and_s_follows_v() {
    let mut laptop = without_ipv4(Shape::Said);
    let (_, command) = &laptop.commands[0];
    for told in [
        ("XFRM_AGENT_GATEWAY", "2001:db8:106::1".to_owned()),
        ("XFRM_AGENT_LOCAL", "2001:db8:72::10".to_owned()),
        ("XFRM_AGENT_ADAPTER", "eth0".to_owned()),
    ] {
        assert!(program(command).environment.contains(&told), "{told:?}");
    }
    assert!(laptop.held_back().is_empty(), "V is not known yet");
    laptop.ended(Ok("address 10.30.0.5".to_owned()));
    assert_eq!(laptop.ways(), [END], "nothing protects V yet");
    assert_eq!(laptop.held_back(), [IpAddr::V4(V)]);
    laptop.policies(Some(V));
    assert!(laptop.is_nested(), "{:?}", laptop.ways());
    laptop.policies(None);
    assert_eq!(laptop.ways(), [END]);
}

#[test]
fn where_there_is_no_ipv4_a_vpn_without_an_address_has_failed() {
    let mut laptop = without_ipv4(Shape::Said);
    laptop.ended(Ok("no-address".to_owned()));
    assert_eq!(laptop.ways(), [END]);
    assert_eq!(laptop.agent.snapshot(laptop.now).vpn.state, "failed");
    assert!(laptop.held_back().is_empty());
}

#[test]
fn a_command_that_fails_over_and_over_is_told_once_and_nothing_leaves() {
    let mut laptop = outside(Shape::Interface(tun0()));
    for _ in 0..5 {
        laptop.ended(Err(
            "/etc/xfrm-agent/vpn took more than 20s and was killed".into()
        ));
        assert_eq!(laptop.ways(), [END]);
        laptop.pass(Duration::from_secs(20));
    }
    assert_eq!(laptop.ran().len(), 6);
    let told = |kind: &str| laptop.told.iter().filter(|it| *it == kind).count();
    assert_eq!((told("vpn-failed"), told("vpn-connecting")), (1, 1));
    let view = laptop.agent.snapshot(laptop.now).vpn;
    assert_eq!(view.state, "connecting");
}

#[test]
fn one_that_takes_longer_than_mobility_waits_is_stopped_and_ended() {
    let mut laptop = outside(Shape::Interface(tun0()));
    let run = laptop.commands[0].0;
    laptop.pass(Duration::from_secs(20));
    assert_eq!(laptop.stopped, [run]);
    assert_eq!(laptop.ran(), ["up", "down"]);
    // What was killed may have said something in its last moment.
    laptop.hand(Event::CommandEnded {
        run,
        ended: NOTHING,
    });
    laptop.interface(Some("10.30.0.5/24"));
    assert_eq!(laptop.ways(), [END]);
    laptop.ended(NOTHING);
    laptop.pass(Duration::from_secs(2));
    assert_eq!(laptop.ran(), ["up", "down", "up"]);
}

#[test]
fn without_an_adapter_s_waits_for_policies_that_protect_our_own_address_and_goes_with_them() {
    let mut laptop = outside(Shape::NoAddress);
    assert_eq!(
        laptop.held_back(),
        [IpAddr::V4(X)],
        "before it is asked for"
    );
    laptop.ended(NOTHING);
    assert_eq!(laptop.ways(), [END], "nothing protects X");
    laptop.policies(Some(V));
    assert_eq!(laptop.ways(), [END], "they protect somebody else");
    laptop.policies(Some(X));
    let in_udp = format!("0.0.0.0/0 table 7380 proto 88 dev intranet0 src {S}");
    assert_eq!(laptop.ways(), [in_udp, END.into()]);
    let view = laptop.agent.snapshot(laptop.now).mobility.unwrap();
    assert_eq!(view.place, "outside, without a VPN adapter");
    laptop.hand(Event::OutboundPolicies(Vec::new()));
    assert_eq!(laptop.ways(), [END], "they have gone");
    assert_eq!(laptop.held_back(), [IpAddr::V4(X)]);
}

#[test]
fn what_the_command_says_is_v_where_policies_protect_it() {
    let mut laptop = outside(Shape::Said);
    laptop.ended(Ok("dialling\naddress 10.30.0.5\n".into()));
    assert_eq!(laptop.ways(), [END]);
    assert_eq!(laptop.held_back(), [IpAddr::V4(V), IpAddr::V4(X)]);
    laptop.policies(Some(V));
    assert!(laptop.is_nested(), "{:?}", laptop.ways());
    laptop.policies(None);
    assert_eq!(laptop.ways(), [END]);

    let mut laptop = outside(Shape::Said);
    laptop.ended(Ok("connected\n".into()));
    let view = laptop.agent.snapshot(laptop.now).vpn;
    assert!(view.reason.contains("neither"), "{view:?}");
}

#[test]
fn what_was_brought_up_may_get_another_v_or_go() {
    let mut laptop = outside(Shape::Said);
    let run = laptop.commands[0].0;
    laptop.ended(Ok("address 10.30.0.4".into()));
    laptop.policies(Some(V));
    assert_eq!(laptop.ways(), [END], "they protect another V");
    let says = Ok("address 10.30.0.5".into());
    laptop.hand(Event::VpnSays { run, says });
    laptop.pass(Duration::from_millis(100));
    assert!(laptop.is_nested(), "{:?}", laptop.ways());
    let says = Err("charon has ended net of office".into());
    laptop.hand(Event::VpnSays { run, says });
    assert_eq!(laptop.ways(), [END], "whatever policies are there");
    laptop.pass(Duration::from_millis(100));
    assert_eq!(laptop.ran(), ["up", "up"]);
}

#[test]
fn by_hand_it_goes_up_and_down_and_what_is_asked_meanwhile_waits() {
    let mut laptop = Laptop::with_vpn(single(), office(Shape::NoAddress));
    let command = |laptop: &mut Laptop, command| {
        let token = Token(1);
        let command = Command::Vpn(command);
        laptop.hand(Event::Command { token, command });
    };
    let state = |laptop: &Laptop| laptop.agent.snapshot(laptop.now).vpn.state;
    command(&mut laptop, VpnCommand::Up { name: None });
    laptop.ended(NOTHING);
    assert_eq!(state(&laptop), "up");
    command(&mut laptop, VpnCommand::Down);
    assert_eq!(state(&laptop), "disconnecting");
    command(
        &mut laptop,
        VpnCommand::Up {
            name: Some("office".into()),
        },
    );
    assert_eq!(laptop.ran(), ["up", "down"]);
    laptop.ended(Err(
        "/etc/xfrm-agent/vpn ended with status 1: not there".into()
    ));
    assert_eq!(laptop.ran(), ["up", "down", "up"]);
    assert!(laptop.told.contains(&"vpn-stays-up".to_owned()));
    command(&mut laptop, VpnCommand::Down);
    laptop.ended(NOTHING);
    assert_eq!(state(&laptop), "down");
    assert!(laptop.held_back().is_empty());
}

#[test]
fn inside_what_an_earlier_run_may_have_left_is_ended_once() {
    for shape in [Shape::Interface(tun0()), Shape::Said, Shape::NoAddress] {
        let mut laptop = started_inside(over("office", Reach::Ipv4), office(shape));
        let view = laptop.agent.snapshot(laptop.now).mobility.unwrap();
        assert_eq!(view.place, "inside");
        assert_eq!(laptop.ran(), ["down"]);
        laptop.ended(NOTHING);
        // Software that watches its VPN itself brings it up, and nobody uses it.
        laptop.interface(Some("10.30.0.5/24"));
        laptop.pass(Duration::from_secs(120));
        assert_eq!(laptop.ran(), ["down"]);
        assert_eq!(laptop.agent.snapshot(laptop.now).vpn.state, "down");
    }
}

#[test]
fn whoever_leaves_before_what_was_left_is_ended_waits_for_that_and_has_the_vpn() {
    let mut laptop = started_inside(
        over("office", Reach::Ipv4),
        office(Shape::Interface(tun0())),
    );
    laptop.over_vpn_only();
    laptop.on(at("203.0.113.138/25"));
    laptop.pass(Duration::from_secs(2));
    assert_eq!(laptop.ran(), ["down"]);
    laptop.ended(NOTHING);
    assert_eq!(laptop.ran(), ["down", "up"]);
    laptop.ended(NOTHING);
    laptop.interface(Some("10.30.0.5/24"));
    assert!(laptop.is_nested(), "{:?}", laptop.ways());
}

#[test]
fn what_other_sites_may_have_left_is_ended_one_after_the_other_and_with_the_t_of_each() {
    let mut vpn = office(Shape::NoAddress);
    let mut south = vpn.others[0].clone();
    south.name = "factory".into();
    vpn.others.push(south);
    let mut mobility = over("office", Reach::Ipv4);
    let mut south = settings().dual.sites.remove(0);
    south.name = "south".into();
    south.gateway = Some("factory".into());
    mobility.dual.sites.push(south);
    mobility.outer = BTreeMap::from([(1, agreement())]);
    mobility.dual.vpn = Vpn::Present {
        warm: false,
        patience: Duration::from_secs(20),
    };
    let mut laptop = started_inside(mobility, vpn);
    let told = |laptop: &Laptop, name| {
        let (_, command) = laptop.commands.last().unwrap();
        let mut variables = program(command).environment.iter();
        let found = variables.find(|(it, _)| *it == name);
        found.map(|(_, value)| value.clone())
    };
    assert_eq!(laptop.ran(), ["down"]);
    assert_eq!(told(&laptop, "XFRM_AGENT_VPN").unwrap(), "office");
    assert_eq!(told(&laptop, "XFRM_AGENT_LOCAL"), None);
    // It can say nothing of what is left: the next one has its turn all the same.
    laptop.ended(Err("/etc/xfrm-agent/vpn ended with status 1".into()));
    assert_eq!(laptop.ran(), ["down", "down"]);
    assert_eq!(told(&laptop, "XFRM_AGENT_VPN").unwrap(), "factory");
    assert_eq!(told(&laptop, "XFRM_AGENT_LOCAL").unwrap(), T.to_string());
    laptop.ended(NOTHING);
    laptop.pass(Duration::from_secs(60));
    assert_eq!(laptop.ran(), ["down", "down"]);
}

#[test]
fn an_interface_of_the_vpn_is_no_adapter_that_leads_out() {
    let mut laptop = outside(Shape::Interface(tun0()));
    let mut adapters = at("203.0.113.10/25");
    adapters.push(adapter(9, "tun0", "10.30.0.5/24", [10, 30, 0, 1].into()));
    laptop.on(adapters);
    let view = laptop.agent.snapshot(laptop.now).mobility.unwrap();
    assert_eq!(view.adapters.len(), 1);
}
