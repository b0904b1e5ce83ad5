use super::*;

fn toml(text: &str) -> DeValue<'_> {
    DeValue::parse(text).unwrap().into_inner()
}

#[track_caller]
fn reads<T: PartialEq + std::fmt::Debug>(
    read: impl Fn(&DeValue<'_>) -> Reading<T>,
    good: &[(&str, T)],
    bad: &[&str],
) {
    for (text, expected) in good {
        assert_eq!(read(&toml(text)).as_ref(), Ok(expected), "{text}");
    }
    for text in bad {
        let refusal = read(&toml(text)).expect_err(text);
        assert!(!refusal.problem.is_empty() && !refusal.fix.is_empty(), "{text}");
    }
}

#[test]
fn sizes_are_exact_and_need_a_unit() {
    reads(
        size,
        &[
            ("'0B'", 0),
            ("'1B'", 1),
            ("'1KiB'", 1024),
            ("'0.5KiB'", 512),
            ("'256MiB'", 256 << 20),
            ("'1.5 GiB'", 3 << 29),
            ("'2TiB'", 2 << 40),
            ("'3kB'", 3_000),
            ("'1.25MB'", 1_250_000),
            ("'1GB'", 1_000_000_000),
            ("'1TB'", 1_000_000_000_000),
            ("'18446744073709551615B'", u64::MAX),
        ],
        &[
            "256",
            "'256'",
            "'MiB'",
            "'-1MiB'",
            "'1.5B'",
            "'0.3KiB'",
            "'1mib'",
            "'1M'",
            "'1 M iB'",
            "''",
            "'18446744073709551616B'",
            "'999999999999999999999999999999TiB'",
            "true",
            "1.5",
            "'1e3B'",
            "'+1B'",
        ],
    );
}

#[test]
fn lengths_of_time_add_up_and_need_a_unit() {
    reads(
        duration,
        &[
            ("'1ms'", Millis(1)),
            ("'30s'", Millis(30_000)),
            ("'0.5s'", Millis(500)),
            ("'10m'", Millis(600_000)),
            ("'1h30m'", Millis(5_400_000)),
            ("'1d 1h 1m 1s 1ms'", Millis(90_061_001)),
            ("' 2 h '", Millis(7_200_000)),
        ],
        &[
            "30",
            "'30'",
            "'s'",
            "'10min'",
            "'0s'",
            "''",
            "'1h30'",
            "'-1s'",
            "'1.5.5h'",
            "'1s,'",
            "'0.0001s'",
            "'99999999999999999999d'",
            "false",
            "'５s'",
        ],
    );
}

#[test]
fn per_cents_are_hundredths_and_bounded() {
    reads(
        |value| percent_bps(value, 100),
        &[("'25%'", 2_500), ("'0.01%'", 1), ("'2.5 %'", 250), ("'100%'", 10_000)],
        &["25", "'25'", "0.25", "'0%'", "'100.01%'", "'0.001%'", "'%'", "'-5%'", "'99999999999%'"],
    );
}

#[test]
fn threads_have_at_most_three_decimals() {
    reads(
        cpu_milli,
        &[("1", 1_000), ("1.0", 1_000), ("0.25", 250), ("'1.5'", 1_500), ("64", 64_000)],
        &["0", "0.0", "-1", "0.0001", "1e3", "'one'", "inf", "nan", "true", "[1]", "''"],
    );
}

#[test]
fn amounts_are_exact_whether_text_or_number() {
    let nanos = Amount::from_nanos;
    reads(
        amount,
        &[
            ("'0.60'", nanos(600_000_000)),
            ("0.60", nanos(600_000_000)),
            ("0.1", nanos(100_000_000)),
            ("3", nanos(3_000_000_000)),
            ("0.000000001", nanos(1)),
            ("1_000.5", nanos(1_000_500_000_000)),
            ("0", nanos(0)),
        ],
        &["-1", "1e-3", "0.0000000001", "'1,5'", "'1 usd'", "inf", "0x10", "true", "''"],
    );
    reads(price, &[("1", nanos(1_000_000_000))], &["0", "'0.0'"]);
}

#[test]
fn counts_are_whole_and_in_range() {
    reads(
        |value| count(value, 1, 1_000),
        &[("1", 1), ("1_000", 1_000), ("0x10", 16), ("0b11", 3)],
        &["0", "1001", "-1", "1.0", "'1'", "9223372036854775807", "99999999999999999999999999"],
    );
    reads(|value| count(value, 0, u64::MAX), &[("18446744073709551615", u64::MAX)], &["-1"]);
    reads(|value| count_u32(value, 0, 9), &[("9", 9)], &["10", "4294967296"]);
}

#[test]
fn names_are_safe_as_folder_names() {
    reads(
        name,
        &[("'a'", "a".to_owned()), ("'Digits-train_2.1'", "Digits-train_2.1".to_owned())],
        &["''", "'.'", "'..'", "'-a'", "'a/b'", "'a b'", "'ä'", "7", "'a\\0'"],
    );
    assert!(name(&DeValue::String("x".repeat(64).into())).is_ok());
    assert!(name(&DeValue::String("x".repeat(65).into())).is_err());
}

#[test]
fn long_values_are_echoed_short_and_on_one_line() {
    let long = format!("a\n{}", "x".repeat(500));
    assert_eq!(echo(&long), format!("`a\\n{}…`", "x".repeat(38)));
}
