//! Merkle trees over hashes: one root for a list, and short proofs that a leaf is in it.
//!
//! Pairs are joined level by level; an odd one at the end of a level goes up as it is. The root
//! binds the number of leaves, so that a list has one root and a root one length:
//! `root = H(count, top)`, and the root of nothing is [`Hash::ZERO`]. Nodes and root are hashed
//! in domains of their own; leaves are hashes that their owner made in a domain of its own.

use crate::{Hash, HashDomain};

static NODE: HashDomain = HashDomain::new("muster merkle node v1");
static ROOT: HashDomain = HashDomain::new("muster merkle root v1");

/// The root over `leaves`, in their order.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = parents(&level);
    }
    level.first().map_or(Hash::ZERO, |top| seal(leaves.len(), top))
}

/// The siblings that lead from the leaf at `index` up to the root, lowest first. Empty where
/// there is no such leaf.
#[must_use]
pub fn proof(leaves: &[Hash], index: usize) -> Vec<Hash> {
    let mut siblings = Vec::new();
    if index >= leaves.len() {
        return siblings;
    }
    let (mut level, mut at) = (leaves.to_vec(), index);
    while level.len() > 1 {
        siblings.extend(level.get(at ^ 1));
        level = parents(&level);
        at >>= 1;
    }
    siblings
}

/// Whether `leaf` is the one at `index` of the `count` leaves under `root`.
#[must_use]
pub fn verify(root: &Hash, leaf: &Hash, index: u64, count: u64, proof: &[Hash]) -> bool {
    if index >= count {
        return false;
    }
    let (mut at, mut last, mut node) = (index, count - 1, *leaf);
    let mut siblings = proof.iter();
    while last > 0 {
        if at & 1 == 1 {
            let Some(left) = siblings.next() else { return false };
            node = join(left, &node);
        } else if at < last {
            let Some(right) = siblings.next() else { return false };
            node = join(&node, right);
        }
        at >>= 1;
        last >>= 1;
    }
    siblings.next().is_none() && *root == seal_u64(count, &node)
}

fn parents(level: &[Hash]) -> Vec<Hash> {
    level
        .chunks(2)
        .map(|pair| match pair {
            [left, right] => join(left, right),
            rest => rest.first().copied().unwrap_or(Hash::ZERO),
        })
        .collect()
}

fn join(left: &Hash, right: &Hash) -> Hash {
    NODE.hash(&[left.as_bytes(), right.as_bytes()])
}

fn seal(count: usize, top: &Hash) -> Hash {
    seal_u64(count as u64, top)
}

fn seal_u64(count: u64, top: &Hash) -> Hash {
    ROOT.hash(&[&count.to_le_bytes(), top.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(count: usize) -> Vec<Hash> {
        (0..count).map(|index| Hash::of("test leaf", &[&index.to_le_bytes()])).collect()
    }

    #[test]
    fn every_leaf_is_proven_and_no_other() {
        for count in 1..=33 {
            let leaves = leaves(count);
            let root = root(&leaves);
            for (index, leaf) in leaves.iter().enumerate() {
                let proof = proof(&leaves, index);
                let ok = |root, leaf, index: usize, count: usize, proof: &[Hash]| {
                    verify(root, leaf, index as u64, count as u64, proof)
                };
                assert!(ok(&root, leaf, index, count, &proof), "{index} of {count}");
                assert!(!ok(&root, &Hash::ZERO, index, count, &proof));
                assert!(!ok(&Hash::ZERO, leaf, index, count, &proof));
                assert!(!ok(&root, leaf, index, count + 1, &proof));
                for other in (0..count + 2).filter(|other| *other != index) {
                    assert!(!ok(&root, leaf, other, count, &proof), "{index} passed as {other}");
                }
                let mut long = proof.clone();
                long.push(Hash::ZERO);
                assert!(!ok(&root, leaf, index, count, &long));
                if let Some((_, short)) = proof.split_last() {
                    assert!(!ok(&root, leaf, index, count, short));
                }
            }
        }
    }

    #[test]
    fn lists_of_different_lengths_have_different_roots() {
        assert_eq!(root(&[]), Hash::ZERO);
        assert_eq!(proof(&[], 0), []);
        assert!(!verify(&Hash::ZERO, &Hash::ZERO, 0, 0, &[]));
        let all = leaves(9);
        let mut roots: Vec<Hash> = (0..=9).map(|count| root(&all[..count])).collect();
        roots.sort_unstable();
        roots.dedup();
        assert_eq!(roots.len(), 10);
    }
}
