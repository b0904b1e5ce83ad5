//! Draws: which results are audited, and by whom.
//!
//! Everything follows from a commitment and the beacon that is stored with it, so anybody can tell
//! what was drawn, and nobody could before the commitment was final.
//!
//! # Why nobody chooses
//! A commitment in a block whose beacon has round `r` is drawn with the value of round `r + 2`, in
//! the block that carries it; rounds are consecutive, so which value that is stands fixed. Rounds
//! `r + 1` and `r + 2` are carried by later blocks, each by its own. A validator releases its part
//! of the signature that makes round `r + 2` when the block with round `r + 1` is final, hence the
//! commitment is. Until then nobody knows the value who does not hold two thirds of the key's
//! shares. From the block on that follows one with round `r + 1` no other commitment takes the
//! first one's place. Whoever proposes can leave a round to a later block, and choose between no
//! two values; where the key changes meanwhile ([`crate::stake::beacon`]) the round has one value
//! by either key, and who proposes last before the change chooses between those two: one bit an
//! epoch. None of this asks for synchrony; that a round comes at all takes two thirds of the key's
//! shares. Without a key a round is a block, and its value follows from the block before: who
//! proposes that one chooses, and is trusted not to.
//!
//! More than [`crate::limits::DUE_PER_BLOCK`] commitments of one round are drawn in several blocks,
//! with the value of each.

use crate::{
    Event, Reject,
    ctx::Ctx,
    market::{Draw, Lease},
};
use muster_types::{AccountId, Amount, Hash, LeaseId};
use muster_verify::falls_below;

/// So many rounds of the beacon after its own block's a commitment is final.
pub const DELAY_ROUNDS: u64 = 2;

const TASK: &str = "muster audit task draw v1";
const AUDITOR: &str = "muster auditor draw v1";

/// Whether the result at place `index` under a commitment's `root` is audited, at a probability of
/// `rate_bps` hundredths of a per cent: where a hash over (beacon, lease, root, index) falls below
/// it ([`muster_verify::falls_below`]). Each place is drawn by itself.
#[must_use]
pub fn drawn(beacon: &Hash, lease: &LeaseId, root: &Hash, index: u64, rate_bps: u32) -> bool {
    falls_below(&lot(TASK, beacon, lease, root, index, 0), rate_bps)
}

/// The audited places below `count`, rising. Takes a hash a place.
pub fn draws(
    beacon: Hash,
    lease: LeaseId,
    root: Hash,
    count: u64,
    rate_bps: u32,
) -> impl Iterator<Item = u64> {
    (0..count).filter(move |index| drawn(&beacon, &lease, &root, *index, rate_bps))
}

/// Who may be drawn to audit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Auditor {
    /// Its account.
    pub account: AccountId,
    /// Its stake: its chance is in proportion to it.
    pub stake: Amount,
    /// Who runs it.
    pub operator: AccountId,
}

/// The `wanted` auditors of the result at place `index`, in the order in which they were drawn, by
/// stake and without putting back; fewer where there are not so many. Those of `excluded`, the
/// provider's operator, are never among them. The order of `auditors` is part of the draw.
///
/// Each draw takes a hash as a fraction of the stake that is left and walks up to it.
#[must_use]
pub fn auditors(
    beacon: &Hash,
    lease: &LeaseId,
    root: &Hash,
    index: u64,
    auditors: &[Auditor],
    excluded: &AccountId,
    wanted: u32,
) -> Vec<AccountId> {
    let eligible = auditors.iter().filter(|auditor| {
        auditor.operator != *excluded && auditor.account != *excluded && !auditor.stake.is_zero()
    });
    let mut left: Vec<&Auditor> = eligible.collect();
    let mut chosen = Vec::new();
    for number in 0..wanted {
        let lot = lot(AUDITOR, beacon, lease, root, index, number);
        let Some(place) = by_stake(&lot, &left) else { break };
        chosen.push(left.remove(place).account);
    }
    chosen
}

/// The place of the auditor whose part of the stake holds the hash's.
fn by_stake(lot: &Hash, auditors: &[&Auditor]) -> Option<usize> {
    let total = auditors
        .iter()
        .fold(Amount::ZERO, |total, auditor| total.checked_add(auditor.stake).unwrap_or(total));
    let fraction = u128::from(u64::from_le_bytes(*lot.as_bytes().first_chunk()?));
    let mut mark = total.mul_div_floor(fraction, 1 << 64)?;
    for (place, auditor) in auditors.iter().enumerate() {
        if mark < auditor.stake {
            return Some(place);
        }
        mark = mark.saturating_sub(auditor.stake);
    }
    None
}

fn lot(domain: &str, beacon: &Hash, lease: &LeaseId, root: &Hash, index: u64, number: u32) -> Hash {
    let (index, number) = (index.to_le_bytes(), number.to_le_bytes());
    let parts = [beacon.as_bytes(), lease.as_bytes(), root.as_bytes(), &index[..], &number[..]];
    Hash::of(domain, &parts)
}

/// At a block's end: this block's beacon makes a commitment final.
pub(crate) fn draw(ctx: &mut Ctx<'_>, id: &LeaseId) -> Result<(), Reject> {
    let mut lease: Lease = ctx.load(id)?;
    let head = &ctx.env.head;
    let Some(commitment) = &mut lease.commitment else {
        return Err(Reject::wrong_state("lease", "without a commitment"));
    };
    commitment.draw = Some(Draw { beacon: head.beacon, steady: head.steady });
    ctx.store(id, &lease);
    let (provider, of, beacon) = (lease.provider(), lease.parties(), ctx.env.head.beacon);
    ctx.emit(Event::CommitmentDrawn { lease: *id, provider, of, beacon });
    Ok(())
}

#[cfg(test)]
mod tests;
