//! The two state machines behind one face: what runs on the blocking threads.

use std::ops::Range;
use std::time::Duration;

use rand::rngs::SysRng;
use rand::{SeedableRng as _, TryRng as _};
use rand_chacha::ChaCha20Rng;
use vernam_key::SecretBytes;
use vernam_qkd::distil::{Alice, AuthKey, Bob, EndConfig, EndEvent};
use vernam_qkd::optics::{Light, Receiver, Transmitter, Trouble};
use vernam_qkd::{Eve, LinkConfig};

use crate::Error;
use crate::lamp::longest_stretch;

/// What an owner of Alice's end wishes for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wish {
    Eve(Option<Eve>),
    Trouble(Option<Trouble>),
}

/// What an end has to do.
pub(crate) enum Task {
    /// Take a message of the far end's.
    Message(Vec<u8>),
    /// Measure light. Bob only.
    Measure(Vec<u8>),
    /// Send light. Alice only.
    Shine(Range<u64>),
    /// See what the time brings.
    Time,
    /// Grant a wish. Alice only.
    Grant(Wish),
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Done {
    /// Light to be sent.
    pub(crate) light: Option<Vec<u8>>,
    /// Light was measured up to this slot.
    pub(crate) measured: Option<u64>,
    /// Messages for the far end.
    pub(crate) messages: Vec<Vec<u8>>,
    /// Events for the owner.
    pub(crate) events: Vec<EndEvent>,
    /// When [`Task::Time`] is due.
    pub(crate) timeout: Option<Duration>,
}

/// One end's optics and post-processing, for one run.
pub(crate) enum Side {
    Alice { optics: Box<Transmitter>, distil: Box<Alice> },
    Bob { optics: Box<Receiver>, distil: Box<Bob>, next_slot: u64, longest: u64 },
}

/// What to draw randomness for: each has its own stream of a seed.
#[derive(Clone, Copy)]
enum Stream {
    Transmitter,
    Alice,
    Receiver,
}

impl Side {
    pub(crate) fn alice(
        link: &LinkConfig,
        distil: EndConfig,
        piece: SecretBytes,
        seed: Option<u64>,
        run: u64,
    ) -> Result<Self, Error> {
        let optics = rng(seed, run, Stream::Transmitter)?;
        let optics = Transmitter::new(&link.device, link.loss_db(), link.background, optics);
        let distil = Alice::new(distil, AuthKey::new(piece)?, Box::new(rng(seed, run, Stream::Alice)?))?;
        Ok(Self::Alice { optics: Box::new(optics), distil: Box::new(distil) })
    }

    pub(crate) fn bob(
        link: &LinkConfig,
        distil: EndConfig,
        piece: SecretBytes,
        seed: Option<u64>,
        run: u64,
    ) -> Result<Self, Error> {
        let optics = Receiver::new(&link.device, rng(seed, run, Stream::Receiver)?);
        let longest = longest_stretch(&distil);
        let distil = Bob::new(distil, AuthKey::new(piece)?)?;
        Ok(Self::Bob { optics: Box::new(optics), distil: Box::new(distil), next_slot: 0, longest })
    }

    /// The next light begins at `slot`: what comes before was sent, and got lost with a connection.
    pub(crate) fn skip_to(&mut self, slot: u64) {
        if let Self::Bob { next_slot, .. } = self {
            *next_slot = slot.max(*next_slot);
        }
    }

    /// Slots of light that were measured.
    pub(crate) fn measured(&self) -> u64 {
        match self {
            Self::Alice { .. } => 0,
            Self::Bob { next_slot, .. } => *next_slot,
        }
    }

    /// The block that this end gave out and the far end may not have.
    pub(crate) fn unsettled(&self) -> Option<u64> {
        match self {
            Self::Alice { distil, .. } => distil.unsettled(),
            Self::Bob { .. } => None,
        }
    }

    /// Does one task at the time `now`, and takes at most `room` messages out. The error says what the far end sent
    /// that cannot be.
    pub(crate) fn work(&mut self, task: Task, room: usize, now: Duration) -> Result<Done, String> {
        let mut done = Done::default();
        match (task, &mut *self) {
            (Task::Message(message), Self::Alice { distil, .. }) => distil.handle_message(&message, now),
            (Task::Message(message), Self::Bob { distil, .. }) => distil.handle_message(&message, now),
            (Task::Time, Self::Alice { distil, .. }) => distil.handle_timeout(now),
            (Task::Time, Self::Bob { distil, .. }) => distil.handle_timeout(now),
            (Task::Shine(slots), Self::Alice { optics, distil }) => {
                // What Eve learned stays with the simulation: no end may see it.
                let (sent, light, _eves) = optics.send(slots);
                distil.sent(sent);
                let mut payload = Vec::new();
                light.encode(&mut payload);
                done.light = Some(payload);
            }
            (Task::Measure(payload), Self::Bob { optics, distil, next_slot, longest }) => {
                let light = Light::decode(&payload).map_err(|error| error.to_string())?;
                let slots = light.slots();
                // On one connection nothing gets lost: light follows on light.
                if slots.start != *next_slot || slots.is_empty() {
                    return Err(format!("light of slots {slots:?}, where slot {next_slot} comes next"));
                }
                if slots.end - slots.start > *longest {
                    return Err(format!("light of slots {slots:?}, which is more than {longest} at once"));
                }
                *next_slot = slots.end;
                let detections = optics.detect(&light);
                distil.detected(slots.clone(), detections, optics.saw_bright_light(), now);
                done.measured = Some(slots.end);
            }
            (Task::Grant(Wish::Eve(eve)), Self::Alice { optics, .. }) => optics.set_eve(eve),
            (Task::Grant(Wish::Trouble(trouble)), Self::Alice { optics, .. }) => optics.set_trouble(trouble),
            (Task::Measure(_), Self::Alice { .. }) => return Err("light from the receiving end".to_owned()),
            (Task::Shine(_) | Task::Grant(_), Self::Bob { .. }) => {}
        }
        while done.messages.len() < room
            && let Some(message) = self.message()
        {
            done.messages.push(message);
        }
        while let Some(event) = self.event() {
            done.events.push(event);
        }
        done.timeout = match self {
            Self::Alice { distil, .. } => distil.poll_timeout(),
            Self::Bob { distil, .. } => distil.poll_timeout(),
        };
        Ok(done)
    }

    fn message(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Alice { distil, .. } => distil.poll_message(),
            Self::Bob { distil, .. } => distil.poll_message(),
        }
    }

    fn event(&mut self) -> Option<EndEvent> {
        match self {
            Self::Alice { distil, .. } => distil.poll_event(),
            Self::Bob { distil, .. } => distil.poll_event(),
        }
    }
}

fn rng(seed: Option<u64>, run: u64, stream: Stream) -> Result<ChaCha20Rng, Error> {
    let Some(seed) = seed else {
        let mut seed = [0; 32];
        SysRng.try_fill_bytes(&mut seed)?;
        return Ok(ChaCha20Rng::from_seed(seed));
    };
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    rng.set_stream(run.wrapping_mul(4).wrapping_add(match stream {
        Stream::Transmitter => 0,
        Stream::Alice => 1,
        Stream::Receiver => 2,
    }));
    Ok(rng)
}

#[cfg(test)]
mod tests;
