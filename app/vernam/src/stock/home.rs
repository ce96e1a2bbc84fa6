//! A person's home: the folder with the store and its key, and where the anchors are.
//!
//! ```text
//!   HOME/store         stocks and pads            --home, else $VERNAM_HOME, else $XDG_DATA_HOME/vernam,
//!   HOME/store.key     what they are sealed under       else ~/.local/share/vernam
//!   HOME/home.toml     optional: name, listen, identity, kme, sound, contacts ([`HomeConfig`])
//!   HOME/history       the calls there were, sealed under a key made from store.key
//!   ANCHORS            $XDG_STATE_HOME/vernam/anchors, else ~/.local/state/vernam/anchors
//! ```
//!
//! The anchors are not in the home, so that a home put back from a backup is noticed (XDG Base Directory Specification
//! 0.8: state is what is "not important or portable enough" for the data folder).

mod config;

use std::env;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use vernam_store::{Store, StoreKey};

use crate::complaint::WrongUsage;

pub use self::config::{
    ContactConfig, ContactPolicy, HomeConfig, IdentityConfig, KeysFrom, KmeConfig, Profile, SoundConfig,
};

/// Bytes of the longest `home.toml` that is read.
const MAX_CONFIG: u64 = 64 << 10;

/// Where a person's things are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    dir: PathBuf,
    anchors: PathBuf,
}

impl Home {
    /// The home that was named, or the usual one.
    ///
    /// # Errors
    /// If nothing says where it is.
    pub fn find(named: Option<&Path>) -> anyhow::Result<Self> {
        let dir = match (named, variable("VERNAM_HOME")) {
            (Some(named), _) => named.to_owned(),
            (None, Some(named)) => named,
            (None, None) => xdg("XDG_DATA_HOME", ".local/share").context("name the home with --home")?.join("vernam"),
        };
        let state = xdg("XDG_STATE_HOME", ".local/state").context("the key store needs a second folder")?;
        Ok(Self::new(dir, state.join("vernam/anchors")))
    }

    /// The home in `dir`, with its anchors elsewhere.
    pub fn new(dir: impl Into<PathBuf>, anchors: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), anchors: anchors.into() }
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Looks whether its folder is there; what only looks must not make one.
    ///
    /// # Errors
    /// If it is not: wrong usage.
    pub fn must_be_there(&self) -> anyhow::Result<()> {
        if self.dir.is_dir() {
            return Ok(());
        }
        let dir = self.dir.display();
        bail!(WrongUsage::new(format!(
            "there is no home {dir}: name yours with --home, or make that folder and write {dir}/home.toml. `vernam kme \
             setup lab` makes two homes to try"
        )))
    }

    /// Whether there is a store in it.
    pub fn has_store(&self) -> bool {
        self.dir.join("store").is_dir()
    }

    /// Opens the store, or makes one.
    ///
    /// # Errors
    /// As [`Store::open`] and [`StoreKey::load_or_create`].
    pub fn store(&self) -> anyhow::Result<Store> {
        Ok(Store::open(self.dir.join("store"), &self.anchors, self.key()?)?)
    }

    /// Opens the store whose anchor is lost, and erases what it cannot vouch for.
    ///
    /// # Errors
    /// As [`Store::accept_lost_anchor`].
    pub fn accept_lost_anchor(&self) -> anyhow::Result<Store> {
        Ok(Store::accept_lost_anchor(self.dir.join("store"), &self.anchors, self.key()?)?)
    }

    /// What `home.toml` says; nothing if there is none.
    ///
    /// # Errors
    /// If it cannot be read, or says something else: then where, and what to write.
    pub fn config(&self) -> anyhow::Result<HomeConfig> {
        let path = self.config_path();
        let Some(bytes) = read_bounded(&path, MAX_CONFIG)? else { return Ok(HomeConfig::default()) };
        let text = String::from_utf8(bytes)
            .map_err(|_not_text| anyhow!("{} is no text (UTF-8), which TOML must be", path.display()))?;
        let mut config = config::read(&text).map_err(|wrong| wrong.in_file(&path))?;
        config.place_in(&self.dir);
        Ok(config)
    }

    /// Where the settings are.
    pub fn config_path(&self) -> PathBuf {
        self.dir.join("home.toml")
    }

    /// The key under which what is kept in the home is sealed.
    ///
    /// # Errors
    /// As [`StoreKey::load_or_create`], and where a store is there and its key is not.
    pub fn key(&self) -> anyhow::Result<StoreKey> {
        if self.has_store() && !self.dir.join("store.key").exists() {
            bail!(
                "{} is missing, and without it the store cannot be read: put it back",
                self.dir.join("store.key").display()
            );
        }
        Ok(StoreKey::load_or_create(self.dir.join("store.key"))?)
    }
}

/// What is in a file of a person's home; `None` where there is none. What is no file is not read: a pipe would be waited
/// for, and a device may have no end.
pub(crate) fn read_bounded(path: &Path, most: u64) -> anyhow::Result<Option<Vec<u8>>> {
    let reading = || format!("cannot read {}", path.display());
    let found = match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.with_context(reading)?,
    };
    if found.is_dir() {
        bail!("{} is a folder; a file is needed", path.display());
    }
    if !found.is_file() {
        bail!("{} is no ordinary file; one is needed", path.display());
    }
    // Room for all of it at once, so that no copy of a private key is left behind when it grows.
    let room = usize::try_from(found.len().min(most) + 1).unwrap_or(0);
    let mut bytes = Vec::with_capacity(room);
    File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes)).with_context(reading)?;
    if bytes.len() as u64 > most {
        bail!("{} is too long: it may have {} kB", path.display(), most >> 10);
    }
    Ok(Some(bytes))
}

/// The XDG specification has relative paths ignored.
fn xdg(name: &str, below_home: &str) -> anyhow::Result<PathBuf> {
    let set = variable(name).filter(|path| path.is_absolute());
    set.or_else(|| Some(variable("HOME")?.join(below_home))).ok_or_else(|| anyhow!("neither ${name} nor $HOME is set"))
}

fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from)
}
