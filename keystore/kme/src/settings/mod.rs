//! The one configuration file of a KME, in TOML: read, checked, and every fault shown where it stands.
//!
//! [`Settings::parse`] looks at the text alone; [`Settings::load`] also reads the certificates and keys it names. Both
//! report all faults they find, each with file, line, column, the line itself, and what to write instead (a fault in the
//! syntax ends the reading, so it is reported alone). [`EXAMPLE`] shows every key with its default.
//!
//! Nothing is opened or listened to here, and no secret may stand in the file: it names where secrets are.

mod files;
mod ledger;
mod limits;
mod report;
mod section;
mod site;
mod sources;
#[cfg(test)]
mod tests;
mod values;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml_span::{ErrorKind, Span};
use vernam_etsi014::KmeId;

pub use self::files::{FileRef, TlsFiles};
pub use self::ledger::{KekSettings, LedgerSettings, PlaceSettings};
pub use self::report::{Complaint, SettingsError};
pub use self::sources::{DirectorySource, Meeting, Side, SimulatedSource, SourceSettings, UpstreamSource};

use self::files::FilesOf;
use self::report::Sink;
use self::section::{At, Section};
use crate::{KmeConfig, TlsIdentity};

/// A configuration file with every key, each with its default or an example.
pub const EXAMPLE: &str = include_str!("example.toml");

/// The longest configuration file that is read, in bytes.
const MAX_FILE: u64 = 4 << 20;

/// A whole configuration.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The KME itself.
    pub kme: KmeConfig,
    /// Where it listens for SAEs and peers.
    pub listen: SocketAddr,
    /// Its certificates.
    pub tls: TlsFiles,
    /// Its ledger.
    pub ledger: LedgerSettings,
    /// Where the key of each link comes from, by peer. A link without one waits for its key to be deposited otherwise.
    pub sources: BTreeMap<KmeId, SourceSettings>,
    /// Where metrics and health are asked for, by plain HTTP.
    pub metrics: Option<SocketAddr>,
    /// The audit trail.
    pub audit: Option<AuditSettings>,
    /// How the log looks.
    pub log: LogFormat,
}

/// The audit trail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditSettings {
    /// Its file.
    pub file: PathBuf,
    /// Whether the KME must not give out key while the trail cannot be written.
    pub required: bool,
}

/// How the log looks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// JSON, an object a line.
    Json,
}

/// A configuration whose files were read.
pub struct Loaded {
    /// The configuration.
    pub settings: Settings,
    /// The certificates it names.
    pub tls: TlsIdentity,
    /// What works, but somebody should look at.
    pub warnings: Vec<String>,
}

impl Settings {
    /// Reads the text of a configuration file. `file` is its name for messages; paths in it are relative to `folder`.
    pub fn parse(text: &str, file: &str, folder: &Path) -> Result<Self, SettingsError> {
        Self::parse_with_places(text, file, folder).map(|(settings, _places)| settings)
    }

    /// Reads a configuration file and the certificates that it names.
    pub fn load(path: &Path) -> Result<Loaded, SettingsError> {
        let file = path.display().to_string();
        let text = read_file(path, &file)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let (settings, places) = Self::parse_with_places(&text, &file, folder)?;
        let mut sink = Sink::new(&text);
        let mut warnings = Vec::new();
        let tls = settings.tls.load(&settings.kme, &places.tls, &mut sink, &mut warnings);
        settings.ledger.check_files(&places.kek, &mut sink);
        if let Some(metrics) = settings.metrics.filter(|metrics| !metrics.ip().is_loopback()) {
            warnings
                .push(format!("metrics at {metrics} are for everybody who can reach that address: no TLS, no names"));
        }
        match tls {
            Some(tls) if sink.is_empty() => Ok(Loaded { settings, tls, warnings }),
            _ => Err(sink.into_error(&file)),
        }
    }

    /// The files that should make the KME read its configuration again when they change: those that [`Self::load`]
    /// reads, except the configuration file itself.
    pub fn watched(&self) -> Vec<PathBuf> {
        self.tls.files().filter_map(|file| file.path().ok()).collect()
    }

    fn parse_with_places(text: &str, file: &str, folder: &Path) -> Result<(Self, Places), SettingsError> {
        let mut sink = Sink::new(text);
        let root = match toml_span::parse(text) {
            Ok(root) => root,
            Err(error) => {
                let (message, help) = syntax(&error, text);
                sink.wrong(error.span, message, help);
                return Err(sink.into_error(file));
            }
        };
        match read(Section::top(root), folder, &mut sink) {
            Some(read) if sink.is_empty() => Ok(read),
            _ => Err(sink.into_error(file)),
        }
    }
}

/// Where in the text the names of files stand.
struct Places {
    tls: FilesOf<Span>,
    kek: Span,
}

