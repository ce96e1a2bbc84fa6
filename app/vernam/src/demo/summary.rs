//! What a run adds up to: key by the bit, calls, the file, and which promises were kept.
//!
//! The run fills in what it counted; [`Summary::checked`] does the adding up and turns every sum into a promise, so
//! that a wrong count can never be reported as a right one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::events::{Check, EndReason, Person, Suite, Words};

/// Everything that a run adds up to.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Summary {
    /// One book for each direction of key: Alice to Bob, Bob to Alice.
    pub books: Vec<KeyBook>,
    /// Bits of sifted key that the link threw away because of errors.
    pub discarded_sifted_bits: u64,
    /// The calls, in order.
    pub calls: Vec<CallSummary>,
    /// The files, in order.
    pub files: Vec<FileSummary>,
    /// Where WAVs and the report lie. Empty when nothing was kept.
    pub out_dir: String,
    /// Whether a person stopped the run early.
    pub cancelled: bool,
    /// The promises, in the order in which they were checked.
    pub promises: Vec<Check>,
    /// The sums; filled in by [`Summary::checked`].
    #[serde(default)]
    pub sums: Vec<Sum>,
    /// How long the run took, seconds.
    pub took_s: f64,
}

/// The book of one direction of key, in bits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyBook {
    /// The sender, who is the ETSI master of this direction.
    pub from: Person,
    /// Made by the link for this direction, time run ahead included.
    pub made_bits: u64,
    /// Left in the KME's pool at the end.
    pub in_pool_bits: u64,
    /// Delivered by the KME to the sender with `enc_keys`.
    pub delivered_bits: u64,
    /// What became of the sender's copy.
    pub sender: Holding,
    /// What became of the receiver's copy.
    pub receiver: Holding,
}

/// What became of one copy of the delivered key, in bits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Holding {
    /// Spent, by flow.
    pub spent: Vec<FlowSpend>,
    /// Erased without use: the rest of a block, a gap after loss.
    pub forfeited_bits: u64,
    /// Still in the client's stock.
    pub in_stock_bits: u64,
    /// Delivered to the other side and not collected with `dec_keys` yet; 0 for a sender.
    pub not_collected_bits: u64,
}

/// Key spent on one flow under one suite, in bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowSpend {
    /// The flow.
    pub flow: Flow,
    /// The suite.
    pub suite: Suite,
    /// Bits.
    pub bits: u64,
}

/// What key is spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Flow {
    /// Key confirmation of the handshake.
    Handshake,
    /// Signalling.
    Control,
    /// Voice.
    Voice,
    /// Text messages.
    Text,
    /// Files.
    File,
}

impl Flow {
    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Control => "control",
            Self::Voice => "voice",
            Self::Text => "text",
            Self::File => "file",
        }
    }
}

/// One call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallSummary {
    /// Its number, from 1.
    pub call: u8,
    /// What protected it.
    pub suite: Suite,
    /// Whether the link was tapped during it.
    pub tapped: bool,
    /// How long people talked, seconds.
    pub lasted_s: f64,
    /// Why it ended.
    pub reason: EndReason,
    /// Alice to Bob, Bob to Alice.
    pub directions: Vec<VoiceSummary>,
}

/// One direction of one call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VoiceSummary {
    /// Who spoke.
    pub from: Person,
    /// Datagrams sent.
    pub sent: u64,
    /// Datagrams received and accepted.
    pub received: u64,
    /// Datagrams that never came.
    pub lost: u64,
    /// Datagrams refused.
    pub rejected: u64,
    /// Lost frames that Opus mended: from the copy in the packet after it, or by concealment.
    pub concealed: u64,
    /// Size of every voice datagram, bytes.
    pub datagram_bytes: u32,
    /// One-way delay, capture to playout.
    pub delay: Percentiles,
    /// Whether what was heard equals, bit for bit, a local decode of the same packets, lost ones mended by the same decoder;
    /// absent when it was not compared.
    pub identical: Option<bool>,
    /// File name of what was heard, inside the output directory.
    pub wav: Option<Words>,
}

