//! `vernam call`, `vernam answer`, `vernam calls`, `vernam devices` and `vernam recording`: the telephone.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Subcommand, ValueEnum};
use vernam_session::Suite;

use super::values::{SuiteChoice, file_to_make, file_to_read, place_to_call, ranged};
use super::{ViewArgs, ViewChoice};
use crate::stock::home::Profile;

/// Longest `--duration`, seconds: a day.
const MAX_SECONDS: f64 = 86_400.0;
/// Most calls of the history that are shown at once.
const MAX_SHOWN: u32 = 10_000;

pub(super) const CALL_AFTER_HELP: &str = "\
Examples:
  vernam call bob                              as home.toml has it: protection, devices, profile
  vernam call bob --suite aes-256-gcm          weaker than one-time pad; bob is asked so
  vernam call bob --speech hello.wav --heard answer.wav --duration 10   files, no devices
  vernam call bob --record talk.vrec           asks bob first; both hear a tone
  vernam call --echo-test                      hear yourself after 2 s, no contact needed

Keys during a call:
  q hang up   y n answer the question that is shown   Tab take, or go over to, the other call
  m mute   d deafen (mute, and hear nothing)   h hold   D do not disturb   Q end all calls
  t when your voice is sent: always, push-to-talk (space), when you speak
  o other protection: to one-time pad, or from it to AES-256-GCM; less takes a yes of the contact
  r record, and end it; while the contact records: take your yes back
  M S R choose microphone, loudspeaker, ringer
  n noise suppression   e echo cancelling   f high-pass filter   g gain control, each on or off

Push-to-talk: you talk while space is down, where the terminal tells when a key is let go (kitty,
foot, WezTerm, Ghostty and others that speak the kitty keyboard protocol). Elsewhere space begins
to talk, and space again ends it. The screen says which.

One question is shown at a time, and y and n answer that one only. They do nothing for half a
second after it appeared: a key that was on its way is no answer. While a passphrase is typed,
Ctrl-Y and Ctrl-N answer. What protects the call is always on the screen, and never becomes weaker
without a yes of both.

Exit status: 0 the call took place and ended properly; 1 it failed; 2 wrong usage (also a contact,
device or home that is not there, or settings that do not hold); 3 no answer, declined or busy;
4 the contact cannot be reached; 5 it was taken, and no voice came from the contact at all;
130 stopped by a signal.";

pub(super) const ANSWER_AFTER_HELP: &str = "\
Examples:
  vernam answer                                rings until q; y takes a call, n declines it
  vernam answer --listen 0.0.0.0:7890          where home.toml names no address
  vernam answer --auto --once --play answer.wav --record-heard heard.wav   for scripts
  vernam answer --do-not-disturb               nobody rings; who calls is told so

The address is `listen` in home.toml, and contacts need it in theirs. Calls that were missed since
the last time are shown first. The keys are those of `vernam call`; q without a call ends it.

With --auto nobody is asked anything: a call that protects less than the contact's policy in
home.toml asks for (AES under otp-only and prefer-otp) is declined, a wish for less protection too,
and --let-record says whether contacts may record. A microphone that is unplugged leaves silence
until it is back. Without a terminal, lines on standard input are keys, and a program can answer.

Exit status: 0 ended as asked; 1 it failed; 2 wrong usage (also a device or home that is not there,
or settings that do not hold); 5 with --once: the call was taken, and no voice came from the contact
at all; 130 stopped by a signal.";

pub(super) const CALLS_AFTER_HELP: &str = "\
A call is missed if it came in and you neither took nor declined it. Times are UTC.

JSON Lines (--json): a call a line, the oldest first, with contact; ours (whether you called);
began_unix_s; lasted_s (null if it was never taken); reason (hung_up, declined, busy, no_answer,
key_used_up, failed, not_disturbed, lost); by_contact (whether the contact ended it); suites (otp,
aes-256-gcm, chacha20-poly1305, in their order); resumed (how often the connection came back);
quality (null if it was never taken: received, lost, recovered, concealed, delay_ms, jitter_ms,
key_used_bytes); missed.

Exit status: 0 shown, also if there are none; 1 it failed; 2 wrong usage, or no such home.";

