//! YAML with positions, under limits: what both forms are read from.
//!
//! The text becomes one tree of the first document. Anchors, aliases and merge keys are resolved
//! here; scalars stay text, for what they mean depends on the field. Nothing here trusts the text:
//!
//! | limit | |
//! |---|---|
//! | [`MAX_YAML_BYTES`] | of the text |
//! | [`MAX_DEPTH`] | of the tree, aliases resolved |
//! | [`MAX_NODES`] | of the tree, aliases resolved |
//! | [`MAX_EXPANDED_BYTES`] | of all scalars, aliases resolved |

mod build;
mod text;

use crate::notes::{Notes, Pos};
pub(crate) use build::join;
use build::{Builder, Stop};
use granit_parser::{Event, Parser};
use std::rc::Rc;

#[cfg(test)]
mod tests;

/// The largest YAML form, in bytes.
pub const MAX_YAML_BYTES: usize = 1 << 20;

/// The deepest tree.
const MAX_DEPTH: usize = 64;
/// The most nodes of a tree.
const MAX_NODES: usize = 100_000;
/// The most bytes of a tree's scalars.
const MAX_EXPANDED_BYTES: usize = 4 * MAX_YAML_BYTES;

/// A value and where it starts.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: Pos,
    pub(crate) value: Value,
}

/// What a node is. Cheap to clone, so that an alias costs nothing.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// Text.
    Scalar(Scalar),
    /// A sequence.
    List(Rc<[Node]>),
    /// A mapping.
    Map(Rc<[Entry]>),
}

/// Text as it was written, quotes and escapes resolved.
#[derive(Clone, Debug)]
pub(crate) struct Scalar {
    pub(crate) text: Rc<str>,
    /// Without quotes: might be a number, or true or false.
    pub(crate) plain: bool,
}

/// One key of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Rc<str>,
    /// Where the key is.
    pub(crate) at: Pos,
    pub(crate) value: Node,
}

impl Value {
    /// What kind of value this is, in words.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar(_) => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

/// The tree of the text's document; `None` where there is none, which is noted.
pub(crate) fn read(bytes: &[u8], notes: &mut Notes) -> Option<Node> {
    if bytes.len() > MAX_YAML_BYTES {
        let problem = format!("{} bytes, at most {MAX_YAML_BYTES} are allowed", bytes.len());
        notes.error(Pos::START, "", problem, "keep data in the image or on a volume");
        return None;
    }
    let text = text::decode(bytes, notes)?;
    match text::indentation(&text) {
        text::Indentation::Spaces => parse(&text, notes, |at| at),
        text::Indentation::Tabs(lines) => {
            // A tab may be part of a value, where it is welcome.
            let mut aside = Notes::default();
            let tree = parse(&text, &mut aside, |at| at);
            if tree.is_some() {
                return parse(&text, notes, |at| at);
            }
            let repaired = text::Repaired::new(&text);
            repaired.note(&lines, notes);
            parse(&repaired.text, notes, |at| repaired.original(at))
        }
    }
}

fn parse(text: &str, notes: &mut Notes, place: impl Fn(Pos) -> Pos) -> Option<Node> {
    let options = granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
        emit_unresolved_aliases: true,
    };
    let mut builder = Builder::new(notes);
    let mut documents = 0usize;
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let at = place(text::position(*error.marker()));
                let (problem, fix) = text::explain(&error);
                builder.stop(&Stop { at, problem, fix });
                return None;
            }
        };
        let at = place(text::position(span.start));
        if let Event::DocumentStart(..) = event {
            documents += 1;
            if documents > 1 {
                builder.next_document(at);
            }
            continue;
        }
        if let Err(stop) = builder.take(event, at) {
            builder.stop(&stop);
            return None;
        }
    }
    let root = builder.finish();
    if root.is_none() {
        notes.error(Pos::START, "", "the file is empty", "write a mapping with `services`");
    }
    root
}
