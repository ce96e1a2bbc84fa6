//! Text messages: one flow each way, opened with the first message.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinHandle;
use vernam_key::Text;
use vernam_quic::RecvStream;
use vernam_session::limits::MAX_TEXT;
use vernam_session::{FlowId, Message, StreamHeader, Suite, TextMessage};

use super::{Input, Peer};
use crate::event::{Event, MessageBody};
use crate::limits::{COMMANDS, TEXT_BLOCK};
use crate::records::{FlowError, FlowKey, RecordReader, RecordWriter};

/// The state of both text flows.
#[derive(Default)]
pub(super) struct Texts {
    pub(super) suite: Option<Suite>,
    last_id: u64,
    last_received: u64,
    out: Option<mpsc::Sender<TextMessage>>,
    inbound_keys: Option<mpsc::Receiver<FlowKey<vernam_key::Inbound>>>,
    /// The peer's stream, where it came before the conversation stood here.
    pub(super) early: Option<RecvStream>,
    tasks: Vec<JoinHandle<()>>,
}

impl Texts {
    pub(super) fn flow() -> FlowId {
        FlowId::of::<Text>(0)
    }

    pub(super) fn abort(&mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
        }
    }
}

impl Peer {
    /// The peer's keys for its text flow may come before its stream.
    pub(super) fn open_text_flow(&mut self) {
        self.texts.inbound_keys = Some(self.open_route_in(Texts::flow()));
    }

    pub(super) async fn send_text(&mut self, body: String) {
        let Some(suite) = self.texts.suite else {
            return self.warn("there is no conversation yet: the message was not sent").await;
        };
        self.texts.last_id += 1;
        let written_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let written_ms = u64::try_from(written_ms).unwrap_or(u64::MAX);
        let message = TextMessage { id: self.texts.last_id, written_ms, body };
        if !message.fits() {
            let text = format!("the message is longer than {MAX_TEXT} bytes: send it as a file");
            return self.warn(text).await;
        }
        if self.texts.out.is_none()
            && let Err(why) = self.start_text_writer(suite)
        {
            return self.warn(format!("the message was not sent: {why}")).await;
        }
        match self.texts.out.as_ref().map(|out| out.try_send(message)) {
            Some(Ok(())) => {}
            Some(Err(TrySendError::Full(_))) => {
                self.warn("too many messages are waiting to be sent: this one was not").await;
            }
            Some(Err(TrySendError::Closed(_))) | None => {
                self.warn("text messages have stopped: connect anew; this one was not sent").await;
            }
        }
    }

    fn start_text_writer(&mut self, suite: Suite) -> Result<(), String> {
        let flow = Texts::flow();
        let sealer = self.session.record_sealer::<Text>(0).map_err(|error| error.to_string())?;
        let keys = self.open_route_out(flow);
        let (sender, mut queue) = mpsc::channel::<TextMessage>(COMMANDS);
        let (connection, inputs, epoch) = (self.connection.clone(), self.inputs.clone(), self.shared.epoch);
        self.texts.tasks.push(tokio::spawn(async move {
            // In the flow's own task: a peer that allows no more streams holds nobody else up.
            let opened = async {
                let mut stream = connection.open_uni().await.map_err(|error| error.to_string())?;
                stream.write_all(&StreamHeader(flow).to_bytes()).await.map_err(|error| error.to_string())?;
                Ok::<_, String>(stream)
            };
            let mut writer = match opened.await {
                Ok(stream) => RecordWriter::new(stream, sealer, keys, inputs.clone(), flow, suite),
                Err(why) => {
                    let _gone = inputs.send(Input::TextFailed(why)).await;
                    return;
                }
            };
            while let Some(message) = queue.recv().await {
                let record = message.encode();
                let block = TEXT_BLOCK.max(RecordWriter::<Text>::pad_for(record.len()));
                let sent = writer.write_whole(&record, block, epoch.elapsed()).await;
                let input = match sent {
                    Ok(()) => Input::TextSent { id: message.id, suite },
                    // Nothing was written: the flow lives on, and the next message may find key again.
                    Err(error @ (FlowError::NoKey(_) | FlowError::KeyTimeout)) => Input::TextUnsent(error.to_string()),
                    Err(error) => Input::TextFailed(error.to_string()),
                };
                let failed = matches!(input, Input::TextFailed(_));
                if inputs.send(input).await.is_err() || failed {
                    return;
                }
            }
        }));
        self.texts.out = Some(sender);
        Ok(())
    }

    /// The peer opened its text stream; a second one is dropped.
    pub(super) fn text_stream(&mut self, stream: RecvStream) {
        let Some(keys) = self.texts.inbound_keys.take() else {
            // The peer may stand before we do; its stream then overtakes the last words of its handshake.
            if self.texts.suite.is_none() {
                self.texts.early = Some(stream);
            }
            return;
        };
        let (Ok(opener), Some(suite)) = (self.session.record_opener::<Text>(0), self.texts.suite) else { return };
        let inputs = self.inputs.clone();
        let mut reader = RecordReader::new(stream, opener, keys, inputs.clone(), suite);
        self.texts.tasks.push(tokio::spawn(async move {
            loop {
                let input = match reader.next().await {
                    Ok(Some(record)) => Input::Text(record.to_vec()),
                    Ok(None) => return,
                    Err(error) => Input::TextFailed(error.to_string()),
                };
                let failed = matches!(input, Input::TextFailed(_));
                if inputs.send(input).await.is_err() || failed {
                    return;
                }
            }
        }));
    }

    pub(super) async fn text_opened(&mut self, record: &[u8]) {
        match TextMessage::decode(record) {
            Ok(TextMessage { id, body, .. }) => {
                // Once: a number that was there before is a repetition, and only confirmed again.
                if id > self.texts.last_received {
                    self.texts.last_received = id;
                    let body = MessageBody(body);
                    self.tell(Event::TextReceived { contact: self.name(), id, body }).await;
                }
                let now = self.now();
                self.session.send(Message::TextDelivered { id }, now);
            }
            Err(why) => self.tell(Event::Refused { contact: self.name(), why }).await,
        }
    }
}
