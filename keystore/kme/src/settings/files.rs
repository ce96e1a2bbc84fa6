//! The files that a configuration names: certificates, private keys, secrets.

use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use toml_span::Span;
use vernam_key::SecretBytes;
use vernam_ledger::{Kek, KekError};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};
use zeroize::Zeroizing;

use super::report::Sink;
use super::section::{At, Section};
use super::values;
use crate::identity::{Finding, inspect, read_certificates};
use crate::{KmeConfig, TlsIdentity, tls};

/// What stands before the name of a credential.
const CREDENTIAL: &str = "credential:";
/// Where systemd puts credentials (systemd.exec(5), `LoadCredential=`).
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";
/// The longest file of certificates or lists, in bytes.
const MAX_PUBLIC: u64 = 16 << 20;
/// The longest file with a secret, in bytes.
const MAX_PRIVATE: u64 = 64 << 10;

/// A file that a configuration names: by its path, or as a credential that the service manager hands over
/// (`credential:NAME`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileRef {
    /// By its path.
    Path(PathBuf),
    /// By the name of a credential of systemd.
    Credential(String),
}

impl fmt::Display for FileRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Credential(name) => write!(f, "{CREDENTIAL}{name}"),
        }
    }
}

impl FileRef {
    /// Where it is; an error in words if it is a credential and there are none.
    pub fn path(&self) -> Result<PathBuf, String> {
        match self {
            Self::Path(path) => Ok(path.clone()),
            Self::Credential(name) => match std::env::var_os(CREDENTIALS_DIRECTORY) {
                Some(folder) => Ok(Path::new(&folder).join(name)),
                None => Err(format!(
                    "there are no credentials here: start it by systemd with LoadCredential={name}:/path/of/the/file, \
                     or name the file's path"
                )),
            },
        }
    }

    /// Whether it cannot be looked at here, but may be where the service runs.
    fn is_out_of_reach(&self) -> bool {
        matches!(self, Self::Credential(_)) && self.path().is_err()
    }

