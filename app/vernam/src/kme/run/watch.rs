//! Which files have changed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use vernam_kme::settings::Settings;

/// What tells one version of a file from another; `None`: it is not there.
type Stamp = Option<(u64, u64, i64, i64)>;

/// Remembers how files were when they were last looked at.
pub(super) struct Watch {
    config: PathBuf,
    stamps: BTreeMap<PathBuf, Stamp>,
}

impl Watch {
    pub(super) fn new(config: &Path, settings: &Settings) -> Self {
        let mut watch = Self { config: config.to_owned(), stamps: BTreeMap::new() };
        watch.follow(settings);
        watch
    }

    /// From now on the files of these settings are looked at.
    pub(super) fn follow(&mut self, settings: &Settings) {
        let mut files = settings.watched();
        files.push(self.config.clone());
        self.stamps = files
            .into_iter()
            .map(|file| {
                let known = self.stamps.get(&file).copied();
                let stamp = known.unwrap_or_else(|| stamp(&file));
                (file, stamp)
            })
            .collect();
    }

    /// Whether one of them is another than at the last look.
    pub(super) fn has_changed(&mut self) -> bool {
        let mut has_changed = false;
        for (file, known) in &mut self.stamps {
            let now = stamp(file);
            has_changed |= *known != now;
            *known = now;
        }
        has_changed
    }
}

fn stamp(file: &Path) -> Stamp {
    let about = fs::metadata(file).ok()?;
    Some((about.ino(), about.len(), about.mtime(), about.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_seen_once() {
        let tmp = tempfile::tempdir().expect("a folder");
        let lab = tmp.path().join("lab");
        super::super::super::setup::set_up(&lab, 8443).expect("it can be made");
        let config = lab.join("kme-a/kme.toml");
        let loaded = Settings::load(&config).unwrap_or_else(|error| panic!("{error}"));
        let mut watch = Watch::new(&config, &loaded.settings);
        assert!(!watch.has_changed());
        for name in ["kme.toml", "cert.pem", "ca.pem"] {
            let file = lab.join("kme-a").join(name);
            let mut text = fs::read(&file).expect("it is there");
            text.push(b'\n');
            fs::write(&file, text).expect("it can be written");
            assert!(watch.has_changed(), "{name}");
            assert!(!watch.has_changed(), "{name}");
        }
        fs::remove_file(lab.join("kme-a/key.pem")).expect("it is there");
        assert!(watch.has_changed());
    }
}
