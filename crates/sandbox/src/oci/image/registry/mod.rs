//! The client of a registry: the pulling half of the OCI distribution protocol, and nothing else.
//!
//! Every answer has a limit, every address is checked before it is asked (the registry's, its
//! token service's, those it redirects to), and credentials go nowhere but to the registry's own
//! origin and to the token service that it names.

mod auth;
mod reach;

pub use auth::Credentials;

use super::{digest::Digest, error::PullError, reference::ImageRef};
use auth::Challenge;
use reach::{PrivateAddress, Reach, Resolver, host_and_port, private_problem};
use reqwest::{
    Response, StatusCode, Url,
    header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RANGE, WWW_AUTHENTICATE},
    redirect,
};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

const REDIRECTS_MAX: usize = 5;
const TOKEN_BYTES_MAX: u64 = 64 << 10;
const COMPLAINT_BYTES_MAX: u64 = 4 << 10;

/// Which registries are spoken to, and how.
#[derive(Debug, Clone)]
pub struct RegistryConfig {
    /// `host[:port]` of registries and token services that may have private addresses. One on the
    /// loopback is spoken to by plain HTTP.
    pub trusted: BTreeSet<String>,
    /// `host[:port]` of those that are spoken to by plain HTTP wherever they are; trusted too.
    pub plain_http: BTreeSet<String>,
    /// Certificates in PEM of authorities that are believed beside the system's.
    pub roots_pem: Vec<u8>,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long a registry may be silent.
    pub idle_timeout: Duration,
}

impl Default for RegistryConfig {
    /// Public registries by HTTPS only; ten seconds to connect, thirty of silence.
    fn default() -> Self {
        Self {
            trusted: BTreeSet::new(),
            plain_http: BTreeSet::new(),
            roots_pem: Vec::new(),
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
        }
    }
}

/// Settings that make no client.
#[derive(Debug, thiserror::Error)]
#[error("the registries' settings do not work: are all certificates in PEM?")]
pub struct RegistryConfigError(#[source] reqwest::Error);

/// A client of all registries. Cheap to clone; holds no credentials.
#[derive(Debug, Clone)]
pub struct Registry {
    http: reqwest::Client,
    reach: Arc<Reach>,
}

impl Registry {
    /// A client with these settings. Uses no proxy of the environment: it would hide from the
    /// client whom it speaks to.
    ///
    /// # Errors
    /// Certificates that cannot be read.
    pub fn new(config: &RegistryConfig) -> Result<Self, RegistryConfigError> {
        // Without a provider, reqwest panics when it is asked for TLS. Whoever came first is kept.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            rustls::crypto::ring::default_provider().install_default().ok();
        }
        let roots = reqwest::Certificate::from_pem_bundle(&config.roots_pem);
        let reach = Arc::new(Reach::new(config));
        let mut http = reqwest::Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .dns_resolver(Resolver(Arc::clone(&reach)))
            .connect_timeout(config.connect_timeout)
            .read_timeout(config.idle_timeout)
            .user_agent(concat!("muster/", env!("CARGO_PKG_VERSION")));
        if !config.roots_pem.is_empty() {
            http = http.tls_certs_merge(roots.map_err(RegistryConfigError)?);
        }
        Ok(Self { http: http.build().map_err(RegistryConfigError)?, reach })
    }

    /// Asks for `url`, and where its answer sends on to. `authorization` stays with its origin.
    async fn follow(
        &self,
        url: &Url,
        headers: &HeaderMap,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, PullError> {
        let mut next = url.clone();
        for _ in 0..=REDIRECTS_MAX {
            self.reach.check(&next).map_err(|problem| {
                let host = host_and_port(&next);
                PullError::HostRefused { host, problem }
            })?;
            let mut request = self.http.get(next.clone()).headers(headers.clone());
            if let Some(value) = authorization.filter(|_| next.origin() == url.origin()) {
                request = request.header(AUTHORIZATION, value);
            }
            let response = request.send().await.map_err(|error| unreachable(&next, error))?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let location = response.headers().get(LOCATION);
            let to = location.and_then(|to| to.to_str().ok()).and_then(|to| next.join(to).ok());
            next = to.ok_or_else(|| protocol(&next, "it redirects to nowhere"))?;
        }
        Err(protocol(url, "it redirects again and again"))
    }
}

/// One image of one registry, asked for by one party.
#[derive(Debug)]
pub(super) struct Session<'a> {
    registry: &'a Registry,
    image: &'a ImageRef,
    credentials: &'a Credentials,
    /// What the registry wants to be shown, once it has said so.
    authorization: Mutex<Option<HeaderValue>>,
}

