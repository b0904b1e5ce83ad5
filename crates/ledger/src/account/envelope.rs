//! The envelope: chain, expiry, who may act, nonce, fee; and what a delegated key spent.
//!
//! | signed by | the account's own key acts | members act |
//! |---|---|---|
//! | its own key | acts, among the account's nonces | refused |
//! | a delegated key | acts within its grant, among its own nonces | the same |
//! | members | refused | as many as the threshold, all members: act, among the account's nonces |
//!
//! A duty of a key of the committee ([`Action::is_duty`]), signed by that key, needs no account: no
//! nonce is looked at, and neither fee nor tip is taken.
//!
//! The fee is `fee_per_byte x bytes + fee_per_unit x units`, its floor, and the envelope's `tip`;
//! more than `max_fee` in all is refused. Orders clear by the fee that they paid, and who makes
//! blocks takes the transactions first that tip most for each part of their floor.

use super::{Account, Authority, DelegatedKey, Multisig, NONCE_WINDOW};
use crate::{
    Action, Params, Reject, Tx,
    block::Stamp,
    ctx::{By, Ctx, Env, sum},
    provider::Provider,
    stake::committee,
};
use muster_types::{AccountId, Amount, Auth, Envelope, KeySignature, Millis};

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

/// A delegated key at work, and the account's free balances before it.
pub(crate) struct Spender {
    key: AccountId,
    usd: Amount,
    mst: Amount,
}

/// What a transaction costs, `usd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    /// What anybody would be charged for it.
    pub(super) floor: Amount,
    /// The floor and the tip.
    pub(super) fee: Amount,
}

/// Uses the nonce and pays the fee: so much for every byte of the signed encoding, so much for each
/// of its units, and the tip. What a provider pays to others counts as fees paid in its conduct,
/// the tip aside: who makes blocks can give a tip back, so that conduct would cost nothing.
pub(crate) fn admit(
    ctx: &mut Ctx<'_>,
    tx: &Tx,
    stamp: &Stamp,
) -> Result<(By, Option<Spender>), Reject> {
    let envelope = &tx.envelope;
    let signer = envelope.signer;
    if envelope.action.is_duty()
        && matches!(tx.auth, Auth::Own(_))
        && committee::is_seat(&ctx.scratch, &signer)
    {
        return Ok((By { signer, tx: stamp.id, floor: Amount::ZERO, fee: Amount::ZERO }, None));
    }
    let mut account: Account = ctx.find(&signer).ok_or(Reject::NoAccount)?;
    let mut spender = None;
    match &tx.auth {
        Auth::Key(by) => {
            use_key(ctx, &signer, &by.key, envelope)?;
            spender = Some(Spender { key: by.key, usd: account.usd, mst: account.mst });
        }
        Auth::Own(_) | Auth::Members(_) => {
            match &tx.auth {
                Auth::Members(members) => check_members(ctx, &signer, members)?,
                _ if account.multisig => return Err(Reject::not_yours("member")),
                _ => {}
            }
            use_nonce(&mut account.nonce, &mut account.nonces_used, envelope.nonce)?;
        }
    }
    let Cost { floor, fee } = cost(&ctx.env.params, tx, stamp.bytes)?;
    let available = account.usd;
    account.usd =
        available.checked_sub(fee).ok_or(Reject::InsufficientFunds { needed: fee, available })?;
    ctx.store(&signer, &account);
    ctx.fee(fee)?;
    if signer != committee::owner(&ctx.scratch, &ctx.env.proposer)
        && let Some(mut provider) = ctx.find::<Provider>(&signer)
    {
        provider.conduct.fees_paid = sum(provider.conduct.fees_paid, floor)?;
        ctx.store(&signer, &provider);
    }
    Ok((By { signer, tx: stamp.id, floor, fee }, spender))
}

/// The members suffice: there is a policy, they are in it, and they are as many as it asks for.
/// One more is refused: anybody could take it off again and so change the transaction's id.
fn check_members(
    ctx: &Ctx<'_>,
    account: &AccountId,
    members: &[KeySignature],
) -> Result<(), Reject> {
    let authority: Option<Authority> = ctx.find(account);
    suffice(authority.and_then(|authority| authority.policy), members)
}

