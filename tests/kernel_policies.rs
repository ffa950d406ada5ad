//! Policies, routes, rules, sysctls and interception on the running kernel. Needs root, no ESP.

mod kernel;

use kernel::{Kernel, in_namespace, policy, run, selector, trap_template};
use xfrm_agent::kernel::desired::{Action, Change, Direction, Object};
use xfrm_agent::kernel::ownership::Band;
use xfrm_agent::kernel::writer::Stop;

fn trap(src: &str, dst: &str) -> Object {
    let template = trap_template(src.contains(':'));
    let action = Action::Allow(vec![template]);
    Object::Policy(policy(
        Direction::Out,
        selector(src, dst),
        Band::Trap,
        action,
    ))
}

#[test]
fn what_is_put_is_in_the_kernel_and_what_is_removed_is_not() {
    in_namespace(|| {
        let mut kernel = Kernel::open();
        let (v4, v6) = (
            trap("10.1.0.0/16", "10.2.0.0/16"),
            trap("2001:db8:1::/48", "2001:db8:2::/48"),
        );
        let key = v4.key();
        kernel.put(vec![v4, v6]);
        let listed = run("ip", "xfrm policy");
        assert!(
            listed.contains("src 10.1.0.0/16 dst 10.2.0.0/16"),
            "{listed}"
        );
        assert!(
            listed.contains("src 2001:db8:1::/48 dst 2001:db8:2::/48"),
            "{listed}"
        );
        assert!(
            listed.contains("proto esp reqid 0 mode transport"),
            "{listed}"
        );
        kernel.apply(Change {
            remove: vec![key],
            ..Change::default()
        });
        let listed = run("ip", "xfrm policy");
        assert!(!listed.contains("10.1.0.0/16"), "{listed}");
        kernel.stop(Stop::Remove);
        assert_eq!(run("ip", "xfrm policy"), "");
    });
}
