//! The line between Alice and Bob: fibre, honest trouble, Eve; what happens on it to a pulse, and what is seen of that.

use std::fmt;
use std::time::Duration;

use crate::DeviceProfile;
use crate::decoy::{NOISE_ERROR, Observed, transmittance};
use crate::device::Means;
use crate::eve::{Arrives, Attack, Cause, Eve, Holds, Passage, causes};
use crate::finite::Intensities;
use crate::pulse::Intensity;

/// Honest trouble on a line, some of which looks like an attack.
///
/// A speed that is no finite number counts as 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Trouble {
    /// No light arrives.
    FibreCut,
    /// The polarisation turns away from where the receiver expects it, and nothing follows it:
    /// `e_d(t) = e_d + (1 − 2 e_d) sin²(θ)` for an angle `θ` that grows evenly from 0 (Malus' law). It looks like
    /// somebody who intercepts and resends ever more.
    PolarisationDrift {
        /// How fast, degrees of the plane of polarisation per minute.
        degrees_per_minute: f64,
    },
    /// The loss grows evenly with time: a bend, a connector that comes loose, somebody who takes light out of the
    /// fibre. It never falls below 0 dB.
    RisingLoss {
        /// How fast, dB per minute.
        db_per_minute: f64,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FibreCut => f.write_str("the fibre is cut"),
            Self::PolarisationDrift { degrees_per_minute } => {
                write!(f, "the polarisation turns by {degrees_per_minute} degrees a minute")
            }
            Self::RisingLoss { db_per_minute } => write!(f, "the loss rises by {db_per_minute} dB a minute"),
        }
    }
}

/// The line between Alice and Bob, with Alice's source at one end and the reach of Bob's detectors at the other.
///
/// It says what may happen to a pulse. [`super::Transmitter`] draws from that; [`Self::observe`] averages over it, for
/// models that need no single clicks. Afterpulses belong to the receiver, so the averages hold them and the drawn
/// pulses do not; of the dead time neither knows.
#[derive(Clone, Debug)]
pub struct Line {
    loss_db: f64,
    eta_bob: f64,
    noise: f64,
    e_d: f64,
    afterpulse: f64,
    intensities: Intensities,
    eve: Option<Eve>,
    trouble: Option<Trouble>,
}

impl Line {
    /// A line of `loss_db` between two boxes of this make, with nobody on it. `background` is the probability per slot
    /// of a click by light of other channels in the fibre; it adds to `Y0`.
    pub fn new(device: &DeviceProfile, loss_db: f64, background: f64) -> Self {
        Self {
            loss_db,
            eta_bob: device.eta_bob,
            noise: device.y0 + background,
            e_d: device.e_d,
            afterpulse: device.afterpulse,
            intensities: device.intensities(),
            eve: None,
            trouble: None,
        }
    }

    /// Puts somebody on the line, or takes them off it.
    pub fn set_eve(&mut self, eve: Option<Eve>) {
        self.eve = eve;
    }

    /// Brings honest trouble to the line, or mends it.
    pub fn set_trouble(&mut self, trouble: Option<Trouble>) {
        self.trouble = trouble;
    }

    /// Who is on the line.
    pub fn eve(&self) -> Option<Eve> {
        self.eve
    }

