//! What a light client believes of a chain whose validators changed, and what it does not.

use super::{super::super::digest_of, *};
use crate::{
    consensus::{Epochs, Header, committee_hash},
    light::{LightError, Prover, Trust, TrustError},
};
use commonware_consensus::{
    simplex::types::{Finalization, Finalize},
    types::Epoch,
};
use commonware_parallel::Sequential;
use commonware_utils::non_empty;
use muster_api::{
    receipt::{BlockProof, Trail},
    views::{Anchor, EpochEnd},
};
use muster_types::{Hash, codec};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use std::sync::OnceLock;

/// A chain on which one validator joined and another left, as its nodes prove it.
#[derive(Clone)]
struct Chain {
    genesis: Genesis,
    trail: Trail,
    /// Of the first epoch, of one with the joiner, of one without the leaver.
    blocks: Vec<BlockProof>,
    /// The block on the last of them.
    child: BlockProof,
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}

async fn proof(node: &Consensus, height: u64) -> BlockProof {
    let block = node.block(height).await.unwrap().unwrap();
    let proved = node.certified(height).await.unwrap();
    BlockProof {
        height,
        epoch: block.header.epoch,
        now: block.header.time,
        digest: block.digest,
        header: hex(&block.preimage),
        descendants: proved.descendants.iter().map(|header| hex(header)).collect(),
        certificate: hex(&proved.certificate),
        count: 0,
        events: Vec::new(),
    }
}

async fn make(context: Context) -> Chain {
    let oracle = network(&context, VALIDATORS + 1).await;
    let mut nodes = Vec::new();
    for index in 0..=VALIDATORS {
        nodes.push(start(&context, &oracle, index).await);
    }
    let (joiner, leaver) = (key(VALIDATORS), key(0));
    let joins = &nodes[usize::from(VALIDATORS)];
    let epochs = Epochs::new(four().epoch_blocks);
    let mut heights = vec![2];
    act(joins, &joiner, 0, Action::ValidatorSet { commission_bps: 0 }).await;
    act(joins, &joiner, 1, Action::StakeAdd { amount: STAKE }).await;
    validators(joins, |now| now.len() == 5).await;
    heights.push(joins.node.head().height + 2);
    reach(&nodes[0], joins.node.head().height + 2).await;
    let all = Action::Unstake { validator: leaver.account(), amount: STAKE };
    act(&nodes[0], &leaver, 0, all).await;
    validators(&nodes[1], |now| now.len() == 4).await;
    let mut last = nodes[1].node.head().height + 2;
    if epochs.is_last(last) {
        last += 1;
    }
    heights.push(last);
    // The certificates of what is behind by so much are on disk.
    reach(&nodes[1], last + 4).await;
    let (mut ends, mut blocks) = (Vec::new(), Vec::new());
    for epoch in 0..epochs.of(last) {
        ends.push(nodes[1].node.epoch_end(epoch).await.unwrap().view().unwrap());
    }
    for height in heights {
        blocks.push(proof(&nodes[1].node, height).await);
    }
    let child = proof(&nodes[1].node, last + 1).await;
    let mut first = four().validators;
    first.sort_unstable();
    assert_eq!(nodes[1].node.epoch_end(1_000).await, None);
    Chain { genesis: four(), trail: Trail { epoch: 0, validators: first, ends }, blocks, child }
}

fn chain() -> Chain {
    static CHAIN: OnceLock<Chain> = OnceLock::new();
    CHAIN.get_or_init(|| Runner::seeded(17).start(make)).clone()
}

impl Chain {
    fn now(&self) -> Millis {
        self.blocks.last().unwrap().now
    }

    /// When whoever signed at `since` is free.
    fn free(&self, since: Millis) -> Millis {
        since.after(self.genesis.params.stake_unbonding_ms).after(Millis(1))
    }

    fn by_genesis(&self) -> Trust {
        Trust::genesis(&self.genesis, self.now())
    }

    /// An anchor on the last block of `epoch`.
    fn anchor(&self, epoch: usize) -> Anchor {
        let end = &self.trail.ends[epoch];
        let preimage = data_encoding::HEXLOWER.decode(end.header.as_bytes()).unwrap();
        Anchor {
            chain: self.genesis.id(),
            height: end.height,
            digest: digest_of(&preimage),
            time: end.now,
            epoch: end.epoch + 1,
            validators: end.next.clone(),
            unbonding: self.genesis.params.stake_unbonding_ms,
            blocks: BTreeMap::new(),
        }
    }

