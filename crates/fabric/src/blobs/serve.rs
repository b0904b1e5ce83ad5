//! Serving blobs through the gate.

use super::Gate;
use iroh::endpoint::Connection;
use iroh_blobs::provider::{
    self,
    events::{
        AbortReason, ConnectMode, EventMask, EventResult, EventSender, ObserveMode,
        ProviderMessage, RequestMode, ThrottleMode,
    },
};
use muster_types::{AccountId, Hash};

/// Only single blobs are served, and each request for one is asked about. Pushing to us, asking
/// for many at once and watching a blob grow are refused: they would go round the gate.
const MASK: EventMask = EventMask {
    connected: ConnectMode::None,
    get: RequestMode::Intercept,
    get_many: RequestMode::Disabled,
    push: RequestMode::Disabled,
    observe: ObserveMode::Intercept,
    throttle: ThrottleMode::None,
};

/// Serves one connection of `peer` until it closes.
pub(crate) async fn serve(
    connection: Connection,
    peer: AccountId,
    store: iroh_blobs::api::Store,
    gate: &Gate,
) {
    let (events, mut questions) = EventSender::channel(16, MASK);
    let answer = async {
        while let Some(question) = questions.recv().await {
            match question {
                ProviderMessage::GetRequestReceived(get) => {
                    let request = &get.inner.request;
                    let hash = Hash(*request.hash.as_bytes());
                    // A request may go on to the blobs that the first one lists: only the gate's
                    // own word counts for those, so only the first may be asked for.
                    let verdict = judge(request.ranges.is_blob() && gate.allows(peer, hash));
                    tracing::debug!(peer = %peer.short(), hash = %hash.short(), ?verdict, "blob asked for");
                    get.tx.send(verdict).await.ok();
                }
                ProviderMessage::ObserveRequestReceived(observe) => {
                    observe.tx.send(judge(false)).await.ok();
                }
                // The mask lets no other question through that waits for an answer.
                _ => {}
            }
        }
    };
    tokio::select! {
        () = provider::handle_connection(connection, store, events) => {}
        () = answer => {}
    }
}

fn judge(allowed: bool) -> EventResult {
    if allowed { Ok(()) } else { Err(AbortReason::Permission) }
}
