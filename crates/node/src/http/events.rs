//! `/v1/events`: the event stream. First what is on disk from the asked height on, then live;
//! a listener that falls behind is fed from disk again, so that nothing is skipped. Asked for one
//! subject, it answers with a page of that subject's events instead, or, asked to follow, with the
//! stream of those alone.

use super::{App, Problem, Shared, parse};
use crate::history::{BlockRecord, HistoryError, Place};
use axum::{
    Json,
    extract::{Query, State},
    response::{
        IntoResponse as _, Response,
        sse::{Event as SseEvent, KeepAlive, Sse},
    },
};
use futures::{Stream, stream};
use muster_api::views::{ApiError, BlockEvents, EVENTS_MAX, Event, EventEntry, EventPage, Subject};
use muster_types::HostId;
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
struct Wanted {
    /// Of the stream: the first block wanted; without it, the next one.
    from: Option<u64>,
    /// Whether a subject's events are streamed instead of given as a page.
    follow: Option<bool>,
    /// Only what concerns this account, in whatever part.
    account: Option<String>,
    /// Only what concerns this provider.
    provider: Option<String>,
    /// Only what concerns this validator.
    validator: Option<String>,
    /// Only what concerns this provider's host number `index`.
    host: Option<String>,
    /// With `host`.
    index: Option<u32>,
    /// Only what concerns this order.
    order: Option<String>,
    /// Only what concerns this lease.
    lease: Option<String>,
    /// Only what concerns this escrow.
    escrow: Option<String>,
    /// Only what concerns this job.
    job: Option<String>,
    /// Only what concerns this dispute or challenge.
    dispute: Option<String>,
    /// Only what concerns this proposal.
    proposal: Option<String>,
    /// Of a page: after this cursor, the `next` of the page before.
    after: Option<String>,
    /// Of a page: at most so many events, and never more than 1,000.
    limit: Option<usize>,
}

impl Wanted {
    /// The subject that is named, if any.
    fn subject(&self) -> Result<Option<Subject>, Problem> {
        let mut named = Vec::new();
        if let Some(id) = &self.account {
            named.push(Subject::Account(parse(id)?));
        }
        if let Some(id) = &self.provider {
            named.push(Subject::Provider(parse(id)?));
        }
        if let Some(id) = &self.validator {
            named.push(Subject::Validator(parse(id)?));
        }
        if let Some(id) = &self.host {
            let index = self.index.ok_or_else(|| Problem::malformed("`host` needs `index`"))?;
            named.push(Subject::Host(HostId { provider: parse(id)?, index }));
        }
        if let Some(id) = &self.order {
            named.push(Subject::Order(parse(id)?));
        }
        if let Some(id) = &self.lease {
            named.push(Subject::Lease(parse(id)?));
        }
        if let Some(id) = &self.escrow {
            named.push(Subject::Escrow(parse(id)?));
        }
        if let Some(id) = &self.job {
            named.push(Subject::Job(parse(id)?));
        }
        if let Some(id) = &self.dispute {
            named.push(Subject::Dispute(parse(id)?));
        }
        if let Some(id) = &self.proposal {
            named.push(Subject::Proposal(parse(id)?));
        }
        match named[..] {
            [] => Ok(None),
            [subject] => Ok(Some(subject)),
            _ => Err(Problem::malformed("name one subject: ask for each by itself")),
        }
    }

    fn after(&self) -> Result<Option<Place>, Problem> {
        let Some(text) = &self.after else { return Ok(None) };
        let place = text
            .split_once('-')
            .and_then(|(height, position)| Some((height.parse().ok()?, position.parse().ok()?)));
        place.map(Some).ok_or_else(|| Problem::malformed("`after` is no cursor of a page"))
    }
}

/// The events of one subject, as far as the state after them can be read.
fn page(app: &Shared, subject: &Subject, wanted: &Wanted) -> Result<EventPage, Problem> {
    let limit = wanted.limit.unwrap_or(EVENTS_MAX).clamp(1, EVENTS_MAX);
    let last = app.consensus.head().height;
    let found = app.history.events_of(subject, wanted.after()?, last, limit);
    let found = found.map_err(|error| Problem::internal(&error))?;
    let events: Vec<EventEntry> = found
        .into_iter()
        .map(|found| EventEntry {
            height: found.place.0,
            position: found.place.1,
            now: found.now,
            event: found.event,
        })
        .collect();
    let next = events.last().filter(|_| events.len() == limit).map(EventEntry::cursor);
    Ok(EventPage { events, next })
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

/// Final blocks' events, in order and without gaps: a stream whose every `data` is a
/// `BlockEvents`. With a subject named: a page of the events that concern it, oldest first, or with
/// `follow` the stream of them, without the blocks that have none.
#[utoipa::path(
    get,
    path = "/v1/events",
    params(Wanted),
    responses(
        (
            status = 200,
            description = "server-sent events; with a subject, a page",
            content((BlockEvents = "text/event-stream"), (EventPage = "application/json"))
        ),
        (status = 400, body = ApiError)
    )
)]
async fn events(State(app): App, Query(wanted): Query<Wanted>) -> Result<Response, Problem> {
    match wanted.subject()? {
        Some(subject) if wanted.follow != Some(true) => {
            Ok(Json(page(&app, &subject, &wanted)?).into_response())
        }
        subject => Ok(follow(app, wanted.from, subject).into_response()),
    }
}

fn follow(
    app: Arc<Shared>,
    from: Option<u64>,
    subject: Option<Subject>,
) -> Sse<impl Stream<Item = Result<SseEvent, axum::Error>>> {
    // Listen first, then look at the head: what is final in between is in both, and sent once.
    let live = app.history.listen();
    let disk_end = app.consensus.head().height.saturating_add(1);
    let next = from.unwrap_or(disk_end);
    let cursor = Cursor { app, live, next, disk_end };
    let stream = stream::unfold(cursor, move |mut cursor| async move {
        let concerns = |event: &Event| subject.is_none_or(|one| event.subjects().contains(&one));
        let block = loop {
            let block = cursor.next_block().await?;
            if block.as_ref().map_or(true, |block| block.events().any(&concerns)) {
                break block;
            }
        };
        let event = match block {
            Ok(block) => {
                let events = block.events().filter(|event| concerns(event)).cloned().collect();
                let data = BlockEvents { height: block.height, now: block.now, events };
                SseEvent::default().id(block.height.to_string()).json_data(data)
            }
            Err(error) => Err(axum::Error::new(error)),
        };
        Some((event, cursor))
    });
    Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}
