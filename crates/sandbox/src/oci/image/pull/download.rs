//! A layer's bytes, from a registry to a file: checked, and resumed where they broke off.

use crate::oci::image::{
    digest::Digest, error::PullError, manifest::Descriptor, registry::Session,
};
use reqwest::Response;
use sha2::{Digest as _, Sha256};
use std::{
    io::{self, Read as _, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    fs::File,
    io::{AsyncSeekExt as _, AsyncWriteExt as _},
};

/// How often in a row a download may bring nothing before the pull fails.
const FRUITLESS_MAX: u32 = 6;
/// How often a download may break off at all: a registry that gives a byte at a time ends.
const ATTEMPTS_MAX: u32 = 100;
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// A file that grows to a layer. Whatever it has is a prefix of what was sent, also after a kill;
/// after a loss of power it may be anything, which its digest shows.
struct Download {
    path: PathBuf,
    file: File,
    have: u64,
    hasher: Sha256,
}

/// Completes the file at `path` to be the blob. `told` hears how much there is.
pub(super) async fn download(
    session: &Session<'_>,
    wanted: &Descriptor,
    path: &Path,
    told: &(dyn Fn(u64) + Send + Sync),
) -> Result<(), PullError> {
    let mut download = Download::open(path, wanted.size).await?;
    let found = download.have > 0;
    let mut restarted = false;
    let (mut attempts, mut fruitless) = (0, 0);
    loop {
        told(download.have);
        if download.have == wanted.size {
            let got = Digest::from_hasher(download.hasher.clone());
            if got == wanted.digest {
                return download.flushed().await;
            }
            download.restart().await?;
            // What came in one go is what the registry has; what was put together may be broken.
            if restarted || (attempts == 1 && !found) {
                let what = format!("the blob at {}", session.blob_address(wanted.digest));
                return Err(PullError::Digest { what, expected: wanted.digest, got });
            }
            restarted = true;
        }
        if fruitless > 0 {
            tokio::time::sleep(FIRST_PAUSE * 2_u32.saturating_pow(fruitless)).await;
        }
        attempts += 1;
        let had = download.have;
        match session.blob(wanted.digest, had).await {
            Ok(None) => download.restart().await?,
            Ok(Some((response, from))) => {
                if from != had {
                    download.restart().await?;
                }
                download.take(session, wanted, response, told).await?;
            }
            Err(PullError::Unreachable { .. }) if fruitless + 1 < FRUITLESS_MAX => {}
            Err(error) => return Err(error),
        }
        fruitless = if download.have > had { 0 } else { fruitless + 1 };
        let over = fruitless >= FRUITLESS_MAX || attempts >= ATTEMPTS_MAX;
        if over && download.have < wanted.size {
            let at = session.blob_address(wanted.digest);
            return Err(PullError::Cut { at, got: download.have, size: wanted.size, attempts });
        }
    }
}

impl Download {
    async fn open(path: &Path, size: u64) -> Result<Self, PullError> {
        let path = path.to_owned();
        let here = path.clone();
        let opened = tokio::task::spawn_blocking(move || reopen(&here, size)).await;
        let opened = opened.map_err(io::Error::other).flatten();
        let (file, have, hasher) =
            opened.map_err(|error| PullError::io("opening a download", &path, error))?;
        Ok(Self { path, file: File::from_std(file), have, hasher })
    }

    async fn restart(&mut self) -> Result<(), PullError> {
        let emptied = async {
            self.file.flush().await?;
            self.file.set_len(0).await?;
            self.file.seek(SeekFrom::Start(0)).await
        };
        emptied.await.map_err(|error| PullError::io("emptying a download", &self.path, error))?;
        (self.have, self.hasher) = (0, Sha256::new());
        Ok(())
    }

    /// Takes what comes until it ends or breaks off.
    async fn take(
        &mut self,
        session: &Session<'_>,
        wanted: &Descriptor,
        mut response: Response,
        told: &(dyn Fn(u64) + Send + Sync),
    ) -> Result<(), PullError> {
        // A connection that breaks is asked for the rest again.
        while let Ok(Some(chunk)) = response.chunk().await {
            let have = self.have + chunk.len() as u64;
            if have > wanted.size {
                self.restart().await?;
                let what = format!("the blob at {}", session.blob_address(wanted.digest));
                let limit = format!("the {} bytes that its manifest says", wanted.size);
                return Err(PullError::TooLarge { what, limit });
            }
            let written = self.file.write_all(&chunk).await;
            written.map_err(|error| PullError::io("writing a download", &self.path, error))?;
            self.hasher.update(&chunk);
            self.have = have;
            told(have);
        }
        let flushed = self.file.flush().await;
        flushed.map_err(|error| PullError::io("writing a download", &self.path, error))
    }

    async fn flushed(mut self) -> Result<(), PullError> {
        let flushed = self.file.flush().await;
        flushed.map_err(|error| PullError::io("writing a download", &self.path, error))
    }
}

/// Opens what there is of a download, and hashes it. More than there can be is thrown away.
fn reopen(path: &Path, size: u64) -> io::Result<(std::fs::File, u64, Sha256)> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options.read(true).write(true).create(true).truncate(false).open(path)?;
    if file.metadata()?.len() > size {
        file.set_len(0)?;
    }
    let (mut have, mut hasher, mut buffer) = (0, Sha256::new(), vec![0; 256 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((file, have, hasher)),
            read => {
                hasher.update(&buffer[..read]);
                have += read as u64;
            }
        }
    }
}
