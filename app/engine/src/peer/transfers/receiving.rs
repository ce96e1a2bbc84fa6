//! Files that come: offered, looked at, taken or not, written, and in place.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use vernam_files::{Acceptance, Part, Receipt, Rules, TransferId};
use vernam_key::{File, Inbound};
use vernam_quic::RecvStream;
use vernam_session::{FileCancelReason, FilePoint, FileStopReason, FileTerms, FlowId, Message, Suite};

use super::carry::{self, Expected, ListFault, Listed};
use super::disk::{self, Arrival, Begin, Opened, Telling, Written};
use super::{FileInput, Input, Meter, Peer, kept_note, note, on_disk};
use crate::event::Event;
use crate::files::{FailedFile, FileDone, FileError, FileStatus, FileTotals, FileWait, IfShort, OfferedFiles};
use crate::limits::{FILE_PIECES, FLUSH_PATIENCE, MAX_OPEN_LISTS, MAX_TRANSFERS, ROOM_PAUSE};
use crate::records::{FlowKey, RecordReader};

/// Files of the contact's.
pub(super) struct Receiving {
    pub(super) terms: FileTerms,
    state: State,
    /// What it was accepted under, if it was: nothing weaker comes without another yes.
    agreed: Option<Suite>,
    folder: PathBuf,
    listed: Option<Listed>,
    pub(super) here: bool,
    there: bool,
    trial: Option<Try>,
    writer: Option<Writer>,
    /// Offered anew while the writer of an earlier try is not done yet.
    next: Option<(u32, FileTerms)>,
    /// It is to end like this as soon as its writer has.
    ending: Option<FileError>,
    pub(super) meter: Meter,
}

/// Where it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The list of names is on its way.
    Listing,
    /// It is before a person.
    Open,
    /// The disk is made ready for it.
    Opening,
    /// It comes.
    Moving,
    /// It was accepted, and no try is under way.
    Resting,
    /// The disk is full: it is asked for again when so many bytes are free.
    WaitsForRoom { free: u64, asked: Option<Instant> },
}

/// One try: a number, a flow, and whoever listens to it.
struct Try {
    number: u32,
    keys: Option<mpsc::Receiver<FlowKey<Inbound>>>,
    /// Who takes what comes, until the flow's task has been told.
    arrivals: Option<mpsc::Sender<Arrival>>,
    /// The way to tell it.
    sink: Option<oneshot::Sender<mpsc::Sender<Arrival>>>,
    reader: Option<JoinHandle<()>>,
}

/// Whoever writes it.
struct Writer {
    number: u32,
    opened: Option<oneshot::Receiver<Result<Opened, String>>>,
    /// It was accepted just now, and is not on the desk before it has begun.
    fresh: bool,
    end: oneshot::Receiver<Written>,
}

impl Receiving {
    fn new(terms: FileTerms) -> Self {
        Self {
            terms,
            state: State::Listing,
            agreed: None,
            folder: PathBuf::new(),
            listed: None,
            here: false,
            there: false,
            trial: None,
            writer: None,
            next: None,
            ending: None,
            meter: Meter::default(),
        }
    }

    /// One that an earlier run of the client accepted.
    pub(super) fn found(part: Part) -> Option<Self> {
        let (suite, _) = kept_note(&part.note)?;
        let (id, list_hash) = (part.id.0, part.manifest?.0);
        let terms = FileTerms { id, suite, files: 0, folders: 0, bytes: part.bytes, list_len: 0, list_hash };
        let mut found = Self::new(terms);
        found.state = State::Resting;
        found.agreed = Some(suite);
        found.folder = part.folder;
        Some(found)
    }

    /// Whether a person has said yes.
    pub(super) fn is_known(&self) -> bool {
        self.agreed.is_some()
    }

    /// Whether it comes, or will without a person's word.
    pub(super) fn is_under_way(&self) -> bool {
        self.is_known() && !self.here && self.ending.is_none()
    }

    pub(super) fn number(&self) -> Option<u32> {
        self.trial.as_ref().map(|trial| trial.number)
    }

