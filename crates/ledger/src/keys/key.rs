//! Parts of storage keys, and how they are written.

use muster_market::Level;
use muster_types::{
    AccountId, DisputeId, EscrowId, Hash, HostId, JobId, LeaseId, Millis, OrderId, ProposalId,
    UnbondingId,
};

/// A part of a storage key. Encodings sort as the values do.
pub trait Key: Sized {
    /// Appends the encoding.
    fn write(&self, out: &mut Vec<u8>);

    /// Takes an encoding off the front of `bytes`; `None` where there is none.
    fn read(bytes: &mut &[u8]) -> Option<Self>;
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

impl Key for () {
    fn write(&self, _: &mut Vec<u8>) {}

    fn read(_: &mut &[u8]) -> Option<Self> {
        Some(())
    }
}

impl Key for Hash {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        take(bytes).map(Self)
    }
}

macro_rules! id_key {
    ($($id:ident),*) => {$(
        impl Key for $id {
            fn write(&self, out: &mut Vec<u8>) {
                self.0.write(out);
            }

            fn read(bytes: &mut &[u8]) -> Option<Self> {
                Key::read(bytes).map(Self)
            }
        }
    )*};
}

id_key!(AccountId, OrderId, LeaseId, EscrowId, JobId, DisputeId, UnbondingId, ProposalId);

impl Key for HostId {
    fn write(&self, out: &mut Vec<u8>) {
        self.provider.write(out);
        out.extend_from_slice(&self.index.to_be_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let provider = Key::read(bytes)?;
        Some(Self { provider, index: u32::from_be_bytes(take(bytes)?) })
    }
}

impl Key for u64 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        take(bytes).map(Self::from_be_bytes)
    }
}

impl Key for u128 {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_be_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        take(bytes).map(Self::from_be_bytes)
    }
}

impl Key for Millis {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Key::read(bytes).map(Self)
    }
}

/// A list of hosts in [`OFFERS`](super::OFFERS): a class by its short name (eight bytes), then two
/// bytes for the kind of its hosts (the high four bits) and the two parts of their level there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OfferList {
    pub(crate) class: [u8; 8],
    pub(crate) kind: u8,
    pub(crate) level: Level,
}

impl Key for OfferList {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.class);
        out.extend_from_slice(&[self.kind << 4 | self.level.main, self.level.beside]);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let class = take(bytes)?;
        let [list, beside] = take(bytes)?;
        let level = Level { main: list & 0x0F, beside };
        Some(Self { class, kind: list >> 4, level })
    }
}

/// A unit price in nano-units an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnitPrice(pub(crate) u64);

impl Key for UnitPrice {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_be_bytes());
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        take(bytes).map(|bytes| Self(u64::from_be_bytes(bytes)))
    }
}

impl<A: Key, B: Key> Key for (A, B) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::read(bytes)?, B::read(bytes)?))
    }
}

impl<A: Key, B: Key, C: Key> Key for (A, B, C) {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
        self.1.write(out);
        self.2.write(out);
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        Some((A::read(bytes)?, B::read(bytes)?, C::read(bytes)?))
    }
}
