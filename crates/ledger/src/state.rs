//! The state: an ordered map of bytes, read synchronously, written as a set of changes.
//!
//! Rules read through [`State`] and write into a [`Scratch`]; nothing else holds state. A block's
//! writes come out as one [`Changes`], which its host applies to whatever it keeps (a map in
//! tests; a resident map written through to an authenticated store in a node).

use std::collections::BTreeMap;

mod key;
mod memory;
mod scratch;

pub use memory::MemoryState;
pub use scratch::Scratch;
pub(crate) use scratch::Slots;

/// Read access to an ordered key-value state.
pub trait State {
    /// The value at `key`.
    fn get(&self, key: &[u8]) -> Option<Vec<u8>>;

    /// Calls `reader` once with the value at `key`; without a copy where the state can.
    fn read(&self, key: &[u8], reader: &mut dyn FnMut(Option<&[u8]>)) {
        reader(self.get(key).as_deref());
    }

    /// The entries with `start <= key < end`, in key order.
    fn range<'a>(
        &'a self,
        start: &[u8],
        end: &[u8],
    ) -> Box<dyn Iterator<Item = (Vec<u8>, Vec<u8>)> + 'a>;
}

/// What a block (or a transaction) writes: the new value of a key, or `None` where it is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(pub BTreeMap<Vec<u8>, Option<Vec<u8>>>);
