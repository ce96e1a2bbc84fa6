//! What stands at the two ends of a link: the numbers of one make of QKD equipment.

use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

use crate::decoy::{Channel, Observed, SinglePhoton, key_rate, two_decoys};

/// The profiles that come with this crate, by name.
const BUILT_IN: [(&str, &str); 4] = [
    ("gys", include_str!("../devices/gys.toml")),
    ("metro-40mhz", include_str!("../devices/metro-40mhz.toml")),
    ("metro-625mhz", include_str!("../devices/metro-625mhz.toml")),
    ("lab-1ghz", include_str!("../devices/lab-1ghz.toml")),
];

/// One make of QKD equipment, in the symbols of the field.
///
/// ```
/// let metro = vernam_qkd::DeviceProfile::named("metro-40mhz")?;
/// assert!(metro.key_rate_bps(4.2) > 10_000.0); // 4.2 dB: some 15 km inside a city
/// # Ok::<(), vernam_qkd::ProfileError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceProfile {
    /// Short name, as [`Self::named`] knows it.
    pub name: String,
    /// One line for people.
    pub description: String,
    /// Pulses that Alice sends per second while the link is quiet enough to send.
    pub pulse_rate_hz: f64,
    /// Share of the time in which quantum pulses are sent; the rest goes to calibration and post-processing.
    pub duty: f64,
    /// Attenuation of the fibre, dB/km.
    pub fibre_db_per_km: f64,
    /// Share of the photons arriving at Bob that he detects (`η_Bob`): his optics and his detectors.
    pub eta_bob: f64,
    /// Clicks per pulse without light (Y0), all detectors together.
    pub y0: f64,
    /// Share of the photons that click in the wrong detector (`e_d`).
    pub e_d: f64,
    /// Bits disclosed in error correction over Shannon's limit (f).
    pub f: f64,
    /// Share of the clicks that become sifted key (q): 1/2 if both bases give key, less if one is the test.
    pub q: f64,
    /// Mean photon number of signal pulses (μ).
    pub mu: f64,
    /// Mean photon number of decoy pulses (ν). The second decoy is the vacuum.
    pub nu: f64,
    /// Share of the pulses that are signals.
    pub p_signal: f64,
    /// Share of the pulses that are decoys of intensity ν; what then remains is vacuum.
    pub p_decoy: f64,
    /// Seconds between two blocks of key in the field. See [`crate::LinkConfig::block_pace`].
    pub block_seconds: f64,
    /// Microseconds for which a detector is blind after a click; 0 leaves it out of the model.
    #[serde(default)]
    pub dead_time_us: f64,
    /// How many detectors share the clicks; matters with a dead time only.
    #[serde(default = "two")]
    pub detectors: u32,
    /// Share of the clicks that are followed by a false one; 0 leaves it out of the model.
    #[serde(default)]
    pub afterpulse: f64,
}

/// A device profile that cannot be used, and what to do about it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// The text is not TOML, or a field is missing, misspelt or of the wrong type.
    #[error("the device profile cannot be read: {0}")]
    Syntax(#[from] toml::de::Error),
    /// A number lies outside of what its field means.
    #[error("device profile \"{profile}\": {field} = {value}, but {rule}")]
    Field {
        /// Name of the profile.
        profile: String,
        /// The field as it is called in the TOML file.
        field: &'static str,
        /// What it was set to.
        value: f64,
        /// What it must be, as the end of a sentence.
        rule: &'static str,
    },
    /// No profile of that name comes with this crate.
    #[error("there is no device profile \"{0}\": choose one of {names}, or give a TOML file of your own",
        names = DeviceProfile::names().collect::<Vec<_>>().join(", "))]
    Unknown(String),
}

/// What the model says of a link of a given loss, on average over many blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Expectation {
    /// The signal pulses: gain and QBER.
    pub signal: Observed,
    /// Bounds on the single photons, from the weak decoy and the vacuum.
    pub single: SinglePhoton,
    /// Sifted bits per second.
    pub sifted_bps: f64,
    /// Secret bits per second; 0 when there is no key to be had.
    pub key_bps: f64,
}

impl DeviceProfile {
    /// A profile that comes with this crate: one of [`Self::names`].
    pub fn named(name: &str) -> Result<Self, ProfileError> {
        let (_, text) =
            BUILT_IN.iter().find(|(known, _)| *known == name).ok_or_else(|| ProfileError::Unknown(name.to_owned()))?;
        Self::from_toml(text)
    }

    /// The names that [`Self::named`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// A profile of the user's own. `devices/metro-40mhz.toml` shows and explains the fields.
    pub fn from_toml(text: &str) -> Result<Self, ProfileError> {
        let profile: Self = toml::from_str(text)?;
        profile.validate()?;
        Ok(profile)
    }

