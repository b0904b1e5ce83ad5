//! Requests and responses of the HTTP API.
//!
//! | method and path | body | answer |
//! |---|---|---|
//! | `GET /v1/status` | | [`Status`] |
//! | `POST /v1/transactions` | a signed transaction, borsh, `application/octet-stream` | [`Applied`], once it is final |
//! | `GET /v1/accounts/{id}` | | [`Account`] |
//! | `GET /v1/accounts/{id}/keys` `…/bond` `…/stake` `…/conduct` | | [`AccountKeys`] [`AccountBond`] [`AccountStake`] [`TenantConduct`] |
//! | `GET /v1/validators` | | list of [`ValidatorView`] |
//! | `GET /v1/proposals` `GET /v1/proposals/{id}` | | list of [`ProposalView`]; one |
//! | `GET /v1/concentration` | | [`Concentration`] |
//! | `GET /v1/providers` | | list of [`ProviderView`] |
//! | `GET /v1/providers/{id}` | | [`ProviderView`] |
//! | `GET /v1/orders/{id}` `GET /v1/escrows/{id}` `GET /v1/jobs/{id}` `GET /v1/leases/{id}` `GET /v1/disputes/{id}` | | [`Named`] record |
//! | `GET /v1/orders?tenant=` `?escrow=` | | list of [`Named`] [`Order`] |
//! | `GET /v1/escrows?owner=` | | list of [`Named`] [`Escrow`] |
//! | `GET /v1/jobs?tenant=` | | list of [`Named`] [`Job`] |
//! | `GET /v1/leases?provider=` `?tenant=` `?job=` `?escrow=` `&open=true` | | list of [`Named`] [`Lease`] |
//! | `GET /v1/disputes?open=true` `?job=` | | list of [`Named`] [`Dispute`] |
//! | `POST /v1/quote` | [`Terms`] | [`Explanation`] |
//! | `GET /v1/events?from=HEIGHT` | | server-sent events: each `data:` is a [`BlockEvents`], each `id:` a height |
//! | `GET /v1/events?account=` (or another subject) `&after=CURSOR&limit=` | | [`EventPage`] |
//! | `GET /v1/blocks/{height}` | | [`BlockView`] |
//! | `GET /v1/epochs?from=EPOCH&limit=` | | [`EpochPage`] |
//! | `GET /v1/anchor` | | [`Anchor`]: the last final block |
//! | `GET /v1/invariants` | | [`Invariants`] |
//! | `GET /openapi.json` | | the OpenAPI document |
//!
//! A record that is final leaves the ledger's state after a while; the node goes on serving it,
//! alone and in lists. It says so itself: `final_at` is when it became final.
//!
//! Lists are in the order of their ids, whether a record is in the state or has left it, and have
//! at most [`LIST_MAX`] items, or `limit=`; to go on, ask for what comes `after=` the last id.
//!
//! Every failure has a JSON body [`ApiError`].

mod epochs;
mod holdings;

pub use epochs::{Anchor, EPOCHS_MAX, EpochEnd, EpochPage};
pub use holdings::{
    AccountBond, AccountKeys, AccountStake, BallotView, DelegationView, KeyView, ProposalView,
    UnbondingView, ValidatorView,
};
pub use muster_ledger::{
    account::Account,
    bond::Bond,
    dispute::Dispute,
    escrow::Escrow,
    event::{Event, Subject},
    job::Job,
    market::{Lease, Order, TenantConduct},
    neutrality::Concentration,
    provider::{Host, Provider},
};
pub use muster_market::{Explanation, Terms};

use muster_ledger::{Params, Reject};
use muster_types::{AccountId, Amount, Hash, Millis, TxId};
use serde::{Deserialize, Serialize};

/// The most items of a list.
pub const LIST_MAX: usize = 10_000;

/// The most events of a page.
pub const EVENTS_MAX: usize = 1_000;

