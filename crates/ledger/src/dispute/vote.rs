//! `DisputeVote`.

use super::{Dispute, DisputeStatus, Vote, verdict};
use crate::{
    Event, Reject,
    ctx::{By, Ctx},
    event::Case,
    job::TaskOutput,
    keys,
};
use muster_types::DisputeId;

pub(crate) fn run(
    ctx: &mut Ctx<'_>,
    by: &By,
    id: &DisputeId,
    output: Option<TaskOutput>,
) -> Result<(), Reject> {
    let validators = keys::VALIDATORS.get(&ctx.scratch, &()).unwrap_or_default();
    if !validators.contains(&by.signer) {
        return Err(Reject::not_yours("validator"));
    }
    let mut dispute: Dispute = ctx.load(id)?;
    if dispute.status != DisputeStatus::Open {
        return Err(Reject::wrong_state("dispute", dispute.status.name()));
    }
    if dispute.votes.iter().any(|vote| vote.validator == by.signer) {
        return Err(Reject::Duplicate);
    }
    dispute.votes.push(Vote { validator: by.signer, output });
    ctx.store(id, &dispute);
    let of = Case::of(ctx, &dispute)?;
    ctx.emit(Event::DisputeVoted { dispute: *id, validator: by.signer, of });
    let agreed = dispute.votes.iter().filter(|vote| vote.output == output).count();
    if !is_two_thirds(agreed, validators.len()) {
        return Ok(());
    }
    match output {
        Some(output) => verdict::judge(ctx, id, output),
        None => verdict::void(ctx, id),
    }
}

/// More than two thirds of all.
pub(super) fn is_two_thirds(part: usize, all: usize) -> bool {
    part.saturating_mul(3) > all.saturating_mul(2)
}

#[cfg(test)]
mod tests {
    use super::is_two_thirds;

    #[test]
    fn a_verdict_needs_more_than_two_thirds_of_all_validators() {
        for (all, needed) in [(1, 1), (2, 2), (3, 3), (4, 3), (6, 5), (7, 5), (100, 67)] {
            assert!(is_two_thirds(needed, all), "{needed} of {all}");
            assert!(!is_two_thirds(needed - 1, all), "{} of {all}", needed - 1);
        }
    }
}
