//! One transaction's action.

use super::{Model, Order, OrderEnd, Outcome, Refused, Sent, money, must};
use muster_ledger::Action;
use muster_types::{Amount, OrderId, ProposalId, TxId, UnbondingId};
use num_traits::Zero as _;

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
            Action::OrderCancel { order } => {
                let order = self.orders.find_mut(|one| one.id == *order).ok_or(Refused)?;
                must(order.tenant == who && order.ended.is_none())?;
                order.ended = Some(OrderEnd::Cancelled);
                Ok(())
            }
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
                self.bisect_reveal(who, &by.fee, dispute, openings)
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
            // Not tried.
            Action::KeyGrant { .. }
            | Action::KeyRevoke { .. }
            | Action::MultisigSet { .. }
            | Action::BidPlace { .. }
            | Action::BidWithdraw { .. }
            | Action::BidAccept { .. }
            | Action::SeatsSet { .. }
            | Action::EquivocationReport { .. }
            | Action::OrderUpdate { .. } => Err(Refused),
        }
    }

    fn order_place(&mut self, tx: TxId, by: &Sent, action: &Action) -> Outcome {
        let Action::OrderPlace { escrow, job, terms, deadline, .. } = action else {
            return Err(Refused);
        };
        let who = by.signer;
        must(terms.check().is_ok())?;
        must(deadline.0 > self.now)?;
        let found = self.escrow(escrow)?;
        must(found.owner == who && !found.closed && found.short_since.is_none())?;
        must(!found.balance.is_zero())?;
        if let Some(job) = job {
            let job = self.job(job)?;
            must(job.tenant == who && !job.closed && job.spec.escrow == *escrow)?;
        }
        self.orders.push(Order {
            id: OrderId::derive(&tx),
            tenant: who,
            escrow: *escrow,
            job: *job,
            terms: terms.clone(),
            placed_at: self.now,
            deadline: deadline.0,
            fee: by.fee.clone(),
            ended: None,
        });
        Ok(())
    }
}

pub(super) fn positive(amount: Amount) -> Outcome {
    must(!amount.is_zero())
}
