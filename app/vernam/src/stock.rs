//! `vernam keys` and `vernam pad`: a person's own stock of key.
//!
//! It shows and fills the store of one home ([`home`]); it holds no conversation.

pub mod home;
mod pads;
pub(crate) mod passphrase;
pub mod report;

use std::io::{self, Write as _};

use anyhow::bail;

pub use self::pads::pad;
use self::{home::Home, report::Report};
use crate::cli::KeysOptions;

/// `vernam keys`; returns the exit status.
///
/// # Errors
/// If the store cannot be opened (another program has it, its anchor is lost), with what to do.
pub fn keys(options: &KeysOptions) -> anyhow::Result<u8> {
    let home = Home::find(options.home.as_deref())?;
    if !home.has_store() {
        bail!("there is no stock of key in {} yet: talk to somebody, or take in a pad", home.dir().display());
    }
    let store = if options.accept_lost_anchor { home.accept_lost_anchor()? } else { home.store()? };
    let mut report = Report::of(&store, options.contact.as_deref())?;
    report.ask_kme(&home.config()?);
    let text = if options.json { report.json()? } else { report.text() };
    // Whoever does not read it to its end has what he wanted.
    let _gone = io::stdout().write_all(text.as_bytes());
    Ok(0)
}
