//! Decides which microphone is used while the chosen one is away: none, until the person says yes to another.
//!
//! It opens nothing, asks nobody and reads no clock. Whoever chose a microphone has a reason for it; another one in the
//! room may hear what is not meant for the contact. So it is offered, and nothing is heard until the answer.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::handset::{Events, lock};
use super::system::Listed;
use super::{HandsetEvent, Part, StandIn};

/// How long a chosen microphone may be away before another is offered: after a loose contact it is back by then.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same after the sound system started anew: then the devices come one by one.
const AFTER_RESTART: Duration = Duration::from_secs(5);

/// What there is to do while the chosen microphone is away.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Instead<'a> {
    /// The person said yes to this one.
    Use(&'a Listed),
    /// This one could stand in.
    Ask(&'a Listed),
    /// Nothing: it is too early to ask, the answer was no, or there is no other.
    Wait,
}

/// For how long the chosen microphone has been away, and what the person said to others.
#[derive(Debug, Default)]
pub(super) struct Absence {
    since: Option<Instant>,
    restarted: bool,
    /// The one that may stand in.
    taken: Option<String>,
    /// The ones that may not.
    refused: BTreeSet<String>,
}

impl Absence {
    /// The chosen one is there: answers were about its absence.
    pub(super) fn over(&mut self) {
        *self = Self::default();
    }

    /// The sound system is gone with all its devices: how long they are away counts from when it is back.
    pub(super) fn system_lost(&mut self) {
        (self.since, self.restarted) = (None, true);
    }

    /// The person's answer.
    pub(super) fn answer(&mut self, id: String, take: bool) {
        if take {
            self.taken = Some(id);
        } else {
            self.refused.insert(id);
        }
    }

    /// What to do now that the chosen one is not among the devices. `other` is the one that would be used if none were
    /// chosen.
    pub(super) fn look<'a>(&mut self, other: Option<&'a Listed>, devices: &'a [Listed], now: Instant) -> Instead<'a> {
        let since = *self.since.get_or_insert(now);
        let taken = devices.iter().find(|device| self.taken.as_ref() == Some(&device.info.id));
        if let Some(device) = taken {
            return Instead::Use(device);
        }
        let patience = if self.restarted { AFTER_RESTART } else { PATIENCE };
        match other {
            Some(device) if self.refused.contains(&device.info.id) => Instead::Wait,
            Some(device) if now.saturating_duration_since(since) >= patience => Instead::Ask(device),
            _ => Instead::Wait,
        }
    }
}

/// The question that stands, and its answer: between the manager and the person.
#[derive(Default)]
pub(super) struct Offers {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    standing: Option<StandIn>,
    answer: Option<(String, bool)>,
}

impl Offers {
    /// Asks, unless this is what is asked already or an answer waits to be looked at.
    pub(super) fn offer(&self, stand_in: StandIn, events: &Events) {
        let mut state = lock(&self.state);
        if state.answer.is_some() || state.standing.as_ref() == Some(&stand_in) {
            return;
        }
        withdraw(&mut state, events);
        let StandIn { id, name, instead_of } = stand_in.clone();
        state.standing = Some(stand_in);
        events.tell(HandsetEvent::Offered { part: Part::Microphone, id, name, instead_of });
    }

    /// There is nothing to ask any more.
    pub(super) fn withdraw(&self, events: &Events) {
        let mut state = lock(&self.state);
        state.answer = None;
        withdraw(&mut state, events);
    }

    /// What is asked now.
    pub(super) fn standing(&self) -> Option<StandIn> {
        lock(&self.state).standing.clone()
    }

    /// Answers; false where this is not what is asked.
    pub(super) fn answer(&self, id: &str, take: bool) -> bool {
        let mut state = lock(&self.state);
        let Some(stand_in) = state.standing.take_if(|standing| standing.id == id) else { return false };
        state.answer = Some((stand_in.id, take));
        true
    }

    /// The answer, once.
    pub(super) fn take_answer(&self) -> Option<(String, bool)> {
        lock(&self.state).answer.take()
    }
}

fn withdraw(state: &mut State, events: &Events) {
    if let Some(StandIn { id, .. }) = state.standing.take() {
        events.tell(HandsetEvent::Withdrawn { part: Part::Microphone, id });
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DeviceInfo, DeviceKind};
    use super::*;

    fn device(id: &str) -> Listed {
        let info = DeviceInfo {
            id: id.to_owned(),
            name: id.to_uppercase(),
            kind: DeviceKind::Microphone,
            is_default: false,
            is_monitor: false,
            rate: 48_000,
            channels: 1,
        };
        Listed { info, index: None }
    }

    #[test]
    fn it_asks_after_a_while_and_uses_nothing_before_the_answer() {
        let devices = [device("desk"), device("lamp")];
        let begin = Instant::now();
        let mut absence = Absence::default();
        let mut look = |other: usize, after: Duration, answer: Option<bool>| {
            if let Some(take) = answer {
                absence.answer(devices[other].info.id.clone(), take);
            }
            absence.look(Some(&devices[other]), &devices, begin + after)
        };
        let soon = PATIENCE * 9 / 10;
        assert_eq!(look(0, Duration::ZERO, None), Instead::Wait);
        assert_eq!(look(0, soon, None), Instead::Wait);
        assert_eq!(look(0, PATIENCE, None), Instead::Ask(&devices[0]));
        assert_eq!(look(0, PATIENCE, Some(false)), Instead::Wait);
        assert_eq!(look(1, PATIENCE, None), Instead::Ask(&devices[1]), "a no is about one device");
        assert_eq!(look(1, PATIENCE, Some(true)), Instead::Use(&devices[1]));
        assert_eq!(look(0, PATIENCE, None), Instead::Use(&devices[1]), "a new default is not what was said yes to");
    }

    #[test]
    fn answers_end_with_the_absence() {
        let devices = [device("desk")];
        let begin = Instant::now();
        let mut absence = Absence::default();
        absence.answer("desk".to_owned(), true);
        assert_eq!(absence.look(None, &devices, begin), Instead::Use(&devices[0]));
        assert_eq!(absence.look(None, &[], begin), Instead::Wait, "it is gone too");
        absence.over();
        assert_eq!(absence.look(Some(&devices[0]), &devices, begin + PATIENCE), Instead::Wait, "counted anew");
        assert_eq!(absence.look(Some(&devices[0]), &devices, begin + 2 * PATIENCE), Instead::Ask(&devices[0]));
    }

    #[test]
    fn after_a_restart_the_devices_have_time_to_come() {
        let devices = [device("desk")];
        let begin = Instant::now();
        let mut absence = Absence::default();
        assert_eq!(absence.look(Some(&devices[0]), &devices, begin), Instead::Wait);
        absence.system_lost();
        let back = begin + Duration::from_mins(1);
        assert_eq!(absence.look(Some(&devices[0]), &devices, back), Instead::Wait);
        assert_eq!(absence.look(Some(&devices[0]), &devices, back + PATIENCE), Instead::Wait);
        assert_eq!(absence.look(Some(&devices[0]), &devices, back + AFTER_RESTART), Instead::Ask(&devices[0]));
    }

    #[test]
    fn one_question_stands_and_only_it_can_be_answered() {
        let (offers, events) = (Offers::default(), Events::default());
        let stand_in = |id: &str| StandIn { id: id.to_owned(), name: id.to_uppercase(), instead_of: "boom".to_owned() };
        let withdrawn = |id: &str| HandsetEvent::Withdrawn { part: Part::Microphone, id: id.to_owned() };
        let offered = |id: &str| {
            let StandIn { id, name, instead_of } = stand_in(id);
            HandsetEvent::Offered { part: Part::Microphone, id, name, instead_of }
        };
        assert!(!offers.answer("desk", true), "nothing is asked");
        offers.offer(stand_in("desk"), &events);
        offers.offer(stand_in("desk"), &events);
        offers.offer(stand_in("lamp"), &events);
        assert_eq!(events.take(), [offered("desk"), withdrawn("desk"), offered("lamp")]);
        assert!(!offers.answer("desk", true), "too late");
        assert_eq!(offers.standing(), Some(stand_in("lamp")));
        assert!(offers.answer("lamp", true) && !offers.answer("lamp", false), "once");
        offers.offer(stand_in("lamp"), &events);
        assert_eq!((offers.standing(), events.take()), (None, Vec::new()), "the answer is looked at first");
        assert_eq!(offers.take_answer(), Some(("lamp".to_owned(), true)));
        assert_eq!(offers.take_answer(), None);

        offers.offer(stand_in("desk"), &events);
        assert!(offers.answer("desk", true));
        offers.withdraw(&events);
        assert_eq!(offers.take_answer(), None, "an answer that came too late is none");
        assert_eq!(events.take(), [offered("desk")]);
    }
}