    /// Checks every number against what its field means. [`crate::RateLink`] does so too, so that a profile changed in
    /// code is as safe as one from a file.
    pub fn validate(&self) -> Result<(), ProfileError> {
        let check = |field, value: f64, ok: bool, rule| {
            if ok && value.is_finite() {
                return Ok(());
            }
            Err(ProfileError::Field { profile: self.name.clone(), field, value, rule })
        };
        let positive_share = |value: f64| value > 0.0 && value <= 1.0;
        check("pulse_rate_hz", self.pulse_rate_hz, (1.0..=1e11).contains(&self.pulse_rate_hz), "must be 1 to 1e11")?;
        check("duty", self.duty, positive_share(self.duty), "must be above 0 and at most 1")?;
        check("fibre_db_per_km", self.fibre_db_per_km, self.fibre_db_per_km >= 0.0, "loss cannot be negative")?;
        check("eta_bob", self.eta_bob, positive_share(self.eta_bob), "must be above 0 and at most 1")?;
        check("y0", self.y0, (0.0..0.5).contains(&self.y0), "must be 0 or more and below 0.5 clicks a pulse")?;
        check("e_d", self.e_d, (0.0..0.5).contains(&self.e_d), "must be 0 or more and below 0.5")?;
        check("f", self.f, self.f >= 1.0, "error correction cannot beat Shannon's limit: 1 or more")?;
        check("q", self.q, positive_share(self.q), "must be above 0 and at most 1")?;
        check("mu", self.mu, positive_share(self.mu), "must be above 0 and at most 1 photon a pulse")?;
        check("nu", self.nu, self.nu > 0.0 && self.nu < self.mu, "a decoy must be above 0 and weaker than mu")?;
        check("p_signal", self.p_signal, positive_share(self.p_signal), "must be above 0 and at most 1")?;
        let shares = self.p_signal + self.p_decoy;
        let fits = self.p_decoy >= 0.0 && shares <= 1.0 + 1e-9;
        check("p_decoy", self.p_decoy, fits, "must be 0 or more, and at most 1 together with p_signal")?;
        let pace = (0.001..=86_400.0).contains(&self.block_seconds);
        check("block_seconds", self.block_seconds, pace, "must be 0.001 to 86400 (a day)")?;
        check("dead_time_us", self.dead_time_us, self.dead_time_us >= 0.0, "time cannot be negative")?;
        check("detectors", f64::from(self.detectors), self.detectors >= 1, "there must be one at least")?;
        check("afterpulse", self.afterpulse, (0.0..0.5).contains(&self.afterpulse), "must be 0 or more and below 0.5")
    }

    /// The pace of blocks in the field, from [`Self::block_seconds`]; zero if that is no time at all, which
    /// [`Self::validate`] refuses.
    pub fn block_pace(&self) -> Duration {
        Duration::try_from_secs_f64(self.block_seconds).unwrap_or_default()
    }

    /// Loss of a line of `length_km` with `extra_loss_db` of switches, connectors and splices in it, in dB.
    pub fn loss_db(&self, length_km: f64, extra_loss_db: f64) -> f64 {
        self.fibre_db_per_km * length_km + extra_loss_db
    }

    /// The channel over a line of `loss_db`, afterpulses included.
    ///
    /// An afterpulse is a click that owes nothing to the pulse in whose slot it falls, so it adds to the noise, in
    /// proportion to all clicks: `Y0' = Y0 + p_ap Q`, where `Q` is the mean gain over signals, decoys and vacuum and
    /// holds the afterpulses too: `Q = Q_without/(1 − p_ap)`.
    pub fn channel(&self, loss_db: f64) -> Channel {
        let quiet = Channel::new(loss_db, self.eta_bob, self.y0, self.e_d);
        let mean_gain = self.mean_gain(&quiet) / (1.0 - self.afterpulse);
        Channel { y0: quiet.y0 + self.afterpulse * mean_gain, ..quiet }
    }

    /// Signal pulses per second to which the detectors are awake.
    ///
    /// A detector that would click `R0` times a second and is blind for `τ` after each click counts
    /// `R0/(1 + R0 τ)`: the dead time takes a share off everything, and caps short links.
    pub fn signals_per_second(&self, channel: &Channel) -> f64 {
        let clicks = self.pulse_rate_hz * self.mean_gain(channel) / f64::from(self.detectors);
        let awake = 1.0 / (1.0 + clicks * self.dead_time_us * 1e-6);
        self.pulse_rate_hz * self.duty * self.p_signal * awake
    }

