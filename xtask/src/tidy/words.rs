//! Nothing in the repository knows the machine that it was written on.

use super::Finding;
use super::tree::Tree;

/// Beginnings of absolute paths that only one machine has; split here, so that this file has none.
const FORBIDDEN: &[&str] = &[concat!("/wo", "rk/"), concat!("/ro", "ot/")];

/// Reports absolute paths of a developer's machine.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        for (index, line) in text.lines().enumerate() {
            for word in FORBIDDEN {
                if line.match_indices(word).any(|(start, _)| starts_a_path(&line[..start])) {
                    let message =
                        format!("`{word}` is a path of one machine: write a relative one");
                    findings.push(Finding::line(path, index + 1, message));
                }
            }
        }
    }
    findings
}

/// Whether a slash after this text begins an absolute path, rather than going on with a name.
fn starts_a_path(before: &str) -> bool {
    !before.ends_with(|c: char| c.is_alphanumeric() || "_-.~)}>]*$".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_of_a_machine_are_reported_and_relative_ones_are_not() {
        let [work, root] = FORBIDDEN else { panic!("two words") };
        let table = [
            (format!("cd {work}main"), false),
            (format!("{work}main"), false),
            (format!("const A: &str = \"{root}.cargo\";"), false),
            (format!("file://{work}main"), false),
            (format!("target{work}x"), true),
            (format!("https://example.org{work}x"), true),
            (format!("$HOME{work}x"), true),
            ("a relative/path".to_owned(), true),
        ];
        for (text, fine) in table {
            let findings = check(&Tree::of(&[("a.sh", &format!("first\n{text}\n"))]));
            assert_eq!(findings.is_empty(), fine, "{text}");
            assert!(findings.iter().all(|finding| finding.line == Some(2)));
        }
    }
}
