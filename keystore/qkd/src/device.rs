//! What stands at the two ends of a link: the numbers of one make of QKD equipment.

mod expect;
mod means;

use std::time::Duration;

use serde::Deserialize;
use thiserror::Error;

pub use expect::Expectation;
pub(crate) use expect::{AUTH_BITS, AUTH_TAGS, VERIFICATION_BITS};
pub(crate) use means::Means;

use crate::decoy::Channel;
use crate::finite::Intensities;

/// The profiles that come with this crate, by name.
const BUILT_IN: [(&str, &str); 4] = [
    ("gys", include_str!("../devices/gys.toml")),
    ("metro-40mhz", include_str!("../devices/metro-40mhz.toml")),
    ("metro-625mhz", include_str!("../devices/metro-625mhz.toml")),
    ("lab-1ghz", include_str!("../devices/lab-1ghz.toml")),
];

/// What [`DeviceProfile::block_bits`] may be: enough for a bound, and not more than fits a small computer's memory.
const BLOCK_BITS: std::ops::RangeInclusive<u32> = 10_000..=100_000_000;

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
    /// Share of the clicks that become sifted key (q). Key comes from one basis, X, which Alice and Bob each choose
    /// with probability `√q`; the other, Z, is the test, with a share of `(1 − √q)²`.
    pub q: f64,
    /// Mean photon number of signal pulses (μ).
    pub mu: f64,
    /// Mean photon number of the brighter decoy pulses (ν).
    pub nu: f64,
    /// Mean photon number of the weakest pulses, the second decoy; 0 is the vacuum.
    #[serde(default)]
    pub mu_vacuum: f64,
    /// Share of the pulses that are signals.
    pub p_signal: f64,
    /// Share of the pulses that are decoys of intensity ν; what then remains is vacuum.
    pub p_decoy: f64,
    /// Seconds between two blocks of key in the field. See [`crate::LinkConfig::block_pace`].
    pub block_seconds: f64,
    /// Most sifted bits of the key basis in one block: a fast link finishes a block when it has them, before
    /// `block_seconds` are over. More than [`crate::distil::limits::MAX_BLOCK_BITS`] count as that.
    #[serde(default = "ten_million")]
    pub block_bits: u32,
    /// Microseconds for which all detectors are held off after a click of any; 0 leaves it out of the model.
    #[serde(default)]
    pub dead_time_us: f64,
    /// How many detectors there are: 1, 2 (one for each bit) or 4 (one for each bit in each basis). It says what an
    /// afterpulse repeats, and nothing else: the dead time holds all of them off.
    #[serde(default = "two")]
    pub detectors: u32,
    /// Share of the clicks that are followed by a false one, once the detectors are awake again; 0 leaves it out of the
    /// model.
    #[serde(default)]
    pub afterpulse: f64,
    /// Whether Bob measures the mean light on his detectors, and so notices when somebody blinds them.
    #[serde(default = "yes")]
    pub bright_light_monitor: bool,
    /// Mean photons per pulse that may come back out of Alice's box, with the settings of the pulse on them, when light
    /// is shone into it; privacy amplification takes them off.
    #[serde(default)]
    pub trojan_photons: f64,
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
    /// The name or the description cannot be shown on a screen.
    #[error("a device profile's {0} must be one line without control characters: change it in the file")]
    Unprintable(&'static str),
    /// No profile of that name comes with this crate.
    #[error("there is no device profile \"{0}\": choose one of {names}, or give a TOML file of your own",
        names = DeviceProfile::names().collect::<Vec<_>>().join(", "))]
    Unknown(String),
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
        for (field, text) in [("name", &self.name), ("description", &self.description)] {
            if text.chars().any(char::is_control) {
                return Err(ProfileError::Unprintable(field));
            }
        }
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
        let q = self.q > 0.0 && self.q < 1.0;
        check("q", self.q, q, "must be above 0 and below 1: without a test basis there is no key")?;
        check("mu", self.mu, positive_share(self.mu), "must be above 0 and at most 1 photon a pulse")?;
        check("nu", self.nu, self.nu > 0.0 && self.nu < self.mu, "a decoy must be above 0 and weaker than mu")?;
        let weakest = self.mu_vacuum >= 0.0 && self.mu_vacuum < self.nu && self.nu + self.mu_vacuum < self.mu;
        check(
            "mu_vacuum",
            self.mu_vacuum,
            weakest,
            "must be 0 or more, weaker than nu, and below mu together with nu",
        )?;
        let signals = self.p_signal > 0.0 && self.p_signal < 1.0;
        check("p_signal", self.p_signal, signals, "must be above 0 and below 1: without decoys there is no key")?;
        let shares = self.p_signal + self.p_decoy;
        let fits = self.p_decoy > 0.0 && shares <= 1.0 + 1e-9;
        check("p_decoy", self.p_decoy, fits, "must be above 0, and at most 1 together with p_signal")?;
        let pace = (0.001..=86_400.0).contains(&self.block_seconds);
        check("block_seconds", self.block_seconds, pace, "must be 0.001 to 86400 (a day)")?;
        let bits = BLOCK_BITS.contains(&self.block_bits);
        check(
            "block_bits",
            f64::from(self.block_bits),
            bits,
            "must be 10000 to 100 million, for it is held in memory",
        )?;
        check("dead_time_us", self.dead_time_us, self.dead_time_us >= 0.0, "time cannot be negative")?;
        let known = matches!(self.detectors, 1 | 2 | 4);
        check("detectors", f64::from(self.detectors), known, "must be 1, 2 (by bit) or 4 (by basis and bit)")?;
        check("afterpulse", self.afterpulse, (0.0..0.5).contains(&self.afterpulse), "must be 0 or more and below 0.5")?;
        let trojan = (0.0..=1.0).contains(&self.trojan_photons);
        check("trojan_photons", self.trojan_photons, trojan, "must be 0 to 1 photon a pulse")
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

    /// Brightnesses and shares of the three kinds of pulses.
    pub fn intensities(&self) -> Intensities {
        let p_vacuum = 1.0 - self.p_signal - self.p_decoy;
        // What is left of 1 by rounding alone is no share.
        let p_vacuum = if p_vacuum < 1e-9 { 0.0 } else { p_vacuum };
        Intensities { mu: [self.mu, self.nu, self.mu_vacuum], p: [self.p_signal, self.p_decoy, p_vacuum] }
    }

    /// Share of the pulses for which both ends choose the test basis: `(1 − √q)²`.
    pub fn test_share(&self) -> f64 {
        (1.0 - self.q.sqrt()).powi(2)
    }

    /// The channel over a line of `loss_db`, afterpulses included.
    pub fn channel(&self, loss_db: f64) -> Channel {
        self.channel_beside(loss_db, 0.0)
    }

    /// The channel over a line of `loss_db`, afterpulses included, in a fibre from whose other traffic come
    /// `background` clicks per pulse.
    ///
    /// An afterpulse is a click that owes nothing to the pulse in whose slot it falls, so it adds to the noise, in
    /// proportion to all clicks: `Y0' = Y0 + p_ap Q`, where `Q` is the mean gain over signals, decoys and vacuum and
    /// holds the afterpulses too: `Q = Q_without/(1 − p_ap)`. [`crate::optics::Line::observe`] does the same.
    pub fn channel_beside(&self, loss_db: f64, background: f64) -> Channel {
        let quiet = Channel::new(loss_db, self.eta_bob, self.y0 + background, self.e_d);
        Channel { y0: quiet.y0 + means::false_clicks(self.afterpulse, self.mean_gain(&quiet)), ..quiet }
    }

    /// Clicks per pulse over all intensities.
    pub(crate) fn mean_gain(&self, channel: &Channel) -> f64 {
        let Intensities { mu, p } = self.intensities();
        Means::of_channel(channel, &mu).mean_clicks(&p)
    }
}

