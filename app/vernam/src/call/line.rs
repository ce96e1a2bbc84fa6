//! The telephone's line: one engine with its sound, ringers and history. The only place that speaks the engine's API.
//!
//! [`Line::told`] makes what the engine tells into [`CallEvent`]s; [`Line::carry_out`] makes wishes into commands.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::sync::mpsc;
use tokio::time::timeout;
use vernam_audio::CodecSettings;
use vernam_audio::device::{Choice, Ringer};
use vernam_engine::{
    CallProposal, CallRecord, CallStats, Command, Contact, Engine, EngineConfig, Event, KeySource, OpenStocks,
    PhoneEvent, Policy, Question, Tone,
};
use vernam_quic::Endpoint;
use vernam_session::{CallTerms, HangUpReason, Suite};

use super::events::{CallEvent, Terms, Tick};
use super::keys::Wish;
use super::sound::Sound;
use super::tape::Writing;
use super::words;
use crate::complaint::{self, WrongUsage};
use crate::history::{History, PastCall, Quality, now_unix_s};
use crate::stock::home::{ContactPolicy, Profile};

/// How long the engine may take to end every conversation properly.
const ENDING: Duration = Duration::from_secs(8);

/// What a line starts from.
pub(crate) struct Parts {
    /// The socket, with our certificate.
    pub(crate) endpoint: Endpoint,
    /// Where keys come from.
    pub(crate) source: Arc<dyn KeySource>,
    /// Opens a contact's stocks.
    pub(crate) stocks: OpenStocks,
    /// Who may talk to us.
    pub(crate) contacts: BTreeMap<String, Party>,
    /// Mouth and ear.
    pub(crate) sound: Sound,
    /// Where it rings, and where other tones are heard; `None` is nowhere.
    pub(crate) ringers: Option<Ringers>,
    /// Where calls are noted.
    pub(crate) history: Option<History>,
    /// How the voice is coded.
    pub(crate) profile: Profile,
}

/// Somebody who may talk to us.
#[derive(Debug, Clone)]
pub(crate) struct Party {
    /// What may protect calls.
    pub(crate) policy: ContactPolicy,
    /// Bytes of key that are kept ready.
    pub(crate) mark: u64,
}

impl Party {
    /// How the engine is told what may protect a conversation with it. A profile that was named stays; only `auto`
    /// follows the network and the stock of pad.
    pub(crate) fn contact(&self, profile: Profile) -> Contact {
        let (policy, suites) = match self.policy {
            ContactPolicy::OtpOnly => (Policy::OtpOnly, vec![Suite::Otp]),
            ContactPolicy::PreferOtp => (Policy::PreferOtp, Suite::ALL.to_vec()),
            ContactPolicy::Aes => (Policy::Aes, vec![Suite::Aes256Gcm, Suite::ChaCha20Poly1305, Suite::Otp]),
        };
        Contact { suites, outbound_mark: self.mark, policy, adapts: profile == Profile::Auto }
    }
}

/// Where tones are heard.
pub(crate) struct Ringers {
    /// Somebody calls.
    pub(crate) ring: Ringer,
    /// All other tones: at the ear.
    pub(crate) ear: Ringer,
}

impl Ringers {
    fn play(&self, tone: Option<Tone>) {
        let rings = tone == Some(Tone::Ring);
        self.ring.play(tone.filter(|_| rings));
        self.ear.play(tone.filter(|_| !rings));
    }

    /// Rings elsewhere from now on.
    pub(crate) fn choose_ring(&self, choice: Choice) {
        self.ring.choose(choice);
    }

    /// Plays other tones elsewhere from now on.
    pub(crate) fn choose_ear(&self, choice: Choice) {
        self.ear.choose(choice);
    }
}

/// A running telephone line.
pub(crate) struct Line {
    /// Until it has ended.
    engine: Option<Engine>,
    endpoint: Endpoint,
    contacts: BTreeMap<String, Party>,
    pub(crate) sound: Sound,
    pub(crate) ringers: Option<Ringers>,
    history: Option<History>,
    profile: Profile,
    /// Seconds since 1970 when the engine's times began.
    epoch_unix_s: u64,
    /// What each running call is under, and the number of its voice.
    calls: BTreeMap<String, Running>,
    /// Bytes of one-time pad that both sides hold for what we say, by contact.
    usable: BTreeMap<String, u64>,
    /// Contacts with whom no conversation could begin yet for want of key.
    short_of_key: BTreeSet<String>,
}

