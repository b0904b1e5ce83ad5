//! What a validator does for the beacon beside agreement: makes keys with the others, and signs
//! rounds.

use super::{
    Beacon, Inner, MAX_MESSAGE_BYTES, Message,
    dealing::Maker,
    key::{Key, Signature, info},
};
use crate::{consensus::hot::HotState, mempool::TxPool};
use commonware_cryptography::{
    Signer as _, bls12381::primitives::group::Share, ed25519::PublicKey,
};
use commonware_p2p::{Blocker, Receiver, Recipients, Sender};
use commonware_runtime::Clock;
use muster_ledger::{Action, State, keys, stake::beacon::Phases, view};
use muster_types::{AccountId, Amount, Envelope, Hash, Millis, SecretKey, TxId, codec};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, SystemTime},
};

/// How often it says again what others may not have heard.
const AGAIN: Duration = Duration::from_millis(500);
/// Rounds after the next of which it keeps parts: others may be ahead.
const AHEAD: u64 = 4;
/// How long its transaction may wait.
const LIFETIME: Millis = Millis(30_000);
/// What orders its transaction in the pool; it costs nothing.
const MAX_FEE: Amount = Amount::from_units(1);
/// Its transaction needs no nonce; this one is in nobody's way.
const NONCE: u64 = u64::MAX;

/// The beacon's actor.
pub(crate) struct Actor<Tx> {
    pub(crate) beacon: Beacon,
    pub(crate) key: SecretKey,
    pub(crate) hot: Arc<HotState>,
    pub(crate) pool: TxPool,
    pub(crate) sender: Tx,
    pub(crate) work: Work,
}

/// What it is at.
#[derive(Default)]
pub(crate) struct Work {
    /// The keys that are made, and that in force, by epoch.
    makers: BTreeMap<u64, Maker>,
    /// The key in force and this node's share of it.
    signer: Option<Signer>,
    /// The parts of signatures that were heard, by epoch of the key and round.
    parts: BTreeMap<(u64, u64), BTreeMap<PublicKey, Signature>>,
    /// Whose parts were wrong, of the key of an epoch.
    distrusted: BTreeSet<(u64, PublicKey)>,
    /// Its transaction that waits.
    deal: Option<TxId>,
    /// When it last said things again.
    said: Option<SystemTime>,
}

struct Signer {
    key: Arc<Key>,
    share: Option<Share>,
    /// The round that it signed last.
    signed: Option<(u64, Signature)>,
}

/// What matters of the final state.
struct Seen {
    /// The epoch of the next block.
    epoch: u64,
    /// Its place in the epoch.
    offset: u64,
    phases: Phases,
    /// Who makes the epoch's key; nobody where none is to be made.
    committee: Vec<AccountId>,
    /// Whether this node has dealt in it.
    has_dealt: bool,
    /// The key in force for the next block, and who shares it.
    key: Option<Arc<Key>>,
    sharers: Vec<AccountId>,
    /// The beacon's latest round.
    round: u64,
    now: Millis,
}

impl<Tx: Sender<PublicKey = PublicKey>> Actor<Tx> {
    /// Runs for ever, or until the network ends.
    pub(crate) async fn run<E: Clock>(
        mut self,
        context: E,
        mut receiver: impl Receiver<PublicKey = PublicKey>,
        mut blocker: impl Blocker<PublicKey = PublicKey>,
    ) {
        let mut heads = self.hot.heads();
        loop {
            self.step(context.current());
            tokio::select! {
                biased;
                changed = heads.changed() => {
                    // Nobody will tell of blocks again: the node is ending.
                    if changed.is_err() {
                        return;
                    }
                }
                received = receiver.recv() => {
                    let Ok((peer, message)) = received else { return };
                    let bytes = message.as_ref();
                    match codec::decode::<Message>(bytes, MAX_MESSAGE_BYTES) {
                        Ok(message) => self.hear(&peer, message),
                        Err(error) => {
                            tracing::warn!(%peer, %error, "a peer sends what is no message: cut off");
                            blocker.block(peer);
                        }
                    }
                }
                () = context.sleep(AGAIN) => {}
            }
        }
    }

    fn me(&self) -> PublicKey {
        self.beacon.0.key.public_key()
    }

