//! A network in virtual time: the real quinn-proto with our transport settings, driven by hand over one bottleneck.
//!
//! There is no socket, no thread and no clock. An hour on a slow link takes as long as its packets take to be made and
//! read, and comes out the same each time, but for what TLS draws by itself: keys and signatures, whose lengths move a
//! handshake's packets by a byte or two. So handshakes are over before a link begins to be slow ([`Net::settle`]).
//!
//! ```text
//!   Flow 0  near end ─┐                                          ┌─ far end
//!   Flow 1  near end ─┼─► there: rate, queue, way, loss ────────►┼─ far end
//!   Flow 2  near end ─┘ ◄─ back: the same kind of link ◄─────────┴─ far end
//! ```
//!
//! Every flow is a connection between two endpoints of its own, as all that matters here is shared on the link. What is
//! sent is bulk (as much as the connection takes) or voice (one datagram every 20 ms).

mod end;
mod flow;
mod link;
mod tls;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quinn_proto::TransportConfig;

pub use self::flow::{Delays, Traffic};
pub use self::link::{Link, LinkCounts, LinkTerms};

use self::end::{End, Parcel};
use self::tls::Certificates;

/// Handshakes are over by then: four ways and room for a timer.
const HANDSHAKES: Duration = Duration::from_secs(3);

/// Events after which a network that should have come to its end is taken for an endless loop.
const MAX_EVENTS: u64 = 100_000_000;

/// Which flow of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowId(usize);

/// Which of a flow's ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Side {
    Near,
    Far,
}

/// The network and everyone on it.
pub struct Net {
    certificates: Certificates,
    start: Instant,
    now: Instant,
    there: Link,
    back: Link,
    terms: (LinkTerms, LinkTerms),
    flows: Vec<(End, End)>,
    /// Datagrams under way, the next to arrive first; the number keeps those of one moment in order.
    under_way: BinaryHeap<Reverse<(Instant, u64, UnderWay)>>,
    sent: u64,
    seed: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct UnderWay {
    flow: usize,
    to: Side,
    parcel: Parcel,
}

impl Net {
    /// A link with these terms there and back, and nobody on it. All chance follows from `seed`.
    pub fn new(there: LinkTerms, back: LinkTerms, seed: u64) -> Self {
        let start = Instant::now();
        Self {
            certificates: Certificates::new(),
            start,
            now: start,
            there: Link::new(ideal(there), seed),
            back: Link::new(ideal(back), seed ^ 1),
            terms: (there, back),
            flows: Vec::new(),
            under_way: BinaryHeap::new(),
            sent: 0,
            seed,
        }
    }

    /// A connection across the link, whose near end dials. Only before [`Self::settle`].
    pub fn connect(&mut self, near: Arc<TransportConfig>, far: Arc<TransportConfig>) -> FlowId {
        let number = self.flows.len();
        let seed = self.seed.wrapping_mul(1000).wrapping_add(number as u64);
        let near = End::dialling(&self.certificates, near, seed, self.now);
        let far = End::listening(&self.certificates, far, seed ^ 0x8000_0000);
        self.flows.push((near, far));
        self.drive(number, Side::Near);
        FlowId(number)
    }

    /// Lets all handshakes finish on a link with no limit but its length; from then on it is as its terms say.
    pub fn settle(&mut self) {
        self.run_until(self.now + HANDSHAKES);
        assert!(self.flows.iter().all(|(near, far)| near.is_connected() && far.is_connected()), "a handshake failed");
        let (there, back) = self.terms;
        self.there.change(there);
        self.back.change(back);
    }

    /// Another path from now on.
    pub fn change(&mut self, there: LinkTerms, back: LinkTerms) {
        self.there.change(there);
        self.back.change(back);
    }

    /// The near end of `flow` begins to send this, or ends.
    pub fn send(&mut self, flow: FlowId, traffic: Option<Traffic>) {
        let now = self.now;
        self.flows[flow.0].0.set_traffic(traffic, now);
        self.drive(flow.0, Side::Near);
    }