/// What a node says of itself and its chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Status {
    /// The chain: hash of its genesis.
    pub chain: Hash,
    /// The network's name.
    pub network: String,
    /// Version of the rules.
    pub protocol: u32,
    /// Version of the node's software.
    pub software: String,
    /// Height of the last final block.
    pub height: u64,
    /// Its time.
    pub now: Millis,
    /// Root of the state after it.
    pub state_root: Hash,
    /// Who votes.
    pub validators: Vec<AccountId>,
    /// Where the node's fabric endpoint listens (a fabric peer address, as text): with its key it
    /// fetches evidence as a referee.
    pub referee: Option<String>,
    /// True where who proposes a block influences the beacon, so that audit draws are only as good
    /// as the validators' word.
    pub beacon_trusted: bool,
    /// The beacon's latest round: its values have consecutive numbers.
    pub beacon_round: u64,
    /// The numbers that the rules use.
    #[schema(value_type = Object)]
    pub params: Params,
}

/// A record and its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Named<I, T> {
    /// The id.
    pub id: I,
    /// The record.
    #[serde(flatten)]
    pub record: T,
}

/// A provider with its hosts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProviderView {
    /// Its account.
    pub id: AccountId,
    /// Its record.
    #[serde(flatten)]
    pub record: Provider,
    /// The bond of its account.
    pub bond: Bond,
    /// Its risk premium, in hundredths of a per cent.
    pub risk_bps: u32,
    /// Its hosts.
    pub hosts: Vec<HostView>,
}

/// A host and its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HostView {
    /// The provider's own number for it.
    pub index: u32,
    /// Its record.
    #[serde(flatten)]
    pub record: Host,
}

/// A transaction that is final.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Applied {
    /// Which.
    pub tx: TxId,
    /// In which block.
    pub height: u64,
    /// The block's time.
    pub now: Millis,
    /// What it cost, `usd`.
    pub fee: Amount,
    /// What it did.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<Event>,
}

/// All events of one final block: those of its transactions in order, then those of its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BlockEvents {
    /// The block.
    pub height: u64,
    /// Its time.
    pub now: Millis,
    /// What happened.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<Event>,
}

/// Events that concern one subject, oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EventPage {
    /// What happened.
    pub events: Vec<EventEntry>,
    /// Where the next page begins: `after=` this. Absent where there is no more so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An event and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct EventEntry {
    /// The block.
    pub height: u64,
    /// The event's position in the block: its leaf under the block's event root.
    pub position: u32,
    /// The block's time.
    pub now: Millis,
    /// What happened.
    #[schema(value_type = Object)]
    pub event: Event,
}

impl EventEntry {
    /// What to ask for to go on after this one.
    #[must_use]
    pub fn cursor(&self) -> String {
        format!("{}-{}", self.height, self.position)
    }
}

/// A final block, with what proves it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BlockView {
    /// Its height.
    pub height: u64,
    /// Its epoch: whose validators signed.
    pub epoch: u64,
    /// Its time.
    pub now: Millis,
    /// The block's digest: what the validators signed.
    pub digest: Hash,
    /// Root of the state after it.
    pub state_root: Hash,
    /// Root over its events.
    pub event_root: Hash,
    /// Its transactions.
    pub transactions: Vec<TxId>,
    /// What happened in it.
    #[schema(value_type = Vec<Object>)]
    pub events: Vec<Event>,
    /// The header's encoding, hex: hashes to `digest`.
    pub header: String,
    /// Where the block is final because a later one is: the headers from the next block up to that
    /// one, hex, each naming the one before as its parent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub descendants: Vec<String>,
    /// The encoding of the certificate that the last of them, or the block itself, is final, hex;
    /// absent until the engine has stored it.
    pub certificate: Option<String>,
}

/// The outcome of checking every invariant against the node's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Invariants {
    /// The height at which they were checked.
    pub height: u64,
    /// Which one is broken and how; `None`: all hold.
    pub broken: Option<String>,
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ApiError {
    /// Stable code: a ledger refusal's, or `not_found`, `malformed`, `busy`, `timeout`,
    /// `stopping`.
    pub code: String,
    /// For people: what is wrong and what to do.
    pub message: String,
    /// The ledger's refusal, where it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub reject: Option<Reject>,
}
