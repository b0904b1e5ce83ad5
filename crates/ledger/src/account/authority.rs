//! Who acts for an account beside its own key, or instead of it.

use super::{DelegatedKey, NONCE_WINDOW};
use crate::{
    ctx::Ctx,
    keys::{self, Listing, Record, Table},
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, KeySignature};
use serde::{Deserialize, Serialize};

/// k of n: so many of these must sign.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Multisig {
    /// How many of the members must sign, 1 to all.
    pub threshold: u8,
    /// Who they are: 1 to 16, distinct; sorted where the ledger keeps them.
    pub members: Vec<AccountId>,
}

impl Multisig {
    /// Whether all of these are members; they are distinct already.
    pub(crate) fn has(&self, signers: &[KeySignature]) -> bool {
        signers.iter().all(|signer| self.members.binary_search(&signer.key).is_ok())
    }
}

/// What an account has decided about who acts for it. There is none where it never did.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Authority {
    /// The members that act for it, instead of its own key.
    pub policy: Option<Multisig>,
    /// Where the nonces of newly delegated keys begin: above all that a key of the account that
    /// is gone could have signed with, so that none of its transactions ever applies again.
    pub nonce_floor: u64,
}

impl Record for Authority {
    type Key = AccountId;
    const KIND: &'static str = "authority";
    const TABLE: Table<AccountId, Self> = keys::AUTHORITIES;
    const LISTING: Listing = Listing::Never;
}

/// The delegated keys of an account, in order.
pub(crate) fn keys_of(ctx: &Ctx<'_>, account: &AccountId) -> Vec<(AccountId, DelegatedKey)> {
    keys::KEYS.scan(&ctx.scratch, account, None).map(|((_, key), record)| (key, record)).collect()
}

/// Takes a delegated key away for good.
pub(crate) fn forget(
    ctx: &mut Ctx<'_>,
    account: &AccountId,
    key: &AccountId,
    record: &DelegatedKey,
) {
    let mut authority: Authority = ctx.find(account).unwrap_or_default();
    let beyond = record.nonce.saturating_add(NONCE_WINDOW);
    authority.nonce_floor = authority.nonce_floor.max(beyond);
    ctx.store(account, &authority);
    keys::remove::<DelegatedKey>(&mut ctx.scratch, &(*account, *key));
}
