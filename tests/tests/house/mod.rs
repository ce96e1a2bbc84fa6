//! The rules of the house, held by tests: which crate may know which, what may be depended on, how files look.

mod arrows;
mod audit;
mod docs;
mod files;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use cargo_metadata::{Metadata, MetadataCommand, Package};

/// The folder of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests are a folder of the workspace")
}

/// What cargo says of the workspace and of all that it resolves to, for every platform.
///
/// `--locked` fails if `Cargo.lock` is missing or behind the manifests. Nothing is fetched that was not locked.
static METADATA: LazyLock<Metadata> = LazyLock::new(|| {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(["--locked".to_owned()])
        .exec()
        .unwrap_or_else(|error| panic!("Cargo.lock is missing or not up to date, or cargo failed: {error}"))
});

/// Our own crates.
fn members() -> impl Iterator<Item = &'static Package> {
    METADATA.workspace_packages().into_iter()
}

/// The names of every package that is linked into `package` on this platform, directly or not, as `cargo tree` finds them
/// for this package alone. (`cargo metadata` merges the features that all of our crates together ask for.)
fn linked_into(package: &Package) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut tree = Command::new(cargo);
    tree.current_dir(root()).args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--package"]);
    let output = tree.arg(package.name.as_str()).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8_lossy(&output.stdout);
    lines.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Fails with all of `faults`, one a line.
#[track_caller]
fn none_of(rule: &str, faults: impl IntoIterator<Item = String>) {
    let faults: Vec<String> = faults.into_iter().collect();
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}
