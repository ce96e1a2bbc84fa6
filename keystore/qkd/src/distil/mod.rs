//! From clicks to key: what Alice and Bob do over the classical channel, as two state machines without clock or I/O.
//!
//! It does not send or detect light ([`crate::optics`]), and it does not encrypt: everybody may listen to the classical
//! channel, and whoever holds it may do to its messages what he likes. He can prevent key, but not read it, and he
//! cannot make the two ends hold different keys.
//!
//! ```text
//!        Alice                                                Bob
//!    sent(slots) ─┐                                            ┌─ detected(slots, …)
//!                 │◄─── Sift: where it clicked, bases ─────────┤   ┐
//!                 ├──── SiftReply: whose bases match, ────────►│   │ for each stretch
//!                 │     intensities, her bits of the test      │   │ of slots
//!                 │◄─── Errors: of the test, by intensity ─────┤   ┘
//!                 ├──── Start: seed of the shuffles ──────────►│   block full, QBER below the alarm
//!                 │◄═══ Ask, Answer: parities ════════════════►│
//!                 │◄─── Corrected: errors of the key basis ────┤
//!                 ├──── Verify: hash of her key, hash key ────►│
//!                 │◄─── Verified ──────────────────────────────┤
//!                 ├──── Amplify: length, seed, pads, TAG ─────►│   checks her tag
//!                 │◄─── Confirm: TAG ──────────────────────────┤
//!    checks his tag; Block                                     │
//!                 ├──── Commit: TAG ──────────────────────────►│   checks her tag; Block
//!                 ·                                            ·
//!                 ◄──── GiveUp: why ───────────────────────────►   at any time, from either
//! ```
//!
//! # What is authenticated, and when
//!
//! Every message names its block and its place in the conversation, and enters a hash of all that its sender said in
//! the block. Wegman-Carter tags over these hashes close the block (`auth.rs`): three in all, for each costs 128 bits
//! of key. So for most of a block nobody knows yet who is speaking. That is enough:
//!
//! - Nothing is given out before the tags of both directions have passed. Then both ends know that each heard, byte for
//!   byte and in this order, what the other said. So whatever was altered, left out, said twice, moved or made up costs
//!   the block and nothing else. Intensities, error counts and lengths are as good as if each message had been signed
//!   by itself.
//! - What is said before is public anyway, or concerns a block that will not be given out: parities that a stranger
//!   asks for in Bob's name belong to a key that is dropped. Alice answers for each slot once, so that whoever learns
//!   the bases of pulses that are still on their way, by asking too early, has them for a dropped block only.
//! - The pads of a tag are used once, whatever becomes of the block: each tag names its pad, and whoever checks it goes
//!   on from there. Blocks given up before `Amplify` cost none.
//!
//! Bob gives a block out only when he has Alice's last word, and she only says it once she has given it out. If that
//! word is lost, Bob says `Confirm` again, a few times, and Alice repeats herself without a new pad. If he never gets
//! it he drops the block, and says in all that follows which block he finished last. Alice believes that with his next
//! valid tag, and takes her block back with [`EndEvent::Void`]; what she had laid aside of it for pads is not used
//! before that either. So there are never two keys of one number, but Alice may have a block more than Bob for a
//! while.
//!
//! Pads come from the start-up secret ([`AuthKey`]) and then from the link's own output: of each block both ends take
//! as many bits from its front as Alice says in `Amplify`, to bring the stocks back to where they began.
//! [`crate::AuthCost`] books them.
//!
//! # After a block was dropped
//!
//! Both ends say so, with the same [`crate::DiscardReason`] where `GiveUp` arrives. Bob goes on with the next number
//! and the next slots; Alice follows whatever block he begins, as long as it is none that she gave out and its slots
//! are free. A number made up by somebody else is forgotten when the true one comes. Somebody silent ends a block
//! after [`EndConfig::timeout`].
//!
//! # How likely something is wrong
//!
//! [`crate::Epsilon`] of a block that passed: secrecy, `ε_sec` of the finite-key bounds; correctness, `s / 2^128` for a
//! key of `s − 1` pieces of 128 bits (`verify.rs`); authentication, the sum over the three tags of `s / 2^128` for a
//! transcript of `s − 1` pieces of 16 bytes. The last holds for pads that nobody knows. Those that came out of a block
//! before are as secret as that block's key, so that over a link's life the `ε` of its blocks add up.
//!
//! # How much
//!
//! The length is that of [`crate::finite::secret_length`] for the counts of the whole block, less the parities that
//! were disclosed, counted to the bit, less 128 bits for the hash, in whole bytes; both ends compute it by themselves.
//! A block whose length does not exceed the pads that it must replace is [`crate::DiscardReason::NoSecretKey`].

//!
//! # What the bounds take for granted
//!
//! The published bounds are those of a protocol a little simpler than this one. `ε_sec` is as good as these four:
//!
//! - *Bases are announced while light is still being sent*, stretch by stretch, and a fast link's block ends with the
//!   number of its key bits. The test is then no uniform sample of the clicks, and an Eve who adapts to what she hears has
//!   more room than in a protocol that sends first and talks later (Pfister, Lütkenhaus, Wehner, Coles, "Sifting attacks
//!   in finite-size quantum key distribution", New Journal of Physics 18, 053001, 2016). A block that ends by its slots
//!   ([`EndConfig::block_bits`] out of reach) keeps the sample's size fixed at least.
//! - *Error correction is two-way*: Bob's questions tell where errors were. See [`cascade`].
//! - *Devices are as described*: phases of the pulses random, every click as likely in one basis as in the other, no
//!   side channel but the one that [`EndConfig::trojan_photons`] declares. Blinding breaks just this.
//! - *Pulses are independent*, and so are the clicks: detectors are all held off together after a click.

mod alice;
mod auth;
mod bob;
pub mod cascade;
mod config;
pub mod limits;
mod memory;
mod reason;
mod sift;
mod talk;
mod tally;
pub mod toeplitz;
mod verify;
mod waiting;
mod wire;

use crate::block::{BlockReport, DiscardReason, KeyBlock, Progress};

pub use alice::Alice;
pub use auth::{AuthKey, AuthKeyTooShort};
pub use bob::Bob;
pub use config::{EndConfig, EndConfigError};

/// What one end has to say. Take it with [`Alice::poll_event`] or [`Bob::poll_event`] after every call.
#[derive(Debug)]
#[non_exhaustive]
pub enum EndEvent {
    /// The block in the making has grown by a stretch of slots. Both ends say the same.
    Progress(Progress),
    /// This end has a block of key.
    Block {
        /// The key: secret.
        block: KeyBlock,
        /// What was measured; the same at both ends. [`BlockReport::eve`] is always `false`: the ends cannot know.
        report: BlockReport,
    },
    /// A block was thrown away at this end.
    Discarded {
        /// What was measured until then.
        report: BlockReport,
        /// Why.
        reason: DiscardReason,
    },
    /// The far end never got a block that this end gave out: take its key out of store. Only Alice says so.
    Void {
        /// The block.
        number: u64,
    },
}
