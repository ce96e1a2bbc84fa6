//! What the engine tells the application.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use vernam_audio::PlayoutStats;
use vernam_files::TransferId;
use vernam_session::{CallTerms, Refusal, Suite};
use vernam_store::StockStatus;

use crate::files::{FileDone, FileError, FileStatus, IfShort, OfferedFiles, PreparedFiles, Shortage};
use crate::phone::{CallRecord, Carried, PhoneEvent, Tone};
use crate::source::LinkHealth;

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
    /// The key source has too little for a new conversation's handshake: it is waited until there is more. Then comes
    /// what comes after [`Self::Connected`].
    WaitingForKey {
        /// For a conversation with whom.
        contact: String,
        /// What the source said.
        why: String,
        /// How long that may take.
        at_most: Duration,
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
        /// Those of them that are reserved for files on their way.
        reserved: u64,
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
    /// Something about a call: it rings, is taken, held, asked to change, is over.
    Call {
        /// With whom.
        contact: String,
        /// What.
        event: PhoneEvent,
    },
    /// How a call goes, a few times a second.
    CallTick {
        /// With whom.
        contact: String,
        /// How.
        stats: Box<CallStats>,
    },
    /// A call is over, or came to nothing: for the history.
    CallRecord {
        /// What it was, and why it ended.
        record: CallRecord,
        /// How it went, if it was ever taken.
        stats: Option<Box<CallStats>>,
    },
    /// Play this tone to the person from now on, or none.
    Tone(Option<Tone>),
    /// The words by which both people can make sure that nobody sits between them: the same at both ends of a
    /// conversation. Told with its first call, and again after every reconnect.
    Words {
        /// With whom.
        contact: String,
        /// Four words of the BIP-39 English list.
        words: [String; 4],
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
    /// Files of ours were looked at and are about to be offered, with what they cost.
    FilePrepared {
        /// To whom.
        contact: String,
        /// Which transfer.
        transfer: TransferId,
        /// What they are.
        files: Box<PreparedFiles>,
    },
    /// The stock cannot cover files of ours under one-time pad. Nothing of them was sent.
    FileShort {
        /// To whom.
        contact: String,
        /// Which transfer.
        transfer: TransferId,
        /// By how much, and what can be done.
        shortage: Shortage,
        /// What is done about it.
        choice: IfShort,
    },
    /// A contact offers files. It is told once, also where the connection is lost before the answer.
    FileOffered {
        /// Who.
        contact: String,
        /// Which transfer.
        transfer: TransferId,
        /// What they are.
        offer: Box<OfferedFiles>,
    },
    /// Where a transfer stands.
    FileStatus {
        /// With whom.
        contact: String,
        /// Which.
        transfer: TransferId,
        /// Whether it is ours.
        sending: bool,
        /// Where.
        status: FileStatus,
    },
    /// How a transfer goes, a few times a second.
    FileProgress {
        /// With whom.
        contact: String,
        /// Which.
        transfer: TransferId,
        /// Whether it is ours.
        sending: bool,
        /// Bytes of files sealed and handed to the network, or opened, checked and written; those of earlier tries too.
        done: u64,
        /// Bytes of all files.
        size: u64,
        /// Bytes a second, of late.
        rate: u64,
    },
    /// A transfer is over.
    FileEnded {
        /// With whom.
        contact: String,
        /// Which.
        transfer: TransferId,
        /// Whether it was ours.
        sending: bool,
        /// Where the files lie, or why there are none.
        result: Result<FileDone, FileError>,
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

/// How a call goes, as this side sees it. Counts are since it was taken.
#[derive(Debug, Clone)]
pub struct CallStats {
    /// What was agreed.
    pub terms: CallTerms,
    /// What protects the voice that leaves now; during a change of terms it may still be the old suite.
    pub sent_under: Suite,
    /// What protected the newest voice that came.
    pub received_under: Suite,
    /// Since it was taken.
    pub lasted: Duration,
    /// Voice packets sealed and handed to the connection.
    pub sent: u64,
    /// Frames that could not be sent for want of key.
    pub unsent: u64,
    /// Packets opened.
    pub received: u64,
    /// Packets missing between the first and the newest that came, without those of outages.
    pub missing: u64,
    /// Frames of the contact's that the connection was away for: from the last packet before an outage to the first one
    /// after it.
    pub away: u64,
    /// Packets missing among those of the last seconds, percent.
    pub lost_percent: f64,
    /// How many of them are missing in a row, on average; 0 if none is.
    pub burst: f32,
    /// Packets of our voice missing lately at the contact's, percent, as the contact tells.
    pub lost_at_contact_percent: u8,
    /// How many of those are missing in a row, on average.
    pub burst_at_contact: f32,
    /// Datagrams refused, by reason.
    pub refused: BTreeMap<Refusal, u64>,
    /// Datagrams of an earlier call that came late.
    pub stray: u64,
    /// What the jitter buffer and the decoder did.
    pub playout: PlayoutStats,
    /// Interarrival jitter, RFC 3550, section 6.4.1.
    pub jitter: Duration,
    /// The connection's round trip.
    pub round_trip: Duration,
    /// What the jitter buffer holds.
    pub buffered: Duration,
    /// From the contact's mouth to our ear, estimated: a frame, half a round trip, the codec's look-ahead and the
    /// jitter buffer. Without the sound devices' own delay.
    pub delay: Duration,
    /// Loudness of what the microphone gave last, dB below full scale; whether it is sent is another matter.
    pub said_dbfs: f64,
    /// Loudness of the last frames heard, dB below full scale.
    pub heard_dbfs: f64,
    /// Whether the microphone's sound is sent at the moment, and not silence in its place.
    pub sending: bool,
    /// Packets that can still be sent with the pad in hand, beside the stock; `None` under an AEAD key.
    pub packets_in_hand: Option<u64>,
    /// For how long one-time pad for talk is left, the stock included; `None` under an AEAD key.
    pub key_left: Option<Duration>,
    /// Bytes of outbound key handed to this call.
    pub key_outbound: u64,
    /// Bytes of inbound key handed to this call.
    pub key_inbound: u64,
}

/// Below the quietest sample of 16 bits.
const SILENCE_DBFS: f64 = -96.0;

impl CallStats {
    /// Of a call under `terms` that has just been taken.
    pub(crate) fn of(terms: CallTerms) -> Self {
        Self {
            terms,
            sent_under: terms.suite,
            received_under: terms.suite,
            lasted: Duration::ZERO,
            sent: 0,
            unsent: 0,
            received: 0,
            missing: 0,
            away: 0,
            lost_percent: 0.0,
            burst: 0.0,
            lost_at_contact_percent: 0,
            burst_at_contact: 0.0,
            refused: BTreeMap::new(),
            stray: 0,
            playout: PlayoutStats::default(),
            jitter: Duration::ZERO,
            round_trip: Duration::ZERO,
            buffered: Duration::ZERO,
            delay: Duration::ZERO,
            said_dbfs: SILENCE_DBFS,
            heard_dbfs: SILENCE_DBFS,
            sending: false,
            packets_in_hand: None,
            key_left: None,
            key_outbound: 0,
            key_inbound: 0,
        }
    }

    /// How much it has carried.
    pub fn carried(&self) -> Carried {
        Carried { sent: self.sent, received: self.received }
    }
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
