//! Two people, two sessions, one hostile wire, and virtual time.
//!
//! Everything follows from a seed: there is no clock, no socket and no sleep. A test makes a [`World`], lets the two
//! act, and reads what each of them saw. The world carries out the sessions' outputs as an engine must: it is also the
//! shortest example of how a [`vernam_session::Session`] is driven.
//!
//! ```text
//!   Alice ─ Session ─┐                       ┌─ Session ─ Bob
//!   stocks, flows    ├─ Wire (Interceptor) ──┤   stocks, flows
//!            └───── KeySource: enc_keys, dec_keys ─────┘
//! ```

mod audit;
mod flows;
mod party;
mod recording;
mod source;
mod wire;

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use vernam_key::{Control, File, KeyId, Material, Text, Voice};
use vernam_session::{Config, Exporter, FlowId, Role, Session, StockReach, Suite, TextMessage};
use vernam_store::{Stock, StockKey};

pub use self::audit::{Audit, Take};
pub use self::flows::{Call, StreamIn, StreamOut};
pub use self::party::{Party, Seen};
pub use self::recording::{Recorded, Recording};
pub use self::source::KeySource;
pub use self::wire::{Interceptor, Path, Unit, Wire, WireTerms};

/// The control flow of every session.
pub const CONTROL: FlowId = FlowId::of::<Control>(0);
/// Deliveries after which a world that does not come to rest is taken for an endless loop.
const MAX_STEPS: usize = 2_000_000;

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Dials.
    Alice,
    /// Accepts.
    Bob,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Alice, Self::Bob];

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Alice => Self::Bob,
            Self::Bob => Self::Alice,
        }
    }

    /// What this side is on the wire.
    pub fn role(self) -> Role {
        match self {
            Self::Alice => Role::Initiator,
            Self::Bob => Role::Responder,
        }
    }

    /// The name in its certificate.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alice => "alice",
            Self::Bob => "bob",
        }
    }

    fn index(self) -> usize {
        match self {
            Self::Alice => 0,
            Self::Bob => 1,
        }
    }
}

/// How a world begins.
#[derive(Debug, Clone)]
pub struct Setup {
    /// Everything random follows from it.
    pub seed: u64,
    /// What each side's policy allows, best first.
    pub suites: [Vec<Suite>; 2],
    /// How many keys a handshake takes from `enc_keys`, and their length in bytes.
    pub handshake_keys: (usize, usize),
    /// Length in bytes of the keys in stock.
    pub stock_key_len: usize,
    /// Keys that each direction's stock holds from the beginning, at both sides.
    pub stock_keys: usize,
    /// The network.
    pub wire: WireTerms,
    /// Bytes of the one-time-pad blocks that text and file flows ask for.
    pub block_len: u32,
    /// Packets that a voice block is for.
    pub voice_block: usize,
    /// Whether the two ends of the outer connection are not the same connection: somebody sits between them.
    pub relayed: bool,
}

impl Setup {
    /// Two people who allow `suite` alone, with a good network and a stock of 256 KiB each way.
    pub fn with(suite: Suite) -> Self {
        Self {
            seed: 1,
            suites: [vec![suite], vec![suite]],
            handshake_keys: (1, 8 * 1024),
            stock_key_len: 4 * 1024,
            stock_keys: 64,
            wire: WireTerms::default(),
            block_len: 4 * 1024,
            voice_block: 20,
            relayed: false,
        }
    }
}

/// What surrounds the two.
pub struct Around {
    /// Virtual time.
    pub now: Duration,
    /// The network.
    pub wire: Wire,
    /// The KMEs.
    pub source: KeySource,
    /// The record of stock used.
    pub audit: Audit,
}

/// What a session started from, for a recording.
#[derive(Debug, Clone)]
pub struct Started {
    /// The TLS exporter of each side.
    pub exporters: [[u8; 32]; 2],
    /// The handshake keys of each side, one after the other.
    pub handshake_keys: [Vec<u8>; 2],
}

/// Two people and all that is between them.
pub struct World {
    /// Alice, then Bob.
    pub parties: [Party; 2],
    /// The rest.
    pub around: Around,
    /// What the current sessions started from.
    pub started: Started,
    /// The keys appended to each side's outbound stock, and where.
    stocked: [Vec<(u64, KeyId)>; 2],
    texts_written: u64,
    setup: Setup,
    rng: ChaCha20Rng,
}