    fn by_anchor(&self, anchor: &Anchor, now: Millis) -> Trust {
        Trust::anchor(&self.genesis, anchor.clone(), now).unwrap()
    }

    /// The first thing that is wrong, if any.
    fn verify(&self, trust: Trust) -> Result<(), LightError> {
        let prover = Prover::new(self.genesis.id(), &self.trail, trust)?;
        self.blocks.iter().try_for_each(|block| prover.prove(block).map(|_| ()))
    }
}

#[test]
fn blocks_are_proved_from_genesis_over_epochs_with_other_validators() {
    let chain = chain();
    let committees: Vec<usize> = chain.trail.ends.iter().map(|end| end.next.len()).collect();
    assert!(committees.contains(&5) && committees.ends_with(&[4]), "{committees:?}");
    assert!(chain.trail.ends.last().unwrap().next != chain.trail.validators);
    chain.verify(chain.by_genesis()).unwrap();
    chain.verify(Trust::own_word()).unwrap();
    let prover = Prover::new(chain.genesis.id(), &chain.trail, chain.by_genesis()).unwrap();
    let (epoch, validators, ended) = prover.latest();
    let last = chain.trail.ends.last().unwrap();
    assert_eq!((epoch, validators), (last.epoch + 1, &*last.next));
    assert_eq!(ended, Some(last.now));
    // The block's header is where its events are proved from.
    let block = &chain.blocks[1];
    let preimage = data_encoding::HEXLOWER.decode(block.header.as_bytes()).unwrap();
    let header = Header::of_preimage(&preimage).unwrap();
    assert_eq!(prover.prove(block).unwrap(), header.event_root);
}

/// Every leaf of a document, as pointers.
fn leaves(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                leaves(item, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                leaves(field, &format!("{at}/{name}"), found);
            }
        }
        _ => found.push(at.to_owned()),
    }
}

/// The document with one character of a leaf changed.
fn changed(document: &Value, pointer: &str, place: usize) -> Value {
    let mut document = document.clone();
    let leaf = document.pointer_mut(pointer).unwrap();
    *leaf = match &*leaf {
        Value::String(text) => {
            let mut bytes = text.clone().into_bytes();
            let at = place % bytes.len();
            bytes[at] = if bytes[at] == b'1' { b'2' } else { b'1' };
            String::from_utf8(bytes).unwrap().into()
        }
        Value::Number(number) => (number.as_u64().unwrap() + 1).into(),
        other => panic!("{other} is not a leaf"),
    };
    document
}

fn assert_all_changes_are_found<T: Serialize + DeserializeOwned>(
    whole: &T,
    count: usize,
    verify: impl Fn(T) -> Result<(), LightError>,
) {
    let document = serde_json::to_value(whole).unwrap();
    let mut pointers = Vec::new();
    leaves(&document, "", &mut pointers);
    assert!(pointers.len() >= count, "{pointers:?}");
    for pointer in &pointers {
        for place in [0, 1, 17, 64, 100, 333, 401, 555] {
            let changed = changed(&document, pointer, place);
            // What does not even decode is found, too.
            let Ok(changed) = serde_json::from_value(changed) else { continue };
            assert!(verify(changed).is_err(), "{pointer} was changed unseen at {place}");
        }
    }
}

#[test]
fn any_change_in_a_trail_or_a_block_is_found() {
    let chain = chain();
    assert_all_changes_are_found(&chain.trail, 20, |trail| {
        Chain { trail, ..chain.clone() }.verify(chain.by_genesis())
    });
    // On its own word it says who votes first; all else follows from that.
    assert_all_changes_are_found(&chain.trail, 20, |trail| {
        if trail.validators != chain.trail.validators {
            return Err(LightError::Order { epoch: 0 });
        }
        Chain { trail, ..chain.clone() }.verify(Trust::own_word())
    });
    let prover = Prover::new(chain.genesis.id(), &chain.trail, chain.by_genesis()).unwrap();
    for block in &chain.blocks {
        let mut block = block.clone();
        // Whether the events are under the root is not the prover's to say.
        assert_all_changes_are_found(&block, 6, |changed| {
            let same_but_count = BlockProof { count: 0, ..changed.clone() } == block;
            if same_but_count {
                Err(LightError::Descendant)
            } else {
                prover.prove(&changed).map(|_| ())
            }
        });
        let other = chain.blocks.iter().find(|other| other.epoch != block.epoch).unwrap();
        block.certificate.clone_from(&other.certificate);
        assert_eq!(prover.prove(&block), Err(LightError::Certificate));
    }
    type Change = fn(&mut Vec<EpochEnd>);
    let table: [Change; 4] = [
        |ends| drop(ends.remove(0)),
        |ends| drop(ends.pop()),
        |ends| ends.swap(0, 1),
        |ends| ends.insert(1, ends[0].clone()),
    ];
    for change in table {
        let mut chain = chain.clone();
        change(&mut chain.trail.ends);
        assert!(chain.verify(chain.by_genesis()).is_err());
    }
}

