//! The line and who is on it: what the commands about one quantum link have in common.

use std::time::Duration;

use clap::{Args, ValueEnum};
use vernam_qkd::{
    Eve, LinkConfig,
    finite::{Analysis, Decoys, PhaseBound, Tail},
    optics::Trouble,
};

use super::{
    DEFAULT_DEVICE, DEFAULT_LENGTH_KM,
    values::{any_device, eve, ranged, trouble},
};

/// Time of a block when none is given: long enough for some key, short enough to watch.
const DEFAULT_BLOCK_SECONDS: f64 = 10.0;
/// Longest line that can be asked for, km.
pub(super) const MOST_KM: f64 = 1_000.0;

/// Decoys and bound on the scatter of counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AnalysisChoice {
    /// Two decoys (Lim et al. 2014), Chernoff's bound
    LimChernoff,
    /// Two decoys, Hoeffding's inequality as published
    LimHoeffding,
    /// One decoy (Rusca et al. 2018), Chernoff's bound
    RuscaChernoff,
    /// One decoy, Hoeffding's inequality as published
    RuscaHoeffding,
}

/// From the errors of the test basis to those of the key basis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PhaseChoice {
    /// The gamma of Lim et al. 2014
    Gamma,
    /// Serfling's inequality: rigorous, a little less key
    Serfling,
}

/// The line and its equipment.
#[derive(Debug, Args)]
pub(super) struct LineArgs {
    /// The QKD device: a built-in name, or a TOML file that describes one
    ///
    /// Built-in: gys, metro-40mhz, metro-625mhz, lab-1ghz.
    #[arg(long, value_name = "NAME|FILE", default_value = DEFAULT_DEVICE, help_heading = "The link")]
    device: String,

    /// Length of the fibre, 0 to 1000
    #[arg(long, value_name = "KM", default_value_t = DEFAULT_LENGTH_KM, help_heading = "The link",
          value_parser = ranged("km", 0.0, MOST_KM))]
    length: f64,

    /// Loss of connectors and switches in the line, 0 to 100
    #[arg(long, value_name = "DB", default_value = "0", help_heading = "The link",
          value_parser = ranged("dB", 0.0, 100.0))]
    extra_loss: f64,

    /// Clicks a second by light of other channels in the same fibre, over all detectors
    #[arg(long, value_name = "CLICKS", default_value = "0", help_heading = "The link",
          value_parser = ranged("clicks", 0.0, 1e9))]
    background: f64,

    /// Time of one block of key, 0.1 to 86400; in the field it is minutes
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_BLOCK_SECONDS, help_heading = "The link",
          value_parser = ranged("s", 0.1, 86_400.0))]
    block: f64,

    /// How much key the counts of a block prove
    #[arg(long, value_name = "ANALYSIS", default_value = "lim-chernoff", help_heading = "The link")]
    analysis: AnalysisChoice,

    /// Which bound takes the phase error to the key basis
    #[arg(long, value_name = "BOUND", default_value = "gamma", help_heading = "The link")]
    phase: PhaseChoice,
}

/// What happens to the line.
#[derive(Debug, Args)]
pub(super) struct DisturbanceArgs {
    /// Who is on the line: intercept-resend[:SHARE], pns, pns-unseen, beam-splitting, blinding, trojan-horse[:PHOTONS]
    #[arg(long, value_name = "KIND[:VALUE]", help_heading = "What happens to it", value_parser = eve)]
    pub(super) eve: Option<Eve>,

    /// What goes wrong with the line: fibre-cut, drift[:DEGREES a minute], rising-loss[:DB a minute]
    #[arg(long, value_name = "KIND[:VALUE]", help_heading = "What happens to it", value_parser = trouble)]
    pub(super) trouble: Option<Trouble>,

    /// When she comes, or the trouble begins, in the link's own time
    #[arg(long, value_name = "SECONDS", default_value = "0", help_heading = "What happens to it",
          value_parser = ranged("s", 0.0, 1e8))]
    pub(super) eve_at: f64,
}

impl LineArgs {
    pub(super) fn validated(self) -> Result<LinkConfig, String> {
        let device = any_device(&self.device)?;
        let mut config = LinkConfig::new(device, self.length);
        config.extra_loss_db = self.extra_loss;
        config.block_pace = Duration::from_secs_f64(self.block);
        let (decoys, tail) = match self.analysis {
            AnalysisChoice::LimChernoff => (Decoys::Two, Tail::Chernoff),
            AnalysisChoice::LimHoeffding => (Decoys::Two, Tail::Hoeffding),
            AnalysisChoice::RuscaChernoff => (Decoys::One, Tail::Chernoff),
            AnalysisChoice::RuscaHoeffding => (Decoys::One, Tail::Hoeffding),
        };
        let phase = match self.phase {
            PhaseChoice::Gamma => PhaseBound::Gamma,
            PhaseChoice::Serfling => PhaseBound::Serfling,
        };
        config.background = self.background / config.device.pulse_rate_hz;
        config.analysis = Analysis { decoys, tail, phase };
        config.validate().map_err(|error| error.to_string())?;
        Ok(config)
    }
}