impl World {
    /// Two people whose sessions have just begun: nothing has been delivered yet.
    pub fn new(setup: Setup) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(setup.seed);
        let mut around = Around {
            now: Duration::from_secs(1_000),
            wire: Wire::new(setup.wire.clone(), setup.seed),
            source: KeySource::new(setup.seed),
            audit: Audit::default(),
        };
        let reach = StockReach { cursor: 0, end: (setup.stock_keys * setup.stock_key_len) as u64 };
        let (sessions, started) = sessions(&setup, [[reach; 2]; 2], &mut around, &mut rng);
        let [alice, bob] = sessions;
        let block_len = setup.block_len;
        let parties = [Party::new(Side::Alice, alice, block_len), Party::new(Side::Bob, bob, block_len)];
        let mut world = Self { parties, around, started, stocked: Default::default(), texts_written: 0, setup, rng };
        for side in Side::BOTH {
            world.fill(side, world.setup.stock_keys);
        }
        world
    }

    /// Two people whose session stands.
    pub fn established(setup: Setup) -> Self {
        let mut world = Self::new(setup);
        world.run();
        for side in Side::BOTH {
            assert!(world[side].session.is_established(), "{side:?}: {:?}", world[side].seen);
        }
        world
    }

    /// Both programs start anew over the stocks they have; all that was on its way is lost.
    pub fn reconnect(&mut self) {
        let reaches = [0, 1].map(|at| {
            let (outbound, inbound) = (self.parties[at].outbound.status(), self.parties[at].inbound.status());
            [(outbound.cursor, outbound.end), (inbound.cursor, inbound.end)]
                .map(|(cursor, end)| StockReach { cursor, end })
        });
        self.around.wire = Wire::new(self.setup.wire.clone(), self.rng.next_u64());
        let (sessions, started) = sessions(&self.setup, reaches, &mut self.around, &mut self.rng);
        self.started = started;
        for (party, session) in self.parties.iter_mut().zip(sessions) {
            party.restart(session);
        }
        self.run();
    }

    /// Puts keys into both ends of `side`'s outbound stock, as an earlier session would have.
    fn fill(&mut self, side: Side, number: usize) {
        let keys = self.around.source.enc_keys(side, number, self.setup.stock_key_len);
        let names = party::announced(&keys);
        self.stock(side, keys);
        let same = self.around.source.dec_keys(side, &names).expect("they were just given");
        self[side.other()].inbound.append(same).expect("there is room");
    }

    fn stock(&mut self, side: Side, keys: Vec<StockKey>) -> u64 {
        let names = party::announced(&keys);
        let start = self[side].outbound.append(keys).expect("there is room").start;
        let mut at = start;
        for name in names {
            self.stocked[side.index()].push((at, name.id));
            at += u64::from(name.len);
        }
        start
    }

    /// `side` gets keys from its KME and announces them.
    pub fn announce(&mut self, side: Side, number: usize) {
        let keys = self.around.source.enc_keys(side, number, self.setup.stock_key_len);
        let names = party::announced(&keys);
        let now = self.around.now;
        let start = self.stock(side, keys);
        self[side].session.announce(start, &names, now);
        self.work();
    }

    /// Who holds the outer layer's keys from now on.
    pub fn intercept(&mut self, interceptor: impl FnMut(&Unit) -> Vec<Unit> + 'static) {
        self.around.wire.intercept(Some(Box::new(interceptor)));
    }

    /// Nobody holds them any more.
    pub fn intercept_no_more(&mut self) {
        self.around.wire.intercept(None);
    }

    /// Puts a unit on the wire that its seeming sender never sent.
    pub fn forge(&mut self, unit: Unit) {
        self.around.wire.forward(unit, self.around.now);
    }

    /// The outgoing stream of `side` ends here and now.
    pub fn cut(&mut self, side: Side, flow: FlowId) {
        self.around.wire.end_stream(side, flow, self.around.now);
    }

    /// Both take part in call `number`.
    pub fn begin_call(&mut self, number: u32, suite: Suite, frame_len: usize) {
        let terms = [frame_len, self.setup.voice_block];
        for party in &mut self.parties {
            let sealer = party.session.voice_sealer(number, suite, frame_len).expect("it is established");
            let opener = party.session.voice_opener(number, suite, frame_len).expect("it is established");
            party.calls.insert(number, Call::new(sealer, opener, FlowId::of::<Voice>(number), suite, terms));
        }
        self.run();
    }

    /// `side` says one frame.
    pub fn say(&mut self, side: Side, call: u32, frame: &[u8]) {
        let now = self.around.now;
        let sealed = self[side].calls.get_mut(&call).expect("there is a call").seal(frame, now);
        let Self { parties, around, .. } = self;
        if let Some(datagram) = sealed {
            parties[side.index()].send(Path::Datagram, datagram, around);
        }
        self.work();
    }

    /// `side` writes on text flow `number`, which is opened if it is new.
    pub fn write(&mut self, side: Side, number: u32, suite: Suite, body: &str) {
        self.texts_written += 1;
        let (id, flow) = (self.texts_written, FlowId::of::<Text>(number));
        let bytes = TextMessage { id, written_ms: 1_700_000_000_000, body: body.to_owned() }.encode();
        let Self { parties, around, .. } = self;
        let party = &mut parties[side.index()];
        if !party.texts_out.contains_key(&number) {
            party.open_stream(flow, around);
            let sealer = party.session.record_sealer(number).expect("it is established");
            party.texts_out.insert(number, StreamOut::new(sealer, flow, suite));
        }
        if let Some(out) = party.texts_out.get_mut(&number) {
            out.push(bytes, true, false);
        }
        self.work();
    }

    /// `side` sends `bytes` as file `number`.
    pub fn send_file(&mut self, side: Side, number: u32, suite: Suite, bytes: &[u8]) {
        let flow = FlowId::of::<File>(number);
        let Self { parties, around, .. } = self;
        let party = &mut parties[side.index()];
        party.open_stream(flow, around);
        let sealer = party.session.record_sealer(number).expect("it is established");
        let mut out = StreamOut::new(sealer, flow, suite);
        out.push(bytes.to_vec(), false, true);
        party.files_out.insert(number, out);
        self.work();
    }

    /// Runs until nothing is on its way. Time stands still where nothing happens.
    pub fn run(&mut self) {
        self.work();
        for _ in 0..MAX_STEPS {
            let Some(at) = self.around.wire.next_at() else { return };
            self.step(at);
        }
        panic!("seed {}: the world does not come to rest", self.setup.seed);
    }

    /// Runs for `time`, with the sessions' clock ticking once a second.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.around.now + time;
        self.work();
        while self.around.now < end {
            let until = end.min(self.around.now + Duration::from_secs(1));
            while self.around.wire.next_at().is_some_and(|at| at <= until) {
                self.step(until);
            }
            self.around.now = until;
            for party in &mut self.parties {
                party::tick(party, until);
            }
            self.work();
        }
    }

    fn step(&mut self, until: Duration) {
        let Some((at, delivery)) = self.around.wire.next(until) else { return };
        self.around.now = self.around.now.max(at);
        let to = match &delivery {
            wire::Delivery::Bytes(side, ..)
            | wire::Delivery::End(side, _)
            | wire::Delivery::Datagram(side, _)
            | wire::Delivery::HandshakeKeys(side, _)
            | wire::Delivery::Stock(side, ..) => *side,
        };
        self.parties[to.index()].deliver(delivery, &mut self.around);
        self.work();
    }

    /// Lets both do what there is to do at this moment.
    pub fn work(&mut self) {
        let Self { parties, around, .. } = self;
        while parties.iter_mut().fold(false, |busy, party| party.work(around) | busy) {}
    }
}

