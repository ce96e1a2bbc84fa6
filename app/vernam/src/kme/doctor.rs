//! `vernam kme doctor`: checks any vendor's KME against ETSI GS QKD 014 V1.1.1, from outside, with two identities.
//!
//! It sees what an SAE sees, and nothing else: not how keys are made, stored or carried. It draws real key, collects all
//! of it again, and shows none. What the standard leaves open is told apart from what it forbids.
//!
//! ```text
//!  cli ─► DoctorOptions ─► examine: checks/* ask through Exam ─► Report ─► table │ JSON
//!                                     └─► wire (HTTP as it is), keys (looked at, never shown)
//! ```

pub mod catalogue;
mod checks;
mod exam;
mod keys;
mod report;
mod sae;
mod table;
mod wire;

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context as _;
use serde_json::json;

use self::{
    exam::{Exam, Party},
    wire::{Ask, Caller, Target},
};
pub use self::{
    report::{Asker, Outcome, Report, Row},
    table::table,
};
use crate::cli::{DoctorOptions, SaeChoice};

/// Exit status for files or addresses that cannot be used.
const USAGE: u8 = 2;
/// Exit status where a KME could not be reached.
const UNREACHABLE: u8 = 3;
/// The width of the table where nobody says how wide it may be.
const DEFAULT_WIDTH: usize = 110;

/// The examination could not be held.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DoctorError {
    /// A file or address cannot be used.
    #[error("{0}")]
    Usage(String),
    /// A KME cannot be reached with the certificates given.
    #[error("{role} cannot reach the KME at {url}: {why}")]
    Unreachable {
        /// Which of the SAEs.
        role: &'static str,
        /// Its KME.
        url: String,
        /// What went wrong.
        why: String,
    },
}

impl DoctorError {
    fn exit_status(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Unreachable { .. } => UNREACHABLE,
        }
    }
}

/// Checks the KME and shows what was found; returns the exit status.
pub fn run(options: &DoctorOptions) -> anyhow::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the worker threads cannot be started")?;
    let found = runtime.block_on(examine(options));
    let mut out = io::stdout().lock();
    match found {
        Ok(report) => {
            if options.json {
                writeln!(out, "{:#}", report.to_json())?;
            } else {
                let terminal = out.is_terminal();
                let width = if terminal { terminal_width() } else { DEFAULT_WIDTH };
                write!(out, "{}", table(&report, width, terminal && std::env::var_os("NO_COLOR").is_none()))?;
            }
            Ok(report.exit_status())
        }
        Err(error) => {
            if options.json {
                let document = json!({ "tool": "vernam kme doctor", "error": error.to_string(), "checks": [] });
                writeln!(out, "{document:#}")?;
            }
            // Standard error may be gone; the exit status still tells.
            let _best_effort = writeln!(io::stderr(), "vernam: {error}");
            Ok(error.exit_status())
        }
    }
}

fn terminal_width() -> usize {
    ratatui::crossterm::terminal::size().map_or(DEFAULT_WIDTH, |(columns, _)| usize::from(columns))
}

/// Runs all checks. Must be called within a tokio runtime.
pub async fn examine(options: &DoctorOptions) -> Result<Report, DoctorError> {
    let roots = sae::read_roots(&options.root).map_err(DoctorError::Usage)?;
    let party = |role, choice: &SaeChoice| -> Result<Party, DoctorError> {
        let target = Target::parse(&choice.url).map_err(DoctorError::Usage)?;
        let sae = sae::read(choice, &roots).map_err(DoctorError::Usage)?;
        Ok(Party { role, id: sae.id, caller: Caller::new(target, sae.tls, options.timeout) })
    };
    let master = party("master", &options.master)?;
    let slave = party("slave", &options.slave)?;
    let third = options.third.as_ref().map(|choice| party("third", choice)).transpose()?;
    if master.id == slave.id {
        let text = format!("the master and the slave are both {}; two SAEs are needed (see --master-id)", master.id);
        return Err(DoctorError::Usage(text));
    }
    for (party, other) in [(&master, &slave), (&slave, &master)].into_iter().chain(third.iter().map(|t| (t, &master))) {
        // Any answer will do: a certificate that is refused in TLS 1.3 shows with the first one only.
        let ask = Ask::get(exam::path(&other.id, "status"));
        party.caller.ask(&ask).await.map_err(|trouble| DoctorError::Unreachable {
            role: party.role,
            url: party.caller.target.url(),
            why: trouble.to_string(),
        })?;
    }
    let mut exam = Exam::new(master, slave, third);
    checks::run(&mut exam, &roots, options.drain).await;
    Ok(exam.report())
}
