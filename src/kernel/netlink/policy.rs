//! Policies: `NEWPOLICY`, `UPDPOLICY`, `DELPOLICY` and what dumps and events say of them.

use super::fields;
use super::message::{Attributes, Batch, Message, attributes_after, flags};
use crate::kernel::desired::{Action, Direction, Level, Policy, PolicyKey, Template};
use crate::kernel::observed::ObservedPolicy;
use crate::net::{Family, Spi};
use netlink_packet_xfrm as xfrm;
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
            lifetime_cfg: fields::lifetime_code(&policy.lifetime),
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
    Some(ObservedPolicy {
        policy: Policy {
            key,
            priority: info.priority,
            action,
            lifetime: fields::lifetime(&info.lifetime_cfg),
        },
        index: info.index,
        added: info.lifetime_cur.add_time,
        used: (info.lifetime_cur.use_time != 0).then_some(info.lifetime_cur.use_time),
    })
}
