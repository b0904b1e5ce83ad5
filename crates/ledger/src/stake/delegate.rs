//! `Delegate`.

use super::{Delegation, Validator, ValidatorStatus, reward, save};
use crate::{
    Event, Reject,
    ctx::{By, Ctx, positive},
    keys, limits,
};
use muster_types::{AccountId, Amount, Asset};

pub(crate) fn run(
    ctx: &mut Ctx<'_>,
    by: &By,
    validator_id: &AccountId,
    amount: Amount,
) -> Result<(), Reject> {
    positive(amount)?;
    if *validator_id == by.signer {
        return Err(Reject::bad_field("validator"));
    }
    let mut validator: Validator = ctx.load(validator_id)?;
    if validator.status != ValidatorStatus::Active {
        return Err(Reject::wrong_state("validator", validator.status.name()));
    }
    if !validator.is_sound() {
        return Err(Reject::wrong_state("validator", "slashed to next to nothing"));
    }
    let key = (by.signer, *validator_id);
    let mut delegation = match ctx.find::<Delegation>(&key) {
        Some(delegation) => delegation,
        None if is_full(ctx, &by.signer) => {
            return Err(Reject::wrong_state("account", "delegating to too many validators"));
        }
        None => Delegation::default(),
    };
    ctx.debit(&by.signer, Asset::Mst, amount)?;
    reward::pay(ctx, &key, &mut validator, &mut delegation)?;
    validator.delegated.deposit(&mut delegation.part, amount)?;
    ctx.store(&key, &delegation);
    save(ctx, validator_id, &validator)?;
    ctx.emit(Event::Delegated { delegator: by.signer, validator: *validator_id, amount });
    Ok(())
}

fn is_full(ctx: &Ctx<'_>, delegator: &AccountId) -> bool {
    let all = keys::DELEGATIONS.scan(&ctx.scratch, delegator, None);
    all.take(limits::DELEGATIONS).count() >= limits::DELEGATIONS
}
