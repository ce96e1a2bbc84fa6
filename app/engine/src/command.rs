//! What the application tells the engine.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::oneshot;
use vernam_audio::codec::DecoderEffort;
use vernam_audio::{CodecSettings, Decision, FrameLength};
use vernam_files::{Rules, TransferId};
use vernam_session::{CallTerms, HangUpReason, Suite};

use crate::event::Account;
use crate::files::IfShort;
use crate::phone::Transmit;

/// How much of the processor a call's codec may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Effort {
    /// All that makes the sound better: Opus' best encoder, neural concealment and enhancement.
    #[default]
    Best,
    /// What RFC 6716 demands: about a third of the work, for a process with many calls and for weak machines.
    Least,
}

impl Effort {
    pub(crate) const fn decoder(self) -> DecoderEffort {
        match self {
            Self::Best => DecoderEffort::Full,
            Self::Least => DecoderEffort::Plain,
        }
    }

    /// The settings of the encoder, with no more complexity than this allows.
    pub(crate) fn encoder(self, codec: CodecSettings) -> Result<CodecSettings, vernam_audio::Error> {
        match self {
            Self::Best => Ok(codec),
            Self::Least => codec.with_complexity(0),
        }
    }
}

/// Where a call's sound comes from, and where it goes. Called from the call's own task, once a frame or step; must not block.
pub trait VoiceIo: Send {
    /// Writes the next frame of 48 kHz mono sound from the microphone (or a file) to `pcm`.
    fn capture(&mut self, pcm: &mut [i16]);
    /// Plays the next frame, or the next [`step`](Self::step) of it.
    fn play(&mut self, pcm: &[i16]);
    /// How much [`play`](Self::play) takes at a time in a call with frames of this length: the frame, or a shorter one
    /// of which it is a whole multiple, else the frame is taken. Short steps make the delay shorter, because what came
    /// waits less for its turn. Asked once, before the first frame.
    fn step(&mut self, frame: FrameLength) -> FrameLength {
        frame
    }
    /// How much the codec may do for the sound. Asked once, before the first frame.
    fn effort(&self) -> Effort {
        Effort::Best
    }
    /// The packet of number `seq` was made from the frame captured at `at`, and was sealed and sent.
    fn sent(&mut self, seq: u32, packet: &[u8], at: Duration) {
        let _ = (seq, packet, at);
    }
    /// The frame given to [`play`](Self::play) at `at` was made by this decision.
    fn played(&mut self, decision: Decision, at: Duration) {
        let _ = (decision, at);
    }
}

/// Writes a call down, frame by frame. Called from the call's own task; must not block. Dropped at its end.
pub trait Tape: Send {
    /// One frame of each voice: what was sent, and what was heard.
    fn write(&mut self, said: &[i16], heard: &[i16]);
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
    /// Hold a call, or go on with it; any other is then held.
    Hold {
        /// With whom.
        contact: String,
        /// Whether to hold.
        on: bool,
    },
    /// The microphone off, for all calls; silence is sent at the same pace.
    Mute(bool),
    /// Microphone and loudspeaker off.
    Deafen(bool),
    /// Nobody rings here.
    DoNotDisturb(bool),
    /// When the microphone's sound is sent.
    Transmit(Transmit),
    /// The key of [`Transmit::PushToTalk`] is pressed, or no longer.
    Talk(bool),
    /// Other terms for the running call. What protects less is asked of the contact's person; what protects more needs
    /// both sides' policy only.
    ChangeTerms {
        /// With whom.
        contact: String,
        /// How, with frames of the same length.
        proposal: CallProposal,
    },
    /// Answer a contact's wish for other terms ([`crate::PhoneEvent::ChangeAsked`]).
    AnswerChange {
        /// Whose.
        contact: String,
        /// Whether they may be.
        yes: bool,
    },
    /// Record the call once the contact agrees, or no longer.
    Record {
        /// With whom.
        contact: String,
        /// What writes it down; `None` ends the recording, or takes the wish back.
        tape: Option<Box<dyn Tape>>,
    },
    /// Let the contact record, or not (any longer).
    AnswerRecord {
        /// Whose.
        contact: String,
        /// Whether it may.
        yes: bool,
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
    /// Offer files and folders, in one transfer.
    SendFiles {
        /// To whom.
        contact: String,
        /// The transfer's name from now on: random, and never used before.
        transfer: TransferId,
        /// Which.
        paths: Vec<PathBuf>,
        /// How they are protected.
        suite: Suite,
        /// What to do where the stock cannot cover them under one-time pad.
        if_short: IfShort,
    },
    /// Decide about files that the stock cannot cover ([`Event::FileShort`](crate::Event::FileShort)).
    DecideFiles {
        /// To whom they go.
        contact: String,
        /// Which.
        transfer: TransferId,
        /// What to do.
        choice: IfShort,
    },
    /// Take offered files ([`Event::FileOffered`](crate::Event::FileOffered)). From then on they come by themselves, also
    /// after the connection was lost or either side was started anew.
    AcceptFiles {
        /// From whom.
        contact: String,
        /// Which.
        transfer: TransferId,
        /// Into which folder. What is in it is never touched.
        folder: PathBuf,
        /// How names are made safe.
        names: Rules,
    },
    /// Let a transfer rest, either way, or go on. Going on also tries again what waits for a person.
    PauseFiles {
        /// With whom.
        contact: String,
        /// Which.
        transfer: TransferId,
        /// Whether to pause.
        on: bool,
    },
    /// Do not take offered files, or end a transfer, either way. What came of it is removed.
    CancelFiles {
        /// With whom.
        contact: String,
        /// Which.
        transfer: TransferId,
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

impl CallProposal {
    /// The proposal that `terms` describe, if a codec can be made of them.
    pub fn of(terms: CallTerms) -> Option<Self> {
        let frame = FrameLength::from_millis(u32::from(terms.frame_ms)).ok()?;
        let codec = CodecSettings::for_terms(terms.bit_rate, frame, terms.suite == Suite::Otp).ok()?;
        (codec.packet_len() == usize::from(terms.packet_len)).then_some(Self { suite: terms.suite, codec })
    }

    /// The same on the wire; `None` for a codec that cannot be said there.
    pub fn terms(&self) -> Option<CallTerms> {
        Some(CallTerms {
            suite: self.suite,
            bit_rate: self.codec.bit_rate(),
            frame_ms: u8::try_from(self.codec.frame().millis()).ok()?,
            packet_len: u16::try_from(self.codec.packet_len()).ok()?,
        })
    }
}

impl Command {
    /// Whom it concerns; `None` if all.
    pub(crate) fn contact(&self) -> Option<&str> {
        match self {
            Self::Connect { contact, .. }
            | Self::Call { contact, .. }
            | Self::Answer { contact, .. }
            | Self::HangUp { contact, .. }
            | Self::Hold { contact, .. }
            | Self::ChangeTerms { contact, .. }
            | Self::AnswerChange { contact, .. }
            | Self::Record { contact, .. }
            | Self::AnswerRecord { contact, .. }
            | Self::SendText { contact, .. }
            | Self::SendFiles { contact, .. }
            | Self::DecideFiles { contact, .. }
            | Self::AcceptFiles { contact, .. }
            | Self::PauseFiles { contact, .. }
            | Self::CancelFiles { contact, .. }
            | Self::SetMark { contact, .. }
            | Self::Account { contact, .. }
            | Self::Disconnect { contact } => Some(contact),
            Self::Mute(_) | Self::Deafen(_) | Self::DoNotDisturb(_) | Self::Transmit(_) | Self::Talk(_) => None,
        }
    }
}
