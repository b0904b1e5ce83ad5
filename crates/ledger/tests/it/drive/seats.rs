//! Keys that vote on blocks, turns that are missed, and evidence of contradictions: true, false,
//! old, and given twice.

use super::Run;
use muster_ledger::{
    Action,
    stake::{
        Equivocation, SeatKey, Views,
        equivocation::{Ballot, Proposal, SignedBallot, vote_message},
        seats::seat_message,
    },
};
use muster_types::{AccountId, Hash, SecretKey};

/// Keys that vote and do nothing else.
const KEYS: u8 = 6;

/// How many turns in a row may pass without a block.
const GAP_MAX: u64 = 40;

/// The keys that do nothing but vote.
pub(super) fn keys() -> Vec<SecretKey> {
    (0..KEYS).map(|number| SecretKey::from_seed([120 + number; 32])).collect()
}

impl Run {
    /// The next block's place in its epoch. One seat is absent for most of some epochs, and at
    /// times so are others.
    pub(super) fn views(&mut self) -> Views {
        let (epoch, seats) = (self.model.committee.epoch, self.model.committee.seats.len());
        let parent = self.model.committee.views.len() as u64;
        let absent = |seat: usize| match epoch % 4 {
            0 => false,
            1 => seat < seats / 2,
            _ => seat == usize::try_from(epoch).unwrap() % seats,
        };
        let mut own = parent + 1;
        while own - parent < GAP_MAX && absent(self.model.committee.turn(own)) && self.chance(90) {
            own += 1;
        }
        if self.chance(4) {
            own += self.below(GAP_MAX);
        }
        Views { parent, own }
    }

    /// The secret of a key: of an account, or of one that does nothing but vote.
    fn secret(&self, of: &AccountId) -> Option<SecretKey> {
        let known = self.keys.iter().chain(&self.seat_keys);
        known.into_iter().find(|key| key.account() == *of).cloned()
    }

    fn staker(&mut self) -> Option<AccountId> {
        let stakers: Vec<_> = self.model.stakes.stakers.iter().map(|one| one.id).collect();
        self.pick(&stakers)
    }

    pub(super) fn as_voter(&mut self) -> Option<(AccountId, Action)> {
        if self.below(5) < 2 { self.seats_set() } else { self.equivocation() }
    }

    fn seats_set(&mut self) -> Option<(AccountId, Action)> {
        let who = self.staker()?;
        let own = self.model.committee.wanted.get(&who).cloned().unwrap_or_default();
        let mut seats = Vec::new();
        let many = if self.chance(2) { 33 } else { self.below(4) };
        for place in 0..many {
            let key = match self.below(10) {
                _ if many > 32 => SecretKey::from_seed([u8::try_from(place).unwrap(); 32]),
                0 => self.pick(&self.keys.clone())?,
                1 | 2 => match self.pick(&own).and_then(|key| self.secret(&key)) {
                    Some(key) => key,
                    None => continue,
                },
                _ => self.pick(&self.seat_keys.clone())?,
            };
            let owner = if self.chance(4) { self.anybody() } else { who };
            let chain = if self.chance(2) { Hash::ZERO } else { self.chain };
            let proof = key.sign(&seat_message(&chain, &owner));
            seats.push(SeatKey { key: key.account(), proof });
        }
        Some((who, Action::SeatsSet { seats }))
    }

    /// The epoch whose key signs: mostly the same for long, now and then this one's or none. The
    /// ledger takes whatever the node says.
    pub(super) fn beacon_key(&mut self) -> Option<u64> {
        let (now, key) = (self.model.committee.epoch, self.model.beacon_keys.key);
        match self.below(40) {
            0 => None,
            1..=3 => Some(now),
            4 => Some(self.below(now + 2)),
            _ => key,
        }
    }

    /// Who deals for the beacon's key: mostly a key that votes, and in this epoch.
    pub(super) fn as_dealer(&mut self) -> Option<(AccountId, Action)> {
        let voting: Vec<_> = self.model.committee.seats.iter().map(|(key, _)| *key).collect();
        let key = match self.below(12) {
            0 => self.anybody(),
            1 => self.pick(&self.seat_keys.clone())?.account(),
            _ => self.pick(&voting)?,
        };
        let now = self.model.committee.epoch;
        let epoch = if self.chance(6) { self.below(now + 2) } else { now };
        let length = match self.below(60) {
            0 => 0,
            1 => 16 * 1024 + self.below(2),
            _ => 1 + self.below(40),
        };
        let log = (0..length).map(|_| u8::try_from(self.below(256)).unwrap()).collect();
        Some((key, Action::BeaconDeal { epoch, log }))
    }

    /// Whom evidence is about, and of which epoch.
    fn accused(&mut self) -> Option<(AccountId, u64)> {
        let committee = self.model.committee.clone();
        let again: Vec<_> = committee.offences.iter().copied().collect();
        let ended: Vec<_> = committee.ended.keys().copied().collect();
        let (kind, now) = (self.below(16), committee.epoch);
        if kind == 0 {
            let (epoch, key) = self.pick(&again)?;
            return Some((key, epoch));
        }
        let voting: Vec<_> = committee.seats.iter().map(|(key, _)| *key).collect();
        let named: Vec<_> = committee.named.keys().copied().collect();
        let key = match self.below(8) {
            0 => self.anybody(),
            1 => self.staker()?,
            2 | 3 => self.pick(&named)?,
            _ => self.pick(&voting)?,
        };
        let epoch = match kind {
            1 => now + 1 + self.below(2),
            2 => self.below(now + 1),
            // As old as it may be, and a little older.
            3 | 4 => ended.first().map_or(now, |first| first.saturating_sub(self.below(2))),
            5 | 6 => self.pick(&ended).unwrap_or(now),
            _ => now,
        };
        Some((key, epoch))
    }

    fn ballot(&mut self) -> Ballot {
        let proposal =
            Proposal { parent: self.below(2), block: Hash([self.pick(&[1, 2]).unwrap_or(1); 32]) };
        match self.below(3) {
            0 => Ballot::Nullify,
            1 => Ballot::Notarize(proposal),
            _ => Ballot::Finalize(proposal),
        }
    }

    fn equivocation(&mut self) -> Option<(AccountId, Action)> {
        // A slash is felt for long: most of the time nobody contradicts itself.
        if self.chance(60) {
            return None;
        }
        let (key, epoch) = self.accused()?;
        let secret = self.secret(&key)?;
        let view = self.below(500);
        let signed = |run: &mut Self| {
            let ballot = run.ballot();
            let signer = if run.chance(4) { run.pick(&run.keys.clone())? } else { secret.clone() };
            let view = if run.chance(3) { view + 1 } else { view };
            let message = vote_message(&run.chain, epoch, view, &ballot);
            Some(SignedBallot { ballot, signature: signer.sign(&message) })
        };
        let (first, second) = (signed(self)?, signed(self)?);
        let evidence = Box::new(Equivocation { key, epoch, view, first, second });
        Some((self.anybody(), Action::EquivocationReport { evidence }))
    }
}