pub(super) const DEVICES_AFTER_HELP: &str = "\
A name, a part of a name that only one device has, or an id goes after --microphone, --speaker and
--ringer of `vernam call` and `vernam answer`, or into [sound] of home.toml. * is the default.

JSON (--json): microphones and speakers, each a list of id, name, default, and monitor (whether it
is what a loudspeaker plays, which is nobody's voice).

Exit status: 0 shown; 1 no sound system answers, or it has no device; 2 wrong usage.";

pub(super) const RECORDING_AFTER_HELP: &str = "\
Examples:
  vernam recording export talk.vrec talk.wav
  vernam recording export talk.vrec talk.wav --passphrase-file words.txt

Recordings that nobody named are in the folder `recordings` of the home. The passphrase is the one
that was given when recording began. The WAV has two channels: what was said here, and what was
heard. It is not encrypted. Of a call that still goes on it has what was written so far.

Exit status: 0 all of it is there; 1 it failed, or a part is missing (it says which); 2 wrong usage.";

/// The person whose telephone it is.
#[derive(Debug, Args)]
struct HomeArgs {
    /// The person's home [default: `$VERNAM_HOME`, else the usual data folder]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,
}

/// Where the sound comes from and goes to.
#[derive(Debug, Args)]
struct SoundArgs {
    /// Say what this file holds instead of what the microphone hears, then silence
    #[arg(long, value_name = "FILE.wav", visible_alias = "play", conflicts_with = "no_sound",
          help_heading = "Sound", value_parser = file_to_read)]
    speech: Option<PathBuf>,

    /// Write what is heard into this file instead of playing it; never overwrites
    #[arg(
        long,
        value_name = "FILE.wav",
        visible_alias = "record-heard",
        conflicts_with = "no_sound",
        help_heading = "Sound"
    )]
    heard: Option<PathBuf>,

    /// No devices: silence is sent, and nothing is played
    #[arg(long, help_heading = "Sound")]
    no_sound: bool,

    /// Microphone, by its id or name as `vernam devices` has it, or `default` or `off`
    #[arg(long, value_name = "DEVICE", help_heading = "Sound")]
    microphone: Option<String>,

    /// Loudspeaker or headset, in the same way
    #[arg(long, value_name = "DEVICE", help_heading = "Sound")]
    speaker: Option<String>,

    /// Loudspeaker on which it rings, in the same way
    #[arg(long, value_name = "DEVICE", help_heading = "Sound")]
    ringer: Option<String>,

    /// Headphones: nothing has to be taken out of the microphone's sound, which saves delay
    #[arg(long, help_heading = "Sound")]
    headphones: bool,
}

/// What a call is written down with.
#[derive(Debug, Args)]
struct RecordArgs {
    /// Record the first call, encrypted, once the contact agrees; never overwrites
    #[arg(long, value_name = "FILE", help_heading = "Recording")]
    record: Option<PathBuf>,

    /// File with the recording's passphrase in its first line; asked for on the terminal by default
    #[arg(long, value_name = "FILE", help_heading = "Recording")]
    passphrase_file: Option<PathBuf>,
}

/// How the voice is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ProfileChoice {
    /// As the suite, the network and the key in stock have it, and changed as they change
    Auto,
    /// 32 kb/s, 20 ms
    Standard,
    /// 48 kb/s, 10 ms: the shortest way from mouth to ear
    LowDelay,
    /// 48 kb/s, 20 ms, with more that mends lost packets
    HardNetwork,
    /// 16 kb/s, 20 ms: spends little key
    OneTimePad,
}

/// What a telephone may be given, whoever calls.
#[derive(Debug, Args)]
struct PhoneArgs {
    #[command(flatten)]
    home: HomeArgs,

    /// Hang up after so long, counted from the answer
    #[arg(long, value_name = "SECONDS", value_parser = ranged("s", 0.1, MAX_SECONDS))]
    duration: Option<f64>,

    #[command(flatten)]
    record: RecordArgs,

    #[command(flatten)]
    sound: SoundArgs,

    #[command(flatten)]
    view: ViewArgs,
}

#[derive(Debug, Args)]
pub(super) struct CallArgs {
    /// Whom to call: a contact of home.toml
    #[arg(required_unless_present = "echo_test", conflicts_with = "echo_test")]
    contact: Option<String>,

