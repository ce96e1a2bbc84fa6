//! How fast each of the two connections sends: Cubic, and for files something that gives way to a voice.
//!
//! QUIC leaves congestion control to the sender (RFC 9002, section 7), and quinn takes it as a
//! [`Controller`](quinn::congestion::Controller) for each connection. Nothing here touches a socket or a clock.
//!
//! | connection | no call | while a call is up |
//! |---|---|---|
//! | main | Cubic (quinn's own), never less than a voice needs | the same |
//! | files | Cubic (quinn's own) | a queue of about 4 ms; as Cubic while somebody else fills the queue |
//!
//! Cubic (RFC 9438) sends until the bottleneck's queue overflows: a voice on the same link waits through that queue,
//! often for hundreds of milliseconds. So [`CallSwitch`] says when there is a voice to give way to, in the middle of a
//! transfer if need be: `yielding` then keeps the queue short. `delay` and `rate` are what it goes by.

mod controller;
mod delay;
mod rate;
mod yielding;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(crate) use controller::Pace;

/// Says whether a call is up, so that files give way to it. Clones are the same switch; it starts off.
///
/// It acts on what is sent from here. At the far end it is the far end's switch that counts.
#[derive(Clone, Debug, Default)]
pub struct CallSwitch(Arc<AtomicBool>);

impl CallSwitch {
    /// A switch of its own, off.
    pub fn new() -> Self {
        Self::default()
    }

    /// A call begins (`true`), or the last one is over (`false`). Costs nothing, and may be said again.
    ///
    /// Transfers follow with the next acknowledgement they get.
    pub fn set(&self, call_is_up: bool) {
        self.0.store(call_is_up, Ordering::Relaxed);
    }

    /// Whether a call is up.
    pub fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
