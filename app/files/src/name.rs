//! What a peer may call a file: which names are refused, which are made safe, and how any is shown. It looks at one name
//! at a time; what two names do to each other is [`Layout`](crate::Layout)'s.
//!
//! The list follows croc's checks of names (11.2.5), and what Windows, macOS and terminals do with the rest.

use std::borrow::Cow;
use std::ffi::OsStr;

use unicode_normalization::{UnicodeNormalization, is_nfc};

use crate::error::RefusedWhy;
use crate::limits::{MAX_COMPONENT, MAX_OFFERED_COMPONENT};

/// Which names are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Rules {
    /// What every common file system can hold, Windows' and Apple's too, so that a folder can be copied on.
    #[default]
    Portable,
    /// Only what could harm here: controls, direction marks, hidden names at the top, names that are too long. A source
    /// tree with `aux.c`, or with two names that differ in case only, stays as it is.
    Native,
}

/// Names of devices on Windows, whatever ending they have (Microsoft, "Naming Files, Paths, and Namespaces").
const DEVICES: [&str; 30] = [
    "con", "prn", "aux", "nul", "conin$", "conout$", "com0", "com1", "com2", "com3", "com4", "com5", "com6", "com7",
    "com8", "com9", "lpt0", "lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9", "com¹", "com²",
    "com³", "clock$",
];
/// The three that were left over.
const MORE_DEVICES: [&str; 3] = ["lpt¹", "lpt²", "lpt³"];

/// A name that could leave its folder on some system is no name.
pub(crate) fn check(name: &str, top: bool) -> Result<(), RefusedWhy> {
    let mut chars = name.chars();
    let (first, second) = (chars.next(), chars.next());
    match name {
        "" => Err(RefusedWhy::Empty),
        "." | ".." => Err(RefusedWhy::Dots),
        _ if name.contains(['/', '\\']) => Err(RefusedWhy::Separator),
        _ if name.contains('\0') => Err(RefusedWhy::Nul),
        _ if top && first.is_some_and(|c| c.is_ascii_alphabetic()) && second == Some(':') => Err(RefusedWhy::Drive),
        _ if name.len() > MAX_OFFERED_COMPONENT => Err(RefusedWhy::LongName),
        // What only looks like dots to us is dots where trailing ones and spaces are stripped, or for a font.
        _ if name.nfkc().all(|c| c == '.' || c == ' ')
            && matches!(name.nfkc().filter(|c| *c == '.').count(), 1 | 2) =>
        {
            Err(RefusedWhy::Dots)
        }
        _ => Ok(()),
    }
}

/// The name that a [checked](check) one gets on our disk. It is stable: a name that was made safe stays as it is.
pub(crate) fn safe(name: &str, top: bool, rules: Rules) -> Cow<'_, str> {
    let portable = rules == Rules::Portable;
    let mut safe = String::with_capacity(name.len());
    let mut before = ' ';
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        let joins = matches!(c, '\u{200c}' | '\u{200d}') && !before.is_ascii();
        let joined = joins && chars.peek().is_some_and(|next| !next.is_ascii() && !is_unseen(*next));
        let bad = (is_unseen(c) && !joined) || is_mark(c) || (portable && "<>:\"|?*".contains(c));
        safe.push(if bad { '_' } else { c });
        before = c;
    }
    if portable {
        if !is_nfc(&safe) {
            safe = safe.nfc().collect();
        }
        let trimmed = safe.trim_end_matches([' ', '.']).len();
        safe.truncate(trimmed);
        let stem = safe.split('.').next().unwrap_or_default().trim_end().to_lowercase();
        if DEVICES.contains(&stem.as_str()) || MORE_DEVICES.contains(&stem.as_str()) {
            safe.insert(0, '_');
        }
    }
    // A name of ours for parts, or one that a shell or a desktop reads at the next start, is not the peer's to set.
    if safe.is_empty() || (top && safe.starts_with('.')) {
        safe.insert(0, '_');
    }
    let safe = shortened(&safe, MAX_COMPONENT, portable);
    if safe == name { Cow::Borrowed(name) } else { Cow::Owned(safe) }
}

/// `name` cut to `most` bytes, its ending kept if that is short.
fn shortened(name: &str, most: usize, portable: bool) -> String {
    if name.len() <= most {
        return name.to_owned();
    }
    let (stem, ending) = split(name);
    let mut at = most.saturating_sub(ending.len());
    while !stem.is_char_boundary(at) {
        at -= 1;
    }
    let stem = if portable { stem[..at].trim_end_matches([' ', '.']) } else { &stem[..at] };
    format!("{stem}{ending}")
}

