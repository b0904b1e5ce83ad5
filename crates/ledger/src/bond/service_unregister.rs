//! `ServiceUnregister`: the service's pledge is freed after the unbonding time.

use super::{DutyKind, duty};
use crate::{
    Reject,
    ctx::{By, Ctx},
};

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, name: &str) -> Result<(), Reject> {
    duty::leave(ctx, &by.signer, &DutyKind::Service(name.to_owned()))
}
