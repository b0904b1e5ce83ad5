//! Applying one transaction: envelope, fee, then the action.

use crate::{
    Action, Reject, Tx,
    account::{self, key_grant::Grant},
    block::Stamp,
    ctx::{By, Ctx, Env},
    dispute, escrow, job, market, provider,
};

/// What can be checked without the state, cheaply and first.
pub(crate) fn check_envelope(env: &Env, tx: &Tx) -> Result<(), Reject> {
    account::envelope::check(env, &tx.envelope)
}

/// Applies a transaction whose signatures were checked.
pub(crate) fn apply(ctx: &mut Ctx<'_>, tx: &Tx, stamp: &Stamp) -> Result<By, Reject> {
    check_envelope(ctx.env, tx)?;
    let (by, spender) = account::envelope::admit(ctx, tx, stamp)?;
    dispatch(ctx, &by, &tx.envelope.action)?;
    if let Some(spender) = spender {
        account::envelope::charge(ctx, &by.signer, &spender)?;
    }
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
        Action::OrderPlace { escrow, job, terms, deadline, manifest } => {
            let order = market::place::Placed { escrow, job: *job, terms, deadline: *deadline };
            market::place::run(ctx, by, &order, *manifest)
        }
        Action::OrderCancel { order } => market::cancel::run(ctx, by, order),
        Action::LeaseReady { lease } => market::ready::run(ctx, by, lease),
        Action::Heartbeat { leases } => market::heartbeat::run(ctx, by, leases),
        Action::LeaseClose { lease } => market::close::run(ctx, by, lease),
        Action::ResultCommit { lease, root, count } => {
            market::commit::run(ctx, by, lease, *root, *count)
        }
        Action::ResultAccept { lease } => market::accept::run(ctx, by, lease),
        Action::DisputeOpen { job, claims, evidence } => {
            dispute::open::run(ctx, by, job, claims, evidence)
        }
        Action::DisputeVote { dispute, output } => dispute::vote::run(ctx, by, dispute, *output),
        Action::KeyGrant { key, scopes, usd, mst, expires } => {
            let grant = Grant { scopes: *scopes, usd: *usd, mst: *mst, expires: *expires };
            account::key_grant::run(ctx, by, key, &grant)
        }
        Action::KeyRevoke { key } => account::key_revoke::run(ctx, by, key),
        Action::MultisigSet { policy } => account::multisig_set::run(ctx, by, policy.as_ref()),
    }
}
