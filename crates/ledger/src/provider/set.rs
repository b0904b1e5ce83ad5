//! `ProviderSet`.

use super::{Conduct, Provider, ProviderStatus, affiliate::reassign, by_bond, operator_of};
use crate::{
    Event, ProviderProfile, Reject,
    ctx::{By, Ctx},
    limits,
};
use muster_types::{AccountId, Amount, Rate};
use std::collections::BTreeMap;

pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, profile: &ProviderProfile) -> Result<(), Reject> {
    check_profile(profile)?;
    if profile.operator == Some(by.signer) {
        return Err(Reject::bad_field("profile.operator"));
    }
    let operator = operator_of(&ctx.scratch, &by.signer);
    let mut provider = match ctx.find::<Provider>(&by.signer) {
        None => Provider {
            profile: profile.clone(),
            status: ProviderStatus::Registered,
            open_rate: Rate::ZERO,
            open_leases: 0,
            conduct: Conduct::default(),
            paid: Amount::ZERO,
        },
        Some(known) => {
            let status = match known.status {
                ProviderStatus::Gone => {
                    let until = known.conduct.jailed_until;
                    if ctx.env.head.now < until {
                        ProviderStatus::Jailed { until }
                    } else {
                        ProviderStatus::Registered
                    }
                }
                status @ (ProviderStatus::Registered
                | ProviderStatus::Active
                | ProviderStatus::Draining
                | ProviderStatus::Jailed { .. }) => status,
                status @ ProviderStatus::Unbonding { .. } => {
                    return Err(Reject::wrong_state("provider", status.name()));
                }
            };
            Provider { profile: profile.clone(), status, ..known }
        }
    };
    provider.status = by_bond(ctx, &by.signer, provider.status);
    ctx.store(&by.signer, &provider);
    changed(ctx, &by.signer, &provider);
    reassign(ctx, &by.signer, operator)
}

/// Tells that a provider changed.
pub(crate) fn changed(ctx: &mut Ctx<'_>, id: &AccountId, provider: &Provider) {
    ctx.emit(Event::ProviderChanged { provider: *id, status: provider.status });
}

fn check_profile(profile: &ProviderProfile) -> Result<(), Reject> {
    if profile.name.len() > limits::NAME_BYTES {
        return Err(Reject::bad_field("profile.name"));
    }
    if profile.region.len() > limits::NAME_BYTES {
        return Err(Reject::bad_field("profile.region"));
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
