//! `AuditorRegister`.

use crate::{
    Reject,
    bond::{self, DutyKind},
    ctx::{By, Ctx},
};

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By) -> Result<(), Reject> {
    bond::register(ctx, &by.signer, DutyKind::Auditor, ctx.env.params.auditor_bond_min)
}