    /// Ends the try that is under way; its writer flushes what it has.
    fn abandon(&mut self) -> Option<FlowId> {
        self.there = false;
        let trial = self.trial.take()?;
        if let Some(reader) = trial.reader {
            reader.abort();
        }
        Some(FlowId::of::<File>(trial.number))
    }
}

/// Whether `suite` promises less than `agreed`: only one-time pad promises more than the others.
fn is_weaker(suite: Suite, agreed: Suite) -> bool {
    agreed == Suite::Otp && suite != Suite::Otp
}

impl Peer {
    /// The contact offers files, or the rest of some.
    pub(super) async fn files_offered(&mut self, number: u32, terms: FileTerms) {
        let id = TransferId(terms.id);
        if !self.takes_transfer(number) || self.transfers.sending.contains_key(&id) {
            return self.say_stopped(number, FileStopReason::Number, 0);
        }
        // Without a place to remember them files cannot be taken now; another run of the client may have one.
        let Some(desk) = self.transfers.desk.clone() else {
            return self.say_stopped(number, FileStopReason::Busy, 0);
        };
        if !self.session.allows(terms.suite) {
            return self.say_stopped(number, FileStopReason::Suite, 0);
        }
        if let Some(one) = self.transfers.receiving.get_mut(&id) {
            if one.terms.list_hash != terms.list_hash {
                // It is another one under the same name.
                self.say_cancelled(id, FileCancelReason::Refused);
                return self.cancel_receiving(id, FileError::Refused).await;
            }
            one.next = Some((number, terms));
            if let Some(flow) = one.abandon() {
                self.routes_in.remove(&flow);
            }
            return self.begin_next_try(id);
        }
        match on_disk(move || desk.receipt(id)).await {
            Some(Receipt::Placed { files, failed, .. }) => {
                let now = self.now();
                return self.session.send(Message::FileStored { transfer: number, files, failed }, now);
            }
            Some(Receipt::Cancelled) => return self.say_cancelled(id, FileCancelReason::Cancelled),
            None => {}
        }
        let open = self.transfers.receiving.values().filter(|one| !one.is_known());
        let lists: u64 = open.map(|one| u64::from(one.terms.list_len)).sum();
        if self.transfers.receiving.len() >= MAX_TRANSFERS || lists + u64::from(terms.list_len) > MAX_OPEN_LISTS {
            return self.say_stopped(number, FileStopReason::Busy, 0);
        }
        let mut one = Receiving::new(terms);
        one.next = Some((number, terms));
        self.transfers.receiving.insert(id, one);
        self.begin_next_try(id);
    }

    /// Answers the newest offer, if whoever wrote for an earlier one is done.
    fn begin_next_try(&mut self, id: TransferId) {
        let now = self.now();
        let Some(one) = self.transfers.receiving.get_mut(&id).filter(|one| one.writer.is_none()) else { return };
        let Some((number, terms)) = one.next.take() else { return };
        let known = one.agreed;
        one.terms = terms;
        one.trial = Some(Try { number, keys: None, arrivals: None, sink: None, reader: None });
        let weaker = known.is_some_and(|agreed| is_weaker(terms.suite, agreed));
        if known.is_some() && !weaker {
            self.open_files_flow(id);
            return self.begin_writing(id, Begin::Reopen(id), false);
        }
        if one.listed.is_some() {
            // The person has seen it already.
            one.state = State::Open;
            self.open_files_flow(id);
            return;
        }
        one.state = State::Listing;
        self.open_files_flow(id);
        self.session.send(Message::FileList { transfer: number }, now);
    }

    /// Opens the way for the keys of a try.
    fn open_files_flow(&mut self, id: TransferId) {
        let Some(number) = self.transfers.receiving.get(&id).and_then(Receiving::number) else { return };
        let keys = self.open_route_in(FlowId::of::<File>(number));
        if let Some(trial) = self.transfers.receiving.get_mut(&id).and_then(|one| one.trial.as_mut()) {
            trial.keys = Some(keys);
        }
    }

    fn receiving_by(&mut self, number: u32) -> Option<(TransferId, &mut Receiving)> {
        let found = self.transfers.receiving.iter_mut().find(|(_, one)| one.number() == Some(number));
        found.map(|(id, one)| (*id, one))
    }

