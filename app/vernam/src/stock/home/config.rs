//! What a person's `home.toml` says, and where it is wrong.
//!
//! ```text
//!   name = "alice"                   optional: the name in the certificate
//!   listen = "0.0.0.0:7890"          where contacts reach us
//!   [identity] cert, key, root       PEM; who we are for contacts
//!   [kme] url, cert, key, root       where key comes from
//!   [sound] microphone, speaker, ringer, headphones, echo_cancelling, high_pass,
//!           noise_suppression, gain_control, profile
//!   [[contact]] name, address, policy, keys, stock
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use toml::Spanned;
use vernam_etsi014::{KmeClient, SaeId};
use vernam_quic::QuicIdentity;
use vernam_store::MAX_CONTACT_BYTES;

use super::read_bounded;
use crate::complaint;

/// Contacts of one person; each costs a store folder and a place in every list.
const MAX_CONTACTS: usize = 1_000;
/// Bytes of the longest PEM file that is read: hundreds of certificates.
const MAX_PEM: u64 = 1 << 20;
/// Characters of what is said about it: a name that is wrong may be as long as the file.
const MAX_MESSAGE: usize = 1_000;
/// Characters of a line that are shown beside what is wrong in it.
const MAX_EXCERPT: usize = 120;

/// What `home.toml` says. Files are looked for in the home.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HomeConfig {
    /// The person's name, as contacts know it (its SAE ID).
    pub name: Option<String>,
    /// Where contacts reach us.
    pub listen: Option<SocketAddr>,
    /// Who we are for contacts.
    pub identity: Option<IdentityConfig>,
    /// Where keys come from, if from a KME.
    pub kme: Option<KmeConfig>,
    /// Microphone, loudspeaker, ringer, and what is done to the voice.
    #[serde(default)]
    pub sound: SoundConfig,
    /// Who may talk to us.
    #[serde(default, rename = "contact")]
    pub contacts: Vec<ContactConfig>,
}

/// Our certificate for contacts. Files are looked for in the home.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfig {
    /// Our certificate and any intermediates, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The certificates that sign the contacts', PEM.
    pub root: PathBuf,
}

/// A KME and who we are for it. Files are looked for in the home.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KmeConfig {
    /// `https://HOST:PORT`.
    pub url: String,
    /// Our certificate, PEM.
    pub cert: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The certificates that sign the KME's, PEM.
    pub root: PathBuf,
}

/// The devices, and what is done to the voice.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch")]
pub struct SoundConfig {
    /// An id or name as `vernam devices` has it, `default` or `off`.
    pub microphone: String,
    /// The same for the loudspeaker.
    pub speaker: String,
    /// The same for where it rings.
    pub ringer: String,
    /// Whether the microphone cannot hear the loudspeaker.
    pub headphones: bool,
    /// Takes the loudspeaker's sound out of the microphone's; nothing to do with headphones.
    pub echo_cancelling: bool,
    /// Takes out what is too low for a voice: steps, wind, hum.
    pub high_pass: bool,
    /// Takes noise out.
    pub noise_suppression: bool,
    /// Evens the loudness out.
    pub gain_control: bool,
    /// How the voice is coded.
    pub profile: Profile,
}

impl Default for SoundConfig {
    fn default() -> Self {
        let device = || "default".to_owned();
        Self {
            microphone: device(),
            speaker: device(),
            ringer: device(),
            headphones: false,
            echo_cancelling: true,
            high_pass: true,
            noise_suppression: false,
            gain_control: true,
            profile: Profile::Auto,
        }
    }
}

/// How the voice is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Profile {
    /// As the suite, the network and the key in stock have it.
    #[default]
    Auto,
    /// 32 kb/s, 20 ms.
    Standard,
    /// 48 kb/s, 10 ms.
    LowDelay,
    /// 48 kb/s, 20 ms, with more that mends lost packets.
    HardNetwork,
    /// 16 kb/s, 20 ms: spends little key.
    OneTimePad,
}

/// Somebody who may talk to us.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContactConfig {
    /// The name in its certificate (its SAE ID).
    pub name: Spanned<ContactName>,
    /// Where it listens, looked up at each call. Without one it can only call us.
    pub address: Option<Address>,
    /// What may protect calls with it.
    #[serde(default)]
    pub policy: ContactPolicy,
    /// Where the key shared with it comes from.
    #[serde(default)]
    pub keys: KeysFrom,
    /// Megabytes of key for what we say that are kept ready.
    #[serde(default)]
    pub stock: StockMegabytes,
}

/// A name that a certificate can have.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ContactName(String);

impl TryFrom<String> for ContactName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        match SaeId::new(&name) {
            Ok(_fits) if name.len() > MAX_CONTACT_BYTES => {
                Err(format!("a contact's name has at most {MAX_CONTACT_BYTES} bytes"))
            }
            Ok(_fits) => Ok(Self(name)),
            Err(error) => Err(format!("this cannot be a contact's name: {error}")),
        }
    }
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Address(String);

