//! Alice and Bob over a classical channel that an attacker may hold: every block is given out equal at both ends, or is
//! dropped with its reason. Everything follows from seeds; time is virtual.
//!
//! `cargo test -p vernam-qkd --release --test classical_channel -- --ignored` fuzzes for longer: some thousand seeds of
//! attacks, and every byte of every message of a block.

#[cfg(test)]
#[path = "classical_channel/honest.rs"]
mod honest;
#[cfg(test)]
#[path = "classical_channel/hostile.rs"]
mod hostile;
#[cfg(test)]
#[path = "classical_channel/reasons.rs"]
mod reasons;
#[cfg(test)]
#[path = "classical_channel/world.rs"]
mod world;
