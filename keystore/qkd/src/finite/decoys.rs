//! What the decoys tell: how many bits came from pulses without a photon, and from pulses with one.

use super::{Analysis, BasisCounts, Decoys, Intensities, Security, Tail};

/// One analysis, ready to be applied to either basis.
pub(super) struct Method<'a> {
    decoys: Decoys,
    tail: Tail,
    mu: &'a [f64; 3],
    /// `e^k/p_k`: what turns a count into the gain of an intensity, times `e^k`.
    scale: [f64; 3],
    /// Probability that a pulse has no photon (`τ0`), and one (`τ1`).
    tau: [f64; 2],
    /// Logarithm of the inverse of the probability that one bound fails, `ln(21/ε_sec)`.
    b: f64,
}

/// At least so many bits of a basis came from pulses without a photon, and with one.
pub(super) struct Photons {
    pub(super) vacuum: f64,
    pub(super) single: f64,
}

/// Bounds on the expected counts of each intensity, scaled: `n_k^−` and `n_k^+`.
struct Scaled {
    low: [f64; 3],
    high: [f64; 3],
}

impl<'a> Method<'a> {
    /// `intensities` and `security` must have been validated.
    pub(super) fn new(intensities: &'a Intensities, analysis: Analysis, security: &Security) -> Self {
        let mut scale = [0.0; 3];
        let mut tau = [0.0; 2];
        // A kind of pulses that is not used has no part in any sum: its scale stays 0.
        for ((scale, mu), p) in scale.iter_mut().zip(&intensities.mu).zip(&intensities.p).take(analysis.decoys.kinds())
        {
            *scale = mu.exp() / p;
            tau[0] += p * (-mu).exp();
            tau[1] += p * (-mu).exp() * mu;
        }
        let b = (analysis.decoys.events() / security.eps_sec).ln();
        Self { decoys: analysis.decoys, tail: analysis.tail, mu: &intensities.mu, scale, tau, b }
    }

    /// Bits of one basis by photon number. Of each intensity `tagged` bits may be Eve's own making.
    pub(super) fn photons(&self, counts: &BasisCounts, tagged: &[f64; 3]) -> Photons {
        let scaled = self.scaled(&counts.detected, tagged);
        let (vacuum, single) = match self.decoys {
            Decoys::Two => self.two(&scaled),
            Decoys::One => self.one(&scaled, counts),
        };
        // Of the bits that there are. Lowering a lower bound is always right.
        let single = single.clamp(0.0, counts.total());
        Photons { vacuum: vacuum.clamp(0.0, counts.total() - single), single }
    }

    /// At most so many single-photon bits of the test basis are wrong: `v1 ≤ τ1 (m2^+ − m3^−)/(μ2 − μ3)` with two
    /// decoys, `v1 ≤ τ1 (m1^+ − m2^−)/(μ1 − μ2)` with one.
    pub(super) fn single_photon_errors(&self, counts: &BasisCounts, tagged: &[f64; 3]) -> f64 {
        let errors = self.scaled(&counts.errors, tagged);
        let brighter = self.decoys.kinds() - 2;
        let difference = errors.high[brighter] - errors.low[brighter + 1];
        (self.tau[1] * difference / (self.mu[brighter] - self.mu[brighter + 1])).max(0.0)
    }

    /// Lim et al. 2014, eqs. 2 and 3:
    ///
    /// `s0 ≥ τ0 (μ2 n3^− − μ3 n2^+)/(μ2 − μ3)`,
    /// `s1 ≥ τ1 μ1 [n2^− − n3^+ − (μ2² − μ3²)/μ1² (n1^+ − s0/τ0)] / [μ1(μ2 − μ3) − μ2² + μ3²]`.
    fn two(&self, n: &Scaled) -> (f64, f64) {
        let ([mu1, mu2, mu3], [tau0, tau1]) = (*self.mu, self.tau);
        let vacuum = (tau0 * (mu2 * n.low[2] - mu3 * n.high[1]) / (mu2 - mu3)).max(0.0);
        let squares = mu2 * mu2 - mu3 * mu3;
        let multi = squares / (mu1 * mu1) * (n.high[0] - vacuum / tau0);
        let single = tau1 * mu1 * (n.low[1] - n.high[2] - multi) / (mu1 * (mu2 - mu3) - squares);
        (vacuum, single)
    }

    /// Rusca et al. 2018, appendix: bits without a photon are wrong half of the time, so that the errors
    /// bound their number from above,
    ///
    /// `s0 ≤ 2 [τ0 e^k/p_k (m_k + δ(m)) + δ(n)]` (the best `k`), `s0 ≥ τ0 (μ1 n2^− − μ2 n1^+)/(μ1 − μ2)`,
    /// `s1 ≥ τ1 μ1/(μ2(μ1 − μ2)) [n2^− − μ2²/μ1² n1^+ − (μ1² − μ2²)/μ1² s0^u/τ0]`.
    ///
    /// The `δ(n)` of the first is Hoeffding's in every case: it is the scatter of the errors of a number of bits that is
    /// not known.
    fn one(&self, n: &Scaled, counts: &BasisCounts) -> (f64, f64) {
        let ([mu1, mu2, _], [tau0, tau1]) = (*self.mu, self.tau);
        // Tagged pulses can only have added errors.
        let errors = self.scaled(&counts.errors, &[0.0; 3]);
        let scatter = Tail::Hoeffding.deviation(0.0, self.total(&counts.detected), self.b).1;
        let most_vacuum = 2.0 * (tau0 * errors.high[0].min(errors.high[1]) + scatter);
        let squares = 1.0 - mu2 * mu2 / (mu1 * mu1);
        let bracket = n.low[1] - mu2 * mu2 / (mu1 * mu1) * n.high[0] - squares * most_vacuum / tau0;
        let vacuum = tau0 / (mu1 - mu2) * (mu1 * n.low[1] - mu2 * n.high[0]);
        (vacuum, tau1 * mu1 / (mu2 * (mu1 - mu2)) * bracket)
    }

    /// `n_k^± = e^k/p_k (n_k ± δ)`, the lower ones not below 0.
    fn scaled(&self, counts: &[f64; 3], tagged: &[f64; 3]) -> Scaled {
        let total = self.total(counts);
        let mut scaled = Scaled { low: [0.0; 3], high: [0.0; 3] };
        for k in 0..self.decoys.kinds() {
            let (low, high) = (
                self.tail.expectation((counts[k] - tagged[k]).max(0.0), total, self.b).0,
                self.tail.expectation(counts[k], total, self.b).1,
            );
            scaled.low[k] = self.scale[k] * low;
            scaled.high[k] = self.scale[k] * high;
        }
        scaled
    }

    /// All counts of the kinds of pulses that are used.
    fn total(&self, counts: &[f64; 3]) -> f64 {
        counts[..self.decoys.kinds()].iter().sum()
    }
}
