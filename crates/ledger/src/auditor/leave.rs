//! `AuditorLeave`: what the auditor signed is void from now on.

use crate::{
    Reject,
    bond::{self, DutyKind},
    ctx::{By, Ctx},
};

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By) -> Result<(), Reject> {
    bond::leave(ctx, &by.signer, &DutyKind::Auditor)
}
