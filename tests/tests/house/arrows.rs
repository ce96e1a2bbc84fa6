//! Dependencies point down only.

use cargo_metadata::DependencyKind;

use super::{linked_into, members, none_of};

/// Which of our crates each may use. A new crate gets a row here; a new arrow is a change of the architecture.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "vernam",
        &[
            "vernam-engine",
            "vernam-audio",
            "vernam-session",
            "vernam-quic",
            "vernam-key",
            "vernam-store",
            "vernam-etsi014",
            "vernam-ledger",
            "vernam-kme",
            "vernam-qkd",
            "vernam-link",
            "vernam-ca",
        ],
    ),
    (
        "vernam-engine",
        &[
            "vernam-audio",
            "vernam-files",
            "vernam-session",
            "vernam-quic",
            "vernam-key",
            "vernam-store",
            "vernam-etsi014",
        ],
    ),
    ("vernam-audio", &[]),
    ("vernam-files", &[]),
    ("vernam-session", &["vernam-key"]),
    ("vernam-quic", &["vernam-key"]),
    ("vernam-key", &[]),
    ("vernam-store", &["vernam-key", "vernam-etsi014"]),
    ("vernam-etsi014", &["vernam-key"]),
    ("vernam-ledger", &["vernam-key", "vernam-etsi014"]),
    ("vernam-kme", &["vernam-key", "vernam-etsi014", "vernam-ledger"]),
    ("vernam-gf2", &[]),
    ("vernam-qkd", &["vernam-gf2", "vernam-key"]),
    ("vernam-link", &["vernam-qkd", "vernam-key"]),
    ("vernam-ca", &[]),
];

/// What tests beside the code may use on top.
const FOR_TESTS: &[&str] = &["vernam-ca"];

/// What a crate must not be built from, at any depth, and why.
const NEVER: &[(&str, &[&str], &str)] = &[
    ("vernam-key", ASYNC, "it does no I/O"),
    ("vernam-session", ASYNC, "it is sans-IO"),
    ("vernam-qkd", ASYNC, "it is sans-IO"),
    ("vernam-engine", NETWORK_SIDE, "a client cannot tell our KME from a vendor's"),
    ("vernam-session", NETWORK_SIDE, "a client cannot tell our KME from a vendor's"),
    ("vernam-quic", NETWORK_SIDE, "a client cannot tell our KME from a vendor's"),
    ("vernam-session", &["aws-lc-rs", "aws-lc-sys"], "the two layers have independent cryptography"),
    ("vernam-quic", &["ring", "chacha20poly1305", "polyval"], "the two layers have independent cryptography"),
];

const ASYNC: &[&str] = &["tokio", "mio", "socket2", "quinn", "quinn-proto", "hyper", "rustls"];
const NETWORK_SIDE: &[&str] = &["vernam-ledger", "vernam-kme", "vernam-qkd", "vernam-link", "vernam-ca"];

#[test]
fn crates_depend_downwards_only() {
    let mut faults = Vec::new();
    for package in members().filter(|package| package.name.as_str() != "vernam-tests") {
        let name = package.name.as_str();
        let Some((_, allowed)) = ARROWS.iter().find(|(crate_name, _)| *crate_name == name) else {
            faults.push(format!("{name} has no row in ARROWS"));
            continue;
        };
        for dep in package.dependencies.iter().filter(|dep| dep.path.is_some()) {
            let for_tests = dep.kind == DependencyKind::Development && FOR_TESTS.contains(&dep.name.as_str());
            if !allowed.contains(&dep.name.as_str()) && !for_tests {
                faults.push(format!("{name} depends on {}", dep.name));
            }
        }
    }
    none_of("arrows that the architecture does not have", faults);
}

#[test]
fn layers_are_not_built_from_what_they_must_not_know() {
    let mut faults = Vec::new();
    for (name, never, why) in NEVER {
        let package = members().find(|package| package.name == *name).expect("the table names our crates");
        let reached = linked_into(package);
        assert!(reached.contains(*name), "cargo tree lists the package itself");
        for other in never.iter().filter(|other| reached.contains(**other)) {
            faults.push(format!("{name} is built from {other}, but {why}"));
        }
    }
    none_of("dependencies that a layer must not have", faults);
}

#[test]
fn every_row_names_a_crate() {
    let missing = ARROWS.iter().filter(|(name, _)| !members().any(|package| package.name == *name));
    none_of("rows of ARROWS without a crate", missing.map(|(name, _)| (*name).to_owned()));
}
