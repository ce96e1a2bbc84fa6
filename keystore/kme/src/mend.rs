//! Gives hyper's own refusals the body that the standard wants.
//!
//! What hyper cannot read as HTTP never reaches our code: it answers with an empty 4xx and closes. Real clients fail on
//! an error without JSON, so such an answer is replaced on its way out. Nothing else is touched.
//!
//! Such an answer comes while the client still writes. A socket that is closed before all is read is reset, and the
//! answer lost with it; so what else the client writes is read for a while, and thrown away (RFC 9112, section 9.6).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use vernam_etsi014::ErrorBody;

/// hyper's own refusals are one short write.
const LONGEST: usize = 512;
/// How long, after such a refusal, we wait for the client to close.
const LINGER: Duration = Duration::from_secs(1);
/// How much of what it still writes is read meanwhile, in bytes.
const MAX_DRAINED: usize = 1 << 20;

/// A stream on which hyper writes answers.
pub(crate) struct Mended<S> {
    inner: S,
    /// What stands for hyper's words, how much of it is written, and how many of hyper's bytes it replaces.
    instead: Option<(Vec<u8>, usize, usize)>,
    /// Not before something was replaced.
    farewell: Option<Farewell>,
}

/// After a refusal.
struct Farewell {
    /// Whether our half is closed.
    is_said: bool,
    /// How much more is read.
    left: usize,
    /// Until when; begins when our half is closed.
    until: Option<Pin<Box<Sleep>>>,
}

impl<S> Mended<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self { inner, instead: None, farewell: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Mended<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Mended<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.instead.is_none() {
            this.instead = with_json(buf).map(|answer| (answer, 0, buf.len()));
        }
        let Some((answer, written, replaced)) = &mut this.instead else {
            return Pin::new(&mut this.inner).poll_write(cx, buf);
        };
        while *written < answer.len() {
            let more = ready!(Pin::new(&mut this.inner).poll_write(cx, &answer[*written..]))?;
            if more == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *written += more;
        }
        let replaced = *replaced;
        this.instead = None;
        this.farewell = Some(Farewell { is_said: false, left: MAX_DRAINED, until: None });
        Poll::Ready(Ok(replaced))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let Some(farewell) = &mut this.farewell else { return Pin::new(&mut this.inner).poll_shutdown(cx) };
        if !farewell.is_said {
            ready!(Pin::new(&mut this.inner).poll_shutdown(cx))?;
            farewell.is_said = true;
        }
        let until = farewell.until.get_or_insert_with(|| Box::pin(sleep(LINGER)));
        let mut space = [0; 4096];
        while farewell.left > 0 && until.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut space);
            let ended = ready!(Pin::new(&mut this.inner).poll_read(cx, &mut buf)).is_err();
            if ended || buf.filled().is_empty() {
                break;
            }
            farewell.left = farewell.left.saturating_sub(buf.filled().len());
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // hyper writes its own refusals whole. A head with a body is ours, and comes in two pieces.
        match bufs.iter().filter(|buf| !buf.is_empty()).collect::<Vec<_>>()[..] {
            [one] => self.poll_write(cx, one),
            _ => Pin::new(&mut self.inner).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// The same refusal with a body, if `head` is one of hyper's: ours always name their content type.
fn with_json(head: &[u8]) -> Option<Vec<u8>> {
    if head.len() > LONGEST || !head.starts_with(b"HTTP/1.") || !head.ends_with(b"\r\n\r\n") {
        return None;
    }
    let text = std::str::from_utf8(head).ok()?;
    let (status, headers) = text.split_once("\r\n")?;
    let (_version, code) = status.split_once(' ')?;
    let headers = headers.to_ascii_lowercase();
    if !code.starts_with('4') || headers.contains("content-type") || !headers.contains("content-length: 0\r\n") {
        return None;
    }
    let message = match code.get(..3)? {
        "414" => "the address of the request is too long",
        "431" => "the head of the request is too long, or has too many lines",
        _ => "this is no HTTP/1.1 request",
    };
    let body = serde_json::to_string(&ErrorBody::new(message)).ok()?;
    let len = body.len();
    let status = format!("{status}\r\ncontent-type: application/json\r\ncontent-length: {len}\r\nconnection: close");
    Some(format!("{status}\r\n\r\n{body}").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hypers_own_refusals_are_replaced() {
        let hypers = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: now\r\n\r\n";
        let mended = String::from_utf8(with_json(hypers).unwrap()).unwrap();
        let (head, body) = mended.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\n"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())));
        assert_eq!(body, r#"{"message":"this is no HTTP/1.1 request"}"#);
        for other in [
            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 7\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n",
            "x",
            "",
        ] {
            assert!(with_json(other.as_bytes()).is_none(), "{other}");
        }
    }
}
