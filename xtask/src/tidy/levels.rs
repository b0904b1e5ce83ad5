//! Arrows only point down: a crate may use only crates of the levels below its own.

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, MetadataCommand};

use super::Finding;
use super::tree::Tree;
use crate::shell;

/// The house: every crate of `crates/`, lowest level first.
const HOUSE: &[(u8, &[&str])] = &[
    (0, &["types", "kernel", "hostile"]),
    (1, &["ledger", "market", "spec", "verify"]),
    (2, &["sandbox", "api"]),
    (3, &["fabric"]),
    (4, &["node", "agent", "jobs", "gateway"]),
    (5, &["cli", "sim"]),
];

/// The arrows that may stay on one level.
const SAME_LEVEL: &[(&str, &str)] =
    &[("ledger", "market"), ("ledger", "verify"), ("spec", "market"), ("cli", "sim")];

/// Crates that see the whole house in every way: they only exist while we develop.
const SEES_ALL: &[&str] = &["sim"];

/// Crates whose tests see the whole house.
const TESTS_SEE_ALL: &[&str] = &["cli", "sim"];

/// The level of every package of `guests/`: a guest uses the words and the other guests' kit, and
/// a host may run a guest's code natively, to compare.
const GUEST_LEVEL: u8 = 1;

/// Our packages are named `muster-<crate>`.
const PREFIX: &str = "muster-";

/// A package of ours with those of its dependencies that are ours too.
pub(super) struct Member {
    /// The package's name.
    name: String,
    /// The path of its manifest, relative to the root.
    manifest: String,
    /// Name and kind of each dependency.
    uses: Vec<(String, DependencyKind)>,
}

/// The packages of the workspace, and those of `guests/` where it is there.
pub(super) fn members() -> Result<Vec<Member>> {
    let root = shell::root();
    let mut members = Vec::new();
    for folder in ["", "guests"] {
        let manifest = root.join(folder).join("Cargo.toml");
        if !manifest.is_file() {
            continue;
        }
        let metadata = MetadataCommand::new()
            .manifest_path(&manifest)
            .no_deps()
            .exec()
            .with_context(|| format!("cannot read {}", manifest.display()))?;
        for package in metadata.packages {
            let path = package.manifest_path.strip_prefix(&root).unwrap_or(&package.manifest_path);
            members.push(Member {
                name: package.name.to_string(),
                manifest: path.to_string(),
                uses: package
                    .dependencies
                    .iter()
                    .filter(|dependency| dependency.path.is_some())
                    .map(|dependency| (dependency.name.clone(), dependency.kind))
                    .collect(),
            });
        }
    }
    Ok(members)
}

/// Reports crates that the table lacks, crates under another name, and arrows that do not point
/// down.
pub(super) fn check(members: &[Member], tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, _) in tree.texts() {
        let Some(folder) = crate_folder(path) else { continue };
        if level(folder).is_none() {
            let message = format!(
                "the crate `{folder}` has no level: add it to HOUSE in xtask/src/tidy/levels.rs"
            );
            findings.push(Finding::file(path, message));
        }
        let package = format!("{PREFIX}{folder}");
        if !members.iter().any(|member| member.name == package) {
            let message = format!("the package in crates/{folder} must be named `{package}`");
            findings.push(Finding::file(path, message));
        }
    }
    let guests: Vec<&str> = members
        .iter()
        .filter(|member| member.manifest.starts_with("guests/"))
        .map(|member| member.name.as_str())
        .collect();
    for member in members {
        for (used, kind) in &member.uses {
            findings.extend(check_arrow(member, used, *kind, &guests));
        }
    }
    findings
}

/// The folder's name, where a path is the manifest of a crate in `crates/`.
fn crate_folder(path: &str) -> Option<&str> {
    let folder = path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")?;
    (!folder.contains('/')).then_some(folder)
}

fn level(name: &str) -> Option<u8> {
    HOUSE.iter().find(|(_, names)| names.contains(&name)).map(|(level, _)| *level)
}

