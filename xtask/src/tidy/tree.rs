//! The files of the checkout: what git tracks, and what it would track.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::Result;

use crate::shell;

/// Larger files are data, not text that somebody reads, bytes.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// The files of a checkout, by their paths relative to its root, with `/` between the parts.
#[derive(Default)]
pub(super) struct Tree {
    /// The text, or none where the file is binary or large.
    files: BTreeMap<String, Option<String>>,
    /// Every folder that holds a file, at any depth. The root is the empty string.
    folders: BTreeSet<String>,
}

impl Tree {
    /// Reads the files that git knows and those that it does not ignore.
    pub(super) fn of_checkout() -> Result<Self> {
        let root = shell::root();
        let listed = shell::capture(Command::new("git").current_dir(&root).args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]))?;
        let mut tree = Self::default();
        for path in listed.split('\0').filter(|path| !path.is_empty()) {
            // What was deleted and not yet committed is listed too: it is no longer there.
            if let Ok(bytes) = std::fs::read(root.join(path)) {
                tree.insert(path, text(bytes));
            }
        }
        Ok(tree)
    }

    /// A tree made of the given paths and texts.
    #[cfg(test)]
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.insert(path, Some((*text).to_owned()));
        }
        tree
    }

    fn insert(&mut self, path: &str, text: Option<String>) {
        self.files.insert(path.to_owned(), text);
        self.folders.insert(String::new());
        for (end, _) in path.match_indices('/') {
            self.folders.insert(path[..end].to_owned());
        }
    }

    /// How many files there are.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether a file or a folder has this path.
    pub(super) fn has(&self, path: &str) -> bool {
        self.files.contains_key(path) || self.folders.contains(path)
    }

    /// The text of a file, where it is there and is text.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.as_deref()
    }

    /// Every text file, by path.
    pub(super) fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().filter_map(|(path, text)| Some((path.as_str(), text.as_deref()?)))
    }

    /// Every Rust file, by path.
    pub(super) fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts().filter(|(path, _)| path.ends_with(".rs"))
    }
}

fn text(bytes: Vec<u8>) -> Option<String> {
    if bytes.len() > MAX_TEXT_BYTES {
        return None;
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_has_its_files_and_the_folders_above_them() {
        let tree = Tree::of(&[("a/b/c.rs", "x"), ("d.md", "y")]);
        for path in ["a/b/c.rs", "a/b", "a", "", "d.md"] {
            assert!(tree.has(path), "{path:?}");
        }
        for path in ["b", "a/b/c", "c.rs", "d"] {
            assert!(!tree.has(path), "{path:?}");
        }
        assert_eq!(tree.text("d.md"), Some("y"));
        assert_eq!(tree.rust().count(), 1);
    }

    #[test]
    fn binary_and_large_files_have_no_text() {
        assert_eq!(text(b"plain".to_vec()), Some("plain".to_owned()));
        assert_eq!(text(vec![0xff, 0xfe]), None);
        assert_eq!(text(b"a\0b".to_vec()), None);
        assert_eq!(text(vec![b'x'; MAX_TEXT_BYTES + 1]), None);
    }

    #[test]
    fn the_checkout_lists_its_own_sources_and_not_what_git_ignores() {
        let tree = Tree::of_checkout().unwrap();
        assert!(tree.text("xtask/src/tidy/tree.rs").is_some());
        assert!(!tree.has("target"));
    }
}
