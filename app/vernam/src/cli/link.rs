//! `vernam link` and `vernam link sweep`: what can be asked of one quantum link in one process.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use vernam_qkd::{DeviceProfile, Eve, LinkConfig, optics::Trouble};

use super::{
    ends::{self, AliceArgs, BobArgs, SetupArgs},
    line::{DisturbanceArgs, LineArgs, MOST_KM},
    values::{any_device, ranged},
};

/// Most devices in one picture: more curves cannot be told apart.
const MOST_DEVICES: usize = 4;

pub(super) const AFTER_HELP: &str = "\
Examples:
  vernam link                                          a metropolitan link, pulse by pulse
  vernam link --eve intercept-resend:0.3 --eve-at 60   somebody reads a third of it from 60 s on
  vernam link --device gys --length 50 --block 600 --speed 60 --eve pns
                                                       errors stay low; the decoys show her
  vernam link --fast --speed max --duration 3600 --csv > hour.csv
  vernam link sweep --out pictures                     key rate against distance, as pictures

Everything is simulated. With --seed the whole run comes out the same again, and its key is
worth nothing; without it the bits are the operating system's. No bit of key is ever shown.

Exit status: 0 done (it ran for --duration, or somebody stopped a run that had none);
1 it failed; 2 wrong usage; 130 stopped before --duration was over.";

const SWEEP_AFTER_HELP: &str = "\
Writes key-rate.svg, key-rate.png, qber-eve.svg and qber-eve.png.

The curves are the library's formulas; the circles are reference figures of the 2004 experiment
of Gobby, Yuan and Shields as Ma, Qi, Zhao and Lo model it (Phys. Rev. A 72, 012326, 2005).

Exit status: 0 done; 1 it failed; 2 wrong usage.";

#[derive(Debug, Args)]
pub(super) struct LinkArgs {
    #[command(subcommand)]
    pub(super) command: Option<LinkCommand>,

    #[command(flatten)]
    pub(super) one: OneArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum LinkCommand {
    /// Draw key rate against distance, and QBER against what Eve takes, as SVG and PNG
    #[command(after_help = SWEEP_AFTER_HELP)]
    Sweep(SweepArgs),
    /// Make what the two ends of a link in two processes need: certificates and a start-up secret
    #[command(after_help = ends::SETUP_AFTER_HELP)]
    Setup(SetupArgs),
    /// Run the sending end of a link, whose other end is another process, here or on another machine
    #[command(after_help = ends::AFTER_HELP)]
    Alice(AliceArgs),
    /// Run the receiving end of such a link
    #[command(after_help = ends::AFTER_HELP)]
    Bob(BobArgs),
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line; `LinkOptions` has enums")]
pub(super) struct OneArgs {
    #[command(flatten)]
    line: LineArgs,

    #[command(flatten)]
    disturbance: DisturbanceArgs,

    /// Makes the whole run come out the same again; without it, randomness of the operating system
    #[arg(long, value_name = "N", help_heading = "The run")]
    seed: Option<u64>,

    /// Draw the counts of a block from the formulas, instead of sending pulse by pulse
    #[arg(long, help_heading = "The run")]
    fast: bool,

    /// How long the link runs, in its own time; until it is stopped, by default
    #[arg(long, value_name = "SECONDS", help_heading = "The run", value_parser = ranged("s", 0.1, 1e8))]
    duration: Option<f64>,

    /// How fast its time passes: real, max, or a factor such as 60
    #[arg(long, value_name = "SPEED", default_value = "real", help_heading = "The run", value_parser = speed)]
    speed: Speed,

    /// Lines of text, also on a terminal
    #[arg(long, conflicts_with_all = ["json", "csv"], help_heading = "How it is shown")]
    plain: bool,

    /// JSON Lines on standard output, one event each
    #[arg(long, conflicts_with = "csv", help_heading = "How it is shown")]
    json: bool,

    /// CSV on standard output, one row a block
    #[arg(long, help_heading = "How it is shown")]
    csv: bool,
}

#[derive(Debug, Args)]
pub(super) struct SweepArgs {
    /// A QKD device, built-in or a TOML file; again for more of them, four at most [default: all built-in ones]
    #[arg(long, value_name = "NAME|FILE", action = clap::ArgAction::Append)]
    device: Vec<String>,

    /// Longest distance, 10 to 1000 [default: a little beyond the last key]
    #[arg(long, value_name = "KM", value_parser = ranged("km", 10.0, MOST_KM))]
    to: Option<f64>,

    /// Directory for the pictures
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,

    /// Also run the link pulse by pulse at some lengths, and draw what it gave, with error bars; takes minutes
    #[arg(long)]
    photons: bool,

    /// Makes those runs come out the same again
    #[arg(long, value_name = "N", default_value = "1")]
    seed: u64,

    /// The numbers behind the pictures as JSON Lines on standard output
    #[arg(long, conflicts_with = "csv")]
    json: bool,

    /// The numbers behind the pictures as CSV on standard output
    #[arg(long)]
    csv: bool,
}

/// The choices of `vernam link`; every value is in its range and the device can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkOptions {
    /// The link.
    pub config: LinkConfig,
    /// How it is simulated.
    pub model: ModelChoice,
    /// Who comes on the line.
    pub eve: Option<Eve>,
    /// What goes wrong with it.
    pub trouble: Option<Trouble>,
    /// When she comes, or the trouble begins, in virtual time.
    pub eve_at: Duration,
    /// What all randomness follows from. `None`: the operating system's.
    pub seed: Option<u64>,
    /// Virtual time after which it ends. `None`: when it is stopped.
    pub duration: Option<Duration>,
    /// How fast virtual time passes.
    pub speed: Speed,
    /// How it is shown.
    pub view: LinkView,
}

/// How a link is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModelChoice {
    /// Pulse by pulse.
    Photons,
    /// From the formulas.
    Rate,
}

