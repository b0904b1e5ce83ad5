//! Limits that only many real actions reach.

use super::{World, usd, world::STEP};
use crate::{Action, Reject, limits};
use muster_types::{Amount, Rate};

#[test]
fn a_provider_offers_a_bounded_number_of_hosts_and_may_change_each_of_them() {
    let mut w = World::new();
    w.provider("pat", "1");
    let spec = w.spec("1");
    let set = |index| ("pat", Action::HostSet { index, spec: spec.clone() });
    let last = u32::try_from(limits::HOSTS).unwrap();
    let indexes: Vec<u32> = (1..last).collect();
    for some in indexes.chunks(64) {
        let done = w.block(STEP, some.iter().map(|index| set(*index)).collect());
        assert!(done.results.iter().all(Result::is_ok));
    }
    let full = Reject::wrong_state("provider", "offering too many hosts");
    assert_eq!(w.refused("pat", set(last).1), full);
    w.ok("pat", set(last - 1).1);
    w.ok("pat", Action::HostRemove { index: 7 });
    w.ok("pat", set(last).1);
    assert_eq!(w.refused("pat", set(7).1), full);
}

#[test]
fn an_escrow_carries_a_bounded_number_of_leases_and_orders_wait_for_room() {
    let mut w = World::with(&["val"], |params| {
        (params.pledge_min, params.pledge_hours) = (Amount::ZERO, 0);
    });
    w.provider("pat", "0.001");
    let many = limits::ESCROW_LEASES;
    let mut spec = w.spec("0.001");
    spec.prices.cpu = Rate::per_hour("0.001".parse().unwrap());
    spec.capacity.cpu_milli = 2_000 * u64::from(many);
    w.ok("pat", Action::HostSet { index: 1, spec });
    let escrow = w.open_escrow("ann", usd(900));
    let order = w.order_for(escrow, None, many);
    let order = w.place("ann", order);
    assert_eq!(w.order(&order).leases.len(), usize::try_from(many).unwrap());
    assert_eq!(w.escrow(&escrow).open_leases, many);
    let more = w.order_for(escrow, None, 1);
    let more = w.place("ann", more);
    assert!(w.order(&more).leases.is_empty(), "beyond the bound");
    assert!(w.order(&more).status.is_open(), "it waits");
    let lease = w.order(&order).leases[0];
    w.ok("ann", Action::LeaseClose { lease });
    w.pass(2, STEP);
    assert_eq!(w.order(&more).leases.len(), 1);
    assert_eq!(w.escrow(&escrow).open_leases, many);
}
