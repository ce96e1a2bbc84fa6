//! Where the key of a link comes from.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vernam_etsi014::SaeId;

use super::report::Sink;
use super::section::{At, Section};
use super::values::Wrong;
use super::{files, path, values};
use crate::TlsIdentity;

/// Where the key of a link comes from.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SourceSettings {
    /// A folder of key files that something else fills.
    Directory(DirectorySource),
    /// Another 014 KME, whose SAEs the two ends of this link are.
    Upstream(UpstreamSource),
    /// The simulated quantum link.
    Simulated(SimulatedSource),
}

/// `kind = "directory"`.
#[derive(Debug, Clone, PartialEq)]
pub struct DirectorySource {
    /// The folder.
    pub folder: PathBuf,
    /// The names of its files: text with one `{}` or `{N}` (exactly N digits) for the block's number.
    pub pattern: String,
    /// Goes in front of the numbers; to be raised by one, at both ends, when they begin anew.
    pub era: u32,
    /// How often the folder is looked at.
    pub every: Duration,
    /// How long a file must have been left alone before it is taken; zero for exporters that rename.
    pub rest: Duration,
    /// The link counts as down when no file came for so long.
    pub down_after: Duration,
    /// Whether the folder's group may read and write it, for an exporter that is another user.
    pub allow_group: bool,
}

/// `kind = "upstream"`.
#[derive(Debug, Clone, PartialEq)]
pub struct UpstreamSource {
    /// `https://host:port`.
    pub url: String,
    /// Which end asks for new keys: the first ([`Side::Alice`]) as master, the other by their `key_ID`s.
    pub role: Side,
    /// Who the other end of this link is to the upstream KMEs.
    pub peer_sae: SaeId,
    /// Our certificate as an SAE of the upstream KME (chain, PEM).
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The roots of the upstream KME's certificate.
    pub roots: PathBuf,
    /// Keys are drawn when the pools hold less than so many bits,
    pub low_bits: u64,
    /// until they hold so many.
    pub high_bits: u64,
    /// How many keys make a block.
    pub keys_per_block: u32,
    /// The size of each key that is asked for, bits; `None`: what the upstream KME gives unasked.
    pub key_size: Option<u32>,
    /// How often the pools are looked at.
    pub every: Duration,
    /// How long the far end may take to collect the keys of a block.
    pub patience: Duration,
    /// The slave's end counts the link as down when the master's said nothing for so long.
    pub down_after: Duration,
}

impl UpstreamSource {
    /// Reads the certificates and the key; an error in words.
    pub fn identity(&self) -> Result<TlsIdentity, String> {
        files::identity(&self.certificate, &self.key, &self.roots)
    }
}

/// `kind = "simulated"`.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedSource {
    /// Which end of the optical line this is: Alice sends light, Bob receives it.
    pub role: Side,
    /// The end's folder, as `vernam link setup` makes it.
    pub folder: PathBuf,
    /// How the two ends come together.
    pub meeting: Meeting,
    /// Length of the fibre, km.
    pub length_km: f64,
    /// The device, by its name in `vernam link --help`; `None`: the usual one.
    pub device: Option<String>,
    /// Goes in front of the block numbers.
    pub era: u32,
}

/// Which of two ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The first.
    Alice,
    /// The second.
    Bob,
}

/// How the two ends of a simulated link come together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Meeting {
    /// The other end calls, here.
    Listen(SocketAddr),
    /// The other end is called: `host:port`.
    Dial(String),
}

#[derive(Clone, Copy)]
enum Kind {
    Directory,
    Upstream,
    Simulated,
}

const KINDS: &[(&str, Kind)] =
    &[("directory", Kind::Directory), ("upstream", Kind::Upstream), ("simulated", Kind::Simulated)];
const ENDS: &[(&str, Side)] = &[("alice", Side::Alice), ("bob", Side::Bob)];
const PARTS: &[(&str, Side)] = &[("master", Side::Alice), ("slave", Side::Bob)];

/// `[peer.source]`.
pub(super) fn read(mut section: Section<'_>, folder: &Path, sink: &mut Sink<'_>) -> Option<SourceSettings> {
    section.need(sink, "kind", "kind = \"directory\"");
    let Some(kind) = section.parsed(sink, "kind", values::one_of(KINDS)) else {
        section.rest(); // without a kind, nobody can say which keys are known
        return None;
    };
    let source = match kind.value {
        Kind::Directory => directory(&mut section, folder, sink).map(SourceSettings::Directory),
        Kind::Upstream => upstream(&mut section, folder, sink).map(SourceSettings::Upstream),
        Kind::Simulated => simulated(&mut section, folder, sink).map(SourceSettings::Simulated),
    };
    section.finish(sink);
    source
}

fn value<T>(at: Option<At<T>>) -> Option<T> {
    at.map(|at| at.value)
}

fn directory(section: &mut Section<'_>, folder: &Path, sink: &mut Sink<'_>) -> Option<DirectorySource> {
    section.need(sink, "folder", "folder = \"keys\"");
    let keys = value(path(section, sink, "folder", folder));
    let pattern = value(section.parsed(sink, "pattern", pattern));
    let era = value(section.number(sink, "era", 0..=MAX_ERA));
    let every = value(section.duration(sink, "every", Duration::from_millis(100)..=Duration::from_hours(1)));
    let rest = value(section.duration(sink, "rest", Duration::ZERO..=Duration::from_hours(1)));
    let down_after = value(section.duration(sink, "down_after", Duration::from_secs(1)..=Duration::from_hours(720)));
    let allow_group = value(section.flag(sink, "allow_group"));
    Some(DirectorySource {
        folder: keys?,
        pattern: pattern.unwrap_or_else(|| "block-{20}.key".to_owned()),
        era: era.unwrap_or(0),
        every: every.unwrap_or(Duration::from_millis(500)),
        rest: rest.unwrap_or(Duration::ZERO),
        down_after: down_after.unwrap_or(Duration::from_mins(10)),
        allow_group: allow_group.unwrap_or(false),
    })
}

