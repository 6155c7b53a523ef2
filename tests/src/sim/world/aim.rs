//! Faults that are placed, see [`Aim`].

use super::*;
use crate::sim::faults::Aim;

/// Mean time between them.
pub(super) const EVERY_MS: u64 = 1_500;

/// A node that reads clients first reads what peers sent so much later.
pub(super) const CLIENTS_FIRST: u64 = 5 * MS;

/// Requests that were held back arrive within so much time.
const BURST: u64 = 80 * MS;

impl<P: Play> World<P> {
    pub(super) fn aim(&mut self) {
        match self.faults.aim {
            None => return,
            Some(Aim::StandStill) => self.armed = true,
            Some(Aim::HoldBack) => self.hold_back(350, 560),
            Some(Aim::SeeSaw) => {
                self.hold_back(500, 800);
                let mut at = self.now;
                for (least, most, event) in [
                    (250, 500, Event::CutLeader),
                    (250, 450, Event::Heal),
                    (60, 250, Event::CutLeader),
                    (250, 450, Event::Heal),
                ] {
                    at += self.rng.range(least, most) * MS;
                    self.at(at, event);
                }
            }
        }
        self.again(EVERY_MS, Event::Aim);
    }

    /// Somebody who holds something is heard again only after so many milliseconds.
    fn hold_back(&mut self, least: u64, most: u64) {
        let until = self.now + self.rng.range(least, most) * MS;
        if let Some(actor) = self.some_actor(P::holds)
            && let Some(inhabitant) = self.inhabitants.get_mut(actor)
        {
            inhabitant.held_until = until;
            self.count("held back");
        }
    }

    /// When a request that this actor sends now arrives, if it is held back.
    pub(super) fn let_go(&mut self, actor: usize) -> Option<True> {
        let until = self.inhabitants.get(actor)?.held_until;
        (until > self.now).then(|| until + self.rng.below(BURST))
    }

    /// A renewal has just reached this node.
    pub(super) fn stand_still(&mut self, id: NodeId) {
        let leads = |status: &Status| status.role == Role::Leader;
        if !self.armed || !self.statuses.get(&id).is_some_and(leads) {
            return;
        }
        self.armed = false;
        let until = self.now + self.rng.range(450, 1_250) * MS;
        let clients_first = self.rng.chance(700);
        if let Some(node) = self.nodes.get_mut(&id) {
            node.paused_until = node.paused_until.max(until);
            node.clients_first = clients_first;
        }
        self.count("stood still");
    }

    pub(super) fn cut_leader(&mut self) {
        if let Some(leader) = self.leader().filter(|_| !self.winding_down) {
            self.cut_off(leader, true, true);
        }
    }
}
