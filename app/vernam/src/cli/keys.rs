//! `vernam keys`: what is in stock, and how long it lasts.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
pub(super) struct KeysArgs {
    /// Only the key shared with this contact
    contact: Option<String>,

    /// The person's home [default: `$VERNAM_HOME`, else the usual data folder]
    #[arg(long, value_name = "DIR")]
    home: Option<PathBuf>,

    /// JSON on standard output
    #[arg(long)]
    json: bool,

    /// Go on although the anchor is lost that tells which key was used: erases all key it cannot vouch for
    #[arg(long)]
    accept_lost_anchor: bool,
}

/// What to show of the stock.
#[derive(Debug, Clone, PartialEq)]
pub struct KeysOptions {
    /// Whose key only.
    pub contact: Option<String>,
    /// The home that was named.
    pub home: Option<PathBuf>,
    /// As JSON.
    pub json: bool,
    /// Whether key whose anchor is lost is erased.
    pub accept_lost_anchor: bool,
}

impl KeysArgs {
    #[expect(clippy::unnecessary_wraps, reason = "every subcommand is checked the same way")]
    pub(super) fn validated(self) -> Result<KeysOptions, String> {
        let Self { contact, home, json, accept_lost_anchor } = self;
        Ok(KeysOptions { contact, home, json, accept_lost_anchor })
    }
}
