//! `ServiceRegister`: a named service stands behind its word with a part of
//! its account's bond. Who relies on it reads the pledge; the ledger knows nothing else of it.

use super::{DutyKind, duty};
use crate::{
    Reject,
    ctx::{By, Ctx, positive},
    keys, limits,
};
use muster_types::Amount;

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, name: &str, pledge: Amount) -> Result<(), Reject> {
    if name.is_empty() || name.len() > limits::NAME_BYTES {
        return Err(Reject::bad_field("name"));
    }
    positive(pledge)?;
    let kind = DutyKind::Service(name.to_owned());
    if !keys::DUTIES.contains(&ctx.scratch, &(by.signer, kind.id())) {
        let count = keys::DUTIES.scan(&ctx.scratch, &by.signer, None).take(limits::DUTIES).count();
        if count >= limits::DUTIES {
            return Err(Reject::wrong_state("registration", "one of too many"));
        }
    }
    duty::register(ctx, &by.signer, kind, pledge)
}
