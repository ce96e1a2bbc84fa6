//! Whom to dial again, and when.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::limits::{REDIAL_PAUSE, REDIAL_TRY};

/// Doublings of the pause between tries.
const DOUBLINGS: u32 = 3;

/// Contacts that calls, or files, wait for, and where those were dialled that we dial.
#[derive(Default)]
pub(crate) struct Redials {
    waiting: BTreeMap<String, Try>,
    /// Where we dialled whoever we dialled last.
    addresses: BTreeMap<String, SocketAddr>,
}

struct Try {
    due: Instant,
    times: u32,
}

impl Redials {
    /// A contact was reached at `addr`; `None` if it reached us, and will do so again.
    pub(crate) fn reached(&mut self, contact: &str, addr: Option<SocketAddr>) {
        match addr {
            Some(addr) => self.addresses.insert(contact.to_owned(), addr),
            None => self.addresses.remove(contact),
        };
    }

    /// Whether to try, from now on.
    pub(crate) fn set(&mut self, contact: &str, on: bool) {
        if !on {
            self.waiting.remove(contact);
        } else if self.addresses.contains_key(contact) {
            self.waiting.entry(contact.to_owned()).or_insert_with(|| Try { due: Instant::now(), times: 0 });
        }
    }

    /// Whether a call waits for this contact.
    pub(crate) fn waits_for(&self, contact: &str) -> bool {
        self.waiting.contains_key(contact)
    }

    /// When the next try is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.waiting.values().map(|next| next.due).min()
    }

    /// Whom to dial now, where, and for how long: the first tries are short, since a fresh one is there sooner than QUIC's
    /// own repetition; later ones give a slow network its time. The next try is due a while after that.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<(String, SocketAddr, Duration)> {
        let mut due = Vec::new();
        for (contact, next) in self.waiting.iter_mut().filter(|(_, next)| next.due <= now) {
            let doublings = next.times.min(DOUBLINGS);
            let longest = REDIAL_TRY * (1 + doublings);
            next.due = now + longest + REDIAL_PAUSE * 2_u32.pow(doublings);
            next.times = next.times.saturating_add(1);
            due.extend(self.addresses.get(contact).map(|addr| (contact.clone(), *addr, longest)));
        }
        due
    }

    /// A try came to nothing: the next one may come sooner.
    pub(crate) fn failed(&mut self, contact: &str, now: Instant) {
        if let Some(next) = self.waiting.get_mut(contact) {
            next.due = next.due.min(now + REDIAL_PAUSE * 2_u32.pow(next.times.saturating_sub(1).min(DOUBLINGS)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whom_we_dialled_is_dialled_again_with_growing_pauses() {
        let (mut redials, start) = (Redials::default(), Instant::now());
        let addr = SocketAddr::from(([127, 0, 0, 1], 9));
        redials.reached("bob", Some(addr));
        redials.reached("carol", None);
        redials.set("bob", true);
        redials.set("carol", true);
        assert!(redials.waits_for("bob") && !redials.waits_for("carol"));
        let mut now = start + Duration::from_secs(1);
        let mut pauses = Vec::new();
        for longest in [1, 2, 3, 4, 4, 4] {
            assert_eq!(redials.due(now), [("bob".to_owned(), addr, REDIAL_TRY * longest)]);
            assert_eq!(redials.due(now), [], "one try at a time");
            redials.failed("bob", now);
            let next = redials.deadline().unwrap();
            pauses.push(next.duration_since(now));
            now = next;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 8, 8].map(|times| REDIAL_PAUSE * times));
        redials.set("bob", false);
        assert_eq!((redials.deadline(), redials.waits_for("bob")), (None, false));
    }
}
