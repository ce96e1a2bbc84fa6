//! What a link is made from, and what to expect of it.

use std::time::Duration;

use thiserror::Error;

use crate::decoy::Channel;
use crate::device::{DeviceProfile, Expectation, ProfileError};
use crate::eve::Eve;
use crate::finite::{Analysis, FiniteError, Security};
use crate::optics::Line;

/// The hard alarm: above a QBER of 11.0 % not even an ideal link has key, for `1 − 2h(e) = 0` at 11.0028 % (Shor and
/// Preskill, Phys. Rev. Lett. 85, 441, 2000).
pub const DEFAULT_QBER_ALARM: f64 = 0.11;

/// Where a link lies and what stands at its ends.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConfig {
    /// The equipment.
    pub device: DeviceProfile,
    /// Length of the fibre, km.
    pub length_km: f64,
    /// Loss of what is in the line beside fibre, dB: 1 to 3 for a switch, 0.3 for a connector.
    pub extra_loss_db: f64,
    /// QBER above which a block is discarded and the link is in alarm.
    pub qber_alarm: f64,
    /// Time between two blocks. A fast link takes less, for it has [`DeviceProfile::block_bits`] earlier; a slow link
    /// takes longer, until it has bits enough to judge the QBER.
    ///
    /// In the field it is minutes ([`DeviceProfile::block_seconds`]), for a long block pays less for its statistics.
    /// Somebody who watches a demonstration wants to see blocks arrive, so it can be set to seconds; a link that is not
    /// fast then makes far less key, or none.
    pub block_pace: Duration,
    /// Clicks per pulse that come from other traffic in the same fibre.
    pub background: f64,
    /// How the length of the key is arrived at.
    pub analysis: Analysis,
    /// How safe the key has to be.
    pub security: Security,
}

/// A link that cannot be set up, and what to do about it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LinkError {
    /// The device profile is not usable.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A number of the link itself lies outside of what it means.
    #[error("a link with {field} = {value}: {rule}")]
    Field {
        /// The field of [`LinkConfig`].
        field: &'static str,
        /// What it was set to.
        value: f64,
        /// What it must be.
        rule: &'static str,
    },
    /// The finite-key analysis cannot be made for this device, or to such a security.
    #[error(transparent)]
    Analysis(#[from] FiniteError),
    /// The two ends cannot work with it.
    #[error(transparent)]
    Ends(#[from] crate::distil::EndConfigError),
    /// The operating system gave no randomness.
    #[error("the operating system gave no random bits to start the link with: {0}")]
    Randomness(#[from] rand::rngs::SysError),
}

impl LinkConfig {
    /// A line of `length_km` without anything spliced in and alone in its fibre, with the device's own pace of blocks,
    /// the 11 % alarm, and the default analysis and security.
    pub fn new(device: DeviceProfile, length_km: f64) -> Self {
        let block_pace = device.block_pace();
        Self {
            device,
            length_km,
            extra_loss_db: 0.0,
            qber_alarm: DEFAULT_QBER_ALARM,
            block_pace,
            background: 0.0,
            analysis: Analysis::default(),
            security: Security::default(),
        }
    }

    /// Loss of the whole line, dB.
    pub fn loss_db(&self) -> f64 {
        self.device.loss_db(self.length_km, self.extra_loss_db)
    }

    /// The line with nobody on it.
    pub fn channel(&self) -> Channel {
        self.device.channel_beside(self.loss_db(), self.background)
    }

    /// The line with nobody on it, as light sees it: whoever and whatever may be on it can be put there.
    pub fn line(&self) -> Line {
        Line::new(&self.device, self.loss_db(), self.background)
    }

    /// What the model says of the link on average, with or without somebody on the line. There is no key, whatever the
    /// counts say, if [`DeviceProfile::bright_light_monitor`] sees her.
    pub fn expect(&self, eve: Option<&Eve>) -> Expectation {
        let mut line = self.line();
        line.set_eve(eve.copied());
        let means = line.means(Duration::ZERO);
        let expected = self.device.expect_of(&means, self.block_time(), self.analysis, &self.security);
        if self.device.bright_light_monitor && line.is_bright() {
            return Expectation { key_bps: 0.0, asymptotic_bps: 0.0, ..expected };
        }
        expected
    }

    /// Checks the device, every number of the line, and what the two ends make of it ([`Self::ends`]).
    pub fn validate(&self) -> Result<(), LinkError> {
        self.device.validate()?;
        let check = |field, value, ok, rule| if ok { Ok(()) } else { Err(LinkError::Field { field, value, rule }) };
        let (length, extra, alarm) = (self.length_km, self.extra_loss_db, self.qber_alarm);
        check("length_km", length, (0.0..=10_000.0).contains(&length), "must be 0 to 10000 km")?;
        check("extra_loss_db", extra, (0.0..=1_000.0).contains(&extra), "must be 0 to 1000 dB")?;
        let usable = alarm > 0.0 && alarm <= 0.5;
        check("qber_alarm", alarm, usable, "must be above 0 and at most 0.5; 0.11 is usual")?;
        let pace = self.block_pace.as_secs_f64();
        check("block_pace", pace, (0.001..=86_400.0).contains(&pace), "must be 0.001 to 86400 seconds")?;
        let background = (0.0..0.5).contains(&self.background);
        check("background", self.background, background, "must be 0 or more and below 0.5 clicks a pulse")?;
        self.device.intensities().validate(self.analysis.decoys)?;
        self.security.validate()?;
        Ok(self.ends().validate()?)
    }

    /// How long one block takes, with nobody on the line.
    pub fn block_time(&self) -> Duration {
        self.device.block_time(&self.channel(), self.block_pace)
    }
}
