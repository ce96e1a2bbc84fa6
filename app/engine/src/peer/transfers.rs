//! The transfers of files with one contact: what is offered, what comes, and where each stands. They outlive
//! conversations: whatever a conversation leaves unfinished, the next one goes on with, and what is on the desk survives
//! the client.
//!
//! A *try* is one number, one flow and its keys; a transfer has as many tries as it needs, each under fresh key from where
//! the receiver is.
//!
//! ```text
//!   sending.rs    walk ─ price ─ offer ─ list ─ files ─ stored          receiving.rs   offered ─ list ─ yes ─ files ─ placed
//!      carry.rs   disk ─► records ─► stream                                carry.rs    stream ─► records ─► disk
//!      disk.rs    Outgoing                                                 disk.rs     Incoming
//! ```

mod carry;
mod disk;
mod receiving;
mod sending;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use vernam_etsi014::SaeId;
use vernam_files::{Desk, DeskError, FileEnd, Manifest, Offer, TransferId};
use vernam_session::{FileCancelReason, FileStopReason, Message, Suite};

use self::carry::{ListFault, Listed, SendFault};
use self::receiving::Receiving;
use self::sending::Sending;
use super::calls::Allowance;
use super::{End, Input, Peer};
use crate::command::Command;
use crate::event::Event;
use crate::files::{FailedFile, FileDone, FileError, FileStatus, FileWait, IfShort};
use crate::limits::{
    FILE_MESSAGE_PAUSE, FILE_MESSAGES, FILES_PROBE_PAUSE, MAX_FAILURES_TOLD, TRANSFER_DOUBLINGS, TRANSFER_PAUSE,
};

/// What reaches a conversation from its transfers' own tasks.
pub(crate) enum FileInput {
    /// Files of ours were walked, and the offer is on the desk.
    Walked { transfer: TransferId, walked: Result<Arc<Offer>, String>, suite: Suite, if_short: IfShort },
    /// A sending task is done.
    Sent { number: u32, result: Result<Vec<FileEnd>, SendFault> },
    /// A list of names came.
    Listed { number: u32, listed: Result<Listed, ListFault> },
    /// Something came that nobody waits for, or the end of it.
    Unheard { number: u32, why: String },
    /// A writer has something to tell.
    Look,
    /// So many bytes are free where a transfer goes.
    Room { transfer: TransferId, free: u64 },
}

/// All transfers with one contact.
pub(crate) struct Transfers {
    /// Where what survives a crash is kept; none if there is no such place, and no files then.
    folder: Option<PathBuf>,
    desk: Option<Desk>,
    sending: BTreeMap<TransferId, Sending>,
    receiving: BTreeMap<TransferId, Receiving>,
    said: Allowance,
    /// When it was last looked whether the contact is there.
    probed: Option<Instant>,
}

impl Transfers {
    /// The transfers with `contact`, whose desk is below `folder`.
    pub(crate) fn of(folder: Option<&Path>, contact: &str) -> Self {
        Self {
            folder: folder.and_then(|folder| desk_of(folder, contact)),
            desk: None,
            sending: BTreeMap::new(),
            receiving: BTreeMap::new(),
            said: Allowance::new(FILE_MESSAGES, FILE_MESSAGE_PAUSE),
            probed: None,
        }
    }

    /// Whether one of them is to go on.
    pub(crate) fn are_under_way(&self) -> bool {
        let receiving = self.receiving.values().any(Receiving::is_under_way);
        receiving || self.sending.values().any(Sending::is_under_way)
    }

    /// Bytes of the stock that are reserved for files on their way.
    pub(super) fn reserved(&self) -> u64 {
        self.sending.values().map(|one| one.reserved).sum()
    }

    /// Bytes by which the stock is to be filled beyond its mark.
    pub(super) fn wanted(&self) -> u64 {
        self.reserved() + self.sending.values().filter(|one| one.waits_for_key()).map(Sending::cost).sum::<u64>()
    }

    /// Key was taken for the flow of this number.
    pub(super) fn charge(&mut self, number: u32, len: u64) {
        if let Some(one) = self.sending.values_mut().find(|one| one.number() == Some(number)) {
            one.reserved = one.reserved.saturating_sub(len);
        }
    }

