//! Who answers a node that fetches, and lies.

use super::*;
use crate::consensus::{
    EpochEnd,
    block::to_digest,
    committee_hash, digest_of,
    trail::tests::{asked, saying},
};
use commonware_consensus::simplex::types::{Finalization, Finalize};
use commonware_p2p::Receiver as _;
use commonware_parallel::Sequential;
use commonware_runtime::Spawner as _;
use commonware_utils::non_empty;
use std::sync::atomic::{AtomicU32, Ordering};

/// What a validator of `committee` alone can make final: `preimage`, in its round.
fn certificate(preimage: &[u8], committee: &[AccountId], signer: &SecretKey) -> Vec<u8> {
    let context = Ctx::decode(Bytes::copy_from_slice(&preimage[HEADER_BYTES..])).unwrap();
    let scheme = Scheme::signer(
        &vote_namespace(&four().id()),
        engine_validators(committee).unwrap(),
        engine_key(signer),
    )
    .unwrap();
    let proposal = Proposal::new(context.round, context.parent.0, to_digest(digest_of(preimage)));
    let votes = [Finalize::sign(&scheme, proposal).unwrap()];
    Finalization::from_finalizes(&scheme, non_empty![@&votes], &Sequential)
        .unwrap()
        .encode()
        .to_vec()
}

/// Another end of epoch 0, after which the liar votes alone, as it says.
fn other_past(end: &EpochEnd, liar: &SecretKey) -> EpochEnd {
    let next = vec![liar.account()];
    let mut header = super::super::super::Header::of_preimage(&end.preimage).unwrap();
    header.validators = committee_hash(&next);
    let mut preimage = borsh::to_vec(&header).unwrap();
    preimage.extend_from_slice(&end.preimage[HEADER_BYTES..]);
    let certificate = certificate(&preimage, &next, liar);
    EpochEnd { preimage, certificate, next }
}

#[test]
fn who_answers_with_another_past_or_another_state_is_not_believed() {
    Runner::seeded(67).start(async move |context: Context| {
        let oracle = network(&context, VALIDATORS + 1).await;
        let mut nodes = Vec::new();
        for index in 0..VALIDATORS - 1 {
            nodes.push(start(&context, &oracle, index).await);
        }
        pay_through(&nodes[0], 0).await;
        reach(&nodes[0], 30).await;
        let end = nodes[0].node.epoch_end(0).await.unwrap();
        let liar = key(VALIDATORS);
        let forged = other_past(&end, &liar);
        // Votes of the liar's, as those of everybody.
        let stolen = EpochEnd { certificate: forged.certificate.clone(), ..end.clone() };
        let named = EpochEnd { next: vec![liar.account()], ..end };
        let latest = Some(forged.certificate.clone());
        let lies = [
            saying(vec![forged.clone()], latest.clone()),
            saying(vec![stolen], latest.clone()),
            saying(vec![named, forged], latest),
            saying(Vec::new(), None),
        ];
        let heard = Arc::new(AtomicU32::new(0));
        let control = oracle.control(public(VALIDATORS));
        let quota = Quota::per_second(NZU32!(10_000));
        for channel in [3_u64, 6, 7] {
            let (mut sender, mut receiver) = control.register(channel, quota).await.unwrap();
            let (lies, heard) = (lies.clone(), heard.clone());
            context.child("liar").spawn(move |_| async move {
                while let Ok((peer, message)) = receiver.recv().await {
                    heard.fetch_add(1, Ordering::Relaxed);
                    if channel != 6 {
                        // Not even what was asked for: its question, again.
                        sender.send(Recipients::One(peer), message, false);
                    } else if asked(message.as_ref()).is_some() {
                        for lie in &lies {
                            let lie = Bytes::copy_from_slice(lie);
                            sender.send(Recipients::One(peer.clone()), lie, false);
                        }
                    }
                }
            });
        }
        let late = start_with(&context, &oracle, VALIDATORS - 1, true).await;
        assert!(heard.load(Ordering::Relaxed) > 0, "it was not asked");
        assert!(late.node.head().height >= 24, "{:?}", late.node.head());
        assert_eq!(paid(&late), Amount::from_nanos(1));
        nodes.push(late);
        let height = nodes[0].node.head().height + 10;
        for node in &nodes {
            reach(node, height).await;
        }
        let heads = nodes.iter().map(|node| node.told.lock().unwrap()[&height]);
        let heads: std::collections::BTreeSet<_> = heads.map(|head| head.digest).collect();
        assert_eq!(heads.len(), 1);
    });
}
