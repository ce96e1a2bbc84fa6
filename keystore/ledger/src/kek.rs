//! The key-encryption key (KEK): what the bits at rest are sealed under.
//!
//! It reads and makes the key. It does not seal with it (`seal.rs`), and cannot wipe a copy that the environment or the
//! disk holds.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use argon2::{Algorithm, Argon2, Block, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use ring::hkdf::{HKDF_SHA256, Salt};
use vernam_key::SecretBytes;
use zeroize::{Zeroize, Zeroizing};

use crate::Fault;
use crate::seal::{KEY_LEN, fill_random};

/// The longest file or variable that is looked at, in bytes: any form of the key is shorter.
const MAX_TEXT: usize = 256;

/// Length of the ledger's salt in bytes (RFC 9106, section 3.1: 16 is recommended for passwords).
pub(crate) const SALT_LEN: usize = 16;

// Argon2id with the second recommended parameters (RFC 9106, section 4): 3 passes over 64 MiB in 4 lanes. The first
// recommendation takes 2 GiB, more than a key server on a small machine may have to spare.
const PASSES: u32 = 3;
const MEMORY_KIB: u32 = 64 * 1024;
const LANES: u32 = 4;

/// A passphrase, wiped on drop.
pub struct Passphrase(pub(crate) SecretBytes);

impl Passphrase {
    /// Takes the passphrase's bytes (UTF-8 as typed, without the line's end).
    pub fn new(bytes: SecretBytes) -> Self {
        Self(bytes)
    }
}

/// The key-encryption key, or what it is derived from. Wiped on drop.
pub struct Kek(pub(crate) KekSource);

pub(crate) enum KekSource {
    /// 32 bytes of full entropy.
    Key(SecretBytes),
    /// Stretched with Argon2id under the ledger's own salt.
    Passphrase(Passphrase),
}

/// Why there is no key-encryption key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KekError {
    /// Others may read the file.
    #[error("{path} must be readable by its owner alone (it has mode {mode:04o}): chmod 600 {path}")]
    Mode {
        /// Which file.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// It is no key.
    #[error("{from} must hold 32 bytes: as they are, as 64 hex digits, or as base64")]
    Form {
        /// The file or variable.
        from: String,
    },
    /// It cannot be read or made.
    #[error("{from}: {reason}")]
    Read {
        /// The file or variable.
        from: String,
        /// The system's words.
        reason: String,
    },
}

impl KekError {
    fn read(from: &Path) -> impl Fn(io::Error) -> Self {
        move |error| Self::Read { from: from.display().to_string(), reason: error.to_string() }
    }
}

impl Kek {
    /// From 32 bytes of full entropy; `None` if it is another number.
    pub fn from_secret(bytes: SecretBytes) -> Option<Self> {
        (bytes.len() == KEY_LEN).then_some(Self(KekSource::Key(bytes)))
    }

    /// From a file that its owner alone can read (mode 0600): 32 bytes, or 64 hex digits or base64 of them.
    pub fn from_file(path: &Path) -> Result<Self, KekError> {
        Self::load(File::open(path).map_err(KekError::read(path))?, path, true)
    }

    /// As [`Self::from_file`], for a file that its folder closes to others, whatever its own mode says: a credential that
    /// a service manager hands over (systemd.exec(5), `LoadCredential=`).
    pub fn from_credential(path: &Path) -> Result<Self, KekError> {
        Self::load(File::open(path).map_err(KekError::read(path))?, path, false)
    }

    /// As [`Self::from_file`]; makes the file where there is none.
    pub fn from_file_or_new(path: &Path) -> Result<Self, KekError> {
        match File::open(path) {
            Ok(file) => Self::load(file, path, true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::create(path),
            Err(error) => Err(KekError::read(path)(error)),
        }
    }

    /// From an environment variable with 64 hex digits or base64. The variable itself stays readable to whoever may look
    /// at this process.
    pub fn from_environment(variable: &str) -> Result<Self, KekError> {
        let from = format!("the environment variable {variable}");
        let Some(text) = std::env::var_os(variable) else {
            return Err(KekError::Read { from, reason: "is not set".into() });
        };
        let text = Zeroizing::new(text.into_encoded_bytes());
        parse_text(&text).and_then(Self::from_secret).ok_or(KekError::Form { from })
    }

    /// From a passphrase, stretched with Argon2id (RFC 9106) under a salt that the ledger keeps.
    pub fn from_passphrase(passphrase: Passphrase) -> Self {
        Self(KekSource::Passphrase(passphrase))
    }

    /// A key of 32 bytes for another purpose than sealing the ledger, bound to `purpose` and `salt` (HKDF-SHA256, RFC
    /// 5869; a passphrase is stretched under the salt first).
    pub fn derive(&self, purpose: &'static str, salt: &[u8; SALT_LEN]) -> Result<SecretBytes, Fault> {
        let key = self.key(salt)?;
        let extracted = Salt::new(HKDF_SHA256, salt).extract(key.expose("to derive another key from it"));
        let mut derived = SecretBytes::from_vec(vec![0; KEY_LEN]);
        extracted
            .expand(&[purpose.as_bytes()], HKDF_SHA256)
            .and_then(|expanded| expanded.fill(derived.expose_mut("to derive it")))
            .map_err(|_too_long| Fault("32 bytes cannot be derived".to_owned()))?;
        Ok(derived)
    }

    /// How the key comes about, as the ledger remembers it.
    pub(crate) fn form(&self) -> &'static str {
        match self.0 {
            KekSource::Key(_) => "key",
            KekSource::Passphrase(_) => "argon2id v=19 t=3 m=65536 p=4",
        }
    }

