//! The command line: parsed once into values that hold, with errors for people.
//!
//! [`parse`] is the only door. What comes out of it ([`Invocation`], [`DemoOptions`]) needs no further checking.

mod call;
mod ends;
mod keys;
mod kme;
mod line;
mod link;
mod pad;
mod send;
mod values;

use std::{ffi::OsString, path::PathBuf, time::Duration};

use clap::builder::PossibleValue;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum, error::ErrorKind};

use vernam_qkd::DeviceProfile;

use self::call::{AnswerArgs, CallArgs, CallsArgs, DevicesArgs, RecordingArgs};
pub use self::call::{
    AnswerOptions, CallOptions, CallsOptions, DevicesOptions, ExportOptions, PhoneOptions, RecordChoice, SoundChoice,
};
pub use self::ends::{ConnectChoice, EndOptions, EndView};
use self::keys::KeysArgs;
pub use self::keys::KeysOptions;
use self::kme::KmeArgs;
pub use self::kme::{DoctorOptions, KmeOptions, LogFormatChoice, SaeChoice};
use self::link::{LinkArgs, LinkCommand};
pub use self::link::{LinkOptions, LinkView, ModelChoice, Speed, SweepOptions, SweepView};
use self::pad::PadArgs;
pub use self::pad::{PadImport, PadMake, PadOptions};
use self::send::{ReceiveArgs, SendArgs};
pub use self::send::{ReceiveOptions, SendOptions, ShortageChoice};
use self::values::{MAX_FILE_BYTES, SuiteChoice, bit_rate, device, ranged, size_within};
use crate::demo::events::{Act, Suite};

/// Length of the demo's link when none is given, km.
pub const DEFAULT_LENGTH_KM: f64 = 15.0;
/// Device of the demo's link when none is given.
pub const DEFAULT_DEVICE: &str = "metro-40mhz";

const AFTER_HELP: &str = "\
Exit status: 0 all promises kept; 1 one was broken (it says which) or the run failed;
2 wrong usage; 130 stopped by q or Ctrl-C with every promise kept so far.";

const DEMO_AFTER_HELP: &str = "\
Examples:
  vernam demo                                 the whole of it, about 75 seconds
  vernam demo --suite otp --eve               one call, tapped from its start
  vernam demo --loss 5 --delay 40 --jitter 8  a bad network
  vernam demo --json | jq -c 'select(.event == \"check\")'

Real: ETSI GS QKD 014 over mutual TLS, QUIC, Opus, the three suites, one-use keys, the speech.
Simulated: the light of the quantum link, click by click, with a fast model of the same link for
the hours before the call; how key is made of the clicks is real. Loss, delay and jitter when
asked for.

Exit status: 0 all promises kept; 1 one was broken (it says which) or the run failed;
2 wrong usage; 130 stopped by q or Ctrl-C with every promise kept so far.";

/// The quantum-keyed telephone.
#[derive(Debug, Parser)]
#[command(name = "vernam", version, max_term_width = 110, after_help = AFTER_HELP, disable_help_subcommand = true)]
struct Cli {
    /// How much to tell about the inner workings, on standard error (in a file while the screen is in use)
    #[arg(long, global = true, value_name = "LEVEL", default_value = "warn")]
    log: LogLevel,

    #[command(subcommand)]
    command: Command,
}

