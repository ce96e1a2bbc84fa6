//! The run as plain lines: one readable line for each event worth reading, and a line of progress every five seconds.

use std::time::Duration;

use super::{
    events::{DemoEvent, FileState, Kme, KmeState, Person, Stamped, TextState, Words},
    model::{Model, Mood},
};

/// How often a line of progress is written while people talk.
pub const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// Turns events into lines.
#[derive(Debug, Default)]
pub struct Plain {
    model: Model,
    progress_at: Duration,
}

impl Plain {
    /// The lines, without line ends, for one event; often none.
    pub fn lines(&mut self, stamped: &Stamped) -> Vec<String> {
        let line = |text: &str| format!("{:>6}  {text}", clock(stamped.at));
        let told = self.model.apply(stamped).map(|told| line(&format!("{}{}", mark(told.mood), told.text)));
        let mut lines: Vec<String> = told.into_iter().collect();
        if self.model.talking().is_none() {
            self.progress_at = stamped.at;
        } else if stamped.at.saturating_sub(self.progress_at) >= PROGRESS_EVERY {
            self.progress_at = stamped.at;
            lines.extend(self.progress().map(|text| line(&text)));
        }
        lines
    }

    fn progress(&self) -> Option<String> {
        let call = self.model.talking()?;
        let tick = self.model.person(Person::Bob).tick?;
        let left =
            self.model.person(Person::Alice).send.map(|level| format!(", {} of talk left", spoken(level.talk_s)));
        let qber = self.model.link.qber.last().map(|qber| format!(", QBER {:.1} %", qber * 100.0));
        Some(format!(
            "  talking {} under {}: delay {:.0} ms (p95 {:.0}), {} packets, {} lost, {} concealed{}{}",
            minutes(tick.time_s),
            call.suite.title(),
            tick.delay_p50_ms,
            tick.delay_p95_ms,
            tick.received,
            tick.lost,
            tick.concealed,
            left.unwrap_or_default(),
            qber.unwrap_or_default(),
        ))
    }
}

/// Finds what is worth a line: an event that repeats is worth one only when it brings something new.
#[derive(Debug, Clone, Default)]
pub struct Narrator {
    kmes: [Option<KmeState>; 2],
    file_quarter: u64,
    discarded: u64,
}

impl Narrator {
    /// The sentence for an event, and how to take it.
    pub fn tell(&mut self, event: &DemoEvent) -> Option<(Mood, String)> {
        match event {
            DemoEvent::KmeStatus { kme, state, reason, .. } => {
                let known = self.kmes[kme.index()].replace(*state);
                if known == Some(*state) {
                    return None;
                }
                kme_sentence(*kme, known, *state, reason.as_ref().map(Words::as_str))
            }
            DemoEvent::File(file) if file.state == FileState::Moving => {
                let quarter = file.done_bytes.saturating_mul(4) / file.total_bytes.max(1);
                if quarter == 0 || quarter == self.file_quarter {
                    return None;
                }
                self.file_quarter = quarter;
                let (done, total) = (bytes(file.done_bytes), bytes(file.total_bytes));
                Some((Mood::Plain, format!("file {}: {done} of {total}", file.name)))
            }
            DemoEvent::BlockDiscarded { .. } => {
                self.discarded += 1;
                if self.discarded == 1 { sentence(event) } else { None }
            }
            DemoEvent::LinkBlock(_) => match std::mem::take(&mut self.discarded) {
                0 => None,
                1 => Some((Mood::Good, "the link makes key again, after 1 discarded block".to_owned())),
                many => Some((Mood::Good, format!("the link makes key again, after {many} discarded blocks"))),
            },
            event => sentence(event),
        }
    }
}

fn kme_sentence(kme: Kme, known: Option<KmeState>, state: KmeState, reason: Option<&str>) -> Option<(Mood, String)> {
    let because = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    match state {
        KmeState::Starting => None,
        KmeState::Delivering if known == Some(KmeState::Refusing) => {
            Some((Mood::Good, format!("{kme} delivers key again")))
        }
        KmeState::Delivering => Some((Mood::Good, format!("{kme} delivers key"))),
        KmeState::Refusing => Some((Mood::Bad, format!("{kme} delivers no key{because}"))),
        KmeState::Stopped => Some((Mood::Plain, format!("{kme} stopped"))),
    }
}

