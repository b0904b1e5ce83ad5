use super::*;
use crate::views::{BlockView, Event};
use muster_hostile::bent_text;
use muster_ledger::{
    escrow::{Deposit, EscrowStatus},
    event::{Parties, Refund},
    event_root,
    job::{JobKind, JobSpec, TaskOutput, TaskRef, Verification},
    market::{CloseReason, Commitment, LeaseStatus},
};
use muster_market::{Request, Stop};
use muster_types::{Amount, HostId, Millis, OrderId, Rate, Resources, SecretKey, merkle};
use serde_json::Value;

const CHAIN: Hash = Hash([1; 32]);
const JOB: JobId = JobId(Hash([2; 32]));
const ESCROW: EscrowId = EscrowId(Hash([10; 32]));
const LEASE: LeaseId = LeaseId(Hash([6; 32]));
const ORDER: OrderId = OrderId(Hash([15; 32]));
/// Time of the block with the events, and its height.
const NOW: Millis = Millis(5_000);
const HEIGHT: u64 = 3;

fn tenant() -> SecretKey {
    SecretKey::from_seed([7; 32])
}

fn provider() -> SecretKey {
    SecretKey::from_seed([8; 32])
}

fn usd(units: u64) -> Amount {
    Amount::from_units(units)
}

fn manifest() -> Manifest {
    Manifest {
        salt: Hash([11; 32]),
        module: Hash([3; 32]),
        data: BTreeMap::from([("model".to_owned(), Hash([12; 32]))]),
    }
}

fn claim(index: u64) -> Claim {
    let Manifest { module, data, .. } = manifest();
    let data = muster_verify::data_listing_hash(&data);
    let input = Hash([4; 32]);
    let task = TaskRef {
        job: JOB,
        index,
        module,
        input,
        data,
        fuel_limit: 1_000,
        memory_limit_bytes: 1 << 20,
    };
    let result = TaskOutput { output: Hash([5; 32]), fuel: 9 };
    Claim::sign(&CHAIN, LEASE, task, result, &provider())
}

fn job() -> Job {
    let spec = JobSpec {
        escrow: ESCROW,
        kind: JobKind::Batch,
        tasks: 2,
        manifest: manifest().commitment(),
        verification: Verification::Replicate { sample_bps: 500 },
        fuel_max: 1_000,
        metered: false,
        chain: None,
    };
    let tenant = tenant().account();
    Job { tenant, spec, closed: true, open_orders: 0, open_leases: 0, final_at: Some(Millis(9)) }
}

fn lease() -> Lease {
    let leaf = |claim: Claim| {
        let Claim { task, result, .. } = claim;
        muster_verify::task_leaf(&task.job, task.index, &task.input, &result.output, result.fuel)
    };
    Lease {
        order: ORDER,
        escrow: ESCROW,
        job: Some(JOB),
        tenant: tenant().account(),
        host: HostId { provider: provider().account(), index: 1 },
        request: Request { cpu_milli: 500, ..Request::default() },
        takes: Resources { cpu_milli: 500, ..Resources::default() },
        verification: job().spec.verification,
        rate: Rate::per_hour(usd(2)),
        pledge: Amount::ZERO,
        status: LeaseStatus::Closed { reason: CloseReason::TenantClosed, at: NOW, settled: true },
        granted_at: NOW,
        seen_steady: Millis(4_000),
        seen_height: HEIGHT,
        covered: Millis(3_600_000),
        accrued: usd(2),
        shortfall: Amount::ZERO,
        paid: usd(2),
        compensated: usd(1),
        commitment: Some(Commitment {
            root: merkle::root(&[leaf(claim(0)), leaf(claim(1))]),
            count: 2,
            at: NOW,
            fuel: 18,
            height: HEIGHT,
            round: 1,
            draw: None,
            last: None,
        }),
        disputes: 0,
        guaranteed_until: Millis(99_000),
        reclaim_notice: None,
        fuel_per_s: 0,
        rejectable_until: Millis::ZERO,
        final_at: Some(Millis(9)),
    }
}

fn escrow() -> Escrow {
    let depositor = tenant().account();
    let deposit = Deposit { depositor, amount: usd(5), left: Amount::ZERO, refunded: usd(3) };
    Escrow {
        owner: depositor,
        status: EscrowStatus::Closed,
        deposits: vec![deposit],
        deposited: usd(5),
        balance: Amount::ZERO,
        withheld: Amount::ZERO,
        paid: usd(2),
        refunded: usd(3),
        compensated: usd(1),
        open_orders: 0,
        open_leases: 0,
        open_rate: Rate::ZERO,
        fees: Amount::ZERO,
        height: 1,
        final_at: Some(Millis(9)),
    }
}