/// What can be done. A new subcommand is a variant here and one in [`Action`].
#[derive(Debug, Subcommand)]
enum Command {
    /// Call a contact, or hear yourself (--echo-test)
    #[command(after_help = call::CALL_AFTER_HELP)]
    Call(CallArgs),
    /// Be reachable: rings when a contact calls
    #[command(after_help = call::ANSWER_AFTER_HELP)]
    Answer(AnswerArgs),
    /// Send files and folders to a contact, or go on with what is unfinished
    #[command(after_help = send::SEND_AFTER_HELP)]
    Send(SendArgs),
    /// Receive files from contacts
    #[command(after_help = send::RECEIVE_AFTER_HELP)]
    Receive(ReceiveArgs),
    /// Show the history of calls
    #[command(after_help = call::CALLS_AFTER_HELP)]
    Calls(CallsArgs),
    /// List microphones and loudspeakers
    #[command(after_help = call::DEVICES_AFTER_HELP)]
    Devices(DevicesArgs),
    /// Decrypt the recording of a call
    Recording(RecordingArgs),
    /// Show everything on this machine: two people, two KMEs, one quantum link, calls, a file, an eavesdropper
    #[command(after_help = DEMO_AFTER_HELP)]
    Demo(DemoArgs),
    /// Run one quantum link: its key rate, errors and decoys, live; somebody on the line, if you like
    #[command(after_help = link::AFTER_HELP, args_conflicts_with_subcommands = true)]
    Link(LinkArgs),
    /// Run a key management entity (KME), or look at one
    #[command(after_help = kme::AFTER_HELP, args_conflicts_with_subcommands = true)]
    Kme(KmeArgs),
    /// Show the stock of key: how much, how long it lasts, what it was spent on
    Keys(KeysArgs),
    /// Make and take in pads that people carry by hand
    Pad(PadArgs),
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// What failed.
    Error,
    /// What may fail soon.
    Warn,
    /// What happens.
    Info,
    /// How it happens.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// Its name, as `tracing_subscriber`'s filter takes it.
    pub fn filter(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// What protects the calls of the demo.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SuitesChoice {
    One(SuiteChoice),
    All,
}

impl From<SuiteChoice> for Suite {
    fn from(choice: SuiteChoice) -> Self {
        match choice {
            SuiteChoice::Otp => Self::Otp,
            SuiteChoice::Aes256Gcm => Self::Aes256Gcm,
            SuiteChoice::ChaCha20Poly1305 => Self::ChaCha20Poly1305,
        }
    }
}

impl ValueEnum for SuitesChoice {
    fn value_variants<'a>() -> &'a [Self] {
        use SuiteChoice::{Aes256Gcm, ChaCha20Poly1305, Otp};
        &[Self::One(Otp), Self::One(Aes256Gcm), Self::One(ChaCha20Poly1305), Self::All]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::One(suite) => suite.to_possible_value(),
            Self::All => Some(PossibleValue::new("all").help("One call with each")),
        }
    }
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// What protects the calls
    #[arg(long, value_name = "SUITE", default_value = "all", help_heading = "What happens")]
    suite: SuitesChoice,

    /// Tap the quantum link from the start of the first call, not only near the end
    #[arg(long, conflicts_with = "no_eve", help_heading = "What happens")]
    eve: bool,

    /// Never tap the link
    #[arg(long, help_heading = "What happens")]
    no_eve: bool,

    /// How long the whole run takes, 20 to 600; the calls share it
    #[arg(long, value_name = "SECONDS", default_value = "75", help_heading = "What happens",
          value_parser = ranged("s", 20.0, 600.0))]
    duration: f64,

    /// Recorded speech; give it twice for Alice's and Bob's voices
    #[arg(long, value_name = "FILE.wav", help_heading = "What happens", action = clap::ArgAction::Append)]
    speech: Vec<PathBuf>,

    /// The file that Alice sends during the first call
    #[arg(long, value_name = "FILE", conflicts_with = "file_size", help_heading = "What happens")]
    file: Option<PathBuf>,

    /// Size of a made-up file to send instead, up to 50MB [default: 5MB]
    #[arg(long, value_name = "SIZE", help_heading = "What happens", value_parser = size_within(1, MAX_FILE_BYTES, "1 byte to 50MB"))]
    file_size: Option<u64>,

    /// Opus bit rate, 6000 to 64000 [default: 16000 under one-time pad, whose key it spends; else 32000]
    #[arg(long, value_name = "BPS", help_heading = "What happens", value_parser = bit_rate)]
    bit_rate: Option<u32>,

    /// Play what Bob hears on the loudspeaker
    #[arg(long, help_heading = "What happens")]
    listen: bool,

    /// Length of the fibre between the two KMEs, 0 to 200
    #[arg(long, value_name = "KM", default_value_t = DEFAULT_LENGTH_KM, help_heading = "The quantum link",
          value_parser = ranged("km", 0.0, 200.0))]
    length: f64,

    /// The QKD device: a built-in name, or a TOML file that describes one
    ///
    /// Built-in: gys, metro-40mhz, metro-625mhz, lab-1ghz.
    #[arg(long, value_name = "NAME|FILE", default_value = DEFAULT_DEVICE, help_heading = "The quantum link")]
    device: String,

    /// Seed of what is simulated (never of a key bit); a random one, shown, by default
    #[arg(long, value_name = "N", help_heading = "The quantum link")]
    seed: Option<u64>,

    /// Share of packets lost on the wire, 0 to 50
    #[arg(long, value_name = "PERCENT", default_value = "0", help_heading = "The wire between the clients",
          value_parser = ranged("%", 0.0, 50.0))]
    loss: f64,

    /// Delay added each way, 0 to 1000
    #[arg(long, value_name = "MS", default_value = "0", help_heading = "The wire between the clients",
          value_parser = ranged("ms", 0.0, 1000.0))]
    delay: f64,

    /// Spread of that delay, 0 to 200
    #[arg(long, value_name = "MS", default_value = "0", help_heading = "The wire between the clients",
          value_parser = ranged("ms", 0.0, 200.0))]
    jitter: f64,

    #[command(flatten)]
    view: ViewArgs,

    /// Directory for the WAVs and report.json; a new one, named at the end, by default
    #[arg(long, value_name = "DIR", help_heading = "How it is shown")]
    out: Option<PathBuf>,

    /// Write a film of the screen, as an animated SVG
    #[arg(long, value_name = "FILE.svg", help_heading = "How it is shown")]
    picture: Option<PathBuf>,
}

