//! What a finite-key analysis is told beside the counts: brightnesses, method, and how safe is safe enough.

use std::fmt;

use thiserror::Error;

/// Mean photon numbers and shares of the three kinds of pulses, brightest first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Intensities {
    /// Mean photon numbers `μ1 > μ2 > μ3 ≥ 0`.
    pub mu: [f64; 3],
    /// Shares of the pulses, which sum to 1. `p[2]` is 0 for one decoy; where it is not, such an analysis leaves out
    /// the pulses of the third kind.
    pub p: [f64; 3],
}

/// Which decoy analysis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoys {
    /// Two decoys, one of which may be the vacuum: Lim et al. 2014.
    Two,
    /// One decoy: Rusca et al. 2018.
    One,
}

/// Which bound on the scatter of counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Hoeffding's inequality, as published.
    Hoeffding,
    /// Chernoff's bound, tighter for small counts.
    Chernoff,
}

/// Which bound takes the phase error rate from the test basis to the key basis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseBound {
    /// The `γ` of Lim et al. 2014.
    Gamma,
    /// Serfling's inequality: rigorous.
    Serfling,
}

/// The analysis that a key was made with; carried with the key. `Display` names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Analysis {
    /// Decoys.
    pub decoys: Decoys,
    /// Scatter.
    pub tail: Tail,
    /// Phase error.
    pub phase: PhaseBound,
}

/// How likely it may be that something is wrong with a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Security {
    /// Secrecy: distance of the key from one that Eve knows nothing of.
    pub eps_sec: f64,
    /// Correctness: probability that the two ends hold different keys.
    pub eps_cor: f64,
}

/// A finite-key analysis cannot be made with these parameters, and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum FiniteError {
    /// The bounds do not hold for these brightnesses.
    #[error(
        "pulses of {mu:?} photons do not suit an analysis with {decoys}: {} is needed",
        match decoys {
            Decoys::Two => "a signal brighter than the two decoys together, and a first decoy brighter than the second",
            Decoys::One => "a signal brighter than the decoy, and a decoy brighter than nothing",
        }
    )]
    Intensities {
        /// The mean photon numbers.
        mu: [f64; 3],
        /// For which analysis.
        decoys: Decoys,
    },
    /// The shares of the kinds of pulses are none.
    #[error(
        "shares of {p:?} of the pulses do not suit an analysis with {decoys}: each kind that it uses needs some of \
        the pulses, and all of them must add up to 1"
    )]
    Shares {
        /// The shares.
        p: [f64; 3],
        /// For which analysis.
        decoys: Decoys,
    },
    /// A probability of failure that is none, or that nobody would call security.
    #[error("{field} = {value}, but it must be between 1e-100 and 0.01; 1e-10 is usual")]
    Security {
        /// The field of [`Security`].
        field: &'static str,
        /// What it was set to.
        value: f64,
    },
}

impl Intensities {
    /// Checks that the bounds of an analysis with `decoys` hold for these pulses.
    ///
    /// Two decoys: `μ1 > μ2 + μ3` and `μ2 > μ3 ≥ 0` (Lim et al. 2014); one decoy: `μ1 > μ2 > 0`. The shares must be
    /// positive, as far as they are used, and sum to 1 within 1e-9.
    pub fn validate(&self, decoys: Decoys) -> Result<(), FiniteError> {
        let [mu1, mu2, mu3] = self.mu;
        // Brighter pulses than any source for key distribution sends; it keeps the exponentials finite.
        let bounded = self.mu.iter().all(|mu| (0.0..=10.0).contains(mu));
        let ordered = match decoys {
            Decoys::Two => mu1 > mu2 + mu3 && mu2 > mu3,
            Decoys::One => mu1 > mu2 && mu2 > 0.0,
        };
        if !(bounded && ordered) {
            return Err(FiniteError::Intensities { mu: self.mu, decoys });
        }
        let used = &self.p[..decoys.kinds()];
        let shares = used.iter().all(|p| *p > 0.0) && self.p[2] >= 0.0;
        if !(shares && (self.p.iter().sum::<f64>() - 1.0).abs() <= 1e-9) {
            return Err(FiniteError::Shares { p: self.p, decoys });
        }
        Ok(())
    }
}

