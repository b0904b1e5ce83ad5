use super::{Event, Subject};
use crate::{
    Action,
    tests::{World, usd, world::id},
};
use muster_types::{AccountId, Hash, HostId, LeaseId, codec};
use serde::de::DeserializeOwned;
use serde_json::Value;

fn read<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

/// What a field of an event's JSON names, told by the field's name alone.
fn named(field: &str, value: &Value, found: &mut Vec<Subject>) {
    if let Value::Array(items) = value {
        items.iter().for_each(|item| named(field, item, found));
        return;
    }
    if let Value::Object(fields) = value
        && field != "host"
    {
        fields.iter().for_each(|(field, value)| named(field, value, found));
        return;
    }
    if value.is_null() {
        return;
    }
    match field {
        "host" => {
            let host: HostId = read(value);
            found.extend([Subject::Host(host), Subject::Provider(host.provider)]);
            found.push(Subject::Account(host.provider));
        }
        "provider" | "providers" => {
            found.extend([Subject::Provider(read(value)), Subject::Account(read(value))]);
        }
        "validator" => {
            found.extend([Subject::Validator(read(value)), Subject::Account(read(value))]);
        }
        "from" | "to" | "owner" | "depositor" | "tenant" | "reporter" | "challenger"
        | "delegator" | "account" | "key" | "auditor" | "operator" | "voter" | "proposer" => {
            found.push(Subject::Account(read(value)));
        }
        "keys" => found.push(Subject::Account(read(value))),
        "order" | "orders" => found.push(Subject::Order(read(value))),
        "lease" | "leases" | "losers" => found.push(Subject::Lease(read(value))),
        "escrow" => found.push(Subject::Escrow(read(value))),
        "job" => found.push(Subject::Job(read(value))),
        "dispute" => found.push(Subject::Dispute(read(value))),
        "proposal" => found.push(Subject::Proposal(read(value))),
        other => {
            let text = value.as_str().unwrap_or_default();
            let known = ["root", "output", "beacon", "entry"].contains(&other);
            assert!(known || text.parse::<Hash>().is_err(), "an id in the unknown field `{other}`");
        }
    }
}

/// An event is found from every id in it, encodes to itself, and names what a client would
/// otherwise have to look up.
pub(crate) fn assert_all_named(event: &Event) {
    let json = serde_json::to_value(event).unwrap();
    assert_eq!(read::<Event>(&json), *event);
    let bytes = codec::encode(event);
    assert_eq!(codec::decode::<Event>(&bytes, bytes.len()).unwrap(), *event);

    let mut expected = Vec::new();
    named("", &json, &mut expected);
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(event.subjects(), expected, "{json}");

    type Test = fn(&Subject) -> bool;
    let has = |test: Test| expected.iter().any(test);
    let (account, provider): (Test, Test) =
        (|one| matches!(one, Subject::Account(_)), |one| matches!(one, Subject::Provider(_)));
    let (order, escrow): (Test, Test) =
        (|one| matches!(one, Subject::Order(_)), |one| matches!(one, Subject::Escrow(_)));
    let lease = has(|one| matches!(one, Subject::Lease(_)));
    assert!(has(account), "{json} is nobody's");
    assert!(!lease || (has(provider) && has(order)), "{json} has to be joined");
    let dispute = has(|one| matches!(one, Subject::Dispute(_)));
    assert!(!has(order) || has(escrow) || dispute, "{json} has to be joined");
}

#[test]
fn a_lease_is_found_from_its_tenant_provider_order_escrow_and_job() {
    let mut w = World::new();
    w.provider("pat", "3.6");
    let escrow = w.open_escrow("ann", usd(10));
    let job = w.open_job("ann", escrow);
    let lease = w.active("ann", escrow, Some(job));
    let order = w.lease(&lease).order;
    let (_, events) = w.ok("ann", Action::LeaseClose { lease });
    let closed = events.iter().find(|event| matches!(event, Event::LeaseClosed { .. })).unwrap();
    let (ann, pat) = (id("ann"), id("pat"));
    let mut expected = vec![
        Subject::Account(ann),
        Subject::Account(pat),
        Subject::Provider(pat),
        Subject::Order(order),
        Subject::Lease(lease),
        Subject::Escrow(escrow),
        Subject::Job(job),
    ];
    expected.sort_unstable();
    assert_eq!(closed.subjects(), expected);
}

#[test]
fn kinds_of_subjects_never_share_an_encoding() {
    let bytes = Hash([7; 32]);
    let all = [
        Subject::Account(AccountId(bytes)),
        Subject::Provider(AccountId(bytes)),
        Subject::Validator(AccountId(bytes)),
        Subject::Host(HostId { provider: AccountId(bytes), index: 1 }),
        Subject::Lease(LeaseId(bytes)),
    ];
    for (at, one) in all.iter().enumerate() {
        for other in &all[at + 1..] {
            let (one, other) = (codec::encode(one), codec::encode(other));
            assert!(!one.starts_with(&other) && !other.starts_with(&one));
        }
    }
}