/// A manifest as it came.
pub(super) struct RawManifest {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: Digest,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        registry: &'a Registry,
        image: &'a ImageRef,
        credentials: &'a Credentials,
    ) -> Self {
        let shown = match credentials {
            Credentials::Bearer(token) => secret(&format!("Bearer {}", token.as_str())),
            Credentials::Anonymous | Credentials::Basic { .. } => None,
        };
        Self { registry, image, credentials, authorization: Mutex::new(shown) }
    }

    /// The manifest or index by tag or digest; what is asked for by digest has it.
    pub(super) async fn manifest(
        &self,
        selector: &str,
        accept: &str,
        limit: u64,
    ) -> Result<RawManifest, PullError> {
        let url = self.url("manifests", selector)?;
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_str(accept).map_err(|_| protocol(&url, accept))?);
        let response = self.ok(&url, headers).await?;
        let bytes = body(response, &url, "the manifest", limit).await?;
        let digest = Digest::of(&bytes);
        if let Ok(expected) = selector.parse::<Digest>() {
            check(format!("the manifest at {}", shown(&url)), expected, digest)?;
        }
        Ok(RawManifest { bytes, digest })
    }

    /// A blob that fits in memory.
    pub(super) async fn small_blob(
        &self,
        digest: Digest,
        limit: u64,
    ) -> Result<Vec<u8>, PullError> {
        let url = self.url("blobs", &digest.to_string())?;
        let response = self.ok(&url, HeaderMap::new()).await?;
        let bytes = body(response, &url, "the image's configuration", limit).await?;
        check(format!("the blob at {}", shown(&url)), digest, Digest::of(&bytes))?;
        Ok(bytes)
    }

    /// A blob from byte `from` on, and from where on it really is: a registry that knows no ranges
    /// gives all of it. `None` if there is nothing from there on.
    pub(super) async fn blob(
        &self,
        digest: Digest,
        from: u64,
    ) -> Result<Option<(Response, u64)>, PullError> {
        let url = self.url("blobs", &digest.to_string())?;
        let mut headers = HeaderMap::new();
        if from > 0 {
            let range = HeaderValue::from_str(&format!("bytes={from}-"));
            headers.insert(RANGE, range.map_err(|_| protocol(&url, "range"))?);
        }
        let response = self.get(&url, headers).await?;
        match response.status() {
            StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => Ok(None),
            StatusCode::PARTIAL_CONTENT => {
                let range = response.headers().get(reqwest::header::CONTENT_RANGE);
                let range = range.and_then(|range| range.to_str().ok());
                let start = range.and_then(|range| range.strip_prefix("bytes ")?.split_once('-'));
                match start.and_then(|(start, _)| start.parse::<u64>().ok()) {
                    Some(start) if start == from => Ok(Some((response, from))),
                    _ => Err(protocol(&url, "it gives another range than asked for")),
                }
            }
            status if status.is_success() => Ok(Some((response, 0))),
            _ => Err(self.complaint(&url, response).await),
        }
    }

    /// Where a blob is, for messages.
    pub(super) fn blob_address(&self, digest: Digest) -> String {
        self.url("blobs", &digest.to_string()).map_or_else(|_| digest.to_string(), |u| shown(&u))
    }

    fn url(&self, kind: &str, name: &str) -> Result<Url, PullError> {
        let host = self.image.api_host();
        let scheme = self.registry.reach.scheme(host);
        let repository = self.image.repository();
        let text = format!("{scheme}://{host}/v2/{repository}/{kind}/{name}");
        Url::parse(&text).map_err(|error| PullError::HostRefused {
            host: host.to_owned(),
            problem: format!("it makes no address: {error}"),
        })
    }

    async fn ok(&self, url: &Url, headers: HeaderMap) -> Result<Response, PullError> {
        let response = self.get(url, headers).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.complaint(url, response).await)
    }

    /// Asks; if the registry wants to know who asks, asks again and says so.
    async fn get(&self, url: &Url, headers: HeaderMap) -> Result<Response, PullError> {
        let shown = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let response = self.registry.follow(url, &headers, shown.as_ref()).await?;
        let ours = response.url().origin() == url.origin();
        if response.status() != StatusCode::UNAUTHORIZED || !ours {
            return Ok(response);
        }
        let Some(authorization) = self.authorize(&response).await? else { return Ok(response) };
        *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(authorization.clone());
        self.registry.follow(url, &headers, Some(&authorization)).await
    }

    /// What to show to a registry that refused with this answer, if there is anything.
    async fn authorize(&self, refusal: &Response) -> Result<Option<HeaderValue>, PullError> {
        let headers = refusal.headers().get_all(WWW_AUTHENTICATE);
        let texts = headers.iter().filter_map(|header| header.to_str().ok());
        let challenge = texts
            .filter_map(Challenge::read)
            .max_by_key(|challenge| matches!(challenge, Challenge::Bearer { .. }));
        match (challenge, self.credentials) {
            (Some(Challenge::Basic), Credentials::Basic { user, password }) => {
                Ok(basic(user, password))
            }
            // A token of one's own was shown, and refused.
            (_, Credentials::Bearer(_)) | (Some(Challenge::Basic) | None, _) => Ok(None),
            (Some(Challenge::Bearer { realm, service }), credentials) => {
                let token = self.token(refusal.url(), &realm, service.as_deref(), credentials);
                Ok(secret(&format!("Bearer {}", token.await?)))
            }
        }
    }

    async fn token(
        &self,
        registry: &Url,
        realm: &str,
        service: Option<&str>,
        credentials: &Credentials,
    ) -> Result<String, PullError> {
        let broken = |problem: &str| protocol(registry, problem);
        let mut url = Url::parse(realm).map_err(|_| broken("its token service has no address"))?;
        let scope = format!("repository:{}:pull", self.image.repository());
        let service = service.map(|service| ("service", service));
        url.query_pairs_mut().extend_pairs(service).append_pair("scope", &scope);
        let shown = match credentials {
            Credentials::Basic { user, password } => basic(user, password),
            Credentials::Anonymous | Credentials::Bearer(_) => None,
        };
        let response = self.registry.follow(&url, &HeaderMap::new(), shown.as_ref()).await?;
        if !response.status().is_success() {
            return Err(self.complaint(&url, response).await);
        }
        let bytes = body(response, &url, "the token", TOKEN_BYTES_MAX).await?;
        let grant: Grant = serde_json::from_slice(&bytes)
            .map_err(|_| protocol(&url, "its token service's answer has no token"))?;
        let token = grant.token.or(grant.access_token);
        token.ok_or_else(|| protocol(&url, "its token service's answer has no token"))
    }

    /// An error from an answer that is none of success.
    async fn complaint(&self, url: &Url, response: Response) -> PullError {
        let (at, image) = (shown(url), self.image.to_string());
        let status = response.status();
        let retry = response.headers().get(reqwest::header::RETRY_AFTER);
        let retry = retry.and_then(|value| value.to_str().ok()).map(clean);
        let said = match body(response, url, "the refusal", COMPLAINT_BYTES_MAX).await {
            Ok(bytes) => said(&bytes),
            Err(_) => String::new(),
        };
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                PullError::Denied { image, at, who: self.credentials.who(), said }
            }
            StatusCode::NOT_FOUND => PullError::NotFound { image, at, said },
            StatusCode::TOO_MANY_REQUESTS => {
                let wait = retry.map_or_else(|| "a while".to_owned(), |wait| format!("{wait} s"));
                PullError::RateLimited { at, wait }
            }
            status => PullError::Answer { at, status: status.as_u16(), said },
        }
    }
}

