//! One transaction's action.

use super::{Model, Outcome, Sent, money, must};
use muster_ledger::Action;
use muster_types::{Amount, ProposalId, TxId, UnbondingId};

impl Model {
    pub(super) fn act(&mut self, tx: TxId, by: &Sent, action: &Action) -> Outcome {
        let who = by.signer;
        match action {
            Action::Transfer { to, asset, amount } => {
                positive(*amount)?;
                self.take(who, *asset, &money(*amount))?;
                self.give(*to, *asset, &money(*amount));
                Ok(())
            }
            Action::ProviderSet { profile } => self.provider_set(who, profile),
            Action::ProviderDrain {} => self.provider_drain(who),
            Action::ProviderUnjail {} => self.provider_unjail(who),
            Action::AffiliateSet { provider, affiliated } => {
                self.affiliate_set(who, *provider, *affiliated)
            }
            Action::BondAdd { amount } => self.bond_add(who, *amount),
            Action::BondUnbond { amount } => self.bond_unbond(who, *amount),
            Action::BondWithdraw {} => self.bond_withdraw(who),
            Action::AuditorRegister {} => self.auditor_register(who),
            Action::AuditorLeave {} => self.auditor_leave(who),
            Action::AttributeSign { provider, attributes, until } => {
                self.attribute_sign(who, *provider, attributes, until.0)
            }
            Action::AttributeRevoke { provider, auditor } => {
                self.attribute_revoke(who, *provider, *auditor)
            }
            Action::ServiceRegister { name, pledge } => self.service_register(who, name, *pledge),
            Action::ServiceUnregister { name } => self.service_unregister(who, name),
            Action::HostSet { index, spec } => self.host_set(who, *index, spec),
            Action::HostRemove { index } => self.host_remove(who, *index),
            Action::EscrowOpen { deposit } => self.escrow_open(tx, who, *deposit),
            Action::EscrowDeposit { escrow, amount } => self.escrow_deposit(who, escrow, *amount),
            Action::EscrowClose { escrow } => self.escrow_close(who, escrow),
            Action::JobOpen { spec } => self.job_open(tx, who, spec),
            Action::JobClose { job } => self.job_close(who, job),
            Action::OrderPlace { .. } => self.order_place(tx, by, action),
            Action::OrderCancel { order } => self.order_cancel(who, order),
            Action::OrderUpdate { order, change } => self.order_update(who, order, change),
            Action::BidPlace { order, host, rate, count } => {
                self.bid_place(who, order, *host, *rate, *count)
            }
            Action::BidWithdraw { order, host } => self.bid_withdraw(who, order, *host),
            Action::BidAccept { order, hosts } => self.bid_accept(who, order, hosts),
            Action::KeyGrant { key, scopes, usd, mst, expires } => {
                self.key_grant(who, *key, *scopes, [*usd, *mst], expires.0)
            }
            Action::KeyRevoke { key } => self.key_revoke(who, key),
            Action::MultisigSet { policy } => self.multisig_set(who, policy.as_ref()),
            Action::LeaseReady { lease } => self.lease_ready(who, lease),
            Action::Heartbeat { leases } => self.heartbeat(who, leases),
            Action::LeaseClose { lease } => self.lease_close(who, lease),
            Action::ReadyReject { lease } => self.ready_reject(who, lease),
            Action::LeaseDecline { lease } => self.lease_decline(who, lease),
            Action::LeaseReclaim { lease } => self.lease_reclaim(who, lease),
            Action::ResultCommit { lease, root, count, fuel } => {
                self.result_commit(who, lease, *root, *count, *fuel)
            }
            Action::ResultAccept { lease } => self.result_accept(who, lease),
            Action::DisputeOpen { job, claims, evidence } => {
                self.dispute_open(tx, who, job, claims, evidence)
            }
            Action::DisputeVote { dispute, output } => self.dispute_vote(who, dispute, *output),
            Action::ChallengeOpen { lease, last, evidence } => {
                self.challenge_open(tx, who, lease, *last, evidence)
            }
            Action::BisectReveal { dispute, openings } => {
                self.bisect_reveal(who, &by.floor, dispute, openings)
            }
            Action::BisectPick { dispute, segment } => self.bisect_pick(who, dispute, *segment),
            Action::StepVote { dispute, finding } => self.step_vote(who, dispute, *finding),
            Action::ValidatorSet { .. }
            | Action::StakeAdd { .. }
            | Action::Delegate { .. }
            | Action::Unstake { .. }
            | Action::UnstakeClaim { .. }
            | Action::RewardClaim { .. }
            | Action::ValidatorUnjail {} => self.stake_act(&UnbondingId::derive(&tx), who, action),
            Action::Propose { .. } | Action::Vote { .. } => {
                self.vote_act(ProposalId::derive(&tx), who, action)
            }
            Action::SeatsSet { seats } => self.seats_set(who, seats),
            Action::EquivocationReport { evidence } => self.equivocation_report(evidence),
            Action::BeaconDeal { epoch, log } => self.beacon_deal(who, *epoch, log),
        }
    }
}

pub(super) fn positive(amount: Amount) -> Outcome {
    must(!amount.is_zero())
}
