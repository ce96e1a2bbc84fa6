//! `vernam send` and `vernam receive`: files.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use vernam_session::Suite;

use super::values::{place_to_call, place_to_listen, size};

pub(super) const SEND_AFTER_HELP: &str = "\
Examples:
  vernam send bob thesis.pdf photos            a file and a folder, in one transfer
  vernam send bob                              go on with what is unfinished
  vernam send bob video.mkv --wait-for-key     one-time pad, however long the key takes to come
  vernam send bob video.mkv --allow-aes        AES where the key does not suffice, if bob's policy allows it

Under one-time pad a file costs as much key as it has bytes; the cost, and what remains to talk with,
is shown before anything is sent. If the key does not suffice nothing is sent, and it says what is
missing and how long that takes to come.

A transfer that is cut off (Ctrl-C, a lost connection, either machine) is kept: the next `vernam send`
to this contact goes on with it from where the contact is. `vernam send bob --forget` gives up what is
unfinished.

While it goes: p and Enter pauses it, and lets it go on; c and Enter cancels it, at both ends. From a
script: kill -USR1 and kill -USR2. A pause outlives the program: `vernam send bob` without a path goes on.

Exit status: 0 all of it is in place at the contact's; 1 it failed, or a file could not be read (it
says which); 2 wrong usage; 3 declined or cancelled; 4 the contact cannot be reached, or was away for
as long as --give-up says; 6 there is not enough key; 130 stopped by a signal.";

pub(super) const RECEIVE_AFTER_HELP: &str = "\
Examples:
  vernam receive                               asks before it takes anything
  vernam receive --into inbox --once           ends after one transfer
  vernam receive --from alice --up-to 10GB     takes what alice sends without asking, up to 10 GB each

Nothing is ever overwritten: a name that is taken gets a number. Files get their names when all of them
are there and verified; until then they are in a hidden folder. What was accepted goes on by itself
after a lost connection, and when `vernam receive` is started anew.

Without a terminal, what --from does not name is declined.

While files come: p and Enter pauses them, and lets them go on; c and Enter cancels them, at both ends.
From a script: kill -USR1 and kill -USR2. A pause outlives the program.

Exit status: 0 ended as asked; 1 it failed, or with --once a file did not come; 2 wrong usage; 3 with
--once: it was declined or cancelled; 130 stopped by a signal.";

