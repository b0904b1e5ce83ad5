//! How an engine ends: it is told to stop, or it dies.

use super::NodeError;
use commonware_runtime::Handle;
use futures::future::{Either, select, select_all};
use std::{any::Any, pin::pin};
use tokio::sync::{oneshot, watch};

/// How the engine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Stopped,
    Died(String),
}

impl From<Exit> for NodeError {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Stopped => Self::Stopped,
            Exit::Died(reason) => Self::Died { reason },
        }
    }
}

/// How an engine ended that returned or panicked. Actors that wait for one that has stopped already
/// panic, and are cut off.
///
/// | it | was told to stop | storage failed | exit |
/// |---|---|---|---|
/// | returned that it died | | | died |
/// | returned that it stopped | | no | stopped |
/// | returned that it stopped | | yes | died |
/// | panicked | no | | died |
/// | panicked | yes | no | stopped |
/// | panicked | yes | yes | died |
pub(super) fn exit_of(end: Result<Exit, String>, told: bool, failed: Option<&str>) -> Exit {
    match (end, failed) {
        (Ok(Exit::Died(why)), _) => Exit::Died(why),
        (Err(panic), _) if !told => Exit::Died(panic),
        (Ok(Exit::Stopped) | Err(_), Some(what)) => {
            Exit::Died(format!("it could not write while it stopped: {what}"))
        }
        (Ok(Exit::Stopped) | Err(_), None) => Exit::Stopped,
    }
}

/// Waits for the engine's end.
pub(super) async fn died(exit: &mut watch::Receiver<Option<Exit>>) -> NodeError {
    let end = exit.wait_for(Option::is_some).await;
    let end = end.ok().and_then(|end| end.clone());
    end.unwrap_or_else(|| Exit::Died("its thread is gone".into())).into()
}

/// What a panic said.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it did not say why".into())
}

/// Waits until it is told to stop, or for an actor to end, which none must.
pub(super) async fn supervise(
    actors: Vec<(&'static str, Handle<()>)>,
    stop: oneshot::Receiver<()>,
) -> Exit {
    let ends = actors.into_iter().map(|(name, handle)| {
        Box::pin(async move {
            // How it ended does not matter: it must not.
            let _ = handle.await;
            name
        })
    });
    match select(pin!(stop), select_all(ends)).await {
        Either::Left(_) => Exit::Stopped,
        Either::Right(((name, ..), _)) => Exit::Died(format!("its {name} actor ended")),
    }
}
