//! `AttributeRevoke`, by the auditor that signed, or by the provider that does not want it: else
//! anybody with a bond could fill up a competitor's list.

use super::Signed;
use crate::{
    Event, Reject,
    ctx::{By, Ctx},
    keys,
};
use muster_types::AccountId;

pub(crate) fn run(
    ctx: &mut Ctx<'_>,
    by: &By,
    provider: &AccountId,
    auditor: &AccountId,
) -> Result<(), Reject> {
    if by.signer != *auditor && by.signer != *provider {
        return Err(Reject::not_yours("auditor"));
    }
    let key = (*provider, *auditor);
    let _: Signed = ctx.load(&key)?;
    keys::remove::<Signed>(&mut ctx.scratch, &key);
    ctx.emit(Event::AttributesRevoked { provider: *provider, auditor: *auditor });
    Ok(())
}
