//! What may happen to a pulse on its way, with and without somebody there: the tables from which clicks are drawn.

use super::Attack;
use crate::draw::to_f64;

/// Photon numbers beyond this are left out: at one photon a pulse, the most that a profile may have, a pulse has more
/// once in 10^35.
const MOST_PHOTONS: u64 = 30;

/// What a pulse must pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Passage {
    /// Probability that a photon arrives at Bob's box.
    pub(crate) transmittance: f64,
    /// Probability that one that arrives there is detected.
    pub(crate) eta_bob: f64,
    /// Probability of a click without light, per slot.
    pub(crate) noise: f64,
}

/// One of the ways in which a slot gets its click.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cause {
    /// Per pulse of the intensity in question.
    pub(crate) probability: f64,
    /// What is at Bob's.
    pub(crate) arrives: Arrives,
    /// What is at Eve's.
    pub(crate) holds: Holds,
}

/// What reaches Bob's detectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrives {
    /// No light; a detector clicks all the same.
    Noise,
    /// One photon that is detected.
    One,
    /// Several of them.
    Several,
    /// Bright light that makes a blinded detector click if Bob chooses Eve's basis.
    Fake,
}

/// What Eve has of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holds {
    /// Nothing.
    Nothing,
    /// Alice's bit, once the basis is known.
    Bit,
    /// What she measured in X or Z, with 1/2 each. Light that arrives is in the state that she found.
    Outcome,
    /// As before, but there was nothing to measure, and she made it up.
    Invention,
}

/// The ways in which a pulse of mean photon number `k` makes a click, with their probabilities; `signal` is the mean
/// photon number that Eve expects most. They exclude each other and add up to less than 1, to 1 at the most.
pub(crate) fn causes(attack: Option<Attack>, passage: &Passage, signal: f64, k: f64) -> Vec<Cause> {
    let honest = Clicks::poisson(passage.transmittance * passage.eta_bob * k);
    let at_least_one = |mean: f64| -(-mean).exp_m1();
    let mut table = Table(Vec::new());
    match attack {
        None => table.light(&honest, 0.0, Holds::Nothing).noise(passage.noise, 0.0, Holds::Nothing),
        Some(Attack::InterceptResend { share }) => {
            table.light(&honest, share, Holds::Outcome).noise(passage.noise, share * at_least_one(k), Holds::Outcome)
        }
        Some(Attack::BeamSplitting) => {
            let caught = at_least_one((1.0 - passage.transmittance) * k);
            table.light(&honest, caught, Holds::Bit).noise(passage.noise, caught, Holds::Bit)
        }
        Some(Attack::TrojanHorse { photons }) => {
            let read = at_least_one(photons);
            table.light(&honest, read, Holds::Bit).noise(passage.noise, read, Holds::Bit)
        }
        Some(Attack::PhotonNumberSplitting) => Splitting::matching(passage, signal).table(&mut table, passage, k),
        Some(Attack::UnseenPhotonNumberSplitting) => unseen(&mut table, passage, k),
        Some(Attack::Blinding) => {
            // Twice as often as Bob would have clicked, for half of the time he chooses the other basis.
            let eta = passage.transmittance * passage.eta_bob;
            let measured = photons(k).skip(1).map(|(n, p)| p * (2.0 * Clicks::of(n, eta).any()).min(1.0)).sum::<f64>();
            table.add(measured, Arrives::Fake, Holds::Outcome);
            table.add((2.0 * passage.noise).min(1.0 - measured), Arrives::Fake, Holds::Invention)
        }
    };
    table.0
}

/// Probabilities that one, or several, of the photons of a pulse are detected.
#[derive(Clone, Copy, Debug)]
struct Clicks {
    one: f64,
    several: f64,
}

impl Clicks {
    /// A number of them that is Poissonian with this mean.
    fn poisson(mean: f64) -> Self {
        let one = mean * (-mean).exp();
        Self { one, several: (-(-mean).exp_m1() - one).max(0.0) }
    }

    /// `n` photons, each detected with probability `eta`.
    fn of(n: u64, eta: f64) -> Self {
        if n == 0 {
            return Self { one: 0.0, several: 0.0 };
        }
        let n = to_f64(n);
        let one = n * eta * (1.0 - eta).powf(n - 1.0);
        let any = if eta < 1.0 { -(n * (-eta).ln_1p()).exp_m1() } else { 1.0 };
        Self { one, several: (any - one).max(0.0) }
    }

    fn any(&self) -> f64 {
        self.one + self.several
    }

    fn and(&self, more: Self) -> Self {
        Self { one: self.one + more.one, several: self.several + more.several }
    }

    fn scaled(&self, by: f64) -> Self {
        Self { one: self.one * by, several: self.several * by }
    }
}

struct Table(Vec<Cause>);

