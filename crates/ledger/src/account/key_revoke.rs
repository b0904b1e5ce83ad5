//! `KeyRevoke`.

use super::{authority, delegated::DelegatedKey};
use crate::{
    Event, Reject,
    ctx::{By, Ctx},
};
use muster_types::AccountId;

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, key: &AccountId) -> Result<(), Reject> {
    let record: DelegatedKey = ctx.load(&(by.signer, *key))?;
    authority::forget(ctx, &by.signer, key, &record);
    ctx.emit(Event::KeyRevoked { account: by.signer, key: *key });
    Ok(())
}
