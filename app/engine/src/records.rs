//! Records over a QUIC stream, with key asked for as it is needed.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use vernam_key::{Inbound, Outbound, Purpose};
use vernam_quic::{RecvStream, SendStream, WriteError};
use vernam_session::limits::{HASH_KEY_LEN, MAX_RECORD_PLAINTEXT, RECORD_HEADER_LEN, TAG_LEN};
use vernam_session::{FlowId, KeyBlock, KeyError, NoKey, RecordHeader, RecordOpener, RecordSealer, Refusal, Suite};

use crate::limits::KEY_TIMEOUT;
use crate::peer::Input;

/// Why a flow ended early, in plain words.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FlowError {
    #[error("{0}")]
    NoKey(NoKey),
    #[error("no key came in time")]
    KeyTimeout,
    #[error("the conversation ended")]
    Gone,
    #[error("the connection was lost")]
    Lost,
    #[error("the other side stopped taking it")]
    Stopped,
    #[error("the data was cut off before its end")]
    Truncated,
    #[error("the data was altered on the way")]
    Tampered,
    #[error("it came under another protection than was agreed")]
    OtherSuite,
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl FlowError {
    fn of(error: &WriteError) -> Self {
        if matches!(error, WriteError::Stopped(_)) { Self::Stopped } else { Self::Lost }
    }
}

/// A key for a flow, or why there is none.
pub(crate) type FlowKey<D> = Result<KeyBlock<D>, NoKey>;

/// Writes the records of one flow, and asks for the next key while there is still some.
pub(crate) struct RecordWriter<P> {
    stream: SendStream,
    sealer: RecordSealer<P>,
    keys: mpsc::Receiver<FlowKey<Outbound>>,
    inputs: mpsc::Sender<Input>,
    flow: FlowId,
    suite: Suite,
    asked: bool,
    buffer: Vec<u8>,
}

impl<P: Purpose> RecordWriter<P> {
    pub(crate) fn new(
        stream: SendStream,
        sealer: RecordSealer<P>,
        keys: mpsc::Receiver<FlowKey<Outbound>>,
        inputs: mpsc::Sender<Input>,
        flow: FlowId,
        suite: Suite,
    ) -> Self {
        Self { stream, sealer, keys, inputs, flow, suite, asked: false, buffer: Vec::new() }
    }

    /// Bytes of one-time pad that `plaintext` bytes in records of the largest size need, the block's own key included.
    pub(crate) fn pad_for(plaintext: usize) -> usize {
        HASH_KEY_LEN + plaintext + TAG_LEN * plaintext.div_ceil(MAX_RECORD_PLAINTEXT).max(1)
    }

