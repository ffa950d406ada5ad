//! Policies: `NEWPOLICY`, `UPDPOLICY`, `DELPOLICY` and what dumps and events say of them.

use super::fields;
use super::message::{Attributes, Batch, Message, attributes_after, flags};
use crate::kernel::desired::{
    Action, Direction, Level, Lifetime, Limits, Policy, PolicyKey, Template,
};
use crate::kernel::observed::ObservedPolicy;
use crate::net::{Family, Spi};
use netlink_packet_xfrm as xfrm;
use std::time::Duration;
use xfrm::UserPolicyInfo;
use xfrm::constants::{
    XFRM_MSG_DELPOLICY, XFRM_MSG_NEWPOLICY, XFRM_MSG_POLEXPIRE, XFRM_MSG_UPDPOLICY, XFRMA_IF_ID,
    XFRMA_MARK, XFRMA_POLICY, XFRMA_POLICY_TYPE, XFRMA_TMPL,
};

const ALLOW: u8 = 0;
const BLOCK: u8 = 1;
/// `struct xfrm_user_polexpire`: the policy, one octet, and its padding.
const POLEXPIRE_LEN: usize = xfrm::XFRM_USER_POLICY_INFO_LEN + 8;

pub fn direction_code(direction: Direction) -> u8 {
    match direction {
        Direction::In => 0,
        Direction::Out => 1,
        Direction::Fwd => 2,
    }
}

fn direction(code: u8) -> Option<Direction> {
    match code {
        0 => Some(Direction::In),
        1 => Some(Direction::Out),
        2 => Some(Direction::Fwd),
        // Per-socket policies are 4 and above.
        _ => None,
    }
}

/// Whether a policy of the same key may be there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// `NEWPOLICY`: refused with `EEXIST` where anybody's policy has the key.
    Add,
    /// `UPDPOLICY`: takes its place in one step, moves held packets over, keeps its index.
    Update,
}

/// `index` must be free and of the policy's direction, or be that of the policy it replaces.
pub fn put(batch: &mut Batch, write: Write, policy: &Policy, index: u32) {
    let (kind, flags) = match write {
        Write::Add => (XFRM_MSG_NEWPOLICY, flags::CREATE | flags::EXCLUSIVE),
        Write::Update => (XFRM_MSG_UPDPOLICY, 0),
    };
    let key = &policy.key;
    let templates: &[Template] = match &policy.action {
        Action::Allow(templates) => templates,
        Action::Block => &[],
    };
    batch.message(kind, flags, |payload| {
        payload.put(&UserPolicyInfo {
            selector: fields::selector_code(&key.selector),
            lifetime_cfg: fields::lifetime_code(&until(policy.lifetime)),
            lifetime_cur: xfrm::Lifetime::default(),
            priority: policy.priority,
            index,
            direction: direction_code(key.direction),
            action: match policy.action {
                Action::Allow(_) => ALLOW,
                Action::Block => BLOCK,
            },
            flags: 0,
            share: 0,
        });
        if !templates.is_empty() {
            let templates: Vec<_> = templates.iter().map(template_code).collect();
            payload.attribute(XFRMA_TMPL, &TemplateList(&templates));
        }
        put_mark_and_if_id(payload, key);
    });
}

fn until(time: Option<Duration>) -> Lifetime {
    let hard = Limits {
        time,
        ..Limits::default()
    };
    Lifetime {
        hard,
        ..Lifetime::default()
    }
}

/// By index, which is the one quick way: by selector the kernel walks all unhashed policies.
pub fn delete(batch: &mut Batch, key: &PolicyKey, index: u32) {
    batch.message(XFRM_MSG_DELPOLICY, 0, |payload| {
        payload.put(&xfrm::UserPolicyId {
            selector: fields::selector_code(&key.selector),
            index,
            direction: direction_code(key.direction),
        });
        put_mark_and_if_id(payload, key);
    });
}

