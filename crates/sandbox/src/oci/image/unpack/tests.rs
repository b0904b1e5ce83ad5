//! Archives that somebody has bent: whatever comes, nothing outside of the layer changes.

use super::*;
use muster_hostile::bent;
use std::{
    fs,
    io::{Seek as _, Write as _},
    os::unix::fs::MetadataExt as _,
};

struct Free;

impl Meter for Free {
    fn charge(&self, bytes: u64, _: u64) -> Result<(), LayerProblem> {
        // As large as a bent size may be, nothing is set aside for it.
        if bytes > 1 << 20 { Err(LayerProblem::NoRoom) } else { Ok(()) }
    }

    fn read(&self, _: u64) {}
}

/// An archive of everything that is accepted, and where its headers are.
fn sample() -> (Vec<u8>, Vec<usize>) {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind, link: &str, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o4755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(7);
        header.set_size(data.len() as u64);
        header.set_cksum();
        builder.append(&header, data).unwrap();
    };
    let (file, none) = (EntryType::Regular, b"".as_slice());
    add("out", EntryType::Symlink, "../victim", none);
    add("up", EntryType::Symlink, "..", none);
    add("up/x", file, "", b"through");
    add("d/", EntryType::Directory, "", none);
    add("d/f", file, "", b"content");
    add("d/h", EntryType::Link, "d/f", none);
    add("d/.wh.f", file, "", none);
    add("d/.wh..wh..opq", file, "", none);
    add("././@LongLink", EntryType::GNULongName, "", b"d/a-longer-name\0");
    add("short", file, "", b"1");
    add("pax", EntryType::XHeader, "", b"16 path=d/paxed\n21 linkpath=../victim\n");
    add("y", EntryType::Symlink, "x", none);
    add("fifo", EntryType::Fifo, "", none);
    let bytes = builder.into_inner().unwrap();
    let is_header = |at: &usize| bytes[at + 257..at + 262] == *b"ustar";
    let headers = (0..bytes.len()).step_by(512).filter(is_header).collect();
    (bytes, headers)
}

/// Makes headers believable again where they are still headers.
fn believable(mut bytes: Vec<u8>, headers: &[usize]) -> Vec<u8> {
    for &at in headers {
        let Some(block) = bytes.get_mut(at..at + 512) else { break };
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    bytes
}

#[test]
fn a_bent_archive_changes_nothing_outside_of_its_layer() {
    let outside = tempfile::tempdir().unwrap();
    let (victim, into) = (outside.path().join("victim"), outside.path().join("layer"));
    fs::write(&victim, "untouched").unwrap();
    let job = Job {
        ids: IdMap::squash(),
        opaque: Some(Opaque::that_works_on(outside.path()).unwrap()),
        archive_bytes: 1 << 20,
        meter: Arc::new(Free),
    };
    let unpacks = |bytes: &[u8]| {
        let mut blob = tempfile::tempfile().unwrap();
        blob.write_all(bytes).unwrap();
        blob.rewind().unwrap();
        fs::create_dir(&into).unwrap();
        let unpacked = unpack(blob, &into, &job);
        fs::remove_dir_all(&into).unwrap();
        let found = fs::metadata(&victim).unwrap();
        assert_eq!((found.nlink(), fs::read(&victim).unwrap().as_slice()), (1, &b"untouched"[..]));
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 1);
        unpacked.is_ok()
    };
    let (archive, headers) = sample();
    assert!(unpacks(&archive), "it is refused before it is bent");
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archive).unwrap();
    let packed = [gzip.finish().unwrap(), zstd::encode_all(archive.as_slice(), 1).unwrap()];
    let mut taken = 0;
    bent(&[archive], 3000, |bytes| {
        taken += u32::from(unpacks(&believable(bytes.to_vec(), &headers)));
    });
    assert!(taken > 100, "only {taken} were taken: they are not bent where it counts");
    bent(&packed, 1000, |bytes| {
        unpacks(bytes);
    });
}