#[test]
fn a_block_without_a_certificate_of_its_own_is_proved_by_a_later_one() {
    let Chain { genesis, trail, child, mut blocks } = chain();
    let prover = Prover::new(genesis.id(), &trail, Trust::own_word()).unwrap();
    let mut block = blocks.pop().unwrap();
    assert_eq!((child.height, child.epoch), (block.height + 1, block.epoch));
    block.certificate.clone_from(&child.certificate);
    assert_eq!(prover.prove(&block), Err(LightError::Certificate));
    block.descendants = vec![child.header.clone()];
    prover.prove(&block).unwrap();
    block.descendants = vec![block.header.clone(), child.header.clone()];
    assert_eq!(prover.prove(&block), Err(LightError::Descendant));
    let mut other = blocks.pop().unwrap();
    (other.descendants, other.certificate) = (vec![child.header], child.certificate);
    assert_eq!(prover.prove(&other), Err(LightError::Descendant));
}

#[test]
fn trust_that_is_too_old_or_of_another_chain_is_refused() {
    let chain = chain();
    let old = chain.free(chain.genesis.time);
    let error = chain.verify(Trust::genesis(&chain.genesis, old)).unwrap_err();
    assert!(matches!(error, LightError::Trust(TrustError::TooOld { what: "genesis", .. })));
    assert!(error.to_string().contains("14 days"), "{error}");

    let other = Genesis { name: "other".into(), ..four() };
    let error = chain.verify(Trust::genesis(&other, chain.now())).unwrap_err();
    assert!(matches!(error, LightError::Trust(TrustError::OtherChain { what: "genesis", .. })));
    let mut fewer = chain.clone();
    fewer.trail.validators.pop();
    assert!(fewer.verify(chain.by_genesis()).is_err());

    // An anchor on the first epoch's end leads to what comes after it ...
    let anchor = chain.anchor(0);
    let late = Chain { blocks: chain.blocks[1..].to_vec(), ..chain.clone() };
    let then = Millis(chain.free(anchor.time).0 - 1);
    late.verify(chain.by_anchor(&anchor, then)).unwrap();
    let stale = late.verify(chain.by_anchor(&anchor, chain.free(anchor.time))).unwrap_err();
    assert!(matches!(stale, LightError::Trust(TrustError::TooOld { what: "anchor", .. })));
    // ... and to nothing before it, unless it names that: then at any age.
    let before = chain.verify(chain.by_anchor(&anchor, then)).unwrap_err();
    assert_eq!(before, TrustError::BeforeAnchor { height: 2, anchor: anchor.height }.into());
    let mut names = chain.anchor(0);
    names.blocks = chain.blocks.iter().map(|block| (block.height, block.digest)).collect();
    chain.verify(chain.by_anchor(&names, Millis::MAX)).unwrap();
    names.blocks.insert(2, Hash::ZERO);
    let other = chain.verify(chain.by_anchor(&names, then)).unwrap_err();
    assert_eq!(other, TrustError::AnchorBlock { height: 2 }.into());

    let strange = Anchor { chain: Hash::ZERO, ..chain.anchor(0) };
    let error = Trust::anchor(&chain.genesis, strange, then).unwrap_err();
    assert!(matches!(error, TrustError::OtherChain { .. }));
    let others = Anchor { validators: vec![key(9).account()], ..chain.anchor(0) };
    let error = late.verify(chain.by_anchor(&others, then)).unwrap_err();
    assert_eq!(error, TrustError::AnchorValidators { epoch: 1 }.into());

    // A receipt that begins later than genesis needs an anchor, and one that it leads through.
    let cut = Trail {
        epoch: 1,
        validators: anchor.validators.clone(),
        ends: chain.trail.ends[1..].to_vec(),
    };
    let cut = Chain { trail: cut, ..late };
    cut.verify(Trust::own_word()).unwrap();
    cut.verify(chain.by_anchor(&anchor, then)).unwrap();
    let error = cut.verify(chain.by_genesis()).unwrap_err();
    assert_eq!(error, TrustError::NotFromGenesis { epoch: 1 }.into());
    let early =
        Anchor { epoch: 0, height: 1, validators: chain.trail.validators.clone(), ..anchor };
    let error = cut.verify(chain.by_anchor(&early, then)).unwrap_err();
    assert_eq!(error, TrustError::AnchorElsewhere { epoch: 0 }.into());
}

