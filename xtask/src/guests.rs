//! Compile `guests/`, a cargo workspace of its own, to WASM modules in `target/guests/`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use cargo_metadata::{MetadataCommand, TargetKind};

use crate::shell;

/// The target that guests are compiled for.
pub(crate) const TARGET: &str = "wasm32-wasip1";

/// Settings that would make the modules, and so their hashes, depend on who builds them.
const LEAKING_ENVIRONMENT: [&str; 4] =
    ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_RUSTFLAGS", "CARGO_BUILD_TARGET"];

/// The folder that cargo builds the guests in, relative to the root.
pub(crate) const BUILD: &str = "target/guests-build";

/// Tests the guests' code natively: the tests need no module.
pub(crate) fn test() -> Result<()> {
    // From the root, where the settings of guests/.cargo do not apply.
    let mut command = shell::cargo();
    command
        .args(["test", "--locked", "--manifest-path", "guests/Cargo.toml", "--workspace"])
        .env("CARGO_TARGET_DIR", shell::root().join(BUILD));
    shell::stream(&mut command)
}

/// Builds every binary of `guests/` and copies its module to `target/guests/<bin>.wasm`.
pub(crate) fn run(profile: &str) -> Result<()> {
    let root = shell::root();
    let source = root.join("guests");
    let manifest = source.join("Cargo.toml");
    if !manifest.is_file() {
        bail!("guests/Cargo.toml is missing: there is nothing to compile");
    }
    let build = root.join(BUILD);
    let mut command = shell::cargo();
    command
        .current_dir(&source)
        .args(["build", "--target", TARGET, "--profile", profile])
        .env("CARGO_TARGET_DIR", &build);
    if source.join("Cargo.lock").is_file() {
        command.arg("--locked");
    }
    for name in LEAKING_ENVIRONMENT {
        command.env_remove(name);
    }
    shell::stream(&mut command)?;

    let compiled = build.join(TARGET).join(profile_folder(profile));
    let destination = root.join("target/guests");
    for name in binaries(&manifest)? {
        let file = format!("{name}.wasm");
        let bytes = publish(&compiled.join(&file), &destination.join(&file))?;
        println!("target/guests/{file} {bytes} bytes");
    }
    Ok(())
}

/// The folder under the target folder that cargo uses for a profile.
fn profile_folder(profile: &str) -> &str {
    match profile {
        "dev" | "test" => "debug",
        "bench" => "release",
        other => other,
    }
}

/// The names of all binaries in the workspace of a manifest, sorted.
fn binaries(manifest: &Path) -> Result<Vec<String>> {
    let metadata = MetadataCommand::new()
        .manifest_path(manifest)
        .no_deps()
        .exec()
        .context("cannot read the workspace of guests/")?;
    let mut names: Vec<String> = metadata
        .packages
        .iter()
        .flat_map(|package| &package.targets)
        .filter(|target| target.kind.contains(&TargetKind::Bin))
        .map(|target| target.name.clone())
        .collect();
    names.sort_unstable();
    if names.is_empty() {
        bail!("guests/ has no binary: a guest is a package with a src/main.rs");
    }
    Ok(names)
}

/// Copies a file so that a reader sees the old one or the new one, never a part; returns its size
/// in bytes.
fn publish(from: &Path, to: &Path) -> Result<u64> {
    let folder = to.parent().context("the destination has no folder")?;
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot create {}", folder.display()))?;
    let partial = PathBuf::from(format!("{}.{}.partial", to.display(), std::process::id()));
    let bytes = std::fs::copy(from, &partial)
        .with_context(|| format!("cannot copy {} to {}", from.display(), partial.display()))?;
    std::fs::rename(&partial, to)
        .with_context(|| format!("cannot rename {} to {}", partial.display(), to.display()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publish_replaces_the_old_module_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("new.wasm");
        let to = folder.path().join("guests/module.wasm");
        std::fs::write(&from, b"first").unwrap();
        assert_eq!(publish(&from, &to).unwrap(), 5);
        std::fs::write(&from, b"second").unwrap();
        assert_eq!(publish(&from, &to).unwrap(), 6);
        assert_eq!(std::fs::read(&to).unwrap(), b"second");
        assert_eq!(std::fs::read_dir(folder.path().join("guests")).unwrap().count(), 1);
    }

    #[test]
    fn publish_names_a_module_that_was_not_built() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("missing.wasm");
        let error = publish(&missing, &folder.path().join("to.wasm")).expect_err("no such file");
        assert!(error.to_string().contains("missing.wasm"), "{error}");
    }

    #[test]
    fn only_binaries_are_guests() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("Cargo.toml");
        let text = "[workspace]\n[package]\nname = \"sample\"\nversion = \"0.1.0\"\n";
        std::fs::write(&manifest, text).unwrap();
        std::fs::create_dir_all(folder.path().join("src/bin")).unwrap();
        std::fs::write(folder.path().join("src/lib.rs"), "").unwrap();
        assert!(binaries(&manifest).is_err(), "a library alone is no guest");
        std::fs::write(folder.path().join("src/bin/train.rs"), "fn main() {}").unwrap();
        std::fs::write(folder.path().join("src/bin/classify.rs"), "fn main() {}").unwrap();
        assert_eq!(binaries(&manifest).unwrap(), ["classify", "train"]);
    }

    #[test]
    fn cargo_names_the_folders_of_its_own_profiles_differently() {
        let folders = [("dev", "debug"), ("release", "release"), ("bench", "release"), ("x", "x")];
        for (profile, folder) in folders {
            assert_eq!(profile_folder(profile), folder);
        }
    }
}