/// `report`, `.pdf`; a short `.tar` before the ending belongs to it, a name that starts with a dot is all stem.
fn split(name: &str) -> (&str, &str) {
    let at = match name.rfind('.') {
        Some(at) if at > 0 && name.len() - at <= 16 => at,
        _ => name.len(),
    };
    let at = match name[..at].strip_suffix(".tar") {
        Some(stem) if !stem.is_empty() && at < name.len() => stem.len(),
        _ => at,
    };
    name.split_at(at)
}

/// `report.pdf`, `report (1).pdf`, ... A folder's name has no ending. It is never longer than [`MAX_COMPONENT`].
pub(crate) fn numbered(name: &str, number: u32, folder: bool) -> String {
    if number == 0 {
        return name.to_owned();
    }
    let (stem, ending) = if folder { (name, "") } else { split(name) };
    let ending = format!(" ({number}){ending}");
    let mut at = stem.len().min(MAX_COMPONENT - ending.len());
    while !stem.is_char_boundary(at) {
        at -= 1;
    }
    format!("{}{ending}", &stem[..at])
}

/// Two names with the same key are one name to somebody: to a file system that ignores case or spelling, or to an eye.
pub(crate) fn key(name: &str, rules: Rules) -> blake3::Hash {
    if rules == Rules::Native {
        return blake3::hash(name.as_bytes());
    }
    let seen = name.chars().filter(|c| !is_unseen(*c) && !matches!(c, '\u{fe00}'..='\u{fe0f}'));
    let folded = seen.nfkd().flat_map(char::to_uppercase).flat_map(char::to_lowercase).nfkc();
    blake3::hash(folded.collect::<String>().as_bytes())
}

/// Whether two names are the same letters, spelt in two ways (Unicode's NFC and NFD).
pub(crate) fn is_respelt(one: &str, other: &str) -> bool {
    one.nfc().eq(other.nfc())
}

/// The name that we offer for a file of ours, if it must differ: UTF-8, and nothing in it that a receiver refuses.
pub(crate) fn offered(name: &OsStr, top: bool) -> String {
    let mut offered = name.to_string_lossy().replace(['/', '\\', '\0'], "_");
    while offered.len() > MAX_OFFERED_COMPONENT {
        offered.pop();
    }
    match check(&offered, top) {
        Ok(()) => offered,
        Err(RefusedWhy::Drive) => offered.replacen(':', "_", 1),
        Err(_) => format!("_{offered}"),
    }
}

/// A name or path as it can be printed: what a terminal would obey, or what cannot be seen, is written as `\u{...}`.
pub fn display(name: &str) -> Cow<'_, str> {
    if !name.chars().any(|c| is_unseen(c) || is_mark(c)) {
        return Cow::Borrowed(name);
    }
    let escape = |c: char| if is_unseen(c) || is_mark(c) { c.escape_unicode().to_string() } else { c.to_string() };
    Cow::Owned(name.chars().map(escape).collect())
}

/// Characters that have no picture, or none that shows where they are: controls, format characters (Unicode's category
/// Cf), default ignorables, fillers, and what is no character at all.
fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}'
            | '\u{8e2}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
            | '\u{e000}'..='\u{f8ff}' | '\u{fdd0}'..='\u{fdef}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffc}'
            | '\u{110bd}' | '\u{110cd}' | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{10ffff}')
        || (c as u32) & 0xfffe == 0xfffe
}