impl Table {
    fn add(&mut self, probability: f64, arrives: Arrives, holds: Holds) -> &mut Self {
        if probability > 0.0 {
            self.0.push(Cause { probability, arrives, holds });
        }
        self
    }

    /// Light, of a share of which Eve has something.
    fn light(&mut self, clicks: &Clicks, share: f64, holds: Holds) -> &mut Self {
        for (probability, arrives) in [(clicks.one, Arrives::One), (clicks.several, Arrives::Several)] {
            self.add(probability * (1.0 - share), arrives, Holds::Nothing).add(probability * share, arrives, holds);
        }
        self
    }

    /// Clicks without light, where Eve has something of a share of the pulses. Never more than light leaves room for.
    fn noise(&mut self, noise: f64, share: f64, holds: Holds) -> &mut Self {
        let light = self.0.iter().map(|cause| cause.probability).sum::<f64>();
        let noise = noise.min(1.0 - light);
        self.add(noise * (1.0 - share), Arrives::Noise, Holds::Nothing).add(noise * share, Arrives::Noise, holds)
    }
}

/// How one who splits off photons keeps the gain of the signals.
#[derive(Clone, Copy, Debug)]
struct Splitting {
    /// The most clicks per pulse of several photons that she lets through; she blocks at random what would be more.
    most: f64,
    /// The share of single photons that she lets pass.
    singles: f64,
    /// The share of pulses of several photons from which she keeps one.
    split: f64,
}

impl Splitting {
    /// The plan for this gain of light, over a line without loss, that leaves her the most.
    fn matching(passage: &Passage, signal: f64) -> Self {
        let detected = |n| Clicks::of(n, passage.eta_bob).any();
        let several = || photons(signal).skip(2);
        let target = Clicks::poisson(passage.transmittance * passage.eta_bob * signal).any();
        let gain = |most: f64| several().map(|(n, p)| p * detected(n - 1).min(most)).sum::<f64>();
        let all = gain(1.0);
        if all >= target {
            return Self { most: root(gain, target), singles: 0.0, split: 1.0 };
        }
        let singles = signal * (-signal).exp() * passage.eta_bob;
        if singles + all >= target {
            return Self { most: 1.0, singles: (target - all) / singles, split: 1.0 };
        }
        let untouched = several().map(|(n, p)| p * detected(n)).sum::<f64>();
        let split = ((singles + untouched - target) / (untouched - all)).clamp(0.0, 1.0);
        Self { most: 1.0, singles: 1.0, split }
    }

    fn table<'a>(&self, table: &'a mut Table, passage: &Passage, k: f64) -> &'a mut Table {
        let mut kept = Clicks { one: 0.0, several: 0.0 };
        let mut passed = Clicks { one: k * (-k).exp() * self.singles * passage.eta_bob, several: 0.0 };
        // Of single photons she has those that she blocks.
        let mut held = k * (-k).exp() * (1.0 - self.singles);
        for (n, p) in photons(k).skip(2) {
            let rest = Clicks::of(n - 1, passage.eta_bob);
            let forwarded = rest.scaled(p * self.split * (self.most / rest.any()).min(1.0));
            kept = kept.and(forwarded);
            passed = passed.and(Clicks::of(n, passage.eta_bob).scaled(p * (1.0 - self.split)));
            held += p * self.split;
        }
        table.light(&passed, 0.0, Holds::Nothing).light(&kept, 1.0, Holds::Bit);
        table.noise(passage.noise, held, Holds::Bit)
    }
}

/// One who keeps the yield of every photon number.
fn unseen<'a>(table: &'a mut Table, passage: &Passage, k: f64) -> &'a mut Table {
    let mut kept = Clicks { one: 0.0, several: 0.0 };
    let mut passed = Clicks { one: k * (-k).exp() * passage.transmittance * passage.eta_bob, several: 0.0 };
    let mut held = k * (-k).exp() * (1.0 - passage.transmittance);
    for (n, p) in photons(k).skip(2) {
        let honest = Clicks::of(n, passage.transmittance * passage.eta_bob).any();
        let (rest, whole) = (Clicks::of(n - 1, passage.eta_bob), Clicks::of(n, passage.eta_bob));
        let split = if rest.any() >= honest { 1.0 } else { (whole.any() - honest) / (whole.any() - rest.any()) };
        let split = split.clamp(0.0, 1.0);
        let forwarded = rest.scaled(p * split * (honest / rest.any()).min(1.0));
        kept = kept.and(forwarded);
        passed = passed.and(whole.scaled(p * (1.0 - split)));
        held += p * split;
    }
    table.light(&passed, 0.0, Holds::Nothing).light(&kept, 1.0, Holds::Bit);
    table.noise(passage.noise, held, Holds::Bit)
}

/// Photon numbers with their probabilities, from 0 on, for pulses of mean `k`.
fn photons(k: f64) -> impl Iterator<Item = (u64, f64)> {
    (0..=MOST_PHOTONS).scan((-k).exp(), move |next, n| {
        let p = *next;
        *next *= k / to_f64(n + 1);
        Some((n, p))
    })
}

