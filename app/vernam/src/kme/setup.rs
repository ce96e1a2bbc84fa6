//! `vernam kme setup`: two KMEs to try on one machine, two people with a home each, and a quantum link between the KMEs.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rand::SeedableRng as _;
use rand::rngs::{StdRng, SysRng};
use vernam_ca::{Identity, LabCa};
use vernam_key::SecretBytes;

use crate::link::ends;

/// Characters in a line of a PEM file (RFC 7468, section 2).
const PEM_LINE: usize = 64;
/// Length of a key-encryption key, bytes.
const KEK_LEN: usize = 32;

/// One of the two sites.
struct Site {
    kme: &'static str,
    sae: &'static str,
    /// Which end of the quantum link it is.
    end: &'static str,
    port: u16,
    metrics: u16,
    /// Where the person's telephone listens.
    phone: u16,
}

/// Makes `folder` with all it takes; gives what a person is to be told. `port` is the first of seven.
///
/// # Errors
/// If it is there already, or cannot be made; then it is not left half-made.
pub fn set_up(folder: &Path, port: u16) -> anyhow::Result<Vec<String>> {
    if folder.symlink_metadata().is_ok() {
        bail!("{} is there already, and is never overwritten: give another folder", folder.display());
    }
    let sites = [
        Site { kme: "kme-a", sae: "alice", end: "alice", port, metrics: port + 2, phone: port + 5 },
        Site { kme: "kme-b", sae: "bob", end: "bob", port: port + 1, metrics: port + 3, phone: port + 6 },
    ];
    let made = fill(folder, &sites);
    if made.is_err() {
        // Half of a set-up is of no use; the first error tells.
        let _best_effort = fs::remove_dir_all(folder);
    }
    made?;
    Ok(told(folder, &sites, port + 4))
}

fn fill(folder: &Path, sites: &[Site; 2]) -> anyhow::Result<()> {
    make_folder(folder)?;
    let ca = LabCa::new("vernam lab")?;
    let root = pem("CERTIFICATE", &ca.root());
    let mut rng = StdRng::try_from_rng(&mut SysRng).context("the operating system gives no random bytes")?;
    let [a, b] = sites;
    for (here, there) in [(a, b), (b, a)] {
        let place = folder.join(here.kme);
        make_folder(&place)?;
        make_folder(&place.join("keys"))?;
        write_identity(&place, &root, &ca.issue(here.kme)?)?;
        let kek = SecretBytes::random(KEK_LEN, &mut rng);
        write(&place.join("kek"), 0o600, kek.expose("a key-encryption key goes into its file"))?;
        write(&place.join("kme.toml"), 0o644, configuration(here, there).as_bytes())?;
        let place = folder.join(here.sae);
        make_folder(&place)?;
        write_identity(&place, &root, &ca.issue(here.sae)?)?;
        write(&place.join("home.toml"), 0o644, home(here, there).as_bytes())?;
    }
    ends::folder::set_up(&folder.join("link"))?;
    Ok(())
}

fn configuration(here: &Site, there: &Site) -> String {
    let Site { kme, sae, port, metrics, .. } = here;
    format!(
        "# {kme} of a lab; vernam kme example explains every setting.\n\
         id = \"{kme}\"\n\
         listen = \"127.0.0.1:{port}\"\n\
         saes = [\"{sae}\"]\n\n\
         [tls]\n\
         certificate = \"cert.pem\"\n\
         key = \"key.pem\"\n\
         roots = \"ca.pem\"\n\n\
         [[peer]]\n\
         id = \"{}\"\n\
         address = \"127.0.0.1:{}\"\n\
         saes = [\"{}\"]\n\n\
         [peer.source]\n\
         kind = \"directory\"\n\
         folder = \"keys\"\n\n\
         [ledger]\n\
         path = \"ledger.db\"\n\n\
         [ledger.kek]\n\
         file = \"kek\"\n\n\
         [metrics]\n\
         listen = \"127.0.0.1:{metrics}\"\n\n\
         [audit]\n\
         file = \"audit.jsonl\"\n",
        there.kme, there.port, there.sae
    )
}

/// A person's settings: the one certificate serves at the KME and for contacts.
fn home(here: &Site, there: &Site) -> String {
    let Site { sae, port, phone, .. } = here;
    format!(
        "# The home of {sae} in a lab: vernam answer --home .../{sae}\n\
         name = \"{sae}\"\n\
         listen = \"127.0.0.1:{phone}\"\n\n\
         [identity]\n\
         cert = \"cert.pem\"\n\
         key = \"key.pem\"\n\
         root = \"ca.pem\"\n\n\
         [kme]\n\
         url = \"https://localhost:{port}\"\n\
         cert = \"cert.pem\"\n\
         key = \"key.pem\"\n\
         root = \"ca.pem\"\n\n\
         [sound]\n\
         # As vernam devices names them, or \"off\".\n\
         microphone = \"default\"\n\
         speaker = \"default\"\n\
         ringer = \"default\"\n\
         headphones = false\n\n\
         [[contact]]\n\
         name = \"{}\"\n\
         address = \"127.0.0.1:{}\"\n\
         # otp-only, prefer-otp (asks before anything less) or aes\n\
         policy = \"prefer-otp\"\n",
        there.sae, there.phone
    )
}

