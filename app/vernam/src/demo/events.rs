//! What the demo tells its watchers: the contract between the run and every view of it.
//!
//! A [`DemoEvent`] holds numbers, enums and short names only. There is no byte array in any of them, so key, pad and
//! sound cannot slip into a screen, a log or a report; [`Words`] is the one text type and it is bounded and printable.
//!
//! ```text
//!  run.rs, world/  ──EventSink──►  bounded channel  ──►  model ─► screen, picture
//!                                                   ├──►  plain
//!                                                   └──►  json
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use super::names::{Act, EndReason, Kme, KmeState, Person, Suite, Words};
use super::summary::Summary;

/// One event and when it happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// Seconds since the run began.
    #[serde(rename = "t", with = "seconds")]
    pub at: Duration,
    /// What happened.
    #[serde(flatten)]
    pub event: DemoEvent,
}

/// Everything that a watcher can learn. One JSON object each, told apart by `"event"`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum DemoEvent {
    /// The run begins; always the first event.
    Started(Plan),
    /// A throwaway certificate authority and `certificates` end certificates were made.
    CertificatesMade {
        /// Certificates issued (two KMEs, two people).
        certificates: u32,
    },
    /// A KME listens.
    KmeUp {
        /// Which one.
        kme: Kme,
        /// Its TCP port on loopback.
        port: u16,
    },
    /// The link is run ahead in virtual time, to make the stock that idle hours would have filled. May repeat.
    RunAhead {
        /// Virtual hours run so far.
        hours: f64,
        /// Virtual hours to be run in all.
        of_hours: f64,
        /// Key blocks made so far.
        blocks: u64,
        /// Secret key bits made so far.
        key_bits: u64,
    },
    /// The two clients have a QUIC connection.
    Connected {
        /// TLS named group, such as `X25519MLKEM768`.
        key_exchange: Words,
        /// TLS cipher suite of the outer layer.
        cipher: Words,
    },
    /// One side has confirmed that the other holds the same QKD key.
    KeysConfirmed {
        /// Who confirmed.
        who: Person,
    },
    /// An act of the demo begins.
    ActBegan {
        /// Which.
        act: Act,
    },
    /// An act is over.
    ActEnded {
        /// Which.
        act: Act,
    },
    /// A call rings.
    Ringing {
        /// Number of the call, from 1.
        call: u8,
        /// Who calls.
        caller: Person,
        /// What the caller proposes.
        suite: Suite,
    },
    /// A call was answered; sound flows both ways.
    Answered {
        /// Number of the call.
        call: u8,
        /// What protects the sound from now on.
        suite: Suite,
    },
    /// A call is over.
    CallEnded {
        /// Number of the call.
        call: u8,
        /// Why.
        reason: EndReason,
        /// How long people talked, in seconds.
        lasted_s: f64,
    },
    /// Light went over the link: the block in the making has grown. About twice a second.
    LinkLight(LinkLight),
    /// The link made a block of key.
    LinkBlock(LinkBlock),
    /// The link threw a block away; no bit of it becomes key.
    BlockDiscarded {
        /// Number of the block.
        block: u64,
        /// Sifted bits thrown away.
        sifted_bits: u64,
        /// Share of wrong bits, 0 to 1.
        qber: f64,
        /// Share above which a block is discarded, 0 to 1.
        threshold: f64,
        /// Why, in plain words.
        reason: Words,
    },
    /// What a KME does now. Sent on change and about once a second.
    KmeStatus {
        /// Which one.
        kme: Kme,
        /// Whether it hands out key.
        state: KmeState,
        /// Key bits in its own half of the pool.
        pool_bits: u64,
        /// The reason it gives for refusing, as its clients received it.
        reason: Option<Words>,
    },
    /// A client's stock. Sent on change, at most five times a second.
    Stock {
        /// Whose.
        who: Person,
        /// Key for what this person sends.
        send: StockLevel,
        /// Key for what this person receives.
        receive: StockLevel,
    },
    /// How a call goes for one person; about five times a second.
    CallTick(CallTick),
    /// How a file goes.
    File(FileProgress),
    /// A text message moved on.
    Text {
        /// Who wrote it.
        from: Person,
        /// How far it got.
        state: TextState,
        /// What protects it.
        suite: Suite,
        /// The demo's own message.
        text: Words,
    },
    /// Something a person should know, in plain words: "2 minutes of talk left".
    Warning {
        /// Who is told; both when absent.
        who: Option<Person>,
        /// The sentence.
        text: Words,
    },
    /// The eavesdropper on the quantum link came or went.
    Eavesdropper {
        /// Whether the link is tapped from now on.
        on: bool,
        /// Share of the pulses that are measured and sent again, 0 to 1.
        share: f64,
    },
    /// A promise was checked.
    Check(Check),
    /// The end; always the last event of a run that came to its end.
    Summary(Box<Summary>),
}

