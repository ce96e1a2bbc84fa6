//! `vernam demo`: two people, two KMEs, one quantum link, and everything that can be seen of them.
//!
//! The run (`run`, `world`) knows nothing of how it is shown: it emits [`events`] into an [`EventSink`], obeys a
//! [`Cancel`] and returns a [`summary::Summary`]. The views know nothing of how the run works.

use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

pub mod events;
pub mod json;
pub mod model;
pub mod names;
pub mod picture;
pub mod plain;
pub mod run;
pub mod screen;
mod secrets;
pub mod show;
pub mod summary;
pub mod table;
pub(crate) mod terminal;
pub mod theme;
mod world;

use events::{DemoEvent, Stamped};

/// Events that may wait for a slow view before the run waits too.
pub const EVENT_QUEUE: usize = 1024;

/// Where the run puts its events. Cheap to clone; one per task.
#[derive(Debug, Clone)]
pub struct EventSink {
    queue: mpsc::Sender<Stamped>,
    began: Instant,
}

impl EventSink {
    /// A sink and the end from which the views read; time counts from now.
    pub fn new() -> (Self, mpsc::Receiver<Stamped>) {
        let (queue, events) = mpsc::channel(EVENT_QUEUE);
        (Self { queue, began: Instant::now() }, events)
    }

    /// Tells an event that must not be missed; waits while the queue is full. Without a watcher it does nothing.
    pub async fn emit(&self, event: DemoEvent) {
        let _watcher_gone = self.queue.send(self.stamp(event)).await;
    }

    /// Tells an event that the next one replaces (a tick, a level): never waits, and drops it when the queue is full.
    pub fn offer(&self, event: DemoEvent) {
        let _full_or_gone = self.queue.try_send(self.stamp(event));
    }

    /// Time since the run began.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn stamp(&self, event: DemoEvent) -> Stamped {
        Stamped { at: self.elapsed(), event }
    }
}

/// Asks the run to end cleanly: hang up, stop the servers, erase, sum up. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Cancel {
    asked: watch::Sender<bool>,
}

impl Default for Cancel {
    fn default() -> Self {
        Self { asked: watch::Sender::new(false) }
    }
}

impl Cancel {
    /// Asks for the end. Asking twice is the same as once.
    pub fn cancel(&self) {
        self.asked.send_replace(true);
    }

    /// Whether the end was asked for.
    pub fn is_cancelled(&self) -> bool {
        *self.asked.borrow()
    }

    /// Waits until the end is asked for.
    pub async fn cancelled(&self) {
        let mut asked = self.asked.subscribe();
        // The sender lives in `self`, so waiting cannot fail.
        let _asked = asked.wait_for(|asked| *asked).await;
    }
}

/// Throughput for people, 10^6 bytes a second; 0 when no time passed.
#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn throughput(bytes: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { bytes as f64 / 1e6 / seconds } else { 0.0 }
}
