//! The manager's way to the sound system, made again after it restarted; and how often to try anything again.
//!
//! It never waits: what may hang runs in short threads beside it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

use super::system::{Listing, System};
use crate::{Error, Result, error::DeviceError};

/// How often devices are listed where that costs much: ALSA asks the kernel for every card, and moves no stream.
const SLOW_LOOK: Duration = Duration::from_secs(2);
/// Time until the second attempt to open; doubles up to [`LONGEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(200);
/// The longest time between attempts.
const LONGEST_RETRY: Duration = Duration::from_secs(5);

/// The way to the sound system, made again after it restarted.
#[derive(Default)]
pub(super) struct Connection {
    system: Option<Arc<System>>,
    connecting: Option<Receiver<Result<Arc<System>>>>,
    listing: Option<(Instant, Arc<Listing>)>,
    retry: Retry,
}

impl Connection {
    /// The devices as they are, or were a moment ago; none while it is not known. An error once the system is gone.
    pub(super) fn look(&mut self, now: Instant) -> Result<Option<(Arc<System>, Arc<Listing>)>> {
        if self.system.is_none() && !self.connect(now)? {
            return Ok(None);
        }
        let Some(system) = self.system.clone() else { return Ok(None) };
        if let Some((when, listing)) = &self.listing
            && !system.lists_quickly()
            && now.duration_since(*when) < SLOW_LOOK
        {
            return Ok(Some((system, Arc::clone(listing))));
        }
        match system.list() {
            Ok(listing) => {
                let listing = Arc::new(listing);
                self.listing = Some((now, Arc::clone(&listing)));
                Ok(Some((system, listing)))
            }
            Err(error) => {
                system.broken();
                self.system = None;
                self.listing = None;
                Err(error)
            }
        }
    }

    /// Whether there is a connection now.
    fn connect(&mut self, now: Instant) -> Result<bool> {
        let Some(connecting) = &self.connecting else {
            if self.retry.is_due(now) {
                self.retry.tried(now);
                self.connecting = Some(beside(System::connection));
            }
            return Ok(false);
        };
        let result = match connecting.try_recv() {
            Ok(result) => result,
            Err(TryRecvError::Empty) => return Ok(false),
            Err(TryRecvError::Disconnected) => Err(gave_up()),
        };
        self.connecting = None;
        self.system = Some(result?);
        self.retry = Retry::default();
        Ok(true)
    }
}

/// When to try again.
#[derive(Default)]
pub(super) struct Retry {
    at: Option<Instant>,
    pause: Duration,
}

impl Retry {
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.at.is_none_or(|at| now >= at)
    }

    pub(super) fn tried(&mut self, now: Instant) {
        self.pause = (self.pause * 2).clamp(FIRST_RETRY, LONGEST_RETRY);
        self.at = Some(now + self.pause);
    }
}

/// Runs something in a thread of its own, which wakes this one when it is done.
pub(super) fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (done, result) = sync_channel(1);
    let asking = std::thread::current();
    let run = move || {
        let _ = done.send(work());
        asking.unpark();
    };
    if let Err(error) = std::thread::Builder::new().name("sound-open".to_owned()).spawn(run) {
        // Then nothing is ever received, which the one who waits takes for a failure.
        tracing::warn!(%error, "no thread for a sound device");
    }
    result
}

pub(super) fn gave_up() -> Error {
    DeviceError::NoSoundSystem { reason: "its library gave up".to_owned() }.into()
}
