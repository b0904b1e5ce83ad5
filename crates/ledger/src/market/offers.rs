//! The standing offers in the state, as the auction sees them.

use crate::{
    Params, State, bond, keys,
    provider::{Host, HostSpec, risk},
};
use muster_market::{Book, Class, HostView, capacity};
use muster_types::{Hash, HostId};

/// The market's book over a state: the hosts of active providers whose offer stands.
pub(crate) struct Offers<'a> {
    state: &'a dyn State,
    params: &'a Params,
    height: u64,
    allowed: &'a dyn Fn(&HostView) -> bool,
}

impl<'a> Offers<'a> {
    /// The offers made before block `height` that `allowed` lets in.
    pub(crate) fn new(
        state: &'a dyn State,
        params: &'a Params,
        height: u64,
        allowed: &'a dyn Fn(&HostView) -> bool,
    ) -> Self {
        Self { state, params, height, allowed }
    }

    fn view(&self, id: HostId) -> Option<HostView> {
        let host: Host = keys::HOSTS.get(self.state, &id)?;
        if host.offered_at_height >= self.height {
            return None;
        }
        let provider = keys::PROVIDERS.get(self.state, &id.provider)?;
        let free = capacity::checked_sub(&host.spec.capacity, &host.used)?;
        let risk_bps = risk::premium_bps(&provider.conduct, self.params);
        let bond_free = bond::free(self.state, &id.provider);
        let mut attributes = provider.profile.attributes;
        attributes.extend(host.spec.attributes);
        let view = HostView {
            id,
            region: provider.profile.region,
            attributes,
            free,
            prices: host.spec.prices,
            bond_free,
            risk_bps,
            offered_until: host.spec.offered_until,
        };
        (self.allowed)(&view).then_some(view)
    }
}

impl Book for Offers<'_> {
    fn walk<'a>(&'a self, class: &Class) -> Box<dyn Iterator<Item = HostView> + 'a> {
        let hosts = keys::OFFERS.scan(self.state, &class_key(class), None);
        Box::new(hosts.filter_map(|((_, _, id), ())| self.view(id)))
    }

    fn host_count(&self) -> u64 {
        u64::try_from(self.walk(&Class::Cpu).count()).unwrap_or(u64::MAX)
    }
}

/// A host's index entries while it takes orders: one for each of its classes, and its expiry.
pub(crate) fn offer_entries(id: &HostId, spec: &HostSpec, emit: &mut dyn FnMut(Vec<u8>)) {
    for class in Class::of_host(&spec.capacity) {
        emit(keys::OFFERS.key(&(class_key(&class), class.unit_price(&spec.prices), *id)));
    }
    emit(keys::OFFERS_DUE.key(&(spec.offered_until, *id)));
}

fn class_key(class: &Class) -> Hash {
    let of = |parts: &[&[u8]]| Hash::of("muster host class v1", parts);
    match class {
        Class::Cpu => of(&[b"cpu"]),
        Class::AnyGpu => of(&[b"gpu"]),
        Class::Gpu { vendor, model } => of(&[b"gpu", vendor.as_bytes(), model.as_bytes()]),
    }
}
