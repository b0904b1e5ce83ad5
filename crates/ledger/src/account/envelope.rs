//! The envelope: chain, expiry, nonce, fee.

use super::{Account, NONCE_WINDOW};
use crate::{
    Action, Reject, Tx,
    ctx::{By, Ctx, Env, sum},
    provider::Provider,
};
use muster_types::{Amount, Asset, Envelope, codec};

/// Chain and expiry.
pub(crate) fn check(env: &Env, envelope: &Envelope<Action>) -> Result<(), Reject> {
    if envelope.chain != env.head.chain {
        return Err(Reject::WrongChain);
    }
    if env.head.now > envelope.expires {
        return Err(Reject::Expired { expires: envelope.expires, now: env.head.now });
    }
    Ok(())
}

/// Uses the nonce and pays the fee: so much for every byte of the signed encoding, and so much
/// for each of its units. What a provider pays to others counts as fees paid in its conduct.
pub(crate) fn admit(ctx: &mut Ctx<'_>, tx: &Tx) -> Result<By, Reject> {
    let signer = tx.envelope.signer;
    let mut account: Account = ctx.find(&signer).ok_or(Reject::NoAccount)?;
    use_nonce(&mut account, tx.envelope.nonce)?;
    ctx.store(&signer, &account);

    let fee = fee(ctx.env, tx)?;
    if fee > tx.envelope.max_fee {
        return Err(Reject::FeeTooHigh { fee, max_fee: tx.envelope.max_fee });
    }
    ctx.debit(&signer, Asset::Usd, fee)?;
    ctx.fee(fee)?;
    if signer != ctx.env.proposer
        && let Some(mut provider) = ctx.find::<Provider>(&signer)
    {
        provider.conduct.fees_paid = sum(provider.conduct.fees_paid, fee)?;
        ctx.store(&signer, &provider);
    }
    Ok(By { signer, tx: tx.id(), fee })
}

fn fee(env: &Env, tx: &Tx) -> Result<Amount, Reject> {
    let bytes = u64::try_from(codec::encode(tx).len()).map_err(|_| Reject::Overflow)?;
    let by_size = env.params.fee_per_byte.checked_mul(bytes).ok_or(Reject::Overflow)?;
    let units = tx.envelope.action.units();
    sum(by_size, env.params.fee_per_unit.checked_mul(units).ok_or(Reject::Overflow)?)
}

fn use_nonce(account: &mut Account, given: u64) -> Result<(), Reject> {
    let refuse = || Reject::BadNonce { given, next: account.nonce, window: NONCE_WINDOW };
    let ahead = given.checked_sub(account.nonce).filter(|ahead| *ahead < NONCE_WINDOW);
    let ahead = ahead.and_then(|ahead| u32::try_from(ahead).ok()).ok_or_else(refuse)?;
    let bit = 1u64.checked_shl(ahead).ok_or_else(refuse)?;
    if account.nonces_used & bit != 0 {
        return Err(refuse());
    }
    let used = account.nonces_used | bit;
    let done = used.trailing_ones();
    account.nonce = account.nonce.checked_add(u64::from(done)).ok_or_else(refuse)?;
    account.nonces_used = used.checked_shr(done).unwrap_or(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_once_in_any_order_within_the_window() {
        // (given, accepted, the lowest unused one after it)
        let table = [
            (1, true, 0),
            (1, false, 0),
            (63, true, 0),
            (64, false, 0),
            (0, true, 2),
            (0, false, 2),
            (1, false, 2),
            (65, true, 2),
            (66, false, 2),
            (u64::MAX, false, 2),
        ];
        let mut account = Account::default();
        for (given, accepted, next) in table {
            assert_eq!(use_nonce(&mut account, given).is_ok(), accepted, "{given}");
            assert_eq!(account.nonce, next, "after {given}");
            assert_eq!(account.nonces_used & 1, 0);
        }
        for given in (2..=64).filter(|given| *given != 63) {
            assert_eq!(use_nonce(&mut account, given), Ok(()), "{given}");
        }
        assert_eq!((account.nonce, account.nonces_used), (66, 0));
    }

    #[test]
    fn all_of_a_window_can_be_used_backwards() {
        let mut account = Account { nonce: 7, ..Account::default() };
        for given in (7..71).rev() {
            assert_eq!(use_nonce(&mut account, given), Ok(()));
        }
        assert_eq!((account.nonce, account.nonces_used), (71, 0));
    }
}
