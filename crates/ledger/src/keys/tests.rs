use super::*;
use crate::state::MemoryState;

#[test]
fn keys_sort_as_their_values_and_parse_back() {
    let table: Index<(Millis, HostId)> = Table::new(7, 7);
    let host = |byte: u8, index| HostId { provider: AccountId(Hash([byte; 32])), index };
    let mut values = Vec::new();
    for time in [0, 1, 255, 256, u64::MAX] {
        for byte in [0, 1, 255] {
            for index in [0, 255, 256, u32::MAX] {
                values.push((Millis(time), host(byte, index)));
            }
        }
    }
    assert!(values.windows(2).all(|pair| table.key(&pair[0]) < table.key(&pair[1])));
    let mut state = MemoryState::default();
    let mut scratch = Scratch::new(&state);
    for value in &values {
        table.put(&mut scratch, value, &());
    }
    let changes = scratch.into_changes();
    state.apply(changes);
    let all: Vec<_> = table.scan(&state, &(), None).map(|(key, ())| key).collect();
    assert_eq!(all, values);
    let some: Vec<_> =
        table.scan(&state, &Millis(255), Some(&values[26])).map(|(key, ())| key).collect();
    assert_eq!(some, values[27..36]);
}

#[test]
fn unit_prices_sort_as_their_encodings_do() {
    let near = |bits: u32| {
        let power = 1u128 << bits;
        [power - 1, power, power + 1, power + power / 3]
    };
    let mut prices: Vec<UnitPrice> = (0..70).flat_map(near).map(UnitPrice::of).collect();
    prices.sort();
    prices.dedup();
    assert!(prices.len() > 200);
    let encoded: Vec<Vec<u8>> = prices
        .iter()
        .map(|price| {
            let mut bytes = Vec::new();
            price.write(&mut bytes);
            assert_eq!(UnitPrice::read(&mut bytes.as_slice()), Some(*price));
            bytes
        })
        .collect();
    assert!(encoded.is_sorted_by(|one, next| one < next));
    let highest = crate::limits::UNIT_PRICE.amount_per_hour().nanos();
    assert_eq!(u128::from(UnitPrice::of(highest).nanos()), highest);
    // Bits behind what a price of this length has, and lengths that there are not.
    for wrong in [[1, 1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1], [58, 0, 0, 0, 0, 0, 0, 0]] {
        assert_eq!(UnitPrice::read(&mut wrong.as_slice()), None, "{wrong:?}");
    }
}

#[test]
fn no_two_tables_share_a_prefix() {
    let source = include_str!("../keys.rs");
    let mut prefixes = std::collections::BTreeSet::new();
    for (name, rest) in source.split("pub const ").skip(1).filter_map(|item| {
        let (head, rest) = item.split_once(';')?;
        Some((head.split_once(':')?.0, head.split_once("Table::new(")?.1))
            .filter(|_| !rest.is_empty())
    }) {
        let prefix = rest.split_once(')').unwrap().0;
        assert!(prefixes.insert(prefix), "{name}: ({prefix}) is taken");
    }
    assert!(prefixes.len() > 60, "{} tables found", prefixes.len());
}

#[test]
fn the_successor_of_a_prefix_ends_its_range() {
    assert_eq!(successor(vec![1, 2]), [1, 3]);
    assert_eq!(successor(vec![1, 255]), [2]);
    assert_eq!(successor(vec![255, 255]), Vec::<u8>::new());
}

#[test]
#[should_panic(expected = "state decodes")]
fn a_corrupt_value_stops_the_process() {
    let mut state = MemoryState::default();
    state.insert(HEAD.key(&()), vec![1, 2, 3]);
    let _ = HEAD.get(&state, &());
}
