//! What a telephone tells while it runs, in its order. Everything that is shown is made from these.

use serde::{Serialize, Serializer};
use std::time::Duration;
use vernam_session::{CallTerms, HangUpReason, Suite};

use super::words;

/// An event, and when it happened.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stamped {
    /// Seconds since the telephone was started.
    #[serde(rename = "t", serialize_with = "seconds")]
    pub at: Duration,
    /// What happened.
    #[serde(flatten)]
    pub event: CallEvent,
}

/// What happened. `contact` is always the contact that it is about.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallEvent {
    /// The telephone works.
    Started {
        /// Whose it is.
        name: String,
        /// Where it listens.
        address: String,
    },
    /// A call that was missed before the telephone was started.
    Missed {
        /// Whose.
        contact: String,
        /// When it began to ring, seconds since 1970 (UTC).
        began_unix_s: u64,
    },
    /// A contact is being dialled.
    Dialling {
        /// Whom.
        contact: String,
        /// Where.
        address: String,
    },
    /// The outer connection stands.
    Connected {
        /// With whom.
        contact: String,
        /// The TLS key exchange.
        key_exchange: String,
    },
    /// Both sides proved that they hold the same quantum key.
    Confirmed {
        /// With whom.
        contact: String,
    },
    /// What both people may read to each other: the same at both ends if nobody sits between them.
    Words {
        /// With whom.
        contact: String,
        /// Four words.
        words: Vec<String>,
    },
    /// A connection could not be made, or ended.
    Disconnected {
        /// With whom.
        contact: String,
        /// Why; null for a proper end.
        why: Option<String>,
    },
    /// A contact calls.
    Incoming {
        /// Who.
        contact: String,
        /// What is proposed.
        terms: Terms,
        /// Whether another call is on.
        waiting: bool,
        /// Whether what is proposed is less than our policy for the contact asks for.
        weaker: bool,
    },
    /// We call; nothing was heard yet.
    Calling {
        /// Whom.
        contact: String,
        /// What is proposed.
        terms: Terms,
    },
    /// It rings at the contact's.
    Ringing {
        /// At whose.
        contact: String,
    },
    /// The call is taken, or goes on after it was away.
    Answered {
        /// With whom.
        contact: String,
        /// What was agreed.
        terms: Terms,
    },
    /// What protects the call, or how it is coded, is another from now on.
    Changed {
        /// With whom.
        contact: String,
        /// What was agreed.
        terms: Terms,
    },
    /// The contact asks for something that protects less; the person has to answer.
    ChangeAsked {
        /// Who.
        contact: String,
        /// For what.
        terms: Terms,
    },
    /// The contact does not want it changed.
    ChangeDeclined {
        /// Who.
        contact: String,
    },
    /// So much one-time pad is left.
    TalkLeft {
        /// With whom.
        contact: String,
        /// Seconds of talk.
        left_s: u64,
    },
    /// The one-time pad will soon be used up; the person has to say whether the call may go on with less.
    WeakerWanted {
        /// With whom.
        contact: String,
    },
    /// We hold the call, or go on with it.
    Held {
        /// Whose.
        contact: String,
        /// Whether it is held.
        on: bool,
    },
    /// The contact holds the call, or goes on with it.
    HeldByContact {
        /// Who.
        contact: String,
        /// Whether it is held.
        on: bool,
    },
    /// The contact's microphone is off, or on.
    MutedByContact {
        /// Whose.
        contact: String,
        /// Whether it is off.
        on: bool,
    },
    /// The contact wants to record; the person has to answer.
    RecordAsked {
        /// Who.
        contact: String,
    },
    /// The call is recorded here, or no longer.
    Recording {
        /// With whom.
        contact: String,
        /// Whether it is.
        on: bool,
    },
    /// The contact records the call, or no longer.
    RecordingByContact {
        /// Who.
        contact: String,
        /// Whether it does.
        on: bool,
    },
    /// The contact does not want to be recorded.
    RecordDeclined {
        /// Who.
        contact: String,
    },
    /// The connection is away; the call waits for it.
    Reconnecting {
        /// With whom.
        contact: String,
    },
    /// How a call goes, a few times a second.
    Tick(Box<Tick>),
    /// A call is over, or came to nothing.
    Ended {
        /// With whom.
        contact: String,
        /// Why.
        #[serde(serialize_with = "reason_name")]
        reason: HangUpReason,
        /// Whether we had called.
        ours: bool,
        /// Whether the contact ended it.
        by_contact: bool,
        /// How long both were heard, seconds; null if it was never taken.
        lasted_s: Option<f64>,
        /// Voice packets sent; null if it was never taken.
        sent: Option<u64>,
        /// Voice packets that came and were genuine; null if it was never taken.
        received: Option<u64>,
    },
    /// What the person is asked now: `y` and `n` answer this and nothing else.
    Asked {
        /// `ring`, `change`, `weaker`, `record`, `stand_in`; null for nothing.
        question: Option<String>,
        /// About whom; null for none.
        contact: Option<String>,
        /// In plain words; null for nothing.
        text: Option<String>,
    },
    /// What the contact asked for, or the pad's end asked for, is no longer asked.
    Lapsed {
        /// With whom.
        contact: String,
        /// `change`, `weaker` or `record`.
        question: String,
    },
    /// A device works, or stands in for another.
    DeviceOpened {
        /// `microphone`, `speaker` or `ringer`.
        part: String,
        /// Its name.
        name: String,
        /// Whether it stands in for the one that was chosen.
        stands_in: bool,
    },
    /// A device is gone.
    DeviceLost {
        /// `microphone`, `speaker` or `ringer`.
        part: String,
        /// Its name.
        name: String,
        /// Why.
        why: String,
    },
    /// What was asked for cannot be done.
    Refused {
        /// About whom.
        contact: String,
        /// Why.
        why: String,
    },
    /// The microphone that was chosen is away, and this one could stand in. Silence is sent until the person says yes, or
    /// the chosen one is back.
    DeviceOffered {
        /// `microphone`.
        part: String,
        /// What the sound system calls it.
        id: String,
        /// Its name.
        name: String,
        /// The one that was chosen.
        instead_of: String,
    },
    /// What was offered no longer is: the chosen one is back, another was chosen, or the offered one is gone too.
    DeviceWithdrawn {
        /// `microphone`.
        part: String,
        /// What the sound system calls the one that was offered.
        id: String,
    },
    /// Something that the person should know.
    Warning {
        /// About whom; null for all.
        contact: Option<String>,
        /// What.
        text: String,
    },
    /// The echo test is over.
    EchoHeard(EchoHeard),
    /// The telephone ends.
    Stopped {
        /// The exit status.
        status: u8,
    },
}

