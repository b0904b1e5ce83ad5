//! A registry in this process, that does what a test wants.

use super::build::{Built, OCI_INDEX};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures::{StreamExt as _, stream};
use muster_sandbox::oci::image::{
    Digest, Image, ImageRef, Layer, Progress, PullError, PullOptions, Registry, RegistryConfig,
    Stage, Store,
};
use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
};
use tokio::{net::TcpListener, sync::watch};

/// What a registry does, beside giving what it has.
#[derive(Default)]
pub(crate) struct Ways {
    /// What it gives under a path, instead of what it would.
    pub(crate) answers: BTreeMap<String, (StatusCode, HeaderMap, Vec<u8>)>,
    /// It breaks off after so many bytes of a blob, once for each number, the last first.
    pub(crate) cuts: BTreeMap<Digest, Vec<usize>>,
    /// It gives so many bytes of a blob, and then nothing more, without breaking off.
    pub(crate) stalls: BTreeMap<Digest, usize>,
    pub(crate) knows_ranges: bool,
    /// What `Authorization` must be; what else is refused with this challenge.
    pub(crate) wants: Option<(String, String)>,
}

pub(crate) struct Fake {
    pub(crate) host: String,
    state: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    ways: Mutex<Ways>,
    blobs: Mutex<BTreeMap<Digest, Bytes>>,
    manifests: Mutex<BTreeMap<String, (String, Bytes)>>,
    asked: Mutex<Vec<Asked>>,
    /// How much of the blob that is on the way the client has.
    received: watch::Sender<u64>,
}

/// A request that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) range: String,
    pub(crate) authorization: String,
}

impl Fake {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Inner::default());
        state.ways.lock().unwrap().knows_ranges = true;
        let app = Router::new().fallback(answer).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { host, state }
    }

    pub(crate) fn ways(&self, change: impl FnOnce(&mut Ways)) {
        change(&mut self.state.ways.lock().unwrap());
    }

    pub(crate) fn answers(&self, path: &str, status: u16, headers: &[(&str, &str)], body: &[u8]) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = header::HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.insert(name, value.parse().unwrap());
        }
        let answer = (StatusCode::from_u16(status).unwrap(), map, body.to_vec());
        self.ways(|ways| drop(ways.answers.insert(path.to_owned(), answer)));
    }

    /// It breaks off after so many bytes of a blob, the last number first.
    pub(crate) fn cuts(&self, blob: &[u8], after: Vec<usize>) {
        self.ways(|ways| drop(ways.cuts.insert(Digest::of(blob), after)));
    }

    /// It stops in a blob without an end, or no longer.
    pub(crate) fn stalls(&self, blob: &[u8], after: Option<usize>) {
        let digest = Digest::of(blob);
        self.ways(|ways| {
            ways.stalls.remove(&digest);
            ways.stalls.extend(after.map(|after| (digest, after)));
        });
    }

    /// Tells this registry what has arrived: it breaks off when what it sent is there.
    pub(crate) fn hears(&self, options: PullOptions) -> PullOptions {
        let state = Arc::clone(&self.state);
        let progress = move |progress: &Progress| {
            if progress.stage == Stage::Downloading {
                state.received.send_replace(progress.bytes);
            }
        };
        PullOptions { progress: Some(Arc::new(progress)), ..options }
    }

    pub(crate) fn has_blob(&self, digest: Digest, bytes: &[u8]) {
        self.state.blobs.lock().unwrap().insert(digest, Bytes::copy_from_slice(bytes));
    }

    /// Puts an image there, and gives its name by tag.
    pub(crate) fn has(&self, repository: &str, tag: &str, image: &Built) -> ImageRef {
        for blob in &image.blobs {
            self.has_blob(Digest::of(blob), blob);
        }
        self.has_manifest(repository, tag, image.kind, &image.manifest)
    }

    pub(crate) fn has_index(&self, repository: &str, tag: &str, index: &[u8]) -> ImageRef {
        self.has_manifest(repository, tag, OCI_INDEX, index)
    }

    fn has_manifest(&self, repository: &str, tag: &str, kind: &str, bytes: &[u8]) -> ImageRef {
        let mut manifests = self.state.manifests.lock().unwrap();
        for name in [tag.to_owned(), Digest::of(bytes).to_string()] {
            let path = format!("/v2/{repository}/manifests/{name}");
            manifests.insert(path, (kind.to_owned(), Bytes::copy_from_slice(bytes)));
        }
        format!("{}/{repository}:{tag}", self.host).parse().unwrap()
    }

    /// What was asked for so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.asked.lock().unwrap().clone()
    }

    /// Requests for a blob.
    pub(crate) fn asked_for(&self, digest: Digest) -> Vec<Asked> {
        let ends = format!("/blobs/{digest}");
        self.asked().into_iter().filter(|asked| asked.path.ends_with(&ends)).collect()
    }

    /// A client that trusts this registry.
    pub(crate) fn client(&self) -> Registry {
        client(&[&self.host])
    }

    pub(crate) async fn pull(
        &self,
        store: &Store,
        image: &ImageRef,
        options: &PullOptions,
    ) -> Result<Image, PullError> {
        store.pull(&self.client(), image, options).await
    }
}

