//! Golden files: what the program showed once, and must show again.

use std::path::Path;

/// Compares with `tests/golden/NAME`; `UPDATE=1` writes it instead.
#[track_caller]
pub(crate) fn golden(name: &str, seen: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    // No line may end in blanks, in the files as in what is compared with them.
    let seen: String = seen.lines().flat_map(|line| [line.trim_end(), "\n"]).collect();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().expect("a file in a folder")).expect("the folder can be made");
        std::fs::write(&path, &seen).expect("golden files can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == seen, "{name} is not as it was; UPDATE=1 accepts this:\n{seen}");
}