    /// Writes `bytes` as as many records as the pad's blocks make of them. `still` is how many bytes of plaintext will
    /// follow, as far as known, and `block` the longest block to ask for.
    pub(crate) async fn write(
        &mut self,
        mut bytes: &[u8],
        last: bool,
        still: u64,
        block: usize,
        now: Duration,
    ) -> Result<(), FlowError> {
        loop {
            self.take_keys();
            let rest = usize::try_from(still).unwrap_or(block).saturating_add(bytes.len());
            let fit = match self.sealer.fit(bytes.len(), now) {
                Ok(fit) if fit > 0 || bytes.is_empty() => fit,
                Ok(_) | Err(KeyError::NeedKey) => {
                    self.ask(rest, block).await?;
                    self.wait_for_key().await?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let (piece, more) = bytes.split_at(fit);
            self.buffer.clear();
            match self.sealer.seal(piece, last && more.is_empty(), &mut self.buffer, now) {
                Ok(()) => {}
                Err(KeyError::NeedKey) => {
                    self.ask(rest, block).await?;
                    self.wait_for_key().await?;
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            self.stream.write_all(&self.buffer).await.map_err(|error| FlowError::of(&error))?;
            bytes = more;
            self.ask_ahead(rest.saturating_sub(fit), block, now).await?;
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// As [`Self::write`], for plaintext behind [`RECORD_HEADER_LEN`] bytes of room: where the key at hand is enough for
    /// one record it is sealed where it stands, and never copied.
    pub(crate) async fn write_in_place(
        &mut self,
        mut record: Vec<u8>,
        last: bool,
        still: u64,
        block: usize,
        now: Duration,
    ) -> Result<(), FlowError> {
        let len = record.len().saturating_sub(RECORD_HEADER_LEN);
        self.take_keys();
        if self.sealer.fit(len, now) != Ok(len) {
            return self.write(&record[RECORD_HEADER_LEN..], last, still, block, now).await;
        }
        self.sealer.seal_in_place(&mut record, last, now)?;
        self.stream.write_chunk(record.into()).await.map_err(|error| FlowError::of(&error))?;
        self.ask_ahead(usize::try_from(still).unwrap_or(usize::MAX), block, now).await?;
        // Sealing never waits, so without this a fast disk would keep the connection's own task from sending.
        tokio::task::yield_now().await;
        Ok(())
    }

    /// Asks for the next block while half of one is left.
    async fn ask_ahead(&mut self, coming: usize, block: usize, now: Duration) -> Result<(), FlowError> {
        match self.sealer.pad_left(now) {
            Some(left) if left < coming && left < block / 2 => self.ask(coming - left, block).await,
            _ => Ok(()),
        }
    }

    /// Writes `bytes` as exactly one record; where the rest of the block at hand is too short, it is given up.
    pub(crate) async fn write_whole(&mut self, bytes: &[u8], block: usize, now: Duration) -> Result<(), FlowError> {
        self.take_keys();
        self.buffer.clear();
        while let Err(error) = self.sealer.seal(bytes, false, &mut self.buffer, now) {
            if error != KeyError::NeedKey {
                return Err(error.into());
            }
            self.ask(block, block).await?;
            self.wait_for_key().await?;
        }
        self.stream.write_all(&self.buffer).await.map_err(|error| FlowError::of(&error))
    }

    /// Says that nothing more will be written, and waits until the peer has it all or a moment has passed.
    pub(crate) async fn finish(mut self) -> Result<(), FlowError> {
        self.stream.finish().map_err(|_closed| FlowError::Lost)?;
        let _delivered_or_late = timeout(KEY_TIMEOUT, self.stream.stopped()).await;
        Ok(())
    }

    fn take_keys(&mut self) {
        while let Ok(answer) = self.keys.try_recv() {
            self.asked = false;
            // A no to a request ahead of time is no reason to stop: it is asked again when the key is needed.
            if let Ok(block) = answer {
                // Out of turn it cannot be: one is asked for at a time.
                let _installed = self.sealer.install(block);
            }
        }
    }

    async fn ask(&mut self, plaintext: usize, block: usize) -> Result<(), FlowError> {
        if self.asked {
            return Ok(());
        }
        let len = if self.suite == Suite::Otp { Self::pad_for(plaintext).min(block) } else { 32 };
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        self.asked = true;
        let want = Input::WantKey { flow: self.flow, suite: self.suite, len, first_seq: 0 };
        self.inputs.send(want).await.map_err(|_gone| FlowError::Gone)
    }

    async fn wait_for_key(&mut self) -> Result<(), FlowError> {
        let key = timeout(KEY_TIMEOUT, self.keys.recv()).await.map_err(|_elapsed| FlowError::KeyTimeout)?;
        self.asked = false;
        let block = key.ok_or(FlowError::Gone)?.map_err(FlowError::NoKey)?;
        Ok(self.sealer.install(block)?)
    }
}

/// Reads the records of one flow.
pub(crate) struct RecordReader<P> {
    stream: RecvStream,
    opener: RecordOpener<P>,
    keys: mpsc::Receiver<FlowKey<Inbound>>,
    inputs: mpsc::Sender<Input>,
    /// What was agreed for this flow: key for anything else is not taken.
    suite: Suite,
    newest: Option<u32>,
    body: Vec<u8>,
}

impl<P: Purpose> RecordReader<P> {
    pub(crate) fn new(
        stream: RecvStream,
        opener: RecordOpener<P>,
        keys: mpsc::Receiver<FlowKey<Inbound>>,
        inputs: mpsc::Sender<Input>,
        suite: Suite,
    ) -> Self {
        Self { stream, opener, keys, inputs, suite, newest: None, body: Vec::new() }
    }

    /// As [`Self::next`], to be kept: the record's own buffer, without a copy.
    pub(crate) async fn next_owned(&mut self) -> Result<Option<Vec<u8>>, FlowError> {
        let Some(len) = self.next().await?.map(<[u8]>::len) else { return Ok(None) };
        let mut body = std::mem::take(&mut self.body);
        body.truncate(len);
        Ok(Some(body))
    }

    /// The next genuine record's plaintext, or `None` after the last. Refused ones are reported and passed over.
    pub(crate) async fn next(&mut self) -> Result<Option<&[u8]>, FlowError> {
        if self.opener.is_complete() {
            return Ok(None);
        }
        loop {
            if self.opener.is_closed() {
                return Err(FlowError::Tampered);
            }
            let mut header = [0; RECORD_HEADER_LEN];
            self.stream.read_exact(&mut header).await.map_err(|_cut| FlowError::Truncated)?;
            let header = RecordHeader::parse(&header).map_err(|_malformed| FlowError::Tampered)?;
            self.body.resize(header.body_len(), 0);
            self.stream.read_exact(&mut self.body).await.map_err(|_cut| FlowError::Truncated)?;
            // Its key was in place before the peer sent it, but may still be on its way to this task.
            while self.newest.is_none_or(|newest| header.generation > newest) {
                match timeout(KEY_TIMEOUT, self.keys.recv()).await {
                    Ok(Some(Ok(block))) if block.suite != self.suite => return Err(FlowError::OtherSuite),
                    Ok(Some(Ok(block))) => {
                        self.newest = Some(block.generation);
                        self.opener.install(block)?;
                    }
                    Ok(Some(Err(why))) => return Err(FlowError::NoKey(why)),
                    Ok(None) => return Err(FlowError::Gone),
                    Err(_elapsed) => return Err(FlowError::Tampered),
                }
            }
            match self.opener.open(&header, &mut self.body) {
                Ok(plaintext) => {
                    let len = plaintext.len();
                    return Ok(Some(&self.body[..len]));
                }
                Err(why @ (Refusal::Gap | Refusal::UnknownKey | Refusal::BeyondKey | Refusal::AfterEnd)) => {
                    self.report(why).await?;
                    return Err(FlowError::Tampered);
                }
                Err(why) => self.report(why).await?,
            }
        }
    }

    async fn report(&self, why: Refusal) -> Result<(), FlowError> {
        self.inputs.send(Input::Refused(why)).await.map_err(|_gone| FlowError::Gone)
    }
}