    /// The 32 bytes. Takes 64 MiB and a good part of a second for a passphrase.
    pub(crate) fn key(&self, salt: &[u8]) -> Result<SecretBytes, Fault> {
        match &self.0 {
            KekSource::Key(key) => Ok(SecretBytes::copy_of(key.expose("to seal the data key under it"))),
            KekSource::Passphrase(Passphrase(passphrase)) => stretch(passphrase, salt),
        }
    }

    fn load(file: File, path: &Path, must_be_closed: bool) -> Result<Self, KekError> {
        let metadata = file.metadata().map_err(KekError::read(path))?;
        if !metadata.is_file() {
            return Err(KekError::Read { from: path.display().to_string(), reason: "is not a file".into() });
        }
        let mode = metadata.permissions().mode() & 0o7777;
        if must_be_closed && mode & 0o077 != 0 {
            return Err(KekError::Mode { path: path.display().to_string(), mode });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_TEXT + 1));
        file.take(MAX_TEXT as u64 + 1).read_to_end(&mut bytes).map_err(KekError::read(path))?;
        let key = if bytes.len() == KEY_LEN { Some(SecretBytes::copy_of(&bytes)) } else { parse_text(&bytes) };
        key.and_then(Self::from_secret).ok_or_else(|| KekError::Form { from: path.display().to_string() })
    }

    /// Writes a new key beside `path` and links it there, which fails if another process was faster: then its key counts.
    fn create(path: &Path) -> Result<Self, KekError> {
        let failed = KekError::read(path);
        let no_random = |fault: Fault| failed(io::Error::other(fault.to_string()));
        let mut key = SecretBytes::from_vec(vec![0; KEY_LEN]);
        fill_random(key.expose_mut("to make it")).map_err(no_random)?;
        let mut suffix = [0; 8];
        fill_random(&mut suffix).map_err(no_random)?;
        let unfinished = path.with_added_extension(format!("{:016x}", u64::from_be_bytes(suffix)));

        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished).map_err(&failed)?;
        let linked = file
            .write_all(key.expose("to keep it in its file"))
            .and_then(|()| file.sync_all())
            .and_then(|()| fs::hard_link(&unfinished, path));
        fs::remove_file(&unfinished).map_err(&failed)?;
        match linked {
            Ok(()) => {
                sync_folder_of(path).map_err(&failed)?;
                Ok(Self(KekSource::Key(key)))
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::from_file(path),
            Err(error) => Err(failed(error)),
        }
    }
}

/// Makes the entry of `path` in its folder durable.
pub(crate) fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// 64 hex digits or base64 with or without padding, around which there may be white space.
fn parse_text(text: &[u8]) -> Option<SecretBytes> {
    let text = text.trim_ascii();
    if text.len() > MAX_TEXT {
        return None;
    }
    let mut decoded = Zeroizing::new([0; MAX_TEXT]);
    let len = if text.len() == 2 * KEY_LEN {
        for (byte, digits) in decoded.iter_mut().zip(text.chunks_exact(2)) {
            *byte = hex_digit(digits[0])? << 4 | hex_digit(digits[1])?;
        }
        KEY_LEN
    } else {
        let padded = STANDARD.decode_slice(text, decoded.as_mut_slice());
        padded.or_else(|_other_form| STANDARD_NO_PAD.decode_slice(text, decoded.as_mut_slice())).ok()?
    };
    (len == KEY_LEN).then(|| SecretBytes::copy_of(&decoded[..KEY_LEN]))
}

