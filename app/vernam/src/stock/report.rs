//! What is in stock for each contact, how long it lasts, and what was spent: as text and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;
use vernam_audio::CodecSettings;
use vernam_engine::KeySource as _;
use vernam_engine::limits::VOICE_BLOCK_PACKETS;
use vernam_key::{Inbound, Outbound};
use vernam_session::limits::{HASH_KEY_LEN, VOICE_OTP_TAG_LEN};
use vernam_store::{Stock, Store};

use super::home::HomeConfig;

/// Codec rates shown, bit/s.
pub const RATES: [u32; 5] = [6_000, 12_000, 16_000, 24_000, 32_000];

/// All contacts, or the one that was asked for.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What the person must be told of the stocks.
    pub notices: Vec<String>,
    /// By name.
    pub contacts: Vec<ContactReport>,
}

/// One contact.
#[derive(Debug, Serialize)]
pub struct ContactReport {
    /// Its name.
    pub contact: String,
    /// Key for what goes to the contact.
    pub outbound: Way,
    /// Key for what comes from the contact.
    pub inbound: Way,
    /// Minutes of talk under one-time pad that are left, by codec rate; both directions are needed to talk.
    pub talk: Vec<Talk>,
    /// The quantum link, where a KME tells of it.
    pub link: Option<LinkReport>,
}

/// One direction.
#[derive(Debug, Default, Serialize)]
pub struct Way {
    /// Bytes in stock.
    pub stock_bytes: u64,
    /// Bytes of these that the contact is known to have too.
    pub matched_bytes: u64,
    /// Bytes left in pads carried by hand.
    pub pad_bytes: u64,
    /// Bytes given up: skipped, discarded, not readable.
    pub forfeited_bytes: u64,
    /// Bytes spent, by flow.
    pub spent_bytes: SpentBytes,
}

/// Bytes spent on each flow.
#[derive(Debug, Default, Serialize)]
#[expect(missing_docs, reason = "the flows of the protocol")]
pub struct SpentBytes {
    pub control: u64,
    pub voice: u64,
    pub file: u64,
    pub text: u64,
    pub other: u64,
}

/// How long the key lasts at one codec rate.
#[derive(Debug, Serialize)]
pub struct Talk {
    /// The codec's rate, bit/s.
    pub rate_bps: u32,
    /// Minutes that we can be heard.
    pub outbound_minutes: f64,
    /// Minutes that the contact can be heard.
    pub inbound_minutes: f64,
}

/// What a KME says of the link to a contact.
#[derive(Debug, Serialize)]
pub struct LinkReport {
    /// Bytes in the KME's pool.
    pub pool_bytes: Option<u64>,
    /// Secret key rate, bit/s.
    pub rate_bps: Option<f64>,
    /// Share of wrong bits.
    pub qber: Option<f64>,
    /// Why the KME tells nothing.
    pub refusal: Option<String>,
}

impl Report {
    /// Looks at the stocks of `only`, or of all.
    ///
    /// # Errors
    /// If a stock cannot be opened.
    pub fn of(store: &Store, only: Option<&str>) -> anyhow::Result<Self> {
        let mut names = store.contacts()?;
        names.extend(store.pads()?.into_iter().map(|pad| pad.contact));
        names.sort();
        names.dedup();
        names.retain(|name| only.is_none_or(|only| only == name));
        if let (Some(only), true) = (only, names.is_empty()) {
            anyhow::bail!(
                "there is no key for a contact \u{201c}{only}\u{201d}; run `vernam keys` to see whom there is"
            );
        }
        let contacts = names.into_iter().map(|name| ContactReport::of(store, name)).collect::<Result<_, _>>()?;
        let notices = store.notices().iter().map(ToString::to_string).collect();
        Ok(Self { notices, contacts })
    }

    /// Adds what the KME says, if there is one.
    pub fn ask_kme(&mut self, config: &HomeConfig) {
        let Some(kme) = &config.kme else { return };
        let refused = |why: String| LinkReport { pool_bytes: None, rate_bps: None, qber: None, refusal: Some(why) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let ready = kme.client().and_then(|client| Ok((client, runtime?)));
        for contact in &mut self.contacts {
            let link = match &ready {
                Ok((client, runtime)) => match runtime.block_on(client.room(&contact.contact)) {
                    Ok(room) => LinkReport {
                        pool_bytes: Some(room.available),
                        rate_bps: room.link.as_ref().map(|link| link.rate_bps),
                        qber: room.link.as_ref().map(|link| link.qber),
                        refusal: None,
                    },
                    Err(error) => refused(error.to_string()),
                },
                Err(error) => refused(format!("{error:#}")),
            };
            contact.link = Some(link);
        }
    }

    /// For programs.
    ///
    /// # Errors
    /// None that is known: the numbers are finite.
    pub fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for notice in &self.notices {
            text.extend(["note: ", notice, "\n\n"]);
        }
        if self.contacts.is_empty() {
            text += "No key is in stock, for nobody.\n";
        }
        let parts: Vec<String> = self.contacts.iter().map(ContactReport::text).collect();
        text + &parts.join("\n")
    }
}