    /// Finds what an earlier run of the client left on the desk, the first time.
    async fn load(&mut self) -> Result<(), String> {
        let Some(folder) = self.folder.clone().filter(|_| self.desk.is_none()) else { return Ok(()) };
        let look = move || -> Result<_, DeskError> {
            let desk = Desk::open(&folder)?;
            let mut parts = Vec::new();
            for part in desk.parts()? {
                match part.manifest {
                    Some(_) => parts.push(part),
                    None => desk.remove_part(part.id)?,
                }
            }
            let offers: Vec<_> = desk.offers()?.into_iter().map(|id| (id, desk.offer(id))).collect();
            let paused = desk.paused()?;
            Ok((desk, parts, offers, paused))
        };
        let (desk, parts, offers, paused) = on_disk(look).await.map_err(|error| error.to_string())?;
        for part in parts {
            let id = part.id;
            if let Some(mut receiving) = Receiving::found(part) {
                receiving.here = paused.contains(&id);
                self.receiving.entry(id).or_insert(receiving);
            }
        }
        for (id, offer) in offers {
            match offer {
                Ok((offer, note)) => {
                    let (suite, if_short) = kept_note(&note).unwrap_or((Suite::Otp, IfShort::Ask));
                    let mut sending = Sending::new(Arc::new(offer), suite, if_short);
                    sending.here = paused.contains(&id);
                    self.sending.entry(id).or_insert(sending);
                }
                Err(error) => tracing::warn!(%id, %error, "an offer on the desk cannot be used"),
            }
        }
        self.desk = Some(desk);
        Ok(())
    }
}

/// The desk of a contact below `folder`.
fn desk_of(folder: &Path, contact: &str) -> Option<PathBuf> {
    Some(folder.join(SaeId::new(contact).ok()?.to_path_segment()))
}

/// Transfers to `contact` that were begun and are not over, as the desk in `folder` has them
/// ([`EngineConfig::files`](crate::EngineConfig::files)). No engine may run on it meanwhile.
///
/// # Errors
/// If the desk cannot be read.
pub fn unfinished_files(folder: &Path, contact: &str) -> Result<Vec<TransferId>, DeskError> {
    match desk_of(folder, contact).filter(|desk| desk.is_dir()) {
        Some(desk) => Desk::open(&desk)?.offers(),
        None => Ok(Vec::new()),
    }
}

/// Those of them that are paused here.
///
/// # Errors
/// If the desk cannot be read.
pub fn paused_files(folder: &Path, contact: &str) -> Result<Vec<TransferId>, DeskError> {
    match desk_of(folder, contact).filter(|desk| desk.is_dir()) {
        Some(desk) => Desk::open(&desk)?.paused(),
        None => Ok(Vec::new()),
    }
}

/// Gives those up that are unfinished; how many they were. The contact hears of it when it asks for the rest.
///
/// # Errors
/// If the desk cannot be read or written.
pub fn forget_files(folder: &Path, contact: &str) -> Result<usize, DeskError> {
    let unfinished = unfinished_files(folder, contact)?;
    if let Some(desk) = desk_of(folder, contact).filter(|_| !unfinished.is_empty()) {
        let desk = Desk::open(&desk)?;
        unfinished.iter().try_for_each(|id| desk.remove_offer(*id))?;
    }
    Ok(unfinished.len())
}

/// What is kept with an offer or an acceptance: a version, the suite, and what to do where the stock is short.
fn note(suite: Suite, if_short: IfShort) -> Vec<u8> {
    let short = match if_short {
        IfShort::Ask => 0,
        IfShort::Wait => 1,
        IfShort::Under(suite) => 16 + suite.code(),
    };
    vec![1, suite.code(), short]
}

fn kept_note(note: &[u8]) -> Option<(Suite, IfShort)> {
    let [1, suite, short] = note else { return None };
    let if_short = match short {
        0 => IfShort::Ask,
        1 => IfShort::Wait,
        other => IfShort::Under(Suite::from_code(other.checked_sub(16)?)?),
    };
    Some((Suite::from_code(*suite)?, if_short))
}

/// Runs `act` on a thread that may block.
async fn on_disk<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(act).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// The first name of an offer, safe to show.
fn first_name(manifest: &Manifest) -> String {
    let name = manifest.get(0).map(vernam_files::Entry::offered_name).unwrap_or_default();
    vernam_files::display(name).into_owned()
}

/// Files that failed, for people.
fn failures(manifest: &Manifest, failed: impl Iterator<Item = (u32, vernam_files::Failure)>) -> Vec<FailedFile> {
    let named = failed.take(MAX_FAILURES_TOLD).map(|(entry, why)| {
        let path = vernam_files::display(&manifest.offered_path(entry)).into_owned();
        FailedFile { path, why }
    });
    named.collect()
}

/// How fast a transfer goes.
struct Meter {
    /// Bytes that are through.
    done: Arc<AtomicU64>,
    told: u64,
    at: Option<Instant>,
    /// Bytes a second, smoothed over a few seconds.
    rate: f64,
    began: Option<Instant>,
}

impl Default for Meter {
    fn default() -> Self {
        Self { done: Arc::default(), told: 0, at: None, rate: 0.0, began: None }
    }
}

impl Meter {
    fn begin(&mut self, there: u64) {
        self.done = Arc::new(AtomicU64::new(there));
        (self.told, self.at, self.rate) = (there, Some(Instant::now()), 0.0);
        self.began.get_or_insert_with(Instant::now);
    }

