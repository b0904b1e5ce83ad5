//! Pulling: from a name to layers that lie ready.

mod download;

use super::{
    digest::Digest,
    error::PullError,
    limits::{IdMap, Limits},
    manifest::{self, Configured, Descriptor, ImageConfig, Manifest, Platform},
    reference::ImageRef,
    registry::{Credentials, RawManifest, Registry, Session},
    store::{Draft, Layer, Partial, Reservation, Store},
    unpack::{self, Job, LayerProblem, Meter},
};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::File,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

/// Layers of one image that are brought at a time.
const LAYERS_AT_ONCE: usize = 3;

/// How an image is pulled.
#[derive(Clone)]
pub struct PullOptions {
    /// What the registry is shown.
    pub credentials: Credentials,
    /// For which machine.
    pub platform: Platform,
    /// Whose the files become.
    pub ids: IdMap,
    /// How large the image may be.
    pub limits: Limits,
    /// Who hears how far it is.
    pub progress: Option<ProgressFn>,
}

impl PullOptions {
    /// Anonymously, for this machine, within the default limits, in silence.
    #[must_use]
    pub fn new(ids: IdMap) -> Self {
        Self {
            credentials: Credentials::Anonymous,
            platform: Platform::host(),
            ids,
            limits: Limits::default(),
            progress: None,
        }
    }
}

impl fmt::Debug for PullOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullOptions")
            .field("credentials", &self.credentials)
            .field("platform", &self.platform)
            .field("ids", &self.ids)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Hears of progress; called often, from any thread, and should return at once.
pub type ProgressFn = Arc<dyn Fn(&Progress) + Send + Sync>;

/// How far a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Which layer, from the bottom.
    pub index: usize,
    /// How many the image has.
    pub layers: usize,
    /// The layer's digest as transferred.
    pub layer: Digest,
    /// What is being done.
    pub stage: Stage,
    /// Bytes of the packed layer that this is done with.
    pub bytes: u64,
    /// Bytes of the packed layer.
    pub total: u64,
}

/// What is being done with a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It comes.
    Downloading,
    /// It is unpacked.
    Unpacking,
    /// It is here.
    Ready {
        /// It was before.
        cached: bool,
    },
}

/// An image that lies ready. Its layers stay in the store until it is dropped.
#[derive(Debug, Clone)]
pub struct Image {
    /// As it was asked for.
    pub reference: ImageRef,
    /// Of the manifest of the image for this platform.
    pub digest: Digest,
    /// How it wants to be run.
    pub config: ImageConfig,
    /// Bottom to top, none twice: what an image has twice counts where it is on top.
    pub layers: Vec<Layer>,
}

/// What brings an [`Image`] back after a restart, without the registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    reference: String,
    digest: Digest,
    config: ImageConfig,
    layers: Vec<(String, Digest)>,
}

impl Image {
    /// What to write down to [`Store::hold`] it again.
    #[must_use]
    pub fn record(&self) -> ImageRecord {
        ImageRecord {
            reference: self.reference.to_string(),
            digest: self.digest,
            config: self.config.clone(),
            layers: self.layers.iter().map(|layer| (layer.name(), layer.diff_id())).collect(),
        }
    }
}

impl Store {
    /// An image of before, if all of its layers are still here.
    ///
    /// # Errors
    /// [`PullError::Gone`], [`PullError::Malformed`] for a record that was never written here.
    pub fn hold(&self, record: &ImageRecord) -> Result<Image, PullError> {
        let reference = record.reference.parse().map_err(|_| PullError::Malformed {
            what: "the record of an image".to_owned(),
            problem: format!("`{}` is no image", record.reference),
        })?;
        let layer = |(name, diff_id): &(String, Digest)| {
            let (image, layer) = (record.reference.clone(), *diff_id);
            self.layer(name, *diff_id).ok_or(PullError::Gone { image, layer })
        };
        let layers = record.layers.iter().map(layer).collect::<Result<_, _>>()?;
        let (digest, config) = (record.digest, record.config.clone());
        Ok(Image { reference, digest, config, layers })
    }

    /// Pulls an image: asks the registry for it, which decides who may have it, and brings the
    /// layers that are not here yet. Dropping the future gives up; what was downloaded is kept, and
    /// the next pull goes on from there.
    ///
    /// # Errors
    /// [`PullError`].
    pub async fn pull(
        &self,
        registry: &Registry,
        image: &ImageRef,
        options: &PullOptions,
    ) -> Result<Image, PullError> {
        let session = Session::new(registry, image, &options.credentials);
        let (digest, config, layers) = resolve(&session, image, options).await?;
        let within = within(image, &layers, &options.limits)?;
        let bytes = session.small_blob(config.digest, within).await?;
        let named = image.to_string();
        let Configured { config, diff_ids } =
            manifest::configured(&named, &bytes, layers.len(), &options.platform)?;

        let budget = Arc::new(Budget::new(&options.limits));
        let tops: BTreeMap<Digest, usize> =
            diff_ids.iter().enumerate().map(|(index, diff_id)| (*diff_id, index)).collect();
        let wanted: BTreeSet<usize> = tops.into_values().collect();
        let count = layers.len();
        let bring = |(index, (packed, diff_id)): (usize, (Descriptor, Digest))| Bring {
            store: self.clone(),
            report: Report { to: options.progress.clone(), index, count, packed: packed.clone() },
            packed,
            diff_id,
            budget: Arc::clone(&budget),
            ids: options.ids,
            archive_bytes: options.limits.unpacked_bytes,
            names: names(image, diff_id, options),
        };
        let all = layers.into_iter().zip(diff_ids).enumerate();
        let all: Vec<Bring> = all.filter(|(index, _)| wanted.contains(index)).map(bring).collect();
        let session = &session;
        let brought = stream::iter(all).map(|bring| async move { bring.layer(session).await });
        let layers = brought.buffered(LAYERS_AT_ONCE).try_collect().await?;
        Ok(Image { reference: image.clone(), digest, config, layers })
    }
}

