//! `vernam pad`: pads carried by hand.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use vernam_store::pad::{MAX_PAD_BYTES, MIN_PAD_BYTES};

use super::values::size_within;

#[derive(Debug, Args)]
pub(super) struct PadArgs {
    #[command(subcommand)]
    command: PadCommand,
}

#[derive(Debug, Subcommand)]
enum PadCommand {
    /// Make a matched pair of sealed pad files for two people
    Make(MakeArgs),
    /// Take a pad file into this person's home, and do away with it
    Import(ImportArgs),
}

#[derive(Debug, Args)]
struct MakeArgs {
    /// The one person
    #[arg(value_name = "ALICE")]
    first: String,

    /// The other
    #[arg(value_name = "BOB")]
    second: String,

    /// Size of the pad, half for each direction, like 100MB or 2GB
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "100MB",
        value_parser = size_within(MIN_PAD_BYTES, MAX_PAD_BYTES, "132kB to 1000GB")
    )]
    size: u64,

    /// Folder for the two files
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// File with a passphrase in its first line, for the one and then the other; asked for on the terminal by default
    #[arg(long, value_name = "FILE", action = clap::ArgAction::Append)]
    passphrase_file: Vec<PathBuf>,
}

#[derive(Debug, Args)]
struct ImportArgs {
    /// The pad file made for this person
    file: PathBuf,

    /// The person's home [default: `$VERNAM_HOME`, else the usual data folder]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,

    /// The contact's name here, where it is another than in the file
    #[arg(long = "as", value_name = "CONTACT")]
    contact: Option<String>,

    /// Leave the file where it is; it must never be taken in again, here or elsewhere
    #[arg(long)]
    keep: bool,

    /// File with the passphrase in its first line; asked for on the terminal by default
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// What to do with pads.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum PadOptions {
    /// `vernam pad make`.
    Make(PadMake),
    /// `vernam pad import`.
    Import(PadImport),
}

/// The pair to make.
#[derive(Debug, Clone, PartialEq)]
pub struct PadMake {
    /// For whom.
    pub people: [String; 2],
    /// Bytes of both halves.
    pub bytes: u64,
    /// Where to.
    pub out: PathBuf,
    /// Passphrases of the one and the other; none means to ask.
    pub passphrase_files: Vec<PathBuf>,
}

/// The pad to take in.
#[derive(Debug, Clone, PartialEq)]
pub struct PadImport {
    /// From where.
    pub file: PathBuf,
    /// The home that was named.
    pub home: Option<PathBuf>,
    /// The contact's name, where it is another.
    pub contact: Option<String>,
    /// Whether the file stays.
    pub keep: bool,
    /// Where the passphrase is; nothing means to ask.
    pub passphrase_file: Option<PathBuf>,
}

impl PadArgs {
    pub(super) fn validated(self) -> Result<PadOptions, (&'static [&'static str], String)> {
        match self.command {
            PadCommand::Make(MakeArgs { first, second, size, out, passphrase_file }) => {
                if ![0, 2].contains(&passphrase_file.len()) {
                    let wrong =
                        format!("--passphrase-file is given twice, for {first} and for {second}, or not at all");
                    return Err((&["pad", "make"], wrong));
                }
                let people = [first, second];
                Ok(PadOptions::Make(PadMake { people, bytes: size, out, passphrase_files: passphrase_file }))
            }
            PadCommand::Import(ImportArgs { file, home, contact, keep, passphrase_file }) => {
                Ok(PadOptions::Import(PadImport { file, home, contact, keep, passphrase_file }))
            }
        }
    }
}
