//! What a state says of a transaction that waits for a block: a few reads, and nothing changes.
//!
//! Whether the ledger takes a transaction is known in its block only. This says what its envelope is
//! worth until then; the action is not looked at.
//!
//! | envelope | standing |
//! |---|---|
//! | void by now; its nonce is used; `max_fee` less than its fee, tip included | refused: no later block takes it (unless a vote lowers fees) |
//! | a duty ([`Action::is_duty`]) of a key that votes now | [`Standing::Duty`] |
//! | who signed it may act for the account, the nonce is less than `ahead` above the lowest unused one, and the balance pays the fee | [`Standing::Good`] |
//! | any other | [`Standing::NotYet`]: the state refuses it, and other transactions may change the state |
//!
//! [`Action::is_duty`]: crate::Action::is_duty

use super::{
    NONCE_WINDOW,
    envelope::{self, Cost},
};
use crate::{Params, Reject, Tx, keys, stake::committee, state::State};
use muster_types::{Amount, Auth, Millis};

/// What a waiting transaction's envelope is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is owed to the chain and costs nothing.
    Duty,
    /// The account can pay for it.
    Good {
        /// What it costs without its tip, `usd`.
        floor: Amount,
        /// What it costs, tip included, `usd`.
        fee: Amount,
        /// What the account has, `usd`.
        balance: Amount,
    },
    /// The state refuses it as it is.
    NotYet(Reject),
}

/// A state as it is asked about waiting transactions.
pub struct Admission<'a> {
    state: &'a dyn State,
    params: Params,
    now: Millis,
}

impl<'a> Admission<'a> {
    /// Asks `state`; `None` before genesis.
    #[must_use]
    pub fn new(state: &'a dyn State) -> Option<Self> {
        let now = keys::HEAD.get(state, &())?.now;
        Some(Self { state, params: keys::PARAMS.get(state, &())?, now })
    }

    /// The standing of a transaction of this chain whose signed encoding has so many bytes. Its
    /// nonce may be up to `ahead` above the lowest unused one, the window itself at least.
    ///
    /// # Errors
    /// [`Reject`] where no later block takes it.
    pub fn standing(&self, tx: &Tx, bytes: usize, ahead: u64) -> Result<Standing, Reject> {
        let sealed = &tx.envelope;
        if self.now > sealed.expires {
            return Err(Reject::Expired { expires: sealed.expires, now: self.now });
        }
        if sealed.action.is_duty()
            && matches!(tx.auth, Auth::Own(_))
            && committee::is_seat(self.state, &sealed.signer)
        {
            return Ok(Standing::Duty);
        }
        let Cost { floor, fee } = envelope::cost(&self.params, tx, bytes)?;
        let Some(account) = keys::ACCOUNTS.get(self.state, &sealed.signer) else {
            return Ok(Standing::NotYet(Reject::NoAccount));
        };
        let (next, used, acts) = match &tx.auth {
            Auth::Key(by) => {
                let Some(record) = keys::KEYS.get(self.state, &(sealed.signer, by.key)) else {
                    return Ok(Standing::NotYet(Reject::not_found("key")));
                };
                let acts = envelope::may_act(&record, self.now, &sealed.action);
                (record.nonce, record.nonces_used, acts)
            }
            Auth::Members(members) => {
                let authority = keys::AUTHORITIES.get(self.state, &sealed.signer);
                let policy = authority.and_then(|authority| authority.policy);
                (account.nonce, account.nonces_used, envelope::suffice(policy, members))
            }
            Auth::Own(_) => {
                let acts = if account.multisig { Err(Reject::not_yours("member")) } else { Ok(()) };
                (account.nonce, account.nonces_used, acts)
            }
        };
        let far = Reject::BadNonce { given: sealed.nonce, next, window: NONCE_WINDOW };
        let Some(above) = sealed.nonce.checked_sub(next) else { return Err(far) };
        let bit = u32::try_from(above).ok().and_then(|above| used.checked_shr(above));
        if bit.is_some_and(|bit| bit & 1 == 1) {
            return Err(far);
        }
        if let Err(reject) = acts {
            return Ok(Standing::NotYet(reject));
        }
        if above >= ahead.max(NONCE_WINDOW) {
            return Ok(Standing::NotYet(far));
        }
        let balance = account.usd;
        if fee > balance {
            let short = Reject::InsufficientFunds { needed: fee, available: balance };
            return Ok(Standing::NotYet(short));
        }
        Ok(Standing::Good { floor, fee, balance })
    }
}

#[cfg(test)]
mod tests;