fn put_mark_and_if_id(payload: &mut super::message::Payload<'_>, key: &PolicyKey) {
    if key.mark != crate::kernel::desired::Mark::default() {
        payload.attribute(XFRMA_MARK, &fields::mark_code(key.mark));
    }
    if key.if_id != 0 {
        payload.attribute_bytes(XFRMA_IF_ID, &[&key.if_id.to_ne_bytes()]);
    }
}

struct TemplateList<'a>(&'a [xfrm::UserTemplate]);

impl netlink_packet_core::Emitable for TemplateList<'_> {
    fn buffer_len(&self) -> usize {
        self.0.len() * xfrm::XFRM_USER_TEMPLATE_LEN
    }

    fn emit(&self, buffer: &mut [u8]) {
        for (template, out) in self
            .0
            .iter()
            .zip(buffer.chunks_exact_mut(xfrm::XFRM_USER_TEMPLATE_LEN))
        {
            template.emit(out);
        }
    }
}

fn template_code(template: &Template) -> xfrm::UserTemplate {
    xfrm::UserTemplate {
        id: xfrm::Id {
            daddr: xfrm::Address::from_ip(&template.dst),
            spi: template.spi.map_or(0, |spi| spi.0),
            proto: fields::protocol_code(template.protocol),
        },
        family: fields::family_code(Family::of(template.dst)),
        saddr: xfrm::Address::from_ip(&template.src),
        reqid: template.reqid,
        mode: fields::mode_code(template.mode),
        share: 0,
        optional: match template.level {
            Level::Required => 0,
            Level::Use => 1,
        },
        aalgos: u32::MAX,
        ealgos: u32::MAX,
        calgos: u32::MAX,
    }
}

fn template(code: &xfrm::UserTemplate) -> Option<Template> {
    let family = fields::family(code.family)?;
    Some(Template {
        protocol: fields::protocol(code.id.proto)?,
        mode: fields::mode(code.mode)?,
        level: if code.optional == 0 {
            Level::Required
        } else {
            Level::Use
        },
        src: fields::address(family, &code.saddr),
        dst: fields::address(family, &code.id.daddr),
        reqid: code.reqid,
        spi: (code.id.spi != 0).then_some(Spi(code.id.spi)),
    })
}

/// What a dump or an event says of a policy: `NEWPOLICY`, `UPDPOLICY`, `DELPOLICY`, `POLEXPIRE`.
///
/// `None` for a policy whose key can never be one of ours (a port range, one user's, a sub-policy),
/// and for a message that is cut short.
pub fn read(message: &Message<'_>) -> Option<ObservedPolicy> {
    let payload = message.payload;
    let (info, attributes) = match message.kind {
        XFRM_MSG_NEWPOLICY | XFRM_MSG_UPDPOLICY => (
            payload,
            attributes_after(payload, xfrm::XFRM_USER_POLICY_INFO_LEN),
        ),
        XFRM_MSG_DELPOLICY => {
            let attributes = attributes_after(payload, xfrm::XFRM_USER_POLICY_ID_LEN);
            (attributes.find(XFRMA_POLICY)?, attributes)
        }
        XFRM_MSG_POLEXPIRE => (payload, attributes_after(payload, POLEXPIRE_LEN)),
        _ => return None,
    };
    read_info(&UserPolicyInfo::parse(info).ok()?, &attributes)
}

/// The hard limit of a `POLEXPIRE`: the policy is gone.
pub fn is_hard_expiry(message: &Message<'_>) -> bool {
    message.kind == XFRM_MSG_POLEXPIRE
        && message
            .payload
            .get(xfrm::XFRM_USER_POLICY_INFO_LEN)
            .is_some_and(|hard| *hard != 0)
}

