//! What a key signs for the ledger because it votes on blocks, beside its votes.

use muster_ledger::{Action, State, Tx, view};
use muster_types::{Amount, Envelope, Hash, Millis, SecretKey, codec};

/// What it is worth where it has to be paid for.
const MAX_FEE: Amount = Amount::from_nanos(10_000_000);

/// Nonces of duties begin here. The ledger looks at none of them, but in the pool they must not
/// take the place of the account's own transactions, nor of each other.
const NONCES: u64 = 1 << 63;

/// Signs `action`, which must be a duty ([`Action::is_duty`]), to be void `lifetime` after `now`.
/// A key that votes now owes it, and needs no account; another pays for it from its own. `None`
/// where it has none.
pub(crate) fn sign(
    state: &dyn State,
    chain: Hash,
    key: &SecretKey,
    action: Action,
    (now, lifetime): (Millis, Millis),
) -> Option<Tx> {
    debug_assert!(action.is_duty(), "{action:?}");
    let signer = key.account();
    let nonce = if view::validators(state).contains(&signer) {
        let Hash([a, b, c, d, e, f, g, h, ..]) =
            Hash::of("muster duty nonce v1", &[&codec::encode(&action)]);
        NONCES | u64::from_le_bytes([a, b, c, d, e, f, g, h])
    } else {
        view::account(state, &signer)?.nonce
    };
    let expires = now.after(lifetime);
    Some(
        Envelope { chain, signer, nonce, max_fee: MAX_FEE, tip: Amount::ZERO, expires, action }
            .sign(key),
    )
}