fn two() -> u32 {
    2
}

fn ten_million() -> u32 {
    10_000_000
}

fn yes() -> bool {
    true
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
        let escape = good.replace("name = \"metro-40mhz\"", "name = \"mine\\u001b[31mred\"");
        let unprintable = DeviceProfile::from_toml(&escape).unwrap_err().to_string();
        assert!(unprintable.contains("name") && unprintable.contains("control characters"), "{unprintable}");
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
            with(|p, x| p.mu_vacuum = x);
            with(|p, x| p.trojan_photons = x);
        }
        broken.extend([0, 3, 5].map(|detectors| DeviceProfile { detectors, ..good.clone() }));
        broken.push(DeviceProfile { nu: good.mu, ..good.clone() });
        broken.push(DeviceProfile { mu_vacuum: good.nu, ..good.clone() });
        broken.push(DeviceProfile { q: 1.0, ..good.clone() });
        broken.push(DeviceProfile { p_signal: 1.0, p_decoy: 0.0, ..good.clone() });
        broken.push(DeviceProfile { block_bits: 9_999, ..good.clone() });
        broken.push(DeviceProfile { block_bits: u32::MAX, ..good.clone() });
        broken.push(DeviceProfile { p_decoy: 0.5, ..good });
        for profile in broken {
            assert!(matches!(profile.validate(), Err(ProfileError::Field { .. })), "{profile:?}");
        }
    }
}
