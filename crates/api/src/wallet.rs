use crate::{Client, ClientError, views::Applied};
use muster_ledger::{Action, Tx};
use muster_types::{AccountId, Amount, Envelope, Hash, Millis, SecretKey};
use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::Mutex;

/// How long a signed transaction stays good, in block time.
const LIFETIME: Millis = Millis(60_000);

/// The most that a transaction may cost beside its tip, `usd`.
const MAX_FEE: Amount = Amount::from_nanos(10_000_000);

/// Why an action could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum WalletError {
    /// The account was never paid.
    #[error("account {account} does not exist yet: send it some usd first (`muster wallet send`)")]
    Unfunded {
        /// Whose.
        account: AccountId,
    },
    /// The key may not act for the account, or may no more.
    #[error(
        "{key} has no authority over account {account}: its owner grants it \
         (`muster wallet grant {key} …`)"
    )]
    NotDelegated {
        /// Whose key it is.
        key: AccountId,
        /// For whom it would act.
        account: AccountId,
    },
    /// The node could not be asked, or refused.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Which nonces to use next. A refused transaction's nonce is still good and is used again; one
/// whose fate is unknown is left out until the ledger is asked anew.
#[derive(Debug, Default)]
struct Nonces {
    next: Option<u64>,
    spare: BTreeSet<u64>,
}

impl Nonces {
    /// What is unused of a window that starts at `lowest` and in which `used` has a bit a nonce:
    /// the holes (the lowest always is one), then everything above the highest used.
    fn unused(lowest: u64, used: u64) -> Self {
        let width = u64::from(64 - used.leading_zeros()).max(1);
        let holes = (0..width).filter(|bit| used >> bit & 1 == 0);
        Self {
            spare: holes.map(|bit| lowest.saturating_add(bit)).collect(),
            next: Some(lowest.saturating_add(width)),
        }
    }
}

/// A client that acts: signs with one key, counts nonces, waits for finality. Clones share the
/// nonce, so that many actions can be in flight at once.
#[derive(Clone, Debug)]
pub struct Wallet {
    client: Client,
    key: SecretKey,
    account: AccountId,
    chain: Hash,
    tip: Amount,
    nonces: Arc<Mutex<Nonces>>,
}

impl Wallet {
    /// A wallet on the chain of `client`'s node.
    ///
    /// # Errors
    /// [`ClientError`] where the node cannot be asked for its chain.
    pub async fn new(client: Client, key: SecretKey) -> Result<Self, ClientError> {
        let account = key.account();
        Self::acting_for(client, key, account).await
    }

    /// A wallet that acts for `account`, which has delegated to `key` (or is its own account).
    ///
    /// # Errors
    /// [`ClientError`] where the node cannot be asked for its chain.
    pub async fn acting_for(
        client: Client,
        key: SecretKey,
        account: AccountId,
    ) -> Result<Self, ClientError> {
        let chain = client.status().await?.chain;
        Ok(Self { client, key, account, chain, tip: Amount::ZERO, nonces: Arc::default() })
    }

    /// The same wallet, whose transactions pay `tip` (`usd`) on top of the floor of their fees each,
    /// so that they go before those that pay less.
    #[must_use]
    pub fn tipping(self, tip: Amount) -> Self {
        Self { tip, ..self }
    }

    /// The account that acts and pays.
    #[must_use]
    pub const fn account(&self) -> AccountId {
        self.account
    }

    /// The chain that it signs for.
    #[must_use]
    pub const fn chain(&self) -> Hash {
        self.chain
    }

    /// The key.
    #[must_use]
    pub const fn key(&self) -> &SecretKey {
        &self.key
    }

    /// The client beneath.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Signs `action` with the next nonce; nothing is sent. What the action will create is known
    /// from the transaction's id, so that it can be written down first.
    ///
    /// # Errors
    /// [`WalletError`].
    pub async fn sign(&self, action: Action) -> Result<Tx, WalletError> {
        let expires = void_after(self.client.status().await?.now, local_time(), LIFETIME);
        let nonce = self.take_nonce().await?;
        let envelope = Envelope {
            chain: self.chain,
            signer: self.account(),
            nonce,
            max_fee: max_fee(self.tip),
            tip: self.tip,
            expires,
            action,
        };
        let own = self.key.account() == self.account;
        Ok(if own { envelope.sign(&self.key) } else { envelope.sign_as(&self.key) })
    }