    /// Sets how much may be under way on all streams of `flow`: what its far end lets come, and what its near end keeps.
    pub fn set_windows(&mut self, flow: FlowId, windows: vernam_quic::Windows) {
        let (near, far) = &mut self.flows[flow.0];
        near.set_send_window(windows.send);
        far.set_receive_window(windows.receive);
        self.drive(flow.0, Side::Far);
    }

    /// The round-trip time as the near end of `flow` has measured it.
    pub fn rtt(&self, flow: FlowId) -> Duration {
        self.flows[flow.0].0.rtt()
    }

    /// Lets `time` pass.
    pub fn run(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// Time that has passed since the network was made.
    pub fn time(&self) -> Duration {
        self.now - self.start
    }

    /// Bytes of bulk that the far end of `flow` has read so far.
    pub fn delivered(&self, flow: FlowId) -> u64 {
        self.flows[flow.0].1.delivered()
    }

    /// How the voice of `flow` has fared since it began or [`Self::forget`]. It pauses for `rest`, so that what is under
    /// way arrives.
    pub fn delays(&mut self, flow: FlowId, rest: Duration) -> Delays {
        let now = self.now;
        let traffic = self.flows[flow.0].0.set_traffic(None, now);
        self.run(rest);
        let now = self.now;
        let (near, far) = &mut self.flows[flow.0];
        let delays = Delays::new(&near.take_sent(), &far.take_heard());
        near.set_traffic(traffic, now);
        delays
    }

    /// The frames of `flow` so far do not count.
    pub fn forget(&mut self, flow: FlowId) {
        let (near, far) = &mut self.flows[flow.0];
        near.take_sent();
        far.take_heard();
    }

    /// The window of the congestion control at the near end of `flow`, in bytes.
    pub fn window(&self, flow: FlowId) -> u64 {
        self.flows[flow.0].0.window()
    }

    /// What has happened on the link there.
    pub fn counts(&self) -> LinkCounts {
        self.there.counts()
    }

    fn run_until(&mut self, end: Instant) {
        for _ in 0..MAX_EVENTS {
            let arrival = self.under_way.peek().map(|Reverse((at, ..))| *at);
            let due = self.next_due();
            let next = [arrival, due.map(|(at, ..)| at)].into_iter().flatten().min();
            let Some(next) = next.filter(|next| *next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let Some(Reverse((.., arrived))) = self.under_way.pop() else { continue };
                let now = self.now;
                self.end(arrived.flow, arrived.to).arrive(now, &arrived.parcel);
                self.drive(arrived.flow, arrived.to);
            } else if let Some((_, flow, side)) = due {
                let now = self.now;
                self.end(flow, side).on_time(now);
                self.drive(flow, side);
            }
        }
        panic!("the network does not come to its end");
    }

    /// Whose timer is the next, and when.
    fn next_due(&mut self) -> Option<(Instant, usize, Side)> {
        let flows = self.flows.iter_mut().enumerate();
        let all =
            flows.flat_map(|(number, (near, far))| [(number, Side::Near, near.due()), (number, Side::Far, far.due())]);
        all.filter_map(|(number, side, due)| due.map(|at| (at, number, side))).min()
    }

    fn end(&mut self, flow: usize, side: Side) -> &mut End {
        let (near, far) = &mut self.flows[flow];
        match side {
            Side::Near => near,
            Side::Far => far,
        }
    }

    /// Lets one end do what it can at the moment, and puts what it sends on the link.
    fn drive(&mut self, flow: usize, side: Side) {
        let now = self.now;
        let parcels = self.end(flow, side).work(now);
        let (link, to) = match side {
            Side::Near => (&mut self.there, Side::Far),
            Side::Far => (&mut self.back, Side::Near),
        };
        for parcel in parcels {
            if let Some(at) = link.carry(now, parcel.len()) {
                self.sent += 1;
                self.under_way.push(Reverse((at, self.sent, UnderWay { flow, to, parcel })));
            }
        }
    }
}

/// The same way, at no limit.
fn ideal(terms: LinkTerms) -> LinkTerms {
    LinkTerms { rate: 1_000_000_000_000, queue: Duration::from_secs(1), loss: 0.0, ..terms }
}
