//! How files look.

use std::fs;
use std::path::{Path, PathBuf};

use super::{members, none_of, root};

/// The longest a source file may be. Most tell their story in 150 to 350 lines.
const MAX_LINES: usize = 800;

/// Crates that never read a clock: time is an argument.
const NO_CLOCK: &[&str] = &["keystore/key", "keystore/qkd", "transport/session"];

/// The crates that have their own copy of the workspace's lints, and why. Only `forbid` may differ, and only by `deny`.
const OWN_LINTS: &[(&str, &str)] = &[
    ("vernam-gf2", "one call into a function compiled for an instruction"),
    ("vernam-audio", "the calls into libopus, for what no crate with safe functions reaches"),
];

/// The files in which the compiler does not check all, and how many lines of each it does not.
const UNCHECKED: &[(&str, usize)] = &[("keystore/gf2/src/hardware.rs", 1), ("app/audio/src/codec/libopus.rs", 14)];

/// All files of the repository whose name ends in one of `endings`, by path from the root.
fn files(endings: &[&str]) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("the folder was listed").flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let skipped = name == "target" || name == ".git" || name == ".venv" || name == "__pycache__";
            if path.is_dir() && !skipped {
                open.push(path);
            } else if path.is_file() && endings.iter().any(|ending| name.ends_with(ending)) {
                let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                found.push((path.strip_prefix(root()).expect("below the root").to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// The lines of a source file outside line comments, numbered from 1.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).map(|(number, line)| (number, line.split("//").next().unwrap_or(line)))
}

fn lines_with(found: &[(PathBuf, String)], wrong: impl Fn(&str) -> bool) -> Vec<String> {
    let hits = found.iter().flat_map(|(path, text)| code(text).map(move |(number, line)| (path, number, line)));
    hits.filter(|(.., line)| wrong(line)).map(|(path, number, _)| format!("{}:{number}", path.display())).collect()
}

#[test]
fn no_file_tells_two_stories() {
    let long = files(&[".rs", ".py", ".sh"]).into_iter().filter_map(|(path, text)| {
        let lines = text.lines().count();
        (lines > MAX_LINES).then(|| format!("{}: {lines} lines", path.display()))
    });
    none_of("files to split", long);
}

/// The lines under `[head` of a manifest that set a lint, comments left out, sorted.
fn lints<'a>(manifest: &'a str, head: &str) -> Vec<&'a str> {
    let (mut inside, mut found) = (false, Vec::new());
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.starts_with(head);
        } else if inside && line.contains('=') && !line.starts_with('#') {
            found.push(line);
        }
    }
    found.sort_unstable();
    found
}

#[test]
fn crates_inherit_the_lints() {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a manifest");
    let copy = workspace.replace("unsafe_code = \"forbid\"", "unsafe_code = \"deny\"");
    assert!(lints(&workspace, "[workspace.lints").len() > 10, "the lints were found");
    let lax = members().filter_map(|package| {
        let manifest = fs::read_to_string(&package.manifest_path).expect("cargo read it too");
        let held = if OWN_LINTS.iter().any(|(name, _)| package.name == *name) {
            lints(&manifest, "[lints") == lints(&copy, "[workspace.lints")
        } else {
            manifest.contains("[lints]\nworkspace = true")
        };
        (!held).then(|| package.name.to_string())
    });
    none_of("crates without `[lints] workspace = true`, or without a copy of it", lax);
}

#[test]
fn sans_io_crates_read_no_clock() {
    let sources = files(&[".rs"]);
    assert!(sources.len() > 40, "the sources were found");
    let is_timeless = |path: &Path| NO_CLOCK.iter().any(|krate| path.starts_with(Path::new(krate).join("src")));
    let timeless: Vec<_> = sources.into_iter().filter(|(path, _)| is_timeless(path)).collect();
    let clocks = ["Instant::now", "SystemTime::now", "UNIX_EPOCH", "thread::sleep"];
    none_of("clocks in sans-IO crates", lines_with(&timeless, |line| clocks.iter().any(|clock| line.contains(clock))));
}

#[test]
fn code_is_safe() {
    // Split, so that this line is not a hit.
    let word = concat!("un", "safe");
    let hits = lines_with(&files(&[".rs"]), |line| {
        line.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|token| token == word)
    });
    let in_file = |hit: &str, path: &str| hit.rsplit_once(':').is_some_and(|(file, _)| file == path);
    for (path, lines) in UNCHECKED {
        assert_eq!(hits.iter().filter(|hit| in_file(hit, path)).count(), *lines, "lines of {path}");
    }
    let others = hits.into_iter().filter(|hit| !UNCHECKED.iter().any(|(path, _)| in_file(hit, path)));
    none_of("code that the compiler does not check", others);
}

#[test]
fn no_path_of_somebodys_machine() {
    let homes = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/"), concat!("/wo", "rk/")];
    let texts = files(&[".rs", ".md", ".toml", ".sh", ".py", ".json", ".svg", ".txt", "Makefile", "run"]);
    let hits = texts.iter().flat_map(|(path, text)| {
        let lines =
            (1..).zip(text.lines()).filter(|(_, line): &(usize, &str)| homes.iter().any(|home| line.contains(home)));
        lines.map(move |(number, _)| format!("{}:{number}", path.display()))
    });
    none_of("paths of one machine", hits);
}

#[test]
fn the_root_holds_only_what_a_newcomer_needs() {
    let known = [
        "app",
        "assets",
        "keystore",
        "tests",
        "transport",
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "LICENSE-APACHE",
        "LICENSE-MIT",
        "Makefile",
        "Cargo.toml",
        "Cargo.lock",
        "clippy.toml",
        "rustfmt.toml",
        "target",
    ];
    let strangers = fs::read_dir(root()).expect("the root is there").flatten().filter_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let ours = name.starts_with('.') || known.contains(&name.as_str()) || name.ends_with('~');
        (!ours).then_some(name)
    });
    none_of("files at the root without a place", strangers);
}
