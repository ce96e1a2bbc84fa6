//! `vernam kme doctor`: which KME, as whom, and how it is told.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use vernam_etsi014::SaeId;

use crate::cli::values::ranged;

const AFTER_HELP: &str = "\
Examples:
  vernam kme doctor https://kme-a.example:8443 --root ca.pem \\
      --master alice.pem alice.key --slave bob.pem bob.key --slave-url https://kme-b.example:8443
  vernam kme doctor kme.example --root ca.pem --master a.pem a.key --slave b.pem b.key --json \\
      | jq '.checks[] | select(.outcome == \"fail\")'

The checks draw real key: about 250 keys, of which the largest has the KME's max_key_size. All of it is
collected again by the slave and wiped; none is ever shown. Nothing else should draw key for these two
SAEs meanwhile. Certificates and keys are PEM files; a private key may be PKCS#8, SEC1 or PKCS#1.
A certificate of an unknown issuer is made on the spot, to see it refused.

Outcomes: pass; fail: breaks ETSI GS QKD 014 V1.1.1, or gives key away; differs: the standard leaves it
open, and clients may trip over it; skipped: could not be seen, and says why.

Exit status: 0 nothing failed; 1 some check failed; 2 wrong usage, or files that cannot be used;
3 a KME could not be reached.";

#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub(super) struct DoctorArgs {
    /// The master's KME: `https://host:port`, with a path before /api if it has one
    #[arg(value_name = "URL")]
    url: String,

    /// The slave's KME [default: the master's]
    #[arg(long, value_name = "URL", help_heading = "The KMEs")]
    slave_url: Option<String>,

    /// The certificates that sign the KMEs' certificates, PEM
    #[arg(long, value_name = "FILE", help_heading = "The KMEs")]
    root: PathBuf,

    /// The SAE that asks for keys: its certificate chain, leaf first, and its private key, PEM
    #[arg(long, num_args = 2, value_names = ["CERT", "KEY"], required = true, help_heading = "The SAEs")]
    master: Vec<PathBuf>,

    /// The SAE that collects them
    #[arg(long, num_args = 2, value_names = ["CERT", "KEY"], required = true, help_heading = "The SAEs")]
    slave: Vec<PathBuf>,

    /// A third SAE, which must not get their keys, and is the second slave of a multicast
    ///
    /// Without one, the master tries to collect its own key, and multicast is not tried.
    #[arg(long, num_args = 2, value_names = ["CERT", "KEY"], help_heading = "The SAEs")]
    third: Option<Vec<PathBuf>>,

    /// The third SAE's KME [default: the slave's]
    #[arg(long, value_name = "URL", requires = "third", help_heading = "The KMEs")]
    third_url: Option<String>,

    /// The master's ID, as its KME knows it [default: the common name of its certificate]
    #[arg(long, value_name = "ID", help_heading = "The SAEs")]
    master_id: Option<SaeId>,

    /// The slave's ID, as its KME knows it [default: the common name of its certificate]
    #[arg(long, value_name = "ID", help_heading = "The SAEs")]
    slave_id: Option<SaeId>,

    /// The third SAE's ID, as its KME knows it [default: the common name of its certificate]
    #[arg(long, value_name = "ID", requires = "third", help_heading = "The SAEs")]
    third_id: Option<SaeId>,

    /// Take all key that is in store, to see how its end is told; only where nobody else needs it
    #[arg(long, help_heading = "How")]
    drain: bool,

    /// How long to wait for an answer, 1 to 120
    #[arg(long, value_name = "SECONDS", default_value = "10", help_heading = "How",
          value_parser = ranged("s", 1.0, 120.0))]
    timeout: f64,

    /// One JSON document instead of the table
    #[arg(long, help_heading = "How")]
    json: bool,
}

/// What to check, and as whom. Every file was there to be read.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DoctorOptions {
    /// The certificates that sign the KMEs' certificates, PEM.
    pub root: PathBuf,
    /// The SAE that asks for keys.
    pub master: SaeChoice,
    /// The SAE that collects them.
    pub slave: SaeChoice,
    /// An SAE that must not get them.
    pub third: Option<SaeChoice>,
    /// Whether to take all key that is in store.
    pub drain: bool,
    /// How long to wait for an answer.
    pub timeout: Duration,
    /// Whether to write JSON.
    pub json: bool,
}

/// One SAE and its KME.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SaeChoice {
    /// Its KME's address, as it was given.
    pub url: String,
    /// Its certificate chain, PEM, leaf first.
    pub chain: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Its ID, if it is not the common name of its certificate.
    pub id: Option<SaeId>,
}

impl DoctorArgs {
    pub(super) fn validated(self) -> Result<DoctorOptions, String> {
        let slave_url = self.slave_url.unwrap_or_else(|| self.url.clone());
        let third_url = self.third_url.unwrap_or_else(|| slave_url.clone());
        let third = self.third.map(|files| SaeChoice::of(third_url, files, self.third_id)).transpose()?;
        let options = DoctorOptions {
            root: self.root,
            master: SaeChoice::of(self.url, self.master, self.master_id)?,
            slave: SaeChoice::of(slave_url, self.slave, self.slave_id)?,
            third,
            drain: self.drain,
            timeout: Duration::from_secs_f64(self.timeout),
            json: self.json,
        };
        readable(&options.root)?;
        for sae in [&options.master, &options.slave].into_iter().chain(&options.third) {
            readable(&sae.chain)?;
            readable(&sae.key)?;
        }
        if options.master.chain == options.slave.chain {
            return Err("the master and the slave must be two SAEs: give each its own certificate".to_owned());
        }
        Ok(options)
    }
}

impl SaeChoice {
    fn of(url: String, files: Vec<PathBuf>, id: Option<SaeId>) -> Result<Self, String> {
        let [chain, key] = <[PathBuf; 2]>::try_from(files)
            .map_err(|files| format!("a certificate and a key are needed, once; {} files are given", files.len()))?;
        Ok(Self { url, chain, key, id })
    }
}

fn readable(path: &Path) -> Result<(), String> {
    let shown = path.display();
    if path.is_dir() {
        return Err(format!("\u{201c}{shown}\u{201d} is a folder; a file is needed"));
    }
    std::fs::File::open(path).map_err(|error| format!("\u{201c}{shown}\u{201d} cannot be read: {error}"))?;
    Ok(())
}
