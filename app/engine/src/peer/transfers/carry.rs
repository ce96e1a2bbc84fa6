//! The tasks that carry files: pieces from the disk's thread into the records of a flow, and back.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};
use vernam_files::{FileEnd, Hash, Layout, Manifest, ManifestDecoder, Offer, ResumePoint, Rules};
use vernam_key::{File, Outbound};
use vernam_quic::Connection;
use vernam_session::limits::RECORD_HEADER_LEN;
use vernam_session::{FlowId, RecordSealer, StreamHeader, Suite};

use super::disk::{self, Arrival, Piece};
use super::{FileInput, Input};
use crate::limits::{FILE_BLOCK, FILE_PIECES};
use crate::records::{FlowError, FlowKey, RecordReader, RecordWriter};

/// What a flow of files is to carry next.
pub(super) enum Step {
    /// The list of names.
    List,
    /// The files, from here on; then it is over.
    Files(ResumePoint),
}

/// Why files could not be carried.
pub(crate) enum SendFault {
    /// There was no key.
    Key,
    /// The connection, or the other side, ended it.
    Lost(String),
    /// The receiver asked for a place that there is not.
    Place(String),
}

impl From<FlowError> for SendFault {
    fn from(error: FlowError) -> Self {
        match error {
            FlowError::NoKey(_) | FlowError::KeyTimeout => Self::Key,
            other => Self::Lost(other.to_string()),
        }
    }
}

/// All that a sending task has.
pub(super) struct SendJob {
    pub(super) offer: Arc<Offer>,
    pub(super) lane: Connection,
    pub(super) flow: FlowId,
    pub(super) suite: Suite,
    pub(super) sealer: RecordSealer<File>,
    pub(super) keys: mpsc::Receiver<FlowKey<Outbound>>,
    pub(super) inputs: mpsc::Sender<Input>,
    pub(super) steps: mpsc::Receiver<Step>,
    pub(super) paused: watch::Receiver<bool>,
    pub(super) done: Arc<AtomicU64>,
    pub(super) epoch: Instant,
}

/// Carries what it is told to; gives how the files ended that are worth telling.
pub(super) async fn send(job: SendJob) -> Result<Vec<FileEnd>, SendFault> {
    let SendJob { offer, lane, flow, suite, sealer, keys, inputs, mut steps, mut paused, done, epoch } = job;
    let gone = || SendFault::Lost("the conversation ended".to_owned());
    let mut step = steps.recv().await.ok_or_else(gone)?;
    let lost = |error: &dyn std::fmt::Display| SendFault::Lost(error.to_string());
    let mut stream = lane.open_uni().await.map_err(|error| lost(&error))?;
    stream.write_all(&StreamHeader(flow).to_bytes()).await.map_err(|error| lost(&error))?;
    let mut writer = RecordWriter::<File>::new(stream, sealer, keys, inputs, flow, suite);
    loop {
        match step {
            Step::List => {
                let manifest = offer.manifest();
                let mut left = manifest.encoded_len();
                for piece in manifest.pieces() {
                    left = left.saturating_sub(piece.len() as u64);
                    writer.write(&piece, false, left, FILE_BLOCK, epoch.elapsed()).await?;
                }
                step = steps.recv().await.ok_or_else(gone)?;
            }
            Step::Files(point) => {
                let ends = send_files(&offer, point, &mut writer, &mut paused, &done, epoch).await?;
                writer.finish().await?;
                return Ok(ends);
            }
        }
    }
}

