//! What a network does to datagrams, as pure logic: losses, delay, jitter, reordering, repetition, all from a seed.
//!
//! It moves nothing and reads no clock: it says for each datagram when its copies arrive, if any do. The relay of
//! [`super::Wire`] obeys it in real time, the soak test in virtual time.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Datagrams of which [`Loss::Even`] loses an exact number.
const DECK: usize = 100;

/// Which datagrams are lost.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Loss {
    /// None.
    #[default]
    None,
    /// Each by itself with this probability, 0 to 1.
    Chance(f64),
    /// Of every hundred in a row exactly this share, 0 to 1, at places drawn by lot. A short run then loses what it is
    /// said to lose, which single chances would not do.
    Even(f64),
    /// Runs of losses (the model of Gilbert, 1960, with a bad state that loses everything): this share on average, in runs of
    /// this mean length.
    Bursts {
        /// Share lost in the long run, 0 to below 1.
        share: f64,
        /// Mean length of a run, 1 and more.
        length: f64,
    },
}

/// What one direction of a network does to datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Impairment {
    /// Which are lost.
    pub loss: Loss,
    /// How long the way takes.
    pub delay: Duration,
    /// How much longer at most: each datagram takes up to so much more, evenly spread, but none overtakes another.
    pub jitter: Duration,
    /// Share that is held back on the way, so that later ones overtake it, 0 to 1.
    pub reordered: f64,
    /// For how long those are held back.
    pub held_back: Duration,
    /// Share that arrives twice, 0 to 1.
    pub repeated: f64,
    /// Share in which a bit is turned over on the way, 0 to 1.
    pub corrupted: f64,
}

impl Impairment {
    /// A network that delivers at once.
    pub const NONE: Self = Self {
        loss: Loss::None,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        reordered: 0.0,
        held_back: Duration::ZERO,
        repeated: 0.0,
        corrupted: 0.0,
    };

    /// The same with other losses.
    #[must_use]
    pub const fn losing(self, loss: Loss) -> Self {
        Self { loss, ..self }
    }

    /// The same with a way that takes `delay`, and up to `jitter` more.
    #[must_use]
    pub const fn taking(self, delay: Duration, jitter: Duration) -> Self {
        Self { delay, jitter, ..self }
    }

    /// The same with a share of datagrams held back so long that others overtake them.
    #[must_use]
    pub const fn reordering(self, reordered: f64, held_back: Duration) -> Self {
        Self { reordered, held_back, ..self }
    }

    /// The same with a share of datagrams that arrive twice.
    #[must_use]
    pub const fn repeating(self, repeated: f64) -> Self {
        Self { repeated, ..self }
    }

    /// The same with a share of datagrams in which a bit is turned over.
    #[must_use]
    pub const fn corrupting(self, corrupted: f64) -> Self {
        Self { corrupted, ..self }
    }
}

/// What becomes of one datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It never arrives.
    Lost,
    /// It arrives.
    Arrives {
        /// When.
        at: Duration,
        /// Whether it was held back so that others overtake it.
        held_back: bool,
        /// When it arrives once more, if it does.
        again: Option<Duration>,
    },
}

/// Draws the fates of one direction's datagrams.
#[derive(Debug)]
pub struct Fates {
    random: ChaCha8Rng,
    /// Of [`Loss::Even`]: which of the next datagrams are lost, the next one last.
    deck: Vec<bool>,
    /// The share that the deck was made for.
    deck_share: f64,
    /// Of [`Loss::Bursts`]: whether a run of losses is under way.
    bad: bool,
    /// When the last datagram arrives that kept its place.
    newest: Duration,
}

impl Fates {
    /// Everything follows from `seed` and the datagrams' number and times.
    pub fn new(seed: u64) -> Self {
        let random = ChaCha8Rng::seed_from_u64(seed);
        Self { random, deck: Vec::new(), deck_share: 0.0, bad: false, newest: Duration::ZERO }
    }

    /// What becomes of a datagram that sets out at `now` (time since any fixed moment).
    pub fn draw(&mut self, impairment: &Impairment, now: Duration) -> Fate {
        if self.is_lost(impairment.loss) {
            return Fate::Lost;
        }
        let way = impairment.delay + impairment.jitter.mul_f64(self.random.random::<f64>());
        let in_turn = (now + way).max(self.newest);
        let held_back = self.random.random_bool(impairment.reordered);
        let at = if held_back { in_turn + impairment.held_back } else { in_turn };
        if !held_back {
            self.newest = in_turn;
        }
        let repeated = self.random.random_bool(impairment.repeated);
        let again = repeated.then(|| at + impairment.jitter.mul_f64(self.random.random::<f64>()));
        Fate::Arrives { at, held_back, again }
    }

    /// Turns a bit of a datagram over, or does not; true if it did.
    pub fn corrupt(&mut self, impairment: &Impairment, datagram: &mut [u8]) -> bool {
        // Nothing is drawn where nothing can happen, so that what else follows from the seed stays as it is.
        if impairment.corrupted <= 0.0 || datagram.is_empty() || !self.random.random_bool(impairment.corrupted) {
            return false;
        }
        let bit = self.random.random_range(0..datagram.len() * 8);
        datagram[bit / 8] ^= 1 << (bit % 8);
        true
    }