fn told(folder: &Path, [a, b]: &[Site; 2], link: u16) -> Vec<String> {
    let dir = folder.display();
    let curl = |site: &Site| {
        let Site { sae, .. } = site;
        format!("curl --cacert {dir}/{sae}/ca.pem --cert {dir}/{sae}/cert.pem --key {dir}/{sae}/key.pem")
    };
    let url = |site: &Site, rest: &str| format!("'https://localhost:{}/api/v1/keys/{rest}'", site.port);
    let mut said = vec![
        format!(
            "{dir} is made: {} and {}, SAEs {} and {}, and a quantum link. For trials: one authority",
            a.kme, b.kme, a.sae, b.sae
        ),
        "signed all certificates, and its key is forgotten. Each command in a terminal of its own:".to_owned(),
        String::new(),
    ];
    for site in [a, b] {
        said.push(format!("  vernam kme --config {dir}/{}/kme.toml", site.kme));
    }
    said.push(format!(
        "  vernam link {} {dir}/link/{} --listen 127.0.0.1:{link} --keys {dir}/{}/keys",
        b.end, b.end, b.kme
    ));
    said.push(format!(
        "  vernam link {} {dir}/link/{} --dial 127.0.0.1:{link} --keys {dir}/{}/keys",
        a.end, a.end, a.kme
    ));
    said.push(String::new());
    said.push(format!(
        "The first block of key takes a while. Then {} asks for a key for {}, and {} for the same one:",
        a.sae, b.sae, b.sae
    ));
    said.push(String::new());
    said.push(format!("  {} {}", curl(a), url(a, &format!("{}/status", b.sae))));
    said.push(format!("  {} {}", curl(a), url(a, &format!("{}/enc_keys?number=1", b.sae))));
    said.push(format!("  {} {}", curl(b), url(b, &format!("{}/dec_keys?key_ID=KEY-ID-FROM-ABOVE", a.sae))));
    said.push(String::new());
    said.push("For a call, each in a terminal of its own; --no-sound where there are no loudspeakers:".to_owned());
    said.push(String::new());
    said.push(format!("  vernam answer --home {dir}/{}", b.sae));
    said.push(format!("  vernam call {} --home {dir}/{}", b.sae, a.sae));
    said.push(String::new());
    said.push(format!("Metrics: curl http://127.0.0.1:{}/metrics", a.metrics));
    said.push(format!("Who got what: vernam kme audit verify --config {dir}/{}/kme.toml", a.kme));
    said
}

fn write_identity(folder: &Path, root: &str, identity: &Identity) -> anyhow::Result<()> {
    let chain: String = identity.chain.iter().map(|certificate| pem("CERTIFICATE", certificate)).collect();
    write(&folder.join("ca.pem"), 0o644, root.as_bytes())?;
    write(&folder.join("cert.pem"), 0o644, chain.as_bytes())?;
    write(&folder.join("key.pem"), 0o600, pem("PRIVATE KEY", identity.key.secret_der()).as_bytes())
}

/// Text as DER in PEM (RFC 7468).
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(PEM_LINE) {
        let _ = writeln!(pem, "{}", String::from_utf8_lossy(line)); // a String takes everything
    }
    pem + &format!("-----END {label}-----\n")
}

fn make_folder(path: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot make the folder {}", path.display()))
}

fn write(path: &PathBuf, mode: u32, bytes: &[u8]) -> anyhow::Result<()> {
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use vernam_kme::settings::Settings;

    use super::*;
    use crate::stock::home::Home;

    #[test]
    fn both_configurations_are_right_and_nothing_is_overwritten() {
        let tmp = tempfile::tempdir().expect("a folder");
        let lab = tmp.path().join("lab");
        let said = set_up(&lab, 8443).expect("it can be made").join("\n");
        for word in
            ["kme-b/kme.toml", "enc_keys?number=1", "dec_keys?key_ID=", "--listen 127.0.0.1:8447", "call bob --home"]
        {
            assert!(said.contains(word), "{word}\n{said}");
        }
        for kme in ["kme-a", "kme-b"] {
            let loaded = Settings::load(&lab.join(kme).join("kme.toml")).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!((loaded.settings.kme.id.as_str(), loaded.warnings.len()), (kme, 0));
            assert!(loaded.settings.ledger.kek.load().is_ok());
        }
        let homes = ["alice", "bob"].map(|person| {
            let home = Home::new(lab.join(person), lab.join("anchors"));
            home.config().unwrap_or_else(|error| panic!("{error}"))
        });
        for (own, other) in [(0, "bob"), (1, "alice")] {
            let contact = homes[own].contact(other).expect("the other is a contact");
            let listens = homes[1 - own].listen.map(|listen| listen.to_string());
            assert_eq!(contact.address().map(str::to_owned), listens);
            let (identity, roots) = homes[own].identity.as_ref().expect("an identity").load().expect("it can be read");
            assert_eq!((identity.chain.len(), roots.len()), (1, 1));
            assert!(homes[own].kme.as_ref().is_some_and(|kme| kme.client().is_ok()));
        }
        let again = set_up(&lab, 8443).expect_err("it is there").to_string();
        assert!(again.contains("never overwritten"), "{again}");
    }
}