    /// What trouble it has.
    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble
    }

    /// What Alice and Bob see on average of the pulses of one intensity, when the trouble has lasted for `elapsed`:
    /// clicks per pulse over all bases, afterpulses included, and the share of wrong bits where the bases agree.
    ///
    /// Without Eve and trouble it is what [`crate::decoy::Channel::observe`] says of [`DeviceProfile::channel`].
    pub fn observe(&self, intensity: Intensity, elapsed: Duration) -> Observed {
        self.means(elapsed).observed(intensity.index(), self.intensities.mu[intensity.index()])
    }

    /// The share of the sifted bits of one intensity that Eve knows, when the trouble has lasted for `elapsed`;
    /// afterpulses count among those that she does not.
    pub fn known_to_eve(&self, intensity: Intensity, elapsed: Duration) -> f64 {
        self.means(elapsed).known_share(intensity.index())
    }

    /// What pulses of all intensities give on average, when the trouble has lasted for `elapsed`, afterpulses included:
    /// [`Self::observe`] and [`Self::known_to_eve`] in one.
    pub(crate) fn means(&self, elapsed: Duration) -> Means {
        let mut means = Means::default();
        for k in Intensity::ALL {
            let totals = self.totals(k, elapsed.as_secs_f64());
            let k = k.index();
            (means.clicks[k], means.errors[k], means.known[k]) = (totals.gain, totals.errors, totals.known);
        }
        means.with_afterpulses(self.afterpulse, &self.intensities.p)
    }

    /// Everything that may make a click in a slot with a pulse of this intensity, with its probability.
    pub(super) fn causes(&self, intensity: Intensity, seconds: f64) -> Vec<Cause> {
        let passage = Passage { transmittance: self.transmittance(seconds), eta_bob: self.eta_bob, noise: self.noise };
        let mu = self.intensities.mu;
        causes(self.eve.as_ref().map(Eve::attack), &passage, mu[0], mu[intensity.index()])
    }

    /// The probability that a photon measured in its own basis takes the wrong way, after so many seconds of trouble.
    pub(super) fn misalignment(&self, seconds: f64) -> f64 {
        match self.trouble {
            Some(Trouble::PolarisationDrift { degrees_per_minute }) => {
                let turned = (finite(degrees_per_minute) * seconds / 60.0).to_radians().sin().powi(2);
                (self.e_d + (1.0 - 2.0 * self.e_d) * turned).clamp(0.0, 1.0)
            }
            _ => self.e_d,
        }
    }

    /// Whether Eve blinds the detectors.
    pub(crate) fn is_bright(&self) -> bool {
        self.eve.is_some_and(|eve| eve.attack() == Attack::Blinding)
    }

    /// Whether the same line is another one a moment later.
    pub(crate) fn changes_with_time(&self) -> bool {
        matches!(self.trouble, Some(Trouble::PolarisationDrift { .. } | Trouble::RisingLoss { .. }))
    }

    /// Shares of the intensities among the pulses.
    pub(super) fn shares(&self) -> [f64; 3] {
        self.intensities.p
    }

    fn transmittance(&self, seconds: f64) -> f64 {
        match self.trouble {
            Some(Trouble::FibreCut) => 0.0,
            Some(Trouble::RisingLoss { db_per_minute }) => {
                transmittance((self.loss_db + finite(db_per_minute) * seconds / 60.0).max(0.0))
            }
            _ => transmittance(self.loss_db),
        }
    }

    fn totals(&self, intensity: Intensity, seconds: f64) -> Totals {
        let misalignment = self.misalignment(seconds);
        self.causes(intensity, seconds).iter().fold(Totals::default(), |sum, cause| sum.and(cause, misalignment))
    }
}

/// Sums over the causes, per pulse.
#[derive(Default)]
struct Totals {
    /// Clicks.
    gain: f64,
    /// Of those with equal bases, the wrong ones.
    errors: f64,
    /// Of those with equal bases, the ones that Eve knows.
    known: f64,
}

impl Totals {
    fn and(self, cause: &Cause, misalignment: f64) -> Self {
        let (clicks, wrong) = match (cause.arrives, cause.holds) {
            (Arrives::Noise, _) => (1.0, NOISE_ERROR),
            // Bob must choose the basis of what was faked. Then he has the bit that Eve has; she has Alice's, unless
            // there was none to be had.
            (Arrives::Fake, Holds::Invention) => (0.5, 0.5),
            (Arrives::Fake, _) => (0.5, 0.0),
            // Half of them were measured in the wrong basis.
            (Arrives::One | Arrives::Several, Holds::Outcome | Holds::Invention) => {
                (1.0, f64::midpoint(misalignment, 0.5))
            }
            (Arrives::One | Arrives::Several, Holds::Nothing | Holds::Bit) => (1.0, misalignment),
        };
        let known = match (cause.arrives, cause.holds) {
            (_, Holds::Nothing) => 0.0,
            (Arrives::Fake, _) | (_, Holds::Bit) => 1.0,
            (_, Holds::Outcome | Holds::Invention) => 0.5,
        };
        let gain = cause.probability * clicks;
        Self { gain: self.gain + gain, errors: self.errors + gain * wrong, known: self.known + gain * known }
    }
}

fn finite(speed: f64) -> f64 {
    if speed.is_finite() { speed } else { 0.0 }
}
