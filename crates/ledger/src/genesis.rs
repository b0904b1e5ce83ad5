//! The first state of a chain.

use crate::{
    Params,
    account::Account,
    head::Head,
    keys, limits,
    param::ParamError,
    stake::{Committee, Seat, Validator},
    state::{Changes, MemoryState, Scratch},
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, Amount, Asset, Hash, Millis, codec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The newest version of the rules that this crate implements; a new chain begins with it.
pub const PROTOCOL: u32 = 1;
/// The oldest version that it still implements. Raise it only for good: a chain whose past has
/// older blocks can then not be executed from its genesis, nor its old receipts verified.
pub const PROTOCOL_MIN: u32 = 1;

/// Whether this crate implements a version of the rules.
#[must_use]
pub fn knows(protocol: u32) -> bool {
    (PROTOCOL_MIN..=PROTOCOL).contains(&protocol)
}

/// What an account begins with.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(default)]
pub struct Balance {
    /// In `usd`.
    pub usd: Amount,
    /// In `mst`.
    pub mst: Amount,
}

/// What a chain begins with. Its hash names the chain.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Genesis {
    /// The network's name, for people.
    pub name: String,
    /// The chain's first moment.
    pub time: Millis,
    /// The version of the rules that the chain begins with. From then on [`Params::protocol`] says.
    pub protocol: u32,
    /// Who makes blocks and judges disputes.
    pub validators: Vec<AccountId>,
    /// Who owns what.
    pub balances: BTreeMap<AccountId, Balance>,
    /// What validators have staked of their own, `mst`, beside their balances. Whose stake is not
    /// named here registers by its own transaction.
    #[serde(default)]
    pub stakes: BTreeMap<AccountId, Amount>,
    /// Blocks in an epoch, at whose end the validators may change; epoch `e` has the heights from
    /// `e x epoch_blocks` on. Never changes.
    #[serde(default = "default_epoch_blocks")]
    pub epoch_blocks: u64,
    /// The numbers of the rules.
    pub params: Params,
}

/// Blocks in an epoch where a genesis does not say: between twenty minutes and an hour.
pub const EPOCH_BLOCKS: u64 = 3_600;

const fn default_epoch_blocks() -> u64 {
    EPOCH_BLOCKS
}

/// Why a genesis cannot begin a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GenesisError {
    /// For other rules.
    #[error(
        "genesis is for protocol {given}, this program speaks {PROTOCOL_MIN} to {PROTOCOL}: use a \
         release that speaks it"
    )]
    Protocol {
        /// As given.
        given: u32,
    },
    /// It says two things.
    #[error("genesis `protocol` and `params.protocol` must be the same")]
    Protocols,
    /// The name is empty or too long.
    #[error("genesis `name` must have 1 to {} bytes", limits::NETWORK_NAME_BYTES)]
    Name,
    /// None, too many, or one twice.
    #[error("genesis `validators` must name 1 to {} accounts, each once", limits::VALIDATORS)]
    Validators,
    /// Somebody stakes who is no validator.
    #[error("genesis `stakes` may name only accounts that `validators` names")]
    Stakes,
    /// The sum of all balances and stakes cannot be written.
    #[error("genesis `balances` and `stakes` add up to more {asset} than can be counted")]
    Balances {
        /// Of which asset.
        asset: Asset,
    },
    /// An epoch is too short for a change of validators.
    #[error("genesis `epoch_blocks` must be at least {}", limits::EPOCH_BLOCKS_MIN)]
    EpochBlocks,
    /// A parameter is out of bounds.
    #[error("genesis `params` are out of bounds")]
    Params(#[source] ParamError),
}

impl Genesis {
    /// The chain's id.
    #[must_use]
    pub fn id(&self) -> Hash {
        Hash::of("muster genesis v1", &[&codec::encode(self)])
    }

