//! Follows the ledger: every block's events since the job's start, without gaps.

use crate::{
    ledger::patient,
    shared::{Input, Shared},
};
use futures::StreamExt as _;
use muster_api::ClientError;
use std::{sync::Arc, time::Duration};

/// A stream that is silent for so long is opened anew: a dead node's connection need not break.
const SILENCE: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(200);

/// Tells the main loop of every block with events from height `next` on, until it is dropped.
///
/// Before each connection the job's leases are asked for, so that nothing depends on how far back
/// the node's events go.
pub(crate) async fn watch(shared: Arc<Shared>, mut next: u64) {
    loop {
        match follow(&shared, &mut next).await {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "the event stream broke"),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn follow(shared: &Shared, next: &mut u64) -> Result<(), ClientError> {
    let client = shared.ledger.client();
    let leases = patient(shared.until, || client.leases_of_job(&shared.job)).await?;
    shared.tell(Input::Leases(leases));
    let mut events = client.events(Some(*next)).await?;
    while let Ok(Some(block)) = tokio::time::timeout(SILENCE, events.next()).await {
        let block = block?;
        *next = block.height.saturating_add(1);
        shared.tell(Input::Block(block));
    }
    Ok(())
}
