//! `AttributeSign`.

use super::{Signed, registered_since};
use crate::{
    Event, Reject,
    ctx::{By, Ctx},
    keys, limits,
    provider::{Provider, set::check_attributes},
};
use muster_types::{AccountId, Millis};
use std::collections::BTreeMap;

pub(crate) fn run(
    ctx: &mut Ctx<'_>,
    by: &By,
    provider: &AccountId,
    attributes: &BTreeMap<String, String>,
    until: Millis,
) -> Result<(), Reject> {
    check_attributes(attributes, "attributes")?;
    if attributes.is_empty() || attributes.len() > limits::SIGNED_ATTRIBUTES {
        return Err(Reject::bad_field("attributes"));
    }
    let now = ctx.env.head.now;
    if until <= now {
        return Err(Reject::bad_field("until"));
    }
    if *provider == by.signer {
        return Err(Reject::bad_field("provider"));
    }
    if registered_since(&ctx.scratch, &by.signer).is_none() {
        return Err(Reject::not_yours("auditor"));
    }
    let _: Provider = ctx.load(provider)?;
    let key = (*provider, by.signer);
    if ctx.find::<Signed>(&key).is_none() {
        make_room(ctx, provider)?;
    }
    ctx.store(&key, &Signed { attributes: attributes.clone(), at: now, until });
    ctx.emit(Event::AttributesSigned { provider: *provider, auditor: by.signer, until });
    Ok(())
}

/// Where a provider's list is full, what is void goes.
fn make_room(ctx: &mut Ctx<'_>, provider: &AccountId) -> Result<(), Reject> {
    let now = ctx.env.head.now;
    let all: Vec<_> = keys::SIGNED.scan(&ctx.scratch, provider, None).collect();
    if all.len() < limits::SIGNERS {
        return Ok(());
    }
    let is_void = |(key, signed): &((_, AccountId), Signed)| {
        (!signed.is_valid(&ctx.scratch, &key.1, now)).then_some(*key)
    };
    let void: Vec<_> = all.iter().filter_map(is_void).collect();
    if void.is_empty() {
        return Err(Reject::wrong_state("provider", "signed by too many auditors"));
    }
    for key in void {
        keys::remove::<Signed>(&mut ctx.scratch, &key);
    }
    Ok(())
}