fn check_arrow(
    member: &Member,
    used: &str,
    kind: DependencyKind,
    guests: &[&str],
) -> Option<Finding> {
    let level_of = |package: &str| {
        if guests.contains(&package) {
            return Some(GUEST_LEVEL);
        }
        package.strip_prefix(PREFIX).and_then(level)
    };
    let ours = used.starts_with(PREFIX) || guests.contains(&used);
    if !ours || (guests.contains(&member.name.as_str()) && guests.contains(&used)) {
        return None;
    }
    let refuse = |message: String| Some(Finding::file(&member.manifest, message));
    if member.name == "xtask" {
        return refuse(format!("xtask must build without our crates, and uses `{used}`"));
    }
    let Some(below) = level_of(used) else {
        return refuse(format!("`{used}` has no level in xtask/src/tidy/levels.rs"));
    };
    // A crate without a level has been reported.
    let above = level_of(&member.name)?;
    let from = member.name.trim_start_matches(PREFIX);
    let to = used.trim_start_matches(PREFIX);
    let allowed = SEES_ALL.contains(&from)
        || SAME_LEVEL.contains(&(from, to))
        || if kind == DependencyKind::Development {
            below <= above || TESTS_SEE_ALL.contains(&from)
        } else {
            below < above
        };
    if allowed {
        return None;
    }
    refuse(format!("arrows point down: `{from}` (level {above}) uses `{to}` (level {below})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NORMAL: DependencyKind = DependencyKind::Normal;
    const BUILD: DependencyKind = DependencyKind::Build;
    const TEST: DependencyKind = DependencyKind::Development;

    fn member(name: &str, used: &str, kind: DependencyKind) -> Member {
        let manifest = match name.strip_prefix(PREFIX) {
            Some(folder) => format!("crates/{folder}/Cargo.toml"),
            None if name == "xtask" => "xtask/Cargo.toml".to_owned(),
            None => format!("guests/{name}/Cargo.toml"),
        };
        Member { name: name.to_owned(), manifest, uses: vec![(used.to_owned(), kind)] }
    }

    #[test]
    fn arrows_point_down_and_nowhere_else() {
        let table = [
            ("muster-ledger", "muster-types", NORMAL, true),
            ("muster-cli", "muster-types", NORMAL, true),
            ("muster-ledger", "muster-market", NORMAL, true),
            ("muster-market", "muster-ledger", NORMAL, false),
            ("muster-types", "muster-kernel", NORMAL, false),
            ("muster-spec", "muster-verify", NORMAL, false),
            ("muster-node", "muster-agent", NORMAL, false),
            ("muster-node", "muster-agent", TEST, true),
            ("muster-fabric", "muster-node", TEST, false),
            ("muster-types", "muster-ledger", BUILD, false),
            ("muster-api", "muster-node", NORMAL, false),
            ("muster-cli", "muster-sim", TEST, true),
            ("muster-cli", "muster-sim", NORMAL, true),
            ("muster-sim", "muster-cli", NORMAL, true),
            ("muster-ledger", "serde", NORMAL, true),
            ("xtask", "muster-types", NORMAL, false),
            ("xtask", "muster-types", TEST, false),
            ("guest-train", "muster-kernel", NORMAL, true),
            ("guest-train", "muster-verify", NORMAL, false),
            ("muster-agent", "muster-unheard-of", NORMAL, false),
        ];
        for (from, to, kind, allowed) in table {
            let findings = check(&[member(from, to, kind)], &Tree::default());
            assert_eq!(findings.is_empty(), allowed, "{from} -> {to} ({kind:?}): {findings:?}");
        }
    }

    #[test]
    fn guests_share_their_kit_and_only_the_levels_above_may_run_them_natively() {
        let kit = || member("guest-kit", "muster-kernel", NORMAL);
        let kit = || Member { name: "muster-guest".to_owned(), ..kit() };
        let train = member("guest-train", "muster-guest", NORMAL);
        assert_eq!(check(&[kit(), train], &Tree::default()), []);
        for (from, allowed) in
            [("muster-sandbox", true), ("muster-cli", true), ("muster-ledger", false)]
        {
            let findings = check(&[kit(), member(from, "muster-guest", NORMAL)], &Tree::default());
            assert_eq!(findings.is_empty(), allowed, "{from}: {findings:?}");
        }
    }

    #[test]
    fn a_crate_that_the_table_lacks_is_reported_with_what_to_do() {
        let manifest = "crates/attic/Cargo.toml";
        let tree = Tree::of(&[(manifest, "[package]")]);
        let findings = check(&[member("muster-attic", "serde", NORMAL)], &tree);
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].path, manifest);
        assert!(findings[0].message.contains("add it to HOUSE"), "{}", findings[0]);
    }

    #[test]
    fn a_crate_under_another_name_is_reported() {
        let tree = Tree::of(&[("crates/types/Cargo.toml", "[package]")]);
        assert!(check(&[member("muster-types", "serde", NORMAL)], &tree).is_empty());
        assert_eq!(check(&[member("types", "serde", NORMAL)], &tree).len(), 1);
    }

    #[test]
    fn the_workspace_is_read_with_its_inner_arrows() {
        let members = members().unwrap();
        let ledger = members.iter().find(|member| member.name == "muster-ledger").unwrap();
        assert_eq!(ledger.manifest, "crates/ledger/Cargo.toml");
        assert!(ledger.uses.contains(&("muster-types".to_owned(), NORMAL)));
        assert!(!ledger.uses.iter().any(|(name, _)| name == "serde"));
    }
}
