//! What is wrong with a configuration file: where, why, and what to write instead.

use std::fmt;

use toml_span::Span;

/// The longest piece of a line that is shown, in characters.
const MAX_LINE: usize = 120;
/// Characters before the fault that are shown of a longer line.
const LEAD: usize = 40;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// Why it is wrong.
    pub message: String,
    /// What to write instead, or to do.
    pub help: Option<String>,
    /// The line with a mark under the fault; empty where it must not be shown.
    excerpt: String,
}

/// Everything that is wrong with a configuration file, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct SettingsError {
    /// The file, as it was named.
    file: String,
    complaints: Vec<Complaint>,
}

impl SettingsError {
    /// What is wrong; at least one thing.
    pub fn complaints(&self) -> &[Complaint] {
        &self.complaints
    }

    /// The file as a whole cannot be read.
    pub(super) fn unreadable(file: &str, message: String, help: &str) -> Self {
        let complaint = Complaint { line: 1, column: 1, message, help: Some(help.to_owned()), excerpt: String::new() };
        Self { file: file.to_owned(), complaints: vec![complaint] }
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, complaint) in self.complaints.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            write!(f, "{}:{}:{}: {}", self.file, complaint.line, complaint.column, complaint.message)?;
            if !complaint.excerpt.is_empty() {
                write!(f, "\n{}", complaint.excerpt)?;
            }
            if let Some(help) = &complaint.help {
                write!(f, "\n  help: {help}")?;
            }
        }
        Ok(())
    }
}

/// Collects complaints about one text.
pub(super) struct Sink<'d> {
    text: &'d str,
    complaints: Vec<(usize, Complaint)>,
}

impl<'d> Sink<'d> {
    pub(super) fn new(text: &'d str) -> Self {
        Self { text, complaints: Vec::new() }
    }

    /// Something is wrong there; `help` may be empty.
    pub(super) fn wrong(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.add(span, message.into(), help.into(), true);
    }

    /// As [`Self::wrong`], where the line holds a secret.
    pub(super) fn wrong_and_secret(&mut self, span: Span, message: &str, help: &str) {
        self.add(span, message.to_owned(), help.to_owned(), false);
    }

    fn add(&mut self, span: Span, message: String, help: String, show: bool) {
        let place = Place::of(self.text, span);
        let help = Some(help).filter(|help| !help.is_empty());
        let excerpt = if show { place.excerpt() } else { String::new() };
        let complaint = Complaint { line: place.line, column: place.column + 1, message, help, excerpt };
        self.complaints.push((span.start, complaint));
    }

    /// Whether nothing was wrong so far.
    pub(super) fn is_empty(&self) -> bool {
        self.complaints.is_empty()
    }

    /// All that was wrong.
    pub(super) fn into_error(mut self, file: &str) -> SettingsError {
        self.complaints.sort_by_key(|(start, _)| *start);
        let complaints = self.complaints.into_iter().map(|(_, complaint)| complaint).collect();
        SettingsError { file: file.to_owned(), complaints }
    }
}

/// Where in the text something is.
struct Place<'d> {
    /// The number of the line, from 1.
    line: usize,
    /// Characters before it in its line.
    column: usize,
    /// Its length in its line, in characters.
    width: usize,
    shown: &'d str,
}

impl<'d> Place<'d> {
    fn of(text: &'d str, span: Span) -> Self {
        let boundary = |mut at: usize| {
            at = at.min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let (start, end) = (boundary(span.start), boundary(span.end.max(span.start)));
        let (before, rest) = text.split_at(start);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line_end = rest.find('\n').map_or(text.len(), |at| start + at);
        Self {
            line: before.matches('\n').count() + 1,
            column: text[line_start..start].chars().count(),
            width: text[start..end.clamp(start, line_end)].trim_end().chars().count().max(1),
            shown: text[line_start..line_end].trim_end(),
        }
    }

    fn excerpt(&self) -> String {
        let skip = if self.shown.chars().count() > MAX_LINE { self.column.saturating_sub(LEAD) } else { 0 };
        let flat = |c: char| if c.is_control() { ' ' } else { c };
        let piece: String = self.shown.chars().skip(skip).take(MAX_LINE).map(flat).collect();
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let indent = " ".repeat(self.column - skip);
        let mark = "^".repeat(self.width.min(MAX_LINE));
        format!("{gutter} |\n{number} | {piece}\n{gutter} | {indent}{mark}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str, start: usize, end: usize) -> String {
        let mut sink = Sink::new(text);
        sink.wrong(Span::new(start, end), "it is wrong", "");
        sink.into_error("a.toml").to_string()
    }

    #[test]
    fn the_mark_stands_under_the_fault() {
        let text = "one = 1\ntwo = \"b\u{e4}d\"\n";
        let at = text.find('"').unwrap();
        let expected = "a.toml:2:7: it is wrong\n  |\n2 | two = \"b\u{e4}d\"\n  |       ^^^^^";
        assert_eq!(said(text, at, at + 6), expected);
    }

    #[test]
    fn a_place_at_the_end_or_over_several_lines_or_beyond_is_no_trouble() {
        assert!(said("one = ", 6, 6).starts_with("a.toml:1:7: "));
        assert!(said("one = [\n1,\n", 6, 11).ends_with("1 | one = [\n  |       ^"));
        assert!(said("", 0, 0).starts_with("a.toml:1:1: "));
        assert!(said("\u{e4}", 1, 99).starts_with("a.toml:1:1: "));
    }

    #[test]
    fn long_lines_are_cut_around_the_fault() {
        let text = format!("key = \"{}BAD{}\"", "x".repeat(500), "y".repeat(500));
        let at = text.find("BAD").unwrap();
        let said = said(&text, at, at + 3);
        let lines: Vec<&str> = said.lines().collect();
        let (line, mark) = (lines[2], lines[3]);
        assert_eq!(line.find("BAD").unwrap(), mark.find("^^^").unwrap());
        assert!(line.len() < 200);
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut sink = Sink::new("a = \"hunter2\"");
        sink.wrong_and_secret(Span::new(4, 13), "a password", "elsewhere");
        let said = sink.into_error("a.toml").to_string();
        assert_eq!(said, "a.toml:1:5: a password\n  help: elsewhere");
    }
}
