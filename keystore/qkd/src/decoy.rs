//! The formulas of decoy-state BB84 in the limit of infinitely many pulses.
//!
//! The channel model and the decoy bounds are those of X. Ma, B. Qi, Y. Zhao and H.-K. Lo, "Practical decoy state for
//! quantum key distribution", Phys. Rev. A 72, 012326 (2005), called MQZL below. We use its *loose* form: a pulse of
//! mean photon number `k` clicks with `Q_k = Y0 + 1 − e^(−ηk)`, and a single photon with `Y1 = Y0 + η`. The exact
//! form has `− Y0·η` beside it (a click by both light and noise counts once); the difference is below 2e-6 of `Q_k` for
//! the detectors here, and the published figures, against which the tests compare, are in the loose form.
//!
//! All rates are *per signal pulse sent*; multiply by signal pulses per second to get bits per second.

use thiserror::Error;

/// Error rate of a click that no light caused: noise knows nothing of the bit.
pub const NOISE_ERROR: f64 = 0.5;

/// What a link does to light: how much arrives, what clicks without light, how often the wrong detector clicks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Channel {
    /// Probability that one photon sent is detected (`η`): fibre, everything spliced into it, and Bob's apparatus.
    pub eta: f64,
    /// Probability that a pulse without any light gives a click (`Y0`): dark counts, stray light, afterpulses.
    pub y0: f64,
    /// Probability that a photon that is detected clicks in the wrong detector (`e_d`).
    pub e_d: f64,
}

/// What Alice and Bob can see of the pulses of one intensity.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observed {
    /// Mean photon number of these pulses.
    pub intensity: f64,
    /// Clicks per pulse (`Q_k`).
    pub gain: f64,
    /// Share of the sifted clicks whose bit is wrong (`E_k`, the QBER).
    pub qber: f64,
}

/// What matters of the pulses that carried exactly one photon: the only ones whose bits can be secret.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SinglePhoton {
    /// Clicks per such pulse (`Y1`), or a lower bound of it.
    pub y1: f64,
    /// Error rate of these clicks (`e1`), or an upper bound of it.
    pub e1: f64,
}

/// The decoy bounds do not hold for the intensities given.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[error(
    "decoy intensities {weak} and {weaker} do not suit a signal of {signal} photons a pulse: choose them so that \
     the stronger exceeds the weaker, the weaker is not negative, and their sum stays below the signal"
)]
pub struct UnsuitableIntensities {
    /// Mean photon number of the signal pulses.
    pub signal: f64,
    /// Mean photon number of the stronger decoy.
    pub weak: f64,
    /// Mean photon number of the weaker decoy; 0 for the vacuum.
    pub weaker: f64,
}

impl Channel {
    /// A line that loses `loss_db`, into a detector that sees a share `eta_bob` of what arrives.
    ///
    /// `η = 10^(−loss/10) · η_Bob`.
    pub fn new(loss_db: f64, eta_bob: f64, y0: f64, e_d: f64) -> Self {
        Self { eta: transmittance(loss_db) * eta_bob, y0, e_d }
    }

    /// What is observed of pulses with mean photon number `intensity` (MQZL, the channel model):
    /// `Q = Y0 + 1 − e^(−ηk)` and `E·Q = Y0/2 + e_d (1 − e^(−ηk))`.
    pub fn observe(&self, intensity: f64) -> Observed {
        let by_light = -(-self.eta * intensity).exp_m1();
        let gain = self.y0 + by_light;
        let qber = if gain > 0.0 { (NOISE_ERROR * self.y0 + self.e_d * by_light) / gain } else { NOISE_ERROR };
        Observed { intensity, gain, qber }
    }

    /// The truth about single photons, which only a model knows: `Y1 = Y0 + η`, `e1 = (Y0/2 + e_d η)/Y1`
    /// (MQZL, the channel model).
    pub fn single_photon(&self) -> SinglePhoton {
        let y1 = self.y0 + self.eta;
        let e1 = if y1 > 0.0 { (NOISE_ERROR * self.y0 + self.e_d * self.eta) / y1 } else { NOISE_ERROR };
        SinglePhoton { y1, e1 }
    }