pub(super) fn read_info(
    info: &UserPolicyInfo,
    attributes: &Attributes<'_>,
) -> Option<ObservedPolicy> {
    // `struct xfrm_userpolicy_type`: 0 is a main policy; sub-policies live beside them.
    if attributes
        .find(XFRMA_POLICY_TYPE)
        .is_some_and(|t| t.first() != Some(&0))
    {
        return None;
    }
    let key = PolicyKey {
        direction: direction(info.direction)?,
        selector: fields::selector(&info.selector)?,
        mark: fields::mark(attributes.find(XFRMA_MARK)),
        if_id: attributes.find_u32(XFRMA_IF_ID).unwrap_or(0),
    };
    let templates = attributes
        .find(XFRMA_TMPL)
        .unwrap_or_default()
        .chunks_exact(xfrm::XFRM_USER_TEMPLATE_LEN)
        .map(|code| template(&xfrm::UserTemplate::parse(code).ok()?))
        .collect::<Option<Vec<_>>>();
    let action = match (info.action, templates) {
        (BLOCK, _) => Action::Block,
        (ALLOW, Some(templates)) => Action::Allow(templates),
        // Somebody else's, with a transformation that we do not know: it occupies the key, and
        // that is all we need of it.
        (_, _) => Action::Allow(Vec::new()),
    };
    let lifetime = fields::lifetime(&info.lifetime_cfg);
    Some(ObservedPolicy {
        policy: Policy {
            key,
            priority: info.priority,
            action,
            lifetime: lifetime.hard.time,
        },
        limited: lifetime != until(lifetime.hard.time),
        index: info.index,
        added: info.lifetime_cur.add_time,
        used: (info.lifetime_cur.use_time != 0).then_some(info.lifetime_cur.use_time),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::desired::{IpsecProtocol, Mark, Mode};
    use crate::kernel::netlink::message::Messages;
    use crate::net::{Port, Protocol, Selector};
    use netlink_packet_core::{Emitable, Parseable};
    use proptest::prelude::*;

    fn policy() -> Policy {
        let selector = Selector::between(
            "10.1.0.0/16".parse().unwrap(),
            "10.2.0.0/16".parse().unwrap(),
        );
        let tunnel = Template {
            protocol: IpsecProtocol::Esp,
            mode: Mode::Tunnel,
            level: Level::Required,
            src: "2001:db8::1".parse().unwrap(),
            dst: "2001:db8::2".parse().unwrap(),
            reqid: 7,
            spi: Some(Spi(0x1234)),
        };
        let transport = Template {
            protocol: IpsecProtocol::Ah,
            mode: Mode::Transport,
            level: Level::Use,
            src: "0.0.0.0".parse().unwrap(),
            dst: "0.0.0.0".parse().unwrap(),
            reqid: 0,
            spi: None,
        };
        Policy {
            key: PolicyKey {
                direction: Direction::Fwd,
                selector: selector
                    .protocol(Protocol::UDP)
                    .ports(Port::Any, Port::Is(53)),
                mark: Mark {
                    value: 0,
                    mask: 0x8000_0000,
                },
                if_id: 9,
            },
            priority: 12_345,
            action: Action::Allow(vec![tunnel, transport]),
            lifetime: Some(Duration::from_secs(60)),
        }
    }

    fn written(policy: &Policy) -> Vec<u8> {
        let mut batch = Batch::new(1);
        put(&mut batch, Write::Add, policy, 0x5800_0002);
        batch.bytes().to_vec()
    }

    #[test]
    fn a_policy_reads_back_as_written_with_its_index() {
        for action in [policy().action, Action::Block, Action::Allow(Vec::new())] {
            let wanted = Policy { action, ..policy() };
            let bytes = written(&wanted);
            let there = read(&Messages(&bytes).next().unwrap()).unwrap();
            assert_eq!((there.policy, there.index), (wanted, 0x5800_0002));
        }
    }

    #[test]
    fn what_ends_by_a_limit_that_we_never_set_is_not_what_we_wrote() {
        let wanted = policy();
        let mut bytes = written(&wanted);
        let there = read(&Messages(&bytes).next().unwrap()).unwrap();
        assert!(there.is(&wanted));
        let unlimited = u64::MAX.to_ne_bytes();
        let limit = bytes.windows(8).position(|w| w == unlimited).unwrap();
        bytes[limit..limit + 8].copy_from_slice(&4096_u64.to_ne_bytes());
        let there = read(&Messages(&bytes).next().unwrap()).unwrap();
        assert_eq!(there.policy, wanted);
        assert!(!there.is(&wanted));
    }

    /// The parser of the library is no reader of ours, but another opinion on the layout.
    #[test]
    fn the_library_reads_the_same_attributes() {
        let bytes = written(&policy());
        let message = Messages(&bytes).next().unwrap();
        let other = xfrm::policy::ModifyMessage::parse(message.payload).unwrap();
        assert_eq!(other.user_policy_info.priority, 12_345);
        let kinds: Vec<_> = other
            .nlas
            .iter()
            .map(netlink_packet_core::Nla::kind)
            .collect();
        assert_eq!(kinds, [XFRMA_TMPL, XFRMA_MARK, XFRMA_IF_ID]);
    }

    /// `DELPOLICY` as an event: the policy itself is in an attribute.
    #[test]
    fn a_deletion_names_the_whole_policy() {
        let bytes = written(&policy());
        let whole = Messages(&bytes).next().unwrap();
        let (info, attributes) = whole.payload.split_at(xfrm::XFRM_USER_POLICY_INFO_LEN);
        let mut batch = Batch::new(1);
        batch.message(XFRM_MSG_DELPOLICY, 0, |payload| {
            payload.put(&xfrm::UserPolicyId::default());
            payload.attribute_bytes(XFRMA_POLICY, &[info]);
            payload.put_bytes(attributes);
        });
        let there = read(&Messages(batch.bytes()).next().unwrap()).unwrap();
        assert_eq!(there.policy, policy());
    }

    #[test]
    fn hard_and_soft_expiry_are_told_apart() {
        let expiry = |hard| {
            let info = UserPolicyInfo {
                selector: fields::selector_code(&policy().key.selector),
                ..UserPolicyInfo::default()
            };
            let mut payload = vec![0; info.buffer_len()];
            info.emit(&mut payload);
            payload.extend([hard, 0, 0, 0, 0, 0, 0, 0]);
            payload
        };
        for hard in [0, 1] {
            let payload = expiry(hard);
            let message = Message {
                kind: XFRM_MSG_POLEXPIRE,
                flags: 0,
                sequence: 0,
                port: 0,
                payload: &payload,
            };
            assert_eq!(is_hard_expiry(&message), hard == 1);
            assert!(read(&message).is_some());
        }
    }

    #[test]
    fn sub_policies_and_socket_policies_are_nobodys_we_know() {
        let bytes = written(&policy());
        let whole = Messages(&bytes).next().unwrap();
        let mut sub = whole.payload.to_vec();
        sub.extend([10, 0, 16, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(
            read(&Message {
                payload: &sub,
                ..whole
            }),
            None
        );
        let mut socket = whole.payload.to_vec();
        socket[xfrm::XFRM_USER_POLICY_INFO_LEN - 8] = 5;
        assert_eq!(
            read(&Message {
                payload: &socket,
                ..whole
            }),
            None
        );
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(kind in 0x10u16..0x29, octets in prop::collection::vec(any::<u8>(), 0..400)) {
            let message = Message { kind, flags: 0, sequence: 0, port: 0, payload: &octets };
            let _ = (read(&message), is_hard_expiry(&message));
        }

        #[test]
        fn a_policy_cut_short_or_altered_is_read_without_panic(cut in 0usize..400, at in 0usize..400, octet: u8) {
            let mut bytes = written(&policy());
            let at = at % bytes.len();
            bytes[at] = octet;
            bytes.truncate(bytes.len().min(cut));
            for message in Messages(&bytes) {
                let _ = (read(&message), is_hard_expiry(&message));
            }
        }
    }
}
