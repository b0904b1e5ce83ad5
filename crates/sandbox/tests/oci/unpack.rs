//! What a layer's directory has.

use super::{
    build::{Archive, Entry, Packing, image, pack},
    fake::Fake,
    pull::store,
};
use muster_sandbox::oci::image::{IdMap, Image, PullOptions, Store};
use rustix::{
    fs::{FileType, lgetxattr, listxattr},
    process::geteuid,
};
use std::{
    fs::Metadata,
    os::unix::fs::{FileTypeExt as _, MetadataExt as _},
    path::Path,
};
use tar::EntryType;

/// Root gives files away; others keep them.
pub(crate) fn ids() -> IdMap {
    if geteuid().is_root() { IdMap::shift(100_000, 65_536).unwrap() } else { IdMap::squash() }
}

pub(crate) async fn unpacked(store: &Store, layers: Vec<Archive>) -> Image {
    let fake = Fake::start().await;
    let layers: Vec<_> = layers.into_iter().map(|layer| pack(layer, Packing::Gzip)).collect();
    let name = fake.has("app", "1", &image(&layers));
    fake.pull(store, &name, &PullOptions::new(ids())).await.unwrap()
}

fn at(root: &Path, path: &str) -> Metadata {
    std::fs::symlink_metadata(root.join(path)).unwrap()
}

fn is_whiteout(found: &Metadata) -> bool {
    let kind = FileType::from_raw_mode(found.mode());
    kind == FileType::CharacterDevice && found.rdev() == 0
}

fn is_opaque(store: &Store, path: &Path) -> bool {
    let space = if store.userxattr() { "user" } else { "trusted" };
    let mut value = [0; 8];
    lgetxattr(path, format!("{space}.overlay.opaque"), &mut value)
        .is_ok_and(|n| value[..n] == *b"y")
}

#[tokio::test]
async fn modes_owners_times_and_links_are_as_in_the_archive() {
    let (_dir, store) = store();
    let file = |name, mode, owner| Entry { name, mode, owner, data: b"x", ..Entry::default() };
    let archive = Archive::new()
        .entry(&Entry { kind: EntryType::Directory, owner: (7, 8), ..file(b"d/", 0o1751, (7, 8)) })
        .entry(&file(b"d/suid", 0o4755, (0, 0)))
        .entry(&file(b"d/owned", 0o640, (1000, 1001)))
        .hard_link("d/same", "d/owned")
        .symlink("d/link", "/etc/passwd")
        .entry(&Entry { kind: EntryType::Fifo, data: b"", ..file(b"d/fifo", 0o600, (0, 0)) })
        .file("implied/below", "y");
    let image = unpacked(&store, vec![archive]).await;
    let root = image.layers[0].dir();
    let (shifted, special) =
        (geteuid().is_root(), if geteuid().is_root() { 0o7777 } else { 0o777 });
    let owner = |path: &str, uid: u32, gid: u32| {
        let found = at(&root, path);
        assert!(!shifted || (found.uid(), found.gid()) == (100_000 + uid, 100_000 + gid), "{path}");
        found
    };
    assert_eq!(owner("d/suid", 0, 0).mode() & special, 0o4755 & special);
    assert_eq!(owner("d/owned", 1000, 1001).mode() & 0o7777, 0o640);
    let directory = owner("d", 7, 8);
    assert_eq!((directory.mode() & 0o7777, directory.mtime()), (0o1751, 1_000_000_000));
    assert_eq!(at(&root, "d/owned").ino(), at(&root, "d/same").ino());
    assert_eq!(at(&root, "d/owned").mtime(), 1_000_000_000);
    assert_eq!(owner("d/link", 0, 0).mtime(), 1_000_000_000);
    assert_eq!(std::fs::read_link(root.join("d/link")).unwrap(), Path::new("/etc/passwd"));
    assert!(owner("d/fifo", 0, 0).file_type().is_fifo());
    assert_eq!(owner("implied", 0, 0).mode() & 0o7777, 0o755);
    assert_eq!(owner("", 0, 0).mode() & 0o7777, 0o755);
    assert_eq!(image.layers[0].entries(), 8, "a directory that no entry names counts");
}

#[tokio::test]
async fn squashed_files_are_never_setuid() {
    let (_dir, store) = store();
    let fake = Fake::start().await;
    let archive = Archive::new().entry(&Entry { name: b"f", mode: 0o6755, ..Entry::default() });
    let name = fake.has("app", "1", &image(&[pack(archive, Packing::Gzip)]));
    let options = PullOptions::new(IdMap::squash());
    let pulled = fake.pull(&store, &name, &options).await.unwrap();
    assert_eq!(at(&pulled.layers[0].dir(), "f").mode() & 0o7777, 0o755);
}