pub(crate) fn client(trusted: &[&str]) -> Registry {
    let trusted = trusted.iter().map(|&host| host.to_owned()).collect();
    Registry::new(&RegistryConfig { trusted, ..RegistryConfig::default() }).unwrap()
}

async fn answer(State(state): State<Arc<Inner>>, request: Request) -> Response {
    let text = |name: header::HeaderName| {
        let value = request.headers().get(name);
        value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    };
    let asked = Asked {
        path: request.uri().path().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        range: text(header::RANGE),
        authorization: text(header::AUTHORIZATION),
    };
    state.asked.lock().unwrap().push(asked.clone());
    let mut ways = state.ways.lock().unwrap();
    if let Some(answer) = ways.answers.get(&asked.path) {
        return answer.clone().into_response();
    }
    if let Some((wanted, challenge)) = &ways.wants
        && *wanted != asked.authorization
    {
        let headers = [(header::WWW_AUTHENTICATE, challenge.clone())];
        return (StatusCode::UNAUTHORIZED, headers).into_response();
    }
    if let Some((kind, bytes)) = state.manifests.lock().unwrap().get(&asked.path) {
        return ([(header::CONTENT_TYPE, kind.clone())], bytes.clone()).into_response();
    }
    let digest = asked.path.rsplit('/').next().and_then(|name| name.parse::<Digest>().ok());
    let found = digest.and_then(|digest| {
        state.blobs.lock().unwrap().get(&digest).map(|bytes| (digest, bytes.clone()))
    });
    let Some((digest, bytes)) = found else {
        let body = r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest\u001b unknown"}]}"#;
        return (StatusCode::NOT_FOUND, body).into_response();
    };
    blob(&mut ways, &asked, digest, &bytes, state.received.subscribe())
}

fn blob(
    ways: &mut Ways,
    asked: &Asked,
    digest: Digest,
    bytes: &Bytes,
    mut received: watch::Receiver<u64>,
) -> Response {
    let from = asked.range.strip_prefix("bytes=").and_then(|range| range.strip_suffix('-'));
    let from: usize = from.filter(|_| ways.knows_ranges).map_or(0, |from| from.parse().unwrap());
    let mut response = Response::new(Body::empty());
    if from > 0 {
        if from >= bytes.len() {
            return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
        }
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        let range = format!("bytes {from}-{}/{}", bytes.len() - 1, bytes.len());
        response.headers_mut().insert(header::CONTENT_RANGE, range.parse().unwrap());
    }
    let rest = bytes.slice(from..);
    let cut = ways.cuts.get_mut(&digest).and_then(Vec::pop);
    let length = rest.len();
    *response.body_mut() = if let Some(cut) = cut {
        let sent = (from + cut) as u64;
        let first = stream::iter([Ok(rest.slice(..cut.min(length)))]);
        let cut = async move {
            received.wait_for(|&bytes| bytes == sent).await.unwrap();
            Err(io::Error::other("cut"))
        };
        Body::from_stream(first.chain(stream::once(cut)))
    } else if let Some(&stall) = ways.stalls.get(&digest) {
        let first = stream::iter([Ok::<_, Infallible>(rest.slice(..stall.min(length)))]);
        Body::from_stream(first.chain(stream::pending()))
    } else {
        Body::from(rest)
    };
    response
}

/// What a layer has at a path.
pub(crate) fn read(layer: &Layer, path: &str) -> String {
    std::fs::read_to_string(layer.dir().join(path)).unwrap()
}
