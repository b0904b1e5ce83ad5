//! From genesis, or an anchor, to the present in one step an epoch: who votes now, and what they made
//! final last.
//!
//! A new node knows the validators of genesis, or those of an anchor. It asks its peers for the last block of each epoch:
//! header, certificate, and the next validators. The validators that it knows signed the header,
//! and the header commits to the next ones. Arrived in the present, it takes the latest certified
//! block that `f + 1` of its validators name: at least one of them is honest, so it is recent. Where
//! the chain stands still after an epoch's last block, that is the one. From there it fetches the
//! state.
//!
//! # Who may have voted
//! What a key voted that is not in the directory must not be contradicted, so its node has to know
//! the present before it votes. Of a key whose votes may be elsewhere:
//!
//! | validators of the epoch arrived in that answered | something is final | the key votes in that epoch | the node |
//! |---|---|---|---|
//! | `f + 1` | yes | | does not vote before the next epoch |
//! | `f + 1` | no | | votes |
//! | fewer | | with others | asks on |
//! | fewer | | no | follows without a vote until a start at which enough answer |
//! | nobody else votes | | alone | as if `f + 1` had answered |
//!
//! Of `f + 1` one is honest, and an answer that there is nothing counts. A key whose votes are all in
//! the directory asks [`ROUNDS`] times, and what there is then must do.
//!
//! Who is still reading its own archive does not answer: that there is nothing is only said by a
//! node that had nothing when it started.
//!
//! | message | contents |
//! |---|---|
//! | `Ask` | the epoch that the asker has arrived in |
//! | `Tell` | the last blocks of that epoch and of the following, at most [`STEPS_MAX`]; the latest certificate |

