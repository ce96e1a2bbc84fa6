//! What the application tells the engine, and what the engine tells the application.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::oneshot;
use vernam_audio::{CodecSettings, Decision, PlayoutStats};
use vernam_session::{CallTerms, HangUpReason, Refusal, Suite};
use vernam_store::StockStatus;

use crate::source::LinkHealth;

/// Where a call's sound comes from, and where it goes. Called from the call's own task, once a frame; must not block.
pub trait VoiceIo: Send {
    /// Writes the next frame of 48 kHz mono sound from the microphone (or a file) to `pcm`.
    fn capture(&mut self, pcm: &mut [i16]);
    /// Plays the next frame.
    fn play(&mut self, pcm: &[i16]);
    /// The packet of number `seq` was made from the frame captured at `at`, and was sealed and sent.
    fn sent(&mut self, seq: u32, packet: &[u8], at: Duration) {
        let _ = (seq, packet, at);
    }
    /// The frame given to [`play`](Self::play) at `at` was made by this decision.
    fn played(&mut self, decision: Decision, at: Duration) {
        let _ = (decision, at);
    }
}

/// What a caller proposes.
#[derive(Debug, Clone, Copy)]
pub struct CallProposal {
    /// How the voice is protected. Nothing less is ever used instead.
    pub suite: Suite,
    /// How it is coded.
    pub codec: CodecSettings,
}

/// What the application wants done.
pub enum Command {
    /// Connect to a contact.
    Connect {
        /// Its name (SAE ID).
        contact: String,
        /// Where its client listens.
        addr: SocketAddr,
    },
    /// Call a connected contact.
    Call {
        /// Whom.
        contact: String,
        /// How.
        proposal: CallProposal,
        /// The sound.
        io: Box<dyn VoiceIo>,
    },
    /// Take the call that rings.
    Answer {
        /// Whose.
        contact: String,
        /// The sound.
        io: Box<dyn VoiceIo>,
    },
    /// End, decline or cancel the call with this contact.
    HangUp {
        /// With whom.
        contact: String,
        /// Why.
        reason: HangUpReason,
    },
    /// Send a text message.
    SendText {
        /// To whom.
        contact: String,
        /// What.
        body: String,
    },
    /// Offer a file.
    SendFile {
        /// To whom.
        contact: String,
        /// Which.
        path: PathBuf,
        /// How it is protected.
        suite: Suite,
    },
    /// Take an offered file.
    AcceptFile {
        /// From whom.
        contact: String,
        /// The number in [`Event::FileOffered`].
        transfer: u32,
        /// Into which folder.
        folder: PathBuf,
    },
    /// Do not take an offered file.
    DeclineFile {
        /// From whom.
        contact: String,
        /// The number in [`Event::FileOffered`].
        transfer: u32,
    },
    /// Fill the outbound stock up to another mark from now on. What is there already stays.
    SetMark {
        /// For whom.
        contact: String,
        /// Bytes.
        bytes: u64,
    },
    /// Tell how much key was spent on what.
    Account {
        /// With whom.
        contact: String,
        /// Where to.
        reply: oneshot::Sender<Account>,
    },
    /// End the conversation with a contact properly.
    Disconnect {
        /// With whom.
        contact: String,
    },
}

/// The words of a message. Printed for debugging it shows its length only, so that no log can hold it.
#[derive(Clone, PartialEq, Eq)]
pub struct MessageBody(pub String);

