//! What pulses give on average, by intensity: sums that can be weighed and added.

use crate::decoy::{Channel, NOISE_ERROR, Observed};

/// Averages per pulse of each intensity, brightest first. All of them grow evenly with the pulses, so that different
/// stretches of time can be added.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Means {
    /// Clicks, whatever the bases.
    pub(crate) clicks: [f64; 3],
    /// Of these, the share that is wrong where the bases agree, times the clicks.
    pub(crate) errors: [f64; 3],
    /// Of these, the share that Eve knows where the bases agree, times the clicks.
    pub(crate) known: [f64; 3],
}

impl Means {
    /// What pulses of these mean photon numbers give on a channel. A channel has no Eve who knows anything.
    pub(crate) fn of_channel(channel: &Channel, mu: &[f64; 3]) -> Self {
        let seen = mu.map(|mu| channel.observe(mu));
        Self { clicks: seen.map(|k| k.gain), errors: seen.map(|k| k.gain * k.qber), known: [0.0; 3] }
    }

    /// Adds what was in a stretch, times `weight`.
    pub(crate) fn add(&mut self, stretch: &Self, weight: f64) {
        for k in 0..3 {
            self.clicks[k] += weight * stretch.clicks[k];
            self.errors[k] += weight * stretch.errors[k];
            self.known[k] += weight * stretch.known[k];
        }
    }

    /// With afterpulses, which owe nothing to the pulse in whose slot they fall: all intensities get the same of them,
    /// half of them wrong and none known to Eve. `p` are the shares of the intensities.
    pub(crate) fn with_afterpulses(mut self, afterpulse: f64, p: &[f64; 3]) -> Self {
        let more = false_clicks(afterpulse, self.mean_clicks(p));
        for k in 0..3 {
            self.clicks[k] += more;
            self.errors[k] += NOISE_ERROR * more;
        }
        self
    }

    /// Clicks per pulse over all intensities, whose shares are `p`.
    pub(crate) fn mean_clicks(&self, p: &[f64; 3]) -> f64 {
        self.clicks.iter().zip(p).map(|(clicks, p)| p * clicks).sum()
    }

    /// The share of wrong bits among the sifted ones of the `k`-th intensity.
    pub(crate) fn qber(&self, k: usize) -> f64 {
        share(self.errors[k], self.clicks[k], NOISE_ERROR)
    }

    /// The share that Eve knows of the sifted bits of the `k`-th intensity.
    pub(crate) fn known_share(&self, k: usize) -> f64 {
        share(self.known[k], self.clicks[k], 0.0)
    }

    /// What is seen of the `k`-th intensity, of mean photon number `intensity`.
    pub(crate) fn observed(&self, k: usize, intensity: f64) -> Observed {
        Observed { intensity, gain: self.clicks[k], qber: self.qber(k) }
    }
}

/// Clicks per pulse that are afterpulses, where `mean_clicks` have other causes.
///
/// A share `p_ap` of all clicks is followed by a false one, so with `Q` for all of them, false ones included, there are
/// `p_ap Q` false ones, and `Q = Q_without/(1 − p_ap)`.
pub(crate) fn false_clicks(afterpulse: f64, mean_clicks: f64) -> f64 {
    afterpulse * mean_clicks / (1.0 - afterpulse)
}

fn share(part: f64, of: f64, if_nothing: f64) -> f64 {
    if of > 0.0 { part / of } else { if_nothing }
}
