//! A stretch of network between two clients: it forwards datagrams, keeps a copy, and can be cut or hold a caller's.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Longest datagram.
const LONGEST: usize = 65_536;
/// A datagram from the called that is at least so long is more than an acknowledgement: it has understood the caller.
const AN_ANSWER: usize = 1_000;

/// Datagrams from the caller to the called (`true`) and back, when they passed, and what they were.
type Passed = Vec<(Instant, bool, Vec<u8>)>;

/// A relay in front of one client.
pub struct Relay {
    /// What a caller dials instead of the client's own address.
    pub addr: SocketAddr,
    passed: Arc<Mutex<Passed>>,
    cut: Arc<AtomicBool>,
    held: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Relay {
    /// A relay to `target`, for one caller.
    pub async fn to(target: SocketAddr) -> Self {
        Self::start(target, false).await
    }

    /// The same, which holds back what the caller sends after the first answer of the called, until
    /// [`Self::release`]: the caller believes that the connection stands, and the called knows nothing of it yet.
    pub async fn holding(target: SocketAddr) -> Self {
        Self::start(target, true).await
    }

    async fn start(target: SocketAddr, holds: bool) -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let front = UdpSocket::bind(loopback).await.expect("a free port on loopback");
        let back = UdpSocket::bind(loopback).await.expect("a free port on loopback");
        back.connect(target).await.expect("an address on loopback");
        let addr = front.local_addr().expect("a bound socket has an address");
        let (passed, cut) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (held, holding) = watch::channel(holds);
        let task = tokio::spawn(forward(front, back, Arc::clone(&passed), Arc::clone(&cut), holding));
        Self { addr, passed, cut, held, task }
    }

    /// What was held back goes on, and nothing is held any more.
    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// From now on nothing passes, and nobody is told.
    pub fn cut(&self) {
        self.cut.store(true, Ordering::Relaxed);
    }

    /// From now on everything passes again.
    pub fn mend(&self) {
        self.cut.store(false, Ordering::Relaxed);
    }

    /// Writes everything that passed as a packet capture (pcap, raw IPv4), which tshark reads.
    pub fn write_pcap(&self, path: &Path) -> std::io::Result<()> {
        let passed = self.passed.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = Vec::new();
        // Magic, version 2.4, no zone, no accuracy, longest packet, link type 101: packets begin with an IP header.
        for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 0x0001_0000, 101] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        let Some(start) = passed.first().map(|(at, ..)| *at) else { return std::fs::write(path, out) };
        for (at, forth, datagram) in passed.iter() {
            let since = at.duration_since(start);
            let packet = ip_packet(*forth, datagram);
            let len = u32::try_from(packet.len()).unwrap_or(u32::MAX);
            let seconds = u32::try_from(since.as_secs()).unwrap_or(u32::MAX);
            for word in [seconds, since.subsec_micros(), len, len] {
                out.extend_from_slice(&word.to_le_bytes());
            }
            out.extend_from_slice(&packet);
        }
        std::fs::write(path, out)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(
    front: UdpSocket,
    back: UdpSocket,
    passed: Arc<Mutex<Passed>>,
    cut: Arc<AtomicBool>,
    mut holds: watch::Receiver<bool>,
) {
    let (mut caller, mut answered, mut held) = (None, false, Vec::new());
    let (mut forth, mut reply) = (vec![0; LONGEST], vec![0; LONGEST]);
    loop {
        let mut ready = Vec::new();
        tokio::select! {
            Ok((len, from)) = front.recv_from(&mut forth) => {
                caller = Some(from);
                let to = if answered && *holds.borrow() { &mut held } else { &mut ready };
                to.push(forth[..len].to_vec());
            }
            Ok(len) = back.recv(&mut reply) => {
                answered |= len >= AN_ANSWER;
                if let Some(caller) = caller.filter(|_| !cut.load(Ordering::Relaxed)) {
                    let _lost_as_on_a_network = front.send_to(&reply[..len], caller).await;
                    keep(&passed, false, &reply[..len]);
                }
            }
            Ok(()) = holds.changed() => ready = std::mem::take(&mut held),
            // A socket whose target is gone gives errors: let others run.
            else => tokio::task::yield_now().await,
        }
        for datagram in ready.iter().filter(|_| !cut.load(Ordering::Relaxed)) {
            let _lost_as_on_a_network = back.send(datagram).await;
            keep(&passed, true, datagram);
        }
    }
}

fn keep(passed: &Mutex<Passed>, forth: bool, datagram: &[u8]) {
    passed.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), forth, datagram.to_vec()));
}

/// IPv4 and UDP headers around a datagram, without checksums; UDP ports 1 and 4433 on 10.0.0.1 and 10.0.0.2.
fn ip_packet(forth: bool, datagram: &[u8]) -> Vec<u8> {
    let (alice, bob) = (([10, 0, 0, 1], 40_001_u16), ([10, 0, 0, 2], 4_433_u16));
    let (from, to) = if forth { (alice, bob) } else { (bob, alice) };
    let udp_len = u16::try_from(8 + datagram.len()).unwrap_or(u16::MAX);
    let mut packet = vec![0x45, 0];
    packet.extend_from_slice(&(20 + udp_len).to_be_bytes());
    packet.extend_from_slice(&[0, 0, 0, 0, 64, 17, 0, 0]);
    packet.extend_from_slice(&from.0);
    packet.extend_from_slice(&to.0);
    for word in [from.1, to.1, udp_len, 0] {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    packet.extend_from_slice(datagram);
    packet
}
