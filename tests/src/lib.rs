//! What the crates do together: the two-party [`world`] of the session, without sockets, clocks or sleeps, and the
//! [`lab`] of whole clients, with real ones; and what tests of the whole program need: [`kmes`], a [`sound`] system, a
//! [`wire`] that can be bad, and a [`score`] of what was heard. [`virtual_net`] drives QUIC in virtual time.
//!
//! The tests themselves are one binary, `tests/all.rs`; `tests/README.md` is their map.

pub mod crash;
pub mod hex;
pub mod kmes;
pub mod lab;
pub mod power;
pub mod score;
pub mod sound;
pub mod telephone;
pub mod virtual_net;
pub mod wire;
pub mod world;
