//! `muster cp`: files into a running container, and out of it.
//!
//! They travel as a tar archive over a command's standard streams, so that nobody but the
//! container's own processes touches its files; `tar` must be in its image. What comes out of a
//! container is hostile: it is unpacked beside its destination, by a library that keeps to the
//! folder, and takes its place when all of it is there.

use super::{
    Global,
    deployment::{Reach, Target, explain},
    interrupted,
};
use crate::{
    error::{Exit, Failure},
    printer::Printer,
};
use anyhow::Context as _;
use clap::Args;
use muster_api::service::{Input, Open, Output, read_frame, write_frame};
use muster_fabric::Channel;
use serde::Serialize;
use std::{
    fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    str::FromStr,
};
use tokio::io::AsyncWriteExt as _;

/// Files are sent in pieces of so many bytes.
const CHUNK_BYTES: usize = 32 << 10;
/// Pieces that may be under way between the archive and the stream.
const PIECES: usize = 8;
/// What the command says on standard error is told up to so many bytes.
const SAID_BYTES: usize = 2_000;
/// As shells say that there is no such program.
const NO_PROGRAM: i32 = 127;

/// Copy files into a running container, or out of it.
///
/// One side is on this machine; the other is `NAME[/SERVICE[/N]]:PATH` in a container, whose image
/// must have `tar`. Where the destination is a folder, or ends with `/`, the copy is in it under
/// its own name.
#[derive(Args)]
#[command(after_help = "Example:\n  muster cp site/ app/web:/srv/www\n  \
    muster cp app/web/1:/var/log/app.log .")]
pub(crate) struct Cp {
    /// What to copy: a file or a folder.
    source: Side,
    /// Where to.
    destination: Side,
    #[command(flatten)]
    reach: Reach,
}

/// One end of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Side {
    Here(PathBuf),
    There(Target, String),
}

impl FromStr for Side {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            // A path that begins like one is never a container's.
            Some((target, path)) if !target.is_empty() && !target.starts_with(['.', '/']) => {
                match path.starts_with('/') {
                    true => Ok(Self::There(target.parse()?, path.to_owned())),
                    false => Err("in a container, write the whole path: NAME:/PATH".to_owned()),
                }
            }
            _ => Ok(Self::Here(PathBuf::from(text))),
        }
    }
}

/// What `muster cp --json` prints.
#[derive(Serialize)]
struct Report {
    service: String,
    replica: usize,
    /// Of the files' contents.
    bytes: u64,
}

impl Cp {
    pub(crate) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        let ((Side::Here(_), Side::There(target, _)) | (Side::There(target, _), Side::Here(_))) =
            (&self.source, &self.destination)
        else {
            let message = "one side is in a container, and one is not";
            let hint = "muster cp FILE NAME/SERVICE:/PATH";
            return Err(Failure::error(Exit::BadInput, message, hint));
        };
        let services = target.name.open(global, &self.reach).await?;
        let replica = target.replica(&services).await?;
        let copy = async {
            let start = async |args: &[&str]| {
                let args = args.iter().map(|&arg| arg.to_owned()).collect();
                let (lease, service) = (replica.lease, replica.service.clone());
                let open = Open::Exec { lease, service, args, terminal: None };
                let opened = services.stream(&replica, &open).await;
                opened.map_err(|error| explain(error, &target.name))
            };
            match (&self.source, &self.destination) {
                (Side::Here(from), Side::There(_, to)) => {
                    let whole = fs::canonicalize(from)
                        .with_context(|| format!("cannot read {}", from.display()))?;
                    let name = whole.file_name().unwrap_or_default().to_string_lossy();
                    put(start(&["/bin/sh", "-c", PUT, "sh", to, &name]).await?, whole.clone()).await
                }
                (Side::There(_, from), Side::Here(to)) => {
                    get(start(&["/bin/sh", "-c", GET, "sh", from]).await?, to.clone()).await
                }
                _ => Ok(0),
            }
        };
        let bytes = tokio::select! {
            copied = copy => copied?,
            result = interrupted() => {
                result?;
                let hint = "the same command begins again";
                return Err(Failure::error(Exit::Failed, "interrupted", hint));
            }
        };
        let report = Report { service: replica.service, replica: replica.number, bytes };
        printer.data(&report, |it| format!("{} bytes, {}/{}", it.bytes, it.service, it.replica))
    }
}

