//! `EscrowOpen`.

use super::{Deposit, Escrow, EscrowStatus};
use crate::{
    Event, Reject,
    ctx::{By, Ctx, positive},
};
use muster_types::{Amount, Asset, EscrowId, Rate};

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, deposit: Amount) -> Result<(), Reject> {
    positive(deposit)?;
    ctx.debit(&by.signer, Asset::Usd, deposit)?;
    let id = EscrowId::derive(&by.tx);
    let escrow = Escrow {
        owner: by.signer,
        status: EscrowStatus::Open,
        height: ctx.env.head.height,
        deposits: vec![Deposit {
            depositor: by.signer,
            amount: deposit,
            left: deposit,
            refunded: Amount::ZERO,
        }],
        deposited: deposit,
        balance: deposit,
        withheld: Amount::ZERO,
        paid: Amount::ZERO,
        refunded: Amount::ZERO,
        compensated: Amount::ZERO,
        open_orders: 0,
        open_leases: 0,
        open_rate: Rate::ZERO,
        fees: Amount::ZERO,
        final_at: None,
    };
    ctx.store(&id, &escrow);
    let (owner, depositor) = (by.signer, by.signer);
    ctx.emit(Event::EscrowDeposited { escrow: id, owner, depositor, amount: deposit });
    Ok(())
}