/// A call that runs or rings.
struct Running {
    terms: CallTerms,
    voice: Option<u64>,
    answered: Option<Instant>,
    /// We hold it: it has neither mouth nor ear.
    held: bool,
}

impl Running {
    fn new(terms: CallTerms, voice: Option<u64>) -> Self {
        Self { terms, voice, answered: None, held: false }
    }
}

impl Line {
    /// Starts the engine.
    pub(crate) fn start(parts: Parts) -> (Self, mpsc::Receiver<Event>) {
        let Parts { endpoint, source, stocks, contacts, sound, ringers, history, profile } = parts;
        let agreed = contacts.iter().map(|(name, party)| (name.clone(), party.contact(profile))).collect();
        let config = EngineConfig {
            endpoint: endpoint.clone(),
            source,
            stocks,
            contacts: agreed,
            files: None,
            epoch: Instant::now(),
        };
        let (engine, events) = Engine::start(config);
        let line = Self {
            engine: Some(engine),
            endpoint,
            contacts,
            sound,
            ringers,
            history,
            profile,
            epoch_unix_s: now_unix_s(),
            calls: BTreeMap::new(),
            usable: BTreeMap::new(),
            short_of_key: BTreeSet::new(),
        };
        (line, events)
    }

    /// Whose line it is, and where it listens.
    pub(crate) fn place(&self) -> anyhow::Result<(String, SocketAddr)> {
        Ok((self.endpoint.name().to_owned(), self.endpoint.local_addr()?))
    }

    async fn command(&self, command: Command) -> anyhow::Result<()> {
        let engine = self.engine.as_ref().context("the telephone is ending")?;
        Ok(engine.command(command).await?)
    }

    /// Dials a contact.
    pub(crate) async fn connect(&self, contact: &str, addr: SocketAddr) -> anyhow::Result<()> {
        self.command(Command::Connect { contact: contact.to_owned(), addr }).await
    }

    /// Bytes of one-time pad that both sides hold for what we say to a contact.
    pub(crate) fn usable(&self, contact: &str) -> u64 {
        self.usable.get(contact).copied().unwrap_or(0)
    }

    /// The suite for calls with a contact when none is asked for.
    ///
    /// # Errors
    /// If the one that is asked for is weaker than the contact's policy allows.
    pub(crate) fn suite_for(&self, contact: &str, asked: Option<Suite>) -> anyhow::Result<Suite> {
        let policy = self.contacts.get(contact).map(|party| party.policy).unwrap_or_default();
        match (policy, asked) {
            (ContactPolicy::OtpOnly, Some(suite)) if suite != Suite::Otp => bail!(WrongUsage::new(format!(
                "the policy for {contact} is otp-only: {} protects less. Change it in home.toml, if that is what you \
                 want",
                words::protected_by(suite)
            ))),
            (_, Some(suite)) => Ok(suite),
            (ContactPolicy::OtpOnly | ContactPolicy::PreferOtp, None) => Ok(Suite::Otp),
            (ContactPolicy::Aes, None) => Ok(Suite::Aes256Gcm),
        }
    }

    /// Whether a call under `suite` may be taken without asking anybody: the contact's policy asks for no more.
    fn takes(&self, contact: &str, suite: Suite) -> bool {
        needs_no_yes(self.contacts.get(contact).map(|party| party.policy).unwrap_or_default(), suite)
    }

    /// Calls a contact that is connected; gives what is to be told.
    pub(crate) async fn call(&mut self, contact: &str, suite: Suite) -> anyhow::Result<CallEvent> {
        let proposal = CallProposal { suite, codec: codec(self.profile, suite) };
        let terms = proposal.terms().context("this profile cannot be used for a call")?;
        let (voice, io) = self.sound.voice();
        self.calls.insert(contact.to_owned(), Running::new(terms, Some(voice)));
        self.command(Command::Call { contact: contact.to_owned(), proposal, io }).await?;
        Ok(CallEvent::Calling { contact: contact.to_owned(), terms: terms.into() })
    }

    /// Begins to record a call, once the contact agrees.
    pub(crate) async fn record(&self, contact: &str, tape: Writing) -> anyhow::Result<()> {
        self.command(Command::Record { contact: contact.to_owned(), tape: Some(Box::new(tape)) }).await
    }

