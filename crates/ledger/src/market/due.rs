//! What time makes due at a block's end.

use super::{CloseReason, Lease, LeaseStatus, bid, cancel, close, settled};
use crate::{
    Event, Reject,
    block::{due, for_each},
    ctx::Ctx,
    dispute::{challenge, verdict},
    escrow::settle,
    job::draw,
    keys,
    provider::Host,
};
use muster_types::{LeaseId, Millis};

/// Everything due but clearing, in the order that [`crate::block`] gives.
pub(crate) fn run(ctx: &mut Ctx<'_>) {
    let (head, params) = (ctx.env.head, &ctx.env.params);
    // Entered so long ago or longer; a gap must be exceeded by at least a millisecond.
    let ago = |length: Millis| Millis(head.steady.0.saturating_sub(length.0));
    let longer = |length: Millis| ago(length.after(Millis(1)));

    let expired = due(ctx, keys::ORDERS_DUE, head.now);
    for_each(ctx, expired, cancel::expire);
    let ended = due(ctx, keys::WINDOWS_DUE, head.steady);
    for_each(ctx, ended, bid::window_ended);

    let unready = due(ctx, keys::GRANTED_DUE, longer(params.ready_timeout_ms));
    for_each(ctx, unready, |ctx, id| close::close(ctx, id, CloseReason::ProviderNotReady));
    let not_updated = due(ctx, keys::UPDATING_DUE, longer(params.ready_timeout_ms));
    for_each(ctx, not_updated, |ctx, id| close::close(ctx, id, CloseReason::ProviderNotReady));
    let gone = due(ctx, keys::STALLED_DUE, ago(params.stall_close_ms));
    for_each(ctx, gone, |ctx, id| close::close(ctx, id, CloseReason::ProviderStalled));
    let silent = due(ctx, keys::ACTIVE_DUE, longer(params.stall_gap_ms));
    for_each(ctx, silent, stall);
    // After the stalls: notice is no excuse for silence.
    let reclaimed = due(ctx, keys::RECLAIMING_DUE, head.steady);
    for_each(ctx, reclaimed, |ctx, id| close::close(ctx, id, CloseReason::Reclaimed));

    for escrow in due(ctx, keys::OVERDRAWN_DUE, ago(params.overdrawn_grace_ms)) {
        let leases = settle::open_leases(ctx, &escrow);
        for_each(ctx, leases, |ctx, id| close::close(ctx, id, CloseReason::OutOfFunds));
    }

    let committed = due(ctx, keys::DRAWS_DUE, head.beacon_round);
    for_each(ctx, committed, draw::draw);
    let undecided = due(ctx, keys::DISPUTES_DUE, head.steady);
    for_each(ctx, undecided, verdict::void);
    let silent = due(ctx, keys::CHALLENGES_DUE, head.steady);
    for_each(ctx, silent, challenge::end::out_of_time);
    let closed = due(ctx, keys::CLOSED_DUE, ago(params.challenge_window_ms));
    for_each(ctx, closed, settled::unchallenged);

    for host in due(ctx, keys::OFFERS_DUE, head.now) {
        if let Some(record) = ctx.find::<Host>(&host) {
            keys::relist(&mut ctx.scratch, &host, Some(&record), None);
        }
    }
}

/// A gap in time is a stall where it is also a gap in blocks.
fn stall(ctx: &mut Ctx<'_>, id: &LeaseId) -> Result<(), Reject> {
    let mut lease: Lease = ctx.load(id)?;
    let blocks = ctx.env.head.height.saturating_sub(lease.seen_height);
    if blocks >= ctx.env.params.stall_gap_blocks
        && let Some(was) = lease.status.serving()
    {
        lease.status = LeaseStatus::Stalled { since: ctx.env.head.steady, was };
        ctx.store(id, &lease);
        let (provider, of) = (lease.provider(), lease.parties());
        ctx.emit(Event::LeaseStalled { lease: *id, provider, of });
    }
    Ok(())
}
