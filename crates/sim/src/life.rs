//! One process on one machine: the runtime that a validator sees, from its start to its crash.
//!
//! [`Host`] is the deterministic runtime with the machine's own disk and its own clock. When the
//! [`Life`] ends, nothing that the process still does has an effect: its disk does not answer, and
//! what it sends goes nowhere.

use crate::disk::{Disk, DiskBlob};
use commonware_runtime::{
    BlobVersion, Clock, Error, Handle, Metrics, Name, Spawner, Storage, Supervisor,
    deterministic::Context,
    signal::Signal,
    telemetry::metrics::{Metric, Registered},
};
use rand_core::{TryCryptoRng, TryRng};
use std::{
    convert::Infallible,
    future::Future,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::sync::Notify;

/// How far a machine's clock is ahead of the true time, in milliseconds; negative: behind.
pub type Skew = i64;

/// A process, which dies once.
pub struct Life {
    disk: Arc<Disk>,
    skew: Skew,
    dead: AtomicBool,
    /// It dies when it has changed its disk so often; zero: it does not.
    fuse: AtomicU64,
    died: Notify,
}

impl Life {
    /// A process of the machine with this disk and clock.
    #[must_use]
    pub fn new(disk: Arc<Disk>, skew: Skew) -> Arc<Self> {
        Arc::new(Self {
            disk,
            skew,
            dead: AtomicBool::new(false),
            fuse: AtomicU64::new(0),
            died: Notify::new(),
        })
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::Relaxed)
    }

    /// Ends it.
    pub fn end(&self) {
        self.dead.store(true, Ordering::Relaxed);
        self.died.notify_one();
    }

    /// Ends it with the `changes`-th change of its disk from now on, which is overtaken.
    pub fn end_with(&self, changes: u64) {
        self.fuse.store(changes.max(1), Ordering::Relaxed);
    }

    /// Resolves when it has ended.
    pub(crate) async fn ended(&self) {
        while !self.is_dead() {
            self.died.notified().await;
        }
    }

    /// Counts a change of the disk, and says whether it was the last one.
    pub(crate) fn writes(&self) -> bool {
        match self.fuse.load(Ordering::Relaxed) {
            0 => false,
            1 => {
                self.end();
                true
            }
            left => {
                self.fuse.store(left.saturating_sub(1), Ordering::Relaxed);
                false
            }
        }
    }

    /// Resolves at once while it lives, and never afterwards.
    pub(crate) async fn alive(&self) {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }
}

/// What a process sees of the world.
pub struct Host {
    inner: Context,
    life: Arc<Life>,
}

impl Host {
    /// The world as this process sees it.
    #[must_use]
    pub const fn new(inner: Context, life: Arc<Life>) -> Self {
        Self { inner, life }
    }

    fn shift(&self, time: SystemTime, by: Skew) -> SystemTime {
        let distance = Duration::from_millis(by.unsigned_abs());
        let shifted = if by < 0 { time.checked_sub(distance) } else { time.checked_add(distance) };
        shifted.unwrap_or(time)
    }
}

impl Supervisor for Host {
    fn name(&self) -> Name {
        self.inner.name()
    }

    fn child(&self, label: &'static str) -> Self {
        Self { inner: self.inner.child(label), life: self.life.clone() }
    }

    fn with_attribute(self, key: &'static str, value: impl std::fmt::Display) -> Self {
        Self { inner: self.inner.with_attribute(key, value), life: self.life }
    }
}

impl Spawner for Host {
    fn shared(self, blocking: bool) -> Self {
        Self { inner: self.inner.shared(blocking), life: self.life }
    }

    fn dedicated(self) -> Self {
        Self { inner: self.inner.dedicated(), life: self.life }
    }

    fn spawn<F, Fut, T>(self, task: F) -> Handle<T>
    where
        F: FnOnce(Self) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let Self { inner, life } = self;
        inner.spawn(move |inner| task(Self { inner, life }))
    }

    async fn stop(self, value: i32, timeout: Option<Duration>) -> Result<(), Error> {
        self.inner.stop(value, timeout).await
    }

    fn stopped(&self) -> Signal {
        self.inner.stopped()
    }
}

impl Metrics for Host {
    fn register<N: Into<String>, H: Into<String>, M: Metric>(
        &self,
        name: N,
        help: H,
        metric: M,
    ) -> Registered<M> {
        self.inner.register(name, help, metric)
    }

    fn encode(&self) -> String {
        self.inner.encode()
    }
}

impl governor::clock::Clock for Host {
    type Instant = SystemTime;

    fn now(&self) -> SystemTime {
        self.current()
    }
}

impl governor::clock::ReasonablyRealtime for Host {}

impl Clock for Host {
    fn current(&self) -> SystemTime {
        self.shift(self.inner.current(), self.life.skew)
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.inner.sleep(duration)
    }

    fn sleep_until(
        &self,
        deadline: SystemTime,
    ) -> impl Future<Output = ()> + Send + 'static + use<> {
        self.inner.sleep_until(self.shift(deadline, self.life.skew.saturating_neg()))
    }
}

impl TryRng for Host {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.inner.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.inner.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.inner.try_fill_bytes(bytes)
    }
}

impl TryCryptoRng for Host {}

impl Storage for Host {
    type Blob = DiskBlob;

    async fn open_versioned(
        &self,
        partition: &str,
        name: &[u8],
        versions: RangeInclusive<BlobVersion>,
    ) -> Result<(DiskBlob, u64, BlobVersion), Error> {
        self.life.alive().await;
        self.life.disk.open(&self.life, (partition, name), &versions)
    }

    async fn remove(&self, partition: &str, name: Option<&[u8]>) -> Result<(), Error> {
        if self.life.is_dead() || self.life.writes() {
            return std::future::pending().await;
        }
        self.life.disk.remove(partition, name)
    }

    async fn scan(&self, partition: &str) -> Result<Vec<Vec<u8>>, Error> {
        self.life.alive().await;
        self.life.disk.scan(partition)
    }
}
