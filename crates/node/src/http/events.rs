//! `/v1/events`: the event stream. First what is on disk from the asked height on, then live;
//! a listener that falls behind is fed from disk again, so that nothing is skipped.

use super::{App, Shared};
use crate::history::{BlockRecord, HistoryError};
use axum::{
    extract::{Query, State},
    response::sse::{Event as SseEvent, KeepAlive, Sse},
};
use futures::{Stream, stream};
use muster_api::views::BlockEvents;
use serde::Deserialize;
use std::{sync::Arc, time::Duration};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

const KEEP_ALIVE: Duration = Duration::from_secs(5);

pub(super) fn routes() -> OpenApiRouter<Arc<Shared>> {
    OpenApiRouter::new().routes(routes!(events))
}

#[derive(Deserialize, IntoParams)]
struct From {
    /// The first block wanted; without it, the next one.
    from: Option<u64>,
}

/// Where one listener stands.
struct Cursor {
    app: Arc<Shared>,
    live: Receiver<Arc<BlockRecord>>,
    /// The next height to send.
    next: u64,
    /// Up to here (exclusive) blocks are read from disk.
    disk_end: u64,
}

impl Cursor {
    async fn next_block(&mut self) -> Option<Result<Arc<BlockRecord>, HistoryError>> {
        loop {
            if self.next < self.disk_end {
                match self.app.history.next_block(self.next, self.disk_end) {
                    Ok(Some(block)) => {
                        self.next = block.height.saturating_add(1);
                        return Some(Ok(Arc::new(block)));
                    }
                    Ok(None) => self.next = self.disk_end,
                    Err(error) => return Some(Err(error)),
                }
            }
            let received = tokio::select! {
                received = self.live.recv() => received,
                () = self.app.stopping.cancelled() => return None,
            };
            match received {
                Ok(block) if block.height < self.next || block.is_empty() => {}
                Ok(block) => {
                    self.next = block.height.saturating_add(1);
                    return Some(Ok(block));
                }
                Err(RecvError::Lagged(_)) => {
                    self.disk_end = self.app.consensus.head().height.saturating_add(1);
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

/// Final blocks' events, in order and without gaps: each `data` is a `BlockEvents`.
#[utoipa::path(
    get,
    path = "/v1/events",
    params(From),
    responses((status = 200, description = "server-sent events", body = BlockEvents))
)]
async fn events(
    State(app): App,
    Query(from): Query<From>,
) -> Sse<impl Stream<Item = Result<SseEvent, axum::Error>>> {
    // Listen first, then look at the head: what is final in between is in both, and sent once.
    let live = app.history.listen();
    let disk_end = app.consensus.head().height.saturating_add(1);
    let next = from.from.unwrap_or(disk_end);
    let cursor = Cursor { app, live, next, disk_end };
    let stream = stream::unfold(cursor, |mut cursor| async move {
        let block = cursor.next_block().await?;
        let event = match block {
            Ok(block) => {
                let events = block.events().cloned().collect();
                let data = BlockEvents { height: block.height, now: block.now, events };
                SseEvent::default().id(block.height.to_string()).json_data(data)
            }
            Err(error) => Err(axum::Error::new(error)),
        };
        Some((event, cursor))
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}
