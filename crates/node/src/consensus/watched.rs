//! A runtime that remembers the first change of its storage that failed.
//!
//! A node that is told to stop ends its actors in no order, and one that waits for another that has
//! ended already panics: that is no failure. One whose write failed panics as well, and that is: the
//! panics look alike, so what tells them apart is noted where it happens.

use commonware_runtime::{
    Blob, BlobVersion, Clock, Error, Handle, IoBufs, IoBufsMut, Metrics, Name, ReadOptions,
    Spawner, Storage, Supervisor, WriteOptions,
    signal::Signal,
    telemetry::metrics::{Metric, Registered},
};
use rand_core::{TryCryptoRng, TryRng};
use std::{
    future::Future,
    ops::RangeInclusive,
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

/// The first failure. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Failure(Arc<OnceLock<String>>);

impl Failure {
    /// What failed, if anything did.
    pub(crate) fn get(&self) -> Option<&str> {
        self.0.get().map(String::as_str)
    }

    /// Notes what failed. That something is not there is an answer; that something was cut off comes
    /// of stopping.
    fn note<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result
            && !matches!(
                error,
                Error::PartitionMissing(_)
                    | Error::BlobMissing(..)
                    | Error::Exited
                    | Error::Closed
                    | Error::Aborted
            )
        {
            // The first one counts.
            let _ = self.0.set(error.to_string());
        }
        result
    }
}

/// A runtime, and what failed.
pub(crate) struct Watched<E> {
    inner: E,
    failure: Failure,
}

impl<E> Watched<E> {
    /// `inner`, whose failure is told to `failure`.
    pub(crate) const fn new(inner: E, failure: Failure) -> Self {
        Self { inner, failure }
    }
}

impl<E: Supervisor> Supervisor for Watched<E> {
    fn name(&self) -> Name {
        self.inner.name()
    }

    fn child(&self, label: &'static str) -> Self {
        Self { inner: self.inner.child(label), failure: self.failure.clone() }
    }

    fn with_attribute(self, key: &'static str, value: impl std::fmt::Display) -> Self {
        Self { inner: self.inner.with_attribute(key, value), failure: self.failure }
    }
}

impl<E: Spawner> Spawner for Watched<E> {
    fn shared(self, blocking: bool) -> Self {
        Self { inner: self.inner.shared(blocking), failure: self.failure }
    }

    fn dedicated(self) -> Self {
        Self { inner: self.inner.dedicated(), failure: self.failure }
    }

    fn spawn<F, Fut, T>(self, task: F) -> Handle<T>
    where
        F: FnOnce(Self) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let Self { inner, failure } = self;
        inner.spawn(move |inner| task(Self { inner, failure }))
    }

    async fn stop(self, value: i32, timeout: Option<Duration>) -> Result<(), Error> {
        self.inner.stop(value, timeout).await
    }

    fn stopped(&self) -> Signal {
        self.inner.stopped()
    }
}

impl<E: Metrics> Metrics for Watched<E> {
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

impl<E: governor::clock::Clock> governor::clock::Clock for Watched<E> {
    type Instant = E::Instant;

    fn now(&self) -> E::Instant {
        self.inner.now()
    }
}

impl<E: governor::clock::ReasonablyRealtime> governor::clock::ReasonablyRealtime for Watched<E> {}

impl<E: Clock> Clock for Watched<E> {
    fn current(&self) -> SystemTime {
        self.inner.current()
    }

    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send + 'static + use<E> {
        self.inner.sleep(duration)
    }

    fn sleep_until(
        &self,
        deadline: SystemTime,
    ) -> impl Future<Output = ()> + Send + 'static + use<E> {
        self.inner.sleep_until(deadline)
    }
}

impl<E: TryRng> TryRng for Watched<E> {
    type Error = E::Error;

    fn try_next_u32(&mut self) -> Result<u32, E::Error> {
        self.inner.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, E::Error> {
        self.inner.try_next_u64()
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), E::Error> {
        self.inner.try_fill_bytes(bytes)
    }
}

impl<E: TryCryptoRng> TryCryptoRng for Watched<E> {}

impl<E: Storage> Storage for Watched<E> {
    type Blob = WatchedBlob<E::Blob>;

    async fn open_versioned(
        &self,
        partition: &str,
        name: &[u8],
        versions: RangeInclusive<BlobVersion>,
    ) -> Result<(Self::Blob, u64, BlobVersion), Error> {
        let (inner, length, version) = self.inner.open_versioned(partition, name, versions).await?;
        Ok((WatchedBlob { inner, failure: self.failure.clone() }, length, version))
    }

    async fn remove(&self, partition: &str, name: Option<&[u8]>) -> Result<(), Error> {
        self.failure.note(self.inner.remove(partition, name).await)
    }

    async fn scan(&self, partition: &str) -> Result<Vec<Vec<u8>>, Error> {
        self.inner.scan(partition).await
    }
}

/// An open file, and what failed.
pub(crate) struct WatchedBlob<B> {
    inner: B,
    failure: Failure,
}

impl<B: Blob> Blob for WatchedBlob<B> {
    async fn read_at_buf(
        &self,
        offset: u64,
        len: usize,
        bufs: impl Into<IoBufsMut> + Send,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        self.inner.read_at_buf(offset, len, bufs, options).await
    }

    async fn read_at(
        &self,
        offset: u64,
        len: usize,
        options: ReadOptions,
    ) -> Result<IoBufsMut, Error> {
        self.inner.read_at(offset, len, options).await
    }

    fn read_many(
        &self,
        ranges: &[(u64, usize)],
        options: ReadOptions,
    ) -> impl futures::Stream<Item = Result<(usize, IoBufsMut), Error>> + Send {
        self.inner.read_many(ranges, options)
    }

    async fn start_read_many(
        &self,
        ranges: &[(u64, usize)],
        options: ReadOptions,
    ) -> Handle<Vec<IoBufsMut>> {
        self.inner.start_read_many(ranges, options).await
    }

    async fn write_at(
        &self,
        offset: u64,
        bufs: impl Into<IoBufs> + Send,
        options: WriteOptions,
    ) -> Result<(), Error> {
        self.failure.note(self.inner.write_at(offset, bufs, options).await)
    }

    async fn resize(&self, len: u64) -> Result<(), Error> {
        self.failure.note(self.inner.resize(len).await)
    }

    async fn sync(&self) -> Result<(), Error> {
        self.failure.note(self.inner.sync().await)
    }

    async fn start_sync(&self) -> Handle<()> {
        let (started, failure) = (self.inner.start_sync().await, self.failure.clone());
        Handle::from_future(async move { failure.note(started.await) })
    }
}
