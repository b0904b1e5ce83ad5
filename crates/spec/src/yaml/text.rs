//! The text before it is parsed: its encoding, and tabs where spaces belong.

use crate::notes::{MAX_NOTES, Notes, Pos};
use granit_parser::{ErrorKind, Marker, ScanError};
use std::borrow::Cow;

/// How many spaces a tab is read as.
const TAB: usize = 2;

pub(super) fn position(marker: Marker) -> Pos {
    Pos { line: marker.line().max(1), column: marker.col().saturating_add(1) }
}

/// The text, whatever it is encoded in; `None` where that is unclear, which is noted.
pub(super) fn decode<'b>(bytes: &'b [u8], notes: &mut Notes) -> Option<Cow<'b, str>> {
    let wide = match bytes {
        [0xFF, 0xFE, rest @ ..] => Some((rest, u16::from_le_bytes as fn([u8; 2]) -> u16)),
        [0xFE, 0xFF, rest @ ..] => Some((rest, u16::from_be_bytes as fn([u8; 2]) -> u16)),
        _ => None,
    };
    if let Some((rest, unit)) = wide {
        let (pairs, odd) = rest.as_chunks::<2>();
        let units = pairs.iter().map(|pair| unit(*pair));
        let text: Option<String> =
            char::decode_utf16(units).map(Result::ok).collect::<Option<String>>();
        match text {
            Some(text) if odd.is_empty() => {
                notes.warn(Pos::START, "", "the text is UTF-16", "save it as UTF-8");
                return Some(Cow::Owned(text));
            }
            _ => {
                notes.error(Pos::START, "", "the text is broken UTF-16", "save it as UTF-8");
                return None;
            }
        }
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(Cow::Borrowed(text)),
        Err(error) => {
            let before = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            let line = before.matches('\n').count().saturating_add(1);
            let last = before.rsplit('\n').next().unwrap_or_default();
            let column = last.chars().count().saturating_add(1);
            notes.error(Pos { line, column }, "", "a byte here is no UTF-8", "save it as UTF-8");
            None
        }
    }
}

/// What lines are indented with.
pub(super) enum Indentation {
    /// Nothing but spaces.
    Spaces,
    /// Tabs, on these lines (from 1).
    Tabs(Vec<usize>),
}

pub(super) fn indentation(text: &str) -> Indentation {
    let tabbed = |line: &str| !line.trim().is_empty() && indent(line).contains('\t');
    let lines: Vec<usize> = text
        .split('\n')
        .enumerate()
        .filter(|(_, line)| tabbed(line))
        .map(|(at, _)| at.saturating_add(1))
        .collect();
    if lines.is_empty() { Indentation::Spaces } else { Indentation::Tabs(lines) }
}

fn indent(line: &str) -> &str {
    let rest = line.trim_start_matches([' ', '\t']);
    &line[..line.len().saturating_sub(rest.len())]
}

/// A text whose indenting tabs were replaced by spaces.
pub(super) struct Repaired {
    pub(super) text: String,
    /// For each line, how many columns it was moved by.
    moved: Vec<usize>,
    /// Whether some line is indented with tabs and another, or the same one, with spaces.
    mixed: bool,
}

impl Repaired {
    pub(super) fn new(text: &str) -> Self {
        let (mut repaired, mut moved) = (String::with_capacity(text.len()), Vec::new());
        let (mut tabs, mut spaces) = (false, false);
        for (at, line) in text.split('\n').enumerate() {
            if at > 0 {
                repaired.push('\n');
            }
            let indent = indent(line);
            let width: usize = indent.chars().map(|c| if c == '\t' { TAB } else { 1 }).sum();
            if line.len() > indent.len() {
                tabs |= indent.contains('\t');
                spaces |= indent.contains(' ');
            }
            repaired.extend(std::iter::repeat_n(' ', width));
            repaired.push_str(&line[indent.len()..]);
            moved.push(width.saturating_sub(indent.len()));
        }
        Self { text: repaired, moved, mixed: tabs && spaces }
    }

    /// Notes the tabs: a warning where every line is indented with tabs alone, for then what they
    /// mean is clear; an error for each such line otherwise.
    pub(super) fn note(&self, lines: &[usize], notes: &mut Notes) {
        const FIX: &str = "indent with spaces, two a level";
        let at = |line: usize| Pos { line, column: 1 };
        if !self.mixed {
            let first = lines.first().copied().unwrap_or(1);
            let problem = match lines.len() {
                1 => "a line is indented with tabs".to_owned(),
                count => format!("{count} lines are indented with tabs"),
            };
            notes.warn(at(first), "", problem, FIX);
            return;
        }
        for line in lines.iter().take(MAX_NOTES / 2) {
            notes.error(at(*line), "", "the line is indented with a tab", FIX);
        }
    }

    /// Where a place of the repaired text is in the original.
    pub(super) fn original(&self, at: Pos) -> Pos {
        let moved = self.moved.get(at.line.saturating_sub(1)).copied().unwrap_or(0);
        Pos { line: at.line, column: at.column.saturating_sub(moved).max(1) }
    }
}

/// A syntax error in words, and what to do about it.
pub(super) fn explain(error: &ScanError) -> (String, String) {
    let fix = match error.kind() {
        ErrorKind::RecursionLimitExceeded => "nest less",
        ErrorKind::UnclosedQuotedScalar | ErrorKind::DocumentIndicatorInQuotedScalar => {
            "close the quote"
        }
        ErrorKind::UnclosedFlowCollection { .. }
        | ErrorKind::MismatchedFlowCollectionEnd { .. }
        | ErrorKind::MisplacedFlowCollectionEnd => "let every [ have its ] and every { its }",
        ErrorKind::MappingValueNotAllowed | ErrorKind::InvalidColonPlacement => {
            "put a value that has a colon in it in quotes, or correct the indentation"
        }
        ErrorKind::UnknownQuotedScalarEscape => "write \\\\ for a backslash, or use single quotes",
        ErrorKind::UnexpectedCharacter { .. } => "put the value in quotes",
        ErrorKind::InvalidIndentation
        | ErrorKind::ExpectedBlockMappingKey
        | ErrorKind::SimpleKeyExpected
        | ErrorKind::BlockSequenceEntryNotAllowed
        | ErrorKind::ExpectedBlockSequenceEntry => {
            "indent the lines of one mapping or list alike, and write `name: value`"
        }
        _ => "correct the YAML here",
    };
    let message = error.info();
    let mut short: String = message.lines().next().unwrap_or_default().chars().take(200).collect();
    if short.is_empty() {
        short.push_str("is no YAML");
    }
    (format!("no YAML: {short}"), fix.to_owned())
}