/// The highest era: block numbers have room for no more.
const MAX_ERA: u32 = (1 << 21) - 1;

fn pattern(text: &str) -> Result<String, Wrong> {
    let help = "write the names of the files with {} for the number, or {20} if it always has 20 digits:                 \"block-{20}.key\"";
    let hole = text.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)));
    let fits = hole.is_some_and(|(before, (digits, after))| {
        let digits_fit = digits.is_empty() || digits.parse::<usize>().is_ok_and(|digits| (1..=20).contains(&digits));
        digits_fit && ![before, after].iter().any(|part| part.contains(['{', '}', '/'])) && !before.starts_with('.')
    });
    if fits { Ok(text.to_owned()) } else { values::wrong(format!("\u{201c}{text}\u{201d} fits no file names"), help) }
}

fn upstream(section: &mut Section<'_>, folder: &Path, sink: &mut Sink<'_>) -> Option<UpstreamSource> {
    for (key, example) in [
        ("url", "url = \"https://qkd.example:8443\""),
        ("role", "role = \"master\" (at the other end of the link: \"slave\")"),
        ("peer_sae", "peer_sae = \"kme-b\""),
        ("certificate", "certificate = \"upstream/cert.pem\""),
        ("key", "key = \"upstream/key.pem\""),
        ("roots", "roots = \"upstream/ca.pem\""),
    ] {
        section.need(sink, key, example);
    }
    let url = value(section.parsed(sink, "url", values::kme_url));
    let role = value(section.parsed(sink, "role", values::one_of(PARTS)));
    let peer_sae = value(section.parsed(sink, "peer_sae", values::sae));
    let [certificate, key, roots] = ["certificate", "key", "roots"].map(|key| value(path(section, sink, key, folder)));
    let key_size = section.number(sink, "key_size", 8..=1 << 23);
    if let Some(size) = key_size.filter(|size| size.value % 8 != 0) {
        sink.wrong(size.span, "key_size must be a multiple of 8", "sizes are in bits");
    }
    let keys_per_block = value(section.number(sink, "keys_per_block", 1..=MAX_KEYS_PER_BLOCK)).unwrap_or(128);
    let low_bits = section.number(sink, "low_bits", 1..=1 << 46);
    let high_bits = value(section.number(sink, "high_bits", 1..=1 << 46)).unwrap_or(1 << 22);
    if let Some(low) = low_bits.filter(|low| low.value > high_bits) {
        sink.wrong(low.span, format!("low_bits is above high_bits ({high_bits})"), "lower it, or raise high_bits");
    }
    let some_time = Duration::from_millis(100)..=Duration::from_hours(24);
    let [every, patience, down_after] =
        ["every", "patience", "down_after"].map(|key| value(section.duration(sink, key, some_time.clone())));
    Some(UpstreamSource {
        url: url?,
        role: role?,
        peer_sae: peer_sae?,
        certificate: certificate?,
        key: key?,
        roots: roots?,
        low_bits: value(low_bits).unwrap_or(high_bits.min(1 << 20)),
        high_bits,
        keys_per_block,
        key_size: value(key_size),
        every: every.unwrap_or(Duration::from_secs(1)),
        patience: patience.unwrap_or(Duration::from_mins(1)),
        down_after: down_after.unwrap_or(Duration::from_mins(2)),
    })
}

/// The most keys that an upstream KME is asked for at once.
const MAX_KEYS_PER_BLOCK: u32 = 4096;

fn simulated(section: &mut Section<'_>, folder: &Path, sink: &mut Sink<'_>) -> Option<SimulatedSource> {
    section.need(sink, "role", "role = \"alice\" (at the other end: \"bob\")");
    section.need(sink, "folder", "folder = \"link/alice\" (vernam link setup makes it)");
    let role = value(section.parsed(sink, "role", values::one_of(ENDS)));
    let ends_folder = value(path(section, sink, "folder", folder));
    let listen = section.parsed(sink, "listen", values::listen);
    let dial = section.parsed(sink, "dial", values::authority);
    let meeting = match (listen, dial) {
        (Some(listen), None) => Some(Meeting::Listen(listen.value)),
        (None, Some(dial)) => Some(Meeting::Dial(dial.value)),
        (Some(_), Some(dial)) => {
            sink.wrong(dial.span, "an end either listens or dials, not both", "keep one of the two");
            None
        }
        (None, None) => {
            let help = "write listen = \"0.0.0.0:7010\" at one end and dial = \"host:7010\" at the other";
            sink.wrong(section.header, "the source neither listens nor dials", help);
            None
        }
    };
    let length_km = value(section.real(sink, "length_km", 0.0..=200.0)).unwrap_or(15.0);
    let device = value(section.text(sink, "device"));
    let era = value(section.number(sink, "era", 0..=MAX_ERA)).unwrap_or(0);
    Some(SimulatedSource { role: role?, folder: ends_folder?, meeting: meeting?, length_km, device, era })
}
