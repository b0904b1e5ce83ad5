//! Parts of storage keys, and how they are written.

use borsh::{BorshDeserialize, BorshSerialize};
use muster_market::Level;
use muster_types::{
    AccountId, DisputeId, EscrowId, Hash, HashDomain, HostId, JobId, LeaseId, Millis, OrderId,
    ProposalId, UnbondingId,
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

/// A unit price in nano-units an hour, less than 2^57. Written as the number of its bits and then,
/// in seven bytes, those behind the first: so its first bytes tell prices apart, and a map that
/// compares the first bytes of keys seldom has to look at the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnitPrice(u64);

impl UnitPrice {
    /// Nothing.
    pub(crate) const ZERO: Self = Self(0);
    const MAX: u64 = (1 << 57) - 1;

    /// As near to `nanos` as can be written.
    pub(crate) fn of(nanos: u128) -> Self {
        Self(u64::try_from(nanos).unwrap_or(Self::MAX).min(Self::MAX))
    }

    /// In nano-units.
    pub(crate) const fn nanos(self) -> u64 {
        self.0
    }
}

impl Key for UnitPrice {
    fn write(&self, out: &mut Vec<u8>) {
        let bits = u64::BITS.saturating_sub(self.0.leading_zeros());
        // The first bit goes.
        let behind = self.0.checked_shl(u64::BITS.saturating_sub(bits)).unwrap_or(0) << 1;
        out.push(u8::try_from(bits).unwrap_or(u8::MAX));
        out.extend(behind.to_be_bytes().iter().take(7));
    }

    fn read(bytes: &mut &[u8]) -> Option<Self> {
        let [bits, behind @ ..] = take::<8>(bytes)?;
        let Some(shift) = u32::from(bits).checked_sub(1) else {
            return (behind == [0; 7]).then_some(Self(0));
        };
        let behind = behind.iter().fold(0, |all, byte| all << 8 | u64::from(*byte));
        // Behind the first bit there are 56.
        let price = (1 << 56 | behind).checked_shr(56u32.checked_sub(shift)?)?;
        let lost = behind.checked_shl(shift).unwrap_or(0) & ((1 << 56) - 1);
        (lost == 0).then_some(Self(price))
    }
}

/// Where a host stands, in short: what has another tag stands in another region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RegionTag([u8; 4]);

impl RegionTag {
    pub(crate) fn of(region: &str) -> Self {
        static NAME: HashDomain = HashDomain::new("muster region v1");
        let name = NAME.hash(&[region.as_bytes()]);
        Self(name.0.first_chunk().copied().unwrap_or_default())
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
