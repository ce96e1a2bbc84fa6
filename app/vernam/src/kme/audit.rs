//! `vernam kme audit`: checks the trail that a KME wrote.

use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use vernam_etsi014::KmeId;
use vernam_kme::settings::AuditSettings;
use vernam_kme::{AUDIT_PURPOSE, Audit, AuditError, AuditReport, Broken, verify_audit};
use vernam_ledger::Kek;

use super::load;

/// Checks the trail `file`, or the one that `config` names; returns 1 if it is not as it was written.
pub fn verify(file: Option<&Path>, config: Option<&Path>) -> anyhow::Result<u8> {
    let loaded = config.map(load).transpose()?;
    let named = loaded.as_ref().and_then(|loaded| loaded.settings.audit.as_ref()).map(|audit| audit.file.as_path());
    let Some(file) = file.or(named) else {
        bail!("the configuration names no audit trail: give its file");
    };
    let kek = loaded
        .as_ref()
        .map(|loaded| loaded.settings.ledger.kek.load())
        .transpose()
        .context("no key to check it with")?;
    let checked = match &kek {
        Some(kek) => verify_audit(file, Some(&mut |salt| derive(kek, salt))),
        None => verify_audit(file, None),
    };
    let mut out = io::stdout().lock();
    let shown = file.display();
    match checked {
        Ok(report) => {
            tell(&report, &format!("{shown}"), &mut out)?;
            Ok(0)
        }
        Err(Broken::Trail(error)) => Err(error.into()),
        Err(broken) => {
            writeln!(out, "BROKEN         {shown}: {broken}")?;
            Ok(1)
        }
    }
}

fn tell(report: &AuditReport, file: &str, out: &mut impl io::Write) -> io::Result<()> {
    writeln!(out, "whole          {file}: {} lines", report.lines)?;
    writeln!(out, "last line      SHA-256 {}", report.hash)?;
    if report.torn > 0 {
        writeln!(out, "look at this   it ends in {} bytes of a line that was not finished: a crash", report.torn)?;
    }
    if !report.has_head {
        writeln!(out, "look at this   there is no .head file: lines that were cut off at the end would not be missed")?;
    }
    if !report.has_key {
        writeln!(out, "look at this   without --config only the chain was checked, which anybody can compute anew")?;
    }
    Ok(())
}

/// Opens the trail for writing, under a key of the ledger's key-encryption key.
pub(super) fn open(settings: &AuditSettings, kme: &KmeId, kek: &Kek) -> Result<Audit, AuditError> {
    Audit::open(&settings.file, kme, &mut |salt| derive(kek, salt))
}

fn derive(kek: &Kek, salt: &[u8; 16]) -> Result<vernam_key::SecretBytes, String> {
    kek.derive(AUDIT_PURPOSE, salt).map_err(|error| error.to_string())
}