/// A header signed by these keys as the validators of its epoch.
fn certify(header: &Header, context: &Ctx, keys: &[SecretKey]) -> (Vec<u8>, Vec<u8>) {
    let preimage = [codec::encode(header), context.encode().to_vec()].concat();
    let members: Vec<AccountId> = keys.iter().map(SecretKey::account).collect();
    let members = engine_validators(&members).unwrap();
    let namespace = vote_namespace(&header.chain);
    let round = Round::new(Epoch::new(header.epoch), View::new(9));
    let payload = Digest::from(digest_of(&preimage).0);
    let proposal = Proposal::new(round, View::new(8), payload);
    let schemes: Vec<Scheme> = keys
        .iter()
        .map(|key| Scheme::signer(&namespace, members.clone(), engine_key(key)).unwrap())
        .collect();
    let votes: Vec<Finalize<Scheme, Digest>> =
        schemes.iter().map(|scheme| Finalize::sign(scheme, proposal.clone()).unwrap()).collect();
    let whole = Finalization::from_finalizes(&schemes[0], non_empty![@&votes], &Sequential);
    (preimage, whole.unwrap().encode().to_vec())
}

/// The chain with another past: all validators of genesis sign an end of the first epoch that
/// hands over to one key, which signs what follows.
fn forged(chain: &Chain) -> Chain {
    let retired: Vec<SecretKey> = (0..VALIDATORS).map(key).collect();
    let forger = [key(77)];
    let real = data_encoding::HEXLOWER.decode(chain.trail.ends[0].header.as_bytes()).unwrap();
    let context = Ctx::decode(Bytes::from(real.clone()).slice(HEADER_BYTES..)).unwrap();
    let next = vec![forger[0].account()];
    let header = Header {
        validators: committee_hash(&next),
        event_root: Hash([66; 32]),
        ..Header::of_preimage(&real).unwrap()
    };
    let (preimage, certificate) = certify(&header, &context, &retired);
    let end = crate::consensus::EpochEnd { preimage, certificate, next: next.clone() };
    let header = Header { epoch: 1, height: header.height + 1, ..header };
    let (preimage, certificate) = certify(&header, &context, &forger);
    let block = BlockProof {
        height: header.height,
        epoch: 1,
        now: header.time,
        digest: digest_of(&preimage),
        header: hex(&preimage),
        descendants: Vec::new(),
        certificate: hex(&certificate),
        count: 0,
        events: Vec::new(),
    };
    let trail = Trail { ends: vec![end.view().unwrap()], ..chain.trail.clone() };
    Chain { genesis: chain.genesis.clone(), trail, blocks: vec![block], child: chain.child.clone() }
}

#[test]
fn a_past_forged_by_validators_whose_stake_is_free_is_refused_without_an_anchor_and_with_one() {
    let chain = chain();
    let forged = forged(&chain);
    // While they are answerable their word is what there is: two such pasts are evidence.
    forged.verify(chain.by_genesis()).unwrap();
    let then = chain.free(chain.genesis.time);
    let error = forged.verify(Trust::genesis(&chain.genesis, then)).unwrap_err();
    assert!(matches!(error, LightError::Trust(TrustError::TooOld { .. })), "{error}");
    // A node that is trusted knows who voted after them.
    let anchor = chain.anchor(0);
    let error = forged.verify(chain.by_anchor(&anchor, then)).unwrap_err();
    assert_eq!(error, TrustError::AnchorValidators { epoch: 1 }.into());
    let later = chain.anchor(1);
    assert!(forged.verify(chain.by_anchor(&later, then)).is_err());
    // And fewer than two thirds of them cannot even do that.
    let mut minority = forged;
    let real = &chain.trail.ends[0];
    minority.trail.ends[0].certificate.clone_from(&real.certificate);
    assert!(minority.verify(Trust::own_word()).is_err());
}