fn events() -> Vec<Event> {
    let (tenant, provider) = (tenant().account(), provider().account());
    let lease = lease();
    let of = Parties { order: ORDER, tenant, escrow: ESCROW, job: Some(JOB) };
    let Commitment { root, count, fuel, .. } = lease.commitment.unwrap();
    let (rate, covered, accrued) = (lease.rate, lease.covered, lease.accrued);
    let granted = Event::LeaseGranted {
        lease: LEASE,
        order: ORDER,
        tenant,
        escrow: ESCROW,
        job: Some(JOB),
        host: lease.host,
        rate,
        pledge: usd(4),
    };
    let slashed = Event::Slashed {
        provider,
        lease: LEASE,
        of,
        reporter: None,
        reason: CloseReason::ProviderStalled,
        amount: usd(2),
        compensated: usd(1),
        rewarded: Amount::ZERO,
        burned: usd(1),
    };
    let refunds = vec![Refund { depositor: tenant, amount: usd(3) }];
    vec![
        Event::EscrowDeposited { escrow: ESCROW, owner: tenant, depositor: tenant, amount: usd(5) },
        Event::JobOpened { job: JOB, tenant, escrow: ESCROW },
        granted,
        Event::ResultCommitted { lease: LEASE, provider, of, root: CHAIN, count: 1, fuel: 9 },
        Event::ResultCommitted { lease: LEASE, provider, of, root, count, fuel },
        Event::LeaseClosed {
            lease: LEASE,
            provider,
            of,
            reason: CloseReason::TenantClosed,
            covered,
            accrued,
        },
        slashed,
        Event::LeaseSettled { lease: LEASE, provider, of, paid: usd(2), forfeited: Amount::ZERO },
        Event::JobClosed { job: JOB, tenant, escrow: ESCROW },
        Event::EscrowClosed {
            escrow: ESCROW,
            owner: tenant,
            deposited: usd(5),
            paid: usd(2),
            refunded: usd(3),
            refunds,
            compensated: usd(1),
            fees: Amount::ZERO,
        },
    ]
}

fn quote() -> Explanation {
    Explanation {
        hosts: 3,
        matched: 2,
        would_grant: 1,
        rates: vec![Rate::MAX],
        price_per_hour: Rate::MAX,
        cheapest: None,
        visited: 2,
        stopped: Stop::Exhausted,
        excluded: Vec::new(),
        shortfall: None,
    }
}

/// A receipt of these events, well-formed and signed, that holds as far as its block is believed.
fn with_events(events: Vec<Event>) -> Receipt {
    let block = BlockView {
        height: HEIGHT,
        epoch: 0,
        now: NOW,
        digest: Hash([13; 32]),
        state_root: Hash([14; 32]),
        event_root: event_root(&events),
        transactions: Vec::new(),
        events,
        header: "00".repeat(8),
        descendants: Vec::new(),
        certificate: Some("00".to_owned()),
    };
    let receipt = Receipt {
        version: VERSION,
        chain: CHAIN,
        name: "a \"test\" \\ of\tmine".to_owned(),
        quote: quote(),
        job: Named { id: JOB, record: job() },
        escrow: Named { id: ESCROW, record: escrow() },
        leases: vec![Named { id: LEASE, record: lease() }],
        manifest: manifest(),
        results: vec![claim(0), claim(1)],
        trail: Trail { epoch: 0, validators: vec![tenant().account()], ends: Vec::new() },
        blocks: vec![BlockProof::of(&block, |_| true).unwrap()],
        signature: Signature([0; 64]),
    };
    receipt.signed(&tenant()).unwrap()
}

fn good() -> Receipt {
    with_events(events())
}

fn checked(receipt: &Receipt) -> Result<Checked, Defect> {
    let events: Vec<_> = receipt.blocks.iter().flat_map(|block| &block.events).collect();
    let events: Vec<Event> = events.iter().map(|proof| proof.event.clone()).collect();
    let root = event_root(&events);
    check(receipt, |_| Ok(root))
}

/// Whether somebody who has a file with these bytes would take it for a receipt of the block with
/// [`events`].
fn is_believed(bytes: &[u8]) -> bool {
    let root = event_root(&events());
    Receipt::read(bytes).is_ok_and(|receipt| check(&receipt, |_| Ok(root)).is_ok())
}

