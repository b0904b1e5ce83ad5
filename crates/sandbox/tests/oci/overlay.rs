//! Layers as overlayfs puts them together. Mounting needs root; elsewhere these tests say so.

use super::{build::Archive, pull::store, unpack::unpacked};
use rustix::{
    mount::{MountFlags, UnmountFlags, mount, unmount},
    process::geteuid,
};
use std::{
    collections::BTreeSet,
    ffi::CString,
    path::{Path, PathBuf},
};

struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
}

fn tree(root: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                found.insert(path.strip_prefix(root).unwrap().display().to_string());
            }
        }
    }
    found
}

#[tokio::test]
async fn overlayfs_shows_what_the_image_says() {
    if !geteuid().is_root() {
        println!("skipped: mounting an overlay needs root");
        return;
    }
    let (dir, store) = store();
    let below = Archive::new()
        .file("kept", "below")
        .file("removed", "")
        .file("replaced", "below")
        .file("dir/removed", "")
        .file("dir/kept", "")
        .file("opaque/old", "")
        .file("gone/deep/old", "")
        .file("remade/old", "");
    let above = Archive::new()
        .file(".wh.removed", "")
        .file("replaced", "above")
        .file("dir/.wh.removed", "")
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/new", "")
        .file(".wh.gone", "")
        .file(".wh.remade", "")
        .file("remade/new", "");
    let image = unpacked(&store, vec![below, above]).await;
    let merged = dir.path().join("merged");
    std::fs::create_dir(&merged).unwrap();
    let lower: Vec<String> =
        image.layers.iter().rev().map(|layer| layer.dir().display().to_string()).collect();
    let options = CString::new(format!("lowerdir={}", lower.join(":"))).unwrap();
    mount("overlay", &merged, "overlay", MountFlags::RDONLY, options.as_c_str()).unwrap();
    let mounted = Mounted(merged.clone());
    let expected = ["dir/kept", "kept", "opaque/new", "remade/new", "replaced"];
    assert_eq!(tree(&merged), expected.map(str::to_owned).into());
    assert_eq!(std::fs::read_to_string(merged.join("replaced")).unwrap(), "above");
    drop(mounted);
}
