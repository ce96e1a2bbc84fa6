//! How connections come about: by waiting for the far end, or by calling it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsStream;

use crate::Refusal;
use crate::limits::{ACCEPT_PAUSE, FIRST_PAUSE, HANDSHAKE, HANDSHAKES, LONGEST_PAUSE};
use crate::proof::Gate;
use crate::setup::Connect;

/// A connection to the peer, its name and start-up secret checked; or one that did not come about.
pub(crate) type Arrival = Result<Caller, Refusal>;

/// A connection to the peer, and its address.
pub(crate) struct Caller {
    pub(crate) stream: Box<TlsStream<TcpStream>>,
    pub(crate) peer: String,
}

/// Where connections come from.
pub(crate) enum Door {
    Listening { arrivals: mpsc::Receiver<Arrival>, task: JoinHandle<()> },
    Dialling { gate: Gate, address: String, pause: Duration },
}

impl Door {
    pub(crate) fn new(connect: Connect, gate: Gate) -> Self {
        match connect {
            Connect::Dial(address) => Self::Dialling { gate, address, pause: Duration::ZERO },
            Connect::Listen(listener) => {
                let (to, arrivals) = mpsc::channel(1);
                Self::Listening { arrivals, task: tokio::spawn(listen(listener, gate, to)) }
            }
        }
    }

    /// Waits for the next connection. A dialling door pauses before it dials anew, longer each time.
    pub(crate) async fn next(&mut self) -> Arrival {
        match self {
            Self::Listening { .. } => self.unasked().await,
            Self::Dialling { gate, address, pause } => {
                sleep(*pause).await;
                *pause = (*pause * 2).clamp(FIRST_PAUSE, LONGEST_PAUSE);
                Ok(Caller { stream: gate.dial(address).await?, peer: address.clone() })
            }
        }
    }

    /// Waits for a connection that comes by itself while there is one already.
    pub(crate) async fn unasked(&mut self) -> Arrival {
        match self {
            Self::Listening { arrivals, .. } => match arrivals.recv().await {
                Some(arrival) => arrival,
                None => std::future::pending().await,
            },
            Self::Dialling { .. } => std::future::pending().await,
        }
    }

    /// Lets nobody in any more. When it returns, the address is free.
    pub(crate) async fn close(&mut self) {
        if let Self::Listening { task, .. } = self {
            task.abort();
            let _aborted = task.await;
        }
    }

    /// A good conversation was had: the next pause is short again.
    pub(crate) fn went_well(&mut self) {
        if let Self::Dialling { pause, .. } = self {
            *pause = FIRST_PAUSE;
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Self::Listening { task, .. } = self {
            task.abort();
        }
    }
}

/// A handshake with somebody who called.
struct Handshake {
    task: AbortHandle,
    /// He has sent something.
    spoke: Arc<AtomicBool>,
}

/// Which of too many handshakes has to go: the oldest of those who have said nothing yet, else the oldest.
fn dispensable(oldest_first: &VecDeque<Handshake>) -> usize {
    oldest_first.iter().position(|one| !one.spoke.load(Ordering::Relaxed)).unwrap_or(0)
}

/// Shakes hands with whoever calls. Strangers who connect and stay silent keep nobody out.
async fn listen(listener: TcpListener, gate: Gate, to: mpsc::Sender<Arrival>) {
    let mut handshakes = JoinSet::new();
    let mut oldest_first: VecDeque<Handshake> = VecDeque::new();
    loop {
        tokio::select! {
            Some(_ended) = handshakes.join_next() => oldest_first.retain(|one| !one.task.is_finished()),
            accepted = listener.accept() => match accepted {
                Ok((tcp, peer)) => {
                    if oldest_first.len() >= HANDSHAKES
                        && let Some(one) = oldest_first.remove(dispensable(&oldest_first))
                    {
                        one.task.abort();
                    }
                    let (gate, to) = (gate.clone(), to.clone());
                    let spoke = Arc::new(AtomicBool::new(false));
                    let speaks = Arc::clone(&spoke);
                    let task = handshakes.spawn(async move {
                        let peer = peer.to_string();
                        // Whatever else comes of it, the handshake finds out.
                        let first = timeout(HANDSHAKE, tcp.peek(&mut [0])).await;
                        speaks.store(first.is_ok(), Ordering::Relaxed);
                        match gate.accept(tcp, &peer).await {
                            Ok(stream) => drop(to.send(Ok(Caller { stream, peer })).await),
                            // Strangers don't get in anybody's way.
                            Err(refusal) => drop(to.try_send(Err(refusal))),
                        }
                    });
                    oldest_first.push_back(Handshake { task, spoke });
                }
                Err(error) => {
                    tracing::warn!(%error, "no connection could be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_has_said_nothing_goes_first() {
        let mut handshakes = JoinSet::new();
        let mut one = |spoke: bool| Handshake {
            task: handshakes.spawn(std::future::pending::<()>()),
            spoke: Arc::new(AtomicBool::new(spoke)),
        };
        let mut all: VecDeque<Handshake> = [true, false, true, false].map(&mut one).into();
        assert_eq!(dispensable(&all), 1);
        all[1].spoke.store(true, Ordering::Relaxed);
        assert_eq!(dispensable(&all), 3);
        all.pop_back();
        assert_eq!(dispensable(&all), 0);
    }
}
