//! From the parser's events to a tree, within the limits.

use super::{Entry, MAX_DEPTH, MAX_EXPANDED_BYTES, MAX_NODES, Node, Scalar, Value};
use crate::{
    notes::{Notes, Pos},
    value::echo,
};
use granit_parser::{Event, ScalarStyle, Tag};
use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

/// Why building cannot go on.
pub(super) struct Stop {
    pub(super) at: Pos,
    pub(super) problem: String,
    pub(super) fix: String,
}

/// How large a subtree is, aliases resolved.
#[derive(Clone, Copy, Default)]
struct Cost {
    nodes: usize,
    bytes: usize,
    height: usize,
}

/// A list or mapping that is not closed yet.
struct Frame {
    at: Pos,
    anchor: usize,
    cost: Cost,
    kind: Kind,
}

enum Kind {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, merges: Vec<Node>, key: Option<(Rc<str>, Pos, bool)> },
}

/// Builds the tree of the first document.
pub(super) struct Builder<'a> {
    notes: &'a mut Notes,
    frames: Vec<Frame>,
    anchors: BTreeMap<usize, (Node, Cost)>,
    total: Cost,
    root: Option<Node>,
    /// Where a further document starts; noted once it proves to have something in it.
    further: Option<Pos>,
    noted_further: bool,
}

impl<'a> Builder<'a> {
    pub(super) fn new(notes: &'a mut Notes) -> Self {
        Self {
            notes,
            frames: Vec::new(),
            anchors: BTreeMap::new(),
            total: Cost::default(),
            root: None,
            further: None,
            noted_further: false,
        }
    }

    pub(super) fn next_document(&mut self, at: Pos) {
        let empty = self.root.as_ref().is_none_or(|root| matches!(root.value, Value::Null));
        self.anchors.clear();
        if empty {
            // `---` twice, or a comment before it: the first document has nothing in it.
            self.root = None;
        } else {
            self.further = Some(at);
        }
    }

