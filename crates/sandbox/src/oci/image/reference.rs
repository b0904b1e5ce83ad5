//! What people write to name an image.

use super::digest::{Digest, DigestError};
use std::{fmt, str::FromStr};

const DOCKER_HUB: &str = "docker.io";
const NAME_BYTES_MAX: usize = 255;
const TAG_BYTES_MAX: usize = 128;

/// An image's name: a registry, a repository in it, and a tag or a digest.
///
/// ```text
/// nginx                      docker.io / library/nginx : latest
/// nginx:1.27                 docker.io / library/nginx : 1.27
/// ghcr.io/a/b@sha256:<hex>   ghcr.io   / a/b           @ sha256:<hex>
/// 127.0.0.1:5000/app         127.0.0.1:5000 / app      : latest
/// ```
/// The first part is a registry if it has a dot or a colon or is `localhost`. Of a tag and a
/// digest together, the digest counts. [`fmt::Display`] writes all of it out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageRef {
    host: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImageRefError {
    /// Nothing there.
    #[error("no image is named: write for example `nginx:1.27` or `ghcr.io/owner/name@sha256:..`")]
    Empty,
    /// Like the address of a page.
    #[error("`{text}` is an address, not an image: leave `{scheme}` out")]
    Scheme {
        /// As given.
        text: String,
        /// What is too much.
        scheme: &'static str,
    },
    /// Not a host with an optional port.
    #[error("`{host}` in `{text}` is no registry: write a host name, with `:port` if need be")]
    Host {
        /// As given.
        text: String,
        /// The part.
        host: String,
    },
    /// Capitals.
    #[error("a repository has no capitals: write `{fixed}` instead of `{text}`")]
    Capitals {
        /// As given.
        text: String,
        /// In small letters.
        fixed: String,
    },
    /// Other characters than allowed.
    #[error(
        "`{part}` in `{text}` is no part of a repository: use a-z and 0-9, with single `.`, `_`, \
         `__` or dashes between them"
    )]
    Repository {
        /// As given.
        text: String,
        /// The part.
        part: String,
    },
    /// Too long.
    #[error("the name is {bytes} bytes long, more than {NAME_BYTES_MAX}: shorten the repository")]
    TooLong {
        /// How long.
        bytes: usize,
    },
    /// Not a tag.
    #[error(
        "`{tag}` in `{text}` is no tag: use at most {TAG_BYTES_MAX} of A-Z, a-z, 0-9, `_`, `.` and \
         `-`, and begin with none of the last two"
    )]
    Tag {
        /// As given.
        text: String,
        /// The part.
        tag: String,
    },
    /// Not a digest.
    #[error("what follows `@` in `{text}` names no content")]
    Digest {
        /// As given.
        text: String,
        /// Why.
        #[source]
        source: DigestError,
    },
}

impl ImageRef {
    /// The registry as written, in small letters: `docker.io`, `ghcr.io`, `127.0.0.1:5000`.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where the registry's API is: `host[:port]`. Docker Hub's is not at its name.
    #[must_use]
    pub fn api_host(&self) -> &str {
        if self.host == DOCKER_HUB { "registry-1.docker.io" } else { &self.host }
    }

    /// The repository in the registry, such as `library/nginx`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, `latest` where neither tag nor digest is written.
    #[must_use]
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, which counts more than the tag.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }

    /// The same repository's image with this digest.
    #[must_use]
    pub fn at(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }

    /// What a manifest is asked for by.
    pub(super) fn selector(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => "latest".to_owned(),
        }
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        self.digest.map_or(Ok(()), |digest| write!(f, "@{digest}"))
    }
}

impl FromStr for ImageRef {
    type Err = ImageRefError;

    fn from_str(given: &str) -> Result<Self, ImageRefError> {
        // Longer than any name with a tag and a digest, and short enough to be told back.
        let text: String = given.trim().chars().take(600).collect();
        if text.is_empty() {
            return Err(ImageRefError::Empty);
        }
        for scheme in ["https://", "http://", "docker://", "oci://"] {
            if text.starts_with(scheme) {
                return Err(ImageRefError::Scheme { text, scheme });
            }
        }
        let (rest, digest) = match text.split_once('@') {
            None => (text.as_str(), None),
            Some((rest, digest)) => match digest.parse() {
                Ok(digest) => (rest, Some(digest)),
                Err(source) => return Err(ImageRefError::Digest { text, source }),
            },
        };
        let (host, rest) = match rest.split_once('/') {
            Some((host, rest)) if host.contains(['.', ':']) || host == "localhost" => {
                (host.to_ascii_lowercase(), rest)
            }
            _ => (DOCKER_HUB.to_owned(), rest),
        };
        if !is_host(&host) {
            return Err(ImageRefError::Host { text, host });
        }
        let host = match host.as_str() {
            "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB.to_owned(),
            _ => host,
        };
        let (name, tag) = match rest.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, Some(tag.to_owned())),
            _ => (rest, None),
        };
        if let Some(tag) = tag.as_ref().filter(|tag| !is_tag(tag)) {
            return Err(ImageRefError::Tag { tag: tag.clone(), text });
        }
        let repository = repository(&text, &host, name)?;
        let tag = tag.or_else(|| digest.is_none().then(|| "latest".to_owned()));
        Ok(Self { host, repository, tag, digest })
    }
}

fn repository(text: &str, host: &str, name: &str) -> Result<String, ImageRefError> {
    if let Some(part) = name.split('/').find(|part| !is_part(&part.to_ascii_lowercase())) {
        let (text, part) = (text.to_owned(), part.to_owned());
        return Err(ImageRefError::Repository { text, part });
    }
    if name.contains(|c: char| c.is_ascii_uppercase()) {
        let fixed = text.replacen(name, &name.to_ascii_lowercase(), 1);
        return Err(ImageRefError::Capitals { text: text.to_owned(), fixed });
    }
    let official = host == DOCKER_HUB && !name.contains('/');
    let repository = if official { format!("library/{name}") } else { name.to_owned() };
    let bytes = host.len() + 1 + repository.len();
    if bytes > NAME_BYTES_MAX { Err(ImageRefError::TooLong { bytes }) } else { Ok(repository) }
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let port_is_good = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
    let name_is_good = match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => name.split('.').all(|label| {
            let good = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
            let ends = label.starts_with('-') || label.ends_with('-');
            !label.is_empty() && label.len() <= 63 && label.bytes().all(good) && !ends
        }),
    };
    port_is_good && name_is_good
}

/// Runs of letters and digits with `.`, `_`, `__` or any number of dashes between them.
fn is_part(part: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let ends_well = part.starts_with(alphanumeric) && part.ends_with(alphanumeric);
    let separators = part.split(alphanumeric).filter(|between| !between.is_empty());
    let good = |between: &str| {
        matches!(between, "." | "_" | "__") || between.bytes().all(|byte| byte == b'-')
    };
    ends_well && separators.into_iter().all(good)
}

fn is_tag(tag: &str) -> bool {
    let good = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'_' | b'.' | b'-');
    let begins_well = !tag.starts_with(['.', '-']);
    !tag.is_empty() && tag.len() <= TAG_BYTES_MAX && tag.bytes().all(good) && begins_well
}

#[cfg(test)]
mod tests;