/// Where a rising function on [0, 1] takes this value, which it does reach: by halving down to the last bit.
fn root(rising: impl Fn(f64) -> f64, value: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            break;
        }
        if rising(middle) < value { low = middle } else { high = middle }
    }
    high
}

#[cfg(test)]
mod tests {
    use super::*;

    const ATTACKS: [Option<Attack>; 7] = [
        None,
        Some(Attack::InterceptResend { share: 0.4 }),
        Some(Attack::PhotonNumberSplitting),
        Some(Attack::UnseenPhotonNumberSplitting),
        Some(Attack::BeamSplitting),
        Some(Attack::Blinding),
        Some(Attack::TrojanHorse { photons: 0.2 }),
    ];

    #[test]
    fn causes_are_probabilities_that_leave_room_for_each_other() {
        for attack in ATTACKS {
            for transmittance in [0.0, 1e-9, 1e-3, 0.1, 0.9, 0.999_999, 1.0] {
                for (eta_bob, noise) in [(1e-3, 0.0), (0.045, 1e-6), (0.5, 0.4), (1.0, 0.9), (1.0, 5.0)] {
                    let passage = Passage { transmittance, eta_bob, noise };
                    for k in [0.0, 1e-4, 0.1, 0.5, 1.0] {
                        let causes = causes(attack, &passage, 0.5, k);
                        let sum = causes.iter().map(|cause| cause.probability).sum::<f64>();
                        assert!(causes.iter().all(|cause| cause.probability > 0.0), "{causes:?}");
                        assert!(sum <= 1.0 + 1e-12, "{sum} of {attack:?} on {passage:?} for {k}");
                    }
                }
            }
        }
    }

    #[test]
    fn photons_that_are_counted_one_by_one_are_poissonian_together() {
        for (k, eta) in [(0.5, 0.05), (1.0, 0.9), (0.1, 1.0)] {
            let counted = photons(k).fold((0.0, 0.0), |(one, several), (n, p)| {
                let clicks = Clicks::of(n, eta);
                (one + p * clicks.one, several + p * clicks.several)
            });
            let whole = Clicks::poisson(k * eta);
            assert!((counted.0 / whole.one - 1.0).abs() < 1e-12 && (counted.1 / whole.several - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn unseen_splitting_keeps_every_gain_and_leaves_single_photons() {
        let light = |causes: &[Cause], of: fn(&Cause) -> bool| {
            let made = causes.iter().filter(|cause| cause.arrives != Arrives::Noise && of(cause));
            made.map(|cause| cause.probability).sum::<f64>()
        };
        let attack = Some(Attack::UnseenPhotonNumberSplitting);
        for transmittance in [0.0, 1e-3, 0.3, 0.5, 0.7, 1.0] {
            for eta_bob in [0.045, 0.5, 1.0] {
                let passage = Passage { transmittance, eta_bob, noise: 1e-6 };
                for k in [0.1, 0.5, 1.0] {
                    let causes = causes(attack, &passage, 0.5, k);
                    let honest = Clicks::poisson(transmittance * eta_bob * k).any();
                    assert!((light(&causes, |_| true) - honest).abs() < 1e-14, "{passage:?} for {k}");
                    let singles = transmittance * eta_bob * k * (-k).exp();
                    let unknown = light(&causes, |cause| cause.holds == Holds::Nothing);
                    assert!(unknown >= singles - 1e-15, "{passage:?} for {k}: {unknown}");
                    if transmittance < 0.45 {
                        assert!(
                            (unknown - singles).abs() < 1e-14,
                            "she has all others, {passage:?} for {k}: {unknown}"
                        );
                    }
                    if transmittance >= 1.0 && eta_bob < 1.0 {
                        assert!((unknown - honest).abs() < 1e-14, "there is no loss to make use of");
                    }
                }
            }
        }
    }

    #[test]
    fn splitting_blocks_what_it_can() {
        // The longer the line, the less has to pass untouched: first all photons, then only single ones, then none.
        let plan = |transmittance| Splitting::matching(&Passage { transmittance, eta_bob: 0.05, noise: 0.0 }, 0.5);
        let (none, short, middle, long) = (plan(1.0), plan(0.9), plan(0.5), plan(0.1));
        assert!(none.split < 1e-9 && (none.singles - 1.0).abs() < 1e-9, "{none:?}");
        assert!(short.split > 0.0 && short.split < 1.0 && short.singles >= 1.0, "{short:?}");
        assert!(middle.split >= 1.0 && middle.singles > 0.0 && middle.singles < 1.0, "{middle:?}");
        assert!(long.split >= 1.0 && long.singles <= 0.0 && long.most < 0.05, "{long:?}");
    }
}