fn hex_digit(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn stretch(passphrase: &SecretBytes, salt: &[u8]) -> Result<SecretBytes, Fault> {
    let failed = |error: argon2::Error| Fault(format!("the passphrase cannot be stretched: {error}"));
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(KEY_LEN)).map_err(failed)?;
    let mut memory = vec![Block::new(); params.block_count()];
    let mut key = SecretBytes::from_vec(vec![0; KEY_LEN]);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let done = argon2.hash_password_into_with_memory(
        passphrase.expose("to derive the key-encryption key"),
        salt,
        key.expose_mut("to derive it"),
        memory.as_mut_slice(),
    );
    memory.zeroize();
    done.map_err(failed)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";

    fn bytes(kek: &Kek) -> Vec<u8> {
        kek.key(&[0; SALT_LEN]).expect("a key").expose("test").to_vec()
    }

    fn file(folder: &Path, content: &[u8], mode: u32) -> std::path::PathBuf {
        let path = folder.join("kek");
        fs::write(&path, content).expect("a writable folder");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("our own file");
        path
    }

    #[test]
    fn a_key_file_may_hold_bytes_hex_or_base64() {
        let folder = tempfile::tempdir().expect("a folder");
        let key: Vec<u8> = (0..32).collect();
        let base64 = STANDARD.encode(&key);
        let unpadded = base64.trim_end_matches('=').to_owned();
        for content in
            [key.as_slice(), HEX.as_bytes(), format!("{HEX}\n").as_bytes(), base64.as_bytes(), unpadded.as_bytes()]
        {
            let kek = Kek::from_file(&file(folder.path(), content, 0o600)).expect("one of the forms");
            assert_eq!(bytes(&kek), key);
        }
        for content in ["", "secret", &HEX[1..], &HEX.replace('0', "g"), &"a".repeat(1000), &STANDARD.encode([0; 33])] {
            let refused = Kek::from_file(&file(folder.path(), content.as_bytes(), 0o600));
            assert!(matches!(refused, Err(KekError::Form { .. })), "{content}");
        }
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        for mode in [0o644, 0o640, 0o604] {
            let refused = Kek::from_file(&file(folder.path(), HEX.as_bytes(), mode)).err().expect("others can read it");
            assert!(matches!(refused, KekError::Mode { mode: found, .. } if found == mode), "{refused}");
            assert!(refused.to_string().contains("chmod 600"), "{refused}");
        }
        assert!(Kek::from_file(&file(folder.path(), HEX.as_bytes(), 0o400)).is_ok());
        assert!(matches!(Kek::from_file(folder.path()), Err(KekError::Read { .. })), "a folder is no key");
        assert!(matches!(Kek::from_file(&folder.path().join("none")), Err(KekError::Read { .. })));
    }

    #[test]
    fn a_credential_is_closed_by_its_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let kek = Kek::from_credential(&file(folder.path(), HEX.as_bytes(), 0o440)).expect("its mode does not count");
        assert_eq!(bytes(&kek).len(), KEY_LEN);
    }

    #[test]
    fn derived_keys_depend_on_key_purpose_and_salt() {
        let kek = |byte| Kek::from_secret(SecretBytes::copy_of(&[byte; KEY_LEN])).expect("32 bytes");
        let derived = |byte, purpose, salt| kek(byte).derive(purpose, &[salt; SALT_LEN]).expect("a key");
        let one = derived(1, "a", 1);
        assert_eq!(derived(1, "a", 1).expose("test"), one.expose("test"));
        for other in [derived(2, "a", 1), derived(1, "b", 1), derived(1, "a", 2)] {
            assert_ne!(other.expose("test"), one.expose("test"));
        }
    }

    #[test]
    fn a_missing_key_file_is_made_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("kek");
        let made = Kek::from_file_or_new(&path).expect("a new key");
        assert_eq!(fs::metadata(&path).expect("the file").permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1, "nothing else is left there");
        assert_eq!(bytes(&Kek::from_file_or_new(&path).expect("the same key")), bytes(&made));
        assert_eq!(bytes(&Kek::from_file(&path).expect("the same key")), bytes(&made));
    }

    #[test]
    fn an_absent_variable_says_so() {
        let error = Kek::from_environment("VERNAM_TEST_NO_SUCH_VARIABLE").err().expect("it is not set");
        assert_eq!(error.to_string(), "the environment variable VERNAM_TEST_NO_SUCH_VARIABLE: is not set");
    }

    #[test]
    fn a_passphrase_depends_on_the_salt() {
        let kek = || Kek::from_passphrase(Passphrase::new(SecretBytes::copy_of(b"correct horse")));
        let once = kek().key(&[1; SALT_LEN]).expect("a key");
        assert_eq!(kek().key(&[1; SALT_LEN]).expect("a key").expose("test"), once.expose("test"));
        assert_ne!(kek().key(&[2; SALT_LEN]).expect("a key").expose("test"), once.expose("test"));
    }

    #[test]
    fn the_ledger_remembers_the_parameters_that_are_used() {
        let form = Kek::from_passphrase(Passphrase::new(SecretBytes::copy_of(b"x"))).form();
        assert_eq!(form, format!("argon2id v=19 t={PASSES} m={MEMORY_KIB} p={LANES}"));
    }

    #[test]
    fn a_variable_holds_hex_or_base64() {
        // Another process, because a variable of this one cannot be set safely.
        for (value, is_key) in [(HEX, true), ("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", true), ("secret", false)]
        {
            let mut child = std::process::Command::new(std::env::current_exe().expect("this test"));
            child.args(["--exact", "--ignored", "kek::tests::in_a_process_with_the_variable"]);
            let output = child.env("VERNAM_TEST_KEK", value).output().expect("this test again");
            assert_eq!(output.status.success(), is_key, "{value}: {}", String::from_utf8_lossy(&output.stdout));
        }
    }

    #[test]
    #[ignore = "a_variable_holds_hex_or_base64 runs it in a process of its own"]
    fn in_a_process_with_the_variable() {
        let kek = Kek::from_environment("VERNAM_TEST_KEK").expect("a key");
        assert_eq!(bytes(&kek), (0..32).collect::<Vec<u8>>());
    }
}
