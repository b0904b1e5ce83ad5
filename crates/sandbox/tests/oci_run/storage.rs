use crate::helpers::{Place, code, left, name, own};
use muster_sandbox::oci::container::{Capability, ContainerError, VolumeMount};
use std::{
    fs::{self, File},
    io::{Seek, Write},
    os::unix::{fs::symlink, net::UnixListener},
    path::Path,
};
use tar::{Builder, EntryType, Header};

const SIZE: u64 = 16 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_outlives_containers_and_closing_and_is_bounded() {
    let Some(place) = Place::open().await else { return };
    let data = name("data");
    let source = place.all.volume(&data, SIZE).await.unwrap();
    let mount = |source| vec![VolumeMount { source, target: "/data".into(), read_only: false }];
    let mut spec = place.spec("writer", "echo kept > /data/f; cat /dev/zero > /data/full");
    spec.user = "33".into();
    spec.volumes = mount(source.clone());
    let (exit, text) = place.run(&spec).await;
    assert!(
        code(&exit) != 0 && text.contains("Permission denied"),
        "the root of it owns it: {text}"
    );
    spec.user = String::new();
    let (_, text) = place.run(&spec).await;
    assert!(text.contains("No space left on device"), "{text}");
    // Asking again finds it; another size does not.
    assert_eq!(place.all.volume(&data, SIZE).await.unwrap(), source);
    let other = place.all.volume(&data, 2 * SIZE).await;
    assert!(matches!(other, Err(ContainerError::Refused { field: "volume", .. })), "{other:?}");
    let dir = place.dir.path().to_owned();
    place.all.clone().close().await.unwrap();
    assert_eq!(crate::helpers::left(&dir), "");
    assert_eq!(place.all.volumes(), std::slice::from_ref(&data));
    let mut reader = place.spec("reader", "cat /data/f");
    reader.volumes = mount(place.all.volume(&data, SIZE).await.unwrap());
    assert_eq!(place.run(&reader).await.1, "kept\n");
    place.all.remove_volume(&data).await.unwrap();
    assert!(place.all.volumes().is_empty());
    place.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_container_wrote_is_gone_with_it_and_layers_stay_as_they_were() {
    let Some(place) = Place::open().await else { return };
    let script = "ls /; rm /bin/yes; echo x > /f; echo y > /etc/passwd";
    for _ in 0..2 {
        let (_, text) = place.run(&place.spec("again", script)).await;
        assert!(!text.lines().any(|line| line == "f"), "{text}");
    }
    let layer = crate::helpers::busybox(place.dir.path());
    assert!(layer.join("bin/yes").symlink_metadata().is_ok() && !layer.join("f").exists());
    place.close().await;
}

/// A file with this content, at its beginning.
fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_moves_as_an_archive_that_is_always_the_same() {
    let owner = vec![Capability::Chown, Capability::Fowner];
    let Some(place) = Place::with(|config| config.capabilities.clone_from(&owner)).await else {
        return;
    };
    let (from, to) = (name("from"), name("to"));
    let source = place.all.volume(&from, SIZE).await.unwrap();
    let mount = |source| vec![VolumeMount { source, target: "/data".into(), read_only: false }];
    let deep = "d/".repeat(60);
    let script = format!(
        "cd /data; mkdir -p {deep} .wh.dir; echo one > a; ln a b; ln -s /etc/passwd out; mkfifo p; \
         echo two > .wh.a; echo three > .wh.dir/.wh..wh..opq; echo deep > {deep}f; chown 33:34 a; \
         chmod 4755 a; chmod 1777 .; dd if=/dev/zero of=hole bs=1 count=1 seek=100000 2>/dev/null"
    );
    let mut spec = place.spec("writer", &script);
    spec.volumes = mount(source.clone());
    spec.capabilities = owner;
    let (exit, text) = place.run(&spec).await;
    assert_eq!((code(&exit), text.as_str()), (0, ""));
    drop(UnixListener::bind(source.join("socket")).unwrap());
    let archive = place.all.pack_volume(&from, Vec::new()).await.unwrap();
    let size = u64::try_from(archive.len()).unwrap() / 2;
    let packed = zstd::encode_all(archive.as_slice(), 1).unwrap();
    let restored = place.all.restore_volume(&to, SIZE, file(&packed)).await.unwrap();
    let again = place.all.pack_volume(&to, Vec::new()).await.unwrap();
    assert!(archive == again && size > 50_000, "{size}");
    let script = format!(
        "cd /data; cat a .wh.a .wh.dir/.wh..wh..opq {deep}f; stat -c '%a %u %g %h' a b .; \
         readlink out; wc -c < hole; ls -a; [ -p p ] && echo fifo"
    );
    let mut reader = place.spec("reader", &script);
    reader.volumes = mount(restored);
    let (_, text) = place.run(&reader).await;
    let said: Vec<&str> = text.split_ascii_whitespace().collect();
    let wanted = "one two three deep 4755 33 34 2 4755 33 34 2 1777 0 0 5 /etc/passwd 100001 . .. \
                  .wh.a .wh.dir a b d hole lost+found out p fifo";
    assert_eq!(said.join(" "), wanted);
    // A name is given once, and there is nothing to pack that is not there.
    let second = place.all.restore_volume(&to, SIZE, file(&archive)).await;
    assert!(matches!(second, Err(ContainerError::Exists { .. })), "{second:?}");
    let none = place.all.pack_volume(&name("none"), Vec::new()).await;
    assert!(none.unwrap_err().to_string().contains("there is no volume none"));
    // Holes count.
    let sparse = File::create(source.join("sparse")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    drop(sparse);
    own(&source.join("sparse"));
    let error = place.all.pack_volume(&from, Vec::new()).await.unwrap_err();
    let said = std::error::Error::source(&error).unwrap().to_string();
    assert!(said.contains("`sparse`") && said.contains("holes"), "{said}");
    place.close().await;
}

/// An archive of one entry after a symbolic link that leads out.
fn hostile(path: &str, kind: EntryType, link: &str, data: &[u8], outside: &Path) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let up = format!("../../../../../../../..{}", outside.display());
    let out = ("out", EntryType::Symlink, up.as_str(), &b""[..]);
    for (path, kind, link, data) in [out, (path, kind, link, data)] {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o777);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }
    builder.into_inner().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_archive_of_a_volume_changes_nothing_outside_and_leaves_no_volume() {
    let Some(place) = Place::open().await else { return };
    let outside = place.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "host").unwrap();
    symlink("secret", outside.join("link")).unwrap();
    let large = vec![1; 20 << 20];
    let cases: [(&str, EntryType, &str, &[u8]); 6] = [
        ("../x", EntryType::Regular, "", b"x"),
        ("out/x", EntryType::Regular, "", b"x"),
        ("hard", EntryType::Link, "out/secret", b""),
        ("dev", EntryType::Char, "", b""),
        ("large", EntryType::Regular, "", &large),
        ("strange", EntryType::new(b'?'), "", b""),
    ];
    let volume = name("bad");
    for (path, kind, link, data) in cases {
        let archive = hostile(path, kind, link, data, &outside);
        let restored = place.all.restore_volume(&volume, SIZE, file(&archive)).await;
        let error = restored.unwrap_err();
        assert!(matches!(&error, ContainerError::Refused { field: "archive", .. }), "{error}");
        assert!(place.all.volumes().is_empty(), "{path}");
    }
    assert_eq!(fs::read(outside.join("secret")).unwrap(), b"host");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 2);
    let dir = place.dir.path().to_owned();
    place.close().await;
    assert_eq!(left(&dir), "");
}
