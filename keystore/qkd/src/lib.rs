//! One simulated decoy-state BB84 link, as the rate model sees it.
//!
//! The link gives key at the rate, with the QBER and at the pace of blocks that the formulas of decoy-state BB84 yield
//! for its length and its equipment; the bits are random. It does not simulate single photons, error correction or
//! privacy amplification, and it does not subtract what finite statistics cost. It is fast: a night of a metropolitan
//! link takes a moment, so that a large network can be run on it.
//!
//! ```text
//!  DeviceProfile ─┐   loss        gains, QBER, bounds            rate, QBER
//!  length, loss ──┴─► Channel ──► decoy formulas ─────────────► RateLink ──► Block { alice, bob, report }
//!                        ▲                                         ▲    └──► Discarded { report, reason }
//!                       Eve                              time, randomness
//! ```
//!
//! ```
//! use std::time::Duration;
//! use vernam_qkd::{DeviceProfile, Eve, LinkConfig, LinkEvent, LinkState, RateLink};
//!
//! let mut config = LinkConfig::new(DeviceProfile::named("metro-40mhz")?, 15.0);
//! config.extra_loss_db = 1.0;
//! config.block_pace = vernam_qkd::LIVE_BLOCK_PACE;
//! let mut link = RateLink::from_seed(config, 1)?;
//!
//! link.advance(Duration::from_secs(60));
//! let mut key_bits = 0;
//! while let Some(event) = link.poll_event() {
//!     if let LinkEvent::Block(block) = event {
//!         key_bits += block.report.key_bits;
//!     }
//! }
//! assert!(key_bits > 600_000); // some 12 kb/s
//!
//! link.set_eve(Some(Eve::intercept_resend(1.0)?));
//! link.advance(Duration::from_secs(61));
//! assert!(matches!(link.poll_event(), Some(LinkEvent::Discarded { .. })));
//! assert!(matches!(link.state(), LinkState::Alarm { .. }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Start reading in [`decoy`], then [`RateLink`].

mod block;
pub mod decoy;
mod device;
mod draw;
mod eve;
mod link;

pub use block::{BlockPair, BlockReport, DiscardReason, KeyBlock, LinkEvent, LinkState};
pub use device::{DeviceProfile, Expectation, ProfileError};
pub use eve::{Eve, InvalidShare};
pub use link::{DEFAULT_QBER_ALARM, LIVE_BLOCK_PACE, LinkConfig, LinkError, RateLink};
