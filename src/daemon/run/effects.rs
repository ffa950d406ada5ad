//! What the agent wants done: sent, written to the kernel, kept, told.

use super::Daemon;
use crate::agent::effect::{Effect, Reply};
use crate::daemon::carrying::{self, Carrying};
use crate::daemon::{events, logging, sockets};
use crate::kernel::first_packets;
use std::rc::Rc;

impl Daemon {
    /// Does everything that the agent wants done, and what it wants when the kernel has answered at
    /// once.
    pub(super) fn carry_out_all(&mut self) {
        loop {
            while let Some(effect) = self.agent.poll_effect() {
                if let Effect::SendRegistration(datagram) = effect {
                    self.registrations.push(datagram);
                } else {
                    self.send_registrations();
                    self.carry_out(effect);
                }
            }
            self.send_registrations();
            if self.answers.is_empty() {
                return;
            }
            for report in std::mem::take(&mut self.answers) {
                if let Some(event) = events::of_report(report) {
                    self.agent.handle(self.now, event);
                }
            }
            self.attach_missing();
        }
    }

    fn send_registrations(&mut self) {
        if self.registrations.is_empty() {
            return;
        }
        self.sockets
            .send_registrations(&self.registrations, |error| not_sent(&error));
        self.registrations.clear();
    }

    pub(super) fn carry_out(&mut self, effect: Effect) {
        let sent = match effect {
            Effect::Kernel(change) => {
                let answers = self
                    .writer
                    .apply_at_once(self.now, change, &mut self.reports);
                return self.answers.extend(answers);
            }
            Effect::Reply { token, mut reply } => {
                if let (Reply::Status(snapshot), Some(carrying)) = (&mut reply, &self.carrying) {
                    let counters = carrying::counters(carrying.counts());
                    let named = counters.map(|(name, count)| (name.to_owned(), count));
                    snapshot.counters.extend(named);
                }
                return self.calls.answer(token, reply);
            }
            Effect::Carry { adapter, binding } => {
                if let Some(carrying) = self.carrying() {
                    carrying.put(adapter, binding);
                }
                return;
            }
            Effect::CarryNoMore { side, home } => {
                if let Some(carrying) = &self.carrying {
                    carrying.remove(side, home);
                }
                return;
            }
            Effect::Tell { line, level } => {
                logging::line(&line, level);
                // Nobody follows: nobody is told.
                return drop(self.lines.send(line));
            }
            Effect::RunCommand { run, command } => return self.commands.run(run, command),
            Effect::StopCommand(run) => return self.commands.stop(run),
            Effect::Remember(selectors) => return self.keeper.keep(selectors),
            Effect::KeepNetworks(known) => return self.keeper.keep_networks(known),
            Effect::KeepHome(given) => return self.keeper.keep_home(given),
            Effect::Keep(keep) => return self.keeper.keep_presence(keep),
            Effect::KeepBinding { number, kept } => {
                return self.keeper.keep_binding(number, *kept);
            }
            Effect::Send {
                local,
                remote,
                payload,
            } => self.sockets.send(local, remote, &payload),
            Effect::SendAs {
                src,
                dst,
                hop_limit,
                payload,
            } => self.sockets.send_as(src, dst, hop_limit, &payload),
            Effect::LetGo(id) => {
                if let Some(queue) = &self.first_packets
                    && let Err(error) = queue.let_go(id)
                {
                    tracing::debug!(%error, "a first packet stays");
                }
                return;
            }
            Effect::Forget { src, dst } => {
                if let Err(error) = first_packets::forget(src, dst) {
                    tracing::debug!(%error, %src, %dst, "the next packet is no first one for a while");
                }
                return;
            }
            Effect::Announce { link, address } => {
                if let Err(error) = sockets::announce(link, address) {
                    tracing::warn!(%error, %link, %address, "hosts on that link learn late where it is");
                }
                return;
            }
            Effect::OnLink(frame) => {
                if let Err(error) = self.sockets.send_on_link(&frame) {
                    tracing::debug!(%error, link = %frame.link, "not sent; it is sent again in time");
                }
                return;
            }
            Effect::SendRegistration(datagram) => {
                return self
                    .sockets
                    .send_registrations(&[datagram], |error| not_sent(&error));
            }
        };
        if let Err(error) = sent {
            not_sent(&error);
        }
    }

    /// Started when it is needed first.
    fn carrying(&mut self) -> Option<Rc<Carrying>> {
        if self.carrying.is_none() {
            let mark = self.loaded.agent.interception.pass_mark.value;
            let carrying = Carrying::start(mark).map(Rc::new);
            self.carrying = carrying
                .inspect_err(|error| tracing::error!(%error, "tunnels in UDP carry nothing"))
                .ok();
            if let Some(carrying) = self.carrying.clone()
                && let Err(error) = self.sockets.carry(carrying)
            {
                tracing::error!(%error, "tunnels in UDP carry nothing");
            }
        }
        self.carrying.clone()
    }

    pub(super) fn attach_missing(&self) {
        if let Some(carrying) = &self.carrying {
            carrying.attach_missing();
        }
    }
}

fn not_sent(error: &sockets::Error) {
    tracing::debug!(%error, "not sent; it is sent again or given up in time");
}
