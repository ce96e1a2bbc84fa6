//! Files that go: walked, priced, offered, carried, and over when the contact says that they are in place.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use vernam_files::{FileEnd, Hash, Offer, ResumePoint, TransferId};
use vernam_key::File;
use vernam_session::limits::AEAD_SEED_LEN;
use vernam_session::{FileCancelReason, FilePoint, FileStopReason, FileTerms, FlowId, Message, Suite};

use super::carry::{self, SendFault, SendJob, Step};
use super::{FileInput, Input, Meter, Peer, Retry, failures, first_name, note, on_disk};
use crate::event::Event;
use crate::files::{FileDone, FileError, FileStatus, FileTotals, FileWait, IfShort, PreparedFiles, Shortage};
use crate::limits::MAX_TRANSFERS;

/// Steps that may wait for a sending task: there are two in a try.
const STEPS: usize = 4;

/// Files of ours.
pub(super) struct Sending {
    offer: Arc<Offer>,
    pub(super) totals: FileTotals,
    list_hash: Hash,
    suite: Suite,
    if_short: IfShort,
    state: State,
    pub(super) here: bool,
    pub(super) there: bool,
    trial: Option<Try>,
    /// Bytes of the stock that are kept for it.
    pub(super) reserved: u64,
    /// Bytes that were through in earlier tries: they are not paid for again.
    through: u64,
    retry: Retry,
    pub(super) meter: Meter,
    ends: Vec<FileEnd>,
    /// The application has been told what it is and what it costs.
    prepared: bool,
}

/// Where it stands.
enum State {
    /// To be offered as soon as that can be.
    Ready,
    /// The stock is short, and a person has to decide.
    Short,
    /// The stock is short; it goes when it is not.
    WaitsForKey,
    /// Offered, and perhaps looked at.
    Offered,
    /// It goes.
    Moving,
    /// Something has to happen at the contact's, or a person has to say so.
    Stopped,
}

/// One try: a number, a flow, a task.
struct Try {
    number: u32,
    steps: mpsc::Sender<Step>,
    paused: watch::Sender<bool>,
    task: JoinHandle<()>,
    listed: bool,
    accepted: bool,
}

impl Sending {
    pub(super) fn new(offer: Arc<Offer>, suite: Suite, if_short: IfShort) -> Self {
        Self {
            totals: FileTotals::of(offer.manifest()),
            list_hash: offer.manifest().hash(),
            offer,
            suite,
            if_short,
            state: State::Ready,
            here: false,
            there: false,
            trial: None,
            reserved: 0,
            through: 0,
            retry: Retry::default(),
            meter: Meter::default(),
            ends: Vec::new(),
            prepared: false,
        }
    }

    pub(super) fn number(&self) -> Option<u32> {
        self.trial.as_ref().map(|trial| trial.number)
    }

    pub(super) fn waits_for_key(&self) -> bool {
        matches!(self.state, State::WaitsForKey)
    }

    /// Whether it goes, or will without a person's word.
    pub(super) fn is_under_way(&self) -> bool {
        !self.here && matches!(self.state, State::Ready | State::WaitsForKey | State::Offered | State::Moving)
    }

    /// Bytes of pad that what is left of it takes at most.
    pub(super) fn cost(&self) -> u64 {
        if self.suite != Suite::Otp {
            return 0;
        }
        match self.through {
            0 => self.totals.pad_cost(),
            through => self.totals.rest_cost(self.totals.bytes.saturating_sub(through), 0),
        }
    }

    fn terms(&self, id: TransferId) -> FileTerms {
        let FileTotals { files, folders, bytes, list } = self.totals;
        let list_len = u32::try_from(list).unwrap_or(u32::MAX);
        FileTerms { id: id.0, suite: self.suite, files, folders, bytes, list_len, list_hash: self.list_hash.0 }
    }