    /// Does what the person wants, as far as the engine is concerned.
    pub(crate) async fn carry_out(&mut self, wish: Wish) -> anyhow::Result<()> {
        let command = match wish {
            Wish::Answer(contact) => {
                let (voice, io) = self.sound.voice();
                if let Some(call) = self.calls.get_mut(&contact) {
                    call.voice = Some(voice);
                }
                Command::Answer { contact, io }
            }
            Wish::Decline(contact) => Command::HangUp { contact, reason: HangUpReason::Declined },
            Wish::HangUp(contact) => Command::HangUp { contact, reason: HangUpReason::HungUp },
            Wish::Hold(contact, on) => Command::Hold { contact, on },
            Wish::Mute(on) => Command::Mute(on),
            Wish::Deafen(on) => Command::Deafen(on),
            Wish::DoNotDisturb(on) => Command::DoNotDisturb(on),
            Wish::Transmit(transmit) => {
                // Whoever talked when push-to-talk was left must not still be talking when it is taken up again.
                self.command(Command::Talk(false)).await?;
                Command::Transmit(transmit)
            }
            Wish::Talk(on) => Command::Talk(on),
            Wish::Protect(contact, suite) => {
                let proposal = self.changed(&contact, suite)?;
                Command::ChangeTerms { contact, proposal }
            }
            Wish::AllowChange(contact, yes) => Command::AnswerChange { contact, yes },
            Wish::GoOnUnderAes(contact) => {
                let proposal = self.changed(&contact, Suite::Aes256Gcm)?;
                Command::ChangeTerms { contact, proposal }
            }
            Wish::AllowRecord(contact, yes) => Command::AnswerRecord { contact, yes },
            Wish::StopRecording(contact) => Command::Record { contact, tape: None },
            // The telephone's own.
            Wish::StandIn(..)
            | Wish::Process
            | Wish::OpenMenu(_)
            | Wish::Choose(..)
            | Wish::Record(_)
            | Wish::EndWithPad(_)
            | Wish::Quit => return Ok(()),
        };
        self.command(command).await
    }

    /// The running call's terms under another suite, with frames of the same length.
    fn changed(&self, contact: &str, suite: Suite) -> anyhow::Result<CallProposal> {
        let now = self.calls.get(contact).context("there is no such call")?.terms;
        let codec = codec(self.profile, suite);
        let same = codec.frame().millis() == u32::from(now.frame_ms);
        let frame = vernam_audio::FrameLength::from_millis(u32::from(now.frame_ms))?;
        Ok(CallProposal { suite, codec: if same { codec } else { codec.with_frame(frame) } })
    }

    fn give_sound_to(&self, contact: &str) {
        if let Some(voice) = self.calls.get(contact).and_then(|call| call.voice) {
            self.sound.give_to(voice);
        }
    }

    /// What the engine told, as the telephone tells it.
    pub(crate) fn told(&mut self, event: Event) -> Vec<CallEvent> {
        match event {
            Event::Connected { contact, key_exchange } => vec![CallEvent::Connected { contact, key_exchange }],
            Event::Established { contact, .. } => {
                self.short_of_key.remove(&contact);
                vec![CallEvent::Confirmed { contact }]
            }
            Event::Words { contact, words } => vec![CallEvent::Words { contact, words: words.to_vec() }],
            Event::Disconnected { contact, why } => vec![CallEvent::Disconnected { contact, why }],
            Event::Call { contact, event } => self.phone(contact, event),
            Event::CallTick { contact, stats } => vec![CallEvent::Tick(Box::new(tick(contact, &stats)))],
            Event::CallRecord { record, stats } => self.note(&record, stats.as_deref()),
            Event::Tone(tone) => {
                if let Some(ringers) = &self.ringers {
                    ringers.play(tone);
                }
                Vec::new()
            }
            Event::Stock { contact, usable, .. } => {
                self.usable.insert(contact, usable);
                Vec::new()
            }
            Event::WaitingForKey { contact, why, at_most } => {
                self.short_of_key.insert(contact.clone());
                let seconds = at_most.as_secs();
                let text =
                    format!("there is too little key to begin with ({why}); waiting for more, up to {seconds} s");
                vec![CallEvent::Warning { contact: Some(contact), text }]
            }
            Event::Warning { contact, text } => vec![CallEvent::Warning { contact: Some(contact), text }],
            _ => Vec::new(),
        }
    }

