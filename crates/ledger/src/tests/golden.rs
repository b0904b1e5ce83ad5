//! A fixed script gives the same state everywhere: a changed rule or encoding fails here.

use super::{World, usd};
use crate::{Action, keys};
use muster_types::{DisputeId, Hash};

/// Hash over everything that validators agree on, in key order.
fn state_root(w: &World) -> Hash {
    let agreed: Vec<(&[u8], &[u8])> =
        w.state.iter().filter(|(key, _)| key[0] < keys::DERIVED).collect();
    Hash::of("test state root", &[&muster_types::codec::encode(&agreed)])
}

#[test]
fn a_fixed_script_gives_a_fixed_state() {
    let mut w = World::with(&["val"], |params| params.fee_per_byte = super::nanos(1));
    w.provider("pat", "3.6");
    w.provider("quin", "1.8");
    let escrow = w.open_escrow("ann", usd(20));
    let job = w.open_job("ann", escrow);
    let order = w.order_for(escrow, Some(job), 10);
    let order = w.place("ann", order);
    let leases = w.order(&order).leases;
    for lease in [leases[0], leases[9]] {
        w.by_provider(&lease, Action::LeaseReady { lease });
    }
    for _ in 0..5 {
        w.beat(777);
    }
    let claims = Box::new([w.claim(leases[0], 3, 1), w.claim(leases[9], 3, 2)]);
    let evidence = "somewhere".to_owned();
    let (receipt, _) = w.ok("ann", Action::DisputeOpen { job, claims, evidence });
    let dispute = DisputeId::derive(&receipt.tx);
    let output = Some(super::world::result(1));
    w.ok("val", Action::DisputeVote { dispute, output });
    w.pass(80, 900);
    w.ok("ann", Action::JobClose { job });
    w.ok("ann", Action::EscrowClose { escrow });
    assert_eq!(
        state_root(&w).to_string(),
        "09e9d5cba7cfc9b3219be410114e5228cacc26941437534a4b56520c3129b44a"
    );
}