async fn send_files(
    offer: &Arc<Offer>,
    point: ResumePoint,
    writer: &mut RecordWriter<File>,
    paused: &mut watch::Receiver<bool>,
    done: &AtomicU64,
    epoch: Instant,
) -> Result<Vec<FileEnd>, SendFault> {
    let (pieces, mut read) = mpsc::channel::<Piece>(FILE_PIECES);
    let reading = Arc::clone(offer);
    let reader = tokio::task::spawn_blocking(move || disk::read(&reading, &point, &pieces));
    while let Some(Piece { record, left, done: through }) = read.recv().await {
        if *paused.borrow() {
            let went_on = paused.wait_for(|paused| !paused).await;
            went_on.map_err(|_gone| SendFault::Lost("the conversation ended".to_owned()))?;
        }
        debug_assert!(record.len() > RECORD_HEADER_LEN);
        writer.write_in_place(record, left == 0, left, FILE_BLOCK, epoch.elapsed()).await?;
        done.store(through, Ordering::Relaxed);
    }
    match reader.await {
        Ok(ends) => ends.map_err(SendFault::Place),
        Err(error) => Err(SendFault::Lost(error.to_string())),
    }
}

/// The list that is expected before the files.
pub(super) struct Expected {
    pub(super) len: u32,
    pub(super) hash: [u8; 32],
}

/// A list of names that was looked at, and what the names will be here.
pub(crate) type Listed = (Arc<Manifest>, Arc<Layout>);

/// Why a list of names is not taken.
pub(crate) enum ListFault {
    /// It makes no sense, or its names are hostile.
    Refused(String),
    /// It did not come.
    Lost,
}

/// Takes the records of a flow: first the list, if one is expected, then files for whoever writes them.
pub(super) async fn receive(
    mut reader: RecordReader<File>,
    number: u32,
    list: Option<Expected>,
    mut sink: oneshot::Receiver<mpsc::Sender<Arrival>>,
    inputs: mpsc::Sender<Input>,
) {
    if let Some(expected) = list {
        let listed = receive_list(&mut reader, expected).await;
        let failed = listed.is_err();
        let told = inputs.send(Input::Files(FileInput::Listed { number, listed })).await;
        if failed || told.is_err() {
            return;
        }
    }
    let mut arrivals = None;
    loop {
        let (arrival, over) = match reader.next_owned().await {
            Ok(Some(piece)) => (Arrival::Bytes(piece), false),
            Ok(None) => (Arrival::Over(Ok(())), true),
            Err(error) => (Arrival::Over(Err(error.to_string())), true),
        };
        // Files come only after our yes, and by then somebody waits to write them.
        if arrivals.is_none() {
            arrivals = sink.try_recv().ok();
        }
        match &arrivals {
            Some(arrivals) => {
                // A full disk closes the channel; the writer's own error says so.
                if arrivals.send(arrival).await.is_err() || over {
                    return;
                }
            }
            None => {
                let cut = if over { "it was broken off" } else { "files came that nobody had accepted" };
                let _gone = inputs.send(Input::Files(FileInput::Unheard { number, why: cut.to_owned() })).await;
                return;
            }
        }
    }
}

async fn receive_list(reader: &mut RecordReader<File>, expected: Expected) -> Result<Listed, ListFault> {
    let refused = |error: &dyn std::fmt::Display| ListFault::Refused(error.to_string());
    let (mut decoder, mut came) = (ManifestDecoder::default(), 0_u64);
    while came < u64::from(expected.len) {
        let Ok(Some(piece)) = reader.next().await else { return Err(ListFault::Lost) };
        came += piece.len() as u64;
        if came > u64::from(expected.len) || piece.is_empty() {
            return Err(ListFault::Refused("the list of names has another length than was said".to_owned()));
        }
        decoder.push(piece).map_err(|error| refused(&error))?;
    }
    let look = move || {
        let manifest = decoder.finish().map_err(|error| ListFault::Refused(error.to_string()))?;
        if manifest.hash() != Hash(expected.hash) {
            return Err(ListFault::Refused("the list of names is not the one that was offered".to_owned()));
        }
        let layout = Layout::new(&manifest, Rules::Portable).map_err(|error| ListFault::Refused(error.to_string()))?;
        Ok((Arc::new(manifest), Arc::new(layout)))
    };
    tokio::task::spawn_blocking(look).await.unwrap_or(Err(ListFault::Lost))
}