    fn phone(&mut self, contact: String, event: PhoneEvent) -> Vec<CallEvent> {
        vec![match event {
            PhoneEvent::Incoming { terms, waiting } => {
                // Who calls at the same moment has a voice for it already.
                let voice = self.calls.remove(&contact).and_then(|call| call.voice);
                self.calls.insert(contact.clone(), Running::new(terms, voice));
                let weaker = !self.takes(&contact, terms.suite);
                CallEvent::Incoming { contact, terms: terms.into(), waiting, weaker }
            }
            PhoneEvent::Ringing => CallEvent::Ringing { contact },
            PhoneEvent::Answered { terms } => {
                self.agree(&contact, terms);
                // A held call that comes back after a lost connection is still held.
                if self.calls.get(&contact).is_some_and(|call| !call.held) {
                    self.give_sound_to(&contact);
                }
                CallEvent::Answered { contact, terms: terms.into() }
            }
            PhoneEvent::Changed { terms } => {
                self.agree(&contact, terms);
                CallEvent::Changed { contact, terms: terms.into() }
            }
            PhoneEvent::ChangeAsked { terms } => CallEvent::ChangeAsked { contact, terms: Terms::from(terms) },
            PhoneEvent::ChangeDeclined => CallEvent::ChangeDeclined { contact },
            PhoneEvent::TalkLeft { seconds } => CallEvent::TalkLeft { contact, left_s: seconds },
            PhoneEvent::WeakerWanted => CallEvent::WeakerWanted { contact },
            PhoneEvent::HeldHere { on } => {
                if let Some(call) = self.calls.get_mut(&contact) {
                    call.held = on;
                }
                if !on {
                    self.give_sound_to(&contact);
                }
                CallEvent::Held { contact, on }
            }
            PhoneEvent::Lapsed { question } => {
                let question = match question {
                    Question::Change => "change",
                    Question::Weaker => "weaker",
                    Question::Record => "record",
                };
                CallEvent::Lapsed { contact, question: question.to_owned() }
            }
            PhoneEvent::Held { on } => CallEvent::HeldByContact { contact, on },
            PhoneEvent::Muted { on } => CallEvent::MutedByContact { contact, on },
            PhoneEvent::RecordAsked => CallEvent::RecordAsked { contact },
            PhoneEvent::Recorded { ours: true, on } => CallEvent::Recording { contact, on },
            PhoneEvent::Recorded { ours: false, on } => CallEvent::RecordingByContact { contact, on },
            PhoneEvent::RecordDeclined => CallEvent::RecordDeclined { contact },
            PhoneEvent::Reconnecting => CallEvent::Reconnecting { contact },
            PhoneEvent::Ended { reason, by_contact, ours, carried } => {
                let answered = self.calls.remove(&contact).and_then(|call| call.answered);
                // Another call that is on is heard again only once the person goes on with it.
                let lasted_s = answered.map(|since| seconds(since.elapsed()));
                let (sent, received) = (carried.map(|carried| carried.sent), carried.map(|carried| carried.received));
                CallEvent::Ended { contact, reason, ours, by_contact, lasted_s, sent, received }
            }
            PhoneEvent::Refused { why } => CallEvent::Refused { contact, why },
            _ => return Vec::new(),
        }]
    }

    fn agree(&mut self, contact: &str, terms: CallTerms) {
        if let Some(call) = self.calls.get_mut(contact) {
            call.terms = terms;
            call.answered.get_or_insert_with(Instant::now);
        }
    }

    /// Writes a call of ours into the history that could not be made; gives what is to be told if that fails.
    pub(crate) fn note_unmade(&self, contact: &str, why: &'static str) -> Option<CallEvent> {
        let call = PastCall {
            contact: contact.to_owned(),
            ours: true,
            began_unix_s: now_unix_s(),
            lasted_s: None,
            reason: why.to_owned(),
            by_contact: false,
            suites: Vec::new(),
            resumed: 0,
            quality: None,
        };
        let error = self.history.as_ref()?.add(call).err()?;
        Some(CallEvent::Warning { contact: Some(contact.to_owned()), text: format!("{error:#}") })
    }