    fn is_lost(&mut self, loss: Loss) -> bool {
        match loss {
            Loss::None => false,
            Loss::Chance(share) => self.random.random_bool(share),
            Loss::Even(share) => self.next_card(share),
            Loss::Bursts { share, length } => {
                // The mean run of losses is 1 / (chance to leave); the share of time spent bad follows from both chances.
                let leave = 1.0 / length.max(1.0);
                let enter = (leave * share / (1.0 - share)).min(1.0);
                self.bad = self.random.random_bool(if self.bad { 1.0 - leave } else { enter });
                self.bad
            }
        }
    }

    #[expect(clippy::float_cmp, reason = "the same constant, handed in again")]
    fn next_card(&mut self, share: f64) -> bool {
        if self.deck.is_empty() || self.deck_share != share {
            self.deck_share = share;
            self.deck =
                (0..DECK).map(|card| (f64::from(u8::try_from(card).unwrap_or(0)) + 0.5) < share * 100.0).collect();
            // Fisher and Yates, the last place first.
            for last in (1..DECK).rev() {
                self.deck.swap(last, self.random.random_range(0..=last));
            }
        }
        self.deck.pop().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Duration = Duration::from_millis(20);

    fn fates(impairment: Impairment, seed: u64, count: u32) -> Vec<Fate> {
        println!("seed {seed}");
        let mut fates = Fates::new(seed);
        (0..count).map(|number| fates.draw(&impairment, PACE * number)).collect()
    }

    fn lost(fates: &[Fate]) -> usize {
        fates.iter().filter(|fate| **fate == Fate::Lost).count()
    }

    /// The lengths of the runs of losses.
    fn runs(fates: &[Fate]) -> Vec<usize> {
        fates.split(|fate| *fate != Fate::Lost).map(<[Fate]>::len).filter(|len| *len > 0).collect()
    }

    #[test]
    fn nothing_happens_to_datagrams_of_a_good_network() {
        for (number, fate) in (0..).zip(fates(Impairment::NONE, 1, 100)) {
            assert_eq!(fate, Fate::Arrives { at: PACE * number, held_back: false, again: None });
        }
    }

    #[test]
    fn even_losses_are_exact_in_every_hundred_and_at_places_of_their_own() {
        for share in [0.05, 0.1, 0.2] {
            let all = fates(Impairment::NONE.losing(Loss::Even(share)), 2, 1_000);
            let hundreds: Vec<&[Fate]> = all.chunks(100).collect();
            for hundred in &hundreds {
                assert_eq!(lost(hundred), [5, 10, 20][usize::from(share > 0.05) + usize::from(share > 0.1)]);
            }
            assert_ne!(
                hundreds[0].iter().position(|fate| *fate == Fate::Lost),
                hundreds[1].iter().position(|fate| *fate == Fate::Lost),
                "drawn anew for each hundred (with this seed)"
            );
        }
    }

    #[test]
    fn chance_and_bursts_lose_their_share_in_runs_of_their_length() {
        let single = fates(Impairment::NONE.losing(Loss::Chance(0.2)), 3, 20_000);
        assert!((3_800..4_200).contains(&lost(&single)), "{}", lost(&single));
        let bursts = fates(Impairment::NONE.losing(Loss::Bursts { share: 0.2, length: 3.0 }), 4, 20_000);
        assert!((3_600..4_400).contains(&lost(&bursts)), "{}", lost(&bursts));
        let mean = |runs: &[usize]| runs.iter().sum::<usize>() * 100 / runs.len();
        // 1 / (1 - 0.2) = 1.25 for single chances.
        assert!((118..132).contains(&mean(&runs(&single))), "{}", mean(&runs(&single)));
        assert!((280..320).contains(&mean(&runs(&bursts))), "{}", mean(&runs(&bursts)));
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_does_not() {
        let (delay, jitter) = (Duration::from_millis(30), Duration::from_millis(50));
        let arrivals = |impairment| -> Vec<Duration> {
            let at = |fate| if let Fate::Arrives { at, .. } = fate { Some(at) } else { None };
            fates(impairment, 5, 2_000).into_iter().filter_map(at).collect()
        };
        let late = Impairment::NONE.taking(delay, jitter);
        let times = arrivals(late);
        assert!(times.is_sorted());
        let ways: Vec<Duration> = (0..).zip(&times).map(|(number, at)| at.saturating_sub(PACE * number)).collect();
        assert!(ways.iter().all(|way| (delay..delay + jitter).contains(way)));
        assert!(ways.iter().max().unwrap().saturating_sub(*ways.iter().min().unwrap()) > Duration::from_millis(40));
        let times = arrivals(Impairment::NONE.reordering(0.1, Duration::from_millis(45)));
        let overtaken = times.windows(2).filter(|pair| pair[0] > pair[1]).count();
        assert!((120..280).contains(&overtaken), "{overtaken}");
    }

    #[test]
    fn a_share_arrives_twice_and_the_seed_decides_all() {
        let impairment = Impairment::NONE.repeating(0.25).losing(Loss::Chance(0.1));
        let all = fates(impairment, 6, 4_000);
        let twice = all.iter().filter(|fate| matches!(fate, Fate::Arrives { again: Some(_), .. })).count();
        assert!((800..1_000).contains(&twice), "{twice}");
        assert_eq!(all, fates(impairment, 6, 4_000));
        assert_ne!(all, fates(impairment, 7, 4_000));
    }
}