    /// Call yourself: what you say comes back after 2 s, through codec, encryption and network
    #[arg(long, conflicts_with_all = ["address", "record", "home"])]
    echo_test: bool,

    /// Where the contact is, instead of where home.toml says
    #[arg(long, value_name = "HOST:PORT", value_parser = place_to_call)]
    address: Option<String>,

    /// What protects the call [default: as the contact's policy in home.toml has it]
    #[arg(long, value_name = "SUITE")]
    suite: Option<SuiteChoice>,

    /// How the voice is coded; only `auto` follows the network and the key [default: that of home.toml, else auto]
    #[arg(long, value_name = "PROFILE")]
    profile: Option<ProfileChoice>,

    #[command(flatten)]
    phone: PhoneArgs,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct AnswerArgs {
    /// Where contacts reach this telephone, instead of where home.toml says
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = place_to_listen)]
    listen: Option<SocketAddr>,

    /// Take calls at once, without asking; what protects less than the contact's policy asks for is declined
    #[arg(long, conflicts_with = "do_not_disturb")]
    auto: bool,

    /// End after the first call
    #[arg(long)]
    once: bool,

    /// Nobody rings; changed with D while it runs
    #[arg(long, visible_alias = "dnd")]
    do_not_disturb: bool,

    /// Let contacts record without asking; with --auto only
    #[arg(long, requires = "auto")]
    let_record: bool,

    #[command(flatten)]
    phone: PhoneArgs,
}

#[derive(Debug, Args)]
pub(super) struct CallsArgs {
    /// Only calls with this contact
    contact: Option<String>,

    #[command(flatten)]
    home: HomeArgs,

    /// Only calls that were missed
    #[arg(long)]
    missed: bool,

    /// At most so many, the newest, 1 to 10000
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_SHOWN)))]
    last: u32,

    /// JSON Lines on standard output, one call each
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct DevicesArgs {
    /// JSON on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RecordingArgs {
    #[command(subcommand)]
    command: RecordingCommand,
}

#[derive(Debug, Subcommand)]
enum RecordingCommand {
    /// Decrypt a recording to a WAV file of two channels; never overwrites
    #[command(after_help = RECORDING_AFTER_HELP)]
    Export(ExportArgs),
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// The recording
    #[arg(value_parser = file_to_read)]
    recording: PathBuf,

    /// The file to make
    #[arg(value_name = "OUT.wav")]
    wav: PathBuf,

    /// File with the passphrase in its first line; asked for on the terminal by default
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// Whom to call, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct CallOptions {
    /// Whom; `None` is the echo test.
    pub contact: Option<String>,
    /// Where the contact is, if not where `home.toml` says.
    pub address: Option<String>,
    /// What protects the call, if it was said.
    pub suite: Option<Suite>,
    /// How the voice is coded, if it was said.
    pub profile: Option<Profile>,
    /// All else.
    pub phone: PhoneOptions,
}

/// How to be reachable.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent things that are asked for or not")]
pub struct AnswerOptions {
    /// Where contacts reach us, if not where `home.toml` says.
    pub listen: Option<SocketAddr>,
    /// Whether calls are taken without asking.
    pub auto: bool,
    /// Whether to end after the first call.
    pub once: bool,
    /// Whether nobody rings.
    pub do_not_disturb: bool,
    /// Whether contacts may record without asking.
    pub let_record: bool,
    /// All else.
    pub phone: PhoneOptions,
}

/// What a telephone may be given, whoever calls.
#[derive(Debug, Clone, PartialEq)]
pub struct PhoneOptions {
    /// The home that was named.
    pub home: Option<PathBuf>,
    /// When to hang up, from the answer.
    pub duration: Option<Duration>,
    /// Where to record to; nothing of that name is there.
    pub record: Option<RecordChoice>,
    /// Where the sound comes from and goes to; nothing of the name for what is heard is there.
    pub sound: SoundChoice,
    /// How to show it.
    pub view: ViewChoice,
}

/// Where a recording goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordChoice {
    /// The file to make.
    pub file: PathBuf,
    /// Where its passphrase is; nothing means to ask.
    pub passphrase_file: Option<PathBuf>,
}