#[test]
fn a_receipt_is_read_as_it_is_written_whatever_white_space_is_in_it() {
    let good = good();
    let Checked { claims, blocks, leases, paid } = checked(&good).unwrap();
    assert_eq!((claims, blocks, leases, paid), (2, 1, 1, usd(2)));
    let pretty = serde_json::to_vec_pretty(&good).unwrap();
    assert_eq!(Receipt::read(&pretty).unwrap(), good);
    let compact = serde_json::to_vec(&good).unwrap();
    assert_eq!(Receipt::read(&compact).unwrap(), good);
    assert_eq!(Receipt::read(&[&compact[..], b" \r\n\t"].concat()).unwrap(), good);
    let older = Receipt { version: 2, ..good };
    let error = Receipt::read(&serde_json::to_vec(&older).unwrap()).unwrap_err();
    assert!(error.to_string().contains("version 2"), "{error}");
    let error = Receipt::read(br#"{"version":2}"#).unwrap_err();
    assert!(matches!(error, ReadError::Version { found: 2 }), "{error}");
}

/// Every place in a document, as pointers.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                places(field, &format!("{at}/{name}"), found);
            }
        }
        _ => {}
    }
}

/// What could stand in a place instead.
fn others(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => vec![1.into(), "1".into(), CHAIN.to_string().into()],
        Value::Bool(set) => vec![(!set).into()],
        Value::Number(number) => {
            let number = number.as_u64().unwrap();
            vec![(number + 1).into(), (number * 2 + 7).into(), (number as f64).into()]
        }
        Value::String(text) => {
            let longer = format!("{text}1");
            let upper = text.to_uppercase();
            let tail: String = text.chars().skip(1).collect();
            let first = format!("{}{tail}", if text.starts_with('1') { '2' } else { '1' });
            let mut all = vec![longer, upper, first];
            all.retain(|other| other != text);
            all.into_iter().map(Value::from).collect()
        }
        Value::Array(items) => {
            let mut all: Vec<Vec<Value>> = (0..items.len())
                .map(|left_out| [&items[..left_out], &items[left_out + 1..]].concat())
                .collect();
            all.extend(items.last().map(|last| [&items[..], std::slice::from_ref(last)].concat()));
            let mut turned = items.clone();
            turned.reverse();
            all.push(turned);
            all.retain(|other| other != items);
            all.into_iter().map(Value::from).collect()
        }
        Value::Object(fields) => {
            let mut all: Vec<_> = fields
                .keys()
                .map(|left_out| {
                    let mut fields = fields.clone();
                    fields.remove(left_out);
                    fields
                })
                .collect();
            let mut more = fields.clone();
            more.insert("more".to_owned(), Value::Null);
            all.push(more);
            all.into_iter().map(Value::from).collect()
        }
    }
}

#[test]
fn nothing_in_a_receipt_can_be_changed_left_out_or_added() {
    let document = serde_json::to_value(good()).unwrap();
    let mut pointers = Vec::new();
    places(&document, "", &mut pointers);
    assert!(pointers.len() > 250, "{}", pointers.len());
    for pointer in pointers {
        for other in others(document.pointer(&pointer).unwrap()) {
            let mut changed = document.clone();
            *changed.pointer_mut(&pointer).unwrap() = other.clone();
            // In the order of the fields: what is different is the change alone.
            let Ok(receipt) = serde_json::from_value::<Receipt>(changed) else { continue };
            if receipt == good() {
                continue;
            }
            let root = event_root(&events());
            let found = check(&receipt, |_| Ok(root));
            assert!(found.is_err(), "{pointer} was changed to {other} unseen");
        }
    }
}

#[test]
fn no_byte_of_a_receipt_can_be_changed_left_out_or_added() {
    let text = serde_json::to_vec_pretty(&good()).unwrap();
    assert!(is_believed(&text));
    let is_space = |byte: u8| b" \t\n\r".contains(&byte);
    let mut inside = false;
    for (at, &byte) in text.iter().enumerate() {
        // The name has the only escapes.
        inside ^= byte == b'"' && (at == 0 || text[at - 1] != b'\\' || text[at - 2] == b'\\');
        for other in [byte ^ 1, byte ^ 0x20, b' '] {
            if other == byte || !inside && is_space(byte) && is_space(other) {
                continue;
            }
            let mut changed = text.clone();
            changed[at] = other;
            assert!(!is_believed(&changed), "byte {at}, {byte:#x}, was changed to {other:#x}");
        }
        let mut less = text.clone();
        less.remove(at);
        assert!(is_believed(&less) == (!inside && is_space(byte)), "without byte {at}, {byte:#x}");
        let mut more = text.clone();
        more.insert(at, b'1');
        assert!(!is_believed(&more), "with one more before byte {at}, {byte:#x}");
    }
}

