//! What a telephone is told, and what it says.

use std::time::Duration;

/// A sound that tells the person something. A telephone plays every kind but [`Recording`](Tone::Recording), which
/// is mixed into the call itself.
pub use vernam_audio::tone::ToneKind as Tone;
use vernam_session::{CallTerms, HangUpReason, Message, Suite};

/// What may protect a contact's calls, as its person chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Policy {
    /// One-time pad and nothing less: a call ends when the pad does.
    OtpOnly,
    /// One-time pad while there is some; anything less only after the person said yes, each time.
    #[default]
    PreferOtp,
    /// A fresh AES key a minute; one-time pad when the person asks for it.
    Aes,
}

/// How a telephone behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PhoneSettings {
    /// Our own name, as contacts know it. Where both sides want something at once, the side with the smaller name wins.
    pub name: String,
    /// How long a caller waits for an answer.
    pub ring_for: Duration,
    /// How long a call waits for a lost connection.
    pub reconnect_for: Duration,
    /// Calls at once, the one that is heard, held and ringing ones together.
    pub max_calls: usize,
}

/// When the microphone's sound is sent; silence is sent at the same pace otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Transmit {
    /// Always.
    #[default]
    Open,
    /// While the person presses a key.
    PushToTalk,
    /// While somebody speaks.
    Voice,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The person calls a contact. `number` is new in the conversation. If that contact is just ringing here, its call is
    /// taken, unless it protects less.
    Call {
        /// Whom.
        contact: String,
        /// The number that the call is to have.
        number: u32,
        /// How.
        terms: CallTerms,
    },
    /// The person takes a call that rings; one that is heard is held from now on.
    Answer {
        /// Whose.
        contact: String,
    },
    /// The person ends, declines or cancels.
    HangUp {
        /// Which contact's call.
        contact: String,
        /// Why.
        reason: HangUpReason,
    },
    /// The person holds a call, or goes on with it (any other is then held).
    Hold {
        /// Which contact's.
        contact: String,
        /// Whether to hold.
        on: bool,
    },
    /// The microphone off, for all calls.
    Mute(bool),
    /// Microphone and loudspeaker off.
    Deafen(bool),
    /// Nobody rings here; whoever rings already is turned away.
    DoNotDisturb(bool),
    /// What may protect a contact's calls from now on: from the next call, change of terms or reconnect. Until told,
    /// [`Policy::default`].
    Policy {
        /// Whose.
        contact: String,
        /// What.
        policy: Policy,
    },
    /// The person wants other terms for a running call. `number` is new in the conversation.
    Change {
        /// Which contact's.
        contact: String,
        /// The number of the new voice flows.
        number: u32,
        /// Which terms.
        terms: CallTerms,
    },
    /// The person answers a contact's wish for weaker terms.
    AnswerChange {
        /// Whose.
        contact: String,
        /// Whether they may be.
        yes: bool,
    },
    /// The person wants to record, or no longer.
    Record {
        /// Which contact's call.
        contact: String,
        /// Whether to record.
        on: bool,
    },
    /// The person lets the contact record, or not (any longer).
    AnswerRecord {
        /// Whose.
        contact: String,
        /// Whether it may.
        yes: bool,
    },
    /// A new conversation with a contact stands, in place of any earlier one. `number` is the first one in it, 2 or 3, for a
    /// call that is taken up again; no call that is new gets it.
    Established {
        /// With whom.
        contact: String,
        /// What both sides allow.
        suites: Vec<Suite>,
        /// A number that the contact has not heard yet.
        number: u32,
    },
    /// A conversation was lost, or nothing has been heard from the contact for some seconds. Then comes [`Self::Back`],
    /// [`Self::Established`] or [`Self::Over`], or the call ends by itself.
    Lost {
        /// Which.
        contact: String,
    },
    /// After [`Self::Lost`]: the contact is heard again over the same conversation, and nothing that was sent is missing.
    Back {
        /// Which.
        contact: String,
    },
    /// A conversation ended properly, or will not come back.
    Over {
        /// Which.
        contact: String,
    },
    /// A message about a call came. A number that the contact gives to something new ([`Message::Ring`],
    /// [`Message::ChangeAsk`], [`Message::Resume`]) was checked to be new.
    Message {
        /// From whom.
        contact: String,
        /// What.
        message: Message,
    },
    /// A call's sound cannot go on.
    SoundFailed {
        /// Whose.
        contact: String,
        /// Which call.
        call: u32,
    },
    /// A call has no one-time pad left to send with.
    KeyUsedUp {
        /// Whose.
        contact: String,
        /// Which call.
        call: u32,
    },
    /// How long the pad lasts for a call under one-time pad.
    TalkLeft {
        /// Whose.
        contact: String,
        /// Seconds.
        seconds: u64,
    },
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Send this to a contact, over the conversation that was [`Input::Established`] last, or not at all. A conversation
    /// that is [`Input::Lost`] may live after all: while it does, what is sent waits for it.
    Send {
        /// To whom.
        contact: String,
        /// What.
        message: Message,
    },
    /// Let sound flow: voice flows of number `call` both ways, silent and unheard until [`Self::Sound`] says otherwise.
    /// After [`Self::Wait`]: go on, over the conversation as it is now; number and terms may be others.
    Start {
        /// With whom.
        contact: String,
        /// Which.
        call: u32,
        /// How.
        terms: CallTerms,
    },
    /// Go over to voice flows of another number, each direction at the end of a frame as soon as its key is there.
    Change {
        /// With whom.
        contact: String,
        /// The new number.
        call: u32,
        /// How.
        terms: CallTerms,
    },
    /// What is sent and heard: the microphone or silence, the contact or silence.
    Sound {
        /// Whose call.
        contact: String,
        /// Whether the microphone's sound is sent.
        sending: bool,
        /// Whether the contact is heard.
        hearing: bool,
    },
    /// The connection is away: keep the sound's parts, and start again with [`Self::Start`] or end with [`Self::Stop`].
    Wait {
        /// Whose call.
        contact: String,
    },
    /// End the sound.
    Stop {
        /// Whose call.
        contact: String,
    },
    /// Begin or end writing down what is heard and said. It ends while the connection is away, and the same recording
    /// goes on when the call does. A held call is still recorded: there is nothing to hear in it.
    Record {
        /// Whose call.
        contact: String,
        /// Whether to write.
        on: bool,
    },
    /// Try to reach the contact again, until told otherwise.
    Redial {
        /// Whom.
        contact: String,
        /// Whether to try.
        on: bool,
    },
    /// Play a tone from now on, or none. Busy and Ended end by themselves, here, after some seconds.
    Play(Option<Tone>),
    /// Tell the person.
    Tell {
        /// About whom.
        contact: String,
        /// What.
        event: PhoneEvent,
    },
    /// A call is over: for the history.
    Note(CallRecord),
}

