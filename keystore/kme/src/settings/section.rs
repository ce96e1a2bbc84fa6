//! One table of the file, read key by key; what is wrong is noted, and reading goes on.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml_span::Span;
use toml_span::value::{Table, Value, ValueInner};

use super::report::Sink;
use super::values;

/// How alike an unknown key must be to a known one to be taken for it, 0 to 1 (normalised Damerau-Levenshtein).
const ALIKE: f64 = 0.6;

/// A value, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

impl<T> At<T> {
    pub(super) fn map<U>(self, change: impl FnOnce(T) -> U) -> At<U> {
        At { value: change(self.value), span: self.span }
    }
}

/// A table. What was not asked for in the end is an unknown key.
pub(super) struct Section<'d> {
    /// Where it begins, for what is missing in it.
    pub(super) header: Span,
    /// How it is called in the file; empty for the top.
    name: String,
    table: Table<'d>,
    known: Vec<&'static str>,
}

impl<'d> Section<'d> {
    /// The whole file.
    pub(super) fn top(mut root: Value<'d>) -> Self {
        let table = match root.take() {
            ValueInner::Table(table) => table,
            _ => Table::new(), // the parser gives nothing else
        };
        Self { header: Span::new(0, 0), name: String::new(), table, known: Vec::new() }
    }

    fn of(sink: &mut Sink<'_>, header: Span, name: String, mut value: Value<'d>) -> Option<Self> {
        match value.take() {
            ValueInner::Table(table) => Some(Self { header, name, table, known: Vec::new() }),
            other => {
                let found = a(&other);
                sink.wrong(value.span, format!("{name} must be a table, not {found}"), format!("write [{name}]"));
                None
            }
        }
    }

    /// Notes that `key` must be there; gives whether it is.
    pub(super) fn need(&mut self, sink: &mut Sink<'_>, key: &'static str, example: &str) -> bool {
        self.known.push(key);
        let is_there = self.table.contains_key(key);
        if !is_there {
            let whose = if self.name.is_empty() { "the file".to_owned() } else { format!("[{}]", self.name) };
            sink.wrong(self.header, format!("{key} is missing in {whose}"), format!("write, for example: {example}"));
        }
        is_there
    }

    fn take(&mut self, key: &'static str) -> Option<(Span, Value<'d>)> {
        self.known.push(key);
        self.table.remove_entry(key).map(|(key, value)| (key.span, value))
    }

    /// A text.
    pub(super) fn text(&mut self, sink: &mut Sink<'_>, key: &'static str) -> Option<At<String>> {
        let (_, value) = self.take(key)?;
        text(sink, key, value)
    }

    /// A text that means something.
    pub(super) fn parsed<T>(
        &mut self,
        sink: &mut Sink<'_>,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, values::Wrong>,
    ) -> Option<At<T>> {
        let text = self.text(sink, key)?;
        parsed(sink, &text, &parse)
    }

    /// A list of texts that mean something; those that do not are left out.
    pub(super) fn list<T>(
        &mut self,
        sink: &mut Sink<'_>,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, values::Wrong>,
    ) -> Option<Vec<At<T>>> {
        let (_, mut value) = self.take(key)?;
        match value.take() {
            ValueInner::Array(items) => Some(
                items
                    .into_iter()
                    .filter_map(|item| text(sink, key, item).and_then(|item| parsed(sink, &item, &parse)))
                    .collect(),
            ),
            other => {
                let message = format!("{key} must be a list, not {}", a(&other));
                sink.wrong(value.span, message, format!("write {key} = [\"...\", \"...\"]"));
                None
            }
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&mut self, sink: &mut Sink<'_>, key: &'static str) -> Option<At<bool>> {
        let (_, mut value) = self.take(key)?;
        match value.take() {
            ValueInner::Boolean(flag) => Some(At { value: flag, span: value.span }),
            other => {
                sink.wrong(value.span, format!("{key} must be true or false, not {}", a(&other)), "");
                None
            }
        }
    }

    /// A whole number in a range.
    pub(super) fn number<T>(
        &mut self,
        sink: &mut Sink<'_>,
        key: &'static str,
        range: RangeInclusive<T>,
    ) -> Option<At<T>>
    where
        T: TryFrom<i64> + PartialOrd + Display,
    {
        let (_, mut value) = self.take(key)?;
        let help = format!("write a whole number from {} to {}", range.start(), range.end());
        match value.take() {
            ValueInner::Integer(number) => match T::try_from(number).ok().filter(|number| range.contains(number)) {
                Some(number) => Some(At { value: number, span: value.span }),
                None => {
                    sink.wrong(value.span, format!("{key} is out of range"), help);
                    None
                }
            },
            other => {
                sink.wrong(value.span, format!("{key} must be a number, not {}", a(&other)), help);
                None
            }
        }
    }

    /// A number that may have a fraction, in a range.
    pub(super) fn real(
        &mut self,
        sink: &mut Sink<'_>,
        key: &'static str,
        range: RangeInclusive<f64>,
    ) -> Option<At<f64>> {
        let (_, mut value) = self.take(key)?;
        let number = match value.take() {
            ValueInner::Float(number) => Some(number),
            ValueInner::Integer(number) => i32::try_from(number).ok().map(f64::from),
            _ => None,
        };
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            let help = format!("write a number from {} to {}", range.start(), range.end());
            sink.wrong(value.span, format!("{key} must be a number in its range"), help);
        }
        number.map(|number| At { value: number, span: value.span })
    }

