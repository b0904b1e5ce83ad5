//! Reads the fields of a YAML form: notes every defect, and warns where a field is not written as
//! it should be but clearly means one thing.

use crate::{
    notes::{Notes, Pos},
    reader::nearest,
    value::{Reading, Refusal, echo},
    yaml::{Entry, Node, Scalar, Value, join},
};
use std::rc::Rc;

/// The fields that a section may have.
pub(crate) struct Keys {
    /// Those it must have, each with an example of its value.
    pub(crate) required: &'static [(&'static str, &'static str)],
    pub(crate) optional: &'static [&'static str],
    /// Fields of other formats that are often found here.
    pub(crate) foreign: &'static [(&'static str, Foreign)],
}

/// What is done with a field of another format.
#[derive(Clone, Copy)]
pub(crate) enum Foreign {
    /// It means nothing here: left out with a warning.
    Ignored,
    /// It means a field of ours: read as that with a warning.
    Means(&'static str),
    /// It asks for something that must be written otherwise; the fix.
    Refused(&'static str),
}

/// A field with its value.
#[derive(Clone)]
pub(crate) struct Field {
    /// The full path, e.g. `services.web.expose[0].port`.
    pub(crate) path: String,
    /// Where its key is, or the list's element.
    pub(crate) key_at: Pos,
    pub(crate) node: Node,
}

/// A mapping whose keys were checked.
pub(crate) struct Section {
    pub(crate) path: String,
    pub(crate) at: Pos,
    fields: Vec<(&'static str, Field)>,
}

/// A form under check.
pub(crate) struct Form<'a> {
    pub(crate) notes: &'a mut Notes,
}

impl Field {
    pub(crate) fn root(node: Node) -> Self {
        Self { path: String::new(), key_at: node.at, node }
    }

    fn of(path: &str, entry: &Entry) -> Self {
        Self { path: join(path, &entry.key), key_at: entry.at, node: entry.value.clone() }
    }

    fn is_null(&self) -> bool {
        matches!(self.node.value, Value::Null)
    }
}

impl Section {
    /// A field that is there and not null.
    pub(crate) fn get(&self, key: &str) -> Option<&Field> {
        self.fields.iter().find(|(name, _)| *name == key).map(|(_, field)| field)
    }
}

impl Form<'_> {
    pub(crate) fn error(
        &mut self,
        field: &Field,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.notes.error(field.node.at, field.path.as_str(), problem, fix);
    }

    pub(crate) fn warn(
        &mut self,
        field: &Field,
        problem: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.notes.warn(field.node.at, field.path.as_str(), problem, fix);
    }

    /// A mapping with fixed keys. Missing and unknown ones are noted.
    pub(crate) fn section(&mut self, field: &Field, keys: &Keys) -> Option<Section> {
        let Value::Map(entries) = &field.node.value else {
            let names: Vec<&str> = keys.required.iter().map(|(name, _)| *name).collect();
            let names = if names.is_empty() { keys.optional.join(", ") } else { names.join(", ") };
            let found = field.node.value.kind();
            self.error(
                field,
                format!("expected a mapping, found {found}"),
                format!("write {names} below it"),
            );
            return None;
        };
        let mut section =
            Section { path: field.path.clone(), at: field.key_at, fields: Vec::new() };
        for entry in entries.iter() {
            if self.notes.is_full() {
                break;
            }
            let inner = Field::of(&field.path, entry);
            let Some(name) = self.recognise(&inner, &entry.key, keys) else { continue };
            if section.get(name).is_some() {
                let problem = format!("{name} is given by another name already");
                self.notes.error(entry.at, inner.path.as_str(), problem, "keep one of the two");
            } else if inner.is_null() {
                self.null(&inner, name, keys);
                section.fields.push((name, inner));
            } else {
                section.fields.push((name, inner));
            }
        }
        for (name, example) in keys.required {
            if section.get(name).is_none() {
                let fix = format!("add {name}: {example}");
                self.notes.error(section.at, join(&section.path, name), "is missing", fix);
            }
        }
        section.fields.retain(|(_, field)| !field.is_null());
        Some(section)
    }

    fn null(&mut self, field: &Field, name: &str, keys: &Keys) {
        if let Some((_, example)) = keys.required.iter().find(|(key, _)| *key == name) {
            let fix = format!("write {name}: {example}");
            self.notes.error(field.key_at, field.path.as_str(), "has no value", fix);
        } else if !matches!(name, "command" | "args" | "env" | "expose") {
            let fix = "give it a value, or remove it";
            self.notes.warn(field.key_at, field.path.as_str(), "has no value", fix);
        }
    }

    /// Which of the section's fields a key is.
    fn recognise(&mut self, field: &Field, key: &str, keys: &Keys) -> Option<&'static str> {
        let known: Vec<&'static str> = keys
            .required
            .iter()
            .map(|(name, _)| *name)
            .chain(keys.optional.iter().copied())
            .collect();
        if let Some(name) = known.iter().find(|name| **name == key) {
            return Some(name);
        }
        let (at, path) = (field.key_at, field.path.as_str());
        if key.starts_with("x-") {
            return None;
        }
        let bare = |text: &str| -> String {
            let letters = text.chars().filter(char::is_ascii_alphanumeric);
            letters.map(|letter| letter.to_ascii_lowercase()).collect()
        };
        let wanted = bare(key);
        let same = |name: &str| key.len() <= 64 && bare(name) == wanted;
        if let Some((_, foreign)) = keys.foreign.iter().find(|(name, _)| same(name)) {
            return match foreign {
                Foreign::Ignored => {
                    self.notes.warn(at, path, "means nothing here and is left out", "remove it");
                    None
                }
                Foreign::Means(name) => {
                    let problem = format!("is read as {name}");
                    self.notes.warn(at, path, problem, format!("write {name}"));
                    Some(name)
                }
                Foreign::Refused(fix) => {
                    self.notes.error(at, path, "is no field of this format", *fix);
                    None
                }
            };
        }
        if let Some(name) = known.iter().find(|name| same(name)) {
            self.notes.warn(at, path, format!("is read as {name}"), format!("write {name}"));
            return Some(name);
        }
        let near = nearest(key, &known);
        let fix = match near {
            Some(near) => format!("write {near}"),
            None => format!("remove it; allowed here: {}", known.join(", ")),
        };
        self.notes.error(at, path, "unknown field", fix);
        // Read as what it is taken for, so that what is wrong inside is noted too.
        near.and_then(|near| known.into_iter().find(|name| *name == near))
    }