/// Delay, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Percentiles {
    /// Median.
    pub p50_ms: f64,
    /// 95th percentile.
    pub p95_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileSummary {
    /// Its name.
    pub name: Words,
    /// Who sent it.
    pub from: Person,
    /// What protected it.
    pub suite: Suite,
    /// Its size, bytes.
    pub bytes: u64,
    /// From acceptance to the verified, renamed file, seconds.
    pub seconds: f64,
    /// Whether the received file's hash equals the sent one's.
    pub hash_equal: bool,
}

impl FileSummary {
    /// Throughput, 10^6 bytes a second; 0 when it took no measurable time.
    pub fn mb_per_s(&self) -> f64 {
        super::throughput(self.bytes, self.seconds)
    }
}

/// `total = part + part + …`, and whether that holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// What is summed: "key Alice to Bob, made".
    pub name: Words,
    /// The total, bits.
    pub total: u64,
    /// The parts, bits.
    pub parts: Vec<Part>,
    /// Whether the parts make the total exactly.
    pub holds: bool,
}

/// One part of a [`Sum`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its name.
    pub name: Words,
    /// Bits.
    pub bits: u64,
}

impl Sum {
    fn new(name: &str, total: u64, parts: Vec<Part>) -> Self {
        let sum = parts.iter().try_fold(0_u64, |sum, part| sum.checked_add(part.bits));
        Self { name: name.into(), total, holds: sum == Some(total), parts }
    }

    fn check(&self) -> Check {
        let sum: u128 = self.parts.iter().map(|part| u128::from(part.bits)).sum();
        let detail = if self.holds {
            format!("{} bits = {}", grouped(self.total), self.terms())
        } else {
            format!("{} bits \u{2260} {} = {}", grouped(self.total), grouped_wide(sum), self.terms())
        };
        Check { promise: self.name.clone(), kept: self.holds, detail: detail.into() }
    }

    fn terms(&self) -> String {
        let terms: Vec<String> =
            self.parts.iter().map(|part| format!("{} {}", grouped(part.bits), part.name)).collect();
        terms.join(" + ")
    }
}

impl KeyBook {
    fn sums(&self) -> Vec<Sum> {
        let way = format!("{} \u{2192} {}", self.from, self.from.other());
        let made = vec![part("delivered", self.delivered_bits), part("in the pool", self.in_pool_bits)];
        vec![
            Sum::new(&format!("key {way}, made by the link"), self.made_bits, made),
            Sum::new(&format!("key {way}, {}'s copy", self.from), self.delivered_bits, self.sender.parts()),
            Sum::new(&format!("key {way}, {}'s copy", self.from.other()), self.delivered_bits, self.receiver.parts()),
        ]
    }
}

impl Holding {
    /// Bits spent, over all flows.
    pub fn spent_bits(&self) -> u64 {
        self.spent.iter().fold(0, |sum, spend| sum.saturating_add(spend.bits))
    }

    fn parts(&self) -> Vec<Part> {
        let mut parts = vec![
            part("spent", self.spent_bits()),
            part("forfeited", self.forfeited_bits),
            part("in stock", self.in_stock_bits),
        ];
        if self.not_collected_bits > 0 {
            parts.push(part("not collected", self.not_collected_bits));
        }
        parts
    }
}

fn part(name: &str, bits: u64) -> Part {
    Part { name: name.into(), bits }
}

impl Summary {
    /// Does the sums and adds each of them to the promises, once.
    #[must_use]
    pub fn checked(mut self, took: Duration) -> Self {
        self.took_s = took.as_secs_f64();
        if self.sums.is_empty() {
            self.sums = self.books.iter().flat_map(KeyBook::sums).collect();
            self.promises.extend(self.sums.iter().map(Sum::check));
        }
        self
    }

    /// The promises that were broken.
    pub fn broken(&self) -> impl Iterator<Item = &Check> {
        self.promises.iter().filter(|check| !check.kept)
    }
}

/// `1234567` as `1 234 567`, with thin spaces.
pub fn grouped(number: u64) -> String {
    grouped_wide(u128::from(number))
}

fn grouped_wide(number: u128) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() * 2);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('\u{2009}');
        }
        out.push(digit);
    }
    out
}