/// The manifest of the image for this platform: its digest, configuration and layers.
async fn resolve(
    session: &Session<'_>,
    image: &ImageRef,
    options: &PullOptions,
) -> Result<(Digest, Descriptor, Vec<Descriptor>), PullError> {
    let limit = options.limits.manifest_bytes;
    let selector = image.selector();
    let RawManifest { bytes, digest } =
        session.manifest(&selector, manifest::ACCEPT, limit).await?;
    let index = match Manifest::read(&format!("the manifest of `{image}`"), &bytes)? {
        Manifest::Image { config, layers } => return Ok((digest, config, layers)),
        Manifest::Index(index) => index,
    };
    let chosen = manifest::choose(&index, &options.platform).map_err(|offered| {
        let (image, wanted) = (image.to_string(), options.platform.to_string());
        PullError::Platform { image, wanted, offered }
    })?;
    let selector = chosen.digest.to_string();
    let RawManifest { bytes, digest } =
        session.manifest(&selector, manifest::ACCEPT, limit).await?;
    let what = format!("the manifest {digest} of `{image}`");
    match Manifest::read(&what, &bytes)? {
        Manifest::Image { config, layers } => Ok((digest, config, layers)),
        Manifest::Index(_) => {
            let problem = "it is an index in an index".to_owned();
            Err(PullError::Malformed { what, problem })
        }
    }
}

/// Whether a manifest's layers are within the limits; gives the configuration's.
fn within(image: &ImageRef, layers: &[Descriptor], limits: &Limits) -> Result<u64, PullError> {
    let refuse = |limit| PullError::TooLarge { what: format!("`{image}`"), limit };
    if layers.len() > limits.layers {
        return Err(refuse(format!("{} layers", limits.layers)));
    }
    let packed = layers.iter().map(|layer| layer.size).fold(0, u64::saturating_add);
    if packed > limits.packed_bytes {
        return Err(refuse(format!("{} bytes when packed", limits.packed_bytes)));
    }
    Ok(limits.config_bytes)
}

/// The names under which a layer may be found; the last is the one it gets.
fn names(image: &ImageRef, diff_id: Digest, options: &PullOptions) -> Vec<String> {
    let public = format!("{}.{}", diff_id.hex(), options.ids.label());
    if options.credentials.are_anonymous() {
        return vec![public];
    }
    let repository = format!("{}/{}", image.host(), image.repository());
    let scope = Digest::of(repository.as_bytes()).hex();
    let private = format!("{public}.{}", &scope[..32]);
    vec![public, private]
}

/// What is left to one image.
struct Budget {
    limits: Limits,
    bytes: AtomicU64,
    entries: AtomicU64,
}

impl Budget {
    fn new(limits: &Limits) -> Self {
        let (bytes, entries) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { limits: limits.clone(), bytes, entries }
    }

    /// Takes something into account.
    ///
    /// # Errors
    /// The limit that it is beyond.
    fn charge(&self, bytes: u64, entries: u64) -> Result<(), String> {
        let add = |to: &AtomicU64, more, most| {
            let within = |now: u64| now.checked_add(more).filter(|&sum| sum <= most);
            to.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
        };
        if !add(&self.entries, entries, self.limits.entries) {
            return Err(format!("{} entries in all layers", self.limits.entries));
        }
        if !add(&self.bytes, bytes, self.limits.unpacked_bytes) {
            return Err(format!(
                "{} bytes in all layers when unpacked",
                self.limits.unpacked_bytes
            ));
        }
        Ok(())
    }
}

/// Tells how far one layer is.
#[derive(Clone)]
struct Report {
    to: Option<ProgressFn>,
    index: usize,
    count: usize,
    packed: Descriptor,
}

impl Report {
    fn tell(&self, stage: Stage, bytes: u64) {
        if let Some(to) = &self.to {
            let (index, layers) = (self.index, self.count);
            let (layer, total) = (self.packed.digest, self.packed.size);
            to(&Progress { index, layers, layer, stage, bytes, total });
        }
    }
}

