//! The lives of the client: what `kill -9` takes with it, and what the next start has.
//!
//! What the kernel does meanwhile with what it was told is not the business of rooms: the lab shows that.

use super::world::World;
use std::collections::BTreeSet;
use xfrm_agent::mobile_ip::domain::Context;
use xfrm_agent::mobile_ip::dual_client;
use xfrm_agent::mobile_ip::dual_client::station::Input;
use xfrm_agent::mobile_ip::{LinkId, Place};
use xfrm_agent::net::Random;

#[derive(Default)]
pub struct Life {
    /// From 0.
    count: u64,
    pub is_over: bool,
    /// What the client's store keeps.
    pub remembered: Vec<Context>,
    /// What was asked of the inner home agent in this life: the lower halves of identifications.
    pub asked: BTreeSet<u32>,
    /// It has agreed to some of that.
    pub is_answered: bool,
    /// Revocations of the inner home agent that the client has acknowledged.
    pub acknowledged: BTreeSet<(LinkId, u32)>,
    /// Adapters with such a one in the event that is being handled.
    pub revoked: BTreeSet<LinkId>,
}

impl World {
    /// Our own VPN goes with it. One of other software stays as it is, with its V, and the next start runs `up`
    /// again, or `down` where it finds itself inside.
    pub fn kill_client(&mut self) {
        self.life.is_over = true;
        let stays = self.vpn_is_up && self.percent(50);
        self.tell(&format_args!(
            "the client is killed, its VPN stays: {stays}"
        ));
        self.vpn_is_left = stays;
        if !stays {
            (self.vpn_is_up, self.vpn_carries) = (false, false);
        }
        self.vpn_turn += 1;
        self.arrangement = None;
    }

    /// With the same keys and time of day, other randomness, and what its store keeps, if that `recalls`.
    pub fn start_client(&mut self, recalls: bool) {
        self.tell(&format_args!("the client starts, recalls: {recalls}"));
        self.life = Life {
            count: self.life.count + 1,
            remembered: std::mem::take(&mut self.life.remembered),
            ..Life::default()
        };
        let seed = u64::from(self.random.u32()) ^ (self.life.count << 32);
        self.station = self.setup.station(self.now, self.now - self.start, seed);
        // Nothing that it has heard or found out counts any more.
        self.witnessed.clear();
        self.moved_silently.clear();
        self.doubted_home.clear();
        self.drain();
        let place = self.arrangement.as_ref().map(|now| now.place);
        assert_eq!(place, Some(Place::Blocked), "{}", self.told());
        if recalls {
            let contexts = self.life.remembered.clone();
            self.input(Input::Dual(dual_client::Input::Recall(contexts)));
        }
        self.links_changed();
    }
}