    /// Checks what [`Genesis::changes`] needs.
    ///
    /// # Errors
    /// [`GenesisError`], naming the field.
    pub fn check(&self) -> Result<(), GenesisError> {
        if !knows(self.protocol) {
            return Err(GenesisError::Protocol { given: self.protocol });
        }
        if self.params.protocol != self.protocol {
            return Err(GenesisError::Protocols);
        }
        if self.name.is_empty() || self.name.len() > limits::NETWORK_NAME_BYTES {
            return Err(GenesisError::Name);
        }
        let mut validators = self.validators.clone();
        validators.sort_unstable();
        validators.dedup();
        let count = validators.len();
        if count == 0 || count > limits::VALIDATORS || count != self.validators.len() {
            return Err(GenesisError::Validators);
        }
        if self.stakes.keys().any(|staker| validators.binary_search(staker).is_err()) {
            return Err(GenesisError::Stakes);
        }
        if self.epoch_blocks < limits::EPOCH_BLOCKS_MIN {
            return Err(GenesisError::EpochBlocks);
        }
        self.params.check().map_err(GenesisError::Params)?;
        self.supply().map(|_| ())
    }

    /// The first state, derived indexes included.
    ///
    /// # Errors
    /// [`GenesisError`] where this cannot begin a chain.
    pub fn changes(&self) -> Result<Changes, GenesisError> {
        self.check()?;
        let chain = self.id();
        let nothing = MemoryState::default();
        let mut scratch = Scratch::new(&nothing);
        let head = Head {
            chain,
            height: 0,
            now: self.time,
            steady: self.time,
            beacon: Hash::of("muster genesis beacon v1", &[chain.as_bytes()]),
            beacon_round: 0,
            beacon_key: None,
        };
        let mut validators = self.validators.clone();
        validators.sort_unstable();
        keys::HEAD.put(&mut scratch, &(), &head);
        keys::PARAMS.put(&mut scratch, &(), &self.params);
        let seats = validators.iter().map(|key| Seat { key: *key, owner: *key }).collect();
        let committee = Committee { epoch_blocks: self.epoch_blocks, epoch: 0, seats };
        keys::COMMITTEE.put(&mut scratch, &(), &committee);
        keys::VALIDATORS.put(&mut scratch, &(), &validators);
        keys::SUPPLY.put(&mut scratch, &(), &self.supply()?);
        for (account, Balance { usd, mst }) in &self.balances {
            let record = Account { usd: *usd, mst: *mst, ..Account::default() };
            keys::ACCOUNTS.put(&mut scratch, account, &record);
        }
        let mut active = Amount::ZERO;
        for (account, own) in &self.stakes {
            let validator = Validator::with_stake(*own, &self.params);
            active = active
                .checked_add(validator.weight())
                .ok_or(GenesisError::Balances { asset: Asset::Mst })?;
            keys::store(&mut scratch, account, &validator);
        }
        if !active.is_zero() {
            keys::STAKE.put(&mut scratch, &(), &active);
        }
        Ok(scratch.into_changes())
    }

    fn supply(&self) -> Result<Supply, GenesisError> {
        let add = |total: &mut Amount, amount, asset| {
            *total = total.checked_add(amount).ok_or(GenesisError::Balances { asset })?;
            Ok(())
        };
        let mut supply = Supply::default();
        for balance in self.balances.values() {
            add(&mut supply.usd.issued, balance.usd, Asset::Usd)?;
            add(&mut supply.mst.issued, balance.mst, Asset::Mst)?;
        }
        for stake in self.stakes.values() {
            add(&mut supply.mst.issued, *stake, Asset::Mst)?;
        }
        Ok(supply)
    }
}

/// What exists of one asset: `issued - burned`, always equal to what accounts, bonds, escrows,
/// stakes and rewards hold.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AssetSupply {
    /// All that was ever made.
    pub issued: Amount,
    /// All that was ever destroyed.
    pub burned: Amount,
}

/// What exists.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Supply {
    /// Of the stable unit.
    pub usd: AssetSupply,
    /// Of the native asset.
    pub mst: AssetSupply,
    /// All fees that were ever paid, `usd`.
    pub fees: Amount,
}