/// What a person asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Invocation {
    /// How much to log.
    pub log: LogLevel,
    /// What to do.
    pub action: Action,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// `vernam demo`.
    Demo(Box<DemoOptions>),
    /// `vernam link`.
    Link(Box<LinkOptions>),
    /// `vernam link sweep`.
    Sweep(SweepOptions),
    /// `vernam link setup`, into this folder.
    SetUpEnds(PathBuf),
    /// `vernam link alice` and `vernam link bob`.
    End(Box<EndOptions>),
    /// `vernam kme`.
    Kme(Box<KmeOptions>),
    /// `vernam keys`.
    Keys(Box<KeysOptions>),
    /// `vernam pad`.
    Pad(Box<PadOptions>),
    /// `vernam call`.
    Call(Box<CallOptions>),
    /// `vernam answer`.
    Answer(Box<AnswerOptions>),
    /// `vernam send`.
    Send(Box<SendOptions>),
    /// `vernam receive`.
    Receive(Box<ReceiveOptions>),
    /// `vernam calls`.
    Calls(CallsOptions),
    /// `vernam devices`.
    Devices(DevicesOptions),
    /// `vernam recording export`.
    Export(ExportOptions),
}

/// The demo's choices; every value is in its range and every file named for reading was there.
#[derive(Debug, Clone, PartialEq)]
pub struct DemoOptions {
    /// The suites of the calls, in order; at least one.
    pub suites: Vec<Suite>,
    /// When the link is tapped.
    pub eve: Eve,
    /// How long the whole run takes.
    pub duration: Duration,
    /// Alice's and Bob's speech, WAV; nothing means the recordings that come with Vernam, one means both say the same.
    pub speech: Vec<PathBuf>,
    /// The file to send.
    pub file: FileChoice,
    /// Opus bit rate of all calls, bits a second; `None` is each suite's own.
    pub bit_rate_bps: Option<u32>,
    /// Whether what Bob hears is played on the loudspeaker.
    pub listen: bool,
    /// Length of the fibre, km.
    pub length_km: f64,
    /// The QKD device; it yields key at that length.
    pub device: DeviceProfile,
    /// Seed of what is simulated. `None`: take a random one and show it.
    pub seed: Option<u64>,
    /// Loss on the wire, percent.
    pub loss_percent: f64,
    /// Delay added each way.
    pub delay: Duration,
    /// Spread of that delay.
    pub jitter: Duration,
    /// How to show it.
    pub view: ViewChoice,
    /// Where WAVs and the report go. `None`: a new directory that is kept.
    pub out: Option<PathBuf>,
    /// Where the picture goes.
    pub picture: Option<PathBuf>,
}

impl DemoOptions {
    /// The acts that these choices make, in order.
    pub fn acts(&self) -> Vec<Act> {
        let calls = self.suites.iter().map(|suite| match suite {
            Suite::Otp => Act::OneTimePad,
            Suite::Aes256Gcm => Act::Aes,
            Suite::ChaCha20Poly1305 => Act::ChaCha,
        });
        let eve = (self.eve == Eve::NearTheEnd).then_some(Act::Eavesdropper);
        [Act::Setup].into_iter().chain(calls).chain(eve).chain([Act::Summing]).collect()
    }
}

/// When the link is tapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Eve {
    /// During a last call of its own.
    NearTheEnd,
    /// From the start of the first call on.
    FromTheStart,
    /// Never.
    Never,
}

/// The file to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileChoice {
    /// This one.
    Path(PathBuf),
    /// A made-up one.
    MadeUp {
        /// Its size.
        bytes: u64,
    },
}

