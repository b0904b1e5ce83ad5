//! The protocol [`muster_api::provider`] as the provider serves it.

use crate::{check, denial::Denial, journal::Committed, shared::Shared};
use bytes::Bytes;
use muster_api::provider::{MAX_MESSAGE_BYTES, Request, Response};
use muster_fabric::{Refusal, RefusalCode, Service};
use muster_types::{AccountId, codec};
use std::sync::{Arc, Weak};
use tracing::Instrument as _;

/// Answers tenants. Does not keep the provider alive: it lives in the fabric, which the provider
/// owns.
pub(crate) struct Desk(pub(crate) Weak<Shared>);

impl Service for Desk {
    async fn call(&self, peer: AccountId, request: Bytes) -> Result<Bytes, Refusal> {
        let shared = self.0.upgrade().ok_or(Denial::Stopping)?;
        let request: Request = codec::decode(&request, MAX_MESSAGE_BYTES)
            .map_err(|error| Refusal::new(RefusalCode::MALFORMED, error.to_string()))?;
        let lease = match &request {
            Request::Prepare(prepare) => prepare.lease,
            Request::Run(run) => run.lease,
            Request::Commit { lease } => *lease,
        };
        let span = tracing::debug_span!("call", peer = %peer.short(), lease = %lease.short());
        let answer = serve(&shared, peer, lease, request).instrument(span.clone()).await;
        span.in_scope(|| match answer {
            Ok(response) => Ok(codec::encode(&response).into()),
            Err(denial) => {
                tracing::debug!(%denial, "refused");
                Err(denial.into())
            }
        })
    }
}

async fn serve(
    shared: &Arc<Shared>,
    peer: AccountId,
    lease: muster_types::LeaseId,
    request: Request,
) -> Result<Response, Denial> {
    let slot = shared.lease(lease).await?;
    check::admit(&slot, peer)?;
    if shared.stopping.is_cancelled() {
        return Err(Denial::Stopping);
    }
    match request {
        // Preparing and committing go on if the caller is lost: it will ask again.
        Request::Prepare(prepare) => {
            let inner = Arc::clone(shared);
            let prepare = async move {
                let answer = inner.prepare(Arc::clone(&slot), *prepare).await;
                if let Err(denial) = &answer {
                    inner.decline_if_hopeless(&slot, denial);
                }
                answer
            };
            shared.apart(prepare).await
        }
        Request::Run(run) => shared.run(&slot, run).await,
        Request::Commit { .. } => {
            let inner = Arc::clone(shared);
            let commit = async move { inner.commit(&slot).await };
            let Committed { root, count, fuel: _ } = shared.apart(commit).await?;
            Ok(Response::Committed { root, count })
        }
    }
}

impl Shared {
    /// Does something in a task of its own, until the provider ends.
    async fn apart<T: Send + 'static>(
        &self,
        act: impl Future<Output = Result<T, Denial>> + Send + 'static,
    ) -> Result<T, Denial> {
        let ended = self.ended.clone();
        let task =
            self.tracker.spawn(
                async move {
                    ended.run_until_cancelled_owned(act).await.unwrap_or(Err(Denial::Stopping))
                }
                .in_current_span(),
            );
        match task.await {
            Ok(done) => done,
            Err(panic) => Err(Denial::internal("serve a request", &panic)),
        }
    }
}