    /// Why a contact with whom no conversation stands could not be called, for the history.
    pub(crate) fn why_unreached(&self, contact: &str) -> &'static str {
        if self.short_of_key.contains(contact) { words::NO_KEY } else { words::NOT_REACHED }
    }

    /// Declines a call that protects less than the contact's policy asks for: nobody is there to say yes.
    pub(crate) async fn decline_weaker(&self, contact: String) -> anyhow::Result<()> {
        self.command(Command::HangUp { contact, reason: HangUpReason::Weaker }).await
    }

    /// Writes a call into the history.
    fn note(&self, record: &CallRecord, stats: Option<&CallStats>) -> Vec<CallEvent> {
        let Some(history) = &self.history else { return Vec::new() };
        let call = PastCall {
            contact: record.contact.clone(),
            ours: record.ours,
            began_unix_s: self.epoch_unix_s + record.began.as_secs(),
            lasted_s: record.answered.map(|since| seconds(record.ended.saturating_sub(since))),
            reason: words::reason_name(record.reason).to_owned(),
            by_contact: record.by_contact,
            suites: record.suites.iter().copied().map(PastCall::suite_name).collect(),
            resumed: record.resumed,
            quality: stats.map(quality),
        };
        match history.add(call) {
            Ok(()) => Vec::new(),
            Err(error) => {
                vec![CallEvent::Warning { contact: Some(record.contact.clone()), text: complaint::said(&error) }]
            }
        }
    }

    /// Ends every call and conversation properly; gives what is told meanwhile.
    pub(crate) async fn end(mut self, mut events: mpsc::Receiver<Event>) -> Vec<CallEvent> {
        let Some(engine) = self.engine.take() else { return Vec::new() };
        let mut told = Vec::new();
        // A contact that does not answer any more is not waited for.
        let ending = timeout(ENDING, engine.shut_down());
        tokio::pin!(ending);
        loop {
            // What is told is read, or the engine would wait; the history of the last calls is in it.
            tokio::select! {
                biased;
                Some(event) = events.recv() => told.extend(self.told(event)),
                _in_time = &mut ending => break,
            }
        }
        while let Ok(event) = events.try_recv() {
            told.extend(self.told(event));
        }
        told
    }
}

/// Whether a call under `suite` is what this policy asks for, so that no person has to say yes to less.
fn needs_no_yes(policy: ContactPolicy, suite: Suite) -> bool {
    suite == Suite::Otp || policy == ContactPolicy::Aes
}

/// How the voice is coded under a suite.
fn codec(profile: Profile, suite: Suite) -> CodecSettings {
    match (profile, suite) {
        (Profile::OneTimePad, _) | (Profile::Auto, Suite::Otp) => CodecSettings::one_time_pad(),
        (Profile::LowDelay, _) => CodecSettings::low_delay(),
        (Profile::HardNetwork, _) => CodecSettings::hard_network(),
        (Profile::Standard | Profile::Auto, _) => CodecSettings::standard(),
    }
}

fn seconds(time: Duration) -> f64 {
    // To the millisecond; more is noise.
    (time.as_secs_f64() * 1_000.0).round() / 1_000.0
}

fn milliseconds(time: Duration) -> f64 {
    // To the tenth; more is noise.
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

fn tick(contact: String, stats: &CallStats) -> Tick {
    Tick {
        contact,
        lasted_s: seconds(stats.lasted),
        terms: stats.terms.into(),
        sent_under: stats.sent_under,
        received_under: stats.received_under,
        sent: stats.sent,
        received: stats.received,
        lost: stats.missing,
        rejected: stats.refused.values().sum(),
        recovered: stats.playout.recovered,
        concealed: stats.playout.concealed,
        lost_percent: (stats.lost_percent * 10.0).round() / 10.0,
        lost_at_contact_percent: stats.lost_at_contact_percent,
        delay_ms: milliseconds(stats.delay),
        round_trip_ms: milliseconds(stats.round_trip),
        jitter_ms: milliseconds(stats.jitter),
        buffer_ms: milliseconds(stats.buffered),
        key_left_s: stats.key_left.map(|left| left.as_secs()),
        key_used_bytes: stats.key_outbound,
        sending: stats.sending,
        said_dbfs: (stats.said_dbfs * 10.0).round() / 10.0,
        heard_dbfs: (stats.heard_dbfs * 10.0).round() / 10.0,
    }
}

fn quality(stats: &CallStats) -> Quality {
    Quality {
        received: stats.received,
        lost: stats.missing,
        recovered: stats.playout.recovered,
        concealed: stats.playout.concealed,
        delay_ms: milliseconds(stats.delay),
        jitter_ms: milliseconds(stats.jitter),
        key_used_bytes: stats.key_outbound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_nobody_there_only_what_the_policy_asks_for_is_taken() {
        for policy in [ContactPolicy::OtpOnly, ContactPolicy::PreferOtp, ContactPolicy::Aes] {
            assert!(needs_no_yes(policy, Suite::Otp), "{policy:?}");
            for suite in [Suite::Aes256Gcm, Suite::ChaCha20Poly1305] {
                assert_eq!(needs_no_yes(policy, suite), policy == ContactPolicy::Aes, "{policy:?}, {suite:?}");
            }
        }
    }
}
