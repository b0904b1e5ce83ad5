//! What services printed: of the container that runs, and the end of what its earlier runs did.

use super::{Services, deployment::Deployment};
use crate::denial::chain;
use borsh::{BorshDeserialize, BorshSerialize};
use muster_api::service::LogLine;
use muster_sandbox::oci::container::{self, Container, ContainerId, LogQuery, Stream};
use muster_types::codec;
use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Lines of earlier runs that are kept.
const EARLIER_LINES: usize = 1_000;
/// Bytes that they may take.
const EARLIER_BYTES: usize = 256 << 10;
/// Lines that are told of a failure.
const LAST_LINES: usize = 5;
/// Characters of the same.
const LAST_CHARS: usize = 600;

#[derive(BorshSerialize, BorshDeserialize)]
struct Earlier {
    lines: Vec<LogLine>,
}

fn line(line: container::LogLine) -> LogLine {
    LogLine {
        at_ms: line.at_ms,
        stderr: line.stream == Stream::Err,
        text: String::from_utf8_lossy(&line.text).into_owned(),
    }
}

/// The last lines that a container printed.
async fn tail(container: &Container, lines: usize) -> Vec<LogLine> {
    let query = LogQuery { tail: Some(lines), ..LogQuery::default() };
    let mut found = Vec::new();
    let Ok(mut log) = container.logs(query) else { return found };
    while let Ok(Some(next)) = log.next().await {
        found.push(line(next));
    }
    found
}

/// The last lines in one, for people.
pub(super) async fn last_lines(container: &Container) -> String {
    let lines = tail(container, LAST_LINES).await;
    let lines: Vec<String> = lines.into_iter().map(|line| line.text).collect();
    let text = lines.join(" / ");
    let from = text.char_indices().rev().nth(LAST_CHARS).map_or(0, |(at, _)| at);
    text[from..].chars().map(|each| if each.is_control() { ' ' } else { each }).collect()
}

/// Keeps the end of what a container printed that is about to be removed.
pub(super) async fn keep(path: &Path, container: &Container) {
    let mut lines: VecDeque<LogLine> = earlier(path).into();
    lines.extend(tail(container, EARLIER_LINES).await);
    let mut bytes: usize = lines.iter().map(|line| line.text.len()).sum();
    while lines.len() > EARLIER_LINES || bytes > EARLIER_BYTES {
        bytes -= lines.pop_front().map_or(0, |line| line.text.len());
    }
    if let Err(error) = write(path, &Earlier { lines: lines.into() }) {
        tracing::warn!(error = chain(&error), path = %path.display(), "a log was not kept");
    }
}

fn write(path: &Path, earlier: &Earlier) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let beside = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(&codec::encode(earlier))?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
}

/// What was kept of earlier runs.
fn earlier(path: &Path) -> Vec<LogLine> {
    let Ok(bytes) = fs::read(path) else { return Vec::new() };
    let limit = EARLIER_BYTES + 64 * EARLIER_LINES;
    codec::decode::<Earlier>(&bytes, limit).map(|kept| kept.lines).unwrap_or_default()
}

/// A service's lines, one after the other.
pub(super) struct Lines<'s> {
    services: &'s Services,
    id: ContainerId,
    follow: bool,
    made: tokio::sync::watch::Receiver<u64>,
    ready: VecDeque<LogLine>,
    log: Option<container::ContainerLog>,
    /// When the container whose log this is was made: each is read once.
    made_ms: Option<u64>,
}

impl<'s> Lines<'s> {
    pub(super) async fn open(
        services: &'s Services,
        deployment: &Deployment,
        id: ContainerId,
        since_ms: Option<u64>,
        tail_lines: Option<u32>,
        follow: bool,
    ) -> Self {
        let mut made = deployment.made.subscribe();
        made.borrow_and_update();
        let limit = tail_lines.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX));
        let mut ready: VecDeque<LogLine> = earlier(&services.earlier_log(&id)).into();
        ready.retain(|line| since_ms.is_none_or(|since| line.at_ms >= since));
        let container = services.containers.get(&id).ok();
        if let Some(limit) = limit {
            let now = match &container {
                Some(container) => tail(container, limit).await.len(),
                None => 0,
            };
            let surplus = ready.len().saturating_sub(limit.saturating_sub(now));
            ready.drain(..surplus);
        }
        let query = LogQuery { tail: limit, since_ms, follow };
        let mut lines = Self { services, id, follow, made, ready, log: None, made_ms: None };
        lines.read(container, query);
        lines
    }

    fn read(&mut self, container: Option<Container>, query: LogQuery) {
        let Some(container) = container else { return };
        let made_ms = container.created_ms().ok();
        if made_ms != self.made_ms {
            self.made_ms = made_ms;
            self.log = container.logs(query).ok();
        }
    }

    /// The next line; `None` at the end, which a follower reaches only with the lease's.
    pub(super) async fn next(&mut self) -> Option<LogLine> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if let Some(log) = &mut self.log {
                match log.next().await {
                    Ok(Some(next)) => return Some(line(next)),
                    Ok(None) => {}
                    Err(error) => tracing::debug!(error = chain(&error), "a log broke off"),
                }
                self.log = None;
            }
            if !self.follow {
                return None;
            }
            // The next run has a log of its own.
            self.made.changed().await.ok()?;
            let container = self.services.containers.get(&self.id).ok();
            self.read(container, LogQuery { follow: true, ..LogQuery::default() });
        }
    }
}