/// What the person is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PhoneEvent {
    /// A contact calls.
    Incoming {
        /// What is proposed.
        terms: CallTerms,
        /// Whether another call is on.
        waiting: bool,
    },
    /// It rings at the contact's.
    Ringing,
    /// The call is taken, or goes on after a reconnect. If we hold it, [`Self::HeldHere`] follows; a wish to record that
    /// the person had not answered before the reconnect is asked again.
    Answered {
        /// What was agreed.
        terms: CallTerms,
    },
    /// The terms are others from now on. Questions about them are settled.
    Changed {
        /// Which.
        terms: CallTerms,
    },
    /// The contact asks for terms that protect less; answer with [`Input::AnswerChange`], or it lapses.
    ChangeAsked {
        /// Which.
        terms: CallTerms,
    },
    /// The contact does not want other terms.
    ChangeDeclined,
    /// One-time pad for so many seconds of talk is left.
    TalkLeft {
        /// Seconds.
        seconds: u64,
    },
    /// The pad will soon be used up: may the call go on under AES? Answer with [`Input::Change`] or not at all.
    WeakerWanted,
    /// What the person was asked is not asked any longer: the contact took its wish back, nobody answered in time, there
    /// is pad again, or the connection went away. [`Self::Ended`] and [`Self::Changed`] settle questions without this,
    /// and so does the person's own answer.
    Lapsed {
        /// What was asked.
        question: Question,
    },
    /// The contact holds the call, or goes on.
    Held {
        /// Whether it is held.
        on: bool,
    },
    /// We hold the call, or go on with it: because the person said so, or because another call is heard instead. Told
    /// while the connection is away too, and again after [`Self::Answered`] where it is so.
    HeldHere {
        /// Whether it is held.
        on: bool,
    },
    /// The contact's microphone is off, or on.
    Muted {
        /// Whether it is off.
        on: bool,
    },
    /// The contact wants to record; answer with [`Input::AnswerRecord`]. It waits until it lapses.
    RecordAsked,
    /// The call is recorded, here (`ours`) or at the contact's, or no longer.
    Recorded {
        /// Whether here.
        ours: bool,
        /// Whether it is.
        on: bool,
    },
    /// The contact does not want to be recorded.
    RecordDeclined,
    /// The connection is away; the call waits for it.
    Reconnecting,
    /// The call is over, or came to nothing.
    ///
    /// Who is to be named follows from `reason`. With [`HangUpReason::NoAnswer`] it is who was called, the contact where
    /// `ours` and else we, whoever of the two gave up waiting. With [`HangUpReason::Busy`],
    /// [`HangUpReason::NotDisturbed`], [`HangUpReason::Declined`], [`HangUpReason::Weaker`] and [`HangUpReason::HungUp`]
    /// it is who ended the call, the contact where `by_contact` and else we. With [`HangUpReason::StartedAnew`] it is the
    /// contact. With all others it is nobody.
    Ended {
        /// Why.
        reason: HangUpReason,
        /// Whether the contact ended it.
        by_contact: bool,
        /// Whether we had called.
        ours: bool,
        /// What was carried; `None` if the call was never taken. A [`Phone`](super::Phone) counts nothing and says zero;
        /// whoever runs it fills this in.
        carried: Option<Carried>,
    },
    /// What was asked for cannot be done, in plain words.
    Refused {
        /// Why.
        why: String,
    },
}

