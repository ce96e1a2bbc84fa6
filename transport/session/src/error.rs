//! What can go wrong, by whose fault.

use vernam_key::PadExhausted;

/// Why a record or datagram was not accepted. The peer's or the network's fault; the flow lives on where it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Too short, too long, or of an unknown kind.
    #[error("it is not a well-formed record")]
    Malformed,
    /// The tag is wrong: altered, from another flow, direction or session, or made without the key.
    #[error("its tag is wrong: it was altered, or made by someone without the key")]
    Forged,
    /// Accepted before.
    #[error("it was accepted before")]
    Replayed,
    /// Too old to tell whether it was accepted before.
    #[error("it is too old")]
    TooLate,
    /// A record before it is missing.
    #[error("a record before it is missing")]
    Gap,
    /// Of a generation of key that is not (or no longer) here.
    #[error("its key is not here")]
    UnknownKey,
    /// Needs more pad than its key block holds.
    #[error("it is longer than what is left of its key")]
    BeyondKey,
    /// After the flow's last record.
    #[error("it comes after the end of the flow")]
    AfterEnd,
    /// For another flow.
    #[error("it belongs to another flow")]
    WrongFlow,
    /// The flow was given up after too many refused records.
    #[error("the flow was closed after too many refused records")]
    Closed,
}

/// Why a key block cannot be used, or no more can be sealed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// No key has been installed yet, or it is used up: ask for the next block.
    #[error("the flow has no key left: ask the session for its next block")]
    NeedKey,
    /// The pad is shorter than the record needs.
    #[error(transparent)]
    Pad(#[from] PadExhausted),
    /// An AEAD block must be exactly the seed.
    #[error("an AEAD key block has {len} bytes and must have 32")]
    SeedLength {
        /// Bytes that came.
        len: usize,
    },
    /// The block is for another flow or is not the next generation.
    #[error("the key block is for another flow or out of turn")]
    WrongBlock,
    /// The key derivation failed.
    #[error("the key derivation failed")]
    Derivation,
    /// The record could not be sealed.
    #[error("the record could not be sealed")]
    Sealing,
    /// The plaintext is longer than a record may be.
    #[error("{len} bytes do not fit one record")]
    TooLong {
        /// Bytes given.
        len: usize,
    },
    /// The flow's numbers are used up; a new flow must be opened.
    #[error("the flow's numbers are used up: open a new flow")]
    NumbersUsedUp,
    /// The flow was ended.
    #[error("the flow was ended")]
    Ended,
}

/// Why a session ended. Nothing more can be sent or accepted on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// The peer's first message is not a `Hello` of this protocol.
    #[error("the peer does not speak this protocol (version {})", crate::limits::VERSION)]
    NotOurProtocol,
    /// No suite that both sides' policies allow.
    #[error("no way of protecting the call is allowed by both sides: we allow {ours}, they allow {theirs}")]
    NoCommonSuite {
        /// Names of ours.
        ours: String,
        /// Names of theirs.
        theirs: String,
    },
    /// The KME did not give the key that the handshake needs.
    #[error("the key for the handshake could not be had: {reason}")]
    NoHandshakeKey {
        /// What the KME said.
        reason: String,
    },
    /// The peer could not prove that it holds the key.
    #[error(
        "the peer could not prove that it holds the quantum key: this may be somebody else, or the two KMEs disagree"
    )]
    NotConfirmed,
    /// The peer broke the protocol.
    #[error("the peer broke the protocol: {what}")]
    Protocol {
        /// In which way.
        what: &'static str,
    },
    /// Too many refused records on the control stream.
    #[error("too many forged or broken control records: the line is being tampered with")]
    TamperedControl,
    /// The control stream ended without its last record.
    #[error("the control stream was cut off")]
    Truncated,
    /// Control messages waited for key for too long.
    #[error("no key is left for the control stream")]
    ControlStarved,
    /// Ours, not the peer's.
    #[error("the session's own keys failed: {0}")]
    Key(#[from] KeyError),
}
