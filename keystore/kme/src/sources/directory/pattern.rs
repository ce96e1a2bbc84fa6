//! How the names of key files hold their block's number.

use std::fmt;
use std::str::FromStr;

/// The most digits of a number of 64 bits.
const MAX_DIGITS: usize = 20;

/// A pattern for file names: literal text with one `{}` (1 to 20 decimal digits) or `{N}` (exactly N of them) where the
/// block's number stands: `block-{20}.key`, `qkd_{}.bin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamePattern {
    before: String,
    digits: Option<usize>,
    after: String,
}

/// Not a pattern for file names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\u{201c}{pattern}\u{201d} is no pattern for file names: {reason}")]
pub struct InvalidPattern {
    pattern: String,
    reason: &'static str,
}

impl NamePattern {
    /// The number in `name`; `None` for a file that is not meant.
    pub fn number(&self, name: &str) -> Option<u64> {
        let digits = name.strip_prefix(self.before.as_str())?.strip_suffix(self.after.as_str())?;
        let length_fits = self.digits.map_or((1..=MAX_DIGITS).contains(&digits.len()), |count| digits.len() == count);
        let is_number = length_fits && digits.bytes().all(|digit| digit.is_ascii_digit());
        is_number.then(|| digits.parse().ok()).flatten()
    }
}

impl Default for NamePattern {
    /// What `vernam link` writes: `block-{20}.key`.
    fn default() -> Self {
        Self { before: "block-".to_owned(), digits: Some(MAX_DIGITS), after: ".key".to_owned() }
    }
}

impl FromStr for NamePattern {
    type Err = InvalidPattern;

    fn from_str(pattern: &str) -> Result<Self, InvalidPattern> {
        let wrong = |reason| InvalidPattern { pattern: pattern.to_owned(), reason };
        let (before, rest) = pattern.split_once('{').ok_or_else(|| wrong("there is no {} for the number in it"))?;
        let (count, after) = rest.split_once('}').ok_or_else(|| wrong("its { is never closed"))?;
        let digits = match count {
            "" => None,
            count => match count.parse() {
                Ok(count) if (1..=MAX_DIGITS).contains(&count) => Some(count),
                _ => return Err(wrong("between { and } stands nothing, or a count of digits from 1 to 20")),
            },
        };
        if after.contains(['{', '}']) {
            return Err(wrong("the number can stand in it only once"));
        }
        if pattern.contains(['/', '\0']) {
            return Err(wrong("it must be the name of a file in the folder, without /"));
        }
        if before.starts_with('.') {
            return Err(wrong("names that begin with a dot are left alone"));
        }
        if before.ends_with(|end: char| end.is_ascii_digit()) || after.starts_with(|next: char| next.is_ascii_digit()) {
            return Err(wrong("a digit beside the number would be taken for a part of it"));
        }
        Ok(Self { before: before.to_owned(), digits, after: after.to_owned() })
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.digits.map(|count| count.to_string()).unwrap_or_default();
        write!(f, "{}{{{count}}}{}", self.before, self.after)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_give_their_number_or_are_not_meant() {
        let ours = NamePattern::default();
        assert_eq!(ours, "block-{20}.key".parse().unwrap());
        assert_eq!(ours.number("block-00000000004294967297.key"), Some(4_294_967_297));
        for other in [
            "block-00000000004294967297.key.unsettled",
            ".block-00000000004294967297.key.unfinished",
            "block-4294967297.key",
            "block-0000000000429496729x.key",
            "block-+0000000000000000001.key",
            "block-99999999999999999999.key",
            "link.json",
            "block-.key",
        ] {
            assert_eq!(ours.number(other), None, "{other}");
        }
        let any: NamePattern = "{}".parse().unwrap();
        assert_eq!(
            [any.number("7"), any.number("007"), any.number(""), any.number("7.refused")],
            [Some(7), Some(7), None, None]
        );
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        for (pattern, sign) in [
            ("block.key", "no {}"),
            ("a{", "never closed"),
            ("a{0}", "1 to 20"),
            ("a{21}", "1 to 20"),
            ("a{x}", "1 to 20"),
            ("a{}b{}", "only once"),
            ("../a{}", "without /"),
            (".a{}", "dot"),
            ("a7{}", "digit"),
            ("a{}7", "digit"),
        ] {
            let said = pattern.parse::<NamePattern>().unwrap_err().to_string();
            assert!(said.contains(sign), "{said}");
        }
        for pattern in ["block-{20}.key", "qkd_{}.bin", "{8}"] {
            assert_eq!(pattern.parse::<NamePattern>().unwrap().to_string(), pattern);
        }
    }
}
