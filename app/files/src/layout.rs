//! What the entries of an offer will be called here: refuses an offer whose names are paths, makes awkward names safe,
//! gives names that somebody takes for one another a number, and says what it changed. It touches no disk.

use std::collections::{BTreeMap, HashMap};

use crate::error::Refusal;
use crate::limits::MAX_TOLD;
use crate::manifest::{Entry, Manifest};
use crate::name::{self, Rules, display};

/// The names here.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    renamed: BTreeMap<u32, Box<str>>,
    changes: Vec<Change>,
    changed: u32,
}

/// A name that is not the one offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which entry of the manifest.
    pub entry: u32,
    /// Its path as offered, safe to print.
    pub offered: String,
    /// Its name here.
    pub name: String,
}

impl Layout {
    /// Looks at every name. The same manifest and rules give the same names each time.
    pub fn new(manifest: &Manifest, rules: Rules) -> Result<Self, Refusal> {
        let mut layout = Self::default();
        // By folder and key: the number to try next. A peer who repeats one name costs one look each time.
        let mut taken: HashMap<(Option<u32>, blake3::Hash), u32> = HashMap::new();
        for (index, entry) in (0..).zip(manifest.entries()) {
            let (offered, parent) = (entry.offered_name(), entry.parent());
            let top = parent.is_none();
            name::check(offered, top).map_err(|why| Refusal {
                entry: index,
                path: display(&manifest.offered_path(index)).into_owned(),
                why,
            })?;
            let safe = name::safe(offered, top, rules);
            let first = (parent, name::key(&safe, rules));
            let mut number = taken.get(&first).copied().unwrap_or(0);
            let chosen = loop {
                let candidate = name::numbered(&safe, number, !entry.is_file());
                number += 1;
                let key = (parent, name::key(&candidate, rules));
                if number == 1 || !taken.contains_key(&key) {
                    taken.entry(key).or_insert(1);
                    break candidate;
                }
            };
            taken.insert(first, number);
            if chosen != offered {
                layout.tell(manifest, index, &chosen);
                layout.renamed.insert(index, chosen.into());
            }
        }
        Ok(layout)
    }

    fn tell(&mut self, manifest: &Manifest, index: u32, chosen: &str) {
        let offered = manifest.get(index).map(Entry::offered_name).unwrap_or_default();
        // Another spelling of the same letters is nothing to tell of.
        if name::is_respelt(offered, chosen) {
            return;
        }
        self.changed += 1;
        if self.changes.len() < MAX_TOLD {
            let offered = display(&manifest.offered_path(index)).into_owned();
            self.changes.push(Change { entry: index, offered, name: chosen.to_owned() });
        }
    }

    /// The names that differ from those offered; the first [`MAX_TOLD`] of them.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// How many names differ.
    pub fn changed(&self) -> u32 {
        self.changed
    }

    /// The name of an entry here: one component, safe to use.
    pub fn name<'a>(&'a self, manifest: &'a Manifest, index: u32) -> &'a str {
        let offered = || manifest.get(index).map(Entry::offered_name).unwrap_or_default();
        self.renamed.get(&index).map_or_else(offered, AsRef::as_ref)
    }

    /// The path of an entry here, below the folder that files are received into.
    pub fn path(&self, manifest: &Manifest, index: u32) -> String {
        manifest.path_by(index, |index, _| self.name(manifest, index))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;
    use crate::RefusedWhy;
    use crate::limits::MAX_COMPONENT;
    use crate::manifest::tests::{arbitrary, encoded};
    use crate::manifest::{Kind, ManifestDecoder, Time};

    fn manifest(names: &[(usize, &str, bool)]) -> Manifest {
        let mut manifest = Manifest::default();
        for (depth, name, file) in names {
            let kind = if *file { Kind::File { size: 1 } } else { Kind::Folder };
            manifest.add(*depth, (*name).into(), kind, Time::default(), 0o644).unwrap();
        }
        manifest
    }

    fn paths(manifest: &Manifest, rules: Rules) -> Vec<String> {
        let layout = Layout::new(manifest, rules).unwrap();
        (0..manifest.len()).map(|index| layout.path(manifest, index)).collect()
    }

    #[test]
    fn one_hostile_name_refuses_the_whole_offer_and_says_which() {
        let manifest = manifest(&[(0, "fine", false), (1, "\u{202e}..\\..\\x", true)]);
        let refusal = Layout::new(&manifest, Rules::Portable).unwrap_err();
        assert_eq!((refusal.entry, refusal.why), (1, RefusedWhy::Separator));
        assert_eq!(refusal.path, "fine/\\u{202e}..\\..\\x");
    }

    #[test]
    fn names_that_collide_get_numbers() {
        let twins = manifest(&[
            (0, "a.txt", true),
            (0, "A.TXT", true),
            (0, "a.txt", true),
            (0, "a (1).txt", true),
            (0, "\u{e9}", false),
            (1, "inside", true),
            (0, "e\u{301}", false),
            (1, "inside", true),
        ]);
        let portable = [
            "a.txt",
            "A (1).TXT",
            "a (2).txt",
            "a (1) (1).txt",
            "\u{e9}",
            "\u{e9}/inside",
            "\u{e9} (1)",
            "\u{e9} (1)/inside",
        ];
        assert_eq!(paths(&twins, Rules::Portable), portable);
        let native =
            ["a.txt", "A.TXT", "a (1).txt", "a (1) (1).txt", "\u{e9}", "\u{e9}/inside", "e\u{301}", "e\u{301}/inside"];
        assert_eq!(paths(&twins, Rules::Native), native);
        assert_eq!(Layout::new(&twins, Rules::Portable).unwrap().changed(), 4);
    }

    #[test]
    fn thousands_of_one_name_are_told_of_briefly() {
        let mut same = Manifest::default();
        for _ in 0..20_000 {
            same.add(0, "x".into(), Kind::File { size: 0 }, Time::default(), 0o644).unwrap();
        }
        let layout = Layout::new(&same, Rules::Portable).unwrap();
        assert_eq!((layout.changed(), layout.changes().len()), (19_999, MAX_TOLD));
        assert_eq!(layout.name(&same, 19_999), "x (19999)");
    }

    proptest! {
        /// Whatever bytes decode as a manifest, its paths stay below the folder, and no two are the same.
        #[test]
        fn no_path_leads_outside(
            manifest in arbitrary(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)
        ) {
            let mut bytes = encoded(&manifest);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let mut decoder = ManifestDecoder::default();
            let decoded = decoder.push(&bytes).and_then(|()| decoder.finish());
            for rules in [Rules::Portable, Rules::Native] {
                let Ok(Ok(layout)) = decoded.as_ref().map(|manifest| Layout::new(manifest, rules)) else { continue };
                let manifest = decoded.as_ref().unwrap();
                let mut seen = BTreeSet::new();
                for index in 0..manifest.len() {
                    let path = layout.path(manifest, index);
                    let components: Vec<_> = Path::new(&path).components().collect();
                    prop_assert!(components.iter().all(|part| matches!(part, Component::Normal(_))), "{path:?}");
                    prop_assert_eq!(components.len(), manifest.get(index).unwrap().depth() + 1);
                    prop_assert!(layout.name(manifest, index).len() <= MAX_COMPONENT);
                    prop_assert!(seen.insert(path));
                }
            }
        }
    }
}