#[derive(Deserialize)]
struct Grant {
    token: Option<String>,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct Complaint {
    errors: Vec<Fault>,
}

#[derive(Deserialize)]
struct Fault {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// A registry's words, made harmless: `: code message`, or nothing.
fn said(bytes: &[u8]) -> String {
    let complaint: Option<Complaint> = serde_json::from_slice(bytes).ok();
    let first = complaint.and_then(|complaint| complaint.errors.into_iter().next());
    first.map_or_else(String::new, |fault| {
        format!(": {}", clean(&format!("{} {}", fault.code, fault.message)))
    })
}

fn clean(text: &str) -> String {
    let harmless = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    harmless.take(300).collect::<String>().trim().to_owned()
}

fn basic(user: &str, password: &str) -> Option<HeaderValue> {
    let pair = data_encoding::BASE64.encode(format!("{user}:{password}").as_bytes());
    secret(&format!("Basic {pair}"))
}

/// A header's value that is not printed; nothing if it can be no header's.
fn secret(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// A body of at most `limit` bytes.
async fn body(
    mut response: Response,
    url: &Url,
    what: &str,
    limit: u64,
) -> Result<Vec<u8>, PullError> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(url, error))? {
        if (bytes.len() + chunk.len()) as u64 > limit {
            let what = format!("{what} at {}", shown(url));
            return Err(PullError::TooLarge { what, limit: format!("{limit} bytes") });
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn check(what: String, expected: Digest, got: Digest) -> Result<(), PullError> {
    if expected == got { Ok(()) } else { Err(PullError::Digest { what, expected, got }) }
}

/// An address without its query, which may have secrets in it.
fn shown(url: &Url) -> String {
    let (scheme, host, path) = (url.scheme(), host_and_port(url), url.path());
    format!("{scheme}://{host}{path}")
}

fn protocol(url: &Url, problem: &str) -> PullError {
    PullError::Protocol { at: shown(url), problem: problem.to_owned() }
}

fn unreachable(url: &Url, error: reqwest::Error) -> PullError {
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if error.is::<PrivateAddress>() {
            let host = host_and_port(url);
            return PullError::HostRefused { problem: private_problem(&host), host };
        }
        cause = error.source();
    }
    PullError::Unreachable { at: shown(url), source: error.without_url() }
}
