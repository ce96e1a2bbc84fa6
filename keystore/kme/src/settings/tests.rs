//! The configuration file as operators get it wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, date_time_ymd};
use vernam_ca::LabCa;

use super::*;
use crate::testing::{kme, sae};
use crate::{Choices, Limits, PolicyConfig};

const GOOD: &str = r#"id = "kme-a"
listen = "127.0.0.1:8443"
saes = ["alice"]
[tls]
certificate = "cert.pem"
key = "key.pem"
roots = "ca.pem"
[[peer]]
id = "kme-b"
address = "localhost:9443"
saes = ["bob"]
[ledger]
path = "ledger.db"
[ledger.kek]
file = "kek"
"#;

fn parse(text: &str) -> Result<Settings, SettingsError> {
    Settings::parse(text, "kme.toml", Path::new("/etc/kme"))
}

/// What is said of `GOOD` with `old` replaced by `new`.
fn said(old: &str, new: &str) -> String {
    assert!(GOOD.contains(old), "{old}");
    parse(&GOOD.replacen(old, new, 1)).unwrap_err().to_string()
}

/// All lines of the example in force.
fn whole_example() -> String {
    let is_setting = |line: &&str| line.starts_with('#') && !line.starts_with("# ") && line.len() > 1;
    EXAMPLE
        .lines()
        .map(|line| if is_setting(&line) { &line[1..] } else { line })
        .map(|line| line.to_owned() + "\n")
        .collect()
}

#[test]
fn the_example_can_be_used_as_it_is() {
    let settings = parse(EXAMPLE).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((settings.kme.id.as_str(), settings.kme.peers.len()), ("kme-a", 1));
    assert_eq!(settings.tls.key, FileRef::Path("/etc/kme/key.pem".into()));
    assert!(matches!(settings.sources.get(&kme("kme-b")), Some(SourceSettings::Directory(_))));
}

