//! How a provider describes itself.

use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::AccountId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a provider describes itself.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ProviderProfile {
    /// For people.
    pub name: String,
    /// Where it stands, e.g. `eu-central`.
    pub region: String,
    /// Where its fabric endpoint listens (`ip:port`); it is dialled by the account's key, so a
    /// wrong address harms only the provider.
    pub sockets: Vec<String>,
    /// Facts that orders may ask for.
    pub attributes: BTreeMap<String, String>,
    /// Under whose law it is (ISO 3166-1 alpha-2, lower case); empty where it does not say.
    pub jurisdiction: String,
    /// The account that operates it, where that is another one; counts once that account confirms
    /// it by [`crate::Action::AffiliateSet`].
    #[serde(default)]
    pub operator: Option<AccountId>,
}
