//! Keeping the mapping of a NAT alive under a UDP tunnel (RFC 3519 §4.9, §4.10): an ICMP echo to the
//! home agent through the tunnel, and what it means when none comes back.

use super::settings::KEEPALIVE;
use crate::mobile_ip::wire::advertisement::internet_checksum;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

/// RFC 3519 §4.10.
const LEAST: Duration = Duration::from_secs(10);
/// After which an echo is sent again, twice; then the mapping counts as lost.
const WAITS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
const IPV4_HEADER: usize = 20;
/// More to come, or an offset.
const FRAGMENT: u16 = 0x3fff;
const ICMP: u8 = 1;
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;

#[derive(Clone, Debug)]
pub struct Keepalive {
    interval: Duration,
    /// Names this tunnel in its echoes, so that none of an earlier one answers for it.
    id: u16,
    sequence: u16,
    /// Echoes since the last answer.
    unanswered: usize,
    due: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Send the echo.
    Echo,
    /// The mapping is gone: register anew, and keep the next one alive more often.
    MappingLost,
}

impl Keepalive {
    /// `granted` is what the home agent says, in seconds; zero leaves it to us. `shortened` is what a
    /// lost mapping behind the same router has taught.
    pub fn new(now: Instant, granted: u16, shortened: Option<Duration>, id: u16) -> Self {
        let interval = match granted {
            0 => KEEPALIVE,
            seconds => Duration::from_secs(seconds.into()),
        };
        let interval = shortened.map_or(interval, |short| short.min(interval));
        let interval = interval.max(LEAST);
        Self {
            interval,
            id,
            sequence: 0,
            unanswered: 0,
            due: now + interval,
        }
    }

    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// What to try after a lost mapping.
    pub fn shortened(&self) -> Duration {
        (self.interval / 2).max(LEAST)
    }

    pub fn due(&self) -> Instant {
        self.due
    }

    /// Due at once: a tunnel that is only set up by its first packet (RFC 3519 §4.11).
    pub fn at_once(&mut self, now: Instant) {
        self.due = now;
    }

    /// The deadline has passed.
    pub fn expire(&mut self, now: Instant) -> Due {
        let Some(wait) = WAITS.get(self.unanswered) else {
            return Due::MappingLost;
        };
        self.unanswered += 1;
        self.sequence = self.sequence.wrapping_add(1);
        self.due = now + *wait;
        Due::Echo
    }

    /// The echo that is due, as an IP packet.
    pub fn echo(&self, home: Ipv4Addr, home_agent: Ipv4Addr) -> Vec<u8> {
        let mut icmp = vec![ECHO_REQUEST, 0, 0, 0];
        icmp.extend_from_slice(&self.id.to_be_bytes());
        icmp.extend_from_slice(&self.sequence.to_be_bytes());
        let checksum = internet_checksum(&icmp);
        icmp[2..4].copy_from_slice(&checksum.to_be_bytes());
        ipv4(home, home_agent, &icmp)
    }

    /// A packet out of the tunnel; whether it answers an echo of ours.
    pub fn hear(&mut self, now: Instant, packet: &[u8], home: Ipv4Addr, agent: Ipv4Addr) -> bool {
        let Some(icmp) = icmp_of(packet, agent, home) else {
            return false;
        };
        let [ECHO_REPLY, 0, _, _, id0, id1, s0, s1, ..] = *icmp else {
            return false;
        };
        let behind = self.sequence.wrapping_sub(u16::from_be_bytes([s0, s1]));
        let ours = u16::from_be_bytes([id0, id1]) == self.id
            && usize::from(behind) < self.unanswered
            && internet_checksum(icmp) == 0;
        if ours {
            self.unanswered = 0;
            self.due = now + self.interval;
        }
        ours
    }
}

fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, payload: &[u8]) -> Vec<u8> {
    // Only ever an echo: a few octets.
    let total = u16::try_from(IPV4_HEADER + payload.len()).unwrap_or(u16::MAX);
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&total.to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0x40, 0, 64, ICMP, 0, 0]);
    packet.extend_from_slice(&source.octets());
    packet.extend_from_slice(&destination.octets());
    let checksum = internet_checksum(&packet);
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

/// The ICMP message of a whole IPv4 packet from one host to another.
fn icmp_of(packet: &[u8], source: Ipv4Addr, destination: Ipv4Addr) -> Option<&[u8]> {
    let fixed: &[u8; IPV4_HEADER] = packet.first_chunk()?;
    let header = usize::from(fixed[0] & 0x0f) * 4;
    let total = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    let fragment = u16::from_be_bytes([fixed[6], fixed[7]]) & FRAGMENT;
    let whole = fixed[0] >> 4 == 4 && fragment == 0;
    let between = fixed[12..16] == source.octets() && fixed[16..] == destination.octets();
    if !whole || !between || fixed[9] != ICMP || header < IPV4_HEADER {
        return None;
    }
    packet.get(header..total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOME: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 5);
    const AGENT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

    fn answer(echo: &[u8]) -> Vec<u8> {
        let mut icmp = icmp_of(echo, HOME, AGENT).expect("an echo").to_vec();
        icmp[0] = ECHO_REPLY;
        icmp[2..4].fill(0);
        let checksum = internet_checksum(&icmp);
        icmp[2..4].copy_from_slice(&checksum.to_be_bytes());
        ipv4(AGENT, HOME, &icmp)
    }

    /// Octets written by hand from RFC 791 and RFC 792.
    #[test]
    fn an_echo_is_a_packet_from_home_to_the_home_agent() {
        let now = Instant::now();
        let mut keepalive = Keepalive::new(now, 0, None, 0x1234);
        assert_eq!(keepalive.expire(now), Due::Echo);
        let expected = [
            0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 1, 0x4e, 0xa6, 198, 51, 100, 5, 192, 0, 2,
            2, // IP
            8, 0, 0xe5, 0xca, 0x12, 0x34, 0, 1, // ICMP
        ];
        assert_eq!(keepalive.echo(HOME, AGENT), expected);
    }

    #[test]
    fn an_answer_puts_the_next_echo_off() {
        let now = Instant::now();
        let mut keepalive = Keepalive::new(now, 30, None, 1);
        assert_eq!(keepalive.due(), now + Duration::from_secs(30));
        assert_eq!(keepalive.expire(now), Due::Echo);
        assert_eq!(keepalive.due(), now + Duration::from_secs(1));
        let reply = answer(&keepalive.echo(HOME, AGENT));
        assert!(keepalive.hear(now, &reply, HOME, AGENT));
        assert_eq!(keepalive.due(), now + Duration::from_secs(30));
        assert!(!keepalive.hear(now, &reply, HOME, AGENT), "once only");
    }

    #[test]
    fn three_echoes_without_an_answer_are_a_lost_mapping() {
        let now = Instant::now();
        let mut keepalive = Keepalive::new(now, 50, None, 1);
        for _ in 0..3 {
            assert_eq!(keepalive.expire(now), Due::Echo);
        }
        assert_eq!(keepalive.expire(now), Due::MappingLost);
        assert_eq!(keepalive.shortened(), Duration::from_secs(25));
    }

    #[test]
    fn the_interval_never_falls_below_ten_seconds() {
        let keepalive = Keepalive::new(Instant::now(), 3, Some(Duration::from_secs(1)), 1);
        assert_eq!(keepalive.interval(), LEAST);
        assert_eq!(keepalive.shortened(), LEAST);
    }

    proptest! {
        #[test]
        fn no_packet_of_others_answers(packet in proptest::collection::vec(any::<u8>(), 0..80)) {
            let now = Instant::now();
            let mut keepalive = Keepalive::new(now, 50, None, 0xbeef);
            keepalive.expire(now);
            prop_assert!(!keepalive.hear(now, &packet, HOME, AGENT));
        }
    }
}
