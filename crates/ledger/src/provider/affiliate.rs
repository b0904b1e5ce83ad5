//! `AffiliateSet`, and who operates whom.
//!
//! An operator is an account whose bond is at least `provider_bond_min` when it confirms; by default every provider is its own. A provider names
//! another in its profile (`operator`), and that account confirms it. Only both together count, so
//! that nobody can push its share onto a competitor; and since both must declare it, affiliations
//! only ever add to what is known of an operator. They are not followed further: an operator that
//! names an operator for itself does so for its own hosts alone.

use super::Provider;
use crate::{
    Event, Reject,
    bond::Bond,
    ctx::{By, Ctx},
    keys::{self, Listing, Record, Table},
    market, neutrality,
    state::State,
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, Millis};
use serde::{Deserialize, Serialize};

/// An operator's word that a provider is its own, under (operator, provider).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Affiliation {
    /// Block time of the word.
    pub since: Millis,
}

impl Record for Affiliation {
    type Key = (AccountId, AccountId);
    const KIND: &'static str = "affiliation";
    const TABLE: Table<(AccountId, AccountId), Self> = keys::AFFILIATIONS;
    const LISTING: Listing = Listing::Never;
}

/// Who operates a provider: the account that it names and that confirms it, else itself.
#[must_use]
pub fn operator_of(state: &dyn State, provider: &AccountId) -> AccountId {
    let record = keys::PROVIDERS.get(state, provider);
    record.map_or(*provider, |record| operator_by(state, provider, &record))
}

/// The same of a provider with this record.
pub(crate) fn operator_by(state: &dyn State, id: &AccountId, provider: &Provider) -> AccountId {
    let named = provider.profile.operator;
    named.filter(|named| keys::AFFILIATIONS.contains(state, &(*named, *id))).unwrap_or(*id)
}

pub(crate) fn run(
    ctx: &mut Ctx<'_>,
    by: &By,
    provider: &AccountId,
    affiliated: bool,
) -> Result<(), Reject> {
    if *provider == by.signer {
        return Err(Reject::bad_field("provider"));
    }
    let _: Provider = ctx.load(provider)?;
    let key = (by.signer, *provider);
    let known: Option<Affiliation> = ctx.find(&key);
    let before = operator_of(&ctx.scratch, provider);
    match (known, affiliated) {
        (None, true) => {
            let available = ctx.find::<Bond>(&by.signer).unwrap_or_default().amount;
            let needed = ctx.env.params.provider_bond_min;
            if available < needed {
                return Err(Reject::InsufficientBond { needed, available });
            }
            ctx.store(&key, &Affiliation { since: ctx.env.head.now });
        }
        (Some(_), false) => keys::remove::<Affiliation>(&mut ctx.scratch, &key),
        (Some(_), true) => return Err(Reject::Duplicate),
        (None, false) => return Err(Reject::not_found(Affiliation::KIND)),
    }
    reassign(ctx, provider, before)?;
    market::wake::provider_changed(provider, &mut ctx.scratch);
    ctx.emit(Event::AffiliationSet { operator: by.signer, provider: *provider, affiliated });
    Ok(())
}

/// Moves what a provider has leased to its operator now from the one it had.
pub(crate) fn reassign(
    ctx: &mut Ctx<'_>,
    provider: &AccountId,
    before: AccountId,
) -> Result<(), Reject> {
    let after = operator_of(&ctx.scratch, provider);
    if after == before { Ok(()) } else { neutrality::moved(ctx, provider, before, after) }
}