    /// What to expect of `channel`, which may have an eavesdropper on it.
    ///
    /// Asymptotic: the bounds take the gains and QBERs as known exactly. Blocks of finite length give less, see the
    /// crate's README for how much.
    pub fn expect(&self, channel: &Channel) -> Expectation {
        let signal = channel.observe(self.mu);
        let vacuum = channel.observe(0.0);
        // `nu < mu` was checked; a profile that was not gets bounds that give no key.
        let single = two_decoys(&signal, &channel.observe(self.nu), &vacuum)
            .unwrap_or(SinglePhoton { y1: 0.0, e1: crate::decoy::NOISE_ERROR });
        let signals = self.signals_per_second(channel);
        let key = key_rate(self.q, self.f, &signal, &single);
        Expectation { signal, single, sifted_bps: signals * self.q * signal.gain, key_bps: (signals * key).max(0.0) }
    }

    /// Secret bits per second over a line of `loss_db` that nobody taps.
    pub fn key_rate_bps(&self, loss_db: f64) -> f64 {
        self.expect(&self.channel(loss_db)).key_bps
    }

    fn mean_gain(&self, channel: &Channel) -> f64 {
        let p_vacuum = (1.0 - self.p_signal - self.p_decoy).max(0.0);
        let gain = |intensity| channel.observe(intensity).gain;
        self.p_signal * gain(self.mu) + self.p_decoy * gain(self.nu) + p_vacuum * gain(0.0)
    }
}

fn two() -> u32 {
    2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_profile_is_valid_and_knows_its_name() {
        for name in DeviceProfile::names() {
            assert_eq!(DeviceProfile::named(name).unwrap().name, name);
        }
    }

    #[test]
    fn errors_say_what_to_do() {
        let unknown = DeviceProfile::named("metro-40ghz").unwrap_err().to_string();
        assert!(unknown.contains("metro-40ghz") && unknown.contains("gys, metro-40mhz"), "{unknown}");

        let good = include_str!("../devices/metro-40mhz.toml");
        let wrong = DeviceProfile::from_toml(&good.replace("eta_bob = 0.05", "eta_bob = 5.0")).unwrap_err().to_string();
        assert!(
            wrong.contains("metro-40mhz") && wrong.contains("eta_bob = 5") && wrong.contains("at most 1"),
            "{wrong}"
        );
        let missing = DeviceProfile::from_toml("name = \"x\"").unwrap_err().to_string();
        assert!(missing.contains("missing field"), "{missing}");
        let misspelt = DeviceProfile::from_toml(&good.replace("p_decoy", "p_decoys")).unwrap_err().to_string();
        assert!(misspelt.contains("p_decoys"), "{misspelt}");
    }

    #[test]
    fn every_field_is_checked() {
        let good = DeviceProfile::named("metro-40mhz").unwrap();
        let mut broken: Vec<DeviceProfile> = Vec::new();
        for bad in [f64::NAN, f64::INFINITY, -1.0] {
            let mut with = |change: fn(&mut DeviceProfile, f64)| {
                let mut profile = good.clone();
                change(&mut profile, bad);
                broken.push(profile);
            };
            with(|p, x| p.pulse_rate_hz = x);
            with(|p, x| p.duty = x);
            with(|p, x| p.fibre_db_per_km = x);
            with(|p, x| p.eta_bob = x);
            with(|p, x| p.y0 = x);
            with(|p, x| p.e_d = x);
            with(|p, x| p.f = x);
            with(|p, x| p.q = x);
            with(|p, x| p.mu = x);
            with(|p, x| p.nu = x);
            with(|p, x| p.p_signal = x);
            with(|p, x| p.p_decoy = x);
            with(|p, x| p.block_seconds = x);
            with(|p, x| p.dead_time_us = x);
            with(|p, x| p.afterpulse = x);
        }
        broken.push(DeviceProfile { detectors: 0, ..good.clone() });
        broken.push(DeviceProfile { nu: good.mu, ..good.clone() });
        broken.push(DeviceProfile { p_decoy: 0.5, ..good });
        for profile in broken {
            assert!(matches!(profile.validate(), Err(ProfileError::Field { .. })), "{profile:?}");
        }
    }

    #[test]
    fn dead_time_caps_the_clicks_and_afterpulses_add_noise() {
        let base = DeviceProfile::named("metro-625mhz").unwrap();
        let slow = DeviceProfile { dead_time_us: 10.0, duty: 1.0, p_signal: 1.0, p_decoy: 0.0, ..base.clone() };
        let channel = slow.channel(2.3);
        let clicks_per_detector = slow.signals_per_second(&channel) * channel.observe(slow.mu).gain / 2.0;
        assert!(clicks_per_detector < 1e5 && clicks_per_detector > 0.9e5, "{clicks_per_detector}");

        let noisy = DeviceProfile { afterpulse: 0.02, ..base.clone() };
        let (quiet, loud) = (base.channel(2.3), noisy.channel(2.3));
        let mean = noisy.mean_gain(&loud);
        assert!((loud.y0 - quiet.y0 - 0.02 * mean).abs() < 1e-12, "the afterpulses' own afterpulses are counted");
        assert!(noisy.expect(&loud).key_bps < base.expect(&quiet).key_bps);
    }
}
