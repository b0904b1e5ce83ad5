//! Relative links resolve: in Markdown files, and to files of the repository in doc comments.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::tree::Tree;

/// A link as it is written.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    target: String,
    /// Counted from 1.
    line: usize,
}

/// Reports links whose file or heading is not there.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts().filter(|(path, _)| is_markdown(path)) {
        let lines: Vec<&str> = text.lines().collect();
        for link in links(&lines) {
            findings.extend(judge(tree, path, &link));
        }
    }
    for (path, text) in tree.rust() {
        let lines: Vec<&str> = text.lines().map(doc_comment).collect();
        for link in links(&lines).iter().filter(|link| names_a_file(&link.target)) {
            findings.extend(judge(tree, path, link));
        }
    }
    findings
}

fn is_markdown(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(_, extension)| extension == "md")
}

/// The Markdown of a line of doc comment; empty for every other line.
fn doc_comment(line: &str) -> &str {
    let line = line.trim_start();
    let is_doc = line.starts_with("//!") || (line.starts_with("///") && !line.starts_with("////"));
    if is_doc { &line[3..] } else { "" }
}

/// Whether a link of a doc comment means a file: one to an item has no slash and no file's ending.
fn names_a_file(target: &str) -> bool {
    let path = target.split('#').next().unwrap_or_default();
    path.contains('/') || [".md", ".rs", ".toml", ".html"].iter().any(|end| path.ends_with(end))
}

/// Says what is wrong with a link of the file at `path`, if anything.
fn judge(tree: &Tree, path: &str, link: &Link) -> Option<Finding> {
    let refuse = |why: String| {
        Some(Finding::line(path, link.line, format!("the link `{}` {why}", link.target)))
    };
    if has_scheme(&link.target) {
        return None;
    }
    let (file, heading) = match link.target.split_once('#') {
        Some((file, heading)) => (file, Some(heading)),
        None => (link.target.as_str(), None),
    };
    let file = file.split('?').next().unwrap_or_default();
    let place = if file.is_empty() {
        path.to_owned()
    } else if file.starts_with('/') {
        return refuse("starts at a root: write it relative to this file".to_owned());
    } else {
        match resolve(path, &decode(file)) {
            Some(place) if tree.has(&place) => place,
            Some(place) => return refuse(format!("leads to `{place}`, which is not there")),
            None => return refuse("leads out of the repository".to_owned()),
        }
    };
    let heading = decode(heading?);
    let text = tree.text(&place).filter(|_| is_markdown(&place))?;
    if anchors(text).contains(&heading) {
        return None;
    }
    refuse(format!("names a heading that `{place}` does not have"))
}

/// Whether a target is a whole address, such as `https://...` or `mailto:...`.
fn has_scheme(target: &str) -> bool {
    target.split_once(':').is_some_and(|(scheme, _)| {
        scheme.len() > 1
            && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
    }) || target.starts_with("//")
}

/// The path of a relative target from the root; none where it leads out.
fn resolve(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            other => parts.push(other),
        }
    }
    Some(parts.join("/"))
}

/// Undoes `%20` and its like.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = after
            .get(..2)
            .filter(|_| first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The links of Markdown lines: `[text](target)`, `[name]: target`, `href="target"` and
/// `src="target"`, outside code.
fn links(lines: &[&str]) -> Vec<Link> {
    let mut links = Vec::new();
    for (line, text) in prose(lines) {
        let mut found = |target: &str| {
            let target = target.trim().trim_start_matches('<');
            let end = target.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(target.len());
            if end > 0 {
                links.push(Link { target: target[..end].to_owned(), line });
            }
        };
        for (start, _) in text.match_indices("](") {
            found(until_closed(&text[start + 2..]));
        }
        for attribute in ["href=\"", "src=\""] {
            for (start, _) in text.match_indices(attribute) {
                let value = &text[start + attribute.len()..];
                found(value.split('"').next().unwrap_or_default());
            }
        }
        let definition = text.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]:"));
        if let Some((name, target)) = definition
            && !name.contains(']')
            && !name.starts_with('^')
        {
            found(target);
        }
    }
    links
}

/// What stands before the parenthesis that closes a target.
fn until_closed(text: &str) -> &str {
    let mut depth = 0_usize;
    for (index, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return &text[..index],
            ')' => depth -= 1,
            _ => {}
        }
    }
    text
}

/// The lines outside fenced code, numbered from 1, without their inline code.
fn prose(lines: &[&str]) -> Vec<(usize, String)> {
    let mut fence: Option<&str> = None;
    let mut prose = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| trimmed.starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (Some(_), _) => {}
            (None, None) => prose.push((index + 1, without_code(line))),
        }
    }
    prose
}

/// Cuts `code` out of a line. A run of backticks that is never closed is no code.
fn without_code(line: &str) -> String {
    let mut kept = String::new();
    let mut rest = line;
    while let Some(start) = rest.find('`') {
        kept.push_str(&rest[..start]);
        let ticks: String = rest[start..].chars().take_while(|c| *c == '`').collect();
        let inside = &rest[start + ticks.len()..];
        match inside.find(&ticks) {
            Some(end) => rest = &inside[end + ticks.len()..],
            None => {
                kept.push_str(&ticks);
                rest = inside;
            }
        }
    }
    kept.push_str(rest);
    kept
}

