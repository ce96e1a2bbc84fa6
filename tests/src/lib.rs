//! What the crates do together: the two-party [`world`] of the session, without sockets, clocks or sleeps, and the
//! [`lab`] of whole clients, with real ones.
//!
//! The tests themselves are one binary, `tests/all.rs`; `tests/README.md` is their map.

pub mod crash;
pub mod hex;
pub mod lab;
pub mod power;
pub mod world;
