//! The documents keep in step with the code.

use std::collections::BTreeSet;
use std::fs;

use super::{members, none_of, root};

/// The names under `[workspace.dependencies]`, our own crates left out.
fn workspace_dependencies() -> BTreeSet<String> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a manifest");
    let lines = manifest.lines().skip_while(|line| *line != "[workspace.dependencies]").skip(1);
    lines
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name.to_owned())
        .filter(|name| !name.starts_with("vernam-"))
        .collect()
}

/// The names in the first column of the dependency tables of `CONTRIBUTING.md`.
fn reasons() -> BTreeSet<String> {
    let page = fs::read_to_string(root().join("CONTRIBUTING.md")).expect("CONTRIBUTING.md stands at the root");
    let section = page.split_once("## Dependencies").expect("a section on dependencies").1;
    let section = section.split("\n## ").next().unwrap_or(section);
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once(" |"));
    rows.flat_map(|(names, _)| names.split(", ").map(|name| name.trim_matches('`').to_owned()).collect::<Vec<_>>())
        .collect()
}

#[test]
fn every_dependency_has_its_reason_in_contributing() {
    let (used, explained) = (workspace_dependencies(), reasons());
    assert!(used.len() > 20, "the manifest was read: {used:?}");
    let missing = used.difference(&explained).map(|name| format!("{name} has no line"));
    let stale = explained.difference(&used).map(|name| format!("{name} is not a dependency any more"));
    none_of("CONTRIBUTING.md, section Dependencies", missing.chain(stale));
}

#[test]
fn every_dependency_is_used() {
    let used: BTreeSet<String> =
        members().flat_map(|package| package.dependencies.iter().map(|dep| dep.name.clone())).collect();
    let idle = workspace_dependencies().into_iter().filter(|name| !used.contains(name));
    none_of("workspace dependencies that no crate uses", idle);
}

#[test]
fn every_crate_has_a_readme_and_a_description() {
    let faults = members().filter_map(|package| {
        let folder = package.manifest_path.parent().expect("a manifest has a folder");
        let short = fs::read_to_string(folder.join("README.md")).is_ok_and(|text| text.lines().count() >= 3);
        (!short || package.description.is_none()).then(|| package.name.to_string())
    });
    none_of("crates without README.md or description", faults);
}
