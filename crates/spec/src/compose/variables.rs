//! Text of a compose file, its variables replaced.

use crate::{
    form::{Field, Form},
    value::{Reading, refuse},
};

impl Form<'_> {
    /// Text with its variables replaced.
    pub(super) fn plain_text(&mut self, field: &Field) -> Option<String> {
        let text = self.text(field)?;
        match interpolate(&text) {
            Ok((text, None)) => Some(text),
            Ok((text, Some(name))) => {
                let problem = format!("{name} is taken to be its default");
                self.warn(field, problem, "write the value itself");
                Some(text)
            }
            Err(refusal) => {
                self.error(field, refusal.problem, refusal.fix);
                None
            }
        }
    }

    pub(super) fn interpolated<T>(
        &mut self,
        field: &Field,
        read: impl FnOnce(&str) -> Reading<T>,
    ) -> Option<T> {
        let text = self.plain_text(field)?;
        match read(text.trim()) {
            Ok(value) => Some(value),
            Err(refusal) => {
                self.error(field, refusal.problem, refusal.fix);
                None
            }
        }
    }
}

/// Replaces `${NAME:-default}` by its default and `$$` by `$`; names the first default taken.
fn interpolate(text: &str) -> Reading<(String, Option<String>)> {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut defaulted) = (text, None);
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at.saturating_add(1)..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
            continue;
        }
        let named = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        let fix = "write the value itself, or $$ for a dollar sign";
        if let Some(inner) = after.strip_prefix('{') {
            let Some((inside, tail)) = inner.split_once('}') else {
                return refuse("has a `${` without its `}`", fix);
            };
            let end = inside.find(|letter| !named(letter)).unwrap_or(inside.len());
            let (name, operator) = inside.split_at(end);
            let default = operator.strip_prefix(":-").or_else(|| operator.strip_prefix('-'));
            let Some(default) = default.filter(|default| !default.contains('$')) else {
                return refuse(format!("nobody says what ${{{}}} is", short(name)), fix);
            };
            defaulted.get_or_insert_with(|| short(name));
            out.push_str(default);
            rest = tail;
        } else if after.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            let end = after.find(|letter| !named(letter)).unwrap_or(after.len());
            return refuse(format!("nobody says what ${} is", short(&after[..end])), fix);
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    Ok((out, defaulted))
}

fn short(name: &str) -> String {
    name.chars().take(40).collect()
}
