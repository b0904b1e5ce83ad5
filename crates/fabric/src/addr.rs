//! How to reach a peer.

use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::AccountId;
use serde::{Deserialize, Serialize};
use std::{fmt, io, net::SocketAddr, str::FromStr};

/// Most sockets that one [`PeerAddr`] may name.
pub const MAX_SOCKETS: usize = 8;

/// How to reach a peer: its account, which it must prove, and one to [`MAX_SOCKETS`] UDP sockets
/// where it may be found, which prove nothing.
///
/// As text: `<account>@<socket>[,<socket>…]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct PeerAddr {
    account: AccountId,
    sockets: Vec<SocketAddr>,
}

/// Why an address was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerAddrError {
    /// None, or more than [`MAX_SOCKETS`].
    #[error("a peer address has one to {MAX_SOCKETS} sockets, this one has {0}")]
    SocketCount(usize),
    /// Text that is not `<account>@<socket>[,<socket>…]`.
    #[error("`{0}` is not a peer address: expected `<account>@<ip>:<port>[,<ip>:<port>…]`")]
    Malformed(String),
}

impl PeerAddr {
    /// The address of `account` at `sockets`.
    ///
    /// # Errors
    /// [`PeerAddrError::SocketCount`] for none or too many sockets.
    pub fn new(account: AccountId, sockets: Vec<SocketAddr>) -> Result<Self, PeerAddrError> {
        if sockets.is_empty() || sockets.len() > MAX_SOCKETS {
            return Err(PeerAddrError::SocketCount(sockets.len()));
        }
        Ok(Self { account, sockets })
    }

    /// Whose key must answer.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// Where to look for it.
    #[must_use]
    pub fn sockets(&self) -> &[SocketAddr] {
        &self.sockets
    }
}

/// The serde form before its bound is checked.
#[derive(Deserialize)]
struct Unchecked {
    account: AccountId,
    sockets: Vec<SocketAddr>,
}

impl TryFrom<Unchecked> for PeerAddr {
    type Error = PeerAddrError;
    fn try_from(raw: Unchecked) -> Result<Self, Self::Error> {
        Self::new(raw.account, raw.sockets)
    }
}

impl BorshDeserialize for PeerAddr {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let account = AccountId::deserialize_reader(reader)?;
        let refuse = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let count = u32::deserialize_reader(reader)?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > MAX_SOCKETS {
            return Err(refuse(PeerAddrError::SocketCount(count)));
        }
        let sockets = (0..count)
            .map(|_| SocketAddr::deserialize_reader(reader))
            .collect::<io::Result<_>>()?;
        Self::new(account, sockets).map_err(refuse)
    }
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.account)?;
        for (index, socket) in self.sockets.iter().enumerate() {
            write!(f, "{}{socket}", if index == 0 { '@' } else { ',' })?;
        }
        Ok(())
    }
}

impl fmt::Debug for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerAddr({}@{:?})", self.account.short(), self.sockets)
    }
}

impl FromStr for PeerAddr {
    type Err = PeerAddrError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || PeerAddrError::Malformed(text.chars().take(80).collect());
        let (account, sockets) = text.split_once('@').ok_or_else(malformed)?;
        let account = account.parse().map_err(|_| malformed())?;
        let sockets = sockets
            .split(',')
            .take(MAX_SOCKETS + 1)
            .map(|socket| socket.parse().map_err(|_| malformed()))
            .collect::<Result<_, _>>()?;
        Self::new(account, sockets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_hostile::{bent_text, canonical};
    use muster_types::{SecretKey, codec};

    fn account() -> AccountId {
        SecretKey::from_seed([7; 32]).account()
    }

    fn sockets(count: u16) -> Vec<SocketAddr> {
        (0..count).map(|port| SocketAddr::from(([127, 0, 0, 1], port))).collect()
    }

    #[test]
    fn text_json_and_binary_forms_round_trip() {
        let mut both = sockets(2);
        both.push("[::1]:99".parse().unwrap());
        let addr = PeerAddr::new(account(), both).unwrap();
        assert_eq!(addr.to_string().parse(), Ok(addr.clone()));
        let json = serde_json::to_string(&addr).unwrap();
        assert_eq!(serde_json::from_str::<PeerAddr>(&json).unwrap(), addr);
        assert_eq!(codec::decode::<PeerAddr>(&codec::encode(&addr), 1024), Ok(addr));
    }

    #[test]
    fn an_address_from_anybody_is_refused_or_has_one_to_eight_sockets() {
        let mut both = sockets(2);
        both.push("[::1]:99".parse().unwrap());
        let good = [PeerAddr::new(account(), sockets(1)), PeerAddr::new(account(), both)];
        let good = good.map(Result::unwrap);
        let taken = canonical(&good.clone().map(|addr| codec::encode(&addr)), 20_000, |bytes| {
            let addr = codec::decode::<PeerAddr>(bytes, 1024).ok()?;
            assert!((1..=MAX_SOCKETS).contains(&addr.sockets().len()));
            Some(codec::encode(&addr))
        });
        assert!(taken > 500, "{taken}");
        let texts = good.map(|addr| addr.to_string());
        let mut read = 0;
        bent_text(&texts.each_ref().map(String::as_str), 20_000, |text| {
            if let Ok(addr) = text.parse::<PeerAddr>() {
                assert!((1..=MAX_SOCKETS).contains(&addr.sockets().len()));
                assert_eq!(addr.to_string().parse(), Ok(addr), "{text}");
                read += 1;
            }
        });
        assert!(read > 500, "{read}");
    }

    #[test]
    fn every_form_refuses_none_and_nine_sockets() {
        for count in [0, 9] {
            let bad = PeerAddr { account: account(), sockets: sockets(count) };
            assert_eq!(
                PeerAddr::new(bad.account, bad.sockets.clone()),
                Err(PeerAddrError::SocketCount(usize::from(count)))
            );
            assert!(bad.to_string().parse::<PeerAddr>().is_err());
            let json = serde_json::to_string(&bad).unwrap();
            assert!(serde_json::from_str::<PeerAddr>(&json).is_err());
            assert!(codec::decode::<PeerAddr>(&codec::encode(&bad), 1024).is_err());
        }
    }

    #[test]
    fn text_that_is_no_address_is_refused() {
        let account = account();
        for text in ["", "@", "nobody@127.0.0.1:1", &format!("{account}@127.0.0.1"), "127.0.0.1:1"]
        {
            assert!(matches!(text.parse::<PeerAddr>(), Err(PeerAddrError::Malformed(_))), "{text}");
        }
    }
}
