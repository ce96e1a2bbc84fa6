//! Text messages: one flow each way, opened with the first message.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use vernam_key::Text;
use vernam_quic::RecvStream;
use vernam_session::limits::MAX_TEXT;
use vernam_session::{FlowId, Message, StreamHeader, Suite, TextMessage};

use super::{Input, Peer};
use crate::event::Event;
use crate::limits::{COMMANDS, TEXT_BLOCK};
use crate::records::{FlowKey, RecordReader, RecordWriter};

/// The state of both text flows.
#[derive(Default)]
pub(super) struct Texts {
    pub(super) suite: Option<Suite>,
    last_id: u64,
    out: Option<mpsc::Sender<TextMessage>>,
    inbound_keys: Option<mpsc::Receiver<FlowKey<vernam_key::Inbound>>>,
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
            && let Err(why) = self.start_text_writer(suite).await
        {
            return self.text_failed(why).await;
        }
        let queued = self.texts.out.as_ref().is_some_and(|out| out.try_send(message).is_ok());
        if !queued {
            self.warn("too many messages are waiting to be sent: this one was not").await;
        }
    }

    async fn start_text_writer(&mut self, suite: Suite) -> Result<(), String> {
        let flow = Texts::flow();
        let keys = self.open_route_out(flow);
        let mut stream = self.connection.open_uni().await.map_err(|error| error.to_string())?;
        stream.write_all(&StreamHeader(flow).to_bytes()).await.map_err(|error| error.to_string())?;
        let sealer = self.session.record_sealer::<Text>(0).map_err(|error| error.to_string())?;
        let mut writer = RecordWriter::new(stream, sealer, keys, self.inputs.clone(), flow, suite);
        let (sender, mut queue) = mpsc::channel::<TextMessage>(COMMANDS);
        let (inputs, epoch) = (self.inputs.clone(), self.shared.epoch);
        self.texts.tasks.push(tokio::spawn(async move {
            while let Some(message) = queue.recv().await {
                let record = message.encode();
                let block = TEXT_BLOCK.max(RecordWriter::<Text>::pad_for(record.len()));
                let sent = writer.write_whole(&record, block, epoch.elapsed()).await;
                let input = match sent {
                    Ok(()) => Input::TextSent { id: message.id, suite },
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
        let Some(keys) = self.texts.inbound_keys.take() else { return };
        let Ok(opener) = self.session.record_opener::<Text>(0) else { return };
        let inputs = self.inputs.clone();
        let mut reader = RecordReader::new(stream, opener, keys, inputs.clone());
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
                self.tell(Event::TextReceived { contact: self.name(), id, body }).await;
                let now = self.now();
                self.session.send(Message::TextDelivered { id }, now);
            }
            Err(why) => self.tell(Event::Refused { contact: self.name(), why }).await,
        }
    }

    pub(super) async fn text_failed(&mut self, why: String) {
        self.texts.out = None;
        self.warn(format!("text messages stopped: {why}")).await;
    }
}
