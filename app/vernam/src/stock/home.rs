//! A person's home: the folder with the store and its key, and where the anchors are.
//!
//! ```text
//!   HOME/store         stocks and pads            --home, else $VERNAM_HOME, else $XDG_DATA_HOME/vernam,
//!   HOME/store.key     what they are sealed under       else ~/.local/share/vernam
//!   HOME/home.toml     optional: name, kme
//!   ANCHORS            $XDG_STATE_HOME/vernam/anchors, else ~/.local/state/vernam/anchors
//! ```
//!
//! The anchors are not in the home, so that a home put back from a backup is noticed (XDG Base Directory Specification
//! 0.8: state is what is "not important or portable enough" for the data folder).

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow, bail};
use serde::Deserialize;
use vernam_etsi014::KmeClient;
use vernam_store::{Store, StoreKey};

/// Bytes of the longest `home.toml` that is read.
const MAX_CONFIG: u64 = 64 << 10;

/// Where a person's things are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home {
    dir: PathBuf,
    anchors: PathBuf,
}

/// What `home.toml` says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HomeConfig {
    /// The person's name, as contacts know it (its SAE ID).
    pub name: Option<String>,
    /// Where keys come from, if from a KME.
    pub kme: Option<KmeConfig>,
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
    /// If it cannot be read, or says something else.
    pub fn config(&self) -> anyhow::Result<HomeConfig> {
        let path = self.dir.join("home.toml");
        match path.metadata() {
            Err(_not_there) => return Ok(HomeConfig::default()),
            Ok(found) if found.len() > MAX_CONFIG => bail!("{} is too long", path.display()),
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut config: HomeConfig = toml::from_str(&text).map_err(|error| anyhow!("{}: {error}", path.display()))?;
        if let Some(kme) = &mut config.kme {
            for file in [&mut kme.cert, &mut kme.key, &mut kme.root] {
                *file = self.dir.join(&file);
            }
        }
        Ok(config)
    }

    fn key(&self) -> anyhow::Result<StoreKey> {
        if self.has_store() && !self.dir.join("store.key").exists() {
            bail!(
                "{} is missing, and without it the store cannot be read: put it back",
                self.dir.join("store.key").display()
            );
        }
        Ok(StoreKey::load_or_create(self.dir.join("store.key"))?)
    }
}

impl KmeConfig {
    /// A client for it.
    ///
    /// # Errors
    /// If a file cannot be read or is not what it should be.
    pub fn client(&self) -> anyhow::Result<KmeClient> {
        let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
        Ok(KmeClient::from_pem(&self.url, &read(&self.root)?, &read(&self.cert)?, &read(&self.key)?)?)
    }
}

/// The XDG specification has relative paths ignored.
fn xdg(name: &str, below_home: &str) -> anyhow::Result<PathBuf> {
    let set = variable(name).filter(|path| path.is_absolute());
    set.or_else(|| Some(variable("HOME")?.join(below_home))).ok_or_else(|| anyhow!("neither ${name} nor $HOME is set"))
}

fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value: &OsString| !value.is_empty()).map(PathBuf::from)
}
