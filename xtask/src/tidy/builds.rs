//! `make demo` and `make test` share one build.
//!
//! Cargo unites the features of what it builds in one go. Where a test's dependency switches a
//! feature on that the binary alone does not, cargo compiles that crate, and everything above it,
//! once for the demo and once again for the tests.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::Finding;
use crate::shell;

/// The features that each package is built with. A package may be built in several ways: for
/// build scripts, and for the program.
type Builds = BTreeMap<String, BTreeSet<String>>;

/// Asks cargo for both builds and reports the packages that they do not share.
pub(super) fn check() -> Result<Vec<Finding>> {
    let demo = builds(&["--package", "muster-cli", "--edges", "normal,build"])?;
    let apart = ["--exclude", "xtask", "--exclude", "muster-sim"];
    let test = builds(&[&["--workspace", "--edges", "normal,build,dev"], &apart[..]].concat())?;
    let mut findings = compare(&demo, &test);
    findings.extend(planted(&demo));
    Ok(findings)
}

/// Reports what is shipped with faults planted for the simulator.
fn planted(demo: &Builds) -> Vec<Finding> {
    let planted = |features: &String| features.split(',').any(|feature| feature == "planted");
    let with = demo.iter().filter(|(_, features)| features.iter().any(planted));
    with.map(|(package, _)| {
        let message = format!("{package} is shipped with the feature `planted`: it is for tests");
        Finding::file("crates/cli/Cargo.toml", message)
    })
    .collect()
}

fn builds(selection: &[&str]) -> Result<Builds> {
    let mut tree = shell::cargo();
    tree.args(["tree", "--locked", "--prefix", "none", "--format", "{p}|{f}"]);
    Ok(read(&shell::capture(tree.args(selection))?))
}

fn read(printed: &str) -> Builds {
    let mut builds = Builds::new();
    for line in printed.lines() {
        if let Some((package, features)) = line.split_once('|') {
            let features = features.trim_end_matches("(*)").trim_end();
            builds.entry(package.to_owned()).or_default().insert(features.to_owned());
        }
    }
    builds
}

fn compare(demo: &Builds, test: &Builds) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (package, features) in demo {
        // What only the demo needs costs nothing: the tests do not build it at all.
        let Some(tested) = test.get(package) else { continue };
        for only in features.difference(tested) {
            let others: Vec<_> = tested.iter().map(String::as_str).collect();
            let message = format!(
                "`make demo` builds {package} with the features [{only}] and `make test` with [{}], \
                 so that all above it is compiled twice: depend on it here with what is missing",
                others.join("] and [")
            );
            findings.push(Finding::file("crates/cli/Cargo.toml", message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_that_only_tests_switch_on_is_reported() {
        let demo = read("serde v1.0.0|std\nfastrand v2.5.0|alloc,std\n\nonly v1.0.0|a\n");
        let same = read("serde v1.0.0|std (*)\nfastrand v2.5.0|alloc,std\nproptest v1.0.0|std\n");
        assert_eq!(compare(&demo, &same), []);
        let more = read("serde v1.0.0|std\nfastrand v2.5.0|alloc,default,std\n");
        let findings = compare(&demo, &more);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].message.contains("fastrand v2.5.0"), "{}", findings[0]);
    }

    #[test]
    fn planted_faults_are_not_shipped() {
        assert_eq!(planted(&read("muster-node v0.1.0 (/x)|\n")), []);
        assert_eq!(planted(&read("muster-node v0.1.0 (/x)|default,planted\n")).len(), 1);
    }

    #[test]
    fn a_package_that_is_built_in_two_ways_must_share_those_of_the_demo() {
        let demo = read("a v1.0.0|x\na v1.0.0|\n");
        assert_eq!(compare(&demo, &read("a v1.0.0|x\na v1.0.0|\na v1.0.0|y\n")), []);
        assert_eq!(compare(&demo, &read("a v1.0.0|x\n")).len(), 1);
    }
}
