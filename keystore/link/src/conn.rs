//! One connection after its greeting: a task that reads frames, and one that writes them.

use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsStream;

use crate::Loss;
use crate::frame::{self, Channel, Frame, FrameError};
use crate::hello::Control;
use crate::limits::{FRAMES_IN, FRAMES_OUT, GOODBYE, SIGN_OF_LIFE};
use crate::tls::Tls;

pub(crate) type Reading = ReadHalf<Box<TlsStream<TcpStream>>>;
pub(crate) type Writing = WriteHalf<Box<TlsStream<TcpStream>>>;

/// A connection, read and written in the background. Dropping it cuts it.
pub(crate) struct Conn {
    /// What the far end says, and why it says no more.
    pub(crate) frames: mpsc::Receiver<Result<Frame, FrameError>>,
    /// What is to be said.
    pub(crate) out: mpsc::Sender<Frame>,
    reader: JoinHandle<()>,
    writer: JoinHandle<Result<(), FrameError>>,
}

impl Conn {
    pub(crate) fn new(reading: Reading, writing: Writing) -> Self {
        let (frame, frames) = mpsc::channel(FRAMES_IN);
        let (out, to_write) = mpsc::channel(FRAMES_OUT);
        let reader = tokio::spawn(read_all(reading, frame));
        let writer = tokio::spawn(write_all(writing, to_write));
        Self { frames, out, reader, writer }
    }

    /// Closes the connection, with a word to the far end, and waits until that has closed it too: who closes first,
    /// with frames unread, makes the word get lost.
    pub(crate) async fn say_goodbye(mut self, why: &str) {
        let frame = Frame::new(Channel::Control, Control::Goodbye(why.to_owned()).encode());
        let (closed, _nobody) = mpsc::channel(1);
        let out = std::mem::replace(&mut self.out, closed);
        let last = async {
            let _best_effort = out.send(frame).await;
            drop(out);
            while let Some(Ok(_unheard)) = self.frames.recv().await {}
        };
        let _best_effort = timeout(GOODBYE, last).await;
    }

    /// Why nothing more can be written.
    pub(crate) async fn writing_failed(&mut self, tls: &Tls) -> Loss {
        match (&mut self.writer).await {
            Ok(Err(error)) => loss(error, tls),
            _ => Loss::Broken("the connection was closed".to_owned()),
        }
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.reader.abort();
        self.writer.abort();
    }
}

/// In the words of a loss.
pub(crate) fn loss(error: FrameError, tls: &Tls) -> Loss {
    match error {
        FrameError::Io(error) => Loss::Broken(format!("the far end {}", tls.in_words(&error))),
        FrameError::Malformed(what) => Loss::Malformed(what.to_owned()),
        other => Loss::Broken(other.to_string()),
    }
}

async fn read_all(mut from: Reading, to: mpsc::Sender<Result<Frame, FrameError>>) {
    let alive = Control::Alive.encode();
    loop {
        let frame = frame::read(&mut from).await;
        if frame.as_ref().is_ok_and(|frame| frame.channel == Channel::Control && frame.payload == alive) {
            continue;
        }
        let failed = frame.is_err();
        if to.send(frame).await.is_err() || failed {
            return;
        }
    }
}

async fn write_all(mut to: Writing, mut frames: mpsc::Receiver<Frame>) -> Result<(), FrameError> {
    loop {
        match timeout(SIGN_OF_LIFE, frames.recv()).await {
            Ok(Some(frame)) => frame::write(&mut to, &frame).await?,
            Ok(None) => return Ok(to.shutdown().await?),
            Err(_quiet) => {
                frame::write(&mut to, &Frame::new(Channel::Control, Control::Alive.encode())).await?;
            }
        }
    }
}