impl Decoys {
    /// How many kinds of pulses the analysis uses, of the brightest.
    pub(super) fn kinds(self) -> usize {
        match self {
            Self::Two => 3,
            Self::One => 2,
        }
    }

    /// Among how many events of failure `ε_sec` is shared out: 21 (Lim et al. 2014), 19 (Rusca et al. 2018).
    pub(super) fn events(self) -> f64 {
        match self {
            Self::Two => 21.0,
            Self::One => 19.0,
        }
    }
}

impl Security {
    /// Checks that both are probabilities of failure that make sense: 1e-100 to 0.01.
    pub fn validate(&self) -> Result<(), FiniteError> {
        for (field, value) in [("eps_sec", self.eps_sec), ("eps_cor", self.eps_cor)] {
            if !(1e-100..=0.01).contains(&value) {
                return Err(FiniteError::Security { field, value });
            }
        }
        Ok(())
    }
}

impl Default for Analysis {
    /// Two decoys, Chernoff's bound, `γ`: what gives the most key.
    fn default() -> Self {
        Self { decoys: Decoys::Two, tail: Tail::Chernoff, phase: PhaseBound::Gamma }
    }
}

impl Default for Security {
    /// `ε_sec` 1e-10 and `ε_cor` 1e-15, the usual choice.
    fn default() -> Self {
        Self { eps_sec: 1e-10, eps_cor: 1e-15 }
    }
}

impl fmt::Display for Decoys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Two => "two decoys (Lim 2014)",
            Self::One => "one decoy (Rusca 2018)",
        })
    }
}

impl fmt::Display for Analysis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tail = match self.tail {
            Tail::Hoeffding => "Hoeffding",
            Tail::Chernoff => "Chernoff",
        };
        let phase = match self.phase {
            PhaseBound::Gamma => "gamma",
            PhaseBound::Serfling => "Serfling",
        };
        write!(f, "{}, {tail}, {phase}", self.decoys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Intensities = Intensities { mu: [0.48, 0.1, 0.0], p: [0.7, 0.2, 0.1] };

    #[test]
    fn intensities_that_bound_nothing_are_refused() {
        assert_eq!(GOOD.validate(Decoys::Two), Ok(()));
        assert_eq!(GOOD.validate(Decoys::One), Ok(()));
        let mus = [[0.1, 0.1, 0.0], [0.48, 0.3, 0.2], [0.48, 0.1, 0.1], [0.48, 0.1, -0.1], [f64::NAN, 0.1, 0.0]];
        for mu in mus.into_iter().chain([[0.48, f64::NAN, 0.0], [0.48, 0.1, f64::NAN], [f64::INFINITY, 0.1, 0.0]]) {
            let refused = Intensities { mu, ..GOOD }.validate(Decoys::Two).unwrap_err();
            assert!(refused.to_string().contains("brighter than the two decoys together"), "{refused}");
        }
        let one = Intensities { mu: [0.48, 0.0, 0.0], ..GOOD };
        assert!(one.validate(Decoys::One).unwrap_err().to_string().contains("brighter than nothing"));
        for p in [[0.7, 0.3, 0.0], [0.7, 0.2, 0.2], [1.2, -0.3, 0.1], [0.7, f64::NAN, 0.1], [0.0, 0.5, 0.5]] {
            let refused = Intensities { p, ..GOOD }.validate(Decoys::Two).unwrap_err();
            assert!(refused.to_string().contains("must add up to 1"), "{refused}");
        }
        assert_eq!(Intensities { p: [0.7, 0.3, 0.0], ..GOOD }.validate(Decoys::One), Ok(()));
    }

    #[test]
    fn security_that_is_none_is_refused() {
        for eps in [0.0, -1e-10, 0.5, 1e-300, f64::NAN] {
            let refused = Security { eps_sec: eps, ..Security::default() }.validate().unwrap_err().to_string();
            assert!(refused.contains("eps_sec") && refused.contains("1e-10 is usual"), "{refused}");
            assert!(Security { eps_cor: eps, ..Security::default() }.validate().is_err());
        }
    }

    #[test]
    fn an_analysis_has_a_name() {
        assert_eq!(Analysis::default().to_string(), "two decoys (Lim 2014), Chernoff, gamma");
    }
}
