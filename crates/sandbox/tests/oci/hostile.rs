//! Layers and images that mean harm.

use super::{
    build::{
        Archive, Entry, Packed, Packing, architecture, config_for, gzip, hello, image, image_with,
        index, pack,
    },
    fake::Fake,
    pull::{options, store},
};
use muster_sandbox::oci::image::{
    Blame, Digest, IdMap, LayerProblem, Limits, PullError, PullOptions, Store,
};
use std::{error::Error as _, os::unix::fs::MetadataExt as _, path::Path};
use tar::{EntryType, Header};

/// Pulls an image with one layer into a fresh store, beside which nothing may appear or change.
async fn pull_one(layer: Packed, options: &PullOptions) -> Result<(), PullError> {
    let fake = Fake::start().await;
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("victim"), "untouched").unwrap();
    let store = Store::open(&outside.path().join("store"), 1 << 30).unwrap();
    let name = fake.has("app", "1", &image(&[layer]));
    let pulled = fake.pull(&store, &name, options).await;
    let beside = |dir: &Path| std::fs::read_dir(dir).unwrap().count();
    assert_eq!(beside(outside.path()), 2);
    let victim = outside.path().join("victim");
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
    assert_eq!(std::fs::metadata(&victim).unwrap().nlink(), 1);
    if pulled.is_err() {
        assert_eq!(store.stats().bytes, 0, "nothing of a refused layer stays");
        assert_eq!(beside(&outside.path().join("store/tmp")), 0);
        assert_eq!(beside(&outside.path().join("store/layers")), 0);
        assert_eq!(beside(&outside.path().join("store/partial")), 0);
    }
    pulled.map(drop)
}

async fn refused(archive: Archive, expected: &str) {
    refused_with(pack(archive, Packing::Gzip), &options(), expected).await;
}

async fn refused_with(layer: Packed, options: &PullOptions, expected: &str) {
    let error = pull_one(layer, options).await.unwrap_err();
    let text = format!("{error}: {}", error.source().map(ToString::to_string).unwrap_or_default());
    assert!(text.contains(expected), "{text} has no {expected:?}");
    assert_eq!(error.blame(), Blame::Image, "{text}");
}

fn of_kind(name: &str, kind: EntryType) -> Archive {
    Archive::new().entry(&Entry { name: name.as_bytes(), kind, ..Entry::default() })
}

#[tokio::test]
async fn names_that_lead_up_are_refused() {
    for name in ["../victim", "a/../../victim", "a/..", "..", "/../victim", "./../victim"] {
        refused(Archive::new().file(name, "evil"), "has `..`").await;
    }
    let long = Archive::new().pax(&[("path", "../../victim")]).file("a", "evil");
    refused(long, "has `..`").await;
}

#[tokio::test]
async fn an_absolute_name_stays_in_the_layer() {
    let fake = Fake::start().await;
    let (dir, store) = store();
    let evil = dir.path().join("evil").display().to_string();
    let archive = Archive::new().pax(&[("path", &evil)]).file("a", "contained");
    let name = fake.has("app", "1", &image(&[pack(archive, Packing::Plain)]));
    let pulled = fake.pull(&store, &name, &options()).await.unwrap();
    assert!(!Path::new(&evil).exists());
    let inside = pulled.layers[0].dir().join(evil.trim_start_matches('/'));
    assert_eq!(std::fs::read_to_string(inside).unwrap(), "contained");
}

#[tokio::test]
async fn nothing_is_written_through_a_symbolic_link_that_leads_out() {
    for target in ["/tmp", "..", "../../..", "/", "../../../..", "a/../../.."] {
        let archive = Archive::new().symlink("out", target);
        let target_is_root = archive.clone().file("out/victim", "evil");
        // `/` and what leads above it are the layer's own root, as they are in a container.
        match pull_one(pack(target_is_root, Packing::Plain), &options()).await {
            Ok(()) => {}
            Err(error) => {
                let text = error.source().unwrap().to_string();
                assert!(text.contains("leads nowhere in the layer"), "{target}: {text}");
            }
        }
    }
    let nowhere = "leads nowhere in the layer";
    refused(Archive::new().symlink("out", "/tmp").file("out/victim", "x"), nowhere).await;
    refused(Archive::new().symlink("a", "b").symlink("b", "a").file("a/c", "x"), nowhere).await;
    refused(Archive::new().symlink("p", "/proc/self/root").file("p/victim", "x"), nowhere).await;
    refused(Archive::new().file("f", "").file("f/x", ""), "is below a file").await;
}