    fn look(&self) -> Option<Seen> {
        let me = self.key.account();
        self.hot.read(|state, _| {
            let head = view::head(state)?;
            let committee = keys::COMMITTEE.get(state, &())?;
            let (epoch, next) = (committee.epoch, head.height.saturating_add(1));
            let offset = next.saturating_sub(epoch.saturating_mul(committee.epoch_blocks));
            let phases = Phases::of(committee.epoch_blocks);
            let seats = u32::try_from(committee.seats.len()).unwrap_or(u32::MAX);
            let is_wanted = seats >= view::params(state).beacon_seats_min;
            let committee = committee.seats.into_iter().map(|seat| seat.key);
            let committee = committee.filter(|_| is_wanted).collect();
            if is_wanted && offset >= phases.deals {
                // Whatever it gives, it is there when a block needs it.
                let _ = self.beacon.made(state, epoch);
            }
            let key = self.beacon.in_force(state, next);
            Some(Seen {
                epoch,
                offset,
                phases,
                committee,
                has_dealt: keys::BEACON_DEALS.contains(state, &(epoch, me)),
                sharers: sharers(state, key.as_deref()),
                key,
                round: head.beacon_round,
                now: head.now,
            })
        })
    }

    /// Does what the latest final block and the time ask for.
    fn step(&mut self, now: SystemTime) {
        let Some(seen) = self.look() else { return };
        let is_time = |said: SystemTime| now.duration_since(said).is_ok_and(|past| past >= AGAIN);
        let again = self.work.said.is_none_or(is_time);
        if again {
            self.work.said = Some(now);
        }
        let in_force = seen.key.as_ref().map(|key| key.epoch());
        self.work.makers.retain(|epoch, _| *epoch == seen.epoch || Some(*epoch) == in_force);
        self.work.distrusted.retain(|(epoch, _)| Some(*epoch) == in_force);
        let (next, last) = (seen.round.saturating_add(1), seen.round.saturating_add(AHEAD));
        self.work.parts.retain(|(_, round), _| (next..=last).contains(round));

        if seen.offset < seen.phases.deals {
            self.deal(&seen, again);
        }
        match &seen.key {
            Some(key) => self.sign(key, &seen, again),
            None => self.work.signer = None,
        }
    }

    /// Takes part in making the key of an epoch.
    fn make(&mut self, epoch: u64, validators: &[AccountId]) -> Option<&mut Maker> {
        let Inner { chain, key, seed, .. } = &*self.beacon.0;
        if !self.work.makers.contains_key(&epoch) && validators.contains(&self.key.account()) {
            let info = info(chain, epoch, validators)?;
            let parts = [&seed[..], &epoch.to_le_bytes(), &codec::encode(&validators.to_vec())];
            let secret = Hash::of("muster beacon dealing v1", &parts);
            let maker = Maker::new(info, validators.len(), key.clone(), secret.0)?;
            self.work.makers.insert(epoch, maker);
            // Whoever has begun already deals at once instead of in a while.
            self.send_all(&Message::Ask { epoch });
        }
        self.work.makers.get_mut(&epoch)
    }

    fn deal(&mut self, seen: &Seen, again: bool) {
        let is_new = !self.work.makers.contains_key(&seen.epoch);
        let Some(maker) = self.make(seen.epoch, &seen.committee) else { return };
        let log = maker.log(seen.offset.saturating_mul(2) >= seen.phases.deals);
        if is_new || again {
            for player in maker.silent() {
                self.send_dealing(seen.epoch, player);
            }
        }
        let waits = self.work.deal.is_some_and(|id| self.pool.contains(&id));
        let Some(log) = log.filter(|_| !seen.has_dealt && !waits) else { return };
        let envelope = Envelope {
            chain: self.beacon.0.chain,
            signer: self.key.account(),
            nonce: NONCE,
            max_fee: MAX_FEE,
            tip: Amount::ZERO,
            expires: seen.now.after(LIFETIME),
            action: Action::BeaconDeal { epoch: seen.epoch, log },
        };
        match self.pool.submit(envelope.sign(&self.key)) {
            Ok(submission) => self.work.deal = Some(submission.id),
            Err(reject) => tracing::debug!(%reject, "a part of the beacon's key has to wait"),
        }
    }

    /// Signs the next round, and finds its signature among what was heard.
    fn sign(&mut self, key: &Arc<Key>, seen: &Seen, again: bool) {
        let epoch = key.epoch();
        if self.work.signer.as_ref().is_none_or(|signer| !Arc::ptr_eq(&signer.key, key)) {
            tracing::info!(epoch, "the beacon is signed by another key");
            self.work.signer = Some(Signer { key: key.clone(), share: None, signed: None });
        }
        let round = seen.round.saturating_add(1);
        self.find_share(key, &seen.sharers, again);
        let me = self.me();
        let Some(signer) = &mut self.work.signer else { return };
        let is_new = signer.signed.is_none_or(|(signed, _)| signed != round);
        if let Some(share) = &signer.share
            && (is_new || again)
        {
            let part = match signer.signed.filter(|(signed, _)| *signed == round) {
                Some((_, part)) => part,
                None => key.sign(share, round),
            };
            signer.signed = Some((round, part));
            self.work.parts.entry((epoch, round)).or_default().insert(me, part);
            #[cfg(feature = "planted")]
            if crate::planted::is_hasty() {
                let round = round.saturating_add(1);
                let part = key.sign(share, round);
                self.sender.send(
                    Recipients::All,
                    codec::encode(&Message::Part { epoch, round, part }),
                    false,
                );
            }
            self.send_all(&Message::Part { epoch, round, part });
        }
        self.recover(key, round);
    }

