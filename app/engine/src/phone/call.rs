//! One call as the telephone keeps it: what is known of it, what the person sees of it, and what it waits for.

use std::time::Duration;

use vernam_session::{CallTerms, HangUpReason, Suite};

use super::limits::{ASK_FOR, GRACE, MAX_SUITES};
use super::recording::{Consent, Recorder};
use super::types::{CallRecord, CallState, CallView, PhoneSettings};

/// How far a call has come, wherever its connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// We called, and have heard nothing yet.
    Calling,
    /// It rings at the contact's.
    Ringing,
    /// It rings here.
    Incoming,
    /// Both took it.
    Talking,
}

/// Other terms that somebody asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ask {
    /// The number of the new voice flows.
    pub(super) new: u32,
    pub(super) terms: CallTerms,
    pub(super) at: Duration,
}

/// What a call waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Somebody to take it.
    Answer,
    /// The connection, or the contact in a new conversation.
    Resume,
    /// The person's word about weaker terms.
    Question,
    /// The contact's word about weaker terms, with no pad left to talk meanwhile.
    Dry,
}

/// One call with one contact.
#[expect(clippy::struct_excessive_bools, reason = "independent things that are so or not")]
pub(super) struct Call {
    /// Whether the contact knows the call by a [`Ring`](vernam_session::Message::Ring) of ours.
    pub(super) ours: bool,
    /// The number in the conversation as it was when it was given; see [`Self::is_numbered`].
    pub(super) number: u32,
    /// The number before the last change of terms: the contact uses it until it hears that we agreed.
    pub(super) number_before: Option<u32>,
    /// Our own call's number, given up for the contact's when both rang.
    pub(super) absorbed: Option<u32>,
    pub(super) terms: CallTerms,
    /// What we had asked for when the connection was lost, or in resuming the call.
    pub(super) resume_terms: Option<CallTerms>,
    pub(super) phase: Phase,
    pub(super) began: Duration,
    pub(super) answered: Option<Duration>,
    /// Since when the connection is away, until the call goes on.
    pub(super) away: Option<Duration>,
    /// The conversation is another than the one the call was in, and until then the two sides may find each other.
    pub(super) rejoin_by: Option<Duration>,
    pub(super) held: bool,
    pub(super) held_by_contact: bool,
    pub(super) muted_by_contact: bool,
    /// What was last said about sending and hearing, while sound flows.
    pub(super) sound: (bool, bool),
    /// Terms that we asked for.
    pub(super) asked: Option<Ask>,
    /// Terms that the contact asked for and the person has to decide on.
    pub(super) question: Option<Ask>,
    /// No pad is left, and somebody already said yes to going on without.
    pub(super) dry: bool,
    /// The shortest time of talk announced, seconds.
    pub(super) warned: u64,
    /// Whether the person was asked for weaker terms, since they last changed or the connection last went away.
    pub(super) weaker_wanted: bool,
    /// Whether that was neither answered nor has lapsed.
    pub(super) weaker_open: bool,
    pub(super) recorder: Recorder,
    pub(super) consent: Consent,
    pub(super) suites: Vec<Suite>,
    pub(super) resumed: u32,
}

impl Call {
    pub(super) fn new(ours: bool, number: u32, terms: CallTerms, phase: Phase, began: Duration) -> Self {
        Self {
            ours,
            number,
            number_before: None,
            absorbed: None,
            terms,
            resume_terms: None,
            phase,
            began,
            answered: None,
            away: None,
            rejoin_by: None,
            held: false,
            held_by_contact: false,
            muted_by_contact: false,
            sound: (false, false),
            asked: None,
            question: None,
            dry: false,
            warned: u64::MAX,
            weaker_wanted: false,
            weaker_open: false,
            recorder: Recorder::default(),
            consent: Consent::default(),
            suites: Vec::new(),
            resumed: 0,
        }
    }

    /// Whether sound flows.
    pub(super) fn flows(&self) -> bool {
        self.phase == Phase::Talking && self.away.is_none()
    }

    /// Whether it is, or will be as soon as the connection is back, the one that is heard.
    pub(super) fn is_heard(&self) -> bool {
        self.phase == Phase::Talking && !self.held
    }

    /// Whether its number means anything in the conversation as it is now. One that the contact began has none in a new
    /// conversation until the contact gives it one.
    pub(super) fn is_numbered(&self) -> bool {
        self.rejoin_by.is_none() || self.ours
    }

    /// Whether a message about `number` is about this call, and one that may be told of it before it goes on.
    pub(super) fn is(&self, number: u32) -> bool {
        (self.number == number || self.number_before == Some(number)) && self.is_numbered()
    }

    /// Under which suite it goes from now on.
    pub(super) fn note_suite(&mut self) {
        let suite = self.terms.suite;
        if self.suites.last() != Some(&suite) && self.suites.len() < MAX_SUITES {
            self.suites.push(suite);
        }
    }

    /// What it waits for first, and until when.
    pub(super) fn due(&self, up: bool, settings: &PhoneSettings) -> Option<(Duration, Due)> {
        let answer = match self.phase {
            Phase::Calling | Phase::Ringing => Some(self.began + settings.ring_for),
            Phase::Incoming => Some(self.began + settings.ring_for + GRACE),
            Phase::Talking => None,
        };
        let resume = match (self.away, self.rejoin_by) {
            (Some(_), Some(by)) if up => Some(by),
            (Some(since), _) => Some(since + settings.reconnect_for),
            (None, _) => None,
        };
        let dry = self.asked.filter(|_| self.dry).map(|asked| asked.at + ASK_FOR + GRACE);
        let all = [
            (answer, Due::Answer),
            (resume, Due::Resume),
            (self.question.map(|question| question.at + ASK_FOR), Due::Question),
            (dry, Due::Dry),
        ];
        all.into_iter().filter_map(|(at, due)| Some((at?, due))).min_by_key(|(at, _)| *at)
    }

    pub(super) fn view(&self, contact: &str) -> CallView {
        let state = match self.phase {
            _ if self.away.is_some() => CallState::Reconnecting,
            Phase::Calling => CallState::Calling,
            Phase::Ringing => CallState::Ringing,
            Phase::Incoming => CallState::Incoming,
            Phase::Talking if self.held => CallState::Held,
            Phase::Talking => CallState::Active,
        };
        CallView {
            contact: contact.to_owned(),
            call: self.number,
            state,
            ours: self.ours,
            terms: self.terms,
            answered: self.answered,
            held_by_contact: self.held_by_contact,
            muted_by_contact: self.muted_by_contact,
            recording: self.recorder.on,
            recorded_by_contact: self.consent.given,
        }
    }

    pub(super) fn record(self, contact: &str, ended: Duration, reason: HangUpReason, by_contact: bool) -> CallRecord {
        CallRecord {
            contact: contact.to_owned(),
            ours: self.ours,
            began: self.began,
            answered: self.answered,
            ended,
            reason,
            by_contact,
            suites: self.suites,
            resumed: self.resumed,
        }
    }
}