/// What the run is going to do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The acts, in order.
    pub acts: Vec<Act>,
    /// Length of the quantum link's fibre, km.
    pub length_km: f64,
    /// Loss of the connectors in the line beside the fibre, dB.
    pub extra_loss_db: f64,
    /// Name of the device model.
    pub device: Words,
    /// Opus bit rate of the first call, bits a second.
    pub bit_rate_bps: u32,
    /// Length of an Opus frame, ms.
    pub frame_ms: u32,
    /// Loss injected on the wire, percent.
    pub loss_percent: f64,
    /// One-way delay injected on the wire, ms.
    pub delay_ms: f64,
    /// Spread of that delay, ms.
    pub jitter_ms: f64,
    /// Seed of what is simulated; never of a key bit.
    pub seed: u64,
    /// Planned length of the whole run, seconds.
    pub duration_s: f64,
    /// Size of the file to send, bytes.
    pub file_bytes: u64,
}

/// The block that the link is making, after one more stretch of light.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LinkLight {
    /// Number of the block.
    pub block: u64,
    /// Light pulses sent for it so far.
    pub pulses: u64,
    /// Bits of it left after sifting so far.
    pub sifted_bits: u64,
    /// Share of wrong bits among the test bits of this stretch, 0 to 1.
    pub qber: f64,
    /// Share above which a block is discarded, 0 to 1.
    pub threshold: f64,
}

/// A block of key that the link made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LinkBlock {
    /// Number of the block, from 1.
    pub block: u64,
    /// Light pulses sent for it.
    pub pulses: u64,
    /// Bits left after sifting.
    pub sifted_bits: u64,
    /// Share of wrong bits, 0 to 1.
    pub qber: f64,
    /// Share above which a block is discarded, 0 to 1.
    pub threshold: f64,
    /// Secret bits that privacy amplification left.
    pub key_bits: u64,
    /// Secret key rate over this block, bits a second.
    pub rate_bps: f64,
}

/// A stock of key in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StockLevel {
    /// Unspent bytes.
    pub bytes: u64,
    /// The mark up to which the client fills it, bytes.
    pub mark_bytes: u64,
    /// Seconds of talk that the bytes pay for under one-time pad.
    pub talk_s: f64,
}

/// How a call goes, as one person sees it. Counts are since the call was answered.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CallTick {
    /// Who sees it so.
    pub who: Person,
    /// Number of the call.
    pub call: u8,
    /// Call time, seconds.
    pub time_s: f64,
    /// What protects what this person sends.
    pub suite: Suite,
    /// Opus bit rate, bits a second.
    pub bit_rate_bps: u32,
    /// Voice datagrams sent.
    pub sent: u64,
    /// Voice datagrams received and accepted.
    pub received: u64,
    /// Voice datagrams that never came.
    pub lost: u64,
    /// Voice datagrams refused: forged, replayed, cut short.
    pub rejected: u64,
    /// Lost frames that Opus mended.
    pub concealed: u64,
    /// One-way delay capture to playout, median of the last seconds, ms.
    pub delay_p50_ms: f64,
    /// The same, 95th percentile, ms.
    pub delay_p95_ms: f64,
    /// Network jitter, ms (RFC 3550, 6.4.1).
    pub jitter_ms: f64,
    /// Sound waiting in the jitter buffer, ms.
    pub buffer_ms: f64,
    /// Loudness of what this person hears, dB full scale; -90 or less is silence.
    pub heard_dbfs: f64,
    /// Key spent on what this person sent in this call, bytes.
    pub key_used_bytes: u64,
}

/// How a file goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileProgress {
    /// Who sends it.
    pub from: Person,
    /// Its name, without a path.
    pub name: Words,
    /// How far it is.
    pub state: FileState,
    /// What protects it.
    pub suite: Suite,
    /// Bytes that the receiver has checked and written.
    pub done_bytes: u64,
    /// Its size, bytes.
    pub total_bytes: u64,
    /// Seconds since it was accepted.
    pub elapsed_s: f64,
}

/// How far a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FileState {
    /// Offered, not yet accepted.
    Offered,
    /// On its way.
    Moving,
    /// Whole, verified and renamed into place.
    Done,
    /// Given up.
    Failed,
}

/// How far a text message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TextState {
    /// Left the sender.
    Sent,
    /// Arrived and verified.
    Delivered,
    /// Read.
    Read,
}

/// A promise and whether the run kept it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Short name of the promise: "key bits add up".
    pub promise: Words,
    /// Whether it held.
    pub kept: bool,
    /// The numbers behind it, in a short sentence.
    pub detail: Words,
}

/// Seconds with a fraction, to the millisecond.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(at: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64((at.as_secs_f64() * 1000.0).round() / 1000.0)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(seconds).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_flat_json_object_and_back() {
        let event = Stamped {
            at: Duration::from_millis(1500),
            event: DemoEvent::BlockDiscarded {
                block: 7,
                sifted_bits: 90_000,
                qber: 0.25,
                threshold: 0.11,
                reason: Words::from("too many errors"),
            },
        };
        let line = serde_json::to_string(&event).expect("plain data");
        assert!(line.starts_with(r#"{"t":1.5,"event":"block_discarded","block":7"#), "{line}");
        assert_eq!(serde_json::from_str::<Stamped>(&line).expect("our own line"), event);
    }
}
