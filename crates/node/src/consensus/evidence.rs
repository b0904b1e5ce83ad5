//! Validators that contradict themselves: found by the engine, reported to the ledger.
//!
//! The engine hands over pairs of votes that an honest validator does not cast both. They are
//! turned into the ledger's evidence, checked by the ledger's own rule, and reported in a
//! transaction. A key that votes owes it; any other node pays for it, if it has an account.

use super::{
    block::{to_account, to_hash},
    committee::Committees,
    duty,
    hot::HotState,
};
use crate::mempool::{TxOutcome, TxPool};
use commonware_actor::Feedback;
use commonware_codec::{Encode as _, ReadExt as _};
use commonware_consensus::{
    Reporter as EngineReporter,
    simplex::{
        scheme::ed25519::Scheme,
        types::{Activity, Finalize, Notarize, Nullify, Proposal as EngineProposal},
    },
    types::{Participant, Round},
};
use commonware_cryptography::{blake3::Digest, certificate::Attestation};
use muster_ledger::{
    Action,
    stake::{
        Equivocation,
        equivocation::{Ballot, Proposal, SignedBallot, vote_message},
    },
};
use muster_types::{Hash, Millis, SecretKey, Signature};
use std::collections::BTreeSet;
use tokio::sync::mpsc;

/// Reports that may wait: a validator is slashed once an epoch, so few are of use.
const WAITING: usize = 16;
/// How often a report is sent until the ledger has it.
const TRIES: usize = 5;
const LIFETIME: Millis = Millis(30_000);

/// What listens to the engines of all epochs.
#[derive(Clone)]
pub(crate) struct Watch {
    committees: Committees,
    found: mpsc::Sender<Equivocation>,
}

impl Watch {
    pub(crate) fn new(committees: Committees) -> (Self, mpsc::Receiver<Equivocation>) {
        let (found, reports) = mpsc::channel(WAITING);
        (Self { committees, found }, reports)
    }
}

impl EngineReporter for Watch {
    type Activity = Activity<Scheme, Digest>;

    fn report(&mut self, activity: Self::Activity) -> Feedback {
        if let Some(evidence) = evidence(&activity, &self.committees) {
            tracing::warn!(validator = %evidence.key, view = evidence.view, "contradicts itself");
            // Where many wait, one more is of no use.
            let _ = self.found.try_send(evidence);
        }
        Feedback::Ok
    }
}

/// A vote, the round that it is for, and whose it is.
type Vote = (SignedBallot, Round, Participant);

fn vote(ballot: Ballot, round: Round, attestation: &Attestation<Scheme>) -> Option<Vote> {
    let signature = attestation.signature.get()?.encode();
    let signature = Signature(signature.as_ref().try_into().ok()?);
    Some((SignedBallot { ballot, signature }, round, attestation.signer))
}

fn proposal(proposal: &EngineProposal<Digest>) -> Proposal {
    Proposal { parent: proposal.parent.get(), block: to_hash(&proposal.payload) }
}

fn notarize(vote_for: &Notarize<Scheme, Digest>) -> Option<Vote> {
    let Notarize { proposal: of, attestation } = vote_for;
    vote(Ballot::Notarize(proposal(of)), of.round, attestation)
}

fn finalize(vote_for: &Finalize<Scheme, Digest>) -> Option<Vote> {
    let Finalize { proposal: of, attestation } = vote_for;
    vote(Ballot::Finalize(proposal(of)), of.round, attestation)
}

fn nullify(vote_for: &Nullify<Scheme>) -> Option<Vote> {
    vote(Ballot::Nullify, vote_for.round, &vote_for.attestation)
}

