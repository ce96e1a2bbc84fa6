//! What one end tells: what a link tells in one process ([`super::super::events`]), and what concerns two processes.

use std::{
    collections::VecDeque,
    path::PathBuf,
    time::{Duration, Instant},
};

use serde::Serialize;
use vernam_link::PeerEvent;
use vernam_qkd::{BlockReport, distil::EndEvent};

use super::keys::Fate;
use crate::link::events::{Block, Event, Growing, Sums};

/// Time between two events about the growth of a block.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
/// Time between two refused connections that are told: a stranger can make as many as he likes.
const REFUSED_EVERY: Duration = Duration::from_secs(1);
/// Blocks whose sums can still be taken back. The far end says within a block or two that it does not have one.
const REMEMBERED: usize = 64;

/// An event, and when it happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stamped {
    /// Seconds on the clock since this process started. `start_s` and `end_s` of a block are times of its run.
    pub t: f64,
    /// What happened.
    #[serde(flatten)]
    pub told: Told,
}

/// What happened at one end.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Told {
    /// The end is ready for the far end.
    EndStarted(Ready),
    /// The far end is there.
    Connected {
        /// The run that begins or goes on. Runs are numbered with blocks in mind: `block` / 2^32 is its run.
        run: u64,
        /// Whether it is the run from before the connection was lost.
        resumed: bool,
        /// The far end's address.
        peer: String,
    },
    /// The connection is no more.
    Lost {
        /// Why.
        reason: String,
    },
    /// A connection did not come about. Told once a second at most.
    Refused {
        /// Why.
        reason: String,
    },
    /// The far end never got a block that this end had: its key must not be used.
    Void {
        /// The block.
        block: u64,
        /// What became of its file.
        file: Fate,
    },
    /// A run is over, and nobody can say whether the far end has a block that this end had: its key must not be used
    /// before both ends have compared whether they have it. Only Alice's end says so.
    Unsettled {
        /// The block.
        block: u64,
        /// What became of its file.
        file: Fate,
    },
    /// What a link in one process tells too.
    #[serde(untagged)]
    Link(Event),
}

/// How an end waits for the far end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ready {
    /// `alice` or `bob`.
    pub role: &'static str,
    /// The name that the far end's certificate must have.
    pub peer_name: String,
    /// Where this end listens, if it does.
    pub listen: Option<String>,
    /// Whom it calls, if it does.
    pub dial: Option<String>,
    /// Names the start-up secret; public.
    pub secret_id: String,
    /// How many more runs the start-up secret is good for.
    pub starts_left: u64,
    /// Where the key goes; `None` if it is wiped at once.
    pub keys: Option<PathBuf>,
}

/// Makes [`Told`] of what an end says, and sums it up.
#[derive(Debug, Default)]
pub(super) struct Teller {
    sums: Sums,
    /// The last blocks that count in the sums, the oldest first: number, key, key that authentication took.
    counted: VecDeque<(u64, u64, u64)>,
    grew: Option<Instant>,
    refused: Option<Instant>,
}

impl Teller {
    pub(super) fn sums(&self) -> Sums {
        self.sums
    }

    /// This end has a block of key.
    pub(super) fn block(&mut self, report: &BlockReport) -> Told {
        let block = Block::of(report, None, None);
        self.sums.add(&block);
        if self.counted.len() == REMEMBERED {
            self.counted.pop_front();
        }
        self.counted.push_back((block.block, block.key_bits, block.auth_bits));
        Told::Link(Event::Block(Box::new(block)))
    }

    /// The far end does not have that one.
    pub(super) fn void(&mut self, number: u64, file: Fate) -> Told {
        if let Some(at) = self.counted.iter().position(|(counted, ..)| *counted == number)
            && let Some((_, key_bits, auth_bits)) = self.counted.remove(at)
        {
            self.sums.blocks -= 1;
            self.sums.key_bits -= key_bits;
            self.sums.auth_bits -= auth_bits;
        }
        Told::Void { block: number, file }
    }

    /// Whether this end told of that block, and did not take it back.
    pub(super) fn has_told(&self, number: u64) -> bool {
        self.counted.iter().any(|(counted, ..)| *counted == number)
    }

    /// Anything that concerns no key; `None` if there is nothing to tell.
    pub(super) fn other(&mut self, event: &PeerEvent, now: Instant) -> Option<Told> {
        match event {
            PeerEvent::Connected { run, resumed, peer } => {
                Some(Told::Connected { run: *run, resumed: *resumed, peer: peer.clone() })
            }
            PeerEvent::Lost(loss) => Some(Told::Lost { reason: loss.to_string() }),
            PeerEvent::Refused(refusal) => {
                due(&mut self.refused, now, REFUSED_EVERY).then(|| Told::Refused { reason: refusal.to_string() })
            }
            PeerEvent::Distil { event: EndEvent::Progress(progress), .. } => {
                due(&mut self.grew, now, PROGRESS_EVERY).then(|| Told::Link(Event::Progress(Growing::of(progress))))
            }
            PeerEvent::Distil { event: EndEvent::Discarded { report, reason }, .. } => {
                let block = Block::of(report, Some(reason.to_string()), None);
                self.sums.add(&block);
                Some(Told::Link(Event::Discarded(Box::new(block))))
            }
            _ => None,
        }
    }
}

/// Whether it is time again; if so, the time is noted.
fn due(last: &mut Option<Instant>, now: Instant, every: Duration) -> bool {
    let due = last.is_none_or(|last| now.saturating_duration_since(last) >= every);
    if due {
        *last = Some(now);
    }
    due
}

#[cfg(test)]
mod tests {
    use vernam_link::Refusal;

    use super::*;

    #[test]
    fn a_stranger_cannot_fill_the_screen() {
        let (mut teller, began) = (Teller::default(), Instant::now());
        let refused = || PeerEvent::Refused(Refusal::Unlike("of another kind".to_owned()));
        let told = (0..3000).filter_map(|ms| teller.other(&refused(), began + Duration::from_millis(ms))).count();
        assert_eq!(told, 3);
    }
}
