//! How much key a block of finite length holds: the bounds that a finite number of counts allows, and the length of
//! the secret key that follows from them.
//!
//! It does not count, correct or hash anything: it takes what was counted and says what that is worth. The formulas:
//!
//! - two decoys: C. C. W. Lim, M. Curty, N. Walenta, F. Xu, H. Zbinden, "Concise security bounds for practical
//!   decoy-state quantum key distribution", Phys. Rev. A 89, 022307 (2014);
//! - one decoy: D. Rusca, A. Boaron, F. Grünenfelder, A. Martin, H. Zbinden, "Finite-key analysis for the 1-decoy state
//!   QKD protocol", Appl. Phys. Lett. 112, 171104 (2018).
//!
//! As in the first of them X is the key basis and Z the test; all intensities give key.
//!
//! ```
//! use vernam_qkd::finite::{Analysis, BasisCounts, Counts, Intensities, Security, bounds, secret_length};
//!
//! let intensities = Intensities { mu: [0.48, 0.1, 0.0], p: [0.7, 0.2, 0.1] };
//! let basis = BasisCounts { detected: [700_000.0, 42_000.0, 100.0], errors: [14_000.0, 860.0, 50.0] };
//! let counts = Counts { x: basis, z: basis };
//! let (analysis, security) = (Analysis::default(), Security::default());
//! let bounds = bounds(&intensities, &counts, analysis, &security);
//! // 1.16 times Shannon's limit at a QBER of 2 %, and a hash of 128 bits.
//! let length = secret_length(&bounds, 1.16 * 0.1414 * counts.x.total(), 128.0, analysis, &security);
//! assert!((200_000..300_000).contains(&length), "{length}");
//! ```

mod decoys;
mod leak;
mod params;
mod phase;
mod tail;

pub use leak::Tagged;
pub use params::{Analysis, Decoys, FiniteError, Intensities, PhaseBound, Security, Tail};

use crate::draw::to_count;

/// What was counted in one basis, by intensity, brightest first. Counts, or expectations of counts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BasisCounts {
    /// Sifted bits.
    pub detected: [f64; 3],
    /// How many of them were wrong.
    pub errors: [f64; 3],
}

/// What was counted in a block.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    /// The key basis. Its errors are used by the analysis with one decoy ([`Decoys::One`]) only, which must not be asked
    /// before they are known: for two decoys they may be 0.
    pub x: BasisCounts,
    /// The test basis.
    pub z: BasisCounts,
}

/// What the decoys say of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// At least so many bits of the key basis came from vacuum pulses (`s_X0`).
    pub vacuum: f64,
    /// At least so many came from single photons (`s_X1`).
    pub single: f64,
    /// At least so many bits of the test basis came from single photons (`s_Z1`).
    pub test_single: f64,
    /// At most so many of those were wrong (`v_Z1`).
    pub test_errors: f64,
    /// At most this share of the single-photon bits of the key basis has a phase error (`φ_X`); at most 1/2.
    pub phase_error: f64,
}

impl BasisCounts {
    /// Sifted bits of all intensities.
    pub fn total(&self) -> f64 {
        self.detected.iter().sum()
    }

    /// Wrong ones of all intensities.
    pub fn total_errors(&self) -> f64 {
        self.errors.iter().sum()
    }

    /// Share of wrong bits; 1/2 if there is nothing to measure.
    pub fn qber(&self) -> f64 {
        if self.total() > 0.0 { self.total_errors() / self.total() } else { 0.5 }
    }

    fn is_sane(&self) -> bool {
        // More than 2^53 cannot have been counted, and would overflow further on.
        let sane = |n: &f64| (0.0..=9e15).contains(n);
        self.detected.iter().all(sane) && self.errors.iter().all(sane)
    }
}

impl Bounds {
    /// Nothing is known, so nothing is secret.
    pub const NONE: Self = Self { vacuum: 0.0, single: 0.0, test_single: 0.0, test_errors: 0.0, phase_error: 0.5 };
}

/// The bounds of `counts`, each of which fails with a probability that `security` allows.
///
/// Parameters that make no sense ([`Intensities::validate`], [`Security::validate`]) and counts that cannot have been
/// counted, negative ones or none at all, give [`Bounds::NONE`].
pub fn bounds(intensities: &Intensities, counts: &Counts, analysis: Analysis, security: &Security) -> Bounds {
    bounds_with_leak(intensities, counts, &Tagged::default(), analysis, security)
}

/// The bounds of `counts` if of `tagged` pulses Eve knows the settings: see [`Tagged`].
pub fn bounds_with_leak(
    intensities: &Intensities,
    counts: &Counts,
    tagged: &Tagged,
    analysis: Analysis,
    security: &Security,
) -> Bounds {
    let usable = intensities.validate(analysis.decoys).is_ok() && security.validate().is_ok();
    if !(usable && counts.x.is_sane() && counts.z.is_sane() && tagged.is_sane()) {
        return Bounds::NONE;
    }
    let method = decoys::Method::new(intensities, analysis, security);
    let key = method.photons(&counts.x, &tagged.x);
    let test = method.photons(&counts.z, &tagged.z);
    let test_errors = method.single_photon_errors(&counts.z, &tagged.z);
    let phase_error = phase::error_rate(test_errors, test.single, key.single, analysis, security);
    Bounds { vacuum: key.vacuum, single: key.single, test_single: test.single, test_errors, phase_error }
}

/// Length of the secret key, bits: `disclosed` for error correction and `verification` for the hash that checks it.
///
/// `⌊s_X0 + s_X1 (1 − h(φ_X)) − disclosed − verification − 6 log2(21/ε_sec)⌋` (Lim et al. 2014, eq. 1, which has
/// `verification = log2(2/ε_cor)`), with 19 for 21 with one decoy (Rusca et al. 2018); 0 where that is negative.
pub fn secret_length(
    bounds: &Bounds,
    disclosed: f64,
    verification: f64,
    analysis: Analysis,
    security: &Security,
) -> u64 {
    if security.validate().is_err() || disclosed.is_nan() || verification.is_nan() {
        return 0;
    }
    let smoothing = 6.0 * (analysis.decoys.events() / security.eps_sec).log2();
    // Nothing was ever gained by disclosing.
    let length = secret_part(bounds) - disclosed.max(0.0) - verification.max(0.0) - smoothing;
    if length.is_finite() { to_count(length) } else { 0 }
}

/// What Eve does not know of the key before anything was disclosed, bits: `s_X0 + s_X1 (1 − h(φ_X))`.
fn secret_part(bounds: &Bounds) -> f64 {
    // Beyond 1/2 the entropy would fall again.
    if !(0.0..=0.5).contains(&bounds.phase_error) {
        return 0.0;
    }
    bounds.vacuum.max(0.0) + bounds.single.max(0.0) * (1.0 - crate::decoy::binary_entropy(bounds.phase_error))
}