    /// A mapping whose keys are the tenant's own.
    pub(crate) fn entries(&mut self, field: &Field) -> Vec<(Rc<str>, Field)> {
        match &field.node.value {
            Value::Map(entries) => entries
                .iter()
                .map(|entry| (entry.key.clone(), Field::of(&field.path, entry)))
                .collect(),
            Value::Null => Vec::new(),
            other => {
                let problem = format!("expected a mapping, found {}", other.kind());
                self.error(field, problem, "write `name: value` lines below it");
                Vec::new()
            }
        }
    }

    /// The elements of a list. A single value counts as a list of one, with a warning; nulls are
    /// left out with a warning.
    pub(crate) fn list(&mut self, field: &Field) -> Vec<Field> {
        match &field.node.value {
            Value::List(nodes) => {
                let mut elements = Vec::with_capacity(nodes.len());
                for (at, node) in nodes.iter().enumerate() {
                    let path = format!("{}[{at}]", field.path);
                    let element = Field { path, key_at: node.at, node: node.clone() };
                    if element.is_null() {
                        self.warn(&element, "has no value", "give it a value, or remove it");
                    } else {
                        elements.push(element);
                    }
                }
                elements
            }
            Value::Null => Vec::new(),
            Value::Scalar(_) | Value::Map(_) => {
                self.warn(field, "is read as a list of one", "put `- ` before it");
                vec![field.clone()]
            }
        }
    }

    /// A single value.
    pub(crate) fn scalar(&mut self, field: &Field) -> Option<Scalar> {
        match &field.node.value {
            Value::Scalar(scalar) => Some(scalar.clone()),
            other => {
                let problem = format!("expected a single value, found {}", other.kind());
                self.error(field, problem, "write one value behind the colon");
                None
            }
        }
    }

    /// Text, whatever it looks like.
    pub(crate) fn text(&mut self, field: &Field) -> Option<String> {
        self.scalar(field).map(|scalar| scalar.text.as_ref().to_owned())
    }

    /// Text that is read by `read`.
    pub(crate) fn read<T>(
        &mut self,
        field: &Field,
        read: impl FnOnce(&str) -> Reading<T>,
    ) -> Option<T> {
        let scalar = self.scalar(field)?;
        match read(scalar.text.trim()) {
            Ok(value) => Some(value),
            Err(Refusal { problem, fix }) => {
                self.error(field, problem, fix);
                None
            }
        }
    }

    /// A whole number.
    pub(crate) fn whole(&mut self, field: &Field, least: u64, most: u64) -> Option<u64> {
        let scalar = self.scalar(field)?;
        match scalar.text.trim().parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => {
                if !scalar.plain {
                    self.warn(field, "is text where a number belongs", "remove the quotes");
                }
                Some(number)
            }
            other => {
                let problem = match other {
                    Ok(_) => format!("{} is out of range", echo(&scalar.text)),
                    Err(_) => format!("{} is no whole number", echo(&scalar.text)),
                };
                self.error(field, problem, format!("write {least} to {most}"));
                None
            }
        }
    }

    /// True or false.
    pub(crate) fn flag(&mut self, field: &Field) -> Option<bool> {
        let scalar = self.scalar(field)?;
        let text = scalar.text.trim();
        let flag = match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => true,
            "false" | "no" | "off" => false,
            _ => {
                let problem = format!("{} is neither true nor false", echo(text));
                self.error(field, problem, "write true or false");
                return None;
            }
        };
        if !scalar.plain || !matches!(text, "true" | "false") {
            let problem = format!("{} is read as {flag}", echo(text));
            self.warn(field, problem, format!("write {flag}, without quotes"));
        }
        Some(flag)
    }

    /// One of a fixed set of words, in any case.
    pub(crate) fn word<T: Copy>(&mut self, field: &Field, words: &[(&str, T)]) -> Option<T> {
        self.read(field, |text| {
            match words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
                Some((_, meaning)) => Ok(*meaning),
                None => {
                    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                    crate::value::refuse(
                        format!("{} is unknown", echo(text)),
                        match nearest(text, &names) {
                            Some(near) => format!("write {near}"),
                            None => format!("write {}", names.join(" or ")),
                        },
                    )
                }
            }
        })
    }
}