/// Where the sound comes from and goes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SoundChoice {
    /// The devices of this machine; what is named goes before `home.toml`.
    Devices {
        /// The microphone.
        microphone: Option<String>,
        /// The loudspeaker.
        speaker: Option<String>,
        /// Where it rings.
        ringer: Option<String>,
        /// Whether the loudspeaker cannot be heard by the microphone.
        headphones: bool,
    },
    /// Sound files.
    Files {
        /// What is said.
        speech: Option<PathBuf>,
        /// Where what is heard goes.
        heard: Option<PathBuf>,
    },
    /// Silence.
    Off,
}

/// Which part of the history to show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallsOptions {
    /// With whom only.
    pub contact: Option<String>,
    /// The home that was named.
    pub home: Option<PathBuf>,
    /// Whether only missed ones.
    pub missed: bool,
    /// How many, the newest.
    pub last: usize,
    /// As JSON Lines.
    pub json: bool,
}

/// How to list the devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DevicesOptions {
    /// As JSON.
    pub json: bool,
}

/// What to do with a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportOptions {
    /// The recording.
    pub recording: PathBuf,
    /// The file to make.
    pub wav: PathBuf,
    /// Where the passphrase is; nothing means to ask.
    pub passphrase_file: Option<PathBuf>,
}

impl CallArgs {
    pub(super) fn validated(self) -> Result<CallOptions, String> {
        Ok(CallOptions {
            contact: self.contact,
            address: self.address,
            suite: self.suite.map(Suite::from),
            profile: self.profile.map(Profile::from),
            phone: self.phone.validated()?,
        })
    }
}

impl AnswerArgs {
    pub(super) fn validated(self) -> Result<AnswerOptions, String> {
        Ok(AnswerOptions {
            listen: self.listen,
            auto: self.auto,
            once: self.once,
            do_not_disturb: self.do_not_disturb,
            let_record: self.let_record,
            phone: self.phone.validated()?,
        })
    }
}

impl PhoneArgs {
    fn validated(self) -> Result<PhoneOptions, String> {
        Ok(PhoneOptions {
            home: self.home.home,
            duration: self.duration.map(Duration::from_secs_f64),
            record: self.record.validated()?,
            sound: self.sound.validated()?,
            view: self.view.choice(),
        })
    }
}

impl RecordArgs {
    fn validated(self) -> Result<Option<RecordChoice>, String> {
        let Self { record, passphrase_file } = self;
        match record {
            Some(file) => {
                file_to_make(&file)?;
                Ok(Some(RecordChoice { file, passphrase_file }))
            }
            None if passphrase_file.is_some() => Err("--passphrase-file is for --record FILE".to_owned()),
            None => Ok(None),
        }
    }
}

impl SoundArgs {
    fn validated(self) -> Result<SoundChoice, String> {
        let Self { speech, heard, no_sound, microphone, speaker, ringer, headphones } = self;
        let devices = microphone.is_some() || speaker.is_some() || ringer.is_some() || headphones;
        let files = speech.is_some() || heard.is_some();
        if devices && (files || no_sound) {
            let with = if no_sound { "--no-sound" } else { "--speech and --heard" };
            return Err(format!("devices cannot be chosen together with {with}: no device is used then"));
        }
        heard.as_deref().map_or(Ok(()), file_to_make)?;
        Ok(match (no_sound, files) {
            (true, _) => SoundChoice::Off,
            (false, true) => SoundChoice::Files { speech, heard },
            (false, false) => SoundChoice::Devices { microphone, speaker, ringer, headphones },
        })
    }
}

impl CallsArgs {
    #[expect(clippy::unnecessary_wraps, reason = "every subcommand is checked the same way")]
    pub(super) fn validated(self) -> Result<CallsOptions, String> {
        let Self { contact, home, missed, last, json } = self;
        let last = usize::try_from(last).unwrap_or(usize::MAX);
        Ok(CallsOptions { contact, home: home.home, missed, last, json })
    }
}

impl DevicesArgs {
    pub(super) fn options(&self) -> DevicesOptions {
        DevicesOptions { json: self.json }
    }
}

impl RecordingArgs {
    pub(super) fn validated(self) -> Result<ExportOptions, String> {
        let RecordingCommand::Export(ExportArgs { recording, wav, passphrase_file }) = self.command;
        file_to_make(&wav)?;
        Ok(ExportOptions { recording, wav, passphrase_file })
    }
}

