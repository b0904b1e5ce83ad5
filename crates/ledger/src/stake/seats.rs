//! `SeatsSet`.

use super::Validator;
use crate::{
    Event, Reject,
    ctx::{By, Ctx},
    keys, limits,
};
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::{AccountId, Hash, Signature};
use serde::{Deserialize, Serialize};

/// A key that is to vote for a validator, with its consent.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct SeatKey {
    /// The key.
    pub key: AccountId,
    /// Its signature over [`seat_message`]: nobody takes a key that somebody else holds.
    pub proof: Signature,
}

/// What a key signs to vote for `owner` on `chain`.
#[must_use]
pub fn seat_message(chain: &Hash, owner: &AccountId) -> Vec<u8> {
    [b"muster seat v1".as_slice(), chain.as_bytes(), owner.as_bytes()].concat()
}

/// A key is one validator's for ever: what it signed must find somebody to slash.
pub(crate) fn run(ctx: &mut Ctx<'_>, by: &By, seats: &[SeatKey]) -> Result<(), Reject> {
    let _: Validator = ctx.load(&by.signer)?;
    if seats.len() > limits::SEATS {
        return Err(Reject::bad_field("seats"));
    }
    let message = seat_message(&ctx.env.head.chain, &by.signer);
    let mut named = Vec::with_capacity(seats.len());
    for seat in seats {
        let other = keys::SEAT_KEYS.get(&ctx.scratch, &seat.key).is_some_and(|of| of != by.signer);
        if named.contains(&seat.key) || other || keys::STAKERS.contains(&ctx.scratch, &seat.key) {
            return Err(Reject::Duplicate);
        }
        seat.key.verify(&message, &seat.proof).map_err(|_| Reject::bad_field("proof"))?;
        keys::SEAT_KEYS.put(&mut ctx.scratch, &seat.key, &by.signer);
        named.push(seat.key);
    }
    keys::SEATS.put(&mut ctx.scratch, &by.signer, &named);
    ctx.emit(Event::SeatsNamed { validator: by.signer, keys: named });
    Ok(())
}