/// How to show the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewChoice {
    /// The screen on a terminal, lines elsewhere.
    Auto,
    /// Lines.
    Plain,
    /// JSON Lines.
    Json,
}

/// How it is shown.
#[derive(Debug, Args)]
struct ViewArgs {
    /// Lines of text, also on a terminal
    #[arg(long, help_heading = "How it is shown")]
    plain: bool,

    /// JSON Lines on standard output, one event each
    #[arg(long, conflicts_with = "plain", help_heading = "How it is shown")]
    json: bool,
}

impl ViewArgs {
    fn choice(&self) -> ViewChoice {
        match (self.plain, self.json) {
            (true, _) => ViewChoice::Plain,
            (_, true) => ViewChoice::Json,
            _ => ViewChoice::Auto,
        }
    }
}

/// Parses a command line, the program's name first.
///
/// The error is ready to be shown (`exit()` shows it and ends with 0 for help, 2 for wrong usage).
pub fn parse(args: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Invocation, clap::Error> {
    parse_as(Cli::command(), args)
}

fn parse_as(
    mut command: clap::Command,
    args: impl IntoIterator<Item = impl Into<OsString> + Clone>,
) -> Result<Invocation, clap::Error> {
    let matches = command.try_get_matches_from_mut(args)?;
    let cli = Cli::from_arg_matches(&matches)?;
    let mut refuse =
        |path: &[&str], wrong: String| subcommand(&mut command, path).error(ErrorKind::ValueValidation, wrong);
    let action = match cli.command {
        Command::Demo(args) => Action::Demo(Box::new(args.validated().map_err(|wrong| refuse(&["demo"], wrong))?)),
        Command::Link(LinkArgs { command: None, one }) => {
            Action::Link(Box::new(one.validated().map_err(|wrong| refuse(&["link"], wrong))?))
        }
        Command::Link(LinkArgs { command: Some(command), .. }) => match command {
            LinkCommand::Sweep(args) => {
                Action::Sweep(args.validated().map_err(|wrong| refuse(&["link", "sweep"], wrong))?)
            }
            LinkCommand::Setup(args) => Action::SetUpEnds(args.folder),
            LinkCommand::Alice(args) => {
                Action::End(Box::new(args.validated().map_err(|wrong| refuse(&["link", "alice"], wrong))?))
            }
            LinkCommand::Bob(args) => {
                Action::End(Box::new(args.validated().map_err(|wrong| refuse(&["link", "bob"], wrong))?))
            }
        },
        Command::Kme(args) => Action::Kme(Box::new(args.validated().map_err(|(path, wrong)| refuse(path, wrong))?)),
        Command::Keys(args) => Action::Keys(Box::new(args.validated().map_err(|wrong| refuse(&["keys"], wrong))?)),
        Command::Pad(args) => Action::Pad(Box::new(args.validated().map_err(|(path, wrong)| refuse(path, wrong))?)),
        Command::Call(args) => Action::Call(Box::new(args.validated().map_err(|wrong| refuse(&["call"], wrong))?)),
        Command::Answer(args) => {
            Action::Answer(Box::new(args.validated().map_err(|wrong| refuse(&["answer"], wrong))?))
        }
        Command::Send(args) => Action::Send(Box::new(args.options())),
        Command::Receive(args) => {
            Action::Receive(Box::new(args.validated().map_err(|wrong| refuse(&["receive"], wrong))?))
        }
        Command::Calls(args) => Action::Calls(args.validated().map_err(|wrong| refuse(&["calls"], wrong))?),
        Command::Devices(args) => Action::Devices(args.options()),
        Command::Recording(args) => {
            Action::Export(args.validated().map_err(|wrong| refuse(&["recording", "export"], wrong))?)
        }
    };
    Ok(Invocation { log: cli.log, action })
}

/// The subcommand at the end of `path`, each name of which was declared above.
fn subcommand<'c>(command: &'c mut clap::Command, path: &[&str]) -> &'c mut clap::Command {
    path.iter().fold(command, |command, name| command.find_subcommand_mut(name).expect("declared above"))
}