impl fmt::Debug for MessageBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageBody({} bytes)", self.0.len())
    }
}

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The outer connection to a contact stands.
    Connected {
        /// Whose.
        contact: String,
        /// The TLS key exchange.
        key_exchange: String,
    },
    /// Both sides proved that they hold the same quantum key.
    Established {
        /// With whom.
        contact: String,
        /// How the control stream and text are protected.
        suite: Suite,
    },
    /// A connection or conversation could not be made, or ended.
    Disconnected {
        /// With whom.
        contact: String,
        /// Why, in plain words; `None` is a proper end.
        why: Option<String>,
    },
    /// The stocks changed, or the time has come to say how they stand.
    Stock {
        /// Shared with whom.
        contact: String,
        /// For what we send.
        outbound: StockStatus,
        /// For what the contact sends.
        inbound: StockStatus,
        /// Outbound bytes that both sides hold.
        usable: u64,
        /// The mark up to which the outbound stock is filled, bytes.
        mark: u64,
    },
    /// How the key source stands.
    Source {
        /// For keys shared with whom.
        contact: String,
        /// Why it gives no key, in its own words; `None` while it does.
        refusal: Option<String>,
        /// How the quantum link does, if it tells.
        link: Option<LinkHealth>,
    },
    /// A contact calls.
    IncomingCall {
        /// Who.
        contact: String,
        /// What is proposed.
        terms: CallTerms,
    },
    /// It rings at the contact's.
    Ringing {
        /// At whose.
        contact: String,
    },
    /// The call is taken; sound flows.
    Answered {
        /// With whom.
        contact: String,
        /// What was agreed.
        terms: CallTerms,
    },
    /// How a call goes, a few times a second.
    CallTick {
        /// With whom.
        contact: String,
        /// How.
        stats: Box<CallStats>,
    },
    /// A call is over, or came to nothing.
    CallEnded {
        /// With whom.
        contact: String,
        /// Why.
        reason: HangUpReason,
        /// Whether the contact ended it.
        by_contact: bool,
        /// How it went, if it was ever taken.
        stats: Option<Box<CallStats>>,
    },
    /// A text message came.
    TextReceived {
        /// From whom.
        contact: String,
        /// The sender's number for it.
        id: u64,
        /// What.
        body: MessageBody,
    },
    /// A text message was sealed and sent.
    TextSent {
        /// To whom.
        contact: String,
        /// Our number for it.
        id: u64,
        /// How it was protected.
        suite: Suite,
    },
    /// A text message is on the contact's screen.
    TextDelivered {
        /// Whose.
        contact: String,
        /// Our number for it.
        id: u64,
    },
    /// A contact offers a file.
    FileOffered {
        /// Who.
        contact: String,
        /// The number to answer with.
        transfer: u32,
        /// Its name, already safe to show and to use.
        name: String,
        /// Bytes.
        size: u64,
        /// How it will be protected.
        suite: Suite,
    },
    /// How a transfer goes, a few times a second.
    FileProgress {
        /// With whom.
        contact: String,
        /// Which.
        transfer: u32,
        /// Whether it is ours.
        sending: bool,
        /// Bytes sealed and handed to the network, or opened and written.
        done: u64,
        /// Bytes.
        size: u64,
    },
    /// A transfer is over.
    FileEnded {
        /// With whom.
        contact: String,
        /// Which.
        transfer: u32,
        /// Whether it was ours.
        sending: bool,
        /// Where it lies and its BLAKE3 hash, or why it failed.
        result: Result<FileDone, String>,
    },
    /// A record or datagram was refused: forged, repeated, cut short.
    Refused {
        /// On the connection with whom.
        contact: String,
        /// Why.
        why: Refusal,
    },
    /// Something the person should know, in plain words.
    Warning {
        /// About the conversation with whom.
        contact: String,
        /// What.
        text: String,
    },
}

/// A transfer that came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileDone {
    /// Where the file lies on this side.
    pub path: PathBuf,
    /// BLAKE3 of its bytes.
    pub hash: [u8; 32],
    /// Bytes.
    pub size: u64,
    /// From the first record to the verified end.
    pub took: Duration,
}

/// How a call goes, as this side sees it. Counts are since it was taken.
#[derive(Debug, Clone)]
pub struct CallStats {
    /// What was agreed.
    pub terms: CallTerms,
    /// Since it was taken.
    pub lasted: Duration,
    /// Voice packets sealed and handed to the connection.
    pub sent: u64,
    /// Frames that could not be sent for want of key.
    pub unsent: u64,
    /// Packets opened.
    pub received: u64,
    /// Packets missing between the first and the newest that came.
    pub missing: u64,
    /// Datagrams refused, by reason.
    pub refused: BTreeMap<Refusal, u64>,
    /// Datagrams of an earlier call that came late.
    pub stray: u64,
    /// What the jitter buffer and the decoder did.
    pub playout: PlayoutStats,
    /// Interarrival jitter, RFC 3550, section 6.4.1.
    pub jitter: Duration,
    /// Loudness of the last frames heard, dB below full scale.
    pub heard_dbfs: f64,
    /// Packets that can still be sent with the pad in hand, beside the stock; `None` under an AEAD key.
    pub packets_in_hand: Option<u64>,
    /// Bytes of outbound key handed to this call.
    pub key_outbound: u64,
    /// Bytes of inbound key handed to this call.
    pub key_inbound: u64,
}

/// What key was spent on, in bytes, since the conversation began.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Account {
    /// By purpose ([`vernam_key::Purpose::NAME`]) and suite, from the outbound stock.
    pub outbound: BTreeMap<(&'static str, Suite), u64>,
    /// By purpose and suite, from the inbound stock.
    pub inbound: BTreeMap<(&'static str, Suite), u64>,
    /// Taken from the source for handshakes and never in a stock.
    pub handshake_outbound: u64,
    /// The same for the other direction.
    pub handshake_inbound: u64,
    /// Taken from the source into the outbound stock.
    pub stocked_outbound: u64,
    /// The same for the other direction.
    pub stocked_inbound: u64,
    /// Taken from the source and given up before it reached a stock.
    pub lost: u64,
    /// How the outbound stock stands.
    pub outbound_stock: Option<StockStatus>,
    /// How the inbound stock stands.
    pub inbound_stock: Option<StockStatus>,
}
