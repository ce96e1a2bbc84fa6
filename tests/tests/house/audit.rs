//! The audit of dependencies: licences, sources, versions. It needs no network and no list kept elsewhere.

use std::collections::BTreeMap;

use cargo_metadata::{Package, Source};
use spdx::{Expression, Licensee, ParseMode};

use super::{METADATA, members, none_of};

/// Licences under which a dependency may be used: permissive ones only.
const LICENCES: &[&str] = &[
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "0BSD",
    "BSL-1.0",
    "Zlib",
    "CC0-1.0",
    "Unlicense",
    "Unicode-3.0",
];

/// Packages that may have another licence: name, licence, reason. Empty is best.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// Packages that must not be there, and why.
const FORBIDDEN: &[(&str, &str)] = &[
    ("openssl", "one TLS stack: rustls over aws-lc-rs"),
    ("openssl-sys", "one TLS stack: rustls over aws-lc-rs"),
    ("native-tls", "one TLS stack: rustls over aws-lc-rs"),
    ("boring", "one TLS stack: rustls over aws-lc-rs"),
    ("async-std", "one runtime: tokio"),
    ("smol", "one runtime: tokio"),
    ("atty", "unmaintained; std::io::IsTerminal does it"),
    ("serde_yaml", "unmaintained"),
    ("bincode", "unmaintained"),
    ("paste", "unmaintained"),
    ("rust-crypto", "unmaintained, with known faults"),
    ("sodiumoxide", "unmaintained"),
];

/// Packages that must be there in one version only: two copies of what holds keys or runs the program are two to watch.
const ONCE: &[&str] = &[
    "aws-lc-rs",
    "chacha20poly1305",
    "hyper",
    "polyval",
    "quinn",
    "quinn-proto",
    "ring",
    "rustls",
    "rustls-webpki",
    "serde",
    "subtle",
    "tokio",
    "zeroize",
];

fn strangers() -> impl Iterator<Item = &'static Package> {
    METADATA.packages.iter().filter(|package| package.source.is_some())
}

#[test]
fn licences_are_permissive() {
    let allowed: Vec<Licensee> =
        LICENCES.iter().map(|licence| Licensee::parse(licence).expect("the table holds SPDX names")).collect();
    let faults = METADATA.packages.iter().filter_map(|package| {
        let Some(licence) = &package.license else {
            return Some(format!("{} {} names no licence", package.name, package.version));
        };
        let excepted = EXCEPTIONS.iter().any(|(name, other, _)| package.name == *name && licence == other);
        let permitted = Expression::parse_mode(licence, ParseMode::LAX)
            .is_ok_and(|expression| expression.evaluate(|needed| allowed.iter().any(|one| one.satisfies(needed))));
        (!permitted && !excepted).then(|| format!("{} {}: {licence}", package.name, package.version))
    });
    none_of("licences that are not on the list", faults);
}

#[test]
fn sources_are_crates_io_and_this_repository() {
    let faults = METADATA.packages.iter().filter_map(|package| match &package.source {
        Some(source) if source.is_crates_io() => None,
        None if METADATA.workspace_members.contains(&package.id) => None,
        source => Some(format!("{} comes from {source:?}", package.name)),
    });
    none_of("packages from elsewhere", faults);
}

#[test]
fn versions_are_named() {
    let mut faults = Vec::new();
    for package in members() {
        for dep in &package.dependencies {
            let ours = dep.path.is_some();
            if !ours && (dep.req.comparators.is_empty() || dep.req.to_string().contains('*')) {
                faults.push(format!("{} wants {} {}", package.name, dep.name, dep.req));
            }
            if !ours && !dep.source.as_ref().is_some_and(Source::is_crates_io) {
                faults.push(format!("{} wants {} from {:?}", package.name, dep.name, dep.source));
            }
        }
    }
    none_of("dependencies without a version", faults);
}

#[test]
fn nothing_forbidden_is_built_in() {
    let faults = strangers().filter_map(|package| {
        let why = FORBIDDEN.iter().find(|(name, _)| package.name == *name).map(|(_, why)| why)?;
        Some(format!("{} {}: {why}", package.name, package.version))
    });
    none_of("packages that must not be there", faults);
}

#[test]
fn what_holds_keys_is_there_once() {
    let mut versions: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for package in strangers() {
        versions.entry(&package.name).or_default().push(package.version.to_string());
    }
    let faults = ONCE.iter().filter_map(|name| match versions.get(name).map(Vec::as_slice) {
        Some([_one]) => None,
        found => Some(format!("{name}: {found:?}")),
    });
    none_of("packages that must be there in exactly one version", faults);
}

#[test]
fn every_exception_is_needed_and_says_why() {
    let faults = EXCEPTIONS.iter().filter(|(name, licence, why)| {
        let used = strangers().any(|package| package.name == *name && package.license.as_deref() == Some(*licence));
        !used || why.is_empty()
    });
    none_of("exceptions to strike", faults.map(|(name, ..)| (*name).to_owned()));
}
