//! The transfers of a conversation: offers, answers and ends.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use vernam_key::{File, Inbound};
use vernam_quic::RecvStream;
use vernam_session::{FileTerms, FlowId, Message, StreamHeader, Suite};

use super::{Input, Peer};
use crate::event::{Event, FileDone};
use crate::files::{self, Progress, safe_name};
use crate::limits::{MAX_TRANSFERS, TRANSFER_PATIENCE};
use crate::records::{FlowKey, RecordReader, RecordWriter};

/// All transfers of a conversation, by number.
#[derive(Default)]
pub(super) struct Transfers {
    sending: BTreeMap<u32, Sending>,
    receiving: BTreeMap<u32, Receiving>,
}

struct Sending {
    path: PathBuf,
    size: u64,
    suite: Suite,
    accepted: bool,
    task: Option<JoinHandle<()>>,
    done: Option<FileDone>,
    /// Since when nothing but the other side's word is waited for.
    waits_since: Option<Instant>,
}

struct Receiving {
    terms: FileTerms,
    accepted: Option<Accepted>,
    hash: Option<oneshot::Sender<[u8; 32]>>,
    task: Option<JoinHandle<()>>,
    /// Since when it is accepted and its stream has not come.
    waits_since: Option<Instant>,
}

impl Receiving {
    /// Nobody has taken it yet.
    fn is_open(&self) -> bool {
        self.accepted.is_none() && self.task.is_none()
    }
}

struct Accepted {
    folder: PathBuf,
    keys: mpsc::Receiver<FlowKey<Inbound>>,
    expected: oneshot::Receiver<[u8; 32]>,
}

impl Transfers {
    /// Ends all, and says which they were and whether they were ours.
    fn abort(&mut self) -> Vec<(u32, bool)> {
        let sending = std::mem::take(&mut self.sending).into_iter().map(|(number, one)| (number, true, one.task));
        let receiving = std::mem::take(&mut self.receiving).into_iter();
        let receiving = receiving.map(|(number, one)| (number, false, one.task));
        sending
            .chain(receiving)
            .map(|(number, ours, task)| {
                if let Some(task) = task {
                    task.abort();
                }
                (number, ours)
            })
            .collect()
    }
}