impl DemoArgs {
    fn validated(self) -> Result<DemoOptions, String> {
        if self.speech.len() > 2 {
            return Err("--speech can be given twice at most: Alice's voice, then Bob's".to_owned());
        }
        for path in self.speech.iter().chain(&self.file) {
            let shown = path.display();
            if path.is_dir() {
                return Err(format!("\u{201c}{shown}\u{201d} is a folder; a file is needed"));
            }
            if !path.exists() {
                return Err(format!("there is no file \u{201c}{shown}\u{201d}"));
            }
            std::fs::File::open(path).map_err(|error| format!("\u{201c}{shown}\u{201d} cannot be read: {error}"))?;
        }
        let file = match self.file {
            Some(path) => {
                let bytes = path.metadata().map_err(|e| format!("{}: {e}", path.display()))?.len();
                if !(1..=MAX_FILE_BYTES).contains(&bytes) {
                    let path = path.display();
                    return Err(format!("{path} has {bytes} bytes; the demo sends 1 byte to 50 MB"));
                }
                FileChoice::Path(path)
            }
            None => FileChoice::MadeUp { bytes: self.file_size.unwrap_or(5_000_000) },
        };
        Ok(DemoOptions {
            suites: match self.suite {
                SuitesChoice::All => Suite::ALL.to_vec(),
                SuitesChoice::One(suite) => vec![suite.into()],
            },
            eve: match (self.eve, self.no_eve) {
                (true, _) => Eve::FromTheStart,
                (false, true) => Eve::Never,
                (false, false) => Eve::NearTheEnd,
            },
            duration: Duration::from_secs_f64(self.duration),
            speech: self.speech,
            file,
            bit_rate_bps: self.bit_rate,
            listen: self.listen,
            length_km: self.length,
            device: device(&self.device, self.length)?,
            seed: self.seed,
            loss_percent: self.loss,
            delay: Duration::from_secs_f64(self.delay / 1000.0),
            jitter: Duration::from_secs_f64(self.jitter / 1000.0),
            view: self.view.choice(),
            out: self.out,
            picture: self.picture,
        })
    }
}

/// The help of a subcommand (`demo`, `link sweep`; of the whole, for an empty name) as plain text of a given width.
pub fn help_text(subcommand: &str, width: usize) -> String {
    let mut command = Cli::command().term_width(width);
    command.build();
    let command =
        subcommand.split_whitespace().try_fold(&mut command, |command, name| command.find_subcommand_mut(name));
    command.map(|command| command.render_long_help().to_string()).unwrap_or_default()
}

/// What a person sees after `args`, as plain text of a given width; `None` when the command line is right.
pub fn complaint(args: &[&str], width: usize) -> Option<String> {
    let command = Cli::command().term_width(width);
    let args = ["vernam"].into_iter().chain(args.iter().copied());
    parse_as(command, args).err().map(|error| error.render().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn demo(args: &[&str]) -> DemoOptions {
        let args = ["vernam", "demo"].into_iter().chain(args.iter().copied());
        let action = parse(args).expect("a right command line").action;
        let Action::Demo(options) = action else { panic!("not the demo: {action:?}") };
        *options
    }

    #[test]
    fn the_default_is_the_whole_show() {
        let options = demo(&[]);
        assert_eq!(
            options.acts(),
            [Act::Setup, Act::OneTimePad, Act::Aes, Act::ChaCha, Act::Eavesdropper, Act::Summing]
        );
        assert!(options.duration <= Duration::from_secs(90));
        assert_eq!(options.file, FileChoice::MadeUp { bytes: 5_000_000 });
        assert_eq!(options.view, ViewChoice::Auto);
    }

    #[test]
    fn units_may_be_written() {
        let options = demo(&["--length", "40km", "--delay", "30 ms", "--loss", "5%", "--file-size", "800kB"]);
        assert!((options.length_km - 40.0).abs() < 1e-9);
        assert_eq!(options.delay, Duration::from_millis(30));
        assert!((options.loss_percent - 5.0).abs() < 1e-9);
        assert_eq!(options.file, FileChoice::MadeUp { bytes: 800_000 });
    }

    #[test]
    fn eve_from_the_start_has_no_act_of_her_own() {
        let options = demo(&["--suite", "otp", "--eve"]);
        assert_eq!(options.acts(), [Act::Setup, Act::OneTimePad, Act::Summing]);
        assert_eq!(options.eve, Eve::FromTheStart);
    }

    #[test]
    fn the_declaration_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_names_every_device() {
        for help in ["demo", "link", "link alice", "link bob"].map(|command| help_text(command, 110)) {
            for name in DeviceProfile::names() {
                assert!(help.contains(name), "{name} is not in the help");
            }
        }
    }

    #[test]
    fn not_a_number_is_no_number() {
        assert!(complaint(&["demo", "--length", "NaN"], 100).is_some());
        assert!(complaint(&["demo", "--length", "inf"], 100).is_some());
    }
}
