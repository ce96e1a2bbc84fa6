//! From the errors of the test basis to the phase errors of the key basis.

use std::f64::consts::LN_2;

use super::{Analysis, PhaseBound, Security};

/// At most this share of `key` single-photon bits has a phase error, when of `test` single-photon bits `errors` were
/// wrong; 1/2 when nothing better can be said.
///
/// The rate of the test basis and what sampling without replacement adds. `γ` is that of Lim et al. 2014, eq. 5, with
/// both logarithms as there: `√[ (c+d)(1−b)b/(cd ln 2) · log2( (c+d)/(cd(1−b)b) · 21²/ε_sec² ) ]`. Serfling's
/// inequality gives `√[ (c+d)/(cd) · (c+1)/c · ln(21/ε_sec) ]`. In both `c` is `test`, `d` is `key`, and 21 is 19 with
/// one decoy.
///
/// `γ` vanishes with the rate `b`, although no sample shows that there are no errors: so `b` is taken to be that of one
/// error at the least.
pub(super) fn error_rate(errors: f64, test: f64, key: f64, analysis: Analysis, security: &Security) -> f64 {
    if test < 1.0 || key < 1.0 {
        return 0.5;
    }
    let rate = errors.max(1.0) / test;
    if rate >= 0.5 {
        return 0.5;
    }
    let inverse = analysis.decoys.events() / security.eps_sec;
    let both = (test + key) / (test * key);
    let sampling = match analysis.phase {
        PhaseBound::Gamma => {
            let spread = (1.0 - rate) * rate;
            // In logarithms, for the square of the inverse may be large.
            let log = (both / spread).log2() + 2.0 * inverse.log2();
            both * spread / LN_2 * log.max(0.0)
        }
        PhaseBound::Serfling => both * (test + 1.0) / test * inverse.ln(),
    };
    (rate + sampling.sqrt()).min(0.5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finite::Decoys;

    fn rate(errors: f64, test: f64, key: f64, phase: PhaseBound) -> f64 {
        error_rate(errors, test, key, Analysis { phase, ..Analysis::default() }, &Security::default())
    }

    #[test]
    fn more_is_added_to_smaller_samples_and_never_less_than_nothing() {
        for phase in [PhaseBound::Gamma, PhaseBound::Serfling] {
            let mut last = 0.5;
            for test in [0.0, 1.0, 10.0, 100.0, 1e4, 1e6, 1e9] {
                let bound = rate(0.02 * test, test, 1e6, phase);
                assert!(bound <= last && bound > 0.02, "{phase:?}, {test}: {bound}");
                last = bound;
            }
            assert!(rate(0.0, 1e4, 1e4, phase) > 1e-4, "no sample shows that there are no errors");
        }
        assert!(rate(1e4, 1e6, 1e6, PhaseBound::Serfling) > rate(1e4, 1e6, 1e6, PhaseBound::Gamma));
    }

    #[test]
    fn gamma_is_what_the_paper_says() {
        // By hand: b = .02, c = 1e6, d = 4e6.
        let (b, c, d) = (0.02f64, 1e6f64, 4e6f64);
        let inside = (c + d) / (c * d * (1.0 - b) * b) * 441.0 / 1e-20;
        let gamma = ((c + d) * (1.0 - b) * b / (c * d * 2f64.ln()) * inside.log2()).sqrt();
        assert!((rate(b * c, c, d, PhaseBound::Gamma) - b - gamma).abs() < 1e-12);
        let one = Analysis { decoys: Decoys::One, ..Analysis::default() };
        assert!(error_rate(b * c, c, d, one, &Security::default()) < b + gamma, "19 instead of 21");
    }
}