    /// Sends a signed transaction and waits until it is final.
    ///
    /// # Errors
    /// [`WalletError::Client`] with the ledger's refusal.
    pub async fn send(&self, tx: &Tx) -> Result<Applied, WalletError> {
        let result = self.client.submit(tx).await;
        if let Err(error) = &result {
            let mut nonces = self.nonces.lock().await;
            match error.code() {
                Some("bad_nonce") => *nonces = Nonces::default(),
                Some(_) if !error.is_transient() => {
                    nonces.spare.insert(tx.envelope.nonce);
                }
                _ => {}
            }
        }
        Ok(result?)
    }

    /// Signs and sends `action`, and waits until it is final.
    ///
    /// # Errors
    /// [`WalletError`].
    pub async fn act(&self, action: Action) -> Result<Applied, WalletError> {
        let tx = self.sign(action.clone()).await?;
        match self.send(&tx).await {
            // Another user of the same key took the nonce: once more, with what the ledger says.
            Err(WalletError::Client(error)) if error.code() == Some("bad_nonce") => {
                let tx = self.sign(action).await?;
                self.send(&tx).await
            }
            result => result,
        }
    }

    async fn take_nonce(&self) -> Result<u64, WalletError> {
        let mut nonces = self.nonces.lock().await;
        if let Some(nonce) = nonces.spare.pop_first() {
            return Ok(nonce);
        }
        if let Some(nonce) = nonces.next {
            nonces.next = Some(nonce.saturating_add(1));
            return Ok(nonce);
        }
        let (lowest, used) = self.window().await?;
        *nonces = Nonces::unused(lowest, used);
        Ok(nonces.spare.pop_first().unwrap_or(lowest))
    }

    /// The nonces that this key may use: the lowest, and which of those above are used.
    async fn window(&self) -> Result<(u64, u64), WalletError> {
        let (key, account) = (self.key.account(), self.account);
        if key == account {
            let state = self.client.account(&account).await?;
            let state = state.ok_or(WalletError::Unfunded { account })?;
            return Ok((state.nonce, state.nonces_used));
        }
        let keys = self.client.keys_of(&account).await?.delegated;
        let found = keys.into_iter().find(|view| view.key == key);
        let found = found.ok_or(WalletError::NotDelegated { key, account })?;
        Ok((found.record.nonce, found.record.nonces_used))
    }
}

/// An action of an account that acts by members, for them to sign within `valid_for`. It has the
/// account's lowest unused nonce: of two drafts that are made together only one applies. It pays
/// `tip` (`usd`) on top of the floor of its fee.
///
/// # Errors
/// [`WalletError`].
pub async fn draft(
    client: &Client,
    account: AccountId,
    action: Action,
    tip: Amount,
    valid_for: Millis,
) -> Result<Envelope<Action>, WalletError> {
    let status = client.status().await?;
    let state = client.account(&account).await?.ok_or(WalletError::Unfunded { account })?;
    Ok(Envelope {
        chain: status.chain,
        signer: account,
        nonce: state.nonce,
        max_fee: max_fee(tip),
        tip,
        expires: void_after(status.now, local_time(), valid_for),
        action,
    })
}

/// The most that a transaction with this tip may cost.
fn max_fee(tip: Amount) -> Amount {
    MAX_FEE.checked_add(tip).unwrap_or(Amount::MAX)
}

/// When a transaction signed now is void. A node that was down for long has an old last block,
/// and a local clock may be behind: the later one counts.
fn void_after(last_block: Millis, local: Millis, valid_for: Millis) -> Millis {
    last_block.max(local).after(valid_for)
}

fn local_time() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::{LIFETIME, Millis, Nonces, void_after};

    #[test]
    fn a_transaction_outlives_an_old_block_and_a_slow_clock() {
        let later = Millis(1_000_000_000);
        for (last_block, local) in [(Millis(5), later), (later, Millis(5)), (later, later)] {
            assert_eq!(void_after(last_block, local, LIFETIME), later.after(LIFETIME));
        }
    }

    #[test]
    fn unused_nonces_are_the_holes_and_then_those_above() {
        for (lowest, used, spare, next) in [
            (7, 0b0, vec![7], 8),
            (7, 0b10, vec![7], 9),
            (7, 0b1010, vec![7, 9], 11),
            (0, 1 << 63, (0..63).collect(), 64),
        ] {
            let nonces = Nonces::unused(lowest, used);
            assert_eq!(nonces.spare.into_iter().collect::<Vec<_>>(), spare);
            assert_eq!(nonces.next, Some(next));
        }
    }
}