    /// The stream of a flow of files.
    pub(crate) fn file_stream(&mut self, flow: FlowId, stream: RecvStream) {
        let number = flow.number;
        if flow != FlowId::of::<File>(number) {
            return;
        }
        let Ok(opener) = self.session.record_opener::<File>(number) else { return };
        let inputs = self.inputs.clone();
        let Some((_, one)) = self.receiving_by(number) else { return };
        let (suite, listing) = (one.terms.suite, one.state == State::Listing);
        let expected = Expected { len: one.terms.list_len, hash: one.terms.list_hash };
        let Some(trial) = &mut one.trial else { return };
        let Some(keys) = trial.keys.take() else { return };
        let (sink, listen) = oneshot::channel();
        match trial.arrivals.take() {
            Some(arrivals) => {
                let _listening = sink.send(arrivals);
            }
            None => trial.sink = Some(sink),
        }
        let reader = RecordReader::new(stream, opener, keys, inputs.clone(), suite);
        let list = listing.then_some(expected);
        trial.reader = Some(tokio::spawn(carry::receive(reader, number, list, listen, inputs)));
    }

    /// The names came.
    pub(super) async fn files_listed(&mut self, number: u32, listed: Result<Listed, ListFault>) {
        let Some((id, one)) = self.receiving_by(number) else { return };
        let refused = match listed {
            Ok((manifest, layout)) => {
                let FileTerms { files, folders, bytes, suite, list_len, .. } = one.terms;
                if (manifest.files(), manifest.folders(), manifest.bytes()) == (files, folders, bytes) {
                    let totals = FileTotals { files, folders, bytes, list: u64::from(list_len) };
                    let name = vernam_files::display(layout.name(&manifest, 0)).into_owned();
                    one.listed = Some((Arc::clone(&manifest), Arc::clone(&layout)));
                    one.state = State::Open;
                    let weaker = one.is_known();
                    let offer = Box::new(OfferedFiles { name, totals, suite, manifest, layout, weaker });
                    let event = Event::FileOffered { contact: self.name(), transfer: id, offer };
                    return self.tell(event).await;
                }
                "the list of names is not what was said of it".to_owned()
            }
            Err(ListFault::Refused(why)) => why,
            // The sender offers it anew, if it can.
            Err(ListFault::Lost) => return self.files_unheard(number, "the list did not come"),
        };
        self.say_cancelled(id, FileCancelReason::Refused);
        self.warn(format!("files that {} offers are refused: {refused}", self.contact)).await;
        self.drop_receiving(id).await;
    }

    /// The flow ended while nobody waited for files, or files came unasked for.
    pub(super) fn files_unheard(&mut self, number: u32, why: &str) {
        let Some((id, one)) = self.receiving_by(number) else { return };
        tracing::debug!(%id, why, "a flow of files ended early");
        let flow = one.abandon();
        let known = one.is_known();
        if one.state == State::Listing {
            one.state = State::Resting;
            if !known {
                self.transfers.receiving.remove(&id);
            }
        }
        if let Some(flow) = flow {
            self.routes_in.remove(&flow);
        }
        self.say_stopped(number, FileStopReason::Stream, 0);
    }

    /// A person says yes.
    pub(super) async fn accept_files(&mut self, id: TransferId, folder: PathBuf, names: Rules) {
        let Some(one) = self.transfers.receiving.get_mut(&id).filter(|one| one.state == State::Open) else {
            return self.warn("there is no such offer").await;
        };
        if one.trial.is_none() {
            return self.warn("the contact is away: accept it when the contact is back").await;
        }
        let suite = one.terms.suite;
        if one.is_known() {
            // A yes to a weaker protection for the rest; the desk remembers the first one, and asks again after a crash.
            one.agreed = Some(suite);
            return self.begin_writing(id, Begin::Reopen(id), false);
        }
        let Some((manifest, _)) = one.listed.clone() else { return };
        one.folder.clone_from(&folder);
        let acceptance = Acceptance { id, folder, rules: names, note: note(suite, IfShort::Ask) };
        self.begin_writing(id, Begin::Accept(acceptance, manifest), true);
    }