#[test]
fn what_the_blocks_tell_not_even_the_tenant_can_say_otherwise() {
    type Change = fn(&mut Receipt);
    let table: [(&str, Change); 28] = [
        ("results[0].task.job", |it| it.job.id = JobId(Hash::ZERO)),
        ("job", |it| it.job.record.tenant = provider().account()),
        ("job", |it| it.job.record.open_orders = 1),
        ("job.closed", |it| it.job.record.closed = false),
        ("manifest", |it| it.job.record.spec.manifest = Hash::ZERO),
        ("results", |it| it.job.record.spec.tasks = 3),
        ("leases[0]", |it| it.job.record.spec.verification = Verification::None),
        ("leases[0]", |it| it.leases[0].record.verification = Verification::None),
        ("leases[0]", |it| it.leases[0].record.job = None),
        ("leases[0]", |it| it.leases[0].record.order = OrderId(Hash::ZERO)),
        ("leases[0]", |it| it.leases[0].record.host.index = 2),
        ("leases[0]", |it| it.leases[0].record.rate = Rate::per_hour(usd(3))),
        ("leases[0]", |it| it.leases[0].record.granted_at = Millis(4_999)),
        ("leases[0]", |it| {
            let reason = CloseReason::ProviderStalled;
            it.leases[0].record.status = LeaseStatus::Closed { reason, at: NOW, settled: true };
        }),
        ("leases[0]", |it| {
            let (reason, at) = (CloseReason::TenantClosed, Millis(1));
            it.leases[0].record.status = LeaseStatus::Closed { reason, at, settled: true };
        }),
        ("leases[0]", |it| {
            let reason = CloseReason::TenantClosed;
            it.leases[0].record.status = LeaseStatus::Closed { reason, at: NOW, settled: false };
        }),
        ("leases[0]", |it| it.leases[0].record.covered = Millis(3_600_001)),
        ("leases[0]", |it| it.leases[0].record.compensated = Amount::ZERO),
        ("leases[0]", |it| it.leases[0].record.pledge = usd(1)),
        ("leases[0]", |it| it.leases[0].record.commitment = None),
        ("leases[0]", |it| {
            let made = it.leases[0].record.commitment.as_mut().unwrap();
            (made.root, made.count, made.fuel) = (CHAIN, 1, 9);
        }),
        ("leases[0]", |it| it.leases[0].record.commitment.as_mut().unwrap().height = 2),
        ("escrow", |it| it.escrow.record.owner = provider().account()),
        ("escrow", |it| it.escrow.record.balance = usd(1)),
        ("escrow", |it| it.escrow.record.deposits.clear()),
        ("escrow", |it| it.escrow.record.deposits[0].refunded = usd(2)),
        ("escrow.deposits[0]", |it| it.escrow.record.deposits[0].amount = usd(4)),
        ("escrow", |it| it.escrow.record.compensated = usd(2)),
    ];
    for (index, (place, change)) in table.into_iter().enumerate() {
        let mut receipt = good();
        change(&mut receipt);
        let defect = checked(&receipt.signed(&tenant()).unwrap()).unwrap_err();
        assert_eq!(defect.place, place, "{index}: {defect}");
    }
}

#[test]
fn what_no_block_tells_is_the_word_of_the_tenant_and_of_nobody_else() {
    type Change = fn(&mut Receipt);
    let table: [Change; 5] = [
        |it| it.name.push('!'),
        |it| it.quote.hosts += 1,
        |it| it.leases[0].record.takes.cpu_milli += 1,
        |it| it.escrow.record.final_at = None,
        |it| it.job.record.spec.fuel_max += 1,
    ];
    for change in table {
        let mut receipt = good();
        change(&mut receipt);
        assert_eq!(checked(&receipt).unwrap_err().place, "signature");
        let by_another = receipt.clone().signed(&provider()).unwrap();
        assert_eq!(checked(&by_another).unwrap_err().place, "signature");
        checked(&receipt.signed(&tenant()).unwrap()).unwrap();
    }
}

#[test]
fn results_of_a_lease_whose_provider_was_convicted_after_its_end_are_refused() {
    let mut events = events();
    for event in &mut events {
        if let Event::Slashed { reason, .. } = event {
            *reason = CloseReason::ProviderFraud;
        }
    }
    let defect = checked(&with_events(events)).unwrap_err();
    assert_eq!(defect.place, "results[0].lease");
    assert!(defect.problem.contains("convicted"), "{defect}");
}

#[test]
fn a_receipt_from_anybody_is_refused_or_says_the_same() {
    let good = good();
    let text = serde_json::to_string(&good).unwrap();
    let mut read = 0;
    bent_text(&[&text], 20_000, |text| {
        let Ok(receipt) = Receipt::read(text.as_bytes()) else { return };
        read += 1;
        assert!(receipt == good || !is_believed(text.as_bytes()), "{text}");
    });
    assert!(read > 100, "{read} read");
}