impl TryFrom<String> for Address {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let fits = text.rsplit_once(':').is_some_and(|(host, port)| {
            let bracketed = host.starts_with('[') && host.ends_with(']');
            let bare = !host.is_empty() && !host.contains([':', ' ', '/', '[']);
            (bracketed || bare) && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if fits {
            return Ok(Self(text));
        }
        Err(format!("\u{201c}{text}\u{201d} is no host and port: write it like bob.example:7890 or [2001:db8::1]:7890"))
    }
}

/// What may protect a contact's calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContactPolicy {
    /// One-time pad and nothing less: a call ends when the pad does.
    OtpOnly,
    /// One-time pad while there is some; anything less only after a yes, each time.
    #[default]
    PreferOtp,
    /// A fresh AES key a minute; one-time pad when somebody asks for it.
    Aes,
}

/// Where the key shared with a contact comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeysFrom {
    /// The KME of `[kme]`.
    #[default]
    Kme,
    /// A pad that was carried by hand (`vernam pad import`).
    Pad,
}

/// Megabytes of key that are kept ready for what we say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u64")]
pub struct StockMegabytes(u64);

impl Default for StockMegabytes {
    /// About half an hour of talk under one-time pad.
    fn default() -> Self {
        Self(4)
    }
}

impl TryFrom<u64> for StockMegabytes {
    type Error = String;

    fn try_from(megabytes: u64) -> Result<Self, String> {
        match megabytes {
            1..=10_000 => Ok(Self(megabytes)),
            _ => Err("stock is a number of megabytes from 1 to 10000".to_owned()),
        }
    }
}

impl ContactConfig {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name.get_ref().0
    }

    /// Where it listens, as `HOST:PORT`.
    pub fn address(&self) -> Option<&str> {
        self.address.as_ref().map(|address| address.0.as_str())
    }

    /// Bytes of key that are kept ready for what we say.
    pub fn stock_bytes(&self) -> u64 {
        self.stock.0 * 1_000_000
    }
}

impl HomeConfig {
    /// Files that were named are files of the home.
    pub(super) fn place_in(&mut self, dir: &Path) {
        let identity = self.identity.iter_mut().flat_map(|of| [&mut of.cert, &mut of.key, &mut of.root]);
        let kme = self.kme.iter_mut().flat_map(|of| [&mut of.cert, &mut of.key, &mut of.root]);
        for file in identity.chain(kme) {
            *file = dir.join(&file);
        }
    }

    /// The contact of this name.
    pub fn contact(&self, name: &str) -> Option<&ContactConfig> {
        self.contacts.iter().find(|contact| contact.name() == name)
    }
}

impl KmeConfig {
    /// A client for it.
    ///
    /// # Errors
    /// If a file cannot be read or is not what it should be.
    pub fn client(&self) -> anyhow::Result<KmeClient> {
        Ok(KmeClient::from_pem(&self.url, &read_file(&self.root)?, &read_file(&self.cert)?, &read_file(&self.key)?)?)
    }
}

impl IdentityConfig {
    /// Our certificate and key, and the roots of the contacts' certificates.
    ///
    /// # Errors
    /// If a file cannot be read or is not what it should be.
    pub fn load(&self) -> anyhow::Result<(QuicIdentity, Vec<CertificateDer<'static>>)> {
        let key = zeroize::Zeroizing::new(read_file(&self.key)?);
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|error| anyhow!("{} holds no private key in PEM: {error}", self.key.display()))?;
        let identity = QuicIdentity { chain: certificates(&self.cert)?, key };
        Ok((identity, certificates(&self.root)?))
    }
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let pem = read_file(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_none) => Err(anyhow!("{} holds no certificate in PEM", path.display())),
        Err(error) => Err(anyhow!("{} cannot be read as certificates in PEM: {error}", path.display())),
    }
}

fn read_file(path: &Path) -> anyhow::Result<Vec<u8>> {
    read_bounded(path, MAX_PEM)?.with_context(|| format!("there is no file {}", path.display()))
}

/// Where a text is wrong, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    line: usize,
    column: usize,
    /// The line, with a mark below the fault.
    excerpt: String,
    message: String,
}

impl Wrong {
    fn at(text: &str, start: usize, message: impl Into<String>) -> Self {
        let before = text.get(..start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let (line, column) = (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1);
        let whole = text[line_start..].lines().next().unwrap_or_default();
        // Of a line without an end the part with the fault.
        let skipped = if column > MAX_EXCERPT { column - MAX_EXCERPT / 2 } else { 0 };
        let shown: String = whole.chars().skip(skipped).take(MAX_EXCERPT).collect();
        let gutter = " ".repeat(line.to_string().len());
        let mark = " ".repeat(column - 1 - skipped);
        let excerpt = format!("{gutter} |\n{line} | {}\n{gutter} | {mark}^", complaint::one_line(&shown));
        let message: String = message.into().chars().take(MAX_MESSAGE).collect();
        Self { line, column, excerpt, message }
    }

    pub(super) fn in_file(&self, path: &Path) -> anyhow::Error {
        anyhow!("{}:{self}", path.display())
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}\n{}", self.line, self.column, self.message, self.excerpt)
    }
}

