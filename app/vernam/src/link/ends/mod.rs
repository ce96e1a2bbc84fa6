//! `vernam link alice` and `vernam link bob`: one end of a quantum link in a process of its own, the other end being
//! another process; and `vernam link setup`, what both need.
//!
//! The link itself is `vernam_link`; here is what a person gives it and what it tells him. No bit of key is in what it
//! tells: a block goes into a file of its own ([`keys`]), or is wiped.
//!
//! ```text
//!  EndOptions ─► run ◄─ folder: certificates, start-up secret        (setup makes it)
//!                 │  └──► AliceEnd or BobEnd ◄── TLS ──► the other process
//!                 │            │ PeerEvent
//!                 ├──► keys: block-NUMBER.key
//!                 └──► told ──► records ──► lines │ JSON Lines
//! ```
//!
//! Start reading in [`told`], then [`run`].

pub mod folder;
pub mod keys;
pub mod records;
pub mod run;
pub mod told;

use vernam_link::Role;

/// The name that `vernam link setup` puts into an end's certificate.
pub fn name(role: Role) -> &'static str {
    match role {
        Role::Alice => "kme-a",
        Role::Bob => "kme-b",
    }
}

/// The other end.
pub fn far(role: Role) -> Role {
    match role {
        Role::Alice => Role::Bob,
        Role::Bob => Role::Alice,
    }
}
