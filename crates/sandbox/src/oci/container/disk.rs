//! Bounded disks: a file that holds a file system of just the right size, so that a full disk is
//! the tenant's trouble.
//!
//! The file's blocks are taken from the host when the disk is made: what was promised is there.
//! Where loop devices are missing, an ephemeral disk is a tmpfs of that size, which also counts as
//! the container's memory; a volume is refused, for it must outlive a reboot.

use super::{
    error::{ContainerError, Result},
    spec::IdRange,
    tools::{find_program, make_dir, open_plain_dir, run},
};
use rustix::{
    fs::{FallocateFlags, Mode, OFlags},
    mount::{MountFlags, UnmountFlags},
};
use serde::{Deserialize, Serialize};
use std::{
    ffi::{CString, OsString},
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            ffi::OsStringExt,
            fs::{OpenOptionsExt, chown},
        },
    },
    path::{Path, PathBuf},
};

/// The number of the kernel's driver for loop devices.
const LOOP_MAJOR: u32 = 7;

/// What bounds an ephemeral disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DiskKind {
    /// An ext4 file on a loop device.
    Loop,
    /// Memory, where there is no loop device.
    Tmpfs,
}

impl DiskKind {
    /// What this machine can do.
    #[must_use]
    pub fn here() -> Self {
        let can = Path::new("/dev/loop-control").exists() && find_program("mkfs.ext4").is_some();
        if can { Self::Loop } else { Self::Tmpfs }
    }
}

/// Makes the file of a disk with an empty file system. `journal` lets it survive a power cut.
pub(super) async fn make(image: &Path, bytes: u64, ids: IdRange, journal: bool) -> Result<()> {
    let reserve = || {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(image)?;
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
        file.sync_all()
    };
    reserve().map_err(ContainerError::io("reserve the disk", image))?;
    let options = format!("lazy_itable_init=1,nodiscard,root_owner={}:{}", ids.base, ids.base);
    let mkfs = program("mkfs.ext4")?;
    let features = if journal { "has_journal" } else { "^has_journal" };
    let args = ["-q", "-F", "-m", "0", "-O", features, "-E", &options];
    let mut args: Vec<_> = args.iter().map(|arg| std::ffi::OsStr::new(*arg)).collect();
    args.push(image.as_os_str());
    run(&mkfs, &args, None).await.map(drop)
}

/// Mounts a disk made by [`make`]. The loop device goes with the mount.
pub(super) async fn mount_loop(image: &Path, at: &Path) -> Result<()> {
    make_dir(at, 0o711)?;
    let args = ["-t", "ext4", "-o", "loop,nosuid,nodev,noatime"];
    let mut args: Vec<_> = args.iter().map(|arg| std::ffi::OsStr::new(*arg)).collect();
    args.extend([image.as_os_str(), at.as_os_str()]);
    run(&program("mount")?, &args, None).await.map(drop)
}

pub(super) fn mount_tmpfs(at: &Path, bytes: u64) -> Result<()> {
    make_dir(at, 0o711)?;
    let data = CString::new(format!("size={bytes},mode=0711")).unwrap_or_default();
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("tmpfs", at, "tmpfs", flags, data.as_c_str())
        .map_err(ContainerError::io("mount a tmpfs at", at))
}

/// Lays the layers under a writable one on `disk`, at `target`.
pub(super) fn mount_overlay(
    layers: &[PathBuf],
    disk: &Path,
    target: &Path,
    ids: IdRange,
) -> Result<()> {
    let (upper, work) = (disk.join("upper"), disk.join("work"));
    make_dir(&upper, 0o755)?;
    make_dir(&work, 0o700)?;
    chown(&upper, Some(ids.base), Some(ids.base)).map_err(ContainerError::io("own", &upper))?;
    make_dir(target, 0o755)?;
    // By descriptor: short, whatever the path, and no byte of it is an option's.
    let open: Vec<_> = layers.iter().rev().map(|layer| open_layer(layer)).collect::<Result<_>>()?;
    let (upper_fd, work_fd) = (open_plain_dir(&upper)?, open_plain_dir(&work)?);
    let path = |fd: &OwnedFd| format!("/proc/self/fd/{}", fd.as_raw_fd());
    let lower = open.iter().map(path).collect::<Vec<_>>().join(":");
    let data = format!("lowerdir={lower},upperdir={},workdir={}", path(&upper_fd), path(&work_fd));
    let data = CString::new(data).unwrap_or_default();
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("overlay", target, "overlay", flags, data.as_c_str())
        .map_err(ContainerError::io("mount the layers at", target))
}

fn open_layer(layer: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(layer, flags, Mode::empty())
        .map_err(ContainerError::io("open the layer", layer))
}

fn program(name: &'static str) -> Result<PathBuf> {
    find_program(name).ok_or_else(|| ContainerError::Unsupported {
        reason: format!("`{name}` is not installed"),
        fix: "install e2fsprogs and util-linux",
    })
}

/// The loop devices that these directories are on: ours. Those of others have limits of their own.
pub(super) fn loops<'a>(dirs: impl Iterator<Item = &'a Path>) -> Result<Vec<(u32, u32)>> {
    let mut found = Vec::new();
    for dir in dirs {
        let stat = rustix::fs::lstat(dir).map_err(ContainerError::io("look at", dir))?;
        let device = (rustix::fs::major(stat.st_dev), rustix::fs::minor(stat.st_dev));
        if device.0 == LOOP_MAJOR && !found.contains(&device) {
            found.push(device);
        }
    }
    Ok(found)
}

/// Every mount at or under the directory, innermost first.
pub(super) fn mounts_under(dir: &Path) -> Result<Vec<PathBuf>> {
    let table = Path::new("/proc/self/mountinfo");
    let bytes = fs::read(table).map_err(ContainerError::io("read", table))?;
    let mut found: Vec<PathBuf> = bytes
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|word| PathBuf::from(OsString::from_vec(unescape(word))))
        .filter(|path| path.starts_with(dir))
        .collect();
    found.reverse();
    Ok(found)
}

/// The kernel writes blank, tab, newline and backslash as `\ooo`.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal {
            Some(byte) if *first == b'\\' => {
                out.push(byte);
                rest = &tail[3..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// Unmounts everything at or under the directory. What is still in use goes when its user does.
pub(super) fn unmount_under(dir: &Path) -> Result<()> {
    for path in mounts_under(dir)? {
        let flags = UnmountFlags::NOFOLLOW;
        let done = rustix::mount::unmount(&path, flags)
            .or_else(|_| rustix::mount::unmount(&path, flags | UnmountFlags::DETACH));
        done.map_err(ContainerError::io("unmount", &path))?;
    }
    Ok(())
}

/// Removes the directory and all in it, once nothing is mounted there.
pub(super) fn remove_dir(dir: &Path) -> Result<()> {
    if let Some(mounted) = mounts_under(dir)?.first() {
        let busy = io::Error::from(ErrorKind::ResourceBusy);
        return Err(ContainerError::io("remove, for it is mounted,", mounted)(busy));
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(ContainerError::io("remove", dir)(error))
        }
        _ => Ok(()),
    }
}

/// Size of a disk's file, bytes.
pub(super) fn size(image: &Path) -> Result<u64> {
    let length = || File::open(image)?.metadata().map(|data| data.len());
    length().map_err(ContainerError::io("read", image))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_is_read_back_whatever_is_in_its_name() {
        assert_eq!(unescape(br"/a\040b\134c"), b"/a b\\c");
        assert_eq!(unescape(br"/plain\04"), br"/plain\04");
    }
}
