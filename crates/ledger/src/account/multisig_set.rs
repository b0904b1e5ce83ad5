//! `MultisigSet`.

use super::{
    Account,
    authority::{Authority, Multisig},
};
use crate::{
    Event, Reject,
    ctx::{By, Ctx},
};
use muster_types::MAX_SIGNATURES;

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, policy: Option<&Multisig>) -> Result<(), Reject> {
    let policy = policy.map(checked).transpose()?;
    let mut account: Account = ctx.load(&by.signer)?;
    account.multisig = policy.is_some();
    ctx.store(&by.signer, &account);
    let threshold = policy.as_ref().map_or(0, |policy| policy.threshold);
    let mut authority: Authority = ctx.find(&by.signer).unwrap_or_default();
    authority.policy = policy;
    ctx.store(&by.signer, &authority);
    ctx.emit(Event::PolicyChanged { account: by.signer, threshold });
    Ok(())
}

fn checked(policy: &Multisig) -> Result<Multisig, Reject> {
    if policy.members.len() > MAX_SIGNATURES {
        return Err(Reject::bad_field("members"));
    }
    let mut members = policy.members.clone();
    members.sort_unstable();
    members.dedup();
    if members.len() != policy.members.len() {
        return Err(Reject::bad_field("members"));
    }
    if !(1..=members.len()).contains(&usize::from(policy.threshold)) {
        return Err(Reject::bad_field("threshold"));
    }
    Ok(Multisig { threshold: policy.threshold, members })
}