    /// Makes the disk ready; what then comes is written.
    fn begin_writing(&mut self, id: TransferId, begin: Begin, fresh: bool) {
        let Some(desk) = self.transfers.desk.clone() else { return };
        let (inputs, epoch) = (self.inputs.clone(), self.shared.epoch);
        let Some(one) = self.transfers.receiving.get_mut(&id) else { return };
        let Some(trial) = &mut one.trial else { return };
        let number = trial.number;
        let (arrivals, come) = mpsc::channel(FILE_PIECES);
        let (opened, is_open) = oneshot::channel();
        let (ended, end) = oneshot::channel();
        trial.arrivals = Some(arrivals);
        one.meter.begin(0);
        let telling = Telling { opened, done: Arc::clone(&one.meter.done), epoch, inputs: inputs.clone() };
        one.state = State::Opening;
        one.writer = Some(Writer { number, opened: Some(is_open), fresh, end });
        tokio::task::spawn_blocking(move || {
            let _nobody_waits = ended.send(disk::write(&desk, begin, come, telling));
            // Where it does not fit, the next tick looks.
            let _full = inputs.try_send(Input::Files(FileInput::Look));
        });
    }

    /// Looks which writers have begun, and which are done.
    pub(super) async fn look_at_writers(&mut self) {
        let ids: Vec<TransferId> =
            self.transfers.receiving.iter().filter(|(_, one)| one.writer.is_some()).map(|(id, _)| *id).collect();
        for id in ids {
            self.look_whether_open(id).await;
            let Some(one) = self.transfers.receiving.get_mut(&id) else { continue };
            let Some(writer) = &mut one.writer else { continue };
            let written = match writer.end.try_recv() {
                Ok(written) => written,
                Err(oneshot::error::TryRecvError::Empty) => continue,
                Err(oneshot::error::TryRecvError::Closed) => Written::Disk("writing failed".to_owned()),
            };
            self.files_written(id, written).await;
        }
    }

    async fn look_whether_open(&mut self, id: TransferId) {
        let now = self.now();
        let Some(one) = self.transfers.receiving.get_mut(&id) else { return };
        let Some(writer) = &mut one.writer else { return };
        let Some(Ok(opened)) = writer.opened.as_mut().map(oneshot::Receiver::try_recv) else { return };
        writer.opened = None;
        // What could not be begun shows in the writer's end.
        let Ok(Opened { point, there }) = opened else { return };
        one.agreed.get_or_insert(one.terms.suite);
        one.listed = None;
        writer.fresh = false;
        let number = writer.number;
        let Some(trial) = one.trial.as_mut().filter(|trial| trial.number == number) else { return };
        one.state = State::Moving;
        if let Some(sink) = trial.sink.take()
            && let Some(arrivals) = trial.arrivals.take()
        {
            let _ended = sink.send(arrivals);
        }
        let (here, away, point) =
            (one.here, one.there, FilePoint { entry: point.entry, offset: point.offset, prefix: point.prefix.0 });
        self.session.send(Message::FileAccept { transfer: number, point }, now);
        if here {
            self.session.send(Message::FilePause { transfer: number, on: true }, now);
        }
        self.tell_file_status(id, false, FileStatus::Moving { there }).await;
        if here {
            self.tell_file_status(id, false, FileStatus::Paused { here, there: away }).await;
        }
    }