/// Every value of `"event"`.
pub const EVENTS: [&str; 36] = [
    "started",
    "missed",
    "dialling",
    "connected",
    "confirmed",
    "words",
    "disconnected",
    "incoming",
    "calling",
    "ringing",
    "answered",
    "changed",
    "change_asked",
    "change_declined",
    "talk_left",
    "weaker_wanted",
    "held",
    "held_by_contact",
    "muted_by_contact",
    "record_asked",
    "recording",
    "recording_by_contact",
    "record_declined",
    "reconnecting",
    "tick",
    "ended",
    "asked",
    "lapsed",
    "device_opened",
    "device_lost",
    "device_offered",
    "device_withdrawn",
    "refused",
    "warning",
    "echo_heard",
    "stopped",
];

/// What a call sounds like, and what protects it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Terms {
    /// The suite of its voice, both ways.
    #[serde(serialize_with = "suite_name")]
    pub suite: Suite,
    /// Opus bit rate.
    pub bit_rate_bps: u32,
    /// Length of a packet's sound.
    pub frame_ms: u8,
}

impl From<CallTerms> for Terms {
    fn from(terms: CallTerms) -> Self {
        Self { suite: terms.suite, bit_rate_bps: terms.bit_rate, frame_ms: terms.frame_ms }
    }
}

/// How a call goes. Counts are since it was taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tick {
    /// With whom.
    pub contact: String,
    /// Seconds since it was taken.
    pub lasted_s: f64,
    /// What was agreed.
    pub terms: Terms,
    /// What protects the voice that leaves now; during a change it may still be what was agreed before.
    #[serde(serialize_with = "suite_name")]
    pub sent_under: Suite,
    /// What protected the newest voice that came.
    #[serde(serialize_with = "suite_name")]
    pub received_under: Suite,
    /// Packets sealed and sent.
    pub sent: u64,
    /// Packets that came and were genuine.
    pub received: u64,
    /// Packets missing.
    pub lost: u64,
    /// Packets refused: forged, repeated, of an unknown key.
    pub rejected: u64,
    /// Lost frames made up for from other packets.
    pub recovered: u64,
    /// Lost frames that were guessed.
    pub concealed: u64,
    /// Of the last seconds' packets, percent.
    pub lost_percent: f64,
    /// The same of what we say, as the contact tells.
    pub lost_at_contact_percent: u8,
    /// From the contact's mouth to our ear, estimated: a packet's sound, half a round trip, the codec, the jitter
    /// buffer. Without the devices' own delay.
    pub delay_ms: f64,
    /// The connection's round trip.
    pub round_trip_ms: f64,
    /// Interarrival jitter (RFC 3550, section 6.4.1).
    pub jitter_ms: f64,
    /// Sound that waits in the jitter buffer.
    pub buffer_ms: f64,
    /// Seconds of talk that the one-time pad lasts; null under another suite.
    pub key_left_s: Option<u64>,
    /// Key spent on what we say.
    pub key_used_bytes: u64,
    /// Whether the microphone's sound is sent at the moment, and not silence in its place.
    pub sending: bool,
    /// Loudness of what the microphone gives, dB below full scale.
    pub said_dbfs: f64,
    /// Loudness of what is heard.
    pub heard_dbfs: f64,
}

/// What the echo test found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EchoHeard {
    /// How long after it was said it came back; null if it was not found in what came back.
    pub round_trip_ms: Option<f64>,
    /// Of it, the pause that the test makes.
    pub pause_ms: f64,
    /// The loudest that was said, dB below full scale.
    pub said_peak_dbfs: f64,
    /// The loudest that came back.
    pub heard_peak_dbfs: f64,
    /// Packets lost on the way there and back.
    pub lost: u64,
}

fn seconds<S: Serializer>(at: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    // To the millisecond; more is noise.
    serializer.serialize_f64((at.as_secs_f64() * 1_000.0).round() / 1_000.0)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn suite_name<S: Serializer>(suite: &Suite, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(suite.name())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn reason_name<S: Serializer>(reason: &HangUpReason, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(words::reason_name(*reason))
}
