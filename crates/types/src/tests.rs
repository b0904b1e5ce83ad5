use crate::*;

mod hostile;

#[test]
fn amounts_print_and_parse_exactly() {
    for (nanos, text) in [
        (0, "0"),
        (1, "0.000000001"),
        (1_250_000_000, "1.25"),
        (u128::MAX, "340282366920938463463374607431.768211455"),
    ] {
        assert_eq!(Amount::from_nanos(nanos).to_string(), text);
        assert_eq!(text.parse(), Ok(Amount::from_nanos(nanos)));
    }
    for bad in [
        "",
        ".",
        "1.",
        ".5",
        "-1",
        "1e9",
        "1.0000000001",
        "1,5",
        "999999999999999999999999999999999999999999",
    ] {
        assert!(bad.parse::<Amount>().is_err(), "{bad} was accepted");
    }
}

#[test]
fn settling_often_or_seldom_pays_the_same() {
    let rate = Rate::per_hour("0.37".parse().unwrap());
    let mut paid = Amount::ZERO;
    for elapsed in (0..=100_000).step_by(7).chain([100_000]) {
        let due = rate.charge_floor(Millis(elapsed)).unwrap();
        paid = paid.checked_add(due.checked_sub(paid).unwrap()).unwrap();
    }
    assert_eq!(Some(paid), rate.charge_floor(Millis(100_000)));
}

#[test]
fn wide_products_divide_exactly() {
    let max = Amount::MAX;
    assert_eq!(max.mul_div_floor(u128::MAX, u128::MAX), Some(max));
    assert_eq!(max.mul_div_floor(2, 3).map(Amount::nanos), Some(u128::MAX / 3 * 2));
    assert_eq!(max.mul_div_floor(3, 2), None);
    assert_eq!(max.mul_div_floor(1, 0), None);
    let odd = Amount::from_nanos(u128::MAX - 12_345);
    assert_eq!(
        odd.mul_div_floor(u128::MAX - 1, u128::MAX).map(Amount::nanos),
        Some(u128::MAX - 12_346)
    );
}

#[test]
fn a_rate_rounds_down_for_charges_and_up_for_deposits() {
    let rate = Rate::per_hour(Amount::from_nanos(1));
    assert_eq!(rate.charge_floor(Millis(3_599_999)), Some(Amount::ZERO));
    assert_eq!(rate.charge_ceil(Millis(1)), Some(Amount::from_nanos(1)));
    assert_eq!(rate.charge_ceil(Millis(3_600_000)), Some(Amount::from_nanos(1)));
}

#[test]
fn a_signed_envelope_survives_the_wire_and_no_changed_byte_does() {
    let key = SecretKey::from_seed([7; 32]);
    let envelope = Envelope {
        chain: Hash::of_content(b"chain"),
        signer: key.account(),
        nonce: 3,
        max_fee: Amount::from_nanos(5),
        tip: Amount::ZERO,
        expires: Millis(9),
        action: vec![1u8, 2, 3],
    };
    let signed = envelope.sign(&key);
    assert_eq!(signed.verify(), Ok(()));
    let bytes = codec::encode(&signed);
    assert_eq!(Signed::decode(&bytes), Ok(signed.clone()));
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let verified = Signed::<Vec<u8>>::decode(&changed).map(|tx| tx.verify().is_ok());
        assert!(!matches!(verified, Ok(true)), "byte {at} changed unnoticed");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(Signed::<Vec<u8>>::decode(&longer).is_err());
}

