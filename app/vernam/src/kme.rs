//! `vernam kme`: a key management entity as a service, and the tools around it.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use tracing_subscriber::EnvFilter;
use vernam_kme::settings::{EXAMPLE, KekSettings, Loaded, LogFormat, PlaceSettings, Settings};

use crate::cli::{KmeOptions, LogFormatChoice, LogLevel};

pub mod audit;
pub mod doctor;
pub mod inspect;
pub mod run;
pub mod setup;
pub mod sources;

/// Does what was asked for; returns the exit status.
pub fn run(log: LogLevel, options: &KmeOptions) -> anyhow::Result<u8> {
    if let KmeOptions::Run { config, log_format } = options {
        let loaded = load(config)?;
        let format = match log_format {
            Some(LogFormatChoice::Text) => LogFormat::Text,
            Some(LogFormatChoice::Json) => LogFormat::Json,
            None => loaded.settings.log,
        };
        start_log(log, format);
        return run::run(config, loaded, format);
    }
    start_log(log, LogFormat::Text);
    match options {
        KmeOptions::Run { .. } => Ok(0), // above
        KmeOptions::Check(config) => check(config),
        KmeOptions::Example => {
            io::stdout().write_all(EXAMPLE.as_bytes()).context("the example cannot be written")?;
            Ok(0)
        }
        KmeOptions::Setup { folder, port } => {
            let said = setup::set_up(folder, *port)?;
            // It is done, whoever reads that.
            let _best_effort = said.iter().try_for_each(|line| writeln!(io::stdout(), "{line}"));
            Ok(0)
        }
        KmeOptions::InspectCert { file, config } => inspect::run(file, config.as_deref()),
        KmeOptions::AuditVerify { file, config } => audit::verify(file.as_deref(), config.as_deref()),
        KmeOptions::Doctor(options) => doctor::run(options),
    }
}

/// Reads a configuration; the error shows each fault in its line.
fn load(config: &Path) -> anyhow::Result<Loaded> {
    Settings::load(config).map_err(|error| anyhow!("the configuration is not right\n\n{error}"))
}

fn check(config: &Path) -> anyhow::Result<u8> {
    let Loaded { settings, warnings, .. } = load(config)?;
    let mut out = io::stdout().lock();
    for warning in warnings.iter().chain(&not_there(&settings)) {
        writeln!(out, "look at this: {warning}")?;
    }
    let kme = &settings.kme;
    writeln!(
        out,
        "{} is right: {} with {} SAEs and {} peers",
        config.display(),
        kme.id,
        kme.saes.len(),
        kme.peers.len()
    )?;
    Ok(0)
}

/// What a right configuration names that is not there, here and now; where the service will run it may be.
fn not_there(settings: &Settings) -> Vec<String> {
    let mut found = Vec::new();
    if let PlaceSettings::Sqlite(path) = &settings.ledger.place
        && let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())
    {
        found.push(format!("the ledger's folder {} is not there; the service does not make it", folder.display()));
    }
    if let KekSettings::Environment(variable) = &settings.ledger.kek
        && std::env::var_os(variable).is_none()
    {
        found.push(format!("the variable {variable}, which is to hold the ledger's key, is not set here"));
    }
    found
}

/// The log goes to standard error.
fn start_log(level: LogLevel, format: LogFormat) {
    let log = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(level.filter())).with_target(true);
    let log = log.with_writer(io::stderr);
    match format {
        LogFormat::Json => log.json().flatten_event(true).with_current_span(false).with_span_list(false).init(),
        LogFormat::Text => log.with_ansi(false).init(),
    }
}