/// What the person is asked about a running call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Question {
    /// May it go on under the contact's weaker terms ([`PhoneEvent::ChangeAsked`])?
    Change,
    /// May it go on under AES once the pad is used up ([`PhoneEvent::WeakerWanted`])?
    Weaker,
    /// May the contact record ([`PhoneEvent::RecordAsked`])?
    Record,
}

/// How much a call carried while it lasted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Carried {
    /// Voice packets sealed and sent.
    pub sent: u64,
    /// Voice packets that came and were genuine. If there was none, nobody was heard.
    pub received: u64,
}

/// Where a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallState {
    /// We called, and have heard nothing yet.
    Calling,
    /// It rings at the contact's.
    Ringing,
    /// It rings here.
    Incoming,
    /// Both are heard.
    Active,
    /// We hold it.
    Held,
    /// The connection is away.
    Reconnecting,
}

/// A call as the person may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent things that are so or not")]
pub struct CallView {
    /// With whom.
    pub contact: String,
    /// The number of its voice flows.
    pub call: u32,
    /// Where it is.
    pub state: CallState,
    /// Whether we called.
    pub ours: bool,
    /// What is proposed or agreed.
    pub terms: CallTerms,
    /// When it was taken.
    pub answered: Option<Duration>,
    /// Whether the contact holds it.
    pub held_by_contact: bool,
    /// Whether the contact's microphone is off.
    pub muted_by_contact: bool,
    /// Whether it is recorded here.
    pub recording: bool,
    /// Whether it is recorded at the contact's.
    pub recorded_by_contact: bool,
}

/// What the history keeps of a call. Times are those of [`super::Phone::handle`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// With whom.
    pub contact: String,
    /// Whether we called.
    pub ours: bool,
    /// When it began to ring.
    pub began: Duration,
    /// When it was taken; `None` if never. One that came in, was not taken and not declined is a missed call.
    pub answered: Option<Duration>,
    /// When it was over.
    pub ended: Duration,
    /// Why. Whom it names follows as in [`PhoneEvent::Ended`].
    pub reason: HangUpReason,
    /// Whether the contact ended it.
    pub by_contact: bool,
    /// The suites it went under, in order.
    pub suites: Vec<Suite>,
    /// How often the connection came back.
    pub resumed: u32,
}
