//! Directories with a quota that outlive containers, each on a disk of its own.

use super::{
    containers::Containers,
    disk::{self, DiskKind},
    error::{ContainerError, Result},
    snapshot,
    spec::{ContainerId, MIN_DISK_BYTES},
    tools::{make_dir, open_plain_dir},
};
use crate::oci::image::{IdMap, restore};
use rustix::fs::{Mode, OFlags, openat, syncfs};
use std::{
    error::Error,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

fn image(dir: &Path) -> PathBuf {
    dir.join("disk.img")
}

fn data(dir: &Path) -> PathBuf {
    dir.join("data")
}

/// Whether there can be a volume of this size.
fn check(bytes: u64) -> Result<()> {
    if DiskKind::here() != DiskKind::Loop {
        return Err(ContainerError::Unsupported {
            reason: "a volume needs a loop device and mkfs.ext4".into(),
            fix: "load the `loop` module and install e2fsprogs",
        });
    }
    if bytes < MIN_DISK_BYTES {
        let reason = format!("{bytes} bytes; at least {MIN_DISK_BYTES}");
        return Err(ContainerError::refused("volume", reason));
    }
    Ok(())
}

impl Containers {
    fn volume_dir(&self, name: &ContainerId) -> PathBuf {
        self.root().join("volumes").join(name.as_str())
    }

    /// The directory of a volume with room for `bytes` (what the file system itself needs comes off
    /// that), made if there is none and mounted if it is not: for
    /// [`VolumeMount::source`](super::VolumeMount::source).
    ///
    /// # Errors
    /// [`ContainerError::Refused`] if the volume has another size, or is too small;
    /// [`ContainerError::Unsupported`] without loop devices.
    pub async fn volume(&self, name: &ContainerId, bytes: u64) -> Result<PathBuf> {
        check(bytes)?;
        let _changing = self.changes().lock().await;
        let dir = self.volume_dir(name);
        let (image, data) = (image(&dir), data(&dir));
        if !image.exists() {
            let new = self.new_volume(&dir, bytes).await?;
            fs::rename(&new, &image).map_err(ContainerError::io("name", &image))?;
        }
        let size = disk::size(&image)?;
        if size != bytes {
            let reason = format!("{name} holds {size} bytes, not {bytes}; make a new one");
            return Err(ContainerError::refused("volume", reason));
        }
        if disk::mounts_under(&data)?.is_empty() {
            disk::mount_loop(&image, &data).await?;
        }
        Ok(data)
    }

    /// A volume's disk under another name, until it is whole.
    async fn new_volume(&self, dir: &Path, bytes: u64) -> Result<PathBuf> {
        make_dir(dir, 0o711)?;
        disk::unmount_under(dir)?;
        let new = dir.join("disk.new");
        let _ = fs::remove_file(&new);
        disk::make(&new, bytes, self.config().ids, true).await?;
        Ok(new)
    }

    /// Writes a volume's content as a tar archive, which [`restore_volume`](Self::restore_volume)
    /// takes here or elsewhere. The same content gives the same bytes; holes in files are zeros,
    /// extended attributes are left out. No container may use the volume meanwhile.
    ///
    /// # Errors
    /// [`ContainerError::Refused`] if there is no such volume; [`ContainerError::Io`] with the name
    /// of what cannot be packed, or from `to`.
    pub async fn pack_volume<W: Write + Send + 'static>(
        &self,
        name: &ContainerId,
        to: W,
    ) -> Result<W> {
        let image = image(&self.volume_dir(name));
        if !image.exists() {
            return Err(ContainerError::refused("volume", format!("there is no volume {name}")));
        }
        let bytes = disk::size(&image)?;
        let data = self.volume(name, bytes).await?;
        let (ids, at) = (self.config().ids, data.clone());
        let most = snapshot::archive_bytes(bytes);
        let packed = tokio::task::spawn_blocking(move || snapshot::pack(&data, ids, most, to));
        let packed = packed.await.map_err(io::Error::other).flatten();
        packed.map_err(ContainerError::io("pack the volume", at))
    }

    /// Makes a volume with room for `bytes` from an archive, plain or packed by gzip or zstd, and
    /// gives its directory. The archive is a stranger's: nothing outside of the volume changes. The
    /// volume is there with all of its content or not at all, also after a crash. Nobody else may
    /// ask for this volume meanwhile.
    ///
    /// # Errors
    /// [`ContainerError::Exists`]; [`ContainerError::Refused`] for an archive that is malformed or
    /// has no room; those of [`volume`](Self::volume).
    pub async fn restore_volume(
        &self,
        name: &ContainerId,
        bytes: u64,
        archive: File,
    ) -> Result<PathBuf> {
        check(bytes)?;
        let ids = IdMap::try_from(self.config().ids);
        let ids = ids.map_err(|error| ContainerError::refused("ids", error.to_string()))?;
        let dir = self.volume_dir(name);
        let (image, data) = (image(&dir), data(&dir));
        let changing = self.changes().lock().await;
        if image.exists() {
            return Err(ContainerError::Exists { name: name.to_string() });
        }
        let new = self.new_volume(&dir, bytes).await?;
        disk::mount_loop(&new, &data).await?;
        drop(changing);
        let (into, most) = (data.clone(), snapshot::archive_bytes(bytes));
        let restored = tokio::task::spawn_blocking(move || {
            restore(archive, &into, ids, most).map_err(|problem| {
                let cause = problem.source().map(|cause| format!(": {cause}")).unwrap_or_default();
                ContainerError::refused("archive", format!("{problem}{cause}"))
            })?;
            let root = open_plain_dir(&into)?;
            let root = openat(&root, ".", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            let synced = root.and_then(|root| syncfs(&root));
            synced.map_err(ContainerError::io("write to disk", &into))?;
            fs::rename(&new, &image).map_err(ContainerError::io("name", &image))
        });
        let gone = |error| ContainerError::io("restore", &data)(io::Error::other(error));
        match restored.await.map_err(gone).flatten() {
            Ok(()) => Ok(data),
            Err(error) => {
                self.remove_volume(name).await?;
                Err(error)
            }
        }
    }

    /// The volumes there are.
    #[must_use]
    pub fn volumes(&self) -> Vec<ContainerId> {
        let mut names = self.volume_names();
        names.retain(|name| image(&self.volume_dir(name)).exists());
        names
    }

    fn volume_names(&self) -> Vec<ContainerId> {
        let entries = fs::read_dir(self.root().join("volumes")).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let mut names: Vec<ContainerId> = names.collect();
        names.sort();
        names
    }

    /// Removes volumes that a killed process had only begun.
    pub(super) fn sweep_volumes(&self) -> Result<()> {
        for name in self.volume_names() {
            let dir = self.volume_dir(&name);
            if !image(&dir).exists() {
                disk::unmount_under(&dir)?;
                disk::remove_dir(&dir)?;
            }
        }
        Ok(())
    }

    /// Wipes a volume. No container may use it.
    ///
    /// # Errors
    /// [`ContainerError::Io`] if it cannot be unmounted or removed.
    pub async fn remove_volume(&self, name: &ContainerId) -> Result<()> {
        let _changing = self.changes().lock().await;
        let dir = self.volume_dir(name);
        disk::unmount_under(&dir)?;
        disk::remove_dir(&dir)
    }
}