/// The sentence that an event is worth by itself. `None` for what repeats.
fn sentence(event: &DemoEvent) -> Option<(Mood, String)> {
    let (mood, text) = match event {
        DemoEvent::Started(plan) => (
            Mood::Plain,
            format!(
                "{} km of fibre and {} dB of connectors, device {}, Opus at {} kb/s, seed {}",
                plan.length_km,
                plan.extra_loss_db,
                plan.device,
                f64::from(plan.bit_rate_bps) / 1000.0,
                plan.seed
            ),
        ),
        DemoEvent::CertificatesMade { certificates } => {
            (Mood::Plain, format!("made a throwaway network CA and {certificates} certificates"))
        }
        DemoEvent::KmeUp { kme, port } => (Mood::Plain, format!("{kme} listens on 127.0.0.1:{port} (ETSI GS QKD 014)")),
        DemoEvent::RunAhead { hours, of_hours, key_bits, .. } if hours >= of_hours => (
            Mood::Plain,
            format!(
                "ran the link ahead {} in virtual time by the fast model: {} of key; from here on, photon by photon",
                virtual_hours(*hours),
                bytes(key_bits / 8)
            ),
        ),
        DemoEvent::Connected { key_exchange, cipher } => {
            (Mood::Good, format!("connected over QUIC: {key_exchange}, {cipher}"))
        }
        DemoEvent::KeysConfirmed { who } => {
            (Mood::Good, format!("{who} has confirmed that {} holds the same quantum key", who.other()))
        }
        DemoEvent::ActBegan { act } => (Mood::Plain, format!("act: {}", act.title())),
        DemoEvent::Ringing { call, caller, suite } => {
            (Mood::Plain, format!("call {call}: {caller} calls {} with {}", caller.other(), suite.title()))
        }
        DemoEvent::Answered { call, suite } => {
            (Mood::Good, format!("call {call}: answered; {}", suite.in_plain_words()))
        }
        DemoEvent::CallEnded { call, reason, lasted_s } => {
            (Mood::Plain, format!("call {call}: over after {}; {reason}", minutes(*lasted_s)))
        }
        DemoEvent::BlockDiscarded { block, reason, .. } => (Mood::Bad, format!("block {block} discarded: {reason}")),
        DemoEvent::File(file) => match file.state {
            FileState::Offered => {
                (Mood::Plain, format!("{} offers the file {}, {}", file.from, file.name, bytes(file.total_bytes)))
            }
            FileState::Moving => return None,
            FileState::Done => {
                let rate = super::throughput(file.total_bytes, file.elapsed_s);
                (Mood::Good, format!("file {} is whole and verified, {rate:.1} MB/s", file.name))
            }
            FileState::Failed => (Mood::Bad, format!("the file {} did not arrive", file.name)),
        },
        DemoEvent::Text { from, state, text, .. } => match state {
            TextState::Sent => (Mood::Plain, format!("{from} writes: \u{201c}{text}\u{201d}")),
            TextState::Delivered => (Mood::Good, format!("{from}'s message is delivered")),
            TextState::Read => (Mood::Good, format!("{} has read it", from.other())),
        },
        DemoEvent::Warning { who, text } => match who {
            Some(who) => (Mood::Warn, format!("{who} is told: {text}")),
            None => (Mood::Warn, text.to_string()),
        },
        DemoEvent::Eavesdropper { on: true, share } => {
            (Mood::Warn, format!("an eavesdropper measures {:.0} % of the photons on the link", share * 100.0))
        }
        DemoEvent::Eavesdropper { on: false, .. } => (Mood::Good, "the eavesdropper is gone".to_owned()),
        DemoEvent::Check(check) if check.kept => (Mood::Good, format!("kept: {} ({})", check.promise, check.detail)),
        DemoEvent::Check(check) => (Mood::Bad, format!("BROKEN: {} ({})", check.promise, check.detail)),
        _ => return None,
    };
    Some((mood, text))
}

/// The mark before a line, for eyes without colour.
pub fn mark(mood: Mood) -> &'static str {
    match mood {
        Mood::Plain => "  ",
        Mood::Good => "\u{2713} ",
        Mood::Warn => "! ",
        Mood::Bad => "\u{2717} ",
    }
}

/// Time since the start, `1:05.2`.
pub fn clock(at: Duration) -> String {
    let tenths = at.as_millis() / 100;
    format!("{}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
}

/// Seconds as `1:05`.
pub fn minutes(seconds: f64) -> String {
    let whole = whole(seconds);
    format!("{}:{:02}", whole / 60, whole % 60)
}

/// Seconds in words of two units at most: `38 s`, `12 min`, `2 h 05 min`.
pub fn spoken(seconds: f64) -> String {
    match whole(seconds) {
        s @ 0..=99 => format!("{s} s"),
        s @ 100..=5_999 => format!("{} min", s / 60),
        s => format!("{} h {:02} min", s / 3600, s / 60 % 60),
    }
}

/// Bytes in decimal units.
#[expect(clippy::cast_precision_loss, reason = "a size for people")]
pub fn bytes(count: u64) -> String {
    let count = count as f64;
    if count < 1e3 {
        format!("{count:.0} B")
    } else if count < 1e6 {
        format!("{:.1} kB", count / 1e3)
    } else {
        format!("{:.1} MB", count / 1e6)
    }
}

fn virtual_hours(hours: f64) -> String {
    if hours < 1.0 { format!("{:.0} minutes", hours * 60.0) } else { format!("{hours:.1} hours") }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to what u64 holds exactly")]
fn whole(seconds: f64) -> u64 {
    if seconds.is_nan() { 0 } else { seconds.clamp(0.0, 1e12) as u64 }
}