#[tokio::test]
async fn a_file_takes_the_place_of_a_link_and_is_not_written_through_it() {
    let (fake, (dir, store)) = (Fake::start().await, store());
    let victim = dir.path().join("victim");
    std::fs::write(&victim, "untouched").unwrap();
    let target = victim.display().to_string();
    let archive = Archive::new().pax(&[("linkpath", &target)]).symlink("f", "x").file("f", "evil");
    let name = fake.has("app", "1", &image(&[pack(archive, Packing::Plain)]));
    let pulled = fake.pull(&store, &name, &options()).await.unwrap();
    assert_eq!(std::fs::read_to_string(victim).unwrap(), "untouched");
    let file = pulled.layers[0].dir().join("f");
    assert!(std::fs::symlink_metadata(&file).unwrap().is_file());
    assert_eq!(std::fs::read_to_string(file).unwrap(), "evil");
}

#[tokio::test]
async fn hard_links_out_of_the_layer_are_refused() {
    let no_file = "which is no file of the same layer";
    refused(Archive::new().hard_link("a", "/etc/passwd"), no_file).await;
    refused(Archive::new().hard_link("a", "../../victim"), "has `..`").await;
    refused(Archive::new().symlink("s", "/etc").hard_link("a", "s/passwd"), no_file).await;
    refused(Archive::new().dir("d", 0o755).hard_link("a", "d"), no_file).await;
    refused(Archive::new().hard_link("a", "/"), no_file).await;
    refused(Archive::new().file(".wh.w", "").hard_link("a", "w"), no_file).await;
    // A link to a link is one to the link, not to what it points at.
    pull_one(
        pack(Archive::new().symlink("s", "/etc/passwd").hard_link("a", "s"), Packing::Plain),
        &options(),
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn devices_and_what_is_unknown_are_refused() {
    refused(of_kind("dev/sda", EntryType::Block), "is a device").await;
    refused(of_kind("dev/mem", EntryType::Char), "is a device").await;
    refused(of_kind("x", EntryType::new(b'Z')), "is of the unknown kind 'Z'").await;
}

#[tokio::test]
async fn whiteouts_of_nothing_are_refused() {
    for name in [".wh.", ".wh..", ".wh..."] {
        refused(Archive::new().file(name, ""), "hides nothing that has a name").await;
    }
    refused(Archive::new().file(".wh.a/b", ""), "is below a whiteout").await;
    refused(Archive::new().file("..wh", "").file("../.wh.victim", ""), "has `..`").await;
}

#[tokio::test]
async fn sparse_files_are_refused_however_large_they_say_they_are() {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_path("bomb").unwrap();
    header.set_size(0);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    let gnu = header.as_gnu_mut().unwrap();
    gnu.set_real_size(1 << 60);
    gnu.sparse[0].set_offset(1 << 60);
    gnu.sparse[0].set_length(0);
    refused(Archive::new().raw(&mut header, b""), "is a sparse file").await;
    let pax = [("GNU.sparse.major", "1"), ("GNU.sparse.realsize", "9999999999999")];
    refused(Archive::new().pax(&pax).file("bomb", "0\n"), "is a sparse file").await;
}

#[tokio::test]
async fn a_decompression_bomb_is_refused_where_the_limit_is() {
    let small = Limits { unpacked_bytes: 8 << 20, ..Limits::default() };
    let options = PullOptions { limits: small, ..options() };
    let zeros = "\0".repeat(32 << 20);
    let bomb = |packing| pack(Archive::new().file("zeros", &zeros), packing);
    for packing in [Packing::Gzip, Packing::Zstd] {
        refused_with(bomb(packing), &options, "in all layers when unpacked").await;
    }
    // Behind the archive's end, where no entry says how much comes.
    let mut tail = Archive::new().file("a", "").bytes();
    tail.resize(32 << 20, 0);
    let diff_id = Digest::of(&tail);
    let layer = Packed { bytes: gzip(&tail), diff_id, ..hello() };
    refused_with(layer, &options, "bytes when unpacked").await;
}

#[tokio::test]
async fn names_and_attributes_of_any_length_do_not_fill_the_memory() {
    let long = "x".repeat(3 << 20);
    let limit = "bytes of names and attributes";
    refused(Archive::new().pax(&[("path", &long)]).file("a", ""), limit).await;
    refused(Archive::new().pax(&[("SCHILY.xattr.user.a", &long)]).file("a", ""), limit).await;
    let gnu = Entry {
        name: b"././@LongLink",
        kind: EntryType::GNULongName,
        data: long.as_bytes(),
        ..Entry::default()
    };
    refused(Archive::new().entry(&gnu).file("a", ""), limit).await;
    // What a directory or a link has for content is skipped, but not without end.
    let fat = Entry { kind: EntryType::Symlink, link: b"x", ..gnu };
    refused(Archive::new().entry(&fat).file("a", ""), limit).await;

    for (path, problem) in [
        ("y".repeat(5000), "has no name, or a longer one"),
        ("y".repeat(256), "has a longer name than a file system has"),
        ("a\0b".to_owned(), "has no name"),
    ] {
        refused(Archive::new().pax(&[("path", &path)]).file("a", ""), problem).await;
    }
    let deep = |depth| Archive::new().pax(&[("path", &vec!["d"; depth].join("/"))]).file("a", "");
    refused(deep(257), "is below more than 256 directories").await;
    pull_one(pack(deep(256), Packing::Gzip), &options()).await.unwrap();
}

#[tokio::test]
async fn too_many_entries_are_refused() {
    let few = Limits { entries: 100, ..Limits::default() };
    let options = PullOptions { limits: few, ..options() };
    let files = |count| {
        (0..count).fold(Archive::new(), |archive, number| archive.file(&format!("f{number}"), ""))
    };
    refused_with(pack(files(101), Packing::Gzip), &options, "100 entries in all layers").await;
    pull_one(pack(files(100), Packing::Gzip), &options).await.unwrap();

    // Directories that no entry names count too.
    let implied = Archive::new().file(&vec!["d"; 40].join("/"), "");
    let implied = (0..3).fold(implied, |archive, number| {
        archive.file(&format!("{number}/{}", vec!["d"; 30].join("/")), "")
    });
    refused_with(pack(implied, Packing::Gzip), &options, "100 entries in all layers").await;

    // Layers that are here already count too.
    let (fake, (_dir, store)) = (Fake::start().await, store());
    let (first, second) = (pack(files(60), Packing::Gzip), pack(files(61), Packing::Gzip));
    for (name, layers) in [("a", vec![first.clone()]), ("b", vec![second.clone()])] {
        let name = fake.has(name, "1", &image(&layers));
        fake.pull(&store, &name, &options).await.unwrap();
    }
    let both = fake.has("c", "1", &image(&[first, second]));
    let error = fake.pull(&store, &both, &options).await.unwrap_err();
    let problem = error.source().unwrap().to_string();
    assert!(problem.contains("100 entries"), "{problem}");
}

#[tokio::test]
async fn owners_outside_of_the_containers_range_are_refused() {
    let ids = IdMap::shift(100_000, 1000).unwrap();
    let options = PullOptions { ids, ..options() };
    for owner in [(1000, 0), (0, 1000), (4_294_967_295, 0)] {
        let entry = Entry { name: b"a", owner, ..Entry::default() };
        let layer = pack(Archive::new().entry(&entry), Packing::Plain);
        refused_with(layer, &options, "containers here have 0 to 999").await;
    }
    let layer = pack(Archive::new().pax(&[("uid", "99999")]).file("a", ""), Packing::Plain);
    refused_with(layer, &options, "belongs to id 99999").await;
}

#[tokio::test]
async fn what_is_no_archive_is_refused() {
    let whole = pack(Archive::new().file("a", &"abc".repeat(50_000)), Packing::Gzip);
    let cut = |layer: &Packed, bytes: Vec<u8>| Packed { bytes, ..layer.clone() };
    let mut bent = whole.bytes.clone();
    let middle = bent.len() / 2;
    bent[middle] ^= 0xff;
    let archive = Archive::new().file("a", "0123456789").bytes();
    for (bytes, expected) in [
        (whole.bytes[..whole.bytes.len() / 2].to_vec(), "no archive that can be read"),
        (bent, "refused"),
        (b"not an archive at all".repeat(100), "no archive that can be read"),
        (archive[..515].to_vec(), "no archive that can be read"),
        (zstd::encode_all(&b"x"[..], 1).unwrap(), "no archive that can be read"),
        (vec![0x28, 0xb5, 0x2f, 0xfd, 0xff, 0xff], "no archive that can be read"),
        (vec![], "is sha256:"),
    ] {
        refused_with(cut(&whole, bytes), &options(), expected).await;
    }
}

#[tokio::test]
async fn a_frame_that_wants_more_memory_than_is_given_is_refused() {
    // A zstd frame with a window of 2 GiB: header, window descriptor for exponent 21, one empty
    // last block.
    let bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00];
    let layer = Packed { bytes, ..hello() };
    refused_with(layer, &options(), "no archive that can be read").await;
}

#[tokio::test]
async fn manifests_configurations_and_layers_beyond_the_limits_are_refused() {
    let (fake, (_dir, store)) = (Fake::start().await, store());
    let limits = Limits {
        manifest_bytes: 64 << 10,
        config_bytes: 64 << 10,
        layers: 3,
        packed_bytes: 1 << 20,
        ..Limits::default()
    };
    let options = PullOptions { limits, ..options() };
    let mut config = config_for(&architecture(), &[hello()]);
    config.resize(65 << 10, b' ');
    let huge = pack(Archive::new().file("a", &"x".repeat(2 << 20)), Packing::Plain);
    let mut fat = image(&[hello()]);
    fat.manifest.resize(65 << 10, b' ');
    let fat_index = {
        let mut index = index(&[("linux/amd64", &image(&[hello()]))]);
        index.resize(65 << 10, b' ');
        index
    };
    let cases = [
        (fake.has("config", "1", &image_with(config, &[hello()])), "65536 bytes"),
        (fake.has("layers", "1", &image(&vec![hello(); 4])), "3 layers"),
        (fake.has("packed", "1", &image(&[huge])), "1048576 bytes when packed"),
        (fake.has("manifest", "1", &fat), "65536 bytes"),
        (fake.has_index("index", "1", &fat_index), "65536 bytes"),
    ];
    for (name, expected) in cases {
        let error = fake.pull(&store, &name, &options).await.unwrap_err();
        assert!(matches!(error, PullError::TooLarge { .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    let nested = index(&[(&format!("linux/{}", architecture()), &image(&[hello()]))]);
    let inner = super::build::Built {
        manifest: nested.clone(),
        kind: super::build::OCI_INDEX,
        blobs: Vec::new(),
    };
    fake.has("nested", "inner", &inner);
    let outer = index(&[(&format!("linux/{}", architecture()), &inner)]);
    let name = fake.has_index("nested", "1", &outer);
    let error = fake.pull(&store, &name, &options).await.unwrap_err();
    assert!(error.to_string().contains("an index in an index"), "{error}");
}

#[tokio::test]
async fn a_size_that_no_machine_has_is_refused_before_anything_comes() {
    let (fake, (_dir, store)) = (Fake::start().await, store());
    let layer = hello();
    let built = image(std::slice::from_ref(&layer));
    let text = String::from_utf8(built.manifest.clone()).unwrap();
    let size = format!("\"size\":{}", layer.bytes.len());
    for lie in [u64::MAX.to_string(), "-1".to_owned(), "1e30".to_owned()] {
        let manifest = text.replace(&size, &format!("\"size\":{lie}")).into_bytes();
        let name = fake.has("app", "1", &super::build::Built { manifest, ..built.clone() });
        let error = fake.pull(&store, &name, &options()).await.unwrap_err();
        assert_eq!(error.blame(), Blame::Image, "{error:?}");
    }
    assert_eq!(fake.asked_for(Digest::of(&layer.bytes)), []);
}

#[tokio::test]
async fn a_problem_of_the_host_is_not_the_images() {
    let (fake, dir) = (Fake::start().await, tempfile::tempdir().unwrap());
    let store = Store::open(dir.path(), 100_000).unwrap();
    let archive = Archive::new().file("a", &"x".repeat(200_000));
    let name = fake.has("app", "1", &image(&[pack(archive, Packing::Gzip)]));
    let error = fake.pull(&store, &name, &options()).await.unwrap_err();
    let full = matches!(&error, PullError::Layer { problem: LayerProblem::NoRoom, .. });
    assert!(full && error.blame() == Blame::Host, "{error:?}");
}