/// What one layer may cost while it is unpacked.
struct LayerMeter {
    budget: Arc<Budget>,
    reservation: Mutex<Option<Reservation>>,
    given_up: Arc<AtomicBool>,
    report: Report,
}

impl Meter for LayerMeter {
    fn charge(&self, bytes: u64, entries: u64) -> Result<(), LayerProblem> {
        if self.given_up.load(Ordering::Relaxed) {
            return Err(LayerProblem::GivenUp);
        }
        let beyond = |limit| LayerProblem::TooLarge { limit, entry: None };
        self.budget.charge(bytes, entries).map_err(beyond)?;
        let mut reservation = self.reservation.lock().unwrap_or_else(PoisonError::into_inner);
        let grown = reservation.as_mut().map(|reservation| reservation.grow(bytes));
        match grown.transpose() {
            Ok(_) => Ok(()),
            Err(PullError::StoreFull { .. }) => Err(LayerProblem::NoRoom),
            Err(error) => Err(LayerProblem::Io { entry: None, source: io::Error::other(error) }),
        }
    }

    fn read(&self, packed: u64) {
        self.report.tell(Stage::Unpacking, packed);
    }
}

/// Tells the thread that unpacks, when nobody waits for it any more.
struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// One layer to bring.
struct Bring {
    store: Store,
    packed: Descriptor,
    diff_id: Digest,
    budget: Arc<Budget>,
    report: Report,
    ids: IdMap,
    archive_bytes: u64,
    names: Vec<String>,
}

impl Bring {
    async fn layer(self, session: &Session<'_>) -> Result<Layer, PullError> {
        if let Some(layer) = self.cached()? {
            return Ok(layer);
        }
        let name = self.names.last().cloned().unwrap_or_default();
        let flight = self.store.flight(&name).await;
        if let Some(layer) = self.cached()? {
            return Ok(layer);
        }
        let (store, label, packed) = (self.store.clone(), name.clone(), self.packed.clone());
        let partial =
            blocking(move || Partial::new(&store, &label, packed.digest, packed.size)).await?;
        let told = |bytes| self.report.tell(Stage::Downloading, bytes);
        download::download(session, &self.packed, &partial.path(), &told).await?;

        let give_up = GiveUp(Arc::default());
        let given_up = Arc::clone(&give_up.0);
        let layer = blocking(move || {
            let layer = self.unpack(&name, &partial, given_up);
            // What is refused would be refused again.
            if !matches!(&layer, Err(error) if error.blame() == super::Blame::Host) {
                partial.discard();
            }
            drop(flight);
            layer
        });
        let layer = layer.await;
        drop(give_up);
        layer
    }

    /// The layer, if it is here already.
    fn cached(&self) -> Result<Option<Layer>, PullError> {
        let Some(layer) = self.names.iter().find_map(|name| self.store.layer(name, self.diff_id))
        else {
            return Ok(None);
        };
        self.budget
            .charge(layer.bytes(), layer.entries())
            .map_err(|limit| self.refused(LayerProblem::TooLarge { limit, entry: None }))?;
        self.report.tell(Stage::Ready { cached: true }, self.packed.size);
        Ok(Some(layer))
    }

    fn unpack(
        &self,
        name: &str,
        partial: &Partial,
        given_up: Arc<AtomicBool>,
    ) -> Result<Layer, PullError> {
        let blob = File::open(partial.path())
            .map_err(|error| PullError::io("opening a download", partial.path(), error))?;
        let reservation = Reservation::new(&self.store.inner, 0)?;
        let meter = Arc::new(LayerMeter {
            budget: Arc::clone(&self.budget),
            reservation: Mutex::new(Some(reservation)),
            given_up,
            report: self.report.clone(),
        });
        let job = Job {
            ids: self.ids,
            opaque: Some(self.store.inner.opaque),
            archive_bytes: self.archive_bytes,
            meter: Arc::clone(&meter) as Arc<dyn Meter + Send + Sync>,
        };
        let draft = Draft::new(&self.store)?;
        let unpacked = unpack::unpack(blob, &draft.files(), &job);
        let unpacked = unpacked.map_err(|problem| self.refused(problem))?;
        let (expected, got) = (self.diff_id, unpacked.diff_id);
        if expected != got {
            return Err(self.refused(LayerProblem::WrongArchive { expected, got }));
        }
        let reservation = meter.reservation.lock().unwrap_or_else(PoisonError::into_inner).take();
        let reservation = match reservation {
            Some(reservation) => reservation,
            None => Reservation::new(&self.store.inner, unpacked.bytes)?,
        };
        let layer = draft.commit(&self.store, name, &unpacked, reservation)?;
        self.report.tell(Stage::Ready { cached: false }, self.packed.size);
        Ok(layer)
    }

    fn refused(&self, problem: LayerProblem) -> PullError {
        PullError::Layer { layer: self.packed.digest, problem }
    }
}

/// Runs what blocks on the disk beside the runtime. It goes on if the caller is dropped.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PullError> + Send + 'static,
) -> Result<T, PullError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(PullError::io("unpacking", ".", io::Error::other(error))),
    }
}
