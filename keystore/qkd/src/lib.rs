//! One simulated decoy-state BB84 link: from pulses of light to key that two ends hold and nobody else does.
//!
//! It opens no socket, reads no clock and starts no thread: time is an argument, and all randomness comes from a seed or
//! a generator of the caller's. It stores no key and encrypts nothing with it.
//!
//! There are two models, with the same configuration, events and reports:
//!
//! - [`PhotonLink`] simulates every click: Alice's pulses, the line with its troubles and [`Eve`] on it, Bob's
//!   detectors, and all that Alice and Bob then say to each other. Its key is distilled as that of real equipment is.
//! - [`RateLink`] is the fast one: it draws what a whole block would have counted, and makes random key of the length
//!   that the finite-key analysis gives for these counts. A night of a metropolitan link takes a moment, so that a large
//!   network can be run on it.
//!
//! ```text
//!   Alice                       the line                        Bob
//!   Pulse ──── Transmitter ───► fibre, Trouble, Eve ──────────► Receiver ──── Detection     optics, eve
//!     │                                                            │
//!     │   sift       which slots clicked, which bases agree        │
//!     │   estimate   errors of the test basis; the QBER alarm      │
//!     │   correct    Cascade: parities of the key basis            │                        distil
//!     │   verify     a hash: do both hold the same?                │
//!     │   amplify    Toeplitz hash to the length that is secret    │                        finite: how long?
//!     ▼              everything tagged (Wegman-Carter)             ▼
//!   KeyBlock ══════════════ the same bits ═════════════════════ KeyBlock                    block, with a BlockReport
//! ```
//!
//! A block that does not get through comes out as [`LinkEvent::Discarded`] with its [`DiscardReason`], in plain words.
//!
//! ```
//! use std::time::Duration;
//! use vernam_qkd::{DeviceProfile, Eve, LinkConfig, LinkEvent, LinkState, RateLink};
//!
//! let mut config = LinkConfig::new(DeviceProfile::named("metro-625mhz")?, 15.0);
//! config.extra_loss_db = 1.0;
//! config.block_pace = Duration::from_secs(1);
//! let mut link = RateLink::from_seed(config, 1)?;
//!
//! link.advance(Duration::from_secs(60));
//! let mut key_bits = 0;
//! while let Some(event) = link.poll_event() {
//!     if let LinkEvent::Block(block) = event {
//!         key_bits += block.report.key_bits;
//!     }
//! }
//! assert!(key_bits > 6_000_000); // more than 100 kb/s
//!
//! link.set_eve(Some(Eve::intercept_resend(1.0)?));
//! link.advance(Duration::from_secs(61));
//! assert!(matches!(link.poll_event(), Some(LinkEvent::Discarded { .. })));
//! assert!(matches!(link.state(), LinkState::Alarm { .. }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! With [`PhotonLink`] in the place of [`RateLink`] the same works, with real key. To have the ends in two processes, use
//! [`distil::Alice`] and [`distil::Bob`] themselves.
//!
//! Start reading in [`PhotonLink`], whose file ties everything together; then [`optics`] for the light, [`distil`] for
//! the conversation, [`finite`] for how much of it is secret. [`decoy`] has the formulas for endless pulses, with which
//! all else is compared.

mod bits;
mod block;
pub mod decoy;
mod device;
pub mod distil;
mod draw;
mod ends;
mod eve;
pub mod finite;
mod link;
pub mod optics;
mod photon;
pub mod published;
mod pulse;
mod tally;

pub use bits::BitString;
pub use block::{
    AuthCost, BlockPair, BlockReport, DiscardReason, Epsilon, KeyBlock, Leakage, LinkEvent, LinkState, Progress,
};
pub use device::{DeviceProfile, Expectation, ProfileError};
pub use eve::{Eve, InvalidShare};
pub use link::{DEFAULT_QBER_ALARM, LinkConfig, LinkError, RateLink};
pub use photon::PhotonLink;
pub use pulse::{Basis, Detection, Intensity, Pulse};
pub use tally::EveTally;
