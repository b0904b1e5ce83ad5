//! One action of each kind.

use super::{
    World, usd,
    world::{hash, id, key, result, task},
};
use crate::{
    Action,
    account::{Scope, Scopes},
    dispute::{Claim, Finding},
    job::{JobKind, JobSpec, Verification},
    market::OrderChange,
    stake::{
        Equivocation,
        equivocation::{Ballot, SignedBallot},
    },
    vote::Choice,
};
use muster_types::*;

/// The name of an action's kind.
pub(crate) fn name_of(action: &Action) -> String {
    let text = format!("{action:?}");
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// One of each action, by name. An exhaustive match: a new action does not compile until it is
/// listed here.
pub(crate) fn actions(w: &World) -> Vec<(&'static str, Action)> {
    use Action as A;
    let (amount, escrow, lease, job) =
        (usd(1), EscrowId(hash(1)), LeaseId(hash(2)), JobId(hash(3)));
    let (dispute, bob, name) = (DisputeId(hash(5)), id("bob"), "gateway".to_owned());
    let verification = Verification::None;
    let (kind, manifest) = (JobKind::Batch, hash(1));
    let (tasks, fuel_max, chain) = (1, 1, None);
    let metered = false;
    let spec = JobSpec { kind, escrow, tasks, verification, manifest, fuel_max, metered, chain };
    let order = OrderId(hash(4));
    let claim = Claim::sign(&w.chain, lease, task(job, 0), result(1), &key("eve"));
    let next = |action: &A| -> Option<A> {
        Some(match action {
            A::Transfer { .. } => A::ProviderSet { profile: Default::default() },
            A::ProviderSet { .. } => A::BondAdd { amount },
            A::BondAdd { .. } => A::ProviderDrain {},
            A::ProviderDrain {} => A::BondWithdraw {},
            A::BondWithdraw {} => A::HostSet { index: 0, spec: w.spec("1") },
            A::HostSet { .. } => A::HostRemove { index: 0 },
            A::HostRemove { .. } => A::EscrowOpen { deposit: amount },
            A::EscrowOpen { .. } => A::EscrowDeposit { escrow, amount },
            A::EscrowDeposit { .. } => A::EscrowClose { escrow },
            A::EscrowClose { .. } => A::JobOpen { spec: spec.clone() },
            A::JobOpen { .. } => A::JobClose { job },
            A::JobClose { .. } => w.order_for(escrow, None, 1),
            A::OrderPlace { .. } => A::OrderCancel { order: OrderId(hash(4)) },
            A::OrderCancel { .. } => A::LeaseReady { lease },
            A::LeaseReady { .. } => A::Heartbeat { leases: vec![lease] },
            A::Heartbeat { .. } => A::LeaseClose { lease },
            A::LeaseClose { .. } => A::ResultCommit { lease, root: hash(1), count: 1, fuel: 0 },
            A::ResultCommit { .. } => A::ResultAccept { lease },
            A::ResultAccept { .. } => {
                let claims = Box::new([claim, claim]);
                A::DisputeOpen { job, claims, evidence: String::new() }
            }
            A::DisputeOpen { .. } => A::DisputeVote { dispute, output: None },
            A::DisputeVote { .. } => {
                let (scopes, expires) = (Scopes::of(Scope::Vote), Millis::MAX);
                A::KeyGrant { key: bob, scopes, usd: amount, mst: amount, expires }
            }
            A::KeyGrant { .. } => A::KeyRevoke { key: id("eve") },
            A::KeyRevoke { .. } => A::MultisigSet { policy: None },
            A::MultisigSet { .. } => {
                A::ChallengeOpen { lease, last: hash(1), evidence: String::new() }
            }
            A::ChallengeOpen { .. } => A::BisectReveal { dispute, openings: Vec::new() },
            A::BisectReveal { .. } => A::BisectPick { dispute, segment: 0 },
            A::BisectPick { .. } => A::StepVote { dispute, finding: Finding::Missing },
            A::StepVote { .. } => A::ValidatorSet { commission_bps: 0 },
            A::ValidatorSet { .. } => A::StakeAdd { amount },
            A::StakeAdd { .. } => A::Delegate { validator: bob, amount },
            A::Delegate { .. } => A::Unstake { validator: bob, amount },
            A::Unstake { .. } => A::UnstakeClaim { entry: UnbondingId(hash(6)) },
            A::UnstakeClaim { .. } => A::RewardClaim { validator: bob },
            A::RewardClaim { .. } => A::ValidatorUnjail {},
            A::ValidatorUnjail {} => A::Propose { title: "t".into(), changes: Vec::new() },
            A::Propose { .. } => A::Vote { proposal: ProposalId(hash(7)), choice: Choice::Yes },
            A::Vote { .. } => A::BondUnbond { amount },
            A::BondUnbond { .. } => A::ProviderUnjail {},
            A::ProviderUnjail {} => A::AffiliateSet { provider: bob, affiliated: true },
            A::AffiliateSet { .. } => A::AuditorRegister {},
            A::AuditorRegister {} => A::AuditorLeave {},
            A::AuditorLeave {} => {
                let attributes = [("tier".to_owned(), "3".to_owned())].into();
                A::AttributeSign { provider: bob, attributes, until: Millis::MAX }
            }
            A::AttributeSign { .. } => A::AttributeRevoke { provider: bob, auditor: bob },
            A::AttributeRevoke { .. } => A::ServiceRegister { name: name.clone(), pledge: amount },
            A::ServiceRegister { .. } => A::ServiceUnregister { name: name.clone() },
            A::ServiceUnregister { .. } => {
                A::BidPlace { order, host: 0, rate: Rate::ZERO, count: 1 }
            }
            A::BidPlace { .. } => A::BidWithdraw { order, host: 0 },
            A::BidWithdraw { .. } => A::BidAccept { order, hosts: Vec::new() },
            A::BidAccept { .. } => {
                A::OrderUpdate { order, change: OrderChange::Manifest { hash: hash(8) } }
            }
            A::OrderUpdate { .. } => A::ReadyReject { lease },
            A::ReadyReject { .. } => A::LeaseDecline { lease },
            A::LeaseDecline { .. } => A::LeaseReclaim { lease },
            A::LeaseReclaim { .. } => A::SeatsSet { seats: Vec::new() },
            A::SeatsSet { .. } => {
                let nullify =
                    SignedBallot { ballot: Ballot::Nullify, signature: Signature([0; 64]) };
                let evidence =
                    Equivocation { key: bob, epoch: 0, view: 1, first: nullify, second: nullify };
                A::EquivocationReport { evidence: Box::new(evidence) }
            }
            A::EquivocationReport { .. } => A::BeaconDeal { epoch: 0, log: vec![1] },
            A::BeaconDeal { .. } => return None,
        })
    };
    let mut all = Vec::new();
    let mut current = Some(A::Transfer { to: bob, asset: Asset::Usd, amount });
    while let Some(action) = current {
        current = next(&action);
        all.push((&*name_of(&action).leak(), action));
    }
    all
}
