//! `vernam link setup`, `vernam link alice` and `vernam link bob`: a quantum link whose two ends are two processes.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use vernam_link::Role;
use vernam_qkd::{Eve, LinkConfig, optics::Trouble};

use super::{
    line::{DisturbanceArgs, LineArgs},
    values::{place_to_call, place_to_listen, ranged},
};
use crate::link::ends;

pub(super) const SETUP_AFTER_HELP: &str = "\
Makes DIR/alice and DIR/bob, each with ca.pem, cert.pem, key.pem and startup-secret. Carry one of
them to the other machine by hand, and keep no copy of either: two ends that both went back to an
old start-up secret would use one-time keys twice.

Exit status: 0 done; 1 it failed, and nothing is left of it; 2 wrong usage.";

pub(super) const AFTER_HELP: &str = "\
Examples:
  vernam link setup lab                      once; carry lab/bob to the other machine by hand
  vernam link bob lab/bob --listen 0.0.0.0:7010 --keys keys
  vernam link alice lab/alice --dial bob.example:7010 --keys keys

Both ends must be given the same options under \u{201c}The link\u{201d}; they compare. The light is simulated at
Alice's end and sent along with the messages; how key is made from it is real. A lost connection
comes back by itself, and --eve-at counts from the first one. --keys takes a folder of its own at
each end: a block is a file block-NUMBER.key in it, of the same name at both ends. Rename a file
before you read it, and it is yours. When either end stops, Alice's last block may be hers alone: it
is set aside as block-NUMBER.key.unsettled until you have looked whether Bob has it. Without --keys
the key is wiped at once. No bit of key is ever shown.

Exit status: 0 it ran for --duration; 1 it failed, or never reached the far end; 2 wrong usage;
130 stopped by a signal.";

#[derive(Debug, Args)]
pub(super) struct SetupArgs {
    /// The folder to make both ends' folders in
    #[arg(value_name = "DIR")]
    pub(super) folder: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct AliceArgs {
    #[command(flatten)]
    place: PlaceArgs,

    #[command(flatten)]
    line: LineArgs,

    #[command(flatten)]
    disturbance: DisturbanceArgs,

    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Args)]
pub(super) struct BobArgs {
    #[command(flatten)]
    place: PlaceArgs,

    #[command(flatten)]
    line: LineArgs,

    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Args)]
struct PlaceArgs {
    /// This end's folder, as `vernam link setup` makes it
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    #[command(flatten)]
    connect: ConnectArgs,

    /// The name in the far end's certificate [default: what `vernam link setup` gives the far end]
    #[arg(long, value_name = "NAME", help_heading = "The far end")]
    peer: Option<String>,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Folder for the key, a file a block
    #[arg(long, value_name = "DIR", help_heading = "The run")]
    keys: Option<PathBuf>,

    /// How long this end runs, on the clock; until it is stopped, by default
    #[arg(long, value_name = "SECONDS", help_heading = "The run", value_parser = ranged("s", 0.1, 1e8))]
    duration: Option<f64>,

    /// Lines of text, the default
    #[arg(long, conflicts_with = "json", help_heading = "How it is shown")]
    plain: bool,

    /// JSON Lines on standard output, one event each
    #[arg(long, help_heading = "How it is shown")]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct ConnectArgs {
    /// Wait for the far end here; port 0 takes a free one, and says which
    #[arg(long, value_name = "ADDRESS:PORT", help_heading = "The far end", value_parser = place_to_listen)]
    listen: Option<String>,

    /// Call the far end there, until it answers
    #[arg(long, value_name = "HOST:PORT", help_heading = "The far end", value_parser = place_to_call)]
    dial: Option<String>,
}

/// The choices of `vernam link alice` and `vernam link bob`; every value is in its range and the device can be used.
#[derive(Debug, Clone, PartialEq)]
pub struct EndOptions {
    /// Which end.
    pub role: Role,
    /// Its folder.
    pub folder: PathBuf,
    /// How the two ends come together.
    pub connect: ConnectChoice,
    /// The name in the far end's certificate.
    pub peer: String,
    /// Where blocks of key go. `None`: nowhere.
    pub keys: Option<PathBuf>,
    /// The link; the far end's must be the same.
    pub config: LinkConfig,
    /// Who comes on the line. Alice's end only.
    pub eve: Option<Eve>,
    /// What goes wrong with it. Alice's end only.
    pub trouble: Option<Trouble>,
    /// When that happens, counted from the first connection.
    pub eve_at: Duration,
    /// When this end stops, by the clock. `None`: when it is stopped.
    pub duration: Option<Duration>,
    /// How it is shown.
    pub view: EndView,
}

/// Which end calls the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectChoice {
    /// The far one: this one waits at an address.
    Listen(String),
    /// This one.
    Dial(String),
}

/// How an end is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndView {
    /// Lines.
    Plain,
    /// JSON Lines.
    Json,
}

impl AliceArgs {
    pub(super) fn validated(self) -> Result<EndOptions, String> {
        let DisturbanceArgs { eve, trouble, eve_at } = self.disturbance;
        let eve_at = Duration::from_secs_f64(eve_at);
        Ok(EndOptions { eve, trouble, eve_at, ..undisturbed(Role::Alice, self.place, self.line, self.run)? })
    }
}

impl BobArgs {
    pub(super) fn validated(self) -> Result<EndOptions, String> {
        undisturbed(Role::Bob, self.place, self.line, self.run)
    }
}

/// The choices of an end with nobody on the line.
fn undisturbed(role: Role, place: PlaceArgs, line: LineArgs, run: RunArgs) -> Result<EndOptions, String> {
    let connect = match (place.connect.listen, place.connect.dial) {
        (Some(address), _) => ConnectChoice::Listen(address),
        (None, Some(far)) => ConnectChoice::Dial(far),
        (None, None) => return Err("give --listen or --dial: one end waits, the other calls".to_owned()),
    };
    let config = line.validated()?;
    config.ends().validate().map_err(|error| error.to_string())?;
    Ok(EndOptions {
        role,
        folder: place.folder,
        connect,
        peer: place.peer.unwrap_or_else(|| ends::name(ends::far(role)).to_owned()),
        keys: run.keys,
        config,
        eve: None,
        trouble: None,
        eve_at: Duration::ZERO,
        duration: run.duration.map(Duration::from_secs_f64),
        view: if run.json { EndView::Json } else { EndView::Plain },
    })
}