    /// Ends the try that is under way.
    fn abandon(&mut self) -> Option<FlowId> {
        self.reserved = 0;
        self.there = false;
        let trial = self.trial.take()?;
        trial.task.abort();
        self.through = self.through.max(self.meter.done.load(Ordering::Relaxed));
        Some(FlowId::of::<File>(trial.number))
    }

    fn hold(&self) {
        if let Some(trial) = &self.trial {
            trial.paused.send_replace(self.here || self.there);
        }
    }
}

impl Peer {
    /// Bytes of the stock that both sides hold and nothing has reserved.
    fn unreserved(&self) -> u64 {
        self.usable_now().saturating_sub(self.transfers.reserved())
    }

    /// Looks at files, and puts the offer on the desk.
    pub(super) async fn walk_files(&mut self, transfer: TransferId, paths: Vec<PathBuf>, suite: Suite, short: IfShort) {
        if let Err(why) = self.transfers.load().await {
            return self.tell_file_ended(transfer, true, Err(FileError::Unsendable(why))).await;
        }
        let full = self.transfers.sending.len() >= MAX_TRANSFERS;
        let known = self.transfers.sending.contains_key(&transfer);
        let Some(desk) = self.transfers.desk.clone().filter(|_| !full && !known) else {
            let why = match (known, full) {
                (true, _) => "this transfer is under way already",
                (_, true) => "too many transfers to this contact are under way: wait for one to end, or cancel one",
                _ => "this client has no place to remember transfers: files cannot be sent",
            };
            return self.tell_file_ended(transfer, true, Err(FileError::Unsendable(why.to_owned()))).await;
        };
        let inputs = self.inputs.clone();
        tokio::spawn(async move {
            let walked = on_disk(move || {
                let offer = Offer::walk(&paths).map_err(|error| error.to_string())?;
                desk.keep_offer(transfer, &offer, &note(suite, short)).map_err(|error| error.to_string())?;
                Ok(Arc::new(offer))
            });
            let walked = walked.await;
            let _gone = inputs.send(Input::Files(FileInput::Walked { transfer, walked, suite, if_short: short })).await;
        });
    }

    pub(super) async fn files_walked(
        &mut self,
        transfer: TransferId,
        walked: Result<Arc<Offer>, String>,
        suite: Suite,
        if_short: IfShort,
    ) {
        match walked {
            Ok(offer) => {
                self.transfers.sending.entry(transfer).or_insert_with(|| Sending::new(offer, suite, if_short));
                self.offer_waiting_files().await;
            }
            Err(why) => self.tell_file_ended(transfer, true, Err(FileError::Unsendable(why))).await,
        }
    }

