//! Reads TOML tables field by field and notes every defect on the way.
//!
//! A field that is missing or malformed is noted and read as its default, so that checking goes
//! on; the values count only if nothing was noted.

use crate::{
    Defect,
    value::{Reading, echo, kind_of},
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// A defect at a byte offset.
struct Note {
    at: usize,
    field: String,
    problem: String,
    fix: String,
}

/// The text under check and what was noted.
pub(crate) struct Reader<'t> {
    text: &'t str,
    notes: Vec<Note>,
}

/// A table of the file, or the lack of one.
pub(crate) struct Section<'v, 't> {
    /// Path with a trailing dot; empty for the whole file.
    prefix: String,
    at: usize,
    table: Option<&'v DeTable<'t>>,
    /// The field is there, but misspelt or no table; that is noted, and enough.
    malformed: bool,
    /// Fields that unknown ones were taken for; noted, and enough.
    meant: Vec<String>,
}

impl<'t> Reader<'t> {
    pub(crate) const fn new(text: &'t str) -> Self {
        Self { text, notes: Vec::new() }
    }

    pub(crate) fn note(
        &mut self,
        at: usize,
        field: impl Into<String>,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let (field, problem, fix) = (field.into(), problem.into(), fix.into());
        self.notes.push(Note { at, field, problem, fix });
    }

    /// What was noted, in the order of the text.
    pub(crate) fn into_defects(mut self) -> Vec<Defect> {
        self.notes.sort_by_key(|note| note.at);
        let text = self.text;
        self.notes
            .into_iter()
            .map(|note| {
                let before = text.get(..note.at).unwrap_or(text);
                let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
                Defect {
                    line: before.matches('\n').count() + 1,
                    column: before[line_start..].chars().count() + 1,
                    field: note.field,
                    problem: note.problem,
                    fix: note.fix,
                }
            })
            .collect()
    }