    /// A writer is done.
    async fn files_written(&mut self, id: TransferId, written: Written) {
        let now = self.now();
        let Some(one) = self.transfers.receiving.get_mut(&id) else { return };
        let Some(Writer { number, mut fresh, opened, .. }) = one.writer.take() else { return };
        // It may have begun and ended between two looks.
        if opened.is_some_and(|mut opened| matches!(opened.try_recv(), Ok(Ok(_)))) {
            one.agreed.get_or_insert(one.terms.suite);
            fresh = false;
        }
        let live = one.number() == Some(number);
        let (there, ending) = (one.meter.done.load(Ordering::Relaxed), one.ending.take());
        if let (Some(why), false) = (&ending, matches!(written, Written::Placed(..))) {
            let why = why.clone();
            return self.remove_receiving(id, why).await;
        }
        if live
            && !matches!(written, Written::Disk(_) if fresh)
            && let Some(flow) = one.abandon()
        {
            self.routes_in.remove(&flow);
        }
        let Some(one) = self.transfers.receiving.get_mut(&id) else { return };
        one.state = if one.is_known() { State::Resting } else { State::Open };
        let wait = match written {
            Written::Placed(received, hash) => {
                let failed = u32::try_from(received.failed.len()).unwrap_or(u32::MAX);
                if live {
                    let stored = Message::FileStored { transfer: number, files: received.files, failed };
                    self.session.send(stored, now);
                }
                let Some(one) = self.transfers.receiving.remove(&id) else { return };
                let done = FileDone {
                    places: received.placed,
                    files: received.files,
                    failed,
                    failures: received.told.into_iter().map(|(path, why)| FailedFile { path, why }).collect(),
                    bytes: received.bytes,
                    hash,
                    took: one.meter.took(),
                };
                return self.tell_file_ended(id, false, Ok(done)).await;
            }
            Written::Disk(why) if fresh => {
                // Nothing was begun: the offer stands, and perhaps another folder serves.
                return self.tell_file_status(id, false, FileStatus::NotTaken(why)).await;
            }
            Written::Cut(why) => {
                if live {
                    self.say_stopped(number, FileStopReason::Stream, 0);
                }
                let why = why.unwrap_or_else(|| "it was broken off".to_owned());
                // Where it goes on at once, or ends with the conversation, nobody has to be told.
                if !live {
                    return self.begin_next_try(id);
                }
                FileWait::Again(why)
            }
            Written::Full { missing, free } => {
                one.state = State::WaitsForRoom { free: free.saturating_add(missing), asked: None };
                self.say_stopped(number, FileStopReason::Full, missing);
                FileWait::Room { missing }
            }
            Written::Disk(why) => {
                self.say_stopped(number, FileStopReason::Disk, 0);
                FileWait::Person(why)
            }
            Written::Stream(why) => {
                self.say_stopped(number, FileStopReason::Stream, 0);
                FileWait::Again(why)
            }
        };
        tracing::debug!(%id, there, %wait, "a try to receive files is over");
        self.tell_file_wait(id, false, wait).await;
        self.begin_next_try(id);
    }

    /// The sender ended its try: it will offer the rest again.
    pub(super) async fn sender_stopped(&mut self, number: u32, reason: FileStopReason) {
        let Some((id, one)) = self.receiving_by(number) else { return };
        let flow = one.abandon();
        let known = one.is_known();
        if !known && one.state == State::Listing {
            self.transfers.receiving.remove(&id);
        }
        if let Some(flow) = flow {
            self.routes_in.remove(&flow);
        }
        if known {
            let why = match reason {
                FileStopReason::Key => "the sender waits for key",
                _ => "the sender begins anew",
            };
            self.tell_file_wait(id, false, FileWait::Again(why.to_owned())).await;
        }
    }

    /// It ends, and nothing of it is kept.
    pub(super) async fn cancel_receiving(&mut self, id: TransferId, why: FileError) {
        let Some(one) = self.transfers.receiving.get_mut(&id) else { return };
        if let Some(flow) = one.abandon() {
            self.routes_in.remove(&flow);
        }
        let Some(one) = self.transfers.receiving.get_mut(&id) else { return };
        one.next = None;
        if one.writer.is_some() {
            // As soon as it has let go of the files. If it is just putting them in place, they stay.
            one.ending = Some(why);
        } else {
            self.remove_receiving(id, why).await;
        }
    }

    async fn remove_receiving(&mut self, id: TransferId, why: FileError) {
        let Some(one) = self.transfers.receiving.remove(&id) else { return };
        let told = one.is_known() || one.listed.is_some();
        let ours = why == FileError::Cancelled;
        if ours {
            let known = one.is_known();
            self.say_cancelled(id, if known { FileCancelReason::Cancelled } else { FileCancelReason::Declined });
        }
        if let Some(desk) = self.transfers.desk.clone() {
            let removed = on_disk(move || {
                // The contact may not have heard it.
                if ours {
                    desk.keep_receipt(id, &Receipt::Cancelled)?;
                }
                desk.remove_part(id)
            });
            match removed.await {
                Ok(()) | Err(vernam_files::DeskError::Unknown) => {}
                Err(error) => self.warn(error.to_string()).await,
            }
        }
        if told {
            self.tell_file_ended(id, false, Err(why)).await;
        }
    }

