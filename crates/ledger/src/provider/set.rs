//! `ProviderSet`.

use super::{Conduct, Provider, ProviderStatus};
use crate::{
    Event, ProviderProfile, Reject,
    ctx::{By, Ctx},
    limits,
};
use muster_market::is_jurisdiction;
use muster_types::{AccountId, Amount};
use std::collections::BTreeMap;

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, profile: &ProviderProfile) -> Result<(), Reject> {
    check_profile(profile)?;
    let provider = match ctx.find::<Provider>(&by.signer) {
        None => Provider {
            profile: profile.clone(),
            status: ProviderStatus::Registered,
            bond: Amount::ZERO,
            pledged: Amount::ZERO,
            open_leases: 0,
            conduct: Conduct::default(),
            paid: Amount::ZERO,
            slashed: Amount::ZERO,
        },
        Some(known) => {
            let status = match known.status {
                ProviderStatus::Gone => ProviderStatus::Registered,
                status @ (ProviderStatus::Registered
                | ProviderStatus::Active
                | ProviderStatus::Draining) => status,
                status @ ProviderStatus::Unbonding { .. } => {
                    return Err(Reject::wrong_state("provider", status.name()));
                }
            };
            Provider { profile: profile.clone(), status, ..known }
        }
    };
    ctx.store(&by.signer, &provider);
    changed(ctx, &by.signer, &provider);
    Ok(())
}

/// Tells that a provider changed.
pub(crate) fn changed(ctx: &mut Ctx<'_>, id: &AccountId, provider: &Provider) {
    let (status, bond) = (provider.status, provider.bond);
    ctx.emit(Event::ProviderChanged { provider: *id, status, bond });
}

fn check_profile(profile: &ProviderProfile) -> Result<(), Reject> {
    if profile.name.len() > limits::NAME_BYTES {
        return Err(Reject::bad_field("profile.name"));
    }
    if profile.region.len() > limits::NAME_BYTES {
        return Err(Reject::bad_field("profile.region"));
    }
    if !profile.jurisdiction.is_empty() && !is_jurisdiction(&profile.jurisdiction) {
        return Err(Reject::bad_field("profile.jurisdiction"));
    }
    let sockets = &profile.sockets;
    if sockets.len() > limits::SOCKETS
        || sockets.iter().any(|socket| socket.len() > limits::SOCKET_BYTES)
    {
        return Err(Reject::bad_field("profile.sockets"));
    }
    check_attributes(&profile.attributes, "profile.attributes")
}

pub(crate) fn check_attributes(
    attributes: &BTreeMap<String, String>,
    field: &'static str,
) -> Result<(), Reject> {
    let fits = |(key, value): (&String, &String)| {
        !key.is_empty() && key.len() <= limits::NAME_BYTES && value.len() <= limits::VALUE_BYTES
    };
    if attributes.len() > limits::ATTRIBUTES || !attributes.iter().all(fits) {
        return Err(Reject::bad_field(field));
    }
    Ok(())
}
