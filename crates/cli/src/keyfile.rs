//! Key files: one ed25519 key, mode 0600, encrypted where a passphrase is given.
//!
//! The file is JSON: `{"version":1,"account":"<hex>","seed":"<hex>"}`, or with a passphrase
//! `{"version":1,"account":"<hex>","sealed":{"salt","nonce","box"}}`, where the box is
//! XChaCha20-Poly1305 under an Argon2id key (default parameters of RFC 9106's second choice).
//! The passphrase comes from `MUSTER_PASSPHRASE`, never from the command line.

use crate::error::{Exit, Failure};
use anyhow::Context as _;
use argon2::Argon2;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305, XNonce, aead::Aead as _};
use muster_types::{AccountId, SecretKey};
use serde::{Deserialize, Serialize};
use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};
use zeroize::Zeroizing;

const VERSION: u32 = 1;
const MAX_FILE_BYTES: u64 = 4096;
const PASSPHRASE: &str = "MUSTER_PASSPHRASE";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    version: u32,
    account: AccountId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    seed: Option<Zeroizing<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sealed: Option<Sealed>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    salt: String,
    nonce: String,
    #[serde(rename = "box")]
    ciphertext: String,
}

/// Where the user's key is unless told otherwise.
pub(crate) fn default_path() -> anyhow::Result<PathBuf> {
    let home = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    let home = home.ok_or_else(|| {
        Failure::error(
            Exit::BadInput,
            "neither HOME nor XDG_CONFIG_HOME is set",
            "muster --key FILE …",
        )
    })?;
    Ok(home.join("muster").join("key.json"))
}

/// A new random key.
pub(crate) fn generate() -> anyhow::Result<SecretKey> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).context("the system gives no randomness")?;
    Ok(SecretKey::from_seed(*seed))
}

/// Writes `key` to a new file; refuses to overwrite one.
pub(crate) fn create(path: &Path, key: &SecretKey) -> anyhow::Result<()> {
    if path.exists() {
        return Err(Failure::error(
            Exit::BadInput,
            format!("{} exists already", path.display()),
            format!("muster wallet show --key {}   # or name another file", path.display()),
        ));
    }
    let text = Zeroizing::new(serde_json::to_string_pretty(&render(key, passphrase())?)?);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
    }
    let partial = path.with_extension("partial");
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&partial)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        // Not rename: that would replace a file that appeared meanwhile.
        std::fs::hard_link(&partial, path)?;
        std::fs::remove_file(&partial)?;
        File::open(
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")),
        )?
        .sync_all()
    };
    write().with_context(|| format!("cannot write the key file {}", path.display()))
}

/// Reads the key at `path`.
pub(crate) fn load(path: &Path) -> anyhow::Result<SecretKey> {
    let refuse = |what: String| {
        let hint = format!("muster wallet new --key {}", path.display());
        Failure::error(Exit::BadInput, format!("key file {}: {what}", path.display()), hint)
    };
    let file = File::open(path).map_err(|error| refuse(error.to_string()))?;
    let metadata = file.metadata()?;
    if metadata.mode() & 0o077 != 0 {
        return Err(Failure::error(
            Exit::BadInput,
            format!("key file {}: others can read it", path.display()),
            format!("chmod 600 {}", path.display()),
        ));
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE_BYTES)
        .read_to_string(&mut text)
        .map_err(|error| refuse(error.to_string()))?;
    parse(&text, passphrase()).map_err(|error| refuse(error.to_string()))
}

/// The key in a key file's text.
fn parse(text: &str, passphrase: Option<Zeroizing<String>>) -> anyhow::Result<SecretKey> {
    let file: KeyFile =
        serde_json::from_str(text).map_err(|error| anyhow::anyhow!("not a key file: {error}"))?;
    let key = open(&file, passphrase)?;
    anyhow::ensure!(key.account() == file.account, "its seed does not belong to its account");
    Ok(key)
}

/// Reads the key at `path`, or makes one where there is none.
pub(crate) fn load_or_create(path: &Path) -> anyhow::Result<SecretKey> {
    if path.exists() {
        return load(path);
    }
    let key = generate()?;
    create(path, &key)?;
    Ok(key)
}

fn passphrase() -> Option<Zeroizing<String>> {
    std::env::var(PASSPHRASE).ok().filter(|text| !text.is_empty()).map(Zeroizing::new)
}

fn render(key: &SecretKey, passphrase: Option<Zeroizing<String>>) -> anyhow::Result<KeyFile> {
    let hex = |bytes: &[u8]| data_encoding::HEXLOWER.encode(bytes);
    let account = key.account();
    let Some(passphrase) = passphrase else {
        let seed = Some(Zeroizing::new(hex(key.seed())));
        return Ok(KeyFile { version: VERSION, account, seed, sealed: None });
    };
    let (mut salt, mut nonce) = ([0; 16], [0; 24]);
    getrandom::fill(&mut salt).context("the system gives no randomness")?;
    getrandom::fill(&mut nonce).context("the system gives no randomness")?;
    let ciphertext = cipher(&passphrase, &salt)?
        .encrypt(&XNonce::from(nonce), key.seed().as_slice())
        .map_err(|_| anyhow::anyhow!("cannot encrypt the key"))?;
    let sealed = Sealed { salt: hex(&salt), nonce: hex(&nonce), ciphertext: hex(&ciphertext) };
    Ok(KeyFile { version: VERSION, account, seed: None, sealed: Some(sealed) })
}