use super::{
    Header,
    block::{Block, to_digest},
    committee::{Committee, Committees, Epochs, committee_hash},
    digest_of,
    ends::Ends,
    stack::Marshal,
};
use borsh::{BorshDeserialize, BorshSerialize};
use commonware_codec::{Decode as _, Encode as _};
use commonware_consensus::{
    Epochable as _, Viewable,
    marshal::Identifier,
    simplex::{scheme::ed25519::Scheme, types::Finalization},
    types::Height,
};
use commonware_cryptography::{blake3::Digest, certificate::Verifier as _, ed25519::PublicKey};
use commonware_p2p::{Blocker, Manager, Receiver, Recipients, Sender, TrackedPeers};
use commonware_parallel::Sequential;
use commonware_runtime::{Clock, Handle, Spawner};
use commonware_utils::ordered::Set;
use futures::future::{Either, select};
use muster_ledger::limits;
use muster_types::{AccountId, Hash, codec};
use rand_core::CryptoRng;
use std::{
    collections::BTreeMap,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::{mpsc, watch};

/// Last blocks of epochs in one message.
const STEPS_MAX: usize = 16;
/// Bytes of a certificate with the most validators: a proposal, who signed, signatures.
const CERTIFICATE_BYTES: usize = 256 + limits::VALIDATORS / 8 + limits::VALIDATORS * 64;
/// The most bytes of a message.
pub(super) const MAX_MESSAGE_BYTES: usize = (STEPS_MAX + 1) * MAX_END_BYTES;
/// The most bytes of the end of an epoch.
pub(super) const MAX_END_BYTES: usize = CERTIFICATE_BYTES + 1024 + limits::VALIDATORS * 32;
/// How long peers have to answer before they are asked again.
const ROUND: Duration = Duration::from_secs(1);
/// How often they are asked before what there is must do.
const ROUNDS: u32 = 5;
/// Answers that may wait.
const WAITING: usize = 64;

/// The end of an epoch: what leads from its validators to the next.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EpochEnd {
    /// What its last block's digest is the hash of: header and consensus context.
    pub preimage: Vec<u8>,
    /// The certificate that this block is final.
    pub certificate: Vec<u8>,
    /// The validators of the next epoch.
    pub next: Vec<AccountId>,
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
enum Message {
    Ask { epoch: u64 },
    Tell(Told),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Told {
    steps: Vec<EpochEnd>,
    latest: Option<Vec<u8>>,
}

#[cfg(any(test, feature = "recode"))]
pub(super) fn recoded(bytes: &[u8]) -> Option<Vec<u8>> {
    codec::decode::<Message>(bytes, MAX_MESSAGE_BYTES).ok().map(|message| codec::encode(&message))
}

/// What the end of an epoch does not prove.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the end of epoch {epoch} is not proved: its {what} is wrong")]
pub struct EpochEndError {
    epoch: u64,
    what: &'static str,
}

impl EpochEnd {
    /// Checks that the validators behind `scheme`, those of `epoch`, made the epoch's last block
    /// final, and that it commits to the next validators.
    ///
    /// # Errors
    /// [`EpochEndError`].
    pub(crate) fn check(
        &self,
        rng: &mut impl CryptoRng,
        (chain, epochs, epoch): (&Hash, Epochs, u64),
        scheme: &Scheme,
    ) -> Result<Finalization<Scheme, Digest>, EpochEndError> {
        let wrong = |what| EpochEndError { epoch, what };
        let header = Header::of_preimage(&self.preimage).map_err(|_| wrong("header"))?;
        if header.chain != *chain {
            return Err(wrong("chain"));
        }
        if header.epoch != epoch || header.height != epochs.root(epoch.saturating_add(1)) {
            return Err(wrong("height"));
        }
        if committee_hash(&self.next) != header.validators || self.next.is_empty() {
            return Err(wrong("next validators"));
        }
        let certificate = certified(rng, &self.certificate, epoch, scheme);
        let certificate = certificate.ok_or_else(|| wrong("certificate"))?;
        if certificate.proposal.payload != to_digest(digest_of(&self.preimage)) {
            return Err(wrong("digest"));
        }
        Ok(certificate)
    }
}

/// A certificate of `epoch`, if it is one of its validators'.
pub(crate) fn certified(
    rng: &mut impl CryptoRng,
    bytes: &[u8],
    epoch: u64,
    scheme: &Scheme,
) -> Option<Finalization<Scheme, Digest>> {
    let bytes = bytes::Bytes::copy_from_slice(bytes);
    let certificate =
        Finalization::<Scheme, Digest>::decode_cfg(bytes, &scheme.certificate_codec_config());
    let certificate = certificate.ok().filter(|found| found.epoch().get() == epoch)?;
    certificate.verify(rng, scheme, &Sequential).then_some(certificate)
}

/// What a node can answer from.
#[derive(Clone)]
enum Archive {
    /// It has one, which is being opened.
    Opening,
    /// It had none when it started.
    Empty,
    Open(Ends),
}

/// Asks and answers.
pub(crate) struct Trail<Tx> {
    sender: Tx,
    told: mpsc::Receiver<(PublicKey, Told)>,
    archive: watch::Sender<Archive>,
    /// The latest epoch whose validators were tracked as peers.
    tracked: Option<u64>,
    /// The ends of epochs that the last walk went over, from epoch 0 on.
    walked: Vec<EpochEnd>,
}

impl<Tx: Sender<PublicKey = PublicKey>> Trail<Tx> {
    /// Starts answering, once it is said from what.
    pub(crate) fn start<E: Spawner>(
        context: &E,
        (sender, receiver): (Tx, impl Receiver<PublicKey = PublicKey>),
        blocker: impl Blocker<PublicKey = PublicKey>,
    ) -> (Self, Handle<()>) {
        let (tell, told) = mpsc::channel(WAITING);
        let archive = watch::Sender::new(Archive::Opening);
        let archives = archive.subscribe();
        let answers = sender.clone();
        let handle = context
            .child("trail")
            .spawn(move |_| answer((answers, receiver), blocker, archives, tell));
        (Self { sender, told, archive, tracked: None, walked: Vec::new() }, handle)
    }

    /// The latest epoch whose validators are tracked as peers already.
    pub(crate) const fn tracked(&self) -> Option<u64> {
        self.tracked
    }

    /// The ends of epochs that the last walk went over, from epoch 0 on.
    pub(crate) fn take_walked(&mut self) -> Vec<EpochEnd> {
        std::mem::take(&mut self.walked)
    }

    /// Answers from `archive` from now on.
    pub(crate) fn attach(&self, archive: Ends) {
        self.archive.send_replace(Archive::Open(archive));
    }

    /// Answers from now on that there is nothing.
    pub(crate) fn is_new(&self) {
        self.archive.send_replace(Archive::Empty);
    }

    /// Walks to the present; takes up every epoch's validators on the way, and tracks them as
    /// peers.
    pub(crate) async fn walk<E>(
        &mut self,
        mut context: E,
        walk: Walk<'_, impl Manager<PublicKey = PublicKey>>,
    ) -> Walked
    where
        E: Clock + CryptoRng,
    {
        let Walk { chain, epochs, committees, from: (first, validators), .. } = walk;
        let Walk { mut peers, others, forgetful, .. } = walk;
        let committee = committees
            .register(first, validators, false)
            .expect("invariant: where a walk starts are distinct keys");
        let mut at = Reached { epoch: first, committee, by: None };
        let mut named = BTreeMap::new();
        peers.track(first, TrackedPeers::new(at.committee.members.clone(), others.clone()));
        self.tracked = Some(first);
        self.walked.clear();
        let mut rounds = 0_u32;
        while rounds < ROUNDS || at.is_voter_among_others(forgetful) {
            rounds = rounds.saturating_add(1);
            if rounds.is_multiple_of(4 * ROUNDS) {
                let (epoch, answered) = (at.epoch, named.len());
                tracing::warn!(
                    epoch,
                    answered,
                    "the directory was empty: this validator has to know what is final before it \
                     votes, and waits for more of the others to answer"
                );
            }
            self.ask(at.epoch);
            let deadline = context.current() + ROUND;
            while let Some((peer, told)) = self.answer_until(&context, deadline).await {
                let before = at.epoch;
                for step in &told.steps {
                    let scheme = at.committee.scheme.clone();
                    // Of another epoch, or made up: either way it leads nowhere.
                    let Ok(certificate) =
                        step.check(&mut context, (chain, epochs, at.epoch), &scheme)
                    else {
                        continue;
                    };
                    let epoch = at.epoch + 1;
                    let Some(committee) = committees.register(epoch, &step.next, false) else {
                        continue;
                    };
                    let tracked = TrackedPeers::new(committee.members.clone(), others.clone());
                    peers.track(epoch, tracked);
                    self.tracked = Some(epoch);
                    self.walked.push(step.clone());
                    at = Reached { epoch, committee, by: Some((certificate, scheme)) };
                }
                if at.epoch > before {
                    named.clear();
                    self.ask(at.epoch);
                }
                if told.steps.len() < STEPS_MAX
                    && let Some(latest) = at.latest(&mut context, told.latest.as_deref())
                {
                    named.insert(peer, latest);
                }
                if is_enough(&at.committee, &named) {
                    return Walked { arrival: at.arrive(named), is_proved: true };
                }
            }
        }
        let is_proved = forgetful.is_some_and(|key| at.is_all(key));
        Walked { arrival: at.arrive(named), is_proved }
    }

    fn ask(&mut self, epoch: u64) {
        let ask = codec::encode(&Message::Ask { epoch });
        self.sender.send(Recipients::All, bytes::Bytes::from(ask), false);
    }

    async fn answer_until(
        &mut self,
        clock: &impl Clock,
        deadline: SystemTime,
    ) -> Option<(PublicKey, Told)> {
        let (told, late) = (pin!(self.told.recv()), pin!(clock.sleep_until(deadline)));
        match select(told, late).await {
            Either::Left((told, _)) => told,
            Either::Right(_) => None,
        }
    }
}

/// Where a walk has come to: an epoch, and what it builds on.
struct Reached {
    epoch: u64,
    committee: Committee,
    /// The certificate of the last block of the epoch before, and who signed it.
    by: Option<(Finalization<Scheme, Digest>, Arc<Scheme>)>,
}

/// How far a walk came.
pub(crate) struct Walked {
    /// The present; `None` where nothing is final, as far as anybody answered.
    pub(crate) arrival: Option<Arrival>,
    /// Whether one of those who said so is honest.
    pub(crate) is_proved: bool,
}

/// The present.
pub(crate) struct Arrival {
    /// The epoch of the next block.
    pub(crate) epoch: u64,
    /// The latest certified block: of that epoch, or the last of the one before.
    pub(crate) floor: Finalization<Scheme, Digest>,
}

impl Reached {
    /// What a peer says is the latest: nothing in this epoch is an answer, too, but something of
    /// another is none.
    fn latest(
        &self,
        rng: &mut impl CryptoRng,
        told: Option<&[u8]>,
    ) -> Option<Option<Finalization<Scheme, Digest>>> {
        let Some(told) = told else { return Some(None) };
        if let Some(latest) = certified(rng, told, self.epoch, &self.committee.scheme) {
            return Some(Some(latest));
        }
        let (root, scheme) = self.by.as_ref()?;
        let latest = certified(rng, told, self.epoch.checked_sub(1)?, scheme)?;
        (latest.proposal.payload == root.proposal.payload).then_some(None)
    }

    /// Whether nobody else votes.
    fn is_all(&self, key: &PublicKey) -> bool {
        self.committee.members.iter().all(|member| member == key)
    }

    fn is_voter_among_others(&self, key: Option<&PublicKey>) -> bool {
        key.is_some_and(|key| self.committee.members.position(key).is_some() && !self.is_all(key))
    }

    fn arrive(self, named: Named) -> Option<Arrival> {
        let newest = named.into_values().flatten().max_by_key(Viewable::view);
        let floor = newest.or_else(|| self.by.map(|(certificate, _)| certificate))?;
        Some(Arrival { epoch: self.epoch, floor })
    }
}

/// What a walk starts from.
pub(crate) struct Walk<'a, M> {
    pub(crate) chain: &'a Hash,
    pub(crate) epochs: Epochs,
    pub(crate) committees: &'a Committees,
    /// An epoch, and who votes in it: those of genesis, or of an anchor.
    pub(crate) from: (u64, &'a [AccountId]),
    pub(crate) peers: M,
    /// Peers beside the validators.
    pub(crate) others: &'a Set<PublicKey>,
    /// This node's key, where its votes may be elsewhere.
    pub(crate) forgetful: Option<&'a PublicKey>,
}

type Named = BTreeMap<PublicKey, Option<Finalization<Scheme, Digest>>>;

/// Whether so many validators answered that one of them is honest.
fn is_enough(committee: &Committee, named: &Named) -> bool {
    let validators = committee.members.len();
    let faulty = validators.saturating_sub(1) / 3;
    let answered = named.keys().filter(|peer| committee.members.position(peer).is_some());
    answered.count() > faulty
}

/// Answers peers, and passes on what they answer.
async fn answer(
    (mut sender, mut receiver): (
        impl Sender<PublicKey = PublicKey>,
        impl Receiver<PublicKey = PublicKey>,
    ),
    mut blocker: impl Blocker<PublicKey = PublicKey>,
    archives: watch::Receiver<Archive>,
    tell: mpsc::Sender<(PublicKey, Told)>,
) {
    while let Ok((peer, message)) = receiver.recv().await {
        let bytes = message.as_ref();
        match codec::decode::<Message>(bytes, MAX_MESSAGE_BYTES) {
            Ok(Message::Ask { epoch }) => {
                let archive = archives.borrow().clone();
                let told = match archive {
                    Archive::Open(archive) => look_up(&archive, epoch).await,
                    Archive::Empty => Told::default(),
                    Archive::Opening => continue,
                };
                let told = codec::encode(&Message::Tell(told));
                sender.send(Recipients::One(peer), bytes::Bytes::from(told), false);
            }
            // Where nobody waits for it any more, it is not needed.
            Ok(Message::Tell(told)) => drop(tell.try_send((peer, told))),
            Err(error) => {
                tracing::warn!(%peer, %error, "a peer sends what is no message: cut off");
                blocker.block(peer);
            }
        }
    }
}

async fn look_up(ends: &Ends, from: u64) -> Told {
    let mut told = Told::default();
    let archive = &ends.marshal;
    let Some((height, _)) = archive.get_info(Identifier::Latest).await else { return told };
    for epoch in (from..).take(STEPS_MAX) {
        let Some(step) = ends.get(epoch).await else { break };
        told.steps.push(step);
    }
    let latest = archive.get_finalization(height).await;
    told.latest = latest.map(|latest| latest.encode().to_vec());
    told
}

/// What the archive has of an epoch's last block.
pub(super) async fn end_of(archive: &Marshal, last: Height) -> Option<EpochEnd> {
    let block = archive.get_block(last).await?;
    let certificate = archive.get_finalization(last).await?.encode().to_vec();
    let Block { header, context, next, .. } = block.inner();
    Some(EpochEnd {
        preimage: super::block::preimage(header, context),
        certificate,
        next: next.to_vec(),
    })
}

#[cfg(test)]
pub(super) mod tests;