    pub(super) fn take(&mut self, event: Event<'_>, at: Pos) -> Result<(), Stop> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let cost = Cost { nodes: 1, bytes: text.len(), height: 1 };
                let value = self.scalar(&text, style, tag.as_deref(), at);
                self.add(Node { at, value }, anchor, cost)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), at);
                self.open(at, anchor, Kind::List(Vec::new()))
            }
            Event::MappingStart(_, anchor, tag) => {
                self.collection_tag(tag.as_deref(), at);
                let kind = Kind::Map { entries: Vec::new(), merges: Vec::new(), key: None };
                self.open(at, anchor, kind)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => match self.anchors.get(&anchor) {
                Some((node, cost)) => {
                    let (node, cost) = (node.clone(), *cost);
                    self.add(node, 0, cost)
                }
                None => Err(Stop {
                    at,
                    problem: "the alias is part of what it stands for".to_owned(),
                    fix: "write the value out".to_owned(),
                }),
            },
            Event::UnresolvedAlias(name) => {
                let problem = format!("no anchor {} comes before it", echo(&name));
                let fix = "define the anchor above, or write the value out";
                self.notes.error(at, "", problem, fix);
                self.add(Node { at, value: Value::Null }, 0, Cost { nodes: 1, bytes: 0, height: 1 })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn stop(&mut self, stop: &Stop) {
        self.notes.error(stop.at, "", stop.problem.as_str(), stop.fix.as_str());
    }

    pub(super) fn finish(self) -> Option<Node> {
        self.root.filter(|root| !matches!(root.value, Value::Null))
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, at: Pos) -> Value {
        let mut plain = style == ScalarStyle::Plain;
        match tag.map(|tag| (tag.core_suffix(), tag)) {
            None | Some((Some("int" | "float" | "bool"), _)) => {}
            Some((Some("null"), _)) => return Value::Null,
            Some((Some("str"), _)) => plain = false,
            Some((_, tag)) if tag.original() == "!" => plain = false,
            Some((_, tag)) => self.unknown_tag(tag, at),
        }
        if plain && matches!(text, "" | "~" | "null" | "Null" | "NULL") {
            return Value::Null;
        }
        Value::Scalar(Scalar { text: text.into(), plain })
    }

    fn collection_tag(&mut self, tag: Option<&Tag>, at: Pos) {
        if let Some(tag) = tag
            && !matches!(tag.core_suffix(), Some("map" | "seq"))
        {
            self.unknown_tag(tag, at);
        }
    }

    fn unknown_tag(&mut self, tag: &Tag, at: Pos) {
        let problem = format!("the tag {} means nothing here", echo(&tag.original()));
        self.notes.error(at, "", problem, "remove the tag");
    }

    fn open(&mut self, at: Pos, anchor: usize, kind: Kind) -> Result<(), Stop> {
        self.check_depth(at, 1)?;
        let cost = Cost { nodes: 1, bytes: 0, height: 1 };
        self.frames.push(Frame { at, anchor, cost, kind });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Stop> {
        let Some(frame) = self.frames.pop() else { return Ok(()) };
        let value = match frame.kind {
            Kind::List(items) => Value::List(items.into()),
            Kind::Map { entries, merges, .. } => self.map(entries, &merges),
        };
        // Its parts are counted already.
        self.total.nodes = self.total.nodes.saturating_sub(frame.cost.nodes - 1);
        self.total.bytes = self.total.bytes.saturating_sub(frame.cost.bytes);
        self.add(Node { at: frame.at, value }, frame.anchor, frame.cost)
    }

    /// A mapping's entries, those of merged mappings behind its own, which go first.
    fn map(&mut self, mut entries: Vec<Entry>, merges: &[Node]) -> Value {
        let mut seen: BTreeMap<Rc<str>, Pos> = BTreeMap::new();
        let mut repeated: Vec<(Rc<str>, Pos, Pos)> = Vec::new();
        entries.retain(|entry| match seen.get(&entry.key) {
            Some(first) => {
                repeated.push((entry.key.clone(), entry.at, *first));
                false
            }
            None => {
                seen.insert(entry.key.clone(), entry.at);
                true
            }
        });
        for (key, at, first) in repeated {
            let problem = format!("is given twice, first on line {}", first.line);
            self.notes.error(at, self.path(&key), problem, "keep one of the two");
        }
        let mut known: BTreeSet<Rc<str>> = seen.into_keys().collect();
        for merged in merges {
            let Value::Map(more) = &merged.value else {
                let fix = "merge an anchored mapping: `<<: *name`";
                let problem = format!("cannot merge {}", merged.value.kind());
                self.notes.error(merged.at, self.path("<<"), problem, fix);
                continue;
            };
            let new = more.iter().filter(|entry| known.insert(entry.key.clone()));
            entries.extend(new.cloned());
        }
        Value::Map(entries.into())
    }

    /// The path of a field of the mapping that was just closed.
    fn path(&self, key: &str) -> String {
        let mut path = String::new();
        for frame in &self.frames {
            match &frame.kind {
                Kind::List(items) => path.push_str(&format!("[{}]", items.len())),
                Kind::Map { key: Some((key, ..)), .. } => path = join(&path, key),
                Kind::Map { .. } => {}
            }
        }
        join(&path, key)
    }

    fn check_depth(&self, at: Pos, height: usize) -> Result<(), Stop> {
        if self.frames.len() + height <= MAX_DEPTH {
            return Ok(());
        }
        Err(Stop {
            at,
            problem: format!("more than {MAX_DEPTH} levels deep"),
            fix: "nest less".to_owned(),
        })
    }

    /// A whole node: into the collection that is open, or as the root.
    fn add(&mut self, node: Node, anchor: usize, cost: Cost) -> Result<(), Stop> {
        self.check_depth(node.at, cost.height)?;
        self.total.nodes = self.total.nodes.saturating_add(cost.nodes);
        self.total.bytes = self.total.bytes.saturating_add(cost.bytes);
        if self.total.nodes > MAX_NODES || self.total.bytes > MAX_EXPANDED_BYTES {
            return Err(Stop {
                at: node.at,
                problem: format!(
                    "more than {MAX_NODES} values or {MAX_EXPANDED_BYTES} bytes, aliases resolved"
                ),
                fix: "write less, with fewer aliases".to_owned(),
            });
        }
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), cost));
        }
        let Some(frame) = self.frames.last_mut() else {
            self.add_root(node);
            return Ok(());
        };
        frame.cost.nodes = frame.cost.nodes.saturating_add(cost.nodes);
        frame.cost.bytes = frame.cost.bytes.saturating_add(cost.bytes);
        frame.cost.height = frame.cost.height.max(cost.height.saturating_add(1));
        match &mut frame.kind {
            Kind::List(items) => items.push(node),
            Kind::Map { entries, merges, key } => match (key.take(), node.value) {
                (None, Value::Scalar(scalar)) => {
                    *key = Some((scalar.text, node.at, scalar.plain));
                }
                (None, Value::Null) => *key = Some(("null".into(), node.at, true)),
                (None, value) => {
                    let problem = format!("a key cannot be {}", value.kind());
                    self.notes.error(node.at, "", problem, "write a name and a colon");
                    *key = Some(("?".into(), node.at, false));
                }
                (Some((name, _, true)), value) if name.as_ref() == "<<" => match value {
                    Value::List(list) => merges.extend(list.iter().cloned()),
                    value => merges.push(Node { at: node.at, value }),
                },
                (Some((key, at, _)), value) => {
                    entries.push(Entry { key, at, value: Node { at: node.at, value } });
                }
            },
        }
        Ok(())
    }

    fn add_root(&mut self, node: Node) {
        let Some(at) = self.further else {
            self.root = Some(node);
            return;
        };
        if self.noted_further {
            return;
        }
        self.noted_further = true;
        if matches!(node.value, Value::Null) {
            self.notes.warn(at, "", "an empty document follows", "remove the last `---`");
        } else {
            let fix = "put each document into a file of its own";
            self.notes.error(at, "", "a second document starts here, one is allowed", fix);
        }
    }
}

/// A field's path with one more key; a key that is no bare word is shown in quotes, shortened.
pub(crate) fn join(path: &str, key: &str) -> String {
    let bare = |byte: u8| byte.is_ascii_alphanumeric() || b"_-<".contains(&byte);
    let dot = if path.is_empty() { "" } else { "." };
    if !key.is_empty() && key.len() <= 40 && key.bytes().all(bare) {
        format!("{path}{dot}{key}")
    } else {
        format!("{path}{dot}{}", echo(key).replace('`', "\""))
    }
}
