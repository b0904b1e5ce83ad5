use crate::bounded::{self, ANSWER_BYTES_MAX, Broken};
use crate::views::{
    Account, AccountBond, AccountKeys, AccountStake, Anchor, ApiError, Applied, BlockEvents,
    BlockView, Concentration, Dispute, EpochPage, Escrow, EventPage, Explanation, Invariants, Job,
    LIST_MAX, Lease, Named, Order, ProposalView, ProviderView, Status, Subject, TenantConduct,
    Terms, ValidatorView,
};
use eventsource_stream::Eventsource as _;
use futures::{Stream, StreamExt as _};
use muster_ledger::Tx;
use muster_types::{AccountId, DisputeId, EscrowId, JobId, LeaseId, OrderId, codec};
use serde::de::DeserializeOwned;
use std::{fmt::Display, pin::Pin, time::Duration};

/// A stream of final blocks' events.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<BlockEvents, ClientError>> + Send>>;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The most records that a list is followed for.
const LISTED_MAX: usize = 1_000_000;

/// Why a call to a node failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address is no `http://host:port`.
    #[error("`{url}` is not a node's address: expected http://host:port")]
    Url {
        /// As given.
        url: String,
    },
    /// The node cannot be reached or broke off.
    #[error("the node at {url} does not answer: is it running? start one with `muster dev`")]
    Unreachable {
        /// Whom.
        url: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The node refused.
    #[error("{}", .0.message)]
    Refused(Box<ApiError>),
    /// The answer is not what this client understands.
    #[error("the node at {url} gave an answer that this version does not understand")]
    Malformed {
        /// Whom.
        url: String,
        /// What.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ClientError {
    /// The ledger's or the API's stable code, where the node refused.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(error) => Some(&error.code),
            _ => None,
        }
    }

    /// Whether the same call may succeed later: the node was away or busy.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused(error) => matches!(error.code.as_str(), "busy" | "timeout" | "stopping"),
            Self::Url { .. } | Self::Malformed { .. } => false,
        }
    }
}

/// A typed client of a node's HTTP API. Cheap to clone; calls may be made concurrently; dropping
/// a call's future abandons it (a transaction may still be applied).
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    http: reqwest::Client,
}