impl std::ops::Index<Side> for World {
    type Output = Party;

    fn index(&self, side: Side) -> &Party {
        &self.parties[side.index()]
    }
}

impl std::ops::IndexMut<Side> for World {
    fn index_mut(&mut self, side: Side) -> &mut Party {
        &mut self.parties[side.index()]
    }
}

fn sessions(
    setup: &Setup,
    reaches: [[StockReach; 2]; 2],
    around: &mut Around,
    rng: &mut ChaCha20Rng,
) -> ([Session; 2], Started) {
    let mut random = || {
        let mut bytes = [0; 32];
        rng.fill_bytes(&mut bytes);
        bytes
    };
    let exporter = random();
    let exporters = [exporter, if setup.relayed { random() } else { exporter }];
    let nonces = [random(), random()];
    let (number, len) = setup.handshake_keys;
    let keys = Side::BOTH.map(|side| around.source.enc_keys(side, number, len));
    let bytes = [0, 1].map(|at| party::joined(&keys[at]));
    let handshake_keys = [0, 1].map(|at| bytes[at].expose("for the recording").to_vec());
    let mut bytes = bytes.into_iter();
    let made = Side::BOTH.map(|side| {
        let at = side.index();
        Session::new(Config {
            role: side.role(),
            our_name: side.name().to_owned(),
            peer_name: side.other().name().to_owned(),
            nonce: nonces[at],
            suites: setup.suites[at].clone(),
            exporter: Exporter::new(exporters[at]),
            outbound: reaches[at][0],
            inbound: reaches[at][1],
            handshake_keys: party::announced(&keys[at]),
            handshake_material: Material::from_source(bytes.next().expect("one each")),
        })
    });
    (made, Started { exporters, handshake_keys })
}