/// Reads the settings, and checks what belongs together.
pub(super) fn read(text: &str) -> Result<HomeConfig, Wrong> {
    let config: HomeConfig = toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        Wrong::at(text, start, error.message().trim())
    })?;
    let mut seen = BTreeMap::new();
    for contact in &config.contacts {
        let start = contact.name.span().start;
        let wrong = |message: String| Err(Wrong::at(text, start, message));
        let name = contact.name();
        if let Some(first) = seen.insert(name, start) {
            let line = text[..first].matches('\n').count() + 1;
            return wrong(format!("there is a contact {name} in line {line} already: keep one of them"));
        }
        if config.name.as_deref() == Some(name) {
            return wrong(format!("{name} is the name of this home itself: a contact is somebody else"));
        }
        if contact.keys == KeysFrom::Kme && config.kme.is_none() {
            return wrong(format!(
                "key shared with {name} is to come from a KME, and there is no [kme]: add it, or write keys = \"pad\""
            ));
        }
        if seen.len() > MAX_CONTACTS {
            return wrong(format!("there are more than {MAX_CONTACTS} contacts"));
        }
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
name = "alice"
listen = "0.0.0.0:7890"

[identity]
cert = "cert.pem"
key = "key.pem"
root = "ca.pem"

[kme]
url = "https://localhost:8443"
cert = "cert.pem"
key = "key.pem"
root = "ca.pem"

[sound]
microphone = "off"
headphones = true
profile = "low-delay"

[[contact]]
name = "bob"
address = "bob.example:7890"
policy = "otp-only"
stock = 20

[[contact]]
name = "carol"
keys = "pad"
"#;

    #[test]
    fn everything_can_be_said() {
        let mut config = read(WHOLE).unwrap_or_else(|wrong| panic!("{wrong}"));
        config.place_in(Path::new("/a"));
        assert_eq!(config.identity.as_ref().map(|identity| identity.key.as_path()), Some(Path::new("/a/key.pem")));
        assert_eq!(config.listen, Some(([0, 0, 0, 0], 7890).into()));
        assert!(config.sound.headphones && config.sound.echo_cancelling && config.sound.gain_control);
        assert_eq!((config.sound.microphone.as_str(), config.sound.profile), ("off", Profile::LowDelay));
        let bob = config.contact("bob").expect("bob is there");
        assert_eq!((bob.address(), bob.policy), (Some("bob.example:7890"), ContactPolicy::OtpOnly));
        assert_eq!((bob.stock_bytes(), bob.keys), (20_000_000, KeysFrom::Kme));
        let carol = config.contact("carol").expect("carol is there");
        assert_eq!((carol.address(), carol.policy, carol.keys), (None, ContactPolicy::PreferOtp, KeysFrom::Pad));
        assert_eq!(read(""), Ok(HomeConfig::default()));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let swapped = |from: &str, to: &str| {
            let text = WHOLE.replacen(from, to, 1);
            assert_ne!(text, WHOLE, "{from}");
            read(&text).expect_err("it is wrong")
        };
        let cases = [
            ("listen = \"0.0.0.0:7890\"", "listen = \"7890\"", 3, "socket address"),
            ("policy = \"otp-only\"", "policy = \"otp\"", 24, "otp-only"),
            ("bob.example:7890", "bob.example", 23, "host and port"),
            ("name = \"carol\"", "name = \"bob\"", 28, "in line 22 already"),
            ("name = \"carol\"", "name = \"alice\"", 28, "somebody else"),
            ("keys = \"pad\"", "keys = \"usb\"", 29, "pad"),
            ("stock = 20", "stock = 0", 25, "megabytes"),
            ("headphones = true", "headfones = true", 18, "unknown field"),
            ("headphones = true", "headphones = \"yes\"", 18, "boolean"),
            ("profile = \"low-delay\"", "profile = \"fast\"", 19, "low-delay"),
            ("name = \"bob\"", "name = \"\"", 22, "contact's name"),
            ("[kme]", "[kme", 10, "table"),
        ];
        for (from, to, line, word) in cases {
            let wrong = swapped(from, to);
            assert!(wrong.line == line && wrong.message.contains(word), "{from} -> {to}:\n{wrong}");
        }
        let without = WHOLE.split("[kme]").next().unwrap_or_default().to_owned() + "[[contact]]\nname = \"bob\"\n";
        let wrong = read(&without).expect_err("no KME");
        assert!(wrong.message.contains("keys = \"pad\""), "{wrong}");
        assert!(wrong.in_file(Path::new("home.toml")).to_string().starts_with("home.toml:11:8: key shared"), "{wrong}");
    }
}
