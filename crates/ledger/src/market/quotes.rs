//! The market's hosts beside the state, in the form that explains fast.
//!
//! A node makes one from its state when it starts, and after each block feeds it the block's
//! changes together with the state that they made. What is watched:
//!
//! | key that changed | what is read anew |
//! |---|---|
//! | [`keys::HOSTS`], [`keys::OFFERS_DUE`] | that host: in the book while it is listed, by what it has free |
//! | [`keys::PROVIDERS`], [`keys::BONDS`], [`keys::SIGNED`], [`keys::AFFILIATIONS`] | that provider: for all of its hosts |
//! | [`keys::PARAMS`] | every provider, as risk premiums hang on parameters |
//! | [`keys::DUTIES`] | every provider, as signatures hold while their auditor is one |
//!
//! A signature that expires is in no change: who is signed is read anew when that time has come.
//!
//! A provider that begins or ceases to be active lists or unlists its hosts, and an offer that
//! ends is unlisted, so that both show as changes of [`keys::OFFERS_DUE`].

use super::{Offers, host_view, provider_view};
use crate::{Changes, Params, State, keys, provider::Host};
use muster_market::{Columns, Explanation, HostView, ProviderView, Terms};
use muster_types::{AccountId, HostId, Millis};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// Every host that takes orders, kept up to date block by block: [`QuoteBook::explain`] says what
/// [`crate::view::quote`] says of the same state, in milliseconds where that takes seconds.
#[derive(Clone, Debug, Default)]
pub struct QuoteBook {
    columns: Columns,
    /// The providers with signatures, by when the first of each expires (block time).
    expiries: BTreeMap<AccountId, Millis>,
}

impl QuoteBook {
    /// The book of a state.
    #[must_use]
    pub fn new(state: &dyn State) -> Self {
        let mut book = Self::default();
        let mut reader = Reader::new(state);
        for ((_, id), ()) in keys::OFFERS_DUE.scan(state, &(), None) {
            book.read_host(&mut reader, id);
        }
        book
    }

    /// Takes over what a block changed; `state` is the state after it.
    pub fn update(&mut self, state: &dyn State, changes: &Changes) {
        let mut hosts: BTreeSet<HostId> = BTreeSet::new();
        let mut providers: BTreeSet<AccountId> = BTreeSet::new();
        let mut all = false;
        for key in changes.0.keys() {
            all |= keys::PARAMS.parse(key).is_some() || keys::DUTIES.parse(key).is_some();
            providers.extend(keys::PROVIDERS.parse(key));
            providers.extend(keys::BONDS.parse(key));
            providers.extend(keys::SIGNED.parse(key).map(|(provider, _)| provider));
            providers.extend(keys::AFFILIATIONS.parse(key).map(|(_, provider)| provider));
            hosts.extend(keys::HOSTS.parse(key));
            hosts.extend(keys::OFFERS_DUE.parse(key).map(|(_, id)| id));
        }
        let mut reader = Reader::new(state);
        let now = crate::view::head(state).map(|head| head.now).unwrap_or_default();
        let expired = self.expiries.iter().filter(|(_, until)| **until <= now);
        providers.extend(expired.map(|(id, _)| *id));
        if all {
            providers.extend(keys::PROVIDERS.scan(state, &(), None).map(|(id, _)| id));
        }
        providers.retain(|id| self.columns.has_provider(id));
        for id in providers {
            if let Some(view) = reader.provider(&id) {
                self.columns.set_provider(&id, &view);
                self.note_expiry(state, &id);
            }
        }
        for id in hosts {
            self.read_host(&mut reader, id);
        }
    }

    /// What an order with these terms would get in the next block, and what each constraint
    /// excludes. `state` is the state that the book was last updated to.
    #[must_use]
    pub fn explain(&self, state: &dyn State, terms: &Terms) -> Explanation {
        let params = crate::view::params(state);
        let head = crate::view::head(state);
        let height = head.map_or(0, |head| head.height).saturating_add(1);
        let now = head.map(|head| head.now).unwrap_or_default();
        let seen = RefCell::default();
        let book = Offers::new(state, &params, height, &seen);
        self.columns.explain(&book, terms, &params.rules(), now)
    }

    /// How many hosts take orders.
    #[must_use]
    pub const fn host_count(&self) -> u64 {
        self.columns.host_count()
    }

    /// Notes when the first of a provider's signatures that hold expires.
    fn note_expiry(&mut self, state: &dyn State, id: &AccountId) {
        let now = crate::view::head(state).map(|head| head.now).unwrap_or_default();
        let signed = keys::SIGNED.scan(state, id, None).map(|(_, signed)| signed.until);
        match signed.filter(|until| *until > now).min() {
            Some(until) => self.expiries.insert(*id, until),
            None => self.expiries.remove(id),
        };
    }

    fn read_host(&mut self, reader: &mut Reader<'_>, id: HostId) {
        match reader.host(id) {
            Some(view) => {
                self.columns.upsert(&view);
                self.note_expiry(reader.state, &id.provider);
            }
            None => {
                self.columns.remove(&id);
            }
        }
    }
}

/// Reads hosts from a state, each provider once.
struct Reader<'a> {
    state: &'a dyn State,
    params: Params,
    providers: BTreeMap<AccountId, Option<Arc<ProviderView>>>,
}

impl<'a> Reader<'a> {
    fn new(state: &'a dyn State) -> Self {
        Self { state, params: crate::view::params(state), providers: BTreeMap::new() }
    }

    fn provider(&mut self, id: &AccountId) -> Option<Arc<ProviderView>> {
        let (state, params) = (self.state, &self.params);
        let read = || {
            let provider = keys::PROVIDERS.get(state, id)?;
            let bond = keys::BONDS.get(state, id).unwrap_or_default();
            Some(Arc::new(provider_view(state, id, provider, &bond, params)))
        };
        self.providers.entry(*id).or_insert_with(read).clone()
    }

    /// The host, while it takes orders.
    fn host(&mut self, id: HostId) -> Option<HostView> {
        let host: Host = keys::HOSTS.get(self.state, &id)?;
        if !keys::OFFERS_DUE.contains(self.state, &(host.spec.offered_until, id)) {
            return None;
        }
        host_view(id, host, self.provider(&id.provider)?)
    }
}

#[cfg(test)]
mod tests;
