//! The folder of an end: certificates, private key, start-up secret. Made in pairs, and read.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use vernam_ca::LabCa;
use vernam_link::{Role, StartupSecret, TlsIdentity};

use super::name;

const CA: &str = "ca.pem";
const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";
const SECRET: &str = "startup-secret";

/// Makes `folder`/alice and `folder`/bob; gives what a person is to be told.
///
/// # Errors
/// If one of them is there already, or cannot be made; then neither is left.
pub fn set_up(folder: &Path) -> anyhow::Result<Vec<String>> {
    let ends = [Role::Alice, Role::Bob].map(|role| (role, folder.join(role.name())));
    for (_, end) in &ends {
        if end.symlink_metadata().is_ok() {
            bail!("{} is there already, and is never overwritten: give another folder", end.display());
        }
    }
    let is_new = !folder.exists();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let made = fill(&ends);
    if made.is_err() {
        for (_, end) in &ends {
            // Half of a set-up is of no use; the first error tells.
            let _best_effort = fs::remove_dir_all(end);
        }
        if is_new {
            let _best_effort = fs::remove_dir(folder);
        }
    }
    made?;
    let [(_, alice), (_, bob)] = &ends;
    let (alice, bob) = (alice.display(), bob.display());
    Ok(vec![
        format!("{alice} and {bob} are made: certificates of {} and {}", name(Role::Alice), name(Role::Bob)),
        format!("(their authority's key is forgotten), and in both the same start-up secret, {SECRET}."),
        format!("Carry {bob} to the other machine by hand and erase it here; it must not go over a network"),
        "that somebody may listen to. Keep no copy and no backup of either: each start strikes out a piece of"
            .to_owned(),
        "the secret, and a folder brought back would use one-time keys twice.".to_owned(),
        String::new(),
        "Then, with a port of your choice:".to_owned(),
        format!("  vernam link bob {bob} --listen 0.0.0.0:7010"),
        format!("  vernam link alice {alice} --dial HOST-OF-BOB:7010"),
    ])
}

fn fill(ends: &[(Role, PathBuf); 2]) -> anyhow::Result<()> {
    let ca = LabCa::new("vernam link")?;
    for (role, end) in ends {
        let write = |name: &str, mode: u32, text: &str| {
            let path = end.join(name);
            write_new(&path, mode, text).with_context(|| format!("cannot write {}", path.display()))
        };
        let made = DirBuilder::new().mode(0o700).create(end);
        made.with_context(|| format!("cannot make the folder {}", end.display()))?;
        let identity = ca.issue(name(*role))?;
        write(CA, 0o644, &ca.root_pem())?;
        write(CERTIFICATE, 0o644, &identity.chain_pem())?;
        write(KEY, 0o600, &identity.key_pem())?;
    }
    let [(_, alice), (_, bob)] = ends;
    let (ours, theirs) = (alice.join(SECRET), bob.join(SECRET));
    StartupSecret::generate(&ours)?;
    copy(&ours, &theirs).with_context(|| format!("cannot copy the start-up secret to {}", theirs.display()))
}

fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

fn write_new(path: &Path, mode: u32, text: &str) -> io::Result<()> {
    let mut file = create_new(path, mode)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut file = create_new(to, 0o600)?;
    io::copy(&mut File::open(from)?, &mut file)?;
    file.sync_all()
}

/// Reads the folder of an end.
///
/// # Errors
/// What is missing or cannot be used, and what to do about it.
pub fn read(folder: &Path, role: Role) -> anyhow::Result<(TlsIdentity, StartupSecret)> {
    let shown = folder.display();
    let inner = folder.join(role.name());
    if !folder.is_dir() {
        bail!("there is no folder {shown}: vernam link setup makes it");
    }
    if inner.is_dir() && !folder.join(CERTIFICATE).exists() {
        bail!("{shown} holds the folders of the ends: give {}", inner.display());
    }
    for name in [CA, CERTIFICATE, KEY, SECRET] {
        if !folder.join(name).exists() {
            bail!("there is no {name} in {shown}: give the folder that vernam link setup made for {}", role.name());
        }
    }
    let key = folder.join(KEY);
    let mode = key.metadata().with_context(|| format!("cannot look at {}", key.display()))?.permissions().mode();
    if mode & 0o077 != 0 {
        let (key, mode) = (key.display(), mode & 0o7777);
        bail!("others may read the private key {key} (mode {mode:04o}): if nobody did, chmod 600 it; else set up anew");
    }
    let identity = TlsIdentity::from_pem_files(&folder.join(CA), &folder.join(CERTIFICATE), &key)?;
    Ok((identity, StartupSecret::load(folder.join(SECRET))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().expect("it is there").permissions().mode() & 0o777
    }

    #[test]
    fn what_is_made_can_be_read_by_its_owner_only() {
        let tmp = tempfile::tempdir().expect("a folder");
        let lab = tmp.path().join("new/lab");
        let said = set_up(&lab).expect("it can be made").join("\n");
        assert!(said.contains("by hand") && said.contains("no backup"), "{said}");
        let ids = [Role::Alice, Role::Bob].map(|role| {
            let folder = lab.join(role.name());
            let (identity, secret) = read(&folder, role).expect("it can be read");
            assert_eq!((identity.roots.len(), identity.chain.len()), (1, 1));
            assert_eq!([mode(&folder), mode(&folder.join(KEY)), mode(&folder.join(SECRET))], [0o700, 0o600, 0o600]);
            secret.id()
        });
        assert_eq!(ids[0], ids[1]);
        assert_ne!(
            fs::read(lab.join("alice/key.pem")).expect("a key"),
            fs::read(lab.join("bob/key.pem")).expect("a key")
        );
    }

    #[test]
    fn a_set_up_is_never_overwritten_nor_left_half_done() {
        let tmp = tempfile::tempdir().expect("a folder");
        fs::create_dir(tmp.path().join("bob")).expect("it can be made");
        let error = set_up(tmp.path()).expect_err("bob is there").to_string();
        assert!(error.contains("bob is there already"), "{error}");
        assert!(!tmp.path().join("alice").exists());
    }

    #[test]
    fn what_is_wrong_with_a_folder_is_said() {
        let tmp = tempfile::tempdir().expect("a folder");
        let refused = |folder: &Path| read(folder, Role::Alice).err().expect("it cannot be used").to_string();
        let missing = refused(&tmp.path().join("nowhere"));
        assert!(missing.contains("vernam link setup makes it"), "{missing}");
        set_up(tmp.path()).expect("it can be made");
        let outer = refused(tmp.path());
        assert!(outer.ends_with("alice") && outer.contains("holds the folders"), "{outer}");
        let alice = tmp.path().join("alice");
        fs::set_permissions(alice.join(KEY), fs::Permissions::from_mode(0o644)).expect("it is ours");
        let open = refused(&alice);
        assert!(open.contains("mode 0644") && open.contains("chmod 600"), "{open}");
        fs::set_permissions(alice.join(KEY), fs::Permissions::from_mode(0o600)).expect("it is ours");
        fs::remove_file(alice.join(SECRET)).expect("it is ours");
        let lacking = refused(&alice);
        assert!(lacking.contains("there is no startup-secret"), "{lacking}");
        fs::write(alice.join(SECRET), "").expect("it is ours");
        fs::write(alice.join(CA), "no certificate").expect("it is ours");
        assert!(!refused(&alice).is_empty());
    }
}