    fn took(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    /// Bytes that are through and bytes a second, if that is news.
    fn tell(&mut self) -> Option<(u64, u64)> {
        let (now, done) = (Instant::now(), self.done.load(Ordering::Relaxed));
        let before = self.at.replace(now);
        let moved = done.saturating_sub(self.told);
        self.told = done;
        let seconds = now.duration_since(before?).as_secs_f64();
        if moved == 0 || seconds <= 0.0 {
            self.rate *= 0.9;
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "a speed for people")]
        let rate = moved as f64 / seconds;
        self.rate = if self.rate == 0.0 { rate } else { self.rate * 0.8 + rate * 0.2 };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a speed for people, not negative")]
        Some((done, self.rate as u64))
    }
}

/// When to try again what went wrong.
#[derive(Default)]
struct Retry {
    times: u32,
    due: Option<Instant>,
}

impl Retry {
    fn later(&mut self) {
        self.due = Some(Instant::now() + TRANSFER_PAUSE * 2_u32.pow(self.times.min(TRANSFER_DOUBLINGS)));
        self.times = self.times.saturating_add(1);
    }

    fn is_due(&self) -> bool {
        self.due.is_none_or(|due| due <= Instant::now())
    }
}

impl Peer {
    /// The conversation stands: what was unfinished goes on.
    pub(super) async fn begin_transfers(&mut self) {
        if let Err(why) = self.transfers.load().await {
            self.warn(format!("what is kept of files cannot be read: {why}")).await;
        }
        // The sender may have given them up meanwhile. If not, it offers them anyhow.
        let ids: Vec<_> =
            self.transfers.receiving.iter().filter(|(_, one)| one.is_known()).map(|(id, _)| id.0).collect();
        let now = self.now();
        for id in ids {
            self.session.send(Message::FileResume { id }, now);
        }
        let paused: Vec<_> =
            self.transfers.sending.iter().filter(|(_, one)| one.here).map(|(id, one)| (*id, one.there)).collect();
        for (id, there) in paused {
            self.tell_file_status(id, true, FileStatus::Paused { here: true, there }).await;
        }
        self.offer_waiting_files().await;
    }

    /// What the application wants of files.
    pub(super) async fn file_command(&mut self, command: Command) {
        match command {
            Command::SendFiles { transfer, paths, suite, if_short, .. } => {
                self.walk_files(transfer, paths, suite, if_short).await;
            }
            Command::DecideFiles { transfer, choice, .. } => self.decide_files(transfer, choice).await,
            Command::AcceptFiles { transfer, folder, names, .. } => self.accept_files(transfer, folder, names).await,
            Command::PauseFiles { transfer, on, .. } => self.pause_files(transfer, on).await,
            Command::CancelFiles { transfer, .. } => self.cancel_files(transfer).await,
            _ => {}
        }
    }

    pub(super) async fn file_input(&mut self, input: FileInput) {
        match input {
            FileInput::Walked { transfer, walked, suite, if_short } => {
                self.files_walked(transfer, walked, suite, if_short).await;
            }
            FileInput::Sent { number, result } => self.files_sent(number, result).await,
            FileInput::Listed { number, listed } => self.files_listed(number, listed).await,
            FileInput::Unheard { number, why } => self.files_unheard(number, &why),
            FileInput::Look => self.look_at_writers().await,
            FileInput::Room { transfer, free } => self.room_found(transfer, free),
        }
    }

    /// The contact said something about files.
    pub(super) async fn file_message(&mut self, message: Message) {
        if !self.transfers.said.take(self.now()) {
            self.closed = Some(End::badly("the other side said too much about files"));
            return;
        }
        match message {
            Message::FileOffer { transfer, terms } => self.files_offered(transfer, terms).await,
            Message::FileList { transfer } => self.list_wanted(transfer),
            Message::FileAccept { transfer, point } => self.files_accepted(transfer, point).await,
            Message::FilePause { transfer, on } => self.files_paused(transfer, on).await,
            Message::FileStored { transfer, files, failed } => self.files_stored(transfer, files, failed).await,
            Message::FileStop { transfer, reason, missing } => self.files_stopped(transfer, reason, missing).await,
            Message::FileCancel { id, reason } => self.files_cancelled(TransferId(id), reason).await,
            Message::FileResume { id } => self.files_wanted(TransferId(id)).await,
            _ => {}
        }
    }

    async fn pause_files(&mut self, transfer: TransferId, on: bool) {
        if let Some(desk) = self.transfers.desk.clone()
            && let Err(error) = on_disk(move || desk.set_paused(transfer, on)).await
        {
            self.warn(error.to_string()).await;
        }
        if self.transfers.sending.contains_key(&transfer) {
            self.pause_sending(transfer, on).await;
        } else if self.transfers.receiving.contains_key(&transfer) {
            self.pause_receiving(transfer, on).await;
        } else {
            self.warn("there is no such transfer").await;
        }
    }

