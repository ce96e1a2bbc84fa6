//! The two ends, made-up clicks, and a channel between them that a test may hold.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use vernam_key::SecretBytes;
use vernam_qkd::distil::cascade::Variant;
use vernam_qkd::distil::{Alice, AuthKey, Bob, EndConfig, EndEvent};
use vernam_qkd::finite::{Analysis, Intensities, Security};
use vernam_qkd::optics::Sent;
use vernam_qkd::{Basis, BlockReport, Detection, DiscardReason, Intensity, Progress, Pulse};

/// Slots of one stretch, and detections in it.
pub(crate) const STRETCH: u64 = 40_000;
const CLICKS: u64 = 4_000;

/// The first byte of each kind of message, as the attacker sees it.
pub(crate) mod kind {
    pub(crate) const SIFT: u8 = 1;
    pub(crate) const SIFT_REPLY: u8 = 2;
    pub(crate) const ERRORS: u8 = 3;
    pub(crate) const START: u8 = 4;
    pub(crate) const CORRECTED: u8 = 7;
    pub(crate) const VERIFY: u8 = 8;
    pub(crate) const AMPLIFY: u8 = 10;
    pub(crate) const CONFIRM: u8 = 11;
    pub(crate) const COMMIT: u8 = 12;
    pub(crate) const GIVE_UP: u8 = 13;
}

/// Small blocks, with an `ε_sec` to match, so that a test can make many: five stretches each.
pub(crate) fn small() -> EndConfig {
    EndConfig {
        intensities: Intensities { mu: [0.3, 0.05, 0.0], p: [0.05, 0.7, 0.25] },
        p_x: 0.7,
        analysis: Analysis::default(),
        security: Security { eps_sec: 1e-2, eps_cor: 1e-10 },
        qber_alarm: 0.11,
        block_slots: 5 * STRETCH,
        first_block: 1,
        least_slots: 0,
        block_bits: 1 << 20,
        min_detections: 100,
        cascade: Variant::Classic,
        slots_per_second: 1e6,
        trojan_photons: 0.0,
        timeout: Duration::from_secs(1),
    }
}

/// What an end gave out, with the key in the open: this is a test.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) keys: BTreeMap<u64, Vec<u8>>,
    pub(crate) reports: Vec<BlockReport>,
    pub(crate) discarded: Vec<(BlockReport, DiscardReason)>,
    pub(crate) progress: Vec<Progress>,
    pub(crate) void: BTreeSet<u64>,
}

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    ToBob,
    ToAlice,
}

pub(crate) struct World {
    pub(crate) alice: Alice,
    pub(crate) bob: Bob,
    pub(crate) now: Duration,
    pub(crate) slot: u64,
    pub(crate) rng: ChaCha20Rng,
    /// Share of wrong bits, in X and in Z.
    pub(crate) errors: [f64; 2],
    pub(crate) clicks: u64,
    pub(crate) bright: bool,
    pub(crate) to_bob: VecDeque<Vec<u8>>,
    pub(crate) to_alice: VecDeque<Vec<u8>>,
    pub(crate) from_alice: Told,
    pub(crate) from_bob: Told,
    config: EndConfig,
}

impl World {
    pub(crate) fn new(config: EndConfig, seed: u64, auth_bytes: usize) -> Self {
        println!("seed {seed}");
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let secret: Vec<u8> = (0..auth_bytes).map(|_| rng.random()).collect();
        let auth = || AuthKey::new(SecretBytes::copy_of(&secret)).unwrap();
        let hers = ChaCha20Rng::seed_from_u64(seed ^ 0xA11CE);
        Self {
            alice: Alice::new(config, auth(), Box::new(hers)).unwrap(),
            bob: Bob::new(config, auth()).unwrap(),
            now: Duration::ZERO,
            slot: 0,
            rng,
            errors: [0.02; 2],
            clicks: CLICKS,
            bright: false,
            to_bob: VecDeque::new(),
            to_alice: VecDeque::new(),
            from_alice: Told::default(),
            from_bob: Told::default(),
            config,
        }
    }

    /// One stretch of slots: clicks in proportion to the brightness, at random places.
    pub(crate) fn stretch(&mut self) {
        let slots = self.slot..self.slot + STRETCH;
        let Intensities { mu, p } = self.config.intensities;
        let weights = [0, 1, 2].map(|k| p[k] * (mu[k] + 1e-4));
        let (mut pulses, mut detections) = (Vec::new(), Vec::new());
        for i in 0..self.clicks {
            let gap = STRETCH / self.clicks;
            let slot = slots.start + i * gap + self.rng.random_range(0..gap);
            let mut drawn = self.rng.random::<f64>() * weights.iter().sum::<f64>();
            let kind = weights.iter().position(|weight| {
                drawn -= weight;
                drawn < 0.0
            });
            let intensity = Intensity::ALL[kind.unwrap_or(2)];
            let mut basis = || if self.rng.random_bool(self.config.p_x) { Basis::X } else { Basis::Z };
            let (hers, his) = (basis(), basis());
            let bit = self.rng.random();
            let wrong = self.rng.random_bool(self.errors[usize::from(hers == Basis::Z)]);
            pulses.push((slot, Pulse { basis: hers, bit, intensity }));
            let found = if hers == his { bit ^ wrong } else { self.rng.random() };
            detections.push(Detection { slot, basis: his, bit: found });
        }
        self.slot = slots.end;
        self.now += Duration::from_millis(40);
        self.alice.sent(Sent::exactly(slots.clone(), pulses));
        self.bob.detected(slots, detections, self.bright, self.now);
        self.collect();
    }

