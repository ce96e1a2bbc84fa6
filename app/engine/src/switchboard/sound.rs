//! The own tasks of calls: started, given voice flows, and ended.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use vernam_session::CallTerms;

use super::first_pad::FirstPad;
use super::{Switchboard, into_inner};
use crate::command::CallProposal;
use crate::event::CallStats;
use crate::limits::{MEDIA_END, MEDIA_INPUTS};
use crate::media::{Media, MediaInput, MediaNotes, MediaParts};
use crate::peer::Order;
use crate::phone::Carried;

/// A call whose sound flows.
pub(super) struct LiveCall {
    /// Which task it is.
    pub(super) id: u64,
    /// The number of its newest voice flows.
    pub(super) call: u32,
    pub(super) terms: CallTerms,
    /// The conversation that opened them.
    line: Option<u64>,
    inputs: mpsc::Sender<MediaInput>,
    /// Whether its pad is still being made ready.
    pub(super) first_pad: FirstPad,
    /// What its task counted, as last told.
    pub(super) carried: Carried,
    task: JoinHandle<Box<CallStats>>,
}

impl LiveCall {
    /// Tells the call's task something. It takes these at every frame, and few are ever under way.
    pub(super) fn give(&self, input: MediaInput) {
        if self.inputs.try_send(input).is_err() {
            tracing::warn!("a call's task takes nothing");
        }
    }
}

impl Switchboard {
    /// Lets sound flow, or go on: over the flows that there are, or over new ones.
    pub(super) fn start(&mut self, contact: &str, call: u32, terms: CallTerms) -> Result<(), String> {
        let line = self.lines.get(contact).map(|line| line.id);
        match self.calls.get(contact) {
            Some(going) if going.call == call && going.line == line => going.give(MediaInput::GoOn),
            Some(_) => self.open_voice(contact, call, terms),
            None => {
                self.set_up(contact, call, terms)?;
                self.open_voice(contact, call, terms);
            }
        }
        self.tell_words(contact);
        Ok(())
    }

    fn set_up(&mut self, contact: &str, call: u32, terms: CallTerms) -> Result<(), String> {
        let io = self.sounds.remove(contact).map(into_inner).ok_or("there is no sound for it")?;
        let codec = CallProposal::of(terms).ok_or("its codec cannot be made")?.codec;
        self.tasks += 1;
        let id = self.tasks;
        let notes = MediaNotes { contact: Arc::from(contact), task: id, sender: self.notes.clone() };
        let (transmit, talk, epoch) = (self.transmit, self.talk, self.shared.epoch);
        let parts = MediaParts { call, terms, codec, io, notes, transmit, talk, epoch };
        let media = Media::new(parts).map_err(|error| error.to_string())?;
        let (inputs, receiver) = mpsc::channel(MEDIA_INPUTS);
        let running = tokio::spawn(media.run(receiver));
        let carried = Carried::default();
        let first_pad = FirstPad::default();
        let live = LiveCall { id, call, terms, line: None, inputs, first_pad, carried, task: running };
        self.calls.insert(contact.to_owned(), live);
        Ok(())
    }

    /// Has the conversation open voice flows for a call whose task runs.
    pub(super) fn open_voice(&mut self, contact: &str, call: u32, terms: CallTerms) {
        let line = self.lines.get(contact).map(|line| line.id);
        let Some(going) = self.calls.get_mut(contact) else { return };
        (going.call, going.terms, going.line) = (call, terms, line);
        let media = going.inputs.clone();
        self.order(contact, Order::OpenVoice { call, terms, media });
    }

    /// Ends a call's sound, and keeps how it went for the record.
    pub(super) async fn stop(&mut self, contact: &str) {
        let Some(LiveCall { inputs, mut task, mut carried, .. }) = self.calls.remove(contact) else { return };
        let _ended = inputs.try_send(MediaInput::Stop);
        match timeout(MEDIA_END, &mut task).await {
            Ok(Ok(stats)) => {
                carried = stats.carried();
                self.ended.insert(contact.to_owned(), stats);
            }
            Ok(Err(error)) => tracing::error!(%error, "a call's task broke"),
            Err(_late) => {
                tracing::warn!("the sound of a call hangs and was given up");
                task.abort();
            }
        }
        self.carried.insert(contact.to_owned(), carried);
    }
}
