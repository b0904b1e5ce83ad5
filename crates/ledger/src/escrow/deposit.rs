//! `EscrowDeposit`.

use super::{Deposit, Escrow, EscrowStatus, settle, shares};
use crate::{
    Event, Reject,
    ctx::{By, Ctx, positive, sum},
    limits,
};
use muster_types::{Amount, Asset, EscrowId};

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, id: &EscrowId, amount: Amount) -> Result<(), Reject> {
    positive(amount)?;
    let mut escrow: Escrow = ctx.load(id)?;
    if escrow.status == EscrowStatus::Closed {
        return Err(Reject::wrong_state("escrow", escrow.status.name()));
    }
    ctx.debit(&by.signer, Asset::Usd, amount)?;
    shares::refresh(&mut escrow.deposits, sum(escrow.balance, escrow.withheld)?)?;
    let known = escrow.deposits.iter_mut().find(|deposit| deposit.depositor == by.signer);
    if let Some(deposit) = known {
        deposit.amount = sum(deposit.amount, amount)?;
        deposit.left = sum(deposit.left, amount)?;
    } else {
        if escrow.deposits.len() >= limits::DEPOSITORS {
            return Err(Reject::wrong_state("escrow", "shared by too many depositors"));
        }
        escrow.deposits.push(Deposit {
            depositor: by.signer,
            amount,
            left: amount,
            refunded: Amount::ZERO,
        });
    }
    escrow.deposited = sum(escrow.deposited, amount)?;
    escrow.balance = sum(escrow.balance, amount)?;
    ctx.store(id, &escrow);
    let (owner, depositor) = (escrow.owner, by.signer);
    ctx.emit(Event::EscrowDeposited { escrow: *id, owner, depositor, amount });
    settle::pay_shortfalls(ctx, id)
}