#[test]
fn a_signature_is_good_only_as_what_it_was_given_for() {
    let keys: Vec<SecretKey> = (1..=17).map(|seed| SecretKey::from_seed([seed; 32])).collect();
    let envelope = Envelope {
        chain: Hash::ZERO,
        signer: keys[0].account(),
        nonce: 0,
        max_fee: Amount::ZERO,
        tip: Amount::ZERO,
        expires: Millis::MAX,
        action: vec![1u8],
    };
    let auth = |auth| Signed { envelope: envelope.clone(), auth }.verify();
    let own = envelope.clone().sign(&keys[0]);
    let by_key = envelope.clone().sign_as(&keys[0]);
    let member = envelope.sign_member(&keys[0]);
    let Auth::Own(signature) = own.auth else { panic!() };
    let Auth::Key(key) = by_key.auth else { panic!() };
    assert_eq!((auth(own.auth.clone()), auth(by_key.auth.clone())), (Ok(()), Ok(())));
    assert_eq!(auth(Auth::Members(vec![member])), Ok(()));
    let as_key = KeySignature { key: keys[0].account(), signature };
    for mixed in [
        Auth::Own(key.signature),
        Auth::Own(member.signature),
        Auth::Key(as_key),
        Auth::Key(member),
        Auth::Members(vec![as_key]),
        Auth::Members(vec![key]),
    ] {
        assert_eq!(auth(mixed.clone()), Err(KeyError::Signature), "{mixed:?}");
    }

    let gathered = |count: usize| {
        let members = keys[..count].iter().map(|key| envelope.sign_member(key)).collect();
        envelope.clone().gather(members)
    };
    assert_eq!(gathered(16).verify(), Ok(()));
    for count in [0, 17] {
        assert_eq!(gathered(count).verify(), Err(KeyError::Members), "{count}");
    }
    let Auth::Members(mut members) = gathered(3).auth else { panic!() };
    members.swap(0, 1);
    assert_eq!(auth(Auth::Members(members)), Err(KeyError::Members));
    assert_eq!(auth(Auth::Members(vec![member, member])), Err(KeyError::Members));
    let mut bad = gathered(3);
    let Auth::Members(members) = &mut bad.auth else { panic!() };
    members[2].signature.0[5] ^= 1;
    assert_eq!(bad.verify(), Err(KeyError::Signature));

    let mut lanes = [own.lane(), by_key.lane(), gathered(1).lane(), gathered(2).lane()].to_vec();
    lanes.push(envelope.clone().sign_as(&keys[1]).lane());
    lanes.sort_unstable();
    lanes.dedup();
    assert_eq!(lanes.len(), 5);
}

#[test]
fn the_bytes_of_a_transaction_are_its_encoding() {
    let key = SecretKey::from_seed([7; 32]);
    let envelope = Envelope {
        chain: Hash::ZERO,
        signer: key.account(),
        nonce: 1,
        max_fee: Amount::ZERO,
        tip: Amount::ZERO,
        expires: Millis::MAX,
        action: vec![1u8, 2],
    };
    let members = vec![envelope.sign_member(&key)];
    for signed in
        [envelope.clone().sign(&key), envelope.clone().sign_as(&key), envelope.gather(members)]
    {
        let encoded = signed.encoded();
        assert_eq!(encoded.wire(), codec::encode(&signed));
        assert_eq!(encoded.message()[16..], codec::encode(&signed.envelope));
        assert_eq!(encoded.id(), signed.id());
        assert_eq!(Signed::decode(encoded.wire()), Ok(signed));
    }
}

#[test]
fn a_hostile_length_prefix_allocates_nothing() {
    let bytes = [255u8, 255, 255, 255, 1];
    assert!(codec::decode::<Vec<u64>>(&bytes, 64).is_err());
    assert_eq!(
        codec::decode::<Vec<u8>>(&[0; 100], 64),
        Err(codec::DecodeError::TooLong { actual: 100, limit: 64 })
    );
}

#[test]
fn ids_are_derived_apart_and_parse_back() {
    let tx = TxId(Hash::of_content(b"tx"));
    let (order, escrow) = (OrderId::derive(&tx), EscrowId::derive(&tx));
    assert_ne!(order.0, escrow.0);
    assert_ne!(LeaseId::derive(&order, 0), LeaseId::derive(&order, 1));
    assert_eq!(order.to_string().parse(), Ok(order));
    assert!("xyz".parse::<OrderId>().is_err());
}

#[test]
fn a_gpu_request_asks_only_for_what_it_names() {
    let gpu = Gpu {
        vendor: "nvidia".into(),
        model: "h200".into(),
        memory_bytes: 141 << 30,
        interface: "sxm".into(),
        count: 8,
    };
    let any = GpuRequest { count: 8, ..GpuRequest::default() };
    assert!(any.fits(&gpu));
    assert!(!GpuRequest { count: 9, ..any.clone() }.fits(&gpu));
    assert!(!GpuRequest { model: "h100".into(), ..any }.fits(&gpu));
}