impl ContactReport {
    fn of(store: &Store, contact: String) -> anyhow::Result<Self> {
        let mut outbound = Way::default();
        let mut inbound = Way::default();
        if store.holds::<Outbound>(&contact)? {
            outbound.look_at(&store.outbound(&contact)?);
        }
        if store.holds::<Inbound>(&contact)? {
            inbound.look_at(&store.inbound(&contact)?);
        }
        (outbound.pad_bytes, inbound.pad_bytes) = store.pad_stock(&contact)?.left();
        let talk = RATES
            .iter()
            .map(|rate| Talk {
                rate_bps: *rate,
                outbound_minutes: minutes(outbound.all(), *rate),
                inbound_minutes: minutes(inbound.all(), *rate),
            })
            .collect();
        Ok(Self { contact, outbound, inbound, talk, link: None })
    }

    fn text(&self) -> String {
        let ways = [("to", &self.outbound), ("from", &self.inbound)];
        let mut text = format!("{}\n", self.contact);
        let mut say = |line: String| writeln!(text, "  {}", line.trim_end()).expect("a String takes everything");
        say(format!("{:<14}{:>14}{:>14}{:>14}{:>14}", "key, bytes", "in stock", "matched", "in pads", "given up"));
        for (way, of) in ways {
            let numbers = [of.stock_bytes, of.matched_bytes, of.pad_bytes, of.forfeited_bytes].map(grouped);
            say(numbers.iter().fold(format!("{way:<14}"), |line, number| line + &format!("{number:>14}")));
        }
        let rates = self.talk.iter().map(|talk| format!("{:>11}", format!("{} kb/s", talk.rate_bps / 1_000)));
        say(format!("{:<14}{}", "talk left at", rates.collect::<String>()));
        for (way, minutes) in
            [("to", (|talk| talk.outbound_minutes) as fn(&Talk) -> f64), ("from", |talk| talk.inbound_minutes)]
        {
            let minutes = self.talk.iter().map(|talk| format!("{:>11}", lasting(minutes(talk))));
            say(format!("{way:<14}{}", minutes.collect::<String>()));
        }
        say(format!("{:<14}{:>14}{:>14}{:>14}{:>14}", "spent, bytes", "control", "voice", "files", "texts"));
        for (way, of) in ways {
            let SpentBytes { control, voice, file, text, .. } = of.spent_bytes;
            let numbers = [control, voice, file, text].map(grouped);
            say(numbers.iter().fold(format!("{way:<14}"), |line, number| line + &format!("{number:>14}")));
        }
        match &self.link {
            None => {}
            Some(LinkReport { refusal: Some(why), .. }) => say(format!("the KME says  {why}")),
            Some(LinkReport { pool_bytes, rate_bps, qber, .. }) => {
                let pool = pool_bytes.map(|bytes| format!("{} bytes in its pool", grouped(bytes)));
                let rate = rate_bps.map(|rate| format!("{rate:.0} bit/s of new key"));
                let qber = qber.map(|qber| format!("{:.2} % of the bits wrong", qber * 100.0));
                let all: Vec<String> = [pool, rate, qber].into_iter().flatten().collect();
                say(format!("the KME says  {}", all.join(", ")));
            }
        }
        text
    }
}

impl Way {
    fn look_at<D: vernam_key::Direction>(&mut self, stock: &impl Stock<D>) {
        let (status, spent) = (stock.status(), stock.spent());
        self.stock_bytes = status.available;
        self.matched_bytes = stock.matched().saturating_sub(status.cursor).min(status.available);
        self.forfeited_bytes = status.forfeited;
        self.spent_bytes = SpentBytes {
            control: spent.control,
            voice: spent.voice,
            file: spent.file,
            text: spent.text,
            other: spent.other,
        };
    }

    fn all(&self) -> u64 {
        self.stock_bytes + self.pad_bytes
    }
}

/// How long `bytes` of key last one direction of a call: each packet of 20 ms takes its own length and a tag, each
/// block of packets a hash key (`transport/PROTOCOL.md`, section 7.1).
pub fn minutes(bytes: u64, rate_bps: u32) -> f64 {
    let codec = CodecSettings::one_time_pad();
    let codec = codec.with_bit_rate(rate_bps).unwrap_or(codec);
    let block = (codec.packet_len() + VOICE_OTP_TAG_LEN) * VOICE_BLOCK_PACKETS + HASH_KEY_LEN;
    let frame = Duration::from_millis(u64::from(codec.frame().millis()));
    let blocks = bytes / block as u64;
    let rest =
        (bytes % block as u64).saturating_sub(HASH_KEY_LEN as u64) / (codec.packet_len() + VOICE_OTP_TAG_LEN) as u64;
    let packets = blocks * VOICE_BLOCK_PACKETS as u64 + rest;
    let millis = packets.saturating_mul(u64::try_from(frame.as_millis()).unwrap_or(u64::MAX));
    Duration::from_millis(millis).as_secs_f64() / 60.0
}

fn lasting(minutes: f64) -> String {
    match minutes {
        few if few < 1.0 => format!("{:.0} s", (few * 60.0).floor()),
        some if some < 120.0 => format!("{:.1} min", (some * 10.0).floor() / 10.0),
        many => format!("{:.1} h", (many / 6.0).floor() / 10.0),
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