/// Characters that read as a separator of paths: fraction and division slashes, full-width ones.
fn is_mark(c: char) -> bool {
    matches!(
        c,
        '\u{2044}'
            | '\u{2215}'
            | '\u{2216}'
            | '\u{29f5}'
            | '\u{29f8}'
            | '\u{29f9}'
            | '\u{fe68}'
            | '\u{ff0f}'
            | '\u{ff3c}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_their_folder_are_refused() {
        for (name, why) in [
            ("", RefusedWhy::Empty),
            (".", RefusedWhy::Dots),
            ("..", RefusedWhy::Dots),
            (".. ", RefusedWhy::Dots),
            (". .", RefusedWhy::Dots),
            ("\u{2025}", RefusedWhy::Dots),
            ("\u{2024}\u{ff0e}", RefusedWhy::Dots),
            ("/", RefusedWhy::Separator),
            ("/etc/passwd", RefusedWhy::Separator),
            ("../a", RefusedWhy::Separator),
            ("..\\a", RefusedWhy::Separator),
            ("\\\\server\\share", RefusedWhy::Separator),
            ("a\0", RefusedWhy::Nul),
            ("C:", RefusedWhy::Drive),
            ("c:autoexec.bat", RefusedWhy::Drive),
        ] {
            assert_eq!(check(name, true), Err(why), "{name:?}");
        }
        assert_eq!(check(&"x".repeat(MAX_OFFERED_COMPONENT + 1), false), Err(RefusedWhy::LongName));
        for name in ["...", "..a", "a..", ".hidden", "é", "12:30", "a b", "-rf"] {
            assert_eq!(check(name, true), Ok(()), "{name:?}");
        }
    }

    #[test]
    fn awkward_names_become_harmless() {
        for (awkward, portable, native) in [
            ("ok name.pdf", "ok name.pdf", "ok name.pdf"),
            ("a\u{202e}gpj.exe", "a_gpj.exe", "a_gpj.exe"),
            ("line\nbreak\u{1b}[2J", "line_break_[2J", "line_break_[2J"),
            ("zero\u{200b}width", "zero_width", "zero_width"),
            ("\u{feff}bom", "_bom", "_bom"),
            ("CON.txt", "_CON.txt", "CON.txt"),
            ("nul", "_nul", "nul"),
            ("aux .c", "_aux .c", "aux .c"),
            ("com¹.log", "_com¹.log", "com¹.log"),
            ("console.txt", "console.txt", "console.txt"),
            ("...", "_", "_..."),
            ("trailing. . ", "trailing", "trailing. . "),
            ("12:30?.txt", "12_30_.txt", "12:30?.txt"),
            ("a\u{2215}b\u{ff0f}c", "a_b_c", "a_b_c"),
            (".bashrc", "_.bashrc", "_.bashrc"),
            ("e\u{301}", "é", "e\u{301}"),
            ("👨\u{200d}👩.jpg", "👨\u{200d}👩.jpg", "👨\u{200d}👩.jpg"),
            ("a\u{200d}b", "a_b", "a_b"),
        ] {
            assert_eq!(safe(awkward, true, Rules::Portable), portable, "{awkward:?}");
            assert_eq!(safe(awkward, true, Rules::Native), native, "{awkward:?}");
        }
        assert_eq!(safe(".bashrc", false, Rules::Portable), ".bashrc");
    }

    #[test]
    fn long_names_keep_their_ending() {
        let long = format!("{}.tar.gz", "é".repeat(300));
        let short = safe(&long, true, Rules::Portable);
        assert!(short.len() <= MAX_COMPONENT && short.ends_with("é.tar.gz"), "{short}");
        assert!(safe(&"é".repeat(300), true, Rules::Portable).len() <= MAX_COMPONENT);
    }

    #[test]
    fn numbers_stand_before_the_ending() {
        for (name, folder, expected) in [
            ("report.pdf", false, "report (1).pdf"),
            ("a.tar.gz", false, "a (1).tar.gz"),
            (".bashrc", false, ".bashrc (1)"),
            ("my.photos", true, "my.photos (1)"),
            ("plain", false, "plain (1)"),
        ] {
            assert_eq!(numbered(name, 1, folder), expected);
        }
        assert!(numbered(&"é".repeat(127), 9_999, true).len() <= MAX_COMPONENT);
        assert_eq!(numbered("a", 0, false), "a");
    }

    #[test]
    fn names_that_somebody_takes_for_one_have_one_key() {
        for (a, b) in [("README", "readme"), ("e\u{301}", "é"), ("straße", "STRASSE"), ("a", "ａ"), ("x\u{fe0f}", "x")]
        {
            assert_eq!(key(a, Rules::Portable), key(b, Rules::Portable), "{a} {b}");
            assert_ne!(key(a, Rules::Native), key(b, Rules::Native), "{a} {b}");
        }
        assert_ne!(key("a", Rules::Portable), key("b", Rules::Portable));
    }

    #[test]
    fn shown_names_steer_no_terminal() {
        assert_eq!(display("plain é 日本"), "plain é 日本");
        assert_eq!(display("\u{1b}[2Ja\u{202e}"), "\\u{1b}[2Ja\\u{202e}");
    }
}
