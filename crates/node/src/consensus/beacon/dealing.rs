//! One validator's side of making a key: as a dealer and as a player.

use super::key::{Ceremony, Key};
use bytes::Bytes;
use commonware_codec::{Decode as _, DecodeExt as _, Encode as _};
use commonware_cryptography::{
    Signer as _,
    bls12381::{
        dkg::feldman_desmedt::{Dealer, DealerPrivMsg, DealerPubMsg, Player, PlayerAck},
        primitives::{group::Share, variant::MinSig},
    },
    ed25519::{PrivateKey, PublicKey},
};
use commonware_parallel::Sequential;
use commonware_utils::N3f1;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU32,
};

/// What a dealer tells a player: what it tells all, and the player's share.
pub(super) type Dealing = (Vec<u8>, [u8; 32]);

/// A validator in the making of one key.
pub(super) struct Maker {
    me: PrivateKey,
    info: Ceremony,
    players: u32,
    /// Until it has said what it dealt.
    dealer: Option<Dealer<MinSig, PrivateKey>>,
    log: Option<Vec<u8>>,
    dealings: BTreeMap<PublicKey, Dealing>,
    acked: BTreeSet<PublicKey>,
    player: Player<MinSig, PrivateKey>,
    /// What it was dealt, and how it acknowledged that.
    dealt: BTreeMap<PublicKey, (DealerPubMsg<MinSig>, DealerPrivMsg, [u8; 64])>,
}

impl Maker {
    /// Deals, the same whenever the secret is the same. `None` where it is none of the validators.
    pub(super) fn new(
        info: Ceremony,
        players: usize,
        me: PrivateKey,
        secret: [u8; 32],
    ) -> Option<Self> {
        let rng = ChaCha20Rng::from_seed(secret);
        let (dealer, public, private) =
            Dealer::start::<N3f1>(rng, info.clone(), me.clone(), None).ok()?;
        let public = public.encode().to_vec();
        let mut dealings = BTreeMap::new();
        for (player, share) in private {
            dealings.insert(player, (public.clone(), share.encode().as_ref().try_into().ok()?));
        }
        let player = Player::new(info.clone(), me.clone()).ok()?;
        let mut maker = Self {
            me,
            info,
            players: u32::try_from(players).ok()?,
            dealer: Some(dealer),
            log: None,
            dealings,
            acked: BTreeSet::new(),
            player,
            dealt: BTreeMap::new(),
        };
        let me = maker.me.public_key();
        let (public, share) = maker.dealings.get(&me)?.clone();
        let ack = maker.take(&me, public, share)?;
        maker.acknowledged(&me, ack);
        Some(maker)
    }

    /// What a player is dealt.
    pub(super) fn dealing(&self, player: &PublicKey) -> Option<&Dealing> {
        self.dealings.get(player)
    }

    /// The players that have not acknowledged what they are dealt.
    pub(super) fn silent(&self) -> Vec<PublicKey> {
        let silent = self.dealings.keys().filter(|player| !self.acked.contains(player));
        silent.cloned().collect()
    }

    /// Takes a dealing: the acknowledgement, unless it is wrong.
    pub(super) fn take(
        &mut self,
        dealer: &PublicKey,
        public: Vec<u8>,
        share: [u8; 32],
    ) -> Option<[u8; 64]> {
        if let Some((.., ack)) = self.dealt.get(dealer) {
            return Some(*ack);
        }
        let most = NonZeroU32::new(self.players)?;
        let public = DealerPubMsg::<MinSig>::decode_cfg(Bytes::from(public), &most).ok()?;
        let share = DealerPrivMsg::decode(Bytes::copy_from_slice(&share)).ok()?;
        let (given, kept) = ((public.clone(), share.clone()), (public, share));
        let ack = self.player.dealer_message::<N3f1>(dealer.clone(), given.0, given.1).ok()??;
        let ack: [u8; 64] = ack.encode().as_ref().try_into().ok()?;
        self.dealt.insert(dealer.clone(), (kept.0, kept.1, ack));
        Some(ack)
    }

    /// Takes a player's acknowledgement. False where it is none.
    pub(super) fn acknowledged(&mut self, player: &PublicKey, ack: [u8; 64]) -> bool {
        let Some(dealer) = &mut self.dealer else { return true };
        let Ok(ack) = PlayerAck::<PublicKey>::decode(Bytes::copy_from_slice(&ack)) else {
            return false;
        };
        if dealer.receive_player_ack(player.clone(), ack).is_err() {
            return false;
        }
        self.acked.insert(player.clone());
        true
    }

    /// What it dealt, for everybody to see: once all players have acknowledged, or it is `late`
    /// and all have but those that may be faulty. Their shares are revealed.
    pub(super) fn log(&mut self, late: bool) -> Option<Vec<u8>> {
        let silent = self.dealings.len().saturating_sub(self.acked.len());
        let faulty = self.dealings.len().saturating_sub(1) / 3;
        if self.log.is_none() && (silent == 0 || late && silent <= faulty) {
            self.log = self.dealer.take().map(|dealer| dealer.finalize::<N3f1>().encode().to_vec());
        }
        self.log.clone()
    }

    /// Its share of a key, or the dealers whose dealings it needs and has not.
    pub(super) fn share(&self, key: &Key, secret: [u8; 32]) -> Result<Share, Vec<PublicKey>> {
        let missing = || key.dealers().filter(|dealer| !self.dealt.contains_key(*dealer)).cloned();
        let Ok(mut player) = Player::new(self.info.clone(), self.me.clone()) else {
            return Err(Vec::new());
        };
        for (dealer, (public, share, _)) in &self.dealt {
            // They were right once.
            let _ = player.dealer_message::<N3f1>(dealer.clone(), public.clone(), share.clone());
        }
        let mut rng = ChaCha20Rng::from_seed(secret);
        match player.finalize::<N3f1>(&mut rng, key.logs().clone(), &Sequential) {
            Ok((_, share)) => Ok(share),
            Err(_) => Err(missing().collect()),
        }
    }
}