impl From<ProfileChoice> for Profile {
    fn from(choice: ProfileChoice) -> Self {
        match choice {
            ProfileChoice::Auto => Self::Auto,
            ProfileChoice::Standard => Self::Standard,
            ProfileChoice::LowDelay => Self::LowDelay,
            ProfileChoice::HardNetwork => Self::HardNetwork,
            ProfileChoice::OneTimePad => Self::OneTimePad,
        }
    }
}

fn place_to_listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_no_address| "an address and a port are needed, like 0.0.0.0:7890 or [::]:7890".to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::{Action, complaint, parse};
    use super::*;

    fn action(args: &[&str]) -> Action {
        let args = ["vernam"].into_iter().chain(args.iter().copied());
        parse(args).unwrap_or_else(|error| panic!("{error}")).action
    }

    fn call(args: &[&str]) -> CallOptions {
        let Action::Call(options) = action(&[&["call"], args].concat()) else { panic!("not a call") };
        *options
    }

    #[test]
    fn a_call_needs_only_a_contact() {
        let options = call(&["bob"]);
        assert_eq!(options.contact.as_deref(), Some("bob"));
        assert_eq!((options.suite, options.profile, options.phone.duration), (None, None, None));
        let devices = SoundChoice::Devices { microphone: None, speaker: None, ringer: None, headphones: false };
        assert_eq!((options.phone.sound, options.phone.view), (devices, ViewChoice::Auto));
    }

    #[test]
    fn what_is_said_is_kept() {
        let options = call(&["bob", "--suite", "chacha20-poly1305", "--profile", "low-delay", "--duration", "2.5s"]);
        assert_eq!(options.suite, Some(Suite::ChaCha20Poly1305));
        assert_eq!(options.profile, Some(Profile::LowDelay));
        assert_eq!(options.phone.duration, Some(Duration::from_millis(2_500)));
        assert_eq!(call(&["bob", "--no-sound", "--json"]).phone.sound, SoundChoice::Off);
    }

    #[test]
    fn sound_files_go_by_both_names() {
        let temp = tempfile::tempdir().expect("a folder");
        let said = temp.path().join("said.wav");
        std::fs::write(&said, "").expect("a file");
        let said = said.to_str().expect("a plain name");
        let heard = temp.path().join("heard.wav");
        let heard = heard.to_str().expect("a plain name");
        let Action::Answer(answer) = action(&["answer", "--auto", "--play", said, "--record-heard", heard]) else {
            panic!("not an answer")
        };
        let files = SoundChoice::Files { speech: Some(said.into()), heard: Some(heard.into()) };
        assert_eq!((answer.phone.sound, answer.auto), (files.clone(), true));
        assert_eq!(call(&["bob", "--speech", said, "--heard", heard]).phone.sound, files);
    }

    #[test]
    fn the_echo_test_has_no_contact() {
        assert_eq!(call(&["--echo-test"]).contact, None);
        for wrong in [&["call"][..], &["call", "bob", "--echo-test"], &["call", "--echo-test", "--record", "x"]] {
            assert!(complaint(wrong, 100).is_some(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_to_be_made_is_looked_at_before_anybody_is_called() {
        let temp = tempfile::tempdir().expect("a folder");
        let there = temp.path().join("there");
        std::fs::write(&there, "of somebody else").expect("a file");
        let (there, folder) = (there.to_str().expect("a plain name"), temp.path().to_str().expect("a plain name"));
        let nowhere = format!("{folder}/no/such/file");
        for command in [
            &["call", "bob", "--record"][..],
            &["call", "bob", "--heard"],
            &["answer", "--auto", "--record-heard"],
            &["recording", "export", there],
        ] {
            for (file, word) in [(there, "never overwritten"), (folder, "never overwritten"), (&nowhere, "no folder")] {
                let said = complaint(&[command, &[file]].concat(), 100).expect("it cannot be made");
                assert!(said.contains(word), "{command:?} {file}: {said}");
            }
        }
        assert_eq!(std::fs::read(there).expect("it is there"), b"of somebody else");
        assert_eq!(std::fs::read_dir(temp.path()).expect("a folder").count(), 1, "looking makes nothing");
    }
}