impl Peer {
    pub(super) async fn offer_file(&mut self, path: PathBuf, suite: Suite) {
        let now = self.now();
        if !self.session.is_established() || !self.session.allows(suite) {
            return self.warn(format!("{suite} is not allowed by both sides for this contact")).await;
        }
        if self.transfers.sending.len() >= MAX_TRANSFERS {
            return self.warn("too many files are on their way: wait for one to end").await;
        }
        let metadata = match tokio::fs::metadata(&path).await {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => return self.warn(format!("{} is not a file", path.display())).await,
            Err(error) => return self.warn(format!("{} cannot be read: {error}", path.display())).await,
        };
        let size = metadata.len();
        let left = self.stocks.status().0.available;
        if suite == Suite::Otp && files::pad_cost(size) > left {
            let text = format!(
                "the file needs {} bytes of key under one-time pad and {left} are in stock: wait for key, or send it \
                 under AES",
                files::pad_cost(size)
            );
            return self.warn(text).await;
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let transfer = self.new_number();
        let sending = Sending { path, size, suite, accepted: false, task: None, done: None, waits_since: None };
        self.transfers.sending.insert(transfer, sending);
        let terms = FileTerms { name: safe_name(&name), size, suite };
        self.session.send(Message::FileOffer { transfer, terms }, now);
    }

    pub(super) async fn file_offered(&mut self, transfer: u32, mut terms: FileTerms) {
        if self.transfers.receiving.contains_key(&transfer) {
            // Its number is taken: the first offer stands.
            return;
        }
        let full = self.transfers.receiving.len() >= MAX_TRANSFERS;
        if !self.takes_transfer(transfer) || full || !self.session.allows(terms.suite) {
            return self.decline_file(transfer);
        }
        terms.name = safe_name(&terms.name);
        let (contact, name, size, suite) = (self.name(), terms.name.clone(), terms.size, terms.suite);
        self.transfers
            .receiving
            .insert(transfer, Receiving { terms, accepted: None, hash: None, task: None, waits_since: None });
        self.tell(Event::FileOffered { contact, transfer, name, size, suite }).await;
    }

    pub(super) async fn accept_file(&mut self, transfer: u32, folder: PathBuf) {
        let now = self.now();
        let open = self.transfers.receiving.get(&transfer).is_some_and(Receiving::is_open);
        if !open {
            return self.warn("there is no such offer").await;
        }
        if !folder.is_dir() {
            return self.warn(format!("{} is not a folder", folder.display())).await;
        }
        let keys = self.open_route_in(FlowId::of::<File>(transfer));
        let (hash, expected) = oneshot::channel();
        if let Some(receiving) = self.transfers.receiving.get_mut(&transfer) {
            receiving.hash = Some(hash);
            receiving.accepted = Some(Accepted { folder, keys, expected });
            receiving.waits_since = Some(Instant::now());
        }
        self.session.send(Message::FileAccept { transfer }, now);
    }

    pub(super) fn decline_file(&mut self, transfer: u32) {
        if let Some(Receiving { task: Some(task), .. }) = self.transfers.receiving.remove(&transfer) {
            task.abort();
        }
        self.routes_in.remove(&FlowId::of::<File>(transfer));
        let now = self.now();
        self.session.send(Message::FileDecline { transfer }, now);
    }

    pub(super) fn file_accepted(&mut self, transfer: u32) {
        if let Some(sending) = self.transfers.sending.get_mut(&transfer) {
            sending.accepted = true;
            self.start_waiting_transfers();
        }
    }

    /// Starts what was accepted and waited for the second connection.
    pub(super) fn start_waiting_transfers(&mut self) {
        let Some(lane) = self.lanes.files() else { return };
        let waiting: Vec<u32> = self
            .transfers
            .sending
            .iter()
            .filter(|(_, sending)| sending.accepted && sending.task.is_none() && sending.done.is_none())
            .map(|(transfer, _)| *transfer)
            .collect();
        for transfer in waiting {
            let flow = FlowId::of::<File>(transfer);
            let keys = self.open_route_out(flow);
            let Ok(sealer) = self.session.record_sealer::<File>(transfer) else { return };
            let Some(sending) = self.transfers.sending.get_mut(&transfer) else { continue };
            let (path, suite, lane) = (sending.path.clone(), sending.suite, lane.clone());
            let (inputs, epoch) = (self.inputs.clone(), self.shared.epoch);
            let progress = Progress::new(transfer, true, sending.size, inputs.clone());
            sending.task = Some(tokio::spawn(async move {
                let opened = async {
                    let mut stream = lane.open_uni().await.map_err(|error| error.to_string())?;
                    stream.write_all(&StreamHeader(flow).to_bytes()).await.map_err(|error| error.to_string())?;
                    Ok::<_, String>(RecordWriter::new(stream, sealer, keys, inputs.clone(), flow, suite))
                };
                let result = match opened.await {
                    Ok(writer) => files::send(path, writer, progress, epoch).await,
                    Err(why) => Err(why),
                };
                let _gone = inputs.send(Input::FileEnded { transfer, sending: true, result }).await;
            }));
        }
    }

    pub(super) fn file_stream(&mut self, flow: FlowId, stream: RecvStream) {
        let transfer = flow.number;
        if flow != FlowId::of::<File>(transfer) {
            return;
        }
        let Ok(opener) = self.session.record_opener::<File>(transfer) else { return };
        let Some(receiving) = self.transfers.receiving.get_mut(&transfer) else { return };
        let Some(Accepted { folder, keys, expected }) = receiving.accepted.take() else { return };
        receiving.waits_since = None;
        let inputs = self.inputs.clone();
        let name = receiving.terms.name.clone();
        let reader = RecordReader::new(stream, opener, keys, inputs.clone(), receiving.terms.suite);
        let progress = Progress::new(transfer, false, receiving.terms.size, inputs.clone());
        receiving.task = Some(tokio::spawn(async move {
            let result = files::receive(folder, name, reader, progress, expected).await;
            let _gone = inputs.send(Input::FileEnded { transfer, sending: false, result }).await;
        }));
    }

    /// One of our tasks is done: sending waits for the receiver's word, receiving gives it.
    pub(super) async fn file_ended(&mut self, transfer: u32, sending: bool, result: Result<FileDone, String>) {
        let now = self.now();
        let flow = FlowId::of::<File>(transfer);
        if sending {
            self.routes_out.remove(&flow);
            match result {
                Ok(done) => {
                    self.session.send(Message::FileSent { transfer, hash: done.hash }, now);
                    if let Some(sending) = self.transfers.sending.get_mut(&transfer) {
                        sending.done = Some(done);
                        sending.waits_since = Some(Instant::now());
                    }
                }
                Err(why) => {
                    self.transfers.sending.remove(&transfer);
                    self.session.send(Message::FileDecline { transfer }, now);
                    self.tell_file_ended(transfer, true, Err(why)).await;
                }
            }
        } else {
            self.routes_in.remove(&flow);
            self.transfers.receiving.remove(&transfer);
            self.session.send(Message::FileStored { transfer, whole: result.is_ok() }, now);
            self.tell_file_ended(transfer, false, result).await;
        }
    }

    pub(super) fn file_sent(&mut self, transfer: u32, hash: [u8; 32]) {
        let waiting = self.transfers.receiving.get_mut(&transfer).and_then(|receiving| receiving.hash.take());
        if let Some(waiting) = waiting {
            let _gone = waiting.send(hash);
        }
    }

    pub(super) async fn file_stored(&mut self, transfer: u32, whole: bool) {
        let Some(mut sending) = self.transfers.sending.remove(&transfer) else { return };
        self.routes_out.remove(&FlowId::of::<File>(transfer));
        if let Some(task) = sending.task.take().filter(|_| !whole) {
            task.abort();
        }
        let result = match sending.done.filter(|_| whole) {
            Some(done) => Ok(done),
            None => Err(format!("{} could not keep the file", self.contact)),
        };
        self.tell_file_ended(transfer, true, result).await;
    }

    /// The other side will not have it, or will not send it after all.
    pub(super) async fn file_declined(&mut self, transfer: u32) {
        let flow = FlowId::of::<File>(transfer);
        self.routes_out.remove(&flow);
        self.routes_in.remove(&flow);
        if let Some(mut sending) = self.transfers.sending.remove(&transfer) {
            if let Some(task) = sending.task.take() {
                task.abort();
            }
            let why = format!("{} declined the file", self.contact);
            self.tell_file_ended(transfer, true, Err(why)).await;
        } else if let Some(mut receiving) = self.transfers.receiving.remove(&transfer) {
            if let Some(task) = receiving.task.take() {
                task.abort();
            }
            let why = format!("{} broke the transfer off", self.contact);
            self.tell_file_ended(transfer, false, Err(why)).await;
        }
    }

    /// Gives up what stands still.
    pub(super) async fn transfers_tick(&mut self) {
        let late = |since: Option<Instant>| since.is_some_and(|since| since.elapsed() > TRANSFER_PATIENCE);
        let receiving = self.transfers.receiving.iter().filter(|(_, one)| late(one.waits_since));
        let receiving: Vec<u32> = receiving.map(|(transfer, _)| *transfer).collect();
        let sending = self.transfers.sending.iter().filter(|(_, one)| late(one.waits_since));
        let sending: Vec<u32> = sending.map(|(transfer, _)| *transfer).collect();
        for transfer in receiving {
            self.decline_file(transfer);
            let why = format!("{} announced the file and did not send it", self.contact);
            self.tell_file_ended(transfer, false, Err(why)).await;
        }
        for transfer in sending {
            self.transfers.sending.remove(&transfer);
            let why = format!("{} did not confirm that the file arrived", self.contact);
            self.tell_file_ended(transfer, true, Err(why)).await;
        }
    }

    /// The conversation is over, and every transfer with it.
    pub(super) async fn end_transfers(&mut self) {
        for (transfer, sending) in self.transfers.abort() {
            let why = "the conversation ended before the file was through".to_owned();
            self.tell_file_ended(transfer, sending, Err(why)).await;
        }
    }

    async fn tell_file_ended(&self, transfer: u32, sending: bool, result: Result<FileDone, String>) {
        self.tell(Event::FileEnded { contact: self.name(), transfer, sending, result }).await;
    }
}
