//! `EscrowClose`.

use super::{Escrow, EscrowStatus, shares};
use crate::{
    Event, Reject,
    ctx::{By, Ctx},
    event::Refund,
};
use muster_types::{Amount, Asset, EscrowId};

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, id: &EscrowId) -> Result<(), Reject> {
    let mut escrow: Escrow = ctx.load(id)?;
    if escrow.owner != by.signer {
        return Err(Reject::not_yours("owner"));
    }
    if escrow.status == EscrowStatus::Closed {
        return Err(Reject::wrong_state("escrow", escrow.status.name()));
    }
    if escrow.open_orders > 0 {
        return Err(Reject::wrong_state("escrow", "waiting for open orders"));
    }
    if escrow.open_leases > 0 {
        return Err(Reject::wrong_state("escrow", "paying leases that are not settled"));
    }
    shares::refresh(&mut escrow.deposits, escrow.balance)?;
    let mut refunds = Vec::with_capacity(escrow.deposits.len());
    for deposit in &mut escrow.deposits {
        deposit.refunded = std::mem::take(&mut deposit.left);
        ctx.credit(&deposit.depositor, Asset::Usd, deposit.refunded)?;
        refunds.push(Refund { depositor: deposit.depositor, amount: deposit.refunded });
    }
    escrow.refunded = std::mem::replace(&mut escrow.balance, Amount::ZERO);
    escrow.status = EscrowStatus::Closed;
    ctx.store(id, &escrow);
    ctx.emit(Event::EscrowClosed {
        escrow: *id,
        owner: escrow.owner,
        deposited: escrow.deposited,
        paid: escrow.paid,
        refunded: escrow.refunded,
        refunds,
        compensated: escrow.compensated,
        fees: escrow.fees,
    });
    Ok(())
}
