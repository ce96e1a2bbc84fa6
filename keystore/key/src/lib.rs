//! Key material that can be used once.
//!
//! This crate holds the types through which every other crate touches secret bytes: raw secrets ([`SecretBytes`]),
//! material taken from a stock for one direction ([`Material`]), one-time pads bound to a purpose ([`Pad`]), and input
//! keying material for a key derivation ([`Seed`]). It does no I/O, no key derivation and no encryption beyond the XOR.
//!
//! ```text
//!   SecretBytes ──► Material<D> ──┬─► Pad<D, P> ──► PadChunk<D, P>   XORed once, then wiped
//!    (a source)      (a stock)    └─► Seed<D, P>                     goes into a KDF once, then wiped
//! ```
//!
//! `D` is the [`Direction`] ([`Outbound`] or [`Inbound`]), `P` the [`Purpose`]: a pad for what we send cannot open what
//! we receive, and a pad for voice cannot seal a file. Each arrow consumes its left side, so using a pad twice is a
//! compile error:
//!
//! ```compile_fail,E0382
//! use vernam_key::{Material, Outbound, SecretBytes, Text};
//!
//! let mut pad = Material::<Outbound>::from_source(SecretBytes::from_vec(vec![7; 8])).into_pad::<Text>();
//! let chunk = pad.take(4).unwrap();
//! chunk.xor_into(&mut [0; 4]);
//! chunk.xor_into(&mut [0; 4]); // the chunk is gone
//! ```
//!
//! No type that holds secret bytes is `Clone` or `Debug`, and all of them are wiped when dropped.

mod direction;
mod id;
mod material;
mod pad;
mod secret;

pub use direction::{Confirm, Control, Direction, File, Inbound, Outbound, Purpose, Text, Voice};
pub use id::{InvalidKeyId, KeyId};
pub use material::{Material, Seed};
pub use pad::{Pad, PadChunk, PadExhausted, PadSlots, PendingPad};
pub use secret::SecretBytes;