    /// Key bits per signal pulse if the single photons were known exactly, as with infinitely many decoy intensities.
    pub fn infinite_decoy_rate(&self, q: f64, f: f64, mu: f64) -> f64 {
        key_rate(q, f, &self.observe(mu), &self.single_photon())
    }

    /// The signal intensity in (0, 1] that maximises [`Self::infinite_decoy_rate`].
    ///
    /// Found by search; where the link has no key at any intensity, it is the one that misses it by least.
    pub fn optimal_mu(&self, f: f64) -> f64 {
        let (low, high) = enclose_peak(|mu| self.infinite_decoy_rate(1.0, f, mu), 1e-6, 1.0);
        // So near to the flat peak the rate itself says little, but its slope still changes sign.
        bisect(|mu| self.rate_slope(f, mu) > 0.0, low, high)
    }

    /// Derivative of the rate by the intensity, for `q` = 1.
    ///
    /// With `W = E Q` the cost of correction is `−f [W log2(W/Q) + (Q − W) log2(1 − W/Q)]`, in whose derivative all but
    /// the logarithms cancels.
    fn rate_slope(&self, f: f64, mu: f64) -> f64 {
        let (signal, single) = (self.observe(mu), self.single_photon());
        let gain_slope = self.eta * (-self.eta * mu).exp();
        let secret = (1.0 - mu) * (-mu).exp() * single.y1 * (1.0 - binary_entropy(single.e1));
        let log_odds = self.e_d * signal.qber.log2() + (1.0 - self.e_d) * (1.0 - signal.qber).log2();
        secret + f * gain_slope * log_odds
    }
}

/// Share of the light that gets through a loss of `db` decibels.
pub fn transmittance(db: f64) -> f64 {
    10f64.powf(-db / 10.0)
}

/// Shannon's binary entropy `h(p)` in bits; 0 outside (0, 1).
pub fn binary_entropy(p: f64) -> f64 {
    if p <= 0.0 || p >= 1.0 {
        return 0.0;
    }
    -(p * p.log2() + (1.0 - p) * (1.0 - p).log2())
}

/// Bounds on the single photons from one weak decoy and the vacuum, whose gain is `y0` (MQZL, "vacuum + weak decoy"):
///
/// `Y1 ≥ μ/(μν − ν²) · [Q_ν e^ν − Q_μ e^μ ν²/μ² − (μ² − ν²)/μ² · Y0]`, `e1 ≤ (E_ν Q_ν e^ν − Y0/2)/(Y1 ν)`.
pub fn weak_and_vacuum(signal: &Observed, weak: &Observed, y0: f64) -> Result<SinglePhoton, UnsuitableIntensities> {
    two_decoys(signal, weak, &Observed { intensity: 0.0, gain: y0, qber: NOISE_ERROR })
}

/// Bounds on the single photons from two decoys, of which the second is weaker or the vacuum (MQZL, "two decoys").
///
/// The error bound is never allowed below what was measured: one that falls outside 0 to 1/2, as it can when the counts
/// scatter or nothing of the signal is left, becomes 1/2, which makes the rate negative rather than wonderful.
pub fn two_decoys(
    signal: &Observed,
    weak: &Observed,
    weaker: &Observed,
) -> Result<SinglePhoton, UnsuitableIntensities> {
    let (mu, nu1, nu2) = (signal.intensity, weak.intensity, weaker.intensity);
    // Not just a positive denominator: that also holds for some intensities for which the bound is none.
    if !(nu2 >= 0.0 && nu1 > nu2 && nu1 + nu2 < mu) {
        return Err(UnsuitableIntensities { signal: mu, weak: nu1, weaker: nu2 });
    }
    let (signal_sum, weak_sum) = (signal.gain * mu.exp(), weak.gain * nu1.exp());
    let weaker_sum = weaker.gain * nu2.exp();

    let y0 = ((nu1 * weaker_sum - nu2 * weak_sum) / (nu1 - nu2)).max(0.0);
    let share_of_multi = (nu1 * nu1 - nu2 * nu2) / (mu * mu);
    let y1 = mu / (mu * nu1 - mu * nu2 - nu1 * nu1 + nu2 * nu2)
        * (weak_sum - weaker_sum - share_of_multi * (signal_sum - y0));
    if y1 <= 0.0 {
        return Ok(SinglePhoton { y1: 0.0, e1: NOISE_ERROR });
    }
    let e1 = (weak.qber * weak_sum - weaker.qber * weaker_sum) / ((nu1 - nu2) * y1);
    Ok(SinglePhoton { y1, e1: if (0.0..=NOISE_ERROR).contains(&e1) { e1 } else { NOISE_ERROR } })
}

