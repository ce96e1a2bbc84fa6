//! Frames: what travels over the connection.
//!
//! ```text
//!   ┌─────────┬────────────┬───────────────┐   channel 0  control: greeting, answers to light, signs of life
//!   │ channel │ length     │ payload       │   channel 1  optical: light, from Alice to Bob
//!   │ 1 byte  │ 4 bytes BE │ length bytes  │   channel 2  classical: messages of post-processing, both ways
//!   └─────────┴────────────┴───────────────┘
//! ```

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::limits::{MAX_CLASSICAL_FRAME, MAX_CONTROL_FRAME, MAX_OPTICAL_FRAME, SILENCE, STALLED};

/// What a frame is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Control,
    /// The simulated light. Not authenticated beyond the connection: it stands for physics.
    Optical,
    /// Carries its own authentication, that of the post-processing.
    Classical,
}

/// One frame, whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) channel: Channel,
    pub(crate) payload: Vec<u8>,
}

/// Why no frame could be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("the connection was closed")]
    Closed,
    #[error(transparent)]
    Io(io::Error),
    #[error("the far end says nothing, not even signs of life")]
    Silent,
    #[error("the far end takes nothing more")]
    Stalled,
    #[error("the far end sent a frame that cannot be ({0}): are both ends of the same version?")]
    Malformed(&'static str),
}

impl From<io::Error> for FrameError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// How much is read or written before the clock is started anew.
const PIECE: usize = 64 << 10;

const HEADER: usize = 5;

impl Channel {
    fn to_byte(self) -> u8 {
        match self {
            Self::Control => 0,
            Self::Optical => 1,
            Self::Classical => 2,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Control, Self::Optical, Self::Classical].into_iter().find(|channel| channel.to_byte() == byte)
    }

    fn limit(self) -> usize {
        match self {
            Self::Control => MAX_CONTROL_FRAME,
            Self::Optical => MAX_OPTICAL_FRAME,
            Self::Classical => MAX_CLASSICAL_FRAME,
        }
    }
}

impl Frame {
    pub(crate) fn new(channel: Channel, payload: Vec<u8>) -> Self {
        Self { channel, payload }
    }
}

/// Reads the next frame. Memory grows with what arrives, not with what the header promises.
pub(crate) async fn read(from: &mut (impl AsyncRead + Unpin)) -> Result<Frame, FrameError> {
    let mut header = [0; HEADER];
    let first = timeout(SILENCE, from.read(&mut header[..1])).await.map_err(|_late| FrameError::Silent)??;
    if first == 0 {
        return Err(FrameError::Closed);
    }
    fill(from, &mut header[1..]).await?;
    let [channel, length @ ..] = header;
    let channel = Channel::from_byte(channel).ok_or(FrameError::Malformed("an unknown channel"))?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > channel.limit() {
        return Err(FrameError::Malformed("longer than allowed"));
    }
    let mut payload = Vec::with_capacity(length.min(PIECE));
    while payload.len() < length {
        let start = payload.len();
        payload.resize(length.min(start + PIECE), 0);
        fill(from, &mut payload[start..]).await?;
    }
    Ok(Frame { channel, payload })
}

async fn fill(from: &mut (impl AsyncRead + Unpin), piece: &mut [u8]) -> Result<(), FrameError> {
    match timeout(SILENCE, from.read_exact(piece)).await {
        Err(_late) => Err(FrameError::Silent),
        Ok(read) => Ok(read.map(drop)?),
    }
}

/// Writes one frame, and sees to it that it goes out.
pub(crate) async fn write(to: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> Result<(), FrameError> {
    let length = u32::try_from(frame.payload.len()).ok().filter(|_any| frame.payload.len() <= frame.channel.limit());
    let length = length.ok_or(FrameError::Malformed("longer than the other end would take"))?;
    // The header goes out together with what follows: a small frame is one packet.
    let (head, rest) = frame.payload.split_at(frame.payload.len().min(PIECE));
    let mut first = Vec::with_capacity(HEADER + head.len());
    first.push(frame.channel.to_byte());
    first.extend_from_slice(&length.to_be_bytes());
    first.extend_from_slice(head);
    for piece in std::iter::once(first.as_slice()).chain(rest.chunks(PIECE)) {
        timeout(STALLED, to.write_all(piece)).await.map_err(|_late| FrameError::Stalled)??;
    }
    timeout(STALLED, to.flush()).await.map_err(|_late| FrameError::Stalled)?.map_err(FrameError::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_arrive_as_they_were_sent() {
        let (mut near, mut far) = tokio::io::duplex(1 << 10);
        let frames = [
            Frame::new(Channel::Control, vec![]),
            Frame::new(Channel::Optical, (0..200_000_u32).flat_map(u32::to_be_bytes).collect()),
            Frame::new(Channel::Classical, vec![7; 3]),
        ];
        let writing = async {
            for frame in &frames {
                write(&mut near, frame).await.unwrap();
            }
            drop(near);
        };
        let reading = async {
            for frame in &frames {
                assert!(read(&mut far).await.unwrap() == *frame);
            }
            assert!(matches!(read(&mut far).await, Err(FrameError::Closed)));
        };
        tokio::join!(writing, reading);
    }

    #[tokio::test]
    async fn what_is_too_long_or_unknown_or_cut_short_is_refused() {
        let far = |bytes: Vec<u8>| async move { read(&mut bytes.as_slice()).await.unwrap_err() };
        assert!(matches!(far(vec![3, 0, 0, 0, 0]).await, FrameError::Malformed("an unknown channel")));
        assert!(matches!(far(vec![0, 0xFF, 0, 0, 0]).await, FrameError::Malformed("longer than allowed")));
        assert!(matches!(far(vec![2, 0, 0, 0, 2, 1]).await, FrameError::Closed));
        assert!(matches!(far(vec![2, 0, 0]).await, FrameError::Closed));

        let frame = Frame::new(Channel::Control, vec![0; MAX_CONTROL_FRAME + 1]);
        assert!(matches!(write(&mut Vec::new(), &frame).await, Err(FrameError::Malformed(_))));
    }
}