    /// Offers what can be offered now.
    pub(super) async fn offer_waiting_files(&mut self) {
        if !self.session.is_established() {
            return;
        }
        let waiting: Vec<TransferId> = self
            .transfers
            .sending
            .iter()
            .filter(|(_, one)| {
                matches!(one.state, State::Ready | State::WaitsForKey) && !one.here && one.retry.is_due()
            })
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            if self.price_files(id).await {
                self.offer_files(id).await;
            }
        }
    }

    /// Whether both sides allow it and the stock covers it; tells what it costs, or what is short.
    async fn price_files(&mut self, id: TransferId) -> bool {
        let usable = self.unreserved();
        let Some(one) = self.transfers.sending.get(&id) else { return false };
        if !self.session.allows(one.suite) {
            let why = format!("{} is not allowed by both sides for this contact", one.suite);
            self.say_cancelled(id, FileCancelReason::Cancelled);
            self.end_sending(id, Err(FileError::Unsendable(why))).await;
            return false;
        }
        let (cost, waits) = (one.cost(), one.waits_for_key());
        if cost > usable {
            if !waits {
                self.files_short(id, cost, usable).await;
            }
            return false;
        }
        let Some(one) = self.transfers.sending.get_mut(&id) else { return false };
        one.state = State::Ready;
        if !std::mem::replace(&mut one.prepared, true) {
            let files = PreparedFiles {
                name: first_name(one.offer.manifest()),
                totals: one.totals,
                left_out: one.offer.left_out().to_vec(),
                left_out_count: one.offer.left_out_count(),
                suite: one.suite,
                cost,
                remains: usable - cost,
            };
            let event = Event::FilePrepared { contact: self.name(), transfer: id, files: Box::new(files) };
            self.tell(event).await;
        }
        true
    }

    /// The stock cannot cover it: what was said for this case is done, and told.
    async fn files_short(&mut self, id: TransferId, cost: u64, usable: u64) {
        let instead = self.session.allowed().iter().copied().find(|suite| *suite != Suite::Otp);
        let missing = cost - usable;
        let shortage = Shortage { cost, usable, missing, wait: self.fill.time_for(missing), instead };
        let Some(one) = self.transfers.sending.get_mut(&id) else { return };
        // Other words of ours than were allowed are not put in their place.
        let choice = match one.if_short {
            IfShort::Under(suite) if suite == Suite::Otp || !self.session.allows(suite) => IfShort::Wait,
            choice => choice,
        };
        match choice {
            IfShort::Ask => one.state = State::Short,
            IfShort::Wait => one.state = State::WaitsForKey,
            IfShort::Under(suite) => one.suite = suite,
        }
        let contact = self.name();
        self.tell(Event::FileShort { contact, transfer: id, shortage, choice }).await;
    }

    /// A person decided what to do about files that the stock cannot cover.
    pub(super) async fn decide_files(&mut self, transfer: TransferId, choice: IfShort) {
        let Some(one) = self.transfers.sending.get_mut(&transfer) else {
            return self.warn("there is no such transfer").await;
        };
        one.if_short = choice;
        if matches!(one.state, State::Short | State::WaitsForKey) {
            one.state = State::Ready;
            self.offer_waiting_files().await;
        }
    }

    /// Begins a try.
    async fn offer_files(&mut self, id: TransferId) {
        let Some(lane) = self.lanes.files() else { return };
        let number = self.new_number();
        let flow = FlowId::of::<File>(number);
        let Ok(sealer) = self.session.record_sealer::<File>(number) else { return };
        let keys = self.open_route_out(flow);
        let (inputs, epoch, now) = (self.inputs.clone(), self.shared.epoch, self.now());
        let Some(one) = self.transfers.sending.get_mut(&id) else { return };
        one.meter.begin(one.through);
        one.reserved = one.cost();
        let (steps, to_do) = mpsc::channel(STEPS);
        let (paused, holds) = watch::channel(false);
        let job = SendJob {
            offer: Arc::clone(&one.offer),
            lane,
            flow,
            suite: one.suite,
            sealer,
            keys,
            inputs: inputs.clone(),
            steps: to_do,
            paused: holds,
            done: Arc::clone(&one.meter.done),
            epoch,
        };
        let task = tokio::spawn(async move {
            let result = carry::send(job).await;
            let _gone = inputs.send(Input::Files(FileInput::Sent { number, result })).await;
        });
        one.state = State::Offered;
        one.trial = Some(Try { number, steps, paused, task, listed: false, accepted: false });
        let terms = one.terms(id);
        self.session.send(Message::FileOffer { transfer: number, terms }, now);
        self.tell_file_status(id, true, FileStatus::Offered).await;
    }

    fn sending_by(&mut self, number: u32) -> Option<(TransferId, &mut Sending)> {
        let found = self.transfers.sending.iter_mut().find(|(_, one)| one.number() == Some(number));
        found.map(|(id, one)| (*id, one))
    }

    /// The contact's client wants to see the names.
    pub(super) fn list_wanted(&mut self, number: u32) {
        let Some((_, one)) = self.sending_by(number) else { return };
        let Some(trial) = one.trial.as_mut().filter(|trial| !trial.listed && !trial.accepted) else { return };
        trial.listed = true;
        let _ended = trial.steps.try_send(Step::List);
    }

    /// The contact's person said yes, now or earlier.
    pub(super) async fn files_accepted(&mut self, number: u32, point: FilePoint) {
        let Some((id, one)) = self.sending_by(number) else { return };
        let point = ResumePoint { entry: point.entry, offset: point.offset, prefix: Hash(point.prefix) };
        let before = one.offer.manifest().entries().iter().take(point.entry as usize).map(vernam_files::Entry::size);
        let there = before.sum::<u64>().saturating_add(point.offset).min(one.totals.bytes);
        let Some(trial) = one.trial.as_mut().filter(|trial| !trial.accepted) else { return };
        trial.accepted = true;
        one.meter.done.store(there, Ordering::Relaxed);
        // What the receiver lost in a crash comes again, and is paid for again.
        one.through = there;
        let cost = one.cost();
        one.reserved = 0;
        let usable = self.unreserved();
        let Some((_, one)) = self.sending_by(number) else { return };
        if cost > usable {
            one.abandon();
            one.through = there;
            one.state = State::WaitsForKey;
            self.routes_out.remove(&FlowId::of::<File>(number));
            self.say_stopped(number, FileStopReason::Key, 0);
            return self.tell_file_wait(id, true, FileWait::Key { missing: cost - usable }).await;
        }
        one.reserved = cost;
        one.state = State::Moving;
        if let Some(trial) = &one.trial {
            let _ended = trial.steps.try_send(Step::Files(point));
        }
        self.tell_file_status(id, true, FileStatus::Moving { there }).await;
    }

    /// Our task has sent all, or could not.
    pub(super) async fn files_sent(&mut self, number: u32, result: Result<Vec<FileEnd>, SendFault>) {
        self.routes_out.remove(&FlowId::of::<File>(number));
        let Some((id, one)) = self.sending_by(number) else { return };
        match result {
            Ok(ends) => {
                // The rest is the receiver's to say.
                one.ends.extend(ends);
                one.reserved = 0;
            }
            Err(SendFault::Key) => {
                one.abandon();
                one.state = State::WaitsForKey;
                // Where the stock only seems to cover it, it is not tried again and again at once.
                one.retry.later();
                let cost = one.cost();
                let missing = cost.saturating_sub(self.unreserved()).max(AEAD_SEED_LEN as u64);
                self.say_stopped(number, FileStopReason::Key, 0);
                self.tell_file_wait(id, true, FileWait::Key { missing }).await;
            }
            Err(SendFault::Lost(why) | SendFault::Place(why)) => {
                self.say_stopped(number, FileStopReason::Anew, 0);
                self.retry_sending(id, why).await;
            }
        }
    }

    async fn retry_sending(&mut self, id: TransferId, why: String) {
        let Some(one) = self.transfers.sending.get_mut(&id) else { return };
        let moved = one.through;
        let flow = one.abandon();
        if one.through > moved {
            one.retry.times = 0;
        }
        one.retry.later();
        one.state = State::Ready;
        if let Some(flow) = flow {
            self.routes_out.remove(&flow);
        }
        self.tell_file_wait(id, true, FileWait::Again(why)).await;
    }

    /// The receiver ended this try, or, where it is the sender, ours to receive.
    pub(super) async fn files_stopped(&mut self, number: u32, reason: FileStopReason, missing: u64) {
        let Some((id, one)) = self.sending_by(number) else {
            return self.sender_stopped(number, reason).await;
        };
        let wait = match reason {
            FileStopReason::Full => FileWait::RoomAtContact { missing },
            FileStopReason::Disk => FileWait::Person("the contact's disk does not do what it should".to_owned()),
            FileStopReason::Suite => FileWait::Person(format!("the contact does not take it under {}", one.suite)),
            FileStopReason::Number | FileStopReason::Busy | FileStopReason::Stream => {
                let why = if reason == FileStopReason::Busy {
                    "the contact has too much under way"
                } else {
                    "it was misunderstood"
                };
                return self.retry_sending(id, why.to_owned()).await;
            }
            // It has stopped by itself and offers anew.
            FileStopReason::Key | FileStopReason::Anew => return,
        };
        let flow = one.abandon();
        one.state = State::Stopped;
        if let Some(flow) = flow {
            self.routes_out.remove(&flow);
        }
        self.tell_file_wait(id, true, wait).await;
    }

    /// The receiver wants the rest of it.
    pub(super) async fn files_wanted(&mut self, id: TransferId) {
        let Some(one) = self.transfers.sending.get_mut(&id) else {
            // Where it is on its way to us, somebody plays tricks. And only who can look at the desk knows what is not there.
            if self.transfers.desk.is_some() && !self.transfers.receiving.contains_key(&id) {
                self.say_cancelled(id, FileCancelReason::Unknown);
            }
            return;
        };
        if matches!(one.state, State::Stopped) {
            one.state = State::Ready;
            one.retry = Retry::default();
            self.offer_waiting_files().await;
        }
    }

    /// All of it is in place, says the receiver.
    pub(super) async fn files_stored(&mut self, number: u32, files: u32, failed: u32) {
        let Some((id, one)) = self.sending_by(number) else { return };
        let manifest = one.offer.manifest();
        let tops = (0..manifest.len()).filter(|index| manifest.get(*index).is_some_and(|entry| entry.depth() == 0));
        let failed_here = one.ends.iter().filter_map(|end| Some((end.entry, end.outcome.err()?)));
        let done = FileDone {
            places: tops.map(|index| one.offer.path(index)).collect(),
            files,
            failed,
            failures: failures(manifest, failed_here),
            bytes: one.totals.bytes,
            hash: one.ends.iter().rev().find_map(|end| end.outcome.ok()).map(|hash| hash.0),
            took: one.meter.took(),
        };
        self.end_sending(id, Ok(done)).await;
    }

    /// It is over, for good.
    pub(super) async fn end_sending(&mut self, id: TransferId, result: Result<FileDone, FileError>) {
        let Some(mut one) = self.transfers.sending.remove(&id) else { return };
        if let Some(flow) = one.abandon() {
            self.routes_out.remove(&flow);
        }
        if let Some(desk) = self.transfers.desk.clone()
            && let Err(error) = on_disk(move || desk.remove_offer(id)).await
        {
            self.warn(error.to_string()).await;
        }
        self.tell_file_ended(id, true, result).await;
    }

    pub(super) async fn pause_sending(&mut self, id: TransferId, on: bool) {
        let now = self.now();
        let Some(one) = self.transfers.sending.get_mut(&id) else { return };
        one.here = on;
        one.hold();
        let status = FileStatus::Paused { here: one.here, there: one.there };
        match one.number() {
            Some(transfer) => self.session.send(Message::FilePause { transfer, on }, now),
            None if !on && matches!(one.state, State::Stopped | State::Ready) => {
                one.state = State::Ready;
                one.retry = Retry::default();
            }
            None => {}
        }
        self.tell_file_status(id, true, status).await;
        self.offer_waiting_files().await;
    }

    pub(super) async fn sending_paused(&mut self, id: TransferId, on: bool) {
        let Some(one) = self.transfers.sending.get_mut(&id) else { return };
        one.there = on;
        one.hold();
        let status = FileStatus::Paused { here: one.here, there: one.there };
        self.tell_file_status(id, true, status).await;
    }

    /// The conversation is over: its tries are, too.
    pub(super) async fn end_tries_of_sending(&mut self) {
        let mut cut = Vec::new();
        for (id, one) in &mut self.transfers.sending {
            if one.abandon().is_some() {
                one.state = State::Ready;
                cut.push(*id);
            }
            one.retry = Retry::default();
        }
        for id in cut {
            self.tell_file_wait(id, true, FileWait::Connection).await;
        }
    }
}