    /// A length of time, in a range.
    pub(super) fn duration(
        &mut self,
        sink: &mut Sink<'_>,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<At<Duration>> {
        let (_, value) = self.take(key)?;
        if !matches!(value.as_ref(), ValueInner::String(_)) {
            let message = format!("{key} must be a length of time in quotes, not {}", a(value.as_ref()));
            sink.wrong(
                value.span,
                message,
                "write it with a unit, such as \"500ms\", \"10s\", \"5m\", \"24h\", \"30d\"",
            );
            return None;
        }
        let text = text(sink, key, value)?;
        let time = parsed(sink, &text, &values::duration)?;
        if range.contains(&time.value) {
            return Some(time);
        }
        let (least, most) = (values::shown(*range.start()), values::shown(*range.end()));
        sink.wrong(time.span, format!("{key} is out of range"), format!("give from \"{least}\" to \"{most}\""));
        None
    }

    /// A table in this one.
    pub(super) fn section(&mut self, sink: &mut Sink<'_>, key: &'static str) -> Option<Self> {
        let (header, value) = self.take(key)?;
        Self::of(sink, header, self.path(key), value)
    }

    /// A list of tables (`[[key]]`).
    pub(super) fn sections(&mut self, sink: &mut Sink<'_>, key: &'static str) -> Vec<Self> {
        let Some((header, mut value)) = self.take(key) else { return Vec::new() };
        let name = self.path(key);
        match value.take() {
            ValueInner::Array(items) => items
                .into_iter()
                .filter_map(|item| {
                    // Items of [[key]] have the span of what is in them; the header stands right before.
                    let header = if item.span.start == 0 { header } else { item.span };
                    Self::of(sink, header, name.clone(), item)
                })
                .collect(),
            other => {
                let message = format!("{name} must be a list of tables, not {}", a(&other));
                sink.wrong(header, message, format!("write [[{name}]], with two brackets: there can be several"));
                Vec::new()
            }
        }
    }

    /// All that is left, by keys of the operator's choice.
    pub(super) fn rest(&mut self) -> Vec<(At<String>, Value<'d>)> {
        let table = std::mem::take(&mut self.table);
        table.into_iter().map(|(key, value)| (At { span: key.span, value: key.name.into_owned() }, value)).collect()
    }

    /// What is left, each as a table.
    pub(super) fn named_sections(&mut self, sink: &mut Sink<'_>) -> Vec<(At<String>, Self)> {
        let name = self.name.clone();
        let rest = self.rest();
        rest.into_iter()
            .filter_map(|(key, value)| {
                let section = Self::of(sink, key.span, format!("{name}.{}", key.value), value)?;
                Some((key, section))
            })
            .collect()
    }

    /// Complains of every key that nobody asked for.
    pub(super) fn finish(self, sink: &mut Sink<'_>) {
        let whose = if self.name.is_empty() { String::new() } else { format!(" in [{}]", self.name) };
        for key in self.table.keys() {
            let best = self
                .known
                .iter()
                .map(|known| (strsim::normalized_damerau_levenshtein(known, &key.name), known))
                .max_by(|(a, _), (b, _)| a.total_cmp(b))
                .filter(|(alike, _)| *alike >= ALIKE);
            let shown = crate::identity::names::shown(&key.name);
            let message = match best {
                Some((_, known)) => format!("unknown key \u{201c}{shown}\u{201d}{whose}; did you mean {known}?"),
                None => format!("unknown key \u{201c}{shown}\u{201d}{whose}"),
            };
            let mut known = self.known.clone();
            known.sort_unstable();
            known.dedup();
            sink.wrong(key.span, message, format!("known here: {}", known.join(", ")));
        }
    }

    fn path(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

fn text(sink: &mut Sink<'_>, key: &str, mut value: Value<'_>) -> Option<At<String>> {
    match value.take() {
        ValueInner::String(text) if !text.contains('\0') => Some(At { value: text.into_owned(), span: value.span }),
        ValueInner::String(_) => {
            sink.wrong(value.span, format!("{key} has a zero character in it"), "");
            None
        }
        other => {
            let message = format!("{key} must be a text in quotes, not {}", a(&other));
            sink.wrong(value.span, message, format!("write {key} = \"...\""));
            None
        }
    }
}

pub(super) fn as_text(sink: &mut Sink<'_>, key: &At<String>, value: Value<'_>) -> Option<At<String>> {
    text(sink, &key.value, value)
}

fn parsed<T>(
    sink: &mut Sink<'_>,
    text: &At<String>,
    parse: &impl Fn(&str) -> Result<T, values::Wrong>,
) -> Option<At<T>> {
    match parse(&text.value) {
        Ok(value) => Some(At { value, span: text.span }),
        Err(wrong) => {
            sink.wrong(text.span, wrong.message, wrong.help);
            None
        }
    }
}

/// The kind of a value, with its article.
fn a(value: &ValueInner<'_>) -> &'static str {
    match value {
        ValueInner::String(_) => "a text",
        ValueInner::Integer(_) => "a whole number",
        ValueInner::Float(_) => "a number with a fraction",
        ValueInner::Boolean(_) => "true or false",
        ValueInner::Array(_) => "a list",
        ValueInner::Table(_) => "a table",
    }
}