#[test]
fn every_setting_that_the_example_shows_exists_and_the_defaults_are_true() {
    let settings = parse(&whole_example()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(format!("{:?}", settings.kme.limits), format!("{:?}", Limits::default()));
    assert_eq!(settings.kme.choices, Choices::default());
    let plain = parse(EXAMPLE).unwrap();
    assert_eq!(format!("{:?}", settings.ledger), format!("{:?}", plain.ledger));
    assert_eq!(settings.sources, plain.sources);
    assert_eq!(settings.kme.policy.fair_window, PolicyConfig::default().fair_window);
    assert_eq!(settings.kme.policy.default.burst_bits, PolicyConfig::default().default.burst_bits);
    assert!(settings.kme.policy.saes[&sae("alice")].may_use_reserve);
    assert_eq!(settings.kme.policy.saes[&sae("alice")].daily_bits, Some(1_000_000_000), "from the default");
    assert_eq!(settings.kme.certificate_names["CN=phone-18,O=Example"], sae("erin"));
    assert_eq!(settings.log, plain.log);
    assert!(settings.metrics.is_some() && settings.audit.is_some());
}

#[test]
fn nothing_but_the_essentials_must_be_said() {
    let settings = parse(GOOD).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(settings.kme.policy, PolicyConfig::default());
    assert_eq!(settings.ledger.place, PlaceSettings::Sqlite("/etc/kme/ledger.db".into()));
    assert!(settings.metrics.is_none() && settings.audit.is_none() && settings.sources.is_empty());
}

#[test]
fn each_fault_is_shown_where_it_stands_with_what_to_write() {
    for (old, new, words) in [
        ("listen = ", "lisen = ", ["kme.toml:2:1: unknown key \u{201c}lisen\u{201d}; did you mean listen?", "^^^^^"]),
        ("id = \"kme-a\"\n", "", ["kme.toml:1:1: id is missing in the file", "id = \"kme-a\""]),
        (
            "\"127.0.0.1:8443\"",
            "8443",
            ["2:10: listen must be a text in quotes, not a whole number", "listen = \"...\""],
        ),
        ("\"127.0.0.1:8443\"", "\"localhost\"", ["2:11: \u{201c}localhost\u{201d} is no address", "0.0.0.0:8443"]),
        ("[\"alice\"]", "\"alice\"", ["3:", "saes must be a list, not a text"]),
        ("[\"alice\"]", "[\"alice\", \"alice\"]", ["3:19: SAE alice is listed twice served here", "list it once"]),
        ("[\"bob\"]", "[\"alice\"]", ["11:10: SAE alice is both served here and behind kme-b", "one KME"]),
        ("\"kme-b\"", "\"kme-a\"", ["9:7: this peer has our own ID, kme-a", "of its own"]),
        ("localhost:9443", "https://localhost:9443", ["10:", "without https://"]),
        ("[[peer]]", "[peer]", ["8:2: peer must be a list of tables, not a table", "[[peer]]"]),
        ("certificate = \"cert.pem\"\n", "", ["certificate is missing in [tls]", "4:2"]),
        (
            "path = \"ledger.db\"",
            "path = \"ledger.db\"\nkeep_for = 30",
            ["14:12: keep_for must be a length of time", "30d"],
        ),
        (
            "path = \"ledger.db\"",
            "path = \"ledger.db\"\nkeep_for = \"3w\"",
            ["14:13: \u{201c}3w\u{201d} is no length", "or d"],
        ),
        (
            "path = \"ledger.db\"",
            "kind = \"oracle\"",
            ["13:9: \u{201c}oracle\u{201d} is not known", "\"sqlite\" or \"postgres\""],
        ),
        ("file = \"kek\"", "", ["14:9: [ledger.kek] does not say where", "passphrase_fd"]),
        ("file = \"kek\"", "file = \"kek\"\nenvironment = \"KEK\"", ["16:16", "keep one of them"]),
        ("[ledger]", "[limits]\nkey_size = 12\n[ledger]", ["13:12: key_size must be a multiple of 8", "write 8 or 16"]),
        ("[ledger]", "[limits]\nkey_size = 131_072\n[ledger]", ["13:12: min_key_size (8), key_size (131072)", "lower"]),
        ("[ledger]", "[limits]\nmax_body_bytes = 1\n[ledger]", ["13:18: max_body_bytes is out of range", "1024 to"]),
        ("[ledger]", "[choices]\npreset = \"strikt\"\n[ledger]", ["13:11", "\"lenient\" or \"strict\""]),
        ("[ledger]", "[policy.sae.alice]\nwieght = 2\n[ledger]", ["did you mean weight?", "[policy.sae.alice]"]),
        ("[ledger]", "[policy]\nburst_bits = 8\n[ledger]", ["13:14", "write 65536 or more"]),
        ("[ledger]", "[metrics]\nlisten = \"127.0.0.1:8443\"\n[ledger]", ["13:11: metrics cannot listen", "their own"]),
        ("[ledger]", "[certificate_names]\n\"sha256:12\" = \"x\"\n[ledger]", ["13:", "64 hex digits"]),
        (
            "[ledger]",
            "[peer.source]\nkind = \"floppy\"\n[ledger]",
            ["13:9", "\"directory\" or \"upstream\" or \"simulated\""],
        ),
        (
            "[ledger]",
            "[peer.source]\nkind = \"directory\"\n[ledger]",
            ["12:7: folder is missing in [peer.source]", "keys"],
        ),
        (
            "[ledger]",
            "[peer.source]\nkind = \"simulated\"\nrole = \"alice\"\nfolder = \"x\"\n[ledger]",
            ["12:7: the source neither listens nor dials", "dial = "],
        ),
    ] {
        let said = said(old, new);
        assert!(words.iter().all(|word| said.contains(word)), "{words:?}\n{said}");
    }
}

#[test]
fn faults_in_the_syntax() {
    for (old, new, words) in [
        ("\"kme-a\"", "kme-a", ["kme.toml:1:", "quotes"]),
        ("\"kme-a\"", "\"kme-a", ["kme.toml:1:", "help:"]),
        (
            "saes = [\"alice\"]",
            "listen = \"x\"",
            ["3:1: listen is here for the second time; the first is in line 2", "keep one"],
        ),
        ("[ledger.kek]", "[tls]", ["[tls] is here for the second time", "line 4"]),
        ("[tls]", "[tls", ["4:", "help:"]),
    ] {
        let said = said(old, new);
        assert!(words.iter().all(|word| said.contains(word)), "{words:?}\n{said}");
    }
}

#[test]
fn several_faults_are_told_together_in_the_order_of_the_file() {
    let text =
        GOOD.replace("listen = \"127.0.0.1:8443\"", "listen = 1").replace("[ledger]", "[ledger]\nkepp_for = 1\n");
    let error = parse(&text.replace("saes = [\"bob\"]", "saes = [1]")).unwrap_err();
    let lines: Vec<usize> = error.complaints().iter().map(|complaint| complaint.line).collect();
    assert_eq!(lines, [2, 11, 13], "{error}");
}

#[test]
fn a_password_is_refused_and_not_repeated() {
    let said = said("path = \"ledger.db\"", "kind = \"postgres\"\nconnection = \"postgres://kme:hunter2@db/kme\"");
    assert!(said.contains("14:15: a password must not stand") && said.contains("connection_file"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn two_spellings_of_one_certificate_are_one_name() {
    let map = "[certificate_names]\n\"CN=x,O=y\" = \"dave\"\n\"CN = x, O = y\" = \"erin\"\n[ledger]";
    let said = said("[ledger]", map);
    assert!(said.contains("names the same certificate"), "{said}");
}

/// A folder with `GOOD` and all it names.
struct Folder(tempfile::TempDir, LabCa);

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap(), LabCa::new("Root One").unwrap());
        let identity = folder.1.issue("kme-a").unwrap();
        folder.write("kme.toml", GOOD.as_bytes(), 0o644);
        folder.write("cert.pem", &identity.chain[0], 0o644);
        folder.write("key.pem", identity.key.secret_der(), 0o600);
        folder.write("ca.pem", &folder.1.root(), 0o644);
        folder.write("kek", &[7; 32], 0o600);
        folder
    }

    fn write(&self, name: &str, bytes: &[u8], mode: u32) {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn load(&self) -> Result<Loaded, SettingsError> {
        Settings::load(&self.0.path().join("kme.toml"))
    }

    fn said(&self) -> String {
        self.load().err().expect("something is wrong").to_string()
    }
}

#[test]
fn what_is_named_is_read() {
    let folder = Folder::new();
    let loaded = folder.load().unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((loaded.tls.chain.len(), loaded.tls.roots.len(), loaded.warnings.len()), (1, 1, 0));
    assert_eq!(loaded.settings.watched().len(), 3);
    assert!(loaded.settings.ledger.kek.load().is_ok());
}

#[test]
fn secrets_that_others_can_read_are_refused() {
    let folder = Folder::new();
    for (name, line, mode) in [("key.pem", "6:8", 0o644), ("key.pem", "6:8", 0o620), ("kek", "15:9", 0o604)] {
        let bytes = fs::read(folder.0.path().join(name)).unwrap();
        folder.write(name, &bytes, mode);
        let said = folder.said();
        assert!(
            said.contains(line) && said.contains(&format!("mode {mode:04o}")) && said.contains("chmod 600"),
            "{said}"
        );
        folder.write(name, &bytes, 0o600);
    }
    let key = fs::read(folder.0.path().join("key.pem")).unwrap();
    folder.write("key.pem", &key, 0o640);
    assert!(folder.load().is_ok(), "a group may read a private key");
}

#[test]
fn files_that_are_missing_or_something_else() {
    let folder = Folder::new();
    for name in ["cert.pem", "key.pem", "ca.pem", "kek"] {
        let path = folder.0.path().join(name);
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let said = folder.said();
        assert!(said.contains("No such file") && said.contains(name), "{said}");
        if name == "kek" {
            assert!(said.contains("/dev/urandom"), "{said}");
        } else {
            folder.write(name, b"something else", 0o600);
            let said = folder.said();
            assert!(said.contains("holds no") || said.contains("no private key"), "{said}");
        }
        folder.write(name, &bytes, 0o600);
    }
    let stranger = LabCa::new("Root Two").unwrap().issue("kme-a").unwrap();
    folder.write("key.pem", stranger.key.secret_der(), 0o600);
    let said = folder.said();
    assert!(said.contains("6:8") && said.contains("does not belong to the certificate"), "{said}");
}

#[test]
fn our_own_certificate_must_be_one_that_others_accept() {
    let folder = Folder::new();
    let with = |change: fn(&mut CertificateParams)| {
        let mut params = CertificateParams::new(vec!["kme-a".to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        folder.write("cert.pem", params.self_signed(&key).unwrap().der(), 0o644);
        folder.write("key.pem", &key.serialize_der(), 0o600);
        folder.load().err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(with(|_as_it_is| {}), "");
    let expired = with(|params| params.not_after = date_time_ymd(2001, 1, 1));
    assert!(expired.contains("5:16") && expired.contains("expired"), "{expired}");
    let nameless = with(|params| {
        params.subject_alt_names.clear();
        params.distinguished_name.push(DnType::CommonName, "somebody");
    });
    assert!(nameless.contains("does not carry our ID, kme-a"), "{nameless}");
    let client = with(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    assert!(client.contains("serverAuth"), "{client}");
}

#[test]
fn a_configuration_that_is_not_there() {
    let error = Settings::load(Path::new("/nonexistent/kme.toml")).err().unwrap().to_string();
    assert!(error.contains("cannot be read") && error.contains("vernam kme example"), "{error}");
}