/// What protects files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SuiteChoice {
    /// One-time pad with a Wegman-Carter tag
    Otp,
    /// AES-256-GCM under a fresh quantum key
    #[value(name = "aes-256-gcm")]
    Aes256Gcm,
    /// ChaCha20-Poly1305 under a fresh quantum key
    #[value(name = "chacha20-poly1305")]
    ChaCha20Poly1305,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(super) struct SendArgs {
    /// To whom: a contact of home.toml
    contact: String,

    /// Files and folders; nothing goes on with what is unfinished
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// The person's home [default: `$VERNAM_HOME`, else the usual data folder]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,

    /// Where the contact is, instead of where home.toml says
    #[arg(long, value_name = "HOST:PORT", value_parser = place_to_call)]
    address: Option<String>,

    /// What protects the files [default: as the contact's policy in home.toml has it]
    #[arg(long, value_name = "SUITE")]
    suite: Option<SuiteChoice>,

    /// Where there is not enough key, wait until there is
    #[arg(long, conflicts_with = "allow_aes")]
    wait_for_key: bool,

    /// Where there is not enough key, send under AES-256-GCM instead
    #[arg(long)]
    allow_aes: bool,

    /// End, with status 4, when the contact has been away for so long; what is unfinished is kept [default: wait for ever
    /// for one who was there]
    #[arg(long, value_name = "SECONDS")]
    give_up: Option<u32>,

    /// Give up what is unfinished for this contact, and send nothing
    #[arg(long, conflicts_with_all = ["paths", "suite", "wait_for_key", "allow_aes"])]
    forget: bool,

    /// JSON Lines on standard output, one event each
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ReceiveArgs {
    /// The person's home [default: `$VERNAM_HOME`, else the usual data folder]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,

    /// Where contacts reach this client, instead of where home.toml says
    #[arg(long, value_name = "ADDRESS:PORT", value_parser = place_to_listen)]
    listen: Option<String>,

    /// The folder that files go into
    #[arg(long, value_name = "DIR", default_value = ".")]
    into: PathBuf,

    /// Take what this contact sends without asking; may be given several times
    #[arg(long, value_name = "CONTACT")]
    from: Vec<String>,

    /// Without asking at most so much a transfer, such as 500MB
    #[arg(long, value_name = "SIZE", requires = "from", value_parser = size)]
    up_to: Option<u64>,

    /// End after the first transfer
    #[arg(long)]
    once: bool,

    /// Keep names as they are where this system can, such as aux.c, or A beside a
    #[arg(long)]
    native_names: bool,

    /// JSON Lines on standard output, one event each
    #[arg(long)]
    json: bool,
}

/// What to send, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendOptions {
    /// To whom.
    pub contact: String,
    /// Files and folders.
    pub paths: Vec<PathBuf>,
    /// The home that was named.
    pub home: Option<PathBuf>,
    /// Where the contact is, if not where `home.toml` says.
    pub address: Option<String>,
    /// What protects the files, if it was said.
    pub suite: Option<Suite>,
    /// What to do where there is not enough key.
    pub shortage: ShortageChoice,
    /// How long a contact that has left is waited for; for ever, if it was not said.
    pub give_up: Option<Duration>,
    /// Give up what is unfinished.
    pub forget: bool,
    /// As JSON Lines.
    pub json: bool,
}

/// What to do where there is not enough key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShortageChoice {
    /// Say so, and end.
    End,
    /// Wait.
    Wait,
    /// AES-256-GCM.
    Aes,
}

/// What to take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiveOptions {
    /// The home that was named.
    pub home: Option<PathBuf>,
    /// Where contacts reach us, if not where `home.toml` says.
    pub listen: Option<SocketAddr>,
    /// Where files go.
    pub into: PathBuf,
    /// Whose files are taken without asking.
    pub from: Vec<String>,
    /// Bytes of a transfer that are taken without asking at most.
    pub up_to: Option<u64>,
    /// Whether to end after the first transfer.
    pub once: bool,
    /// Whether names stay as they are where this system can.
    pub native_names: bool,
    /// As JSON Lines.
    pub json: bool,
}

impl SendArgs {
    pub(super) fn options(self) -> SendOptions {
        let suite = self.suite.map(|suite| match suite {
            SuiteChoice::Otp => Suite::Otp,
            SuiteChoice::Aes256Gcm => Suite::Aes256Gcm,
            SuiteChoice::ChaCha20Poly1305 => Suite::ChaCha20Poly1305,
        });
        let shortage = match (self.wait_for_key, self.allow_aes) {
            (true, _) => ShortageChoice::Wait,
            (_, true) => ShortageChoice::Aes,
            _ => ShortageChoice::End,
        };
        let Self { contact, paths, home, address, forget, json, give_up, .. } = self;
        let give_up = give_up.map(|seconds| Duration::from_secs(seconds.into()));
        SendOptions { contact, paths, home, address, suite, shortage, give_up, forget, json }
    }
}

impl ReceiveArgs {
    pub(super) fn validated(self) -> Result<ReceiveOptions, String> {
        if !self.into.is_dir() {
            return Err(format!("\u{201c}{}\u{201d} is not a folder", self.into.display()));
        }
        let Self { home, listen, into, from, up_to, once, native_names, json } = self;
        let listen = match listen {
            Some(listen) => Some(listen.parse().map_err(|_not_one| {
                format!("\u{201c}{listen}\u{201d} is no address to listen at: one like 0.0.0.0:7890 is needed")
            })?),
            None => None,
        };
        Ok(ReceiveOptions { home, listen, into, from, up_to, once, native_names, json })
    }
}