/// What a `#...` can name in a Markdown file: its headings, as GitHub spells them, and the ids of
/// its HTML.
fn anchors(text: &str) -> BTreeSet<String> {
    let lines: Vec<&str> = text.lines().collect();
    let fenced: BTreeSet<usize> = prose(&lines).into_iter().map(|(line, _)| line).collect();
    let mut anchors = BTreeSet::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let outside = lines.iter().enumerate().filter(|(index, _)| fenced.contains(&(index + 1)));
    for (_, line) in outside {
        for attribute in ["id=\"", "name=\""] {
            for (start, _) in line.match_indices(attribute) {
                let value = &line[start + attribute.len()..];
                anchors.insert(value.split('"').next().unwrap_or_default().to_owned());
            }
        }
        let title = line.trim_start_matches('#');
        let depth = line.len() - title.len();
        if !(1..=6).contains(&depth) || !title.starts_with([' ', '\t']) {
            continue;
        }
        let slug = slug(title.trim().trim_end_matches('#'));
        let count = seen.entry(slug.clone()).or_default();
        anchors.insert(if *count == 0 { slug } else { format!("{slug}-{count}") });
        *count += 1;
    }
    anchors
}

fn slug(title: &str) -> String {
    // A link in a heading counts with its text only.
    let mut text = String::new();
    let mut rest = title;
    while let Some((before, after)) = rest.split_once("](") {
        text.push_str(before);
        rest = &after[until_closed(after).len()..];
    }
    text.push_str(rest);
    text.trim()
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            c => c.is_alphanumeric().then_some(c),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: &str = "# The House\n\n## A job, step by step\n\n## `muster run`\n\n## Again\n\
        ```\n# not a heading\n```\n## Again\n\n## See [it](code.rs) there\n<a id=\"own\"></a>\n";

    fn broken(path: &str, text: &str) -> Vec<Finding> {
        check(&Tree::of(&[(path, text), ("docs/other.md", OTHER), ("docs/code.rs", "")]))
    }

    #[test]
    fn links_in_markdown_resolve_or_are_reported() {
        let table = [
            ("[a](other.md)", true),
            ("[a](./other.md \"title\")", true),
            ("[a](<other.md>)", true),
            ("[a](../docs/other.md)", true),
            ("[a](../docs)", true),
            ("[a](../docs/)", true),
            ("[a](code.rs#L3)", true),
            ("[a](missing.md)", false),
            ("text [a](other.md) and [b](missing.md)", false),
            ("[a](other.mdx)", false),
            ("[a](../../elsewhere.md)", false),
            ("[a](/docs/other.md)", false),
            ("[a](https://example.org/missing.md)", true),
            ("[a](mailto:somebody@example.org)", true),
            ("[a]: other.md", true),
            ("[a]: missing.md", false),
            ("![a](missing.png)", false),
            ("<img src=\"missing.png\">", false),
            ("<a href=\"other.md\">", true),
            ("`[a](missing.md)`", true),
            ("``a ` [a](missing.md)``", true),
            ("a ` b [a](missing.md)", false),
            ("```\n[a](missing.md)\n```", true),
            ("```\n```\n[a](missing.md)", false),
            ("[^1]: a note", true),
            ("[a](with%20space.md)", false),
        ];
        for (text, resolves) in table {
            let findings = broken("docs/page.md", text);
            assert_eq!(findings.is_empty(), resolves, "{text}: {findings:?}");
        }
    }

    #[test]
    fn links_to_headings_resolve_or_are_reported() {
        let table = [
            ("[a](other.md#the-house)", true),
            ("[a](other.md#a-job-step-by-step)", true),
            ("[a](other.md#muster-run)", true),
            ("[a](other.md#again)", true),
            ("[a](other.md#again-1)", true),
            ("[a](other.md#again-2)", false),
            ("[a](other.md#see-it-there)", true),
            ("[a](other.md#own)", true),
            ("[a](other.md#not-a-heading)", false),
            ("[a](other.md#The-House)", false),
            ("# Here\n[a](#here)", true),
            ("# Here\n[a](#there)", false),
        ];
        for (text, resolves) in table {
            let findings = broken("docs/page.md", text);
            assert_eq!(findings.is_empty(), resolves, "{text}: {findings:?}");
        }
    }

    #[test]
    fn doc_comments_link_to_files_that_are_there_and_to_items_as_rustdoc_checks() {
        let table = [
            ("//! See [a](../docs/other.md).", true),
            ("//! See [a](../docs/missing.md).", false),
            ("    /// See [a](missing.md#x).", false),
            ("/// See [a] and [b](Self::f) and [c](crate::d).", true),
            ("/// [a]: crate::b", true),
            ("// See [a](missing.md).", true),
            ("const A: &str = \"[a](missing.md)\";", true),
        ];
        for (text, resolves) in table {
            let findings = broken("src/lib.rs", text);
            assert_eq!(findings.is_empty(), resolves, "{text}: {findings:?}");
        }
    }

    #[test]
    fn a_finding_names_the_line_and_the_place_that_is_missing() {
        let findings = broken("docs/page.md", "one\n\n[a](b/missing.md)");
        assert_eq!(findings.len(), 1);
        let text = findings[0].to_string();
        assert_eq!(
            text,
            "docs/page.md:3: the link `b/missing.md` leads to `docs/b/missing.md`, which is not \
             there"
        );
    }
}