    fn read_public(&self) -> Result<Vec<u8>, String> {
        let path = self.path()?;
        let failed = |error: std::io::Error| format!("{self} cannot be read: {error}");
        let file = File::open(&path).map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(MAX_PUBLIC + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > MAX_PUBLIC {
            return Err(format!("{self} is too long to be what it should"));
        }
        Ok(bytes)
    }

    /// Whether nobody but its owner, and at most its group, can read it. Credentials are closed by their folder.
    pub(super) fn check_private(&self) -> Result<(), String> {
        // The group may read: Debian keeps private keys readable by a group, ssl-cert.
        self.check_closed_to(0o037)
    }

    /// Whether its owner alone can read it, as the ledger wants of its key-encryption key.
    pub(super) fn check_owners_only(&self) -> Result<(), String> {
        self.check_closed_to(0o077)
    }

    fn check_closed_to(&self, others: u32) -> Result<(), String> {
        if self.is_out_of_reach() {
            return Ok(());
        }
        let path = self.path()?;
        let about = fs::metadata(&path).map_err(|error| format!("{self} cannot be read: {error}"))?;
        let mode = about.permissions().mode() & 0o7777;
        if matches!(self, Self::Path(_)) && mode & others != 0 {
            return Err(format!(
                "others may read or change {self} (mode {mode:04o}): chmod 600 it, and if others had \
                                access, make a new one"
            ));
        }
        Ok(())
    }

    /// A whole file with a secret.
    pub(super) fn read_private(&self) -> Result<SecretBytes, KekError> {
        let failed = |reason: String| KekError::Read { from: self.to_string(), reason };
        self.check_private().map_err(failed)?;
        let file = File::open(self.path().map_err(failed)?).map_err(|error| failed(error.to_string()))?;
        let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
        file.take(MAX_PRIVATE + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
        if bytes.len() as u64 > MAX_PRIVATE {
            return Err(failed("it is too long".to_owned()));
        }
        Ok(SecretBytes::copy_of(&bytes))
    }

    /// The key-encryption key in it.
    pub(super) fn read_kek(&self) -> Result<Kek, KekError> {
        match self {
            Self::Path(path) => Kek::from_file(path),
            Self::Credential(_) => {
                let path = self.path().map_err(|reason| KekError::Read { from: self.to_string(), reason })?;
                Kek::from_credential(&path)
            }
        }
    }
}

/// A file, relative to the configuration's folder, or a credential.
pub(super) fn file_ref(
    section: &mut Section<'_>,
    sink: &mut Sink<'_>,
    key: &'static str,
    folder: &Path,
) -> Option<At<FileRef>> {
    section.parsed(sink, key, |text| reference(text, folder))
}

fn reference(text: &str, folder: &Path) -> Result<FileRef, values::Wrong> {
    match text.strip_prefix(CREDENTIAL) {
        Some(name) if name.is_empty() || name.contains('/') || name.starts_with('.') => {
            values::wrong("this is no name of a credential", "write \"credential:NAME\" as in LoadCredential=NAME:...")
        }
        Some(name) => Ok(FileRef::Credential(name.to_owned())),
        None if text.is_empty() => {
            values::wrong("this is empty", "write the path of a file, absolute or from this file's folder")
        }
        None => Ok(FileRef::Path(folder.join(text))),
    }
}

/// The certificates of a KME.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Our certificate chain, leaf first.
    pub certificate: FileRef,
    /// Our private key.
    pub key: FileRef,
    /// The roots that sign the certificates of SAEs and peers.
    pub roots: FileRef,
    /// Revocation lists.
    pub crls: Vec<FileRef>,
}

/// The same for each of the [`TlsFiles`].
pub(super) struct FilesOf<T> {
    certificate: T,
    key: T,
    roots: T,
    crls: Vec<T>,
}

/// `[tls]`.
pub(super) fn read(mut section: Section<'_>, folder: &Path, sink: &mut Sink<'_>) -> Option<(TlsFiles, FilesOf<Span>)> {
    section.need(sink, "certificate", "certificate = \"cert.pem\" (the chain, our own first)");
    section.need(sink, "key", "key = \"key.pem\" (mode 0600)");
    section.need(sink, "roots", "roots = \"ca.pem\"");
    let [certificate, key, roots] =
        ["certificate", "key", "roots"].map(|key| file_ref(&mut section, sink, key, folder));
    let crls = section.list(sink, "crl", |text| reference(text, folder)).unwrap_or_default();
    section.finish(sink);
    let (certificate, key, roots) = (certificate?, key?, roots?);
    let places = FilesOf {
        certificate: certificate.span,
        key: key.span,
        roots: roots.span,
        crls: crls.iter().map(|crl| crl.span).collect(),
    };
    let crls = crls.into_iter().map(|crl| crl.value).collect();
    let files = TlsFiles { certificate: certificate.value, key: key.value, roots: roots.value, crls };
    Some((files, places))
}

impl TlsFiles {
    /// All of them.
    pub(super) fn files(&self) -> impl Iterator<Item = &FileRef> {
        [&self.certificate, &self.key, &self.roots].into_iter().chain(&self.crls)
    }