    fn find_share(&mut self, key: &Arc<Key>, sharers: &[AccountId], again: bool) {
        let epoch = key.epoch();
        let has_share = self.work.signer.as_ref().is_some_and(|signer| signer.share.is_some());
        if has_share || !sharers.contains(&self.key.account()) {
            return;
        }
        let secret = Hash::of("muster beacon share v1", &[&self.beacon.0.seed]);
        let Some(maker) = self.make(epoch, sharers) else { return };
        match maker.share(key, secret.0) {
            Ok(share) => {
                if let Some(signer) = &mut self.work.signer {
                    signer.share = Some(share);
                }
            }
            Err(dealers) if again => {
                for dealer in dealers {
                    self.send(dealer, &Message::Ask { epoch });
                }
            }
            Err(_) => {}
        }
    }

    fn recover(&mut self, key: &Key, round: u64) {
        let epoch = key.epoch();
        let Some(parts) = self.work.parts.get_mut(&(epoch, round)) else { return };
        if self.beacon.ready(key, round).is_some() {
            return;
        }
        while parts.len() >= key.required() {
            match key.recover(round, parts) {
                Ok(signature) => return self.beacon.set_ready(key, round, signature),
                Err(wrong) if wrong.is_empty() => return,
                Err(wrong) => {
                    for peer in wrong {
                        tracing::warn!(%peer, round, "a wrong part of the beacon's signature");
                        parts.remove(&peer);
                        self.work.distrusted.insert((epoch, peer));
                    }
                }
            }
        }
    }

    fn hear(&mut self, peer: &PublicKey, message: Message) {
        match message {
            Message::Dealing { epoch, public, share } => {
                let Some(maker) = self.work.makers.get_mut(&epoch) else { return };
                match maker.take(peer, public, share) {
                    Some(ack) => self.send(peer.clone(), &Message::Ack { epoch, ack }),
                    None => tracing::warn!(%peer, epoch, "a wrong dealing for the beacon's key"),
                }
            }
            Message::Ack { epoch, ack } => {
                let Some(maker) = self.work.makers.get_mut(&epoch) else { return };
                if !maker.acknowledged(peer, ack) {
                    tracing::warn!(%peer, epoch, "a wrong acknowledgement of a dealing");
                }
            }
            Message::Ask { epoch } => self.send_dealing(epoch, peer.clone()),
            Message::Part { epoch, round, part } => {
                let known = self.work.signer.as_ref().map(|signer| signer.key.epoch());
                let is_known = Some(epoch) == known || self.work.makers.contains_key(&epoch);
                let next = self.hot.head().beacon_round.saturating_add(1);
                let is_near = (next..next.saturating_add(AHEAD)).contains(&round);
                if is_known && is_near && !self.work.distrusted.contains(&(epoch, peer.clone())) {
                    let parts = self.work.parts.entry((epoch, round)).or_default();
                    parts.entry(peer.clone()).or_insert(part);
                }
            }
        }
    }

    fn send_dealing(&mut self, epoch: u64, player: PublicKey) {
        let Some(maker) = self.work.makers.get(&epoch) else { return };
        // Who is no player is dealt nothing.
        let Some((public, share)) = maker.dealing(&player).cloned() else { return };
        self.send(player, &Message::Dealing { epoch, public, share });
    }

    fn send(&mut self, peer: PublicKey, message: &Message) {
        if peer != self.me() {
            // Who is not reached now is told again.
            self.sender.send(Recipients::One(peer), codec::encode(message), false);
        }
    }

    fn send_all(&mut self, message: &Message) {
        self.sender.send(Recipients::All, codec::encode(message), false);
    }
}

fn sharers(state: &dyn State, key: Option<&Key>) -> Vec<AccountId> {
    let roster = key.and_then(|key| keys::BEACON_ROSTERS.get(state, &key.epoch()));
    roster.map(|roster| roster.keys).unwrap_or_default()
}