/// Key bits per signal pulse (MQZL after GLLP): `q { −Q f h(E) + μ e^(−μ) Y1 [1 − h(e1)] }`. Negative means: no key.
///
/// `q` is the share of clicks that survive sifting, `f` the cost of error correction over Shannon's limit.
pub fn key_rate(q: f64, f: f64, signal: &Observed, single: &SinglePhoton) -> f64 {
    let mu = signal.intensity;
    let for_correction = signal.gain * f * binary_entropy(signal.qber);
    let secret = mu * (-mu).exp() * single.y1 * (1.0 - binary_entropy(single.e1));
    q * (secret - for_correction)
}

/// Key bits per pulse without decoys (Gottesman, Lo, Lütkenhaus, Preskill 2004): every pulse of two or more photons
/// must be taken to have clicked, and to have told Eve its bit.
///
/// `q Q [−f h(E) + (1 − D)(1 − h(E/(1 − D)))]` with `D = P(n ≥ 2)/Q`. 0 when the multi-photon pulses alone could
/// explain every click, or the errors of the rest exceed 1/2.
pub fn rate_without_decoys(q: f64, f: f64, signal: &Observed) -> f64 {
    let mu = signal.intensity;
    let multi = 1.0 - (-mu).exp() * (1.0 + mu);
    let safe = 1.0 - multi / signal.gain;
    if safe <= 0.0 || signal.qber / safe >= 0.5 {
        return 0.0;
    }
    q * signal.gain * (safe * (1.0 - binary_entropy(signal.qber / safe)) - f * binary_entropy(signal.qber))
}

/// The best signal intensity of a link without noise, MQZL eq. 12: `(1 − μ) e^(−μ) = f h(e_d)/(1 − h(e_d))`.
///
/// `None` when even single photons leave no key, that is when the right side reaches 1.
pub fn noiseless_optimal_mu(f: f64, e_d: f64) -> Option<f64> {
    let h = binary_entropy(e_d);
    let target = f * h / (1.0 - h);
    if target.is_nan() || target >= 1.0 {
        return None;
    }
    // The left side falls from 1 to 0 on [0, 1].
    Some(bisect(|mu| (1.0 - mu) * (-mu).exp() > target, 0.0, 1.0))
}

/// What no point-to-point link can exceed, in bits per pulse: `−log2(1 − η)` (Pirandola, Laurenza, Ottaviani, Banchi,
/// Nature Communications 8, 15043, 2017).
pub fn plob_bound(eta: f64) -> f64 {
    -(-eta).ln_1p() / std::f64::consts::LN_2
}

/// Golden-section search: narrows the place of the one peak of `f` between `low` and `high` to a thousandth.
fn enclose_peak(f: impl Fn(f64) -> f64, mut low: f64, mut high: f64) -> (f64, f64) {
    let golden = (5f64.sqrt() - 1.0) / 2.0;
    while high - low > 1e-3 {
        let (left, right) = (high - golden * (high - low), low + golden * (high - low));
        if f(left) < f(right) {
            low = left;
        } else {
            high = right;
        }
    }
    (low, high)
}

/// Where `holds`, true from `low` on, ceases to be true on the way to `high`.
fn bisect(holds: impl Fn(f64) -> bool, mut low: f64, mut high: f64) -> f64 {
    for _ in 0..64 {
        let middle = f64::midpoint(low, high);
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}