    /// Forgets an offer that nobody has seen.
    async fn drop_receiving(&mut self, id: TransferId) {
        let Some(one) = self.transfers.receiving.get_mut(&id) else { return };
        if one.is_known() {
            return self.cancel_receiving(id, FileError::Refused).await;
        }
        if let Some(flow) = one.abandon() {
            self.routes_in.remove(&flow);
        }
        self.transfers.receiving.remove(&id);
    }

    pub(super) async fn pause_receiving(&mut self, id: TransferId, on: bool) {
        let now = self.now();
        let Some(one) = self.transfers.receiving.get_mut(&id) else { return };
        one.here = on;
        let status = FileStatus::Paused { here: one.here, there: one.there };
        match (one.number(), one.state) {
            (Some(transfer), State::Moving) => self.session.send(Message::FilePause { transfer, on }, now),
            (None, State::Resting | State::WaitsForRoom { .. }) if !on => {
                one.state = State::Resting;
                self.session.send(Message::FileResume { id: id.0 }, now);
            }
            _ => {}
        }
        self.tell_file_status(id, false, status).await;
    }

    pub(super) async fn receiving_paused(&mut self, id: TransferId, on: bool) {
        let Some(one) = self.transfers.receiving.get_mut(&id) else { return };
        one.there = on;
        let status = FileStatus::Paused { here: one.here, there: one.there };
        self.tell_file_status(id, false, status).await;
    }

    /// Asks, now and then, whether a disk that was full has room.
    pub(super) fn look_for_room(&mut self) {
        for (id, one) in &mut self.transfers.receiving {
            let State::WaitsForRoom { asked, .. } = &mut one.state else { continue };
            if asked.is_some_and(|asked| asked.elapsed() < ROOM_PAUSE) {
                continue;
            }
            *asked = Some(Instant::now());
            let (transfer, folder, inputs) = (*id, one.folder.clone(), self.inputs.clone());
            tokio::task::spawn_blocking(move || {
                if let Ok(free) = vernam_files::free_bytes(&folder) {
                    let _full = inputs.try_send(Input::Files(FileInput::Room { transfer, free }));
                }
            });
        }
    }

    pub(super) fn room_found(&mut self, id: TransferId, free: u64) {
        let now = self.now();
        let Some(one) = self.transfers.receiving.get_mut(&id) else { return };
        if matches!(one.state, State::WaitsForRoom { free: wanted, .. } if free >= wanted) && !one.here {
            one.state = State::Resting;
            self.session.send(Message::FileResume { id: id.0 }, now);
        }
    }

    /// The conversation is over: what came is flushed, and what was through is through.
    pub(super) async fn end_tries_of_receiving(&mut self) {
        let mut cut = Vec::new();
        for (id, one) in &mut self.transfers.receiving {
            one.next = None;
            if one.abandon().is_some() && one.is_known() {
                cut.push(*id);
            }
        }
        let deadline = Instant::now() + FLUSH_PATIENCE;
        let ids: Vec<TransferId> = self.transfers.receiving.keys().copied().collect();
        for id in ids {
            self.look_whether_open(id).await;
            let Some(writer) = self.transfers.receiving.get_mut(&id).and_then(|one| one.writer.as_mut()) else {
                continue;
            };
            let rest = deadline.saturating_duration_since(Instant::now());
            // What takes longer is looked at in the next conversation.
            if let Ok(written) = timeout(rest, &mut writer.end).await {
                let written = written.unwrap_or(Written::Cut(None));
                self.files_written(id, written).await;
            }
        }
        self.transfers.receiving.retain(|_, one| one.is_known() || one.listed.is_some() || one.writer.is_some());
        for id in cut {
            if self.transfers.receiving.contains_key(&id) {
                self.tell_file_wait(id, false, FileWait::Connection).await;
            }
        }
    }
}
