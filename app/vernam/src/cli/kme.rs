//! `vernam kme`: running a key management entity, and looking at any vendor's.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use self::doctor::DoctorArgs;
pub use self::doctor::{DoctorOptions, SaeChoice};

mod doctor;

pub(super) const AFTER_HELP: &str = "\
Examples:
  vernam kme setup lab                      two KMEs to try, with all they need, and what to type next
  vernam kme example > kme.toml             a configuration with every setting explained
  vernam kme check kme.toml                 is it right?
  vernam kme --config kme.toml              run it
  vernam kme inspect-cert alice.pem --config kme.toml   who would that be, and why not?";

#[derive(Debug, Args)]
pub(super) struct KmeArgs {
    #[command(subcommand)]
    command: Option<KmeCommand>,

    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum KmeCommand {
    /// Run a KME until SIGTERM or Ctrl-C; SIGHUP, or a change of its files, makes it read them anew
    Run(RunArgs),
    /// Check a configuration and the files it names, without running it
    Check(CheckArgs),
    /// Print a configuration in which every setting is explained
    Example,
    /// Make two KMEs to try, two SAEs and a quantum link, in a new folder
    Setup(SetupArgs),
    /// Show what a certificate says, who its holder would be, and why it would be refused
    InspectCert(InspectArgs),
    /// Look at an audit trail
    Audit(AuditArgs),
    /// Check any vendor's KME with two identities: round trip, replay, wrong SAE, sizes, concurrency, errors
    Doctor(DoctorArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Its configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// How the log looks [default: as the configuration says]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormatChoice>,
}

/// How the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormatChoice {
    /// Lines for people.
    Text,
    /// JSON, an object a line.
    Json,
}

#[derive(Debug, Args)]
struct CheckArgs {
    /// The configuration
    #[arg(value_name = "FILE")]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct SetupArgs {
    /// The folder to make
    #[arg(value_name = "DIR")]
    folder: PathBuf,

    /// The first of seven ports on this machine: two KMEs, their metrics, the quantum link, two telephones
    #[arg(long, value_name = "PORT", default_value_t = 8443, value_parser = clap::value_parser!(u16).range(1..=65_529))]
    port: u16,
}

#[derive(Debug, Args)]
struct InspectArgs {
    /// The certificate, or the chain: PEM or DER
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The configuration of the KME that would see it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct AuditArgs {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Find edits, deletions, moves and missing ends, and name the line
    Verify(AuditVerifyArgs),
}

#[derive(Debug, Args)]
struct AuditVerifyArgs {
    /// The trail [default: the one that the configuration names]
    #[arg(value_name = "FILE", required_unless_present = "config")]
    file: Option<PathBuf>,

    /// The configuration of the KME that wrote it, for its key; without it, only the chain is checked
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What to do with a KME.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum KmeOptions {
    /// `vernam kme run`.
    Run {
        /// The configuration.
        config: PathBuf,
        /// Instead of what it says.
        log_format: Option<LogFormatChoice>,
    },
    /// `vernam kme check`.
    Check(PathBuf),
    /// `vernam kme example`.
    Example,
    /// `vernam kme setup`.
    Setup {
        /// The folder to make.
        folder: PathBuf,
        /// The first port.
        port: u16,
    },
    /// `vernam kme inspect-cert`.
    InspectCert {
        /// The certificate.
        file: PathBuf,
        /// The KME that would see it.
        config: Option<PathBuf>,
    },
    /// `vernam kme audit verify`.
    AuditVerify {
        /// The trail; `None`: as the configuration says.
        file: Option<PathBuf>,
        /// The KME that wrote it.
        config: Option<PathBuf>,
    },
    /// `vernam kme doctor`.
    Doctor(Box<DoctorOptions>),
}

impl KmeArgs {
    pub(super) fn validated(self) -> Result<KmeOptions, (&'static [&'static str], String)> {
        Ok(match self.command {
            None => self.run.validated(&["kme"])?,
            Some(KmeCommand::Run(args)) => args.validated(&["kme", "run"])?,
            Some(KmeCommand::Check(args)) => KmeOptions::Check(args.config),
            Some(KmeCommand::Example) => KmeOptions::Example,
            Some(KmeCommand::Setup(SetupArgs { folder, port })) => KmeOptions::Setup { folder, port },
            Some(KmeCommand::InspectCert(InspectArgs { file, config })) => KmeOptions::InspectCert { file, config },
            Some(KmeCommand::Audit(AuditArgs { command: AuditCommand::Verify(args) })) => {
                KmeOptions::AuditVerify { file: args.file, config: args.config }
            }
            Some(KmeCommand::Doctor(args)) => {
                let options = args.validated().map_err(|wrong| (["kme", "doctor"].as_slice(), wrong))?;
                KmeOptions::Doctor(Box::new(options))
            }
        })
    }
}

impl RunArgs {
    fn validated(self, path: &'static [&'static str]) -> Result<KmeOptions, (&'static [&'static str], String)> {
        match self.config {
            Some(config) => Ok(KmeOptions::Run { config, log_format: self.log_format }),
            None => {
                let words = "give --config FILE to run a KME; vernam kme setup DIR makes two to try";
                Err((path, words.to_owned()))
            }
        }
    }
}
