//! The same blocks with the state's root and a durable commit.

use super::{Block, chain::Chain};
use muster_ledger::{BlockOutcome, Changes, State};
use muster_node::consensus::commit_blocks;
use std::time::{Duration, Instant};

/// Runs `rounds` blocks of `chain` on disk: how long each took beside how long its signatures do
/// alone.
pub(super) fn run(
    chain: &mut Chain,
    rounds: usize,
    threads: usize,
) -> anyhow::Result<Vec<(Duration, Duration)>> {
    let dir = tempfile::tempdir()?;
    let entries = chain.state.iter().map(|(key, value)| (key.to_vec(), Some(value.to_vec())));
    let entries = Changes(entries.collect());
    let mut times = Vec::new();
    // When the block under way began, and what its signatures took alone.
    let mut under_way: Option<(Instant, Duration)> = None;
    let mut failure = None;
    let mut next = |state: &dyn State| -> anyhow::Result<Option<BlockOutcome>> {
        if let Some((began, alone)) = under_way.take() {
            times.push((began.elapsed(), alone));
            chain.advance();
        }
        // The first block also writes the state that it begins with.
        if times.len() > rounds {
            return Ok(None);
        }
        let block = Block::sign(chain)?;
        let alone = block.verify(threads)?;
        let began = Instant::now();
        let outcome = chain.execute(state, &block.txs, threads)?;
        under_way = Some((began, alone));
        Ok(Some(outcome))
    };
    // The store has a runtime of its own.
    std::thread::scope(|scope| {
        let blocks = |state: &dyn State| next(state).map_err(|error| failure = Some(error)).ok()?;
        scope.spawn(|| commit_blocks(dir.path(), entries, blocks)).join()
    })
    .map_err(|_| anyhow::anyhow!("the store failed"))?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    Ok(times.split_off(1))
}
