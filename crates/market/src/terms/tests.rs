use super::*;
use crate::{Prices, testing::*};

#[test]
fn a_rate_is_the_sum_of_its_parts_each_rounded_up() {
    let nanos = |nanos| Rate::per_hour(Amount::from_nanos(nanos));
    let prices =
        Prices { cpu: nanos(1001), memory_gib: nanos(3), disk_gib: nanos(1), gpu: nanos(10) };
    let cases = [
        (Request::default(), 0),
        (Request { cpu_milli: 1000, ..Request::default() }, 1001),
        (Request { cpu_milli: 1, ..Request::default() }, 2),
        (Request { cpu_milli: 2500, ..Request::default() }, 2503),
        (Request { memory_bytes: 1, ..Request::default() }, 1),
        (Request { memory_bytes: GIB / 2, ..Request::default() }, 2),
        (Request { memory_bytes: 4 * GIB, disk_bytes: GIB + 1, ..Request::default() }, 14),
        (Request { bandwidth_bps: u64::MAX, ..Request::default() }, 0),
        (Request { gpu: want_gpu("h100", 3), cpu_milli: 999, ..Request::default() }, 1030),
    ];
    for (request, expected) in cases {
        assert_eq!(prices.rate_for(&request), Some(nanos(expected)), "{request:?}");
    }
}

#[test]
fn a_rate_too_large_to_be_written_is_none() {
    let prices = Prices { cpu: Rate::MAX, ..Prices::default() };
    let request = |cpu_milli| Request { cpu_milli, ..Request::default() };
    assert_eq!(prices.rate_for(&request(1000)), Some(Rate::MAX));
    assert_eq!(prices.rate_for(&request(1001)), None);
    let both = Prices { cpu: Rate::MAX, disk_gib: Rate::MAX, ..Prices::default() };
    assert_eq!(both.rate_for(&Request { disk_bytes: GIB, ..request(1000) }), None);
    assert_eq!(both.rate_for(&Request { disk_bytes: u64::MAX, ..request(u64::MAX) }), None);
}

type Spoil = fn(&mut Terms);

#[test]
fn terms_are_refused_by_the_field_at_fault() {
    assert_eq!(order(1).check(), Ok(()));
    assert_eq!(order(MAX_COUNT).check(), Ok(()));
    let cases: [(Spoil, &str); 22] = [
        (|terms| terms.count = 0, "terms.count"),
        (|terms| terms.count = MAX_COUNT + 1, "terms.count"),
        (|terms| terms.request = Request::default(), "terms.request"),
        (|terms| terms.request.gpu.vendor = "NVIDIA".into(), "terms.request.gpu.vendor"),
        (|terms| terms.request.gpu.model = "x".repeat(65), "terms.request.gpu.model"),
        (|terms| terms.request.gpu.interface = "SXM".into(), "terms.request.gpu.interface"),
        (|terms| terms.regions = vec![String::new()], "terms.regions"),
        (|terms| terms.regions = vec!["x".repeat(65)], "terms.regions"),
        (|terms| terms.regions = vec!["x".into(); 65], "terms.regions"),
        (|terms| drop(terms.attributes.insert(String::new(), "x".into())), "terms.attributes"),
        (|terms| drop(terms.attributes.insert("x".repeat(65), "".into())), "terms.attributes"),
        (|terms| drop(terms.attributes.insert("x".into(), "x".repeat(257))), "terms.attributes"),
        (
            |terms| {
                terms.attributes =
                    (0..65).map(|number| (number.to_string(), String::new())).collect();
            },
            "terms.attributes",
        ),
        (|terms| terms.providers = vec![provider(1); 257], "terms.providers"),
        (|terms| terms.exclude = vec![provider(1); 257], "terms.exclude"),
        (|terms| terms.jurisdictions = vec!["DE".into()], "terms.jurisdictions"),
        (|terms| terms.jurisdictions = vec!["de".into(); 257], "terms.jurisdictions"),
        (|terms| terms.exclude_jurisdictions = vec!["d".into()], "terms.exclude_jurisdictions"),
        (|terms| terms.exclude_jurisdictions = vec!["d1".into()], "terms.exclude_jurisdictions"),
        (|terms| terms.signed_by_any = vec![provider(1); 17], "terms.signed_by_any"),
        (|terms| terms.signed_by_all = vec![provider(1); 17], "terms.signed_by_all"),
        (|terms| terms.min_fuel_per_s = 1, "terms.min_fuel_per_s"),
    ];
    for (spoil, field) in cases {
        let mut terms = order(1);
        spoil(&mut terms);
        assert_eq!(terms.check(), Err(field));
    }
}

#[test]
fn an_allotment_takes_exactly_one_kind_of_gpu() {
    let mut free = host(1, "0").free;
    free.gpus = vec![gpu("h200", 141, 8), gpu("h100", 80, 1)];
    let request = |gpu| Request { cpu_milli: 5, gpu, ..Request::default() };
    assert_eq!(request(want_gpu("", 1)).allot(&free).unwrap().gpus, [gpu("h100", 80, 1)]);
    assert_eq!(request(want_gpu("", 2)).allot(&free).unwrap().gpus, [gpu("h200", 141, 2)]);
    assert_eq!(request(want_gpu("", 9)).allot(&free), None, "not one kind and another");
    assert_eq!(request(want_gpu("h100", 2)).allot(&free), None);
    assert_eq!(request(GpuRequest::default()).allot(&free).unwrap().gpus, []);
}