/// As [`check_members`], of a policy.
pub(super) fn suffice(policy: Option<Multisig>, members: &[KeySignature]) -> Result<(), Reject> {
    let policy = policy.ok_or(Reject::not_yours("owner"))?;
    if !policy.has(members) {
        return Err(Reject::not_yours("member"));
    }
    if members.len() != usize::from(policy.threshold) {
        let given = u64::try_from(members.len()).map_err(|_| Reject::Overflow)?;
        return Err(Reject::Signatures { needed: u64::from(policy.threshold), given });
    }
    Ok(())
}

/// The key was granted, is good and may do this; uses its nonce.
fn use_key(
    ctx: &mut Ctx<'_>,
    account: &AccountId,
    key: &AccountId,
    envelope: &Envelope<Action>,
) -> Result<(), Reject> {
    let id = (*account, *key);
    let mut record: DelegatedKey = ctx.load(&id)?;
    may_act(&record, ctx.env.head.now, &envelope.action)?;
    use_nonce(&mut record.nonce, &mut record.nonces_used, envelope.nonce)?;
    ctx.store(&id, &record);
    Ok(())
}

/// The key is good at `now`, and one of its scopes allows the action.
pub(super) fn may_act(record: &DelegatedKey, now: Millis, action: &Action) -> Result<(), Reject> {
    if now > record.expires {
        return Err(Reject::wrong_state("key", "expired"));
    }
    if record.scopes.meets(action.scopes()) { Ok(()) } else { Err(Reject::OutOfScope) }
}

/// Takes what the account's free balances fell by, fee included, off the key's limits.
pub(crate) fn charge(
    ctx: &mut Ctx<'_>,
    account: &AccountId,
    spender: &Spender,
) -> Result<(), Reject> {
    let now: Account = ctx.load(account)?;
    let id = (*account, spender.key);
    let mut record: DelegatedKey = ctx.load(&id)?;
    spend(&mut record.usd_left, spender.usd.saturating_sub(now.usd))?;
    spend(&mut record.mst_left, spender.mst.saturating_sub(now.mst))?;
    ctx.store(&id, &record);
    Ok(())
}

fn spend(limit: &mut Amount, needed: Amount) -> Result<(), Reject> {
    let left = *limit;
    *limit = left.checked_sub(needed).ok_or(Reject::SpendLimit { needed, left })?;
    Ok(())
}

/// What a transaction of so many bytes costs, where that is no more than it allows. A signature
/// beyond the first costs a unit.
pub(super) fn cost(params: &Params, tx: &Tx, bytes: usize) -> Result<Cost, Reject> {
    let count = |count: usize| u64::try_from(count).map_err(|_| Reject::Overflow);
    let bytes = count(bytes)?;
    let by_size = params.fee_per_byte.checked_mul(bytes).ok_or(Reject::Overflow)?;
    let signatures = count(tx.auth.count().saturating_sub(1))?;
    let units = tx.envelope.action.units().saturating_add(signatures);
    let floor = sum(by_size, params.fee_per_unit.checked_mul(units).ok_or(Reject::Overflow)?)?;
    let (fee, max_fee) = (sum(floor, tx.envelope.tip)?, tx.envelope.max_fee);
    if fee > max_fee { Err(Reject::FeeTooHigh { fee, max_fee }) } else { Ok(Cost { floor, fee }) }
}

fn use_nonce(next: &mut u64, nonces_used: &mut u64, given: u64) -> Result<(), Reject> {
    let refuse = || Reject::BadNonce { given, next: *next, window: NONCE_WINDOW };
    let ahead = given.checked_sub(*next).filter(|ahead| *ahead < NONCE_WINDOW);
    let ahead = ahead.and_then(|ahead| u32::try_from(ahead).ok()).ok_or_else(refuse)?;
    let bit = 1u64.checked_shl(ahead).ok_or_else(refuse)?;
    if *nonces_used & bit != 0 {
        return Err(refuse());
    }
    let used = *nonces_used | bit;
    let done = used.trailing_ones();
    *next = next.checked_add(u64::from(done)).ok_or_else(refuse)?;
    *nonces_used = used.checked_shr(done).unwrap_or(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn use_nonce(account: &mut Account, given: u64) -> Result<(), Reject> {
        super::use_nonce(&mut account.nonce, &mut account.nonces_used, given)
    }

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