    /// Takes everything that the ends have to say.
    pub(crate) fn collect(&mut self) {
        while let Some(message) = self.alice.poll_message() {
            self.to_bob.push_back(message);
        }
        while let Some(message) = self.bob.poll_message() {
            self.to_alice.push_back(message);
        }
        while let Some(event) = self.alice.poll_event() {
            self.from_alice.take(event);
        }
        while let Some(event) = self.bob.poll_event() {
            self.from_bob.take(event);
        }
    }

    /// Hands a message over.
    pub(crate) fn hand(&mut self, way: Way, message: &[u8]) {
        match way {
            Way::ToBob => self.bob.handle_message(message, self.now),
            Way::ToAlice => self.alice.handle_message(message, self.now),
        }
        self.collect();
    }

    /// The next message on its way.
    pub(crate) fn next(&mut self) -> Option<(Way, Vec<u8>)> {
        let to_alice = self.to_alice.pop_front().map(|message| (Way::ToAlice, message));
        to_alice.or_else(|| self.to_bob.pop_front().map(|message| (Way::ToBob, message)))
    }

    /// Delivers until both are silent; `attack` may change, drop or add messages.
    pub(crate) fn deliver(&mut self, mut attack: impl FnMut(Way, Vec<u8>) -> Vec<Vec<u8>>) {
        while let Some((way, message)) = self.next() {
            for message in attack(way, message) {
                self.hand(way, &message);
            }
        }
    }

    /// Lets time pass until the next timeout. `false` if nobody waits for anything.
    pub(crate) fn pass_time(&mut self) -> bool {
        let next = [self.alice.poll_timeout(), self.bob.poll_timeout()].into_iter().flatten().min();
        let Some(next) = next else { return false };
        self.now = self.now.max(next);
        self.alice.handle_timeout(self.now);
        self.bob.handle_timeout(self.now);
        self.collect();
        true
    }

    /// So many stretches over an honest channel.
    pub(crate) fn honest(&mut self, stretches: u32) {
        for _ in 0..stretches {
            self.stretch();
            self.deliver(|_, message| vec![message]);
        }
    }

    /// One message of this kind is changed, at the first occasion; all else is honest, and time passes until nobody
    /// waits.
    pub(crate) fn with_one_changed(&mut self, stretches: u32, kind: u8, change: impl Fn(Vec<u8>) -> Vec<Vec<u8>>) {
        let mut done = false;
        for _ in 0..stretches {
            self.stretch();
            self.deliver(|_, message| {
                if done || message.first() != Some(&kind) {
                    return vec![message];
                }
                done = true;
                change(message)
            });
        }
        for _ in 0..20 {
            if !self.pass_time() {
                break;
            }
            self.deliver(|_, message| vec![message]);
        }
        assert!(done, "no message of kind {kind} came");
    }

    /// What must hold whatever happens on the channel.
    pub(crate) fn assert_no_unequal_keys(&self) {
        for (number, key) in &self.from_bob.keys {
            let hers = self.from_alice.keys.get(number);
            assert!(hers == Some(key), "block {number} differs, or Bob alone has it");
        }
    }

    /// That both ends gave out the same blocks, but for those that Alice called void, and both discarded the last block
    /// for this reason.
    pub(crate) fn assert_all_equal(&self) {
        self.assert_no_unequal_keys();
        let hers: Vec<_> = self.from_alice.keys.keys().filter(|n| !self.from_alice.void.contains(n)).collect();
        assert_eq!(hers, self.from_bob.keys.keys().collect::<Vec<_>>());
    }

    /// The one block that both discarded, with the same report and reason.
    pub(crate) fn the_discarded(&self) -> (BlockReport, DiscardReason) {
        assert_eq!(self.from_alice.discarded, self.from_bob.discarded);
        assert_eq!(self.from_bob.discarded.len(), 1);
        self.from_bob.discarded[0].clone()
    }
}

impl Told {
    fn take(&mut self, event: EndEvent) {
        assert!(!format!("{event:?}").is_empty());
        match event {
            EndEvent::Progress(progress) => self.progress.push(progress),
            EndEvent::Block { block, report } => {
                assert_eq!((block.number, 8 * block.bits.len() as u64), (report.number, report.key_bits));
                let before = self.keys.insert(block.number, block.bits.expose("a test compares").to_vec());
                assert!(before.is_none(), "block {} was given out twice", block.number);
                self.reports.push(report);
            }
            EndEvent::Discarded { report, reason } => {
                assert_eq!((report.number, report.key_bits), (reason.block(), 0));
                self.discarded.push((report, reason));
            }
            EndEvent::Void { number } => {
                assert!(self.keys.contains_key(&number) && self.void.insert(number));
            }
            other => panic!("{other:?} is new here"),
        }
    }
}