/// How fast virtual time passes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// As fast as this machine can.
    Max,
    /// So many virtual seconds a second.
    Times(f64),
}

/// How `vernam link` is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkView {
    /// The screen on a terminal, lines elsewhere.
    Auto,
    /// Lines.
    Plain,
    /// JSON Lines.
    Json,
    /// CSV.
    Csv,
}

/// The choices of `vernam link sweep`.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepOptions {
    /// The devices; at least one.
    pub devices: Vec<DeviceProfile>,
    /// Longest distance, km. `None`: where the last key ends.
    pub to_km: Option<f64>,
    /// Where the pictures go.
    pub out: PathBuf,
    /// Whether to run the link pulse by pulse, too.
    pub photons: bool,
    /// What the randomness of those runs follows from.
    pub seed: u64,
    /// What standard output gets.
    pub view: SweepView,
}

/// What `vernam link sweep` writes to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SweepView {
    /// What it has drawn, in words.
    Words,
    /// The numbers as JSON Lines.
    Json,
    /// The numbers as CSV.
    Csv,
}

impl OneArgs {
    pub(super) fn validated(self) -> Result<LinkOptions, String> {
        let config = self.line.validated()?;
        let DisturbanceArgs { eve, trouble, eve_at } = self.disturbance;
        Ok(LinkOptions {
            config,
            model: if self.fast { ModelChoice::Rate } else { ModelChoice::Photons },
            eve,
            trouble,
            eve_at: Duration::from_secs_f64(eve_at),
            seed: self.seed,
            duration: self.duration.map(Duration::from_secs_f64),
            speed: self.speed,
            view: match (self.plain, self.json, self.csv) {
                (true, _, _) => LinkView::Plain,
                (_, true, _) => LinkView::Json,
                (_, _, true) => LinkView::Csv,
                _ => LinkView::Auto,
            },
        })
    }
}

impl SweepArgs {
    pub(super) fn validated(self) -> Result<SweepOptions, String> {
        if self.device.len() > MOST_DEVICES {
            return Err(format!(
                "--device can be given {MOST_DEVICES} times at most: more curves cannot be told apart"
            ));
        }
        let devices = if self.device.is_empty() {
            DeviceProfile::names().map(any_device).collect::<Result<_, _>>()?
        } else {
            self.device.iter().map(|choice| any_device(choice)).collect::<Result<_, _>>()?
        };
        let view = match (self.json, self.csv) {
            (true, _) => SweepView::Json,
            (_, true) => SweepView::Csv,
            _ => SweepView::Words,
        };
        Ok(SweepOptions { devices, to_km: self.to, out: self.out, photons: self.photons, seed: self.seed, view })
    }
}

fn speed(text: &str) -> Result<Speed, String> {
    match text {
        "real" => Ok(Speed::Times(1.0)),
        "max" => Ok(Speed::Max),
        factor => match factor.trim_start_matches(['x', '\u{d7}']).parse::<f64>() {
            Ok(factor) if (1e-3..=1e9).contains(&factor) => Ok(Speed::Times(factor)),
            _ => Err("real, max, or a factor from 0.001 to 1e9 is possible".to_owned()),
        },
    }
}
