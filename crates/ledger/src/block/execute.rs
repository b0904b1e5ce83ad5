//! Whole blocks of somebody else: signatures checked on many threads while the rules run on one.
//!
//! The block's transactions are cut into chunks. Every thread takes the next chunk that nobody
//! has, checks its signatures in one batch, and hands it over; the calling thread applies chunks
//! in order as they come, and checks signatures like the others while the next one is not there.
//! Rules run on the calling thread alone and in order, and the first transaction that fails
//! decides, so the outcome does not depend on threads or chunks.

use super::{BlockBuilder, BlockContext, BlockOutcome, ExecuteError, Stamp};
use crate::{Reject, Tx, state::State};
use muster_types::{Encoded, Signing};
use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

/// Transactions that are checked together: enough for a batch to pay, few enough that no thread is
/// idle for long at the end.
const CHUNK: usize = 128;

/// A chunk whose signatures were checked.
struct Checked {
    stamps: Vec<Stamp>,
    signatures: Result<(), usize>,
}

/// Applies a whole block that somebody else made: every transaction must apply. Signatures are
/// checked on `threads` threads, the calling one included; any number gives the same.
///
/// # Errors
/// [`ExecuteError`]: the block is not valid on this state. Names its first transaction that is
/// refused.
pub fn execute_block(
    state: &dyn State,
    context: BlockContext,
    txs: &[Tx],
    threads: usize,
) -> Result<BlockOutcome, ExecuteError> {
    let mut block = BlockBuilder::new(state, context).map_err(ExecuteError::Block)?;
    let chunks: Vec<&[Tx]> = txs.chunks(CHUNK).collect();
    let taken = AtomicUsize::new(0);
    let take = || {
        let number = taken.fetch_add(1, Ordering::Relaxed);
        chunks.get(number).map(|chunk| (number, check(chunk)))
    };
    thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 1..threads.min(chunks.len()) {
            let (sender, take) = (sender.clone(), &take);
            scope.spawn(move || {
                while let Some(done) = take() {
                    // The receiver is gone where the block is refused already.
                    if sender.send(done).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut waiting: Vec<Option<Checked>> = chunks.iter().map(|_| None).collect();
        for (number, chunk) in chunks.iter().enumerate() {
            let checked = loop {
                for (done, checked) in receiver.try_iter() {
                    put(&mut waiting, done, checked);
                }
                if let Some(checked) = waiting.get_mut(number).and_then(Option::take) {
                    break checked;
                }
                match take().or_else(|| receiver.recv().ok()) {
                    Some((done, checked)) => put(&mut waiting, done, checked),
                    // Nobody is left who could have it.
                    None => break check(chunk),
                }
            };
            let before = number.saturating_mul(CHUNK);
            apply(&mut block, chunk, &checked).map_err(|(index, reject)| ExecuteError::Tx {
                index: before.saturating_add(index),
                reject,
            })?;
        }
        Ok(())
    })?;
    Ok(block.finish())
}

fn put(waiting: &mut [Option<Checked>], number: usize, checked: Checked) {
    if let Some(slot) = waiting.get_mut(number) {
        *slot = Some(checked);
    }
}

fn check(chunk: &[Tx]) -> Checked {
    let encoded: Vec<Encoded> = chunk.iter().map(Tx::encoded).collect();
    let signatures = verify_encoded(chunk, &encoded);
    Checked { stamps: encoded.iter().map(Stamp::of).collect(), signatures }
}

/// Applies a chunk up to its first transaction that is refused.
fn apply(
    block: &mut BlockBuilder<'_>,
    chunk: &[Tx],
    checked: &Checked,
) -> Result<(), (usize, Reject)> {
    for (index, (tx, stamp)) in chunk.iter().zip(&checked.stamps).enumerate() {
        if checked.signatures == Err(index) {
            return Err((index, Reject::BadSignature));
        }
        block.push_stamped(tx, stamp).map_err(|reject| (index, reject))?;
    }
    Ok(())
}

/// Checks the signatures of many transactions together.
///
/// # Errors
/// The index of the first of which a signature is not its key's.
pub fn verify_batch(txs: &[Tx]) -> Result<(), usize> {
    let encoded: Vec<Encoded> = txs.iter().map(Tx::encoded).collect();
    verify_encoded(txs, &encoded)
}

fn verify_encoded(txs: &[Tx], encoded: &[Encoded]) -> Result<(), usize> {
    let mut signings: Vec<Signing<'_>> = Vec::with_capacity(txs.len());
    // The transaction of each signature.
    let mut owners = Vec::with_capacity(txs.len());
    let mut malformed = Ok(());
    for (index, (tx, encoded)) in txs.iter().zip(encoded).enumerate() {
        if tx.signings(encoded, &mut signings).is_err() {
            // Those before it can still be wrong; those after it do not matter.
            malformed = Err(index);
            break;
        }
        owners.resize(signings.len(), index);
    }
    match muster_types::verify_batch(&signings) {
        Ok(()) => malformed,
        Err(wrong) => Err(owners.get(wrong).copied().unwrap_or_default()),
    }
}