    /// A field that has a default.
    pub(crate) fn optional<T>(
        &mut self,
        section: &Section<'_, 't>,
        key: &str,
        default: T,
        read: impl FnOnce(&DeValue<'t>) -> Reading<T>,
    ) -> T {
        match section.get(key) {
            Some(value) => self.read(value, section.path(key), read).unwrap_or(default),
            None => default,
        }
    }

    /// A field that may be left out.
    pub(crate) fn maybe<T>(
        &mut self,
        section: &Section<'_, 't>,
        key: &str,
        read: impl FnOnce(&DeValue<'t>) -> Reading<T>,
    ) -> Option<T> {
        self.optional(section, key, None, |value| read(value).map(Some))
    }

    /// A field that must be there; `example` is a line to write.
    pub(crate) fn required<T: Default>(
        &mut self,
        section: &Section<'_, 't>,
        key: &str,
        example: &str,
        read: impl FnOnce(&DeValue<'t>) -> Reading<T>,
    ) -> T {
        if section.get(key).is_none() && !section.is_noted(&[key]) {
            let place = match section.prefix.strip_suffix('.') {
                Some(name) if section.table.is_none() => format!("add a section [{name}] with "),
                Some(name) => format!("add to [{name}]: "),
                None => "add at the top: ".to_owned(),
            };
            self.note(section.at, section.path(key), "is missing", format!("{place}{example}"));
        }
        self.optional(section, key, T::default(), read)
    }

    /// The elements of a list, each read alone.
    pub(crate) fn list<T>(
        &mut self,
        section: &Section<'_, 't>,
        key: &str,
        read: impl Fn(&DeValue<'t>) -> Reading<T>,
    ) -> Vec<T> {
        let Some(value) = section.get(key) else { return Vec::new() };
        let path = section.path(key);
        let Some(elements) = value.get_ref().as_array() else {
            let found = format!("expected a list, found {}", kind_of(value.get_ref()));
            self.note(value.span().start, path, found, "write a list, e.g. [\"…\"]");
            return Vec::new();
        };
        let read_at = |(at, element)| self.read(element, format!("{path}[{at}]"), &read);
        elements.iter().enumerate().filter_map(read_at).collect()
    }

    /// A section. `keys` are those that it may have; every other is noted.
    pub(crate) fn section<'v>(
        &mut self,
        parent: &Section<'v, 't>,
        key: &str,
        keys: &[&str],
    ) -> Section<'v, 't> {
        let mut section = self.open_section(parent, key);
        self.check_keys(&mut section, keys);
        section
    }

    /// A section whose keys are the tenant's own.
    pub(crate) fn open_section<'v>(
        &mut self,
        parent: &Section<'v, 't>,
        key: &str,
    ) -> Section<'v, 't> {
        let prefix = format!("{}.", parent.path(key));
        let Some(value) = parent.get(key) else {
            let malformed = parent.malformed || parent.is_meant(key);
            return Section { prefix, at: parent.at, table: None, malformed, meant: Vec::new() };
        };
        let at = value.span().start;
        let table = value.get_ref().as_table();
        if table.is_none() {
            let found = format!("expected a section, found {}", kind_of(value.get_ref()));
            let fix = format!("write [{}] on a line of its own", parent.path(key));
            self.note(at, parent.path(key), found, fix);
        }
        Section { prefix, at, table, malformed: table.is_none(), meant: Vec::new() }
    }

    /// Notes the keys that are none of `keys`.
    pub(crate) fn check_keys(&mut self, section: &mut Section<'_, 't>, keys: &[&str]) {
        let mut meant = Vec::new();
        for (key, _) in section.entries() {
            let name = key.get_ref().as_ref();
            if keys.contains(&name) {
                continue;
            }
            let fix = match nearest(name, keys) {
                Some(near) => {
                    meant.push(near.to_owned());
                    format!("write {near}")
                }
                None => format!("remove it; allowed here: {}", keys.join(", ")),
            };
            self.note(key.span().start, section.path(name), "unknown field", fix);
        }
        section.meant = meant;
    }

    /// One value, its refusal noted.
    pub(crate) fn read<T>(
        &mut self,
        value: &Spanned<DeValue<'t>>,
        path: String,
        read: impl FnOnce(&DeValue<'t>) -> Reading<T>,
    ) -> Option<T> {
        match read(value.get_ref()) {
            Ok(value) => Some(value),
            Err(refusal) => {
                self.note(value.span().start, path, refusal.problem, refusal.fix);
                None
            }
        }
    }
}

impl<'v, 't> Section<'v, 't> {
    /// The whole file.
    pub(crate) const fn root(table: &'v DeTable<'t>) -> Self {
        Self {
            prefix: String::new(),
            at: 0,
            table: Some(table),
            malformed: false,
            meant: Vec::new(),
        }
    }

    /// Whether another field was taken for a misspelling of this one.
    fn is_meant(&self, key: &str) -> bool {
        self.meant.iter().any(|meant| meant == key)
    }

    /// Whether the lack of these fields is noted already: the section, or one of them, is misspelt
    /// or malformed.
    pub(crate) fn is_noted(&self, keys: &[&str]) -> bool {
        self.malformed || keys.iter().any(|key| self.is_meant(key))
    }

    /// Whether the file has this section.
    pub(crate) const fn exists(&self) -> bool {
        self.table.is_some()
    }

    /// Where the section's header, or else its parent's, starts.
    pub(crate) const fn at(&self) -> usize {
        self.at
    }

    /// Where a field's value starts; the section, where there is no such field.
    pub(crate) fn at_field(&self, key: &str) -> usize {
        self.get(key).map_or(self.at, |value| value.span().start)
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'v Spanned<DeValue<'t>>> {
        self.table?.get(key)
    }

    /// Every key with its value.
    pub(crate) fn entries(
        &self,
    ) -> impl Iterator<Item = (&'v Spanned<toml::de::DeString<'t>>, &'v Spanned<DeValue<'t>>)> {
        self.table.into_iter().flat_map(DeTable::iter)
    }

    /// The full path of a field of this section.
    pub(crate) fn path(&self, key: &str) -> String {
        // A key that is no bare word is shown as the TOML that it is, shortened.
        let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
        if !key.is_empty() && key.len() <= 40 && key.bytes().all(bare) {
            format!("{}{key}", self.prefix)
        } else {
            format!("{}{}", self.prefix, echo(key).replace('`', "\""))
        }
    }
}

/// One of a fixed set of words.
pub(crate) fn one_of<T: Copy>(value: &DeValue<'_>, words: &[(&str, T)]) -> Reading<T> {
    let names: Vec<&str> = words.iter().map(|(name, _)| *name).collect();
    let quoted = || names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(" or ");
    let Some(text) = value.as_str() else {
        return crate::value::refuse(
            format!("expected text, found {}", kind_of(value)),
            format!("write {}", quoted()),
        );
    };
    match words.iter().find(|(name, _)| *name == text) {
        Some((_, meaning)) => Ok(*meaning),
        None => crate::value::refuse(
            format!("{} is unknown", echo(text)),
            match nearest(text, &names) {
                Some(near) => format!("write \"{near}\""),
                None => format!("write {}", quoted()),
            },
        ),
    }
}

/// The word that `text` probably means: the nearest, if it is near.
pub(crate) fn nearest<'w>(text: &str, words: &[&'w str]) -> Option<&'w str> {
    if text.len() > 64 {
        return None;
    }
    let lower = text.to_ascii_lowercase();
    words
        .iter()
        .map(|word| (distance(&lower, word), *word))
        .filter(|(distance, word)| *distance <= (word.len() / 3).max(1))
        .min()
        .map(|(_, word)| word)
}

/// How many letters to insert, delete, change or swap with their neighbour (optimal string
/// alignment).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    // Costs of turning the prefix of `left` read so far into each prefix of `right`.
    let mut row: Vec<usize> = (0..=right.len()).collect();
    let mut above: Vec<usize> = Vec::new();
    let mut last = None;
    for (at, letter) in left.chars().enumerate() {
        let mut next = vec![at + 1];
        for (to, other) in right.iter().enumerate() {
            let changed = row[to] + usize::from(letter != *other);
            let mut cost = changed.min(row[to + 1] + 1).min(next[to] + 1);
            if to > 0 && last == Some(*other) && letter == right[to - 1] {
                cost = cost.min(above[to - 1] + 1);
            }
            next.push(cost);
        }
        above = std::mem::replace(&mut row, next);
        last = Some(letter);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_word_finds_the_nearest_and_a_strange_one_none() {
        let words = ["cpu", "memory", "disk", "max_per_hour", "max_risk"];
        for (text, near) in [
            ("cpu", Some("cpu")),
            ("CPU", Some("cpu")),
            ("cup", Some("cpu")),
            ("memry", Some("memory")),
            ("mmeory", Some("memory")),
            ("max_hour", Some("max_per_hour")),
            ("max-per-hour", Some("max_per_hour")),
            ("maxrisk", Some("max_risk")),
            ("gpu", Some("cpu")),
            ("", None),
            ("ram", None),
        ] {
            assert_eq!(nearest(text, &words), near, "{text}");
        }
        assert_eq!(nearest(&"cpu".repeat(1000), &words), None);
    }

    #[test]
    fn a_distance_counts_edits() {
        for (left, right, edits) in
            [("", "abc", 3), ("abc", "", 3), ("abc", "abc", 0), ("abc", "acb", 1), ("ca", "abc", 3)]
        {
            assert_eq!(distance(left, right), edits, "{left} to {right}");
        }
    }
}