/// Unpacks what comes, whose root is `copy`, then moves it to where it is to be: `$1`, or into it
/// under the name `$2`.
const PUT: &str = "\
set -e
to=$1
case $to in */) mkdir -p \"$to\" ;; esac
if [ -d \"$to\" ]; then to=${to%/}/$2; fi
if [ -d \"$to\" ]; then echo \"$to is a folder already\" >&2; exit 1; fi
dir=$to.muster-cp-$$
mkdir \"$dir\"
trap 'rm -rf \"$dir\"' EXIT
tar -C \"$dir\" -xf -
mv -f \"$dir/copy\" \"$to\"
";

/// Packs `$1`.
const GET: &str = "\
set -e
path=${1%/}
[ -e \"$path\" ] || [ -L \"$path\" ] || { echo \"there is no $path\" >&2; exit 1; }
dir=${path%/*}
exec tar -C \"${dir:-/}\" -cf - -- \"${path##*/}\"
";

/// Sends a file or a folder to the command that unpacks it; returns the bytes of its files.
async fn put(channel: Channel, from: PathBuf) -> anyhow::Result<u64> {
    let (mut recv, mut send) = tokio::io::split(channel);
    let (pieces, mut packed) = tokio::sync::mpsc::channel(PIECES);
    let pack = tokio::task::spawn_blocking(move || pack(&from, Pieces(pieces)));
    let sending = async {
        while let Some(piece) = packed.recv().await {
            write_frame(&mut send, &Input::Bytes(piece)).await?;
        }
        // What is not whole has no end: the command is ended, and nothing takes its place.
        let bytes = pack.await??;
        write_frame(&mut send, &Input::End).await?;
        send.flush().await?;
        Ok(bytes)
    };
    let (bytes, ()) = tokio::try_join!(sending, until_end(&mut recv, |_| Ok(())))?;
    Ok(bytes)
}

/// Takes what the command packs to `to`, or into it; returns the bytes of its files.
async fn get(channel: Channel, to: PathBuf) -> anyhow::Result<u64> {
    let (mut recv, mut send) = tokio::io::split(channel);
    write_frame(&mut send, &Input::End).await?;
    let (sender, pieces) = std::sync::mpsc::sync_channel(PIECES);
    let received = Received { pieces, left: Vec::new(), whole: false };
    let unpack = tokio::task::spawn_blocking(move || unpack(received, &to));
    let mut given_up = false;
    // Full where the disk is slower than the network: then this waits.
    let mut send = |piece| {
        given_up |= tokio::task::block_in_place(|| sender.send(piece)).is_err();
        anyhow::ensure!(!given_up, "it cannot be unpacked");
        Ok(())
    };
    let ended = match until_end(&mut recv, |piece| send(Some(piece))).await {
        Ok(()) => send(None),
        failed => failed,
    };
    drop(sender);
    match (unpack.await?, ended) {
        // Who fails first makes the other one fail.
        (unpacked @ Err(_), Err(_)) if given_up => unpacked,
        (_, Err(error)) => Err(error),
        (unpacked, Ok(())) => unpacked,
    }
}

/// Hands on what the command prints until it ends.
///
/// # Errors
/// It failed; what it said.
async fn until_end(
    recv: &mut (impl tokio::io::AsyncRead + Unpin),
    mut take: impl FnMut(Vec<u8>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut said = Vec::new();
    while let Some(output) = read_frame::<Output>(recv).await? {
        match output {
            Output::Stdout(bytes) => take(bytes)?,
            Output::Stderr(bytes) => {
                let room = SAID_BYTES.saturating_sub(said.len()).min(bytes.len());
                said.extend_from_slice(&bytes[..room]);
            }
            Output::Exit(0) => return Ok(()),
            Output::Exit(status) => {
                let said = String::from_utf8_lossy(&said);
                let message = match (said.trim(), status) {
                    ("", status) => format!("the copying ended with status {status}"),
                    (said, _) => crate::diagnostic::clean(said),
                };
                let hint = match status {
                    NO_PROGRAM => "muster exec NAME -- tar --help   # the image needs sh and tar",
                    _ => "muster exec NAME -- ls -la /   # is the path right, and may be written?",
                };
                return Err(Failure::error(Exit::Failed, message, hint));
            }
        }
    }
    let message = "the provider broke off before all was copied";
    Err(Failure::error(Exit::Failed, message, "muster ps   # is it running?"))
}

/// Packs a file or a folder under the name `copy`.
fn pack(from: &Path, to: Pieces) -> anyhow::Result<u64> {
    let failed = || format!("cannot pack {}", from.display());
    let mut archive = tar::Builder::new(io::BufWriter::with_capacity(CHUNK_BYTES, to));
    archive.follow_symlinks(false);
    let packed = match from.is_dir() {
        true => archive.append_dir_all("copy", from),
        false => archive.append_path_with_name(from, "copy"),
    };
    packed.and_then(|()| archive.into_inner()?.flush()).with_context(failed)?;
    size(from).with_context(failed)
}

/// The bytes of the files in a folder, or of the file.
fn size(path: &Path) -> io::Result<u64> {
    let found = fs::symlink_metadata(path)?;
    if !found.is_dir() {
        return Ok(if found.is_file() { found.len() } else { 0 });
    }
    let mut bytes = 0u64;
    for entry in fs::read_dir(path)? {
        bytes = bytes.saturating_add(size(&entry?.path())?);
    }
    Ok(bytes)
}

/// Unpacks an archive with one root to `to`, or into it under the root's name. What is there by
/// then is not replaced, unless both are files.
fn unpack(from: impl Read, to: &Path) -> anyhow::Result<u64> {
    let inside = to.is_dir() || to.to_string_lossy().ends_with('/');
    let parent = match inside {
        true => to,
        false => to.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new(".")),
    };
    let failed = || format!("cannot write to {}", parent.display());
    fs::create_dir_all(parent).with_context(failed)?;
    let beside = tempfile::Builder::new().prefix(".muster-cp-").tempdir_in(parent);
    let beside = beside.with_context(failed)?;
    let mut archive = tar::Archive::new(from);
    let mut bytes = 0u64;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let kind = entry.header().entry_type();
        // Devices and their like are nothing that a copy needs.
        if kind.is_file() || kind.is_dir() || kind.is_symlink() || kind.is_hard_link() {
            let size = entry.size();
            let path = entry.path()?.display().to_string();
            anyhow::ensure!(
                entry.unpack_in(beside.path()).with_context(failed)?,
                "the container's archive leads out of the folder with {path:?}: nothing was copied"
            );
            bytes = bytes.saturating_add(if kind.is_file() { size } else { 0 });
        }
    }
    // Only the end of what was sent says that it is whole.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    let roots = fs::read_dir(beside.path())?.collect::<io::Result<Vec<_>>>()?;
    let [root] = roots.as_slice() else {
        anyhow::bail!(
            "the container's archive has {} roots, not one: nothing was copied",
            roots.len()
        );
    };
    let to = if inside { to.join(root.file_name()) } else { to.to_owned() };
    anyhow::ensure!(!to.is_dir(), "{} is a folder already: nothing was copied", to.display());
    fs::rename(root.path(), &to).with_context(failed)?;
    Ok(bytes)
}

/// Where an archive is written to.
struct Pieces(tokio::sync::mpsc::Sender<Vec<u8>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(CHUNK_BYTES)];
        let sent = self.0.blocking_send(piece.to_vec());
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where an archive is read from: pieces, then nothing where it is whole.
struct Received {
    pieces: std::sync::mpsc::Receiver<Option<Vec<u8>>>,
    left: Vec<u8>,
    whole: bool,
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left.is_empty() && !self.whole {
            match self.pieces.recv() {
                Ok(Some(piece)) => self.left = piece,
                Ok(None) => self.whole = true,
                Err(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let count = buffer.len().min(self.left.len());
        buffer[..count].copy_from_slice(&self.left[..count]);
        self.left.drain(..count);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_is_here_or_a_whole_path_in_a_container() {
        let there =
            |target: &str, path: &str| Some(Side::There(target.parse().unwrap(), path.to_owned()));
        let here = |path: &str| Some(Side::Here(PathBuf::from(path)));
        for (text, expected) in [
            ("app/web:/srv", there("app/web", "/srv")),
            ("app:/", there("app", "/")),
            ("file", here("file")),
            ("./odd:name", here("./odd:name")),
            ("/odd:name", here("/odd:name")),
            ("app:srv", None),
            ("UPPER:/srv", None),
        ] {
            assert_eq!(text.parse::<Side>().ok(), expected, "{text}");
        }
    }

    /// What a container may send: entries as they are, whatever they say.
    fn archive(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, kind, text) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o6755);
            let link = matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link);
            if link {
                header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
            }
            let data = if link { "" } else { text };
            header.set_size(data.len() as u64);
            header.set_cksum();
            builder.append(&header, data.as_bytes()).unwrap();
        }
        builder.into_inner().unwrap()
    }

    #[test]
    fn what_is_packed_is_unpacked_as_it_was_and_takes_its_place_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("from");
        fs::create_dir_all(from.join("deep")).unwrap();
        fs::write(from.join("deep/file"), vec![7; 100_000]).unwrap();
        std::os::unix::fs::symlink("deep/file", from.join("link")).unwrap();
        let (sender, mut pieces) = tokio::sync::mpsc::channel(1_000);
        assert_eq!(pack(&from, Pieces(sender)).unwrap(), 100_000);
        let mut packed = Vec::new();
        while let Ok(piece) = pieces.try_recv() {
            packed.extend(piece);
        }
        let to = dir.path().join("to");
        assert_eq!(unpack(packed.as_slice(), &to).unwrap(), 100_000);
        assert_eq!(fs::read(to.join("deep/file")).unwrap(), vec![7; 100_000]);
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("deep/file"));
        // A folder takes it in, and is not replaced itself.
        assert_eq!(unpack(packed.as_slice(), &to).unwrap(), 100_000);
        assert!(to.join("copy/deep/file").is_file());
        let again = unpack(packed.as_slice(), &to).unwrap_err();
        assert!(again.to_string().contains("is a folder already"), "{again}");
        let names = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names, 2, "nothing half made is left");
    }

    #[test]
    fn a_hostile_archive_writes_nothing_outside_and_nothing_at_all() {
        use tar::EntryType::{Block, Link, Regular, Symlink};
        let outside = tempfile::tempdir().unwrap();
        let secret = outside.path().join("secret");
        fs::write(&secret, "kept").unwrap();
        let (secret_path, folder) = (secret.to_str().unwrap(), outside.path().to_str().unwrap());
        let cases = [
            archive(&[("../secret", Regular, "gone")]),
            archive(&[("a/../../secret", Regular, "gone")]),
            archive(&[("a", Symlink, folder), ("a/secret", Regular, "gone")]),
            archive(&[("a", Link, secret_path), ("a", Regular, "gone")]),
            archive(&[("a", Link, "../secret")]),
            archive(&[("one", Regular, "1"), ("two", Regular, "2")]),
            archive(&[("device", Block, "")]),
            b"no archive at all, for it is far too short and says nothing".to_vec(),
        ];
        for (number, bytes) in cases.iter().enumerate() {
            let dir = tempfile::tempdir_in(outside.path()).unwrap();
            let to = dir.path().join("to");
            let unpacked = unpack(bytes.as_slice(), &to);
            assert!(unpacked.is_err(), "case {number}: {unpacked:?}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "case {number}");
            assert_eq!(fs::read_to_string(&secret).unwrap(), "kept", "case {number}");
        }
        // An absolute path is taken as one below; no file comes with the set-user-id bit.
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("to");
        unpack(archive(&[("/file", Regular, "text")]).as_slice(), &to).unwrap();
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&to).unwrap().permissions());
        assert_eq!(mode & 0o7000, 0, "{mode:o}");
    }
}