impl Client {
    /// A client of the node at `url` (`http://host:port`). Connects at the first call.
    ///
    /// # Errors
    /// [`ClientError::Url`].
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let refuse = || ClientError::Url { url: url.to_owned() };
        let parsed = reqwest::Url::parse(url).map_err(|_| refuse())?;
        if !matches!(parsed.scheme(), "http" | "https") || parsed.host().is_none() {
            return Err(refuse());
        }
        // In a program where another crate asks reqwest for TLS without a provider, reqwest panics
        // unless the process has one. Whoever came first is kept.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            rustls::crypto::ring::default_provider().install_default().ok();
        }
        let http = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .build()
            .map_err(|_| refuse())?;
        Ok(Self { base: parsed.as_str().trim_end_matches('/').to_owned(), http })
    }

    /// The node's address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.base
    }

    /// What the node says of itself.
    ///
    /// # Errors
    /// [`ClientError`]; so for every call below.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status").await
    }

    /// Sends a signed transaction and waits until it is final.
    ///
    /// # Errors
    /// [`ClientError::Refused`] with the ledger's code, if it was refused; it then had no effect.
    pub async fn submit(&self, tx: &Tx) -> Result<Applied, ClientError> {
        let request = self
            .http
            .post(format!("{}/v1/transactions", self.base))
            .header("content-type", "application/octet-stream")
            .body(codec::encode(tx));
        self.send(request).await
    }

    /// An account; `None` where it does not exist yet.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn account(&self, id: &AccountId) -> Result<Option<Account>, ClientError> {
        optional(self.get(&format!("/v1/accounts/{id}")).await)
    }

    /// Who acts for an account.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn keys_of(&self, id: &AccountId) -> Result<AccountKeys, ClientError> {
        self.get(&format!("/v1/accounts/{id}/keys")).await
    }

    /// An account's bond and the duties that it stands behind.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn bond_of(&self, id: &AccountId) -> Result<AccountBond, ClientError> {
        self.get(&format!("/v1/accounts/{id}/bond")).await
    }

    /// What an account has staked with validators.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn stake_of(&self, id: &AccountId) -> Result<AccountStake, ClientError> {
        self.get(&format!("/v1/accounts/{id}/stake")).await
    }

    /// How an account has behaved as a tenant.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn conduct_of(&self, id: &AccountId) -> Result<TenantConduct, ClientError> {
        self.get(&format!("/v1/accounts/{id}/conduct")).await
    }

    /// The committee, and everybody who registered as a validator.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn validators(&self) -> Result<Vec<ValidatorView>, ClientError> {
        self.get("/v1/validators").await
    }

    /// Every proposal.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn proposals(&self) -> Result<Vec<ProposalView>, ClientError> {
        self.get("/v1/proposals").await
    }

    /// How far the market is in few hands: a lower bound.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn concentration(&self) -> Result<Concentration, ClientError> {
        self.get("/v1/concentration").await
    }

    /// Every provider with its hosts.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn providers(&self) -> Result<Vec<ProviderView>, ClientError> {
        self.get("/v1/providers").await
    }

    /// One provider with its hosts; `None` where it never registered.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn provider(&self, id: &AccountId) -> Result<Option<ProviderView>, ClientError> {
        optional(self.get(&format!("/v1/providers/{id}")).await)
    }

    /// An order; `None` where there is none.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn order(&self, id: &OrderId) -> Result<Option<Named<OrderId, Order>>, ClientError> {
        optional(self.get(&format!("/v1/orders/{id}")).await)
    }

    /// A lease; `None` where there is none.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn lease(&self, id: &LeaseId) -> Result<Option<Named<LeaseId, Lease>>, ClientError> {
        optional(self.get(&format!("/v1/leases/{id}")).await)
    }

    /// An escrow; `None` where there is none.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn escrow(
        &self,
        id: &EscrowId,
    ) -> Result<Option<Named<EscrowId, Escrow>>, ClientError> {
        optional(self.get(&format!("/v1/escrows/{id}")).await)
    }

    /// A job; `None` where there is none.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn job(&self, id: &JobId) -> Result<Option<Named<JobId, Job>>, ClientError> {
        optional(self.get(&format!("/v1/jobs/{id}")).await)
    }

    /// A dispute; `None` where there is none.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn dispute(
        &self,
        id: &DisputeId,
    ) -> Result<Option<Named<DisputeId, Dispute>>, ClientError> {
        optional(self.get(&format!("/v1/disputes/{id}")).await)
    }

    /// The disputes that are still open.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn open_disputes(&self) -> Result<Vec<Named<DisputeId, Dispute>>, ClientError> {
        self.get("/v1/disputes?open=true").await
    }

    /// A tenant's jobs.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn jobs_of(&self, tenant: &AccountId) -> Result<Vec<Named<JobId, Job>>, ClientError> {
        self.list(&format!("/v1/jobs?tenant={tenant}")).await
    }

    /// All leases of a job.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn leases_of_job(
        &self,
        job: &JobId,
    ) -> Result<Vec<Named<LeaseId, Lease>>, ClientError> {
        self.list(&format!("/v1/leases?job={job}")).await
    }

    /// A tenant's leases.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn leases_of_tenant(
        &self,
        tenant: &AccountId,
        open_only: bool,
    ) -> Result<Vec<Named<LeaseId, Lease>>, ClientError> {
        self.list(&format!("/v1/leases?tenant={tenant}&open={open_only}")).await
    }

    /// A provider's leases.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn leases_of_provider(
        &self,
        provider: &AccountId,
        open_only: bool,
    ) -> Result<Vec<Named<LeaseId, Lease>>, ClientError> {
        self.list(&format!("/v1/leases?provider={provider}&open={open_only}")).await
    }

    /// What the market would do with these terms now, and why.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn quote(&self, terms: &Terms) -> Result<Explanation, ClientError> {
        self.send(self.http.post(format!("{}/v1/quote", self.base)).json(terms)).await
    }

    /// A final block; `None` where it is not there (yet, or any more).
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn block(&self, height: u64) -> Result<Option<BlockView>, ClientError> {
        optional(self.get(&format!("/v1/blocks/{height}")).await)
    }

    /// The ends of epochs from `from` on, at most `limit` and [`crate::views::EPOCHS_MAX`].
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn epochs(&self, from: u64, limit: usize) -> Result<EpochPage, ClientError> {
        self.get(&format!("/v1/epochs?from={from}&limit={limit}")).await
    }

    /// The last final block, vouched for by the node: good for whoever trusts it.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn anchor(&self) -> Result<Anchor, ClientError> {
        self.get("/v1/anchor").await
    }

    /// Checks every invariant against the node's state.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn invariants(&self) -> Result<Invariants, ClientError> {
        self.get("/v1/invariants").await
    }

    /// Final blocks' events from block `from` on (`None`: from the next one), each block that has
    /// any, in order, without gaps. Ends with an error when the connection breaks; call again
    /// with the height after the last one seen.
    ///
    /// # Errors
    /// As [`Client::status`], at once or in the stream.
    pub async fn events(&self, from: Option<u64>) -> Result<EventStream, ClientError> {
        let query = from.map(|height| format!("?from={height}")).unwrap_or_default();
        self.stream(&query).await
    }

    /// The same of the events that concern `subject` alone, without the blocks that have none.
    ///
    /// # Errors
    /// As [`Client::events`].
    pub async fn events_about(
        &self,
        subject: &Subject,
        from: Option<u64>,
    ) -> Result<EventStream, ClientError> {
        let from = from.map(|height| format!("&from={height}")).unwrap_or_default();
        self.stream(&format!("?follow=true&{}{from}", query_of(subject))).await
    }

    async fn stream(&self, query: &str) -> Result<EventStream, ClientError> {
        let response = self
            .http
            .get(format!("{}/v1/events{query}", self.base))
            .send()
            .await
            .map_err(|source| self.unreachable(source))?;
        let response = self.refused(response).await?;
        let base = self.base.clone();
        let bytes = bounded::events(response.bytes_stream(), ANSWER_BYTES_MAX);
        let stream = bytes.eventsource().map(move |item| {
            let malformed = |source| ClientError::Malformed { url: base.clone(), source };
            let event = item.map_err(|source| malformed(Box::new(source)))?;
            serde_json::from_str(&event.data).map_err(|source| malformed(Box::new(source)))
        });
        Ok(Box::pin(stream))
    }

    /// An account's orders.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn orders_of(
        &self,
        tenant: &AccountId,
    ) -> Result<Vec<Named<OrderId, Order>>, ClientError> {
        self.list(&format!("/v1/orders?tenant={tenant}")).await
    }

    /// The escrows that an account opened.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn escrows_of(
        &self,
        owner: &AccountId,
    ) -> Result<Vec<Named<EscrowId, Escrow>>, ClientError> {
        self.list(&format!("/v1/escrows?owner={owner}")).await
    }

    /// At most `limit` events that concern `subject`, oldest first: after `after`, the `next` of
    /// the page before, or from the beginning of the node's history.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub async fn events_of(
        &self,
        subject: &Subject,
        after: Option<&str>,
        limit: usize,
    ) -> Result<EventPage, ClientError> {
        let subject = query_of(subject);
        let after = after.map(|cursor| format!("&after={cursor}")).unwrap_or_default();
        self.get(&format!("/v1/events?{subject}{after}&limit={limit}")).await
    }

    /// All of a list, page by page.
    async fn list<I, T>(&self, path: &str) -> Result<Vec<Named<I, T>>, ClientError>
    where
        I: DeserializeOwned + Display,
        T: DeserializeOwned,
    {
        let mut all: Vec<Named<I, T>> = self.get(path).await?;
        let mut found = all.len();
        while found >= LIST_MAX
            && all.len() <= LISTED_MAX
            && let Some(Named { id, .. }) = all.last()
        {
            let page: Vec<_> = self.get(&format!("{path}&after={id}")).await?;
            found = page.len();
            all.extend(page);
        }
        if all.len() > LISTED_MAX {
            let problem = format!("a list has more than {LISTED_MAX} records");
            return Err(self.malformed(problem.into()));
        }
        Ok(all)
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.send(self.http.get(format!("{}{path}", self.base))).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<T, ClientError> {
        let response = request
            .timeout(REQUEST_TIMEOUT)
            .send()
            .await
            .map_err(|source| self.unreachable(source))?;
        let response = self.refused(response).await?;
        let bytes = self.body(response).await?;
        serde_json::from_slice(&bytes).map_err(|source| self.malformed(Box::new(source)))
    }

    async fn body(&self, response: reqwest::Response) -> Result<Vec<u8>, ClientError> {
        match bounded::body(response.bytes_stream(), ANSWER_BYTES_MAX).await {
            Ok(bytes) => Ok(bytes),
            Err(Broken::Connection(source)) => Err(self.unreachable(source)),
            Err(endless @ Broken::TooLong { .. }) => Err(self.malformed(Box::new(endless))),
        }
    }

    async fn refused(&self, response: reqwest::Response) -> Result<reqwest::Response, ClientError> {
        if response.status().is_success() {
            return Ok(response);
        }
        let bytes = self.body(response).await?;
        let error =
            serde_json::from_slice(&bytes).map_err(|source| self.malformed(Box::new(source)))?;
        Err(ClientError::Refused(Box::new(error)))
    }

    fn unreachable(&self, source: reqwest::Error) -> ClientError {
        ClientError::Unreachable { url: self.base.clone(), source }
    }

    fn malformed(&self, source: Box<dyn std::error::Error + Send + Sync>) -> ClientError {
        ClientError::Malformed { url: self.base.clone(), source }
    }
}

fn optional<T>(result: Result<T, ClientError>) -> Result<Option<T>, ClientError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.code() == Some("not_found") => Ok(None),
        Err(error) => Err(error),
    }
}

/// How a subject is asked for.
fn query_of(subject: &Subject) -> String {
    match subject {
        Subject::Account(id) => format!("account={id}"),
        Subject::Provider(id) => format!("provider={id}"),
        Subject::Validator(id) => format!("validator={id}"),
        Subject::Host(id) => format!("host={}&index={}", id.provider, id.index),
        Subject::Order(id) => format!("order={id}"),
        Subject::Lease(id) => format!("lease={id}"),
        Subject::Escrow(id) => format!("escrow={id}"),
        Subject::Job(id) => format!("job={id}"),
        Subject::Dispute(id) => format!("dispute={id}"),
        Subject::Proposal(id) => format!("proposal={id}"),
    }
}
