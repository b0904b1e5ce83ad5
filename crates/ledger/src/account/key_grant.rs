//! `KeyGrant`.

use super::{
    authority::{self, Authority},
    delegated::{DelegatedKey, Scopes},
};
use crate::{
    Event, Reject,
    ctx::{By, Ctx, up},
    limits,
};
use muster_types::{AccountId, Amount, Millis};

/// What is granted.
pub(crate) struct Grant {
    pub(crate) scopes: Scopes,
    pub(crate) usd: Amount,
    pub(crate) mst: Amount,
    pub(crate) expires: Millis,
}

pub(crate) fn run(
    ctx: &mut Ctx<'_>,
    by: &By,
    key: &AccountId,
    grant: &Grant,
) -> Result<(), Reject> {
    let now = ctx.env.head.now;
    if *key == by.signer {
        return Err(Reject::bad_field("key"));
    }
    if !grant.scopes.is_valid() {
        return Err(Reject::bad_field("scopes"));
    }
    if grant.expires <= now {
        return Err(Reject::bad_field("expires"));
    }
    let mut others = 0;
    let mut nonces = None;
    for (other, record) in authority::keys_of(ctx, &by.signer) {
        if other == *key {
            nonces = Some((record.nonce, record.nonces_used));
        } else if record.expires < now {
            authority::forget(ctx, &by.signer, &other, &record);
        } else {
            others = up(others)?;
        }
    }
    if others >= limits::KEYS {
        return Err(Reject::wrong_state("key list", "full"));
    }
    let (nonce, nonces_used) = nonces.unwrap_or_else(|| {
        let authority: Authority = ctx.find(&by.signer).unwrap_or_default();
        (authority.nonce_floor, 0)
    });
    let record = DelegatedKey {
        scopes: grant.scopes,
        usd_left: grant.usd,
        mst_left: grant.mst,
        expires: grant.expires,
        nonce,
        nonces_used,
    };
    ctx.store(&(by.signer, *key), &record);
    ctx.emit(Event::KeyGranted { account: by.signer, key: *key, expires: grant.expires });
    Ok(())
}
