//! Applying one transaction: envelope, fee, then the action.

use crate::{
    Action, Reject, Tx,
    account::{self, key_grant::Grant},
    auditor,
    block::Stamp,
    bond,
    ctx::{By, Ctx, Env},
    dispute, escrow, job, market, provider, stake, vote,
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
        Action::BondAdd { amount } => bond::add::run(ctx, by, *amount),
        Action::ProviderDrain {} => provider::drain::run(ctx, by),
        Action::BondWithdraw {} => bond::withdraw::run(ctx, by),
        Action::HostSet { index, spec } => provider::host_set::run(ctx, by, *index, spec),
        Action::HostRemove { index } => provider::host_remove::run(ctx, by, *index),
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
        Action::KeyGrant { key, scopes, usd, mst, expires } => {
            let grant = Grant { scopes: *scopes, usd: *usd, mst: *mst, expires: *expires };
            account::key_grant::run(ctx, by, key, &grant)
        }
        Action::KeyRevoke { key } => account::key_revoke::run(ctx, by, key),
        Action::MultisigSet { policy } => account::multisig_set::run(ctx, by, policy.as_ref()),
        Action::ChallengeOpen { lease, last, evidence } => {
            dispute::challenge::open::run(ctx, by, lease, *last, evidence)
        }
        Action::BisectReveal { dispute, openings } => {
            dispute::challenge::reveal::run(ctx, by, dispute, openings)
        }
        Action::BisectPick { dispute, segment } => {
            dispute::challenge::pick::run(ctx, by, dispute, *segment)
        }
        Action::StepVote { dispute, finding } => {
            dispute::challenge::vote::run(ctx, by, dispute, *finding)
        }
        Action::ValidatorSet { commission_bps } => stake::set::run(ctx, by, *commission_bps),
        Action::StakeAdd { amount } => stake::add::run(ctx, by, *amount),
        Action::Delegate { validator, amount } => stake::delegate::run(ctx, by, validator, *amount),
        Action::Unstake { validator, amount } => stake::unstake::run(ctx, by, validator, *amount),
        Action::UnstakeClaim { entry } => stake::claim::run(ctx, by, entry),
        Action::RewardClaim { validator } => stake::reward::run(ctx, by, validator),
        Action::ValidatorUnjail {} => stake::unjail::run(ctx, by),
        Action::Propose { title, changes } => vote::propose::run(ctx, by, title, changes),
        Action::Vote { proposal, choice } => vote::cast::run(ctx, by, proposal, *choice),
        Action::BondUnbond { amount } => bond::unbond::run(ctx, by, *amount),
        Action::ProviderUnjail {} => provider::unjail::run(ctx, by),
        Action::AffiliateSet { provider, affiliated } => {
            provider::affiliate::run(ctx, by, provider, *affiliated)
        }
        Action::AuditorRegister {} => auditor::register::run(ctx, by),
        Action::AuditorLeave {} => auditor::leave::run(ctx, by),
        Action::AttributeSign { provider, attributes, until } => {
            auditor::sign::run(ctx, by, provider, attributes, *until)
        }
        Action::AttributeRevoke { provider, auditor } => {
            auditor::revoke::run(ctx, by, provider, auditor)
        }
        Action::ServiceRegister { name, pledge } => {
            bond::service_register::run(ctx, by, name, *pledge)
        }
        Action::ServiceUnregister { name } => bond::service_unregister::run(ctx, by, name),
        Action::BidPlace { order, host, rate, count } => {
            market::bid_place::run(ctx, by, order, *host, *rate, *count)
        }
        Action::BidWithdraw { order, host } => market::bid_withdraw::run(ctx, by, order, *host),
        Action::BidAccept { order, hosts } => market::bid_accept::run(ctx, by, order, hosts),
        Action::OrderUpdate { order, change } => market::update::run(ctx, by, order, change),
        Action::ReadyReject { lease } => market::reject::run(ctx, by, lease),
        Action::LeaseDecline { lease } => market::decline::run(ctx, by, lease),
        Action::LeaseReclaim { lease } => market::reclaim::run(ctx, by, lease),
        Action::SeatsSet { seats } => stake::seats::run(ctx, by, seats),
        Action::EquivocationReport { evidence } => stake::equivocation::run(ctx, by, evidence),
        Action::BeaconDeal { epoch, log } => stake::beacon::run(ctx, by, *epoch, log),
    }
}
