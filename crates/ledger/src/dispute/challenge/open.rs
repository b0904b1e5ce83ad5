//! `ChallengeOpen`.

use super::{Challenge, ChallengeStatus, Clocks, Side, begin_turn};
use crate::{
    Event, Reject,
    ctx::{By, Ctx, up},
    dispute::open::can_be_challenged,
    event::Contest,
    job::{Job, Verification},
    limits,
    market::Lease,
};
use muster_types::{Amount, Asset, DisputeId, Hash, LeaseId, Millis};
use muster_verify::Game;

pub(crate) fn run(
    ctx: &mut Ctx<'_>,
    by: &By,
    lease_id: &LeaseId,
    last: Hash,
    evidence: &str,
) -> Result<(), Reject> {
    if evidence.len() > limits::EVIDENCE_BYTES {
        return Err(Reject::bad_field("evidence"));
    }
    let mut lease: Lease = ctx.load(lease_id)?;
    let (Verification::Dispute, Some(job_id)) = (lease.verification, lease.job) else {
        return Err(Reject::wrong_state("lease", "not open to challenges"));
    };
    let Some(commitment) = lease.commitment.filter(|commitment| commitment.draw.is_some()) else {
        return Err(Reject::wrong_state("lease", "without a final commitment"));
    };
    if !can_be_challenged(ctx, &lease) {
        return Err(Reject::wrong_state("lease", "past its challenge window"));
    }
    let job: Job = ctx.load(&job_id)?;
    let (start, _) = job.spec.chain_of(&job_id)?;
    let params = &ctx.env.params;
    let steps = commitment.count.saturating_sub(1);
    let game = Game::new(params.bisect_arity, steps, start.initial, commitment.last)
        .filter(|_| commitment.last != Some(last))
        .ok_or(Reject::NoContradiction)?;
    lease.disputes = up(lease.disputes)?;
    if lease.disputes > limits::LEASE_CHALLENGES {
        return Err(Reject::wrong_state("lease", "named in too many disputes"));
    }
    let bond = params.challenge_bond.checked_mul(lease.disputes.into()).ok_or(Reject::Overflow)?;
    let clocks = Clocks { provider: params.dispute_clock_ms, challenger: params.dispute_clock_ms };
    ctx.debit(&by.signer, Asset::Usd, bond)?;
    ctx.store(lease_id, &lease);
    let id = DisputeId::derive(&by.tx);
    let challenge = Challenge {
        lease: *lease_id,
        job: job_id,
        challenger: by.signer,
        last,
        evidence: evidence.to_owned(),
        bond,
        costs: Amount::ZERO,
        game,
        clocks,
        status: ChallengeStatus::Bisecting { turn: Side::Provider },
        votes: Vec::new(),
        deadline: Millis::ZERO,
        final_at: None,
    };
    let of = Contest::of(ctx, &challenge)?;
    ctx.emit(Event::ChallengeOpened { dispute: id, of, bond });
    begin_turn(ctx, &id, challenge)
}
