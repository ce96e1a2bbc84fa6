//! `vernam kme inspect-cert`: what a certificate says, who its holder would be, and why it would be refused.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::Path;

use anyhow::Context as _;
use rustls_pki_types::UnixTime;
use vernam_kme::{Certificate, Finding, Inspection, NameKind, inspect, read_certificates};

use super::load;

/// The longest file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Shows the certificate in `file` as the KME of `config` sees it; returns 1 if it would be refused.
pub fn run(file: &Path, config: Option<&Path>) -> anyhow::Result<u8> {
    let shown = file.display();
    let mut bytes = Vec::new();
    let opened = File::open(file).with_context(|| format!("{shown} cannot be read"))?;
    opened.take(MAX_FILE).read_to_end(&mut bytes).with_context(|| format!("{shown} cannot be read"))?;
    let chain = read_certificates(&bytes).with_context(|| format!("{shown} cannot be used"))?;
    let loaded = config.map(load).transpose()?;
    let here =
        loaded.as_ref().map(|loaded| (&loaded.settings.kme, loaded.tls.roots.as_slice(), loaded.tls.crls.as_slice()));
    let inspection = inspect(&chain, here, UnixTime::now()).with_context(|| format!("{shown} cannot be used"))?;
    show(&inspection, &mut io::stdout().lock())?;
    Ok(u8::from(inspection.is_refused()))
}

fn show(inspection: &Inspection, out: &mut impl Write) -> io::Result<()> {
    for (index, certificate) in inspection.chain.iter().enumerate() {
        if index == 0 {
            show_one(certificate, out)?;
        } else {
            writeln!(out, "with           {} (issued by {})", certificate.subject, certificate.issuer)?;
        }
    }
    if let Some(holder) = &inspection.holder {
        writeln!(out, "here           {holder}")?;
    }
    for finding in &inspection.findings {
        match finding {
            Finding::Refused(why) => writeln!(out, "REFUSED        {why}")?,
            Finding::Warning(what) => writeln!(out, "look at this   {what}")?,
            _ => {}
        }
    }
    if !inspection.is_refused() {
        let by =
            if inspection.holder.is_some() { "this KME" } else { "a KME that trusts its issuer and knows its name" };
        writeln!(out, "accepted       by {by}")?;
    }
    Ok(())
}

fn show_one(certificate: &Certificate, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "version        X.509 v{}", certificate.version)?;
    writeln!(out, "subject        {}", certificate.subject)?;
    writeln!(out, "issuer         {}", certificate.issuer)?;
    writeln!(out, "serial         {}", certificate.serial)?;
    writeln!(out, "valid          {} to {}", certificate.not_before, certificate.not_after)?;
    writeln!(out, "key            {}", certificate.key)?;
    let usages = certificate.usages.join(", ");
    writeln!(out, "usage          {}", if usages.is_empty() { "any (no extended key usage)" } else { &usages })?;
    for (kind, text) in certificate.names.iter().filter(|(kind, _)| kind.is_a_name()) {
        writeln!(out, "name           {text} ({kind})")?;
    }
    for (_, text) in certificate
        .names
        .iter()
        .filter(|(kind, _)| matches!(kind, NameKind::Fingerprint | NameKind::IssuerAndSerial | NameKind::Subject))
    {
        writeln!(out, "for the map    \"{text}\"")?;
    }
    Ok(())
}