    /// Reads them, and sees whether they fit together and the KME. `None` if something was wrong.
    pub(super) fn load(
        &self,
        config: &KmeConfig,
        places: &FilesOf<Span>,
        sink: &mut Sink<'_>,
        warnings: &mut Vec<String>,
    ) -> Option<TlsIdentity> {
        let now = UnixTime::now();
        let chain = certificates(&self.certificate, places.certificate, sink);
        let roots = certificates(&self.roots, places.roots, sink);
        let key = private_key(&self.key, places.key, sink);
        let crls: Option<Vec<_>> = self
            .crls
            .iter()
            .zip(&places.crls)
            .map(|(file, place)| revocation_list(file, *place, sink, warnings, now))
            .collect();
        if let Some(chain) = &chain {
            check_own(config, chain, places.certificate, sink, warnings, now);
        }
        let tls = TlsIdentity { roots: roots?, chain: chain?, key: key?, crls: crls? };
        if let Err(error) = tls::verifier(&tls.roots, &[]) {
            sink.wrong(places.roots, error.to_string(), "give roots as PEM: -----BEGIN CERTIFICATE-----");
            return None;
        }
        if let Err(error) = tls::verifier(&tls.roots, &tls.crls) {
            let place = places.crls.first().copied().unwrap_or(places.roots);
            sink.wrong(place, error.to_string(), "fetch the list anew from its issuer");
            return None;
        }
        if let Err(error) = tls::server_config(&tls) {
            sink.wrong(places.key, error.to_string(), "give the private key that was made for this certificate");
            return None;
        }
        Some(tls)
    }
}

fn certificates(file: &FileRef, place: Span, sink: &mut Sink<'_>) -> Option<Vec<CertificateDer<'static>>> {
    if file.is_out_of_reach() {
        sink.wrong(place, format!("{file} is not a credential here"), "certificates are no secrets: name their paths");
        return None;
    }
    let bytes = file.read_public().map_err(|error| sink.wrong(place, error, "")).ok()?;
    match read_certificates(&bytes) {
        Ok(chain) => Some(chain),
        Err(error) => {
            sink.wrong(place, format!("{file} cannot be used: {error}"), "");
            None
        }
    }
}

fn private_key(file: &FileRef, place: Span, sink: &mut Sink<'_>) -> Option<PrivateKeyDer<'static>> {
    let bytes = match file.read_private() {
        Ok(bytes) => bytes,
        Err(KekError::Read { reason, .. }) => {
            sink.wrong(place, reason, "");
            return None;
        }
        Err(error) => {
            sink.wrong(place, error.to_string(), "");
            return None;
        }
    };
    let key = key_of(bytes.expose("the private key of the KME's certificate"));
    if key.is_none() {
        let help = "give a private key without a passphrase, as PEM (-----BEGIN PRIVATE KEY-----) or DER";
        sink.wrong(place, format!("{file} holds no private key that can be used"), help);
    }
    key
}

fn revocation_list(
    file: &FileRef,
    place: Span,
    sink: &mut Sink<'_>,
    warnings: &mut Vec<String>,
    now: UnixTime,
) -> Option<CertificateRevocationListDer<'static>> {
    let bytes = file.read_public().map_err(|error| sink.wrong(place, error, "")).ok()?;
    let list = CertificateRevocationListDer::from_pem_slice(&bytes)
        .unwrap_or_else(|_no_pem| CertificateRevocationListDer::from(bytes));
    let Ok((_, parsed)) = CertificateRevocationList::from_der(&list) else {
        let help = "give a list (CRL) as PEM (-----BEGIN X509 CRL-----) or DER";
        sink.wrong(place, format!("{file} holds no revocation list"), help);
        return None;
    };
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if let Some(next) = parsed.next_update().filter(|next| next.timestamp() < now) {
        warnings.push(format!("the revocation list {file} was to be renewed by {next}: fetch a new one"));
    }
    Some(list)
}

/// Whether others will take our own certificate for what it is.
fn check_own(
    config: &KmeConfig,
    chain: &[CertificateDer<'static>],
    place: Span,
    sink: &mut Sink<'_>,
    warnings: &mut Vec<String>,
    now: UnixTime,
) {
    let inspection = match inspect(chain, None, now) {
        Ok(inspection) => inspection,
        Err(error) => return sink.wrong(place, error.to_string(), ""),
    };
    for finding in &inspection.findings {
        match finding {
            Finding::Refused(why) => sink.wrong(place, format!("nobody will accept this certificate: {why}"), ""),
            Finding::Warning(what) => warnings.push(format!("our own certificate: {what}")),
        }
    }
    let Some(leaf) = inspection.chain.first() else { return };
    if !leaf.usages.is_empty() && !leaf.usages.iter().any(|usage| usage == "serverAuth") {
        let message = "the certificate's extended key usage does not allow serverAuth";
        sink.wrong(place, message, "a KME needs serverAuth and clientAuth: issue it with both");
    }
    let id = config.id.as_str();
    if !leaf.names.iter().any(|(kind, text)| kind.is_a_name() && text == id) && !config.peers.is_empty() {
        let message = format!("the certificate does not carry our ID, {id}, by which the peers know us");
        sink.wrong(place, message, format!("issue it with {id} as common name or as DNS alternative name"));
    }
}

/// Certificate chain, private key and roots, for a client whose files have no place in a [`TlsFiles`] of the KME's own.
pub(super) fn identity(certificate: &Path, key: &Path, roots: &Path) -> Result<TlsIdentity, String> {
    let chain_of = |path: &Path| {
        let bytes = FileRef::Path(path.to_owned()).read_public()?;
        read_certificates(&bytes).map_err(|error| format!("{} cannot be used: {error}", path.display()))
    };
    let secret = FileRef::Path(key.to_owned()).read_private().map_err(|error| error.to_string())?;
    let key = key_of(secret.expose("the private key of a client's certificate"))
        .ok_or_else(|| format!("{} holds no private key that can be used", key.display()))?;
    Ok(TlsIdentity { roots: chain_of(roots)?, chain: chain_of(certificate)?, key, crls: Vec::new() })
}

/// A private key in PEM or DER.
fn key_of(bytes: &[u8]) -> Option<PrivateKeyDer<'static>> {
    let pem = PrivateKeyDer::from_pem_slice(bytes).ok();
    pem.or_else(|| PrivateKeyDer::try_from(bytes.to_vec()).ok())
}