/// The contradiction in what the engine reports, where there is one.
fn evidence(activity: &Activity<Scheme, Digest>, committees: &Committees) -> Option<Equivocation> {
    // The engine's pairs do not show their parts, but their encoding is one after the other.
    let (first, second) = match activity {
        Activity::ConflictingNotarize(pair) => {
            let mut bytes = pair.encode();
            let (one, other) = (Notarize::read(&mut bytes).ok()?, Notarize::read(&mut bytes).ok()?);
            (notarize(&one)?, notarize(&other)?)
        }
        Activity::ConflictingFinalize(pair) => {
            let mut bytes = pair.encode();
            let (one, other) = (Finalize::read(&mut bytes).ok()?, Finalize::read(&mut bytes).ok()?);
            (finalize(&one)?, finalize(&other)?)
        }
        Activity::NullifyFinalize(pair) => {
            let mut bytes = pair.encode();
            let (one, other) = (Nullify::read(&mut bytes).ok()?, Finalize::read(&mut bytes).ok()?);
            (nullify(&one)?, finalize(&other)?)
        }
        _ => return None,
    };
    let ((first, round, signer), (second, ..)) = (first, second);
    let epoch = round.epoch().get();
    let key = to_account(&committees.key(epoch, signer)?);
    Some(Equivocation { key, epoch, view: round.view().get(), first, second })
}

/// Whether the ledger will see it so: votes that the engine reports need not be verified.
fn holds(chain: &Hash, evidence: &Equivocation) -> bool {
    let Equivocation { key, epoch, view, first, second } = evidence;
    let signed = |vote: &SignedBallot| {
        let message = vote_message(chain, *epoch, *view, &vote.ballot);
        key.verify(&message, &vote.signature).is_ok()
    };
    evidence.contradicts() && signed(first) && signed(second)
}

/// Reports evidence to the ledger.
pub(crate) struct Reporter {
    pub(crate) chain: Hash,
    pub(crate) key: SecretKey,
    pub(crate) hot: std::sync::Arc<HotState>,
    pub(crate) pool: TxPool,
}

impl Reporter {
    /// Reports what comes, one at a time and once for each validator and epoch, for ever.
    pub(crate) async fn run(self, mut found: mpsc::Receiver<Equivocation>) {
        let mut reported = BTreeSet::new();
        while let Some(evidence) = found.recv().await {
            let offence = (evidence.epoch, evidence.key);
            // Of its own contradictions, which a restored backup may cause, others will tell.
            if evidence.key == self.key.account() || reported.contains(&offence) {
                continue;
            }
            if !holds(&self.chain, &evidence) {
                tracing::warn!(validator = %evidence.key, "a contradiction does not hold");
                continue;
            }
            self.report(&evidence).await;
            reported.insert(offence);
            while reported.len() > WAITING {
                reported.pop_first();
            }
        }
        // Nobody watches any more; the node is ending, and this must not be what ends it.
        futures::future::pending::<()>().await;
    }

    async fn report(&self, evidence: &Equivocation) {
        let action = Action::EquivocationReport { evidence: Box::new(*evidence) };
        for _ in 0..TRIES {
            let mut heads = self.hot.heads();
            heads.mark_unchanged();
            let tx = self.hot.read(|state, head| {
                let times = (head.time, LIFETIME);
                duty::sign(state, self.chain, &self.key, action.clone(), times)
            });
            let Some(tx) = tx else {
                let me = self.key.account();
                tracing::warn!(%me, "no vote and no account to report a contradiction with");
                return;
            };
            match self.pool.submit(tx) {
                Ok(submission) => match submission.outcome.await {
                    Ok(TxOutcome::Final { .. }) => return,
                    // Somebody else was faster, or it does not count any more.
                    Ok(TxOutcome::Rejected(reject)) => {
                        tracing::debug!(%reject, "a contradiction was not reported");
                        return;
                    }
                    Ok(TxOutcome::Expired | TxOutcome::Replaced | TxOutcome::Evicted) | Err(_) => {}
                },
                // Another transaction of this account waits: after it.
                Err(reject) => tracing::debug!(%reject, "a report has to wait"),
            }
            // An error means that the node has ended.
            if heads.changed().await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests;
