//! What an end tells its owner.

use vernam_qkd::distil::EndEvent;

use crate::{Error, Loss, Refusal};

/// What happened at one end of a link.
///
/// Blocks, and the like, are never left out: while [`crate::AliceEnd::event`] is not called, the link stands still.
/// `Refused` and the progress of a block are left out when the owner is behind.
#[derive(Debug)]
#[non_exhaustive]
#[expect(clippy::large_enum_variant, reason = "few exist at a time, and a box would be in the way of every match")]
pub enum PeerEvent {
    /// The far end is there, is who it should be, and is set alike.
    Connected {
        /// The run that begins or goes on, see [`PeerEvent::Distil`].
        run: u64,
        /// Whether it is the run from before the connection was lost.
        resumed: bool,
        /// The far end's address.
        peer: String,
    },
    /// The connection is no more. The block under way is lost with it; the end connects anew by itself.
    Lost(Loss),
    /// A connection did not come about. The end goes on trying, or listening.
    Refused(Refusal),
    /// The post-processing has something to say: a block, that one was thrown away, or how the next one grows.
    Distil {
        /// A run ends when one of the two processes ends; its number is the same at both ends, higher than that of any
        /// run before, and never seen again with the same start-up secret. Block numbers begin above all those of the
        /// runs before, so that they too name a block for good, together with [`crate::StartupSecret::id`]: with a new
        /// secret, runs and blocks are counted from the beginning, and a KME must not mix the two.
        run: u64,
        /// What it is.
        event: EndEvent,
    },
    /// A run is over at Alice's end, and nobody can say any more whether the far end has the last block that she gave
    /// out: do not use its key before both ends have compared whether they have it.
    ///
    /// Only Alice says so: Bob gives a block out only when he knows that she has it. It is her last block of most runs,
    /// for only the next one tells. What a stopped end leaves so, [`crate::AliceEnd::shutdown`] returns; what a process
    /// leaves that dies, nobody tells.
    Unsettled {
        /// The block.
        number: u64,
    },
    /// Alice has sent all the light that [`crate::Pace::AsFastAsPossible`] allows.
    LightEnded {
        /// The run.
        run: u64,
    },
    /// The end cannot go on, and has stopped: the last event.
    Failed(Error),
}
