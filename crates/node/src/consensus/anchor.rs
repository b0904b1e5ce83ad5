//! What a node with an empty directory takes for granted.
//!
//! Who took stake back can sign another past at no cost ([`crate::light`]), and a new node cannot tell
//! it from the real one.
//!
//! | directory | genesis | anchor | the node |
//! |---|---|---|---|
//! | has data | | | goes on from it |
//! | empty | of this chain, no older than stake stays locked | none | begins with genesis |
//! | empty | older | none | does not start: it needs an anchor |
//! | empty | | of this chain, no older than stake stays locked | begins with the anchor, and fetches the state |
//! | empty | | older, or of another chain | does not start |
//! | empty | | any, but it is not to fetch the state | does not start: nothing proves the blocks before an anchor |
//!
//! A chain's only validator has nobody to believe.

use super::{Config, NetworkConfig, NodeError, engine_validators};
use crate::light::{Trust, TrustError};
use muster_types::{AccountId, Millis};

/// What a walk begins with instead of genesis: an epoch, and who votes in it.
///
/// # Errors
/// [`NodeError::Trust`] and [`NodeError::Anchor`], where the anchor is of another chain, or does not
/// name validators.
pub(super) fn start(config: &Config) -> Result<Option<(u64, Vec<AccountId>)>, NodeError> {
    let Some(anchor) = &config.anchor else { return Ok(None) };
    let (chain, expected) = (anchor.chain, config.genesis.id());
    if chain != expected {
        let error = TrustError::OtherChain { what: "anchor", found: expected, expected: chain };
        return Err(NodeError::Trust(error));
    }
    if engine_validators(&anchor.validators).is_none_or(|keys| keys.is_empty()) {
        return Err(NodeError::Anchor { reason: "its validators are not distinct ed25519 keys" });
    }
    Ok(Some((anchor.epoch, anchor.validators.clone())))
}

/// Checks what a node with an empty directory would believe, where the time is `now`.
///
/// # Errors
/// [`NodeError::Trust`] and [`NodeError::Anchor`].
pub(super) fn check(config: &Config, now: Millis) -> Result<(), NodeError> {
    if config.network == NetworkConfig::Alone {
        return Ok(());
    }
    let trust = match &config.anchor {
        Some(_) if !config.state_sync => {
            let reason = "a node that executes every block begins with genesis: set state_sync";
            return Err(NodeError::Anchor { reason });
        }
        Some(anchor) => Trust::anchor(&config.genesis, anchor.clone(), now),
        None => Ok(Trust::genesis(&config.genesis, now)),
    };
    trust.and_then(|trust| trust.check_age()).map_err(NodeError::Trust)
}