    async fn cancel_files(&mut self, transfer: TransferId) {
        if self.transfers.sending.contains_key(&transfer) {
            self.say_cancelled(transfer, FileCancelReason::Cancelled);
            self.end_sending(transfer, Err(FileError::Cancelled)).await;
        } else if self.transfers.receiving.contains_key(&transfer) {
            self.cancel_receiving(transfer, FileError::Cancelled).await;
        } else {
            self.warn("there is no such transfer").await;
        }
    }

    async fn files_paused(&mut self, number: u32, on: bool) {
        let sending = self.transfers.sending.iter().find(|(_, one)| one.number() == Some(number)).map(|(id, _)| *id);
        let receiving = self.transfers.receiving.iter().find(|(_, one)| one.number() == Some(number));
        let receiving = receiving.map(|(id, _)| *id);
        if let Some(id) = sending {
            self.sending_paused(id, on).await;
        } else if let Some(id) = receiving {
            self.receiving_paused(id, on).await;
        }
    }

    async fn files_cancelled(&mut self, transfer: TransferId, reason: FileCancelReason) {
        let why = match reason {
            FileCancelReason::Declined => FileError::Declined,
            FileCancelReason::Cancelled => FileError::CancelledByContact,
            FileCancelReason::Refused => FileError::Refused,
            FileCancelReason::Unknown => FileError::Forgotten,
        };
        if self.transfers.sending.contains_key(&transfer) {
            self.end_sending(transfer, Err(why)).await;
        } else if self.transfers.receiving.contains_key(&transfer) {
            self.cancel_receiving(transfer, why).await;
        }
    }

    fn say_cancelled(&mut self, transfer: TransferId, reason: FileCancelReason) {
        let now = self.now();
        self.session.send(Message::FileCancel { id: transfer.0, reason }, now);
    }

    fn say_stopped(&mut self, number: u32, reason: FileStopReason, missing: u64) {
        let now = self.now();
        self.session.send(Message::FileStop { transfer: number, reason, missing }, now);
    }

    /// Looks at what came to an end, tries again what waits, and tells how the rest goes.
    pub(super) async fn transfers_tick(&mut self) {
        self.look_at_writers().await;
        self.look_for_room();
        self.offer_waiting_files().await;
        let transfers = &mut self.transfers;
        if transfers.sending.values().any(Sending::is_under_way)
            && transfers.probed.is_none_or(|probed| probed.elapsed() >= FILES_PROBE_PAUSE)
        {
            transfers.probed = Some(Instant::now());
            // One byte that is no voice: it is passed over, but QUIC acknowledges it.
            let _lost_and_noticed = self.connection.send_voice(Bytes::from_static(&[0]));
        }
        let contact = self.name();
        let sending = self.transfers.sending.iter_mut().map(|(id, one)| (id, true, one.totals.bytes, &mut one.meter));
        let receiving = self.transfers.receiving.iter_mut();
        let receiving = receiving.map(|(id, one)| (id, false, one.terms.bytes, &mut one.meter));
        for (transfer, sending, size, meter) in sending.chain(receiving) {
            if let Some((done, rate)) = meter.tell() {
                let (contact, transfer) = (contact.clone(), *transfer);
                let event = Event::FileProgress { contact, transfer, sending, done, size, rate };
                let _missed = self.shared.events.try_send(event);
            }
        }
    }

    /// The conversation is over. What is unfinished is kept for the next one.
    pub(super) async fn end_transfers(&mut self) {
        self.end_tries_of_sending().await;
        self.end_tries_of_receiving().await;
    }

    async fn tell_file_status(&self, transfer: TransferId, sending: bool, status: FileStatus) {
        self.tell(Event::FileStatus { contact: self.name(), transfer, sending, status }).await;
    }

    async fn tell_file_wait(&self, transfer: TransferId, sending: bool, wait: FileWait) {
        self.tell_file_status(transfer, sending, FileStatus::Waits(wait)).await;
    }

    async fn tell_file_ended(&self, transfer: TransferId, sending: bool, result: Result<FileDone, FileError>) {
        self.tell(Event::FileEnded { contact: self.name(), transfer, sending, result }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_with_an_offer_comes_back() {
        let shorts = [IfShort::Ask, IfShort::Wait, IfShort::Under(Suite::Aes256Gcm)];
        for (suite, if_short) in Suite::ALL.into_iter().zip(shorts) {
            assert_eq!(kept_note(&note(suite, if_short)), Some((suite, if_short)));
        }
        assert_eq!(kept_note(&[1, 9, 0]), None);
        assert_eq!(kept_note(&[]), None);
    }
}