#[tokio::test]
async fn extended_attributes_are_dropped() {
    let (_dir, store) = store();
    let pax = [
        ("SCHILY.xattr.security.capability", "\u{1}"),
        ("SCHILY.xattr.trusted.overlay.redirect", "/etc"),
        ("SCHILY.xattr.user.overlay.opaque", "y"),
        ("SCHILY.xattr.user.mine", "x"),
    ];
    let archive = Archive::new().pax(&pax).file("f", "").pax(&pax).dir("d", 0o755);
    let image = unpacked(&store, vec![archive]).await;
    for path in ["f", "d"] {
        let mut names = [0; 1000];
        let found = listxattr(image.layers[0].dir().join(path), &mut names).unwrap();
        let names = String::from_utf8_lossy(&names[..found]).into_owned();
        assert!(!names.contains("overlay") && !names.contains("capability"), "{names}");
        assert!(!names.contains("user.mine"), "{names}");
    }
}

#[tokio::test]
async fn whiteouts_hide_what_is_below_and_nothing_of_their_own_layer() {
    let (_dir, store) = store();
    let archive = Archive::new()
        .file("gone/.wh.file", "")
        .dir("opaque", 0o755)
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/new", "")
        .file("kept", "here")
        .file(".wh.kept", "")
        .file(".wh.again", "")
        .file("again", "here")
        .file(".wh.dir-after", "")
        .dir("dir-after", 0o700)
        .dir("dir-before", 0o700)
        .file(".wh.dir-before", "")
        .file(".wh.implied", "")
        .file("implied/below", "")
        .file(".wh..wh.aufs", "")
        .file("late/x", "")
        .file("late/.wh..wh..opq", "");
    let image = unpacked(&store, vec![archive]).await;
    let root = image.layers[0].dir();
    assert!(is_whiteout(&at(&root, "gone/file")));
    assert!(at(&root, "kept").is_file() && at(&root, "again").is_file());
    for (path, opaque) in [
        ("gone", false),
        ("opaque", true),
        ("dir-after", true),
        ("dir-before", true),
        ("implied", true),
        ("late", true),
        ("", false),
    ] {
        assert!(at(&root, path).is_dir(), "{path}");
        assert_eq!(is_opaque(&store, &root.join(path)), opaque, "{path}");
    }
    let names: Vec<_> = std::fs::read_dir(&root).unwrap().collect();
    assert_eq!(names.len(), 8, "no whiteout is a file: {names:?}");
}

#[tokio::test]
async fn of_entries_with_one_name_the_last_counts() {
    let (_dir, store) = store();
    let archive = Archive::new()
        .file("f", "first")
        .file("f", "second")
        .dir("d", 0o700)
        .file("d/inside", "stays")
        .dir("d", 0o751)
        .symlink("s", "d")
        .dir("s", 0o755)
        .file("s/x", "in a directory of its own")
        .dir("empty", 0o755)
        .symlink("empty", "d")
        .file("empty/y", "through the link")
        .file("l", "linked")
        .hard_link("m", "l")
        .hard_link("m", "l")
        .hard_link("l", "l");
    let image = unpacked(&store, vec![archive]).await;
    let root = image.layers[0].dir();
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    assert_eq!(read("f"), "second");
    assert_eq!((read("d/inside").as_str(), at(&root, "d").mode() & 0o777), ("stays", 0o751));
    assert_eq!(read("s/x"), "in a directory of its own");
    assert!(at(&root, "s").is_dir() && !root.join("d/x").exists());
    assert_eq!(read("d/y"), "through the link");
    assert_eq!((read("m").as_str(), at(&root, "l").nlink()), ("linked", 2));
}

#[tokio::test]
async fn a_directory_with_files_is_not_replaced_by_a_file() {
    let (fake, (_dir, store)) = (Fake::start().await, store());
    let archive = Archive::new().file("d/inside", "").file("d", "");
    let name = fake.has("app", "1", &image(&[pack(archive, Packing::Gzip)]));
    let error = fake.pull(&store, &name, &PullOptions::new(ids())).await.unwrap_err();
    let problem = std::error::Error::source(&error).unwrap().to_string();
    assert!(problem.contains("takes the place of a directory that has files"), "{problem}");
}

#[tokio::test]
async fn names_that_are_no_text_are_kept_as_they_are() {
    use std::os::unix::ffi::OsStrExt as _;
    let (_dir, store) = store();
    let name = b"\xff\xfe \n name";
    let archive = Archive::new().entry(&Entry { name, data: b"z", ..Entry::default() });
    let image = unpacked(&store, vec![archive]).await;
    let path = image.layers[0].dir().join(std::ffi::OsStr::from_bytes(name));
    assert_eq!(std::fs::read(path).unwrap(), b"z");
}