fn open(file: &KeyFile, passphrase: Option<Zeroizing<String>>) -> anyhow::Result<SecretKey> {
    anyhow::ensure!(file.version == VERSION, "version {} is not known", file.version);
    let unhex = |text: &str| data_encoding::HEXLOWER_PERMISSIVE.decode(text.as_bytes());
    let seed = match (&file.seed, &file.sealed) {
        (Some(seed), None) => Zeroizing::new(unhex(seed).context("`seed` is not hexadecimal")?),
        (None, Some(sealed)) => {
            let passphrase = passphrase
                .with_context(|| format!("it is encrypted: set {PASSPHRASE} to its passphrase"))?;
            let (salt, nonce) = (unhex(&sealed.salt)?, unhex(&sealed.nonce)?);
            let nonce: [u8; 24] = nonce.try_into().map_err(|_| anyhow::anyhow!("bad nonce"))?;
            let opened = cipher(&passphrase, &salt)?
                .decrypt(&XNonce::from(nonce), unhex(&sealed.ciphertext)?.as_slice())
                .map_err(|_| anyhow::anyhow!("{PASSPHRASE} is not its passphrase"))?;
            Zeroizing::new(opened)
        }
        _ => anyhow::bail!("expected either `seed` or `sealed`"),
    };
    let seed = Zeroizing::new(
        <[u8; 32]>::try_from(seed.as_slice())
            .map_err(|_| anyhow::anyhow!("a seed has 32 bytes"))?,
    );
    Ok(SecretKey::from_seed(*seed))
}

fn cipher(passphrase: &str, salt: &[u8]) -> anyhow::Result<XChaCha20Poly1305> {
    let mut key = Zeroizing::new([0; 32]);
    Argon2::default()
        .hash_password_into(passphrase.as_bytes(), salt, &mut *key)
        .map_err(|error| anyhow::anyhow!("cannot derive a key from the passphrase: {error}"))?;
    Ok(XChaCha20Poly1305::new((&*key).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_hostile::bent_text;

    #[test]
    fn a_key_survives_its_file_and_the_file_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/key.json");
        let key = generate().unwrap();
        create(&path, &key).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(load(&path).unwrap().account(), key.account());
        assert!(create(&path, &key).is_err(), "overwrote a key");
    }

    #[test]
    fn a_sealed_key_opens_with_its_passphrase_only() {
        let key = generate().unwrap();
        let pass = |text: &str| Some(Zeroizing::new(text.to_owned()));
        let file = render(&key, pass("correct horse")).unwrap();
        assert!(!serde_json::to_string(&file).unwrap().contains("seed"));
        assert_eq!(open(&file, pass("correct horse")).unwrap().account(), key.account());
        assert!(open(&file, pass("wrong")).unwrap_err().to_string().contains("not its passphrase"));
        assert!(open(&file, None).unwrap_err().to_string().contains("encrypted"));
    }

    #[test]
    fn malformed_key_files_are_refused_with_the_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.json");
        for (text, says) in [
            ("", "not a key file"),
            ("{}", "missing field"),
            (r#"{"version":1,"account":"00"}"#, "not an id"),
        ] {
            let _ = std::fs::remove_file(&path);
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&path)
                .unwrap()
                .write_all(text.as_bytes())
                .unwrap();
            let error = load(&path).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("key.json"), "{error}");
        }
    }

    #[test]
    fn a_key_file_from_anybody_is_refused_or_has_the_key_of_its_account() {
        let key = SecretKey::from_seed([7; 32]);
        let pass = || Some(Zeroizing::new("correct horse".to_owned()));
        let plain = serde_json::to_string(&render(&key, None).unwrap()).unwrap();
        let sealed = serde_json::to_string(&render(&key, pass()).unwrap()).unwrap();
        let mut read = 0;
        bent_text(&[&plain, &sealed], 20_000, |text| {
            // Without a passphrase: what it is for takes long on purpose.
            let Ok(key) = parse(text, None) else { return };
            let file: KeyFile = serde_json::from_str(text).unwrap();
            assert_eq!(key.account(), file.account);
            read += 1;
        });
        assert!(read > 20, "{read}");
        let file: serde_json::Value = serde_json::from_str(&sealed).unwrap();
        for field in ["salt", "nonce", "box"] {
            for bad in ["", "00", "zz", &"00".repeat(40)] {
                let mut file = file.clone();
                file["sealed"][field] = bad.into();
                assert!(parse(&file.to_string(), pass()).is_err(), "{field}: {bad}");
            }
        }
        assert!(parse(&sealed, pass()).is_ok());
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key.json");
        create(&path, &generate().unwrap()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(load(&path).unwrap_err().to_string().contains("others can read"));
    }
}
