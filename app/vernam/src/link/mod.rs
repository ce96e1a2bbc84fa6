//! `vernam link`: one simulated quantum link, shown while it runs; `vernam link sweep`, pictures of many; and
//! `vernam link alice` and `vernam link bob` ([`ends`]), a link between two processes.
//!
//! It simulates nothing itself: that is `vernam_qkd`. It never shows a bit of key: [`play`] drops both ends' copies
//! of a block as soon as it has its report, and [`ends`] writes them to files for their owner only, if asked to.
//!
//! ```text
//!  LinkOptions ─► play ──events──► show ─► screen │ lines │ JSON Lines │ CSV
//!                  └─► model: PhotonLink or RateLink
//!  EndOptions ─► ends ──► lines │ JSON Lines, key files
//!  SweepOptions ─► sweep ─► curves ─► chart ─► SVG, PNG
//! ```
//!
//! Start reading in [`events`], then [`play`].

pub mod ends;
pub mod events;
pub mod live;
mod model;
pub mod play;
pub mod records;
pub mod screen;
pub mod show;
pub mod sweep;
mod words;