fn read(mut top: Section<'_>, folder: &Path, sink: &mut Sink<'_>) -> Option<(Settings, Places)> {
    let listen = top
        .need(sink, "listen", "listen = \"0.0.0.0:8443\"")
        .then(|| top.parsed(sink, "listen", values::listen))
        .flatten();
    let site = site::read(&mut top, folder, sink);
    let tls = top
        .need(sink, "tls", "[tls] with certificate, key and roots")
        .then(|| top.section(sink, "tls").and_then(|section| files::read(section, folder, sink)))
        .flatten();
    let ledger = top
        .need(sink, "ledger", "[ledger] with path = \"ledger.db\", and [ledger.kek] with file = \"kek\"")
        .then(|| top.section(sink, "ledger").and_then(|section| ledger::read(section, folder, sink)))
        .flatten();
    let limits = limits::limits(top.section(sink, "limits"), sink);
    let choices = limits::choices(top.section(sink, "choices"), sink);
    let policy = limits::policy(top.section(sink, "policy"), sink, &limits);
    let metrics = top.section(sink, "metrics").and_then(|mut section| {
        section.need(sink, "listen", "listen = \"127.0.0.1:9464\"");
        let listen = section.parsed(sink, "listen", values::listen);
        section.finish(sink);
        listen
    });
    if let (Some(metrics), Some(listen)) = (&metrics, &listen)
        && metrics.value == listen.value
        && listen.value.port() != 0
    {
        sink.wrong(metrics.span, "metrics cannot listen where the KME itself does", "give them a port of their own");
    }
    let audit = top.section(sink, "audit").and_then(|mut section| {
        section.need(sink, "file", "file = \"audit.jsonl\"");
        let file = section.text(sink, "file");
        let required = section.flag(sink, "required").is_some_and(|required| required.value);
        section.finish(sink);
        file.map(|file| AuditSettings { file: folder.join(file.value), required })
    });
    let log = top.section(sink, "log").and_then(|mut section| {
        const FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
        let format = section.parsed(sink, "format", values::one_of(FORMATS));
        section.finish(sink);
        format
    });
    top.finish(sink);
    let (site, tls, (ledger, kek)) = (site?, tls?, ledger?);
    let mut limits = limits;
    limits.max_pool_bits = ledger.limits.max_pool_bits;
    let kme = KmeConfig {
        id: site.id,
        saes: site.saes,
        certificate_names: site.certificate_names,
        peers: site.peers,
        limits,
        choices,
        policy,
    };
    let (tls, tls_places) = tls;
    let settings = Settings {
        kme,
        listen: listen?.value,
        tls,
        ledger,
        sources: site.sources,
        metrics: metrics.map(|metrics| metrics.value),
        audit,
        log: log.map(|log| log.value).unwrap_or_default(),
    };
    Some((settings, Places { tls: tls_places, kek }))
}

/// A path in the file, relative to its folder.
fn path(section: &mut Section<'_>, sink: &mut Sink<'_>, key: &'static str, folder: &Path) -> Option<At<PathBuf>> {
    let text = section.text(sink, key)?;
    if text.value.is_empty() {
        sink.wrong(
            text.span,
            format!("{key} is empty"),
            "write the path of a file, absolute or from this file's folder",
        );
        return None;
    }
    Some(text.map(|text| folder.join(text)))
}

fn read_file(path: &Path, file: &str) -> Result<String, SettingsError> {
    let unreadable = |error: &dyn std::fmt::Display, help: &str| {
        SettingsError::unreadable(file, format!("the configuration cannot be read: {error}"), help)
    };
    let help = "give the path of a configuration file; vernam kme example prints one to begin with";
    let length = fs::metadata(path).map_err(|error| unreadable(&error, help))?.len();
    if length > MAX_FILE {
        return Err(unreadable(&format!("it has {length} bytes"), "a configuration has a few hundred lines"));
    }
    fs::read_to_string(path).map_err(|error| unreadable(&error, help))
}

/// A fault in the syntax, in words.
fn syntax(error: &toml_span::Error, text: &str) -> (String, String) {
    let line_of = |span: &Span| text.get(..span.start).map_or(0, |before| before.matches('\n').count()) + 1;
    let (message, help) = match &error.kind {
        ErrorKind::DuplicateKey { key, first } => {
            (format!("{key} is here for the second time; the first is in line {}", line_of(first)), "keep one of them")
        }
        ErrorKind::DuplicateTable { name, first } => (
            format!("[{name}] is here for the second time; the first is in line {}", line_of(first)),
            "join the two; where there can be several, as for peers, write two brackets: [[peer]]",
        ),
        ErrorKind::UnquotedString => ("a text must stand in quotes".to_owned(), "write, for example: id = \"kme-a\""),
        ErrorKind::UnterminatedString => ("the quotes of this text are not closed".to_owned(), "close them: \"...\""),
        ErrorKind::InvalidNumber => {
            ("this is neither a number nor a text".to_owned(), "put a text in quotes; numbers have digits only: 65_536")
        }
        ErrorKind::UnexpectedEof => ("the file ends in the middle of something".to_owned(), "finish or remove it"),
        ErrorKind::RedefineAsArray | ErrorKind::DottedKeyInvalidType { .. } => {
            ("this was something else before".to_owned(), "write all of one name as [name] or all as [[name]]")
        }
        _ => (format!("this is no TOML: {error}"), "a line is name = value, [section], or a # comment"),
    };
    (message, help.to_owned())
}
