//! Applying one transaction: envelope, fee, then the action.

use crate::{
    Action, Reject, Tx, account,
    ctx::{By, Ctx, Env},
    dispute, escrow, job, market, provider,
};

/// What can be checked without the state, cheaply and first.
pub(crate) fn check_envelope(env: &Env, tx: &Tx) -> Result<(), Reject> {
    account::envelope::check(env, &tx.envelope)
}

/// Applies a transaction whose signature was checked.
pub(crate) fn apply(ctx: &mut Ctx<'_>, tx: &Tx) -> Result<By, Reject> {
    check_envelope(ctx.env, tx)?;
    let by = account::envelope::admit(ctx, tx)?;
    dispatch(ctx, &by, &tx.envelope.action)?;
    Ok(by)
}

fn dispatch(ctx: &mut Ctx<'_>, by: &By, action: &Action) -> Result<(), Reject> {
    match action {
        Action::Transfer { to, asset, amount } => {
            account::transfer::run(ctx, by, to, *asset, *amount)
        }
        Action::ProviderSet { profile } => provider::set::run(ctx, by, profile),
        Action::BondAdd { amount } => provider::bond::add(ctx, by, *amount),
        Action::ProviderDrain {} => provider::drain::run(ctx, by),
        Action::BondWithdraw {} => provider::bond::withdraw(ctx, by),
        Action::HostSet { index, spec } => provider::host::set(ctx, by, *index, spec),
        Action::HostRemove { index } => provider::host::remove(ctx, by, *index),
        Action::EscrowOpen { deposit } => escrow::open::run(ctx, by, *deposit),
        Action::EscrowDeposit { escrow, amount } => escrow::deposit::run(ctx, by, escrow, *amount),
        Action::EscrowClose { escrow } => escrow::close::run(ctx, by, escrow),
        Action::JobOpen { spec } => job::open::run(ctx, by, spec),
        Action::JobClose { job } => job::close::run(ctx, by, job),
        Action::OrderPlace { escrow, job, terms, deadline, manifest, mode, reauction } => {
            let (job, deadline, mode, reauction) = (*job, *deadline, *mode, *reauction);
            let order = market::place::Placed { escrow, job, terms, deadline, mode, reauction };
            market::place::run(ctx, by, &order, *manifest)
        }
        Action::OrderCancel { order } => market::cancel::run(ctx, by, order),
        Action::LeaseReady { lease } => market::ready::run(ctx, by, lease),
        Action::Heartbeat { leases } => market::heartbeat::run(ctx, by, leases),
        Action::LeaseClose { lease } => market::close::run(ctx, by, lease),
        Action::ResultCommit { lease, root, count, fuel } => {
            let results = market::commit::Results { root: *root, count: *count, fuel: *fuel };
            market::commit::run(ctx, by, lease, results)
        }
        Action::ResultAccept { lease } => market::accept::run(ctx, by, lease),
        Action::DisputeOpen { job, claims, evidence } => {
            dispute::open::run(ctx, by, job, claims, evidence)
        }
        Action::DisputeVote { dispute, output } => dispute::vote::run(ctx, by, dispute, *output),
        Action::BidPlace { order, host, rate, count } => {
            market::bid_place::run(ctx, by, order, *host, *rate, *count)
        }
        Action::BidWithdraw { order, host } => market::bid_withdraw::run(ctx, by, order, *host),
        Action::BidAccept { order, hosts } => market::bid_accept::run(ctx, by, order, hosts),
        Action::OrderUpdate { order, change } => market::update::run(ctx, by, order, change),
        Action::ReadyReject { lease } => market::reject::run(ctx, by, lease),
        Action::LeaseDecline { lease } => market::decline::run(ctx, by, lease),
        Action::LeaseReclaim { lease } => market::reclaim::run(ctx, by, lease),
    }
}
