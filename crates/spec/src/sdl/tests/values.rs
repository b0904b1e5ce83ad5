use crate::{
    sdl::value::{Lenient, amount, cpu, duration, image, is_endpoint, is_host, is_label, size},
    value::Reading,
};
use muster_types::{Amount, Millis};

/// The value, with a `!` where it is odd.
fn outcome<T: std::fmt::Display>(reading: Reading<Lenient<T>>) -> String {
    match reading {
        Ok(Lenient { value, odd: None }) => value.to_string(),
        Ok(Lenient { value, odd: Some(_) }) => format!("{value}!"),
        Err(_) => "refused".to_owned(),
    }
}

#[test]
fn sizes_are_read_as_akash_reads_them_and_others_units_with_a_warning() {
    for (text, bytes) in [
        ("512Mi", "536870912"),
        ("1Gi", "1073741824"),
        ("0.5Gi", "536870912"),
        ("0.1Gi", "107374182"),
        ("1.5G", "1500000000"),
        ("100k", "100000"),
        ("1E", "1000000000000000000"),
        ("536870912", "536870912"),
        ("512", "512!"),
        ("512 Mi", "536870912!"),
        ("512MiB", "536870912!"),
        ("512mi", "536870912!"),
        ("512MB", "512000000!"),
        ("1GB", "1000000000!"),
        ("1gb", "1000000000!"),
        ("512m", "refused"),
        ("1g", "refused"),
        ("0Mi", "refused"),
        ("-1Gi", "refused"),
        ("Mi", "refused"),
        ("", "refused"),
        ("1e9", "refused"),
        ("99999999999Ei", "refused"),
        ("1.2.3Gi", "refused"),
        ("1GiGi", "refused"),
    ] {
        assert_eq!(outcome(size(text)), bytes, "{text}");
    }
    assert!(size("512m").unwrap_err().fix.contains("512Mi"));
}

#[test]
fn cpu_is_read_in_thousandths() {
    for (text, milli) in [
        ("1", "1000"),
        ("0.5", "500"),
        ("100m", "100"),
        ("1.125", "1125"),
        ("0.0015", "1!"),
        ("0.0001", "refused"),
        ("0", "refused"),
        ("0m", "refused"),
        ("-100m", "refused"),
        ("1,5", "refused"),
        ("m", "refused"),
        ("", "refused"),
        ("two", "refused"),
    ] {
        assert_eq!(outcome(cpu(text)), milli, "{text}");
    }
}

#[test]
fn lengths_of_time_add_up() {
    let ms = |reading: Reading<Lenient<Millis>>| {
        outcome(reading.map(|one| Lenient { value: one.value.0, odd: one.odd }))
    };
    for (text, expected) in [
        ("24h", "86400000"),
        ("30m", "1800000"),
        ("90s", "90000"),
        ("1h30m", "5400000!"),
        ("1.5h", "5400000!"),
        ("500ms", "500!"),
        ("2d", "172800000!"),
        ("0h", "refused"),
        ("-1h", "refused"),
        ("1", "refused"),
        ("h", "refused"),
        ("", "refused"),
        ("1ns", "refused"),
        ("99999999999999999999h", "refused"),
    ] {
        assert_eq!(ms(duration(text)), expected, "{text}");
    }
}

#[test]
fn amounts_are_exact_and_more_than_zero() {
    for (text, nanos) in [
        ("1000", Some(1_000_000_000_000)),
        ("0.05", Some(50_000_000)),
        ("1000.000000000000000000", Some(1_000_000_000_000)),
        ("0", None),
        ("-1", None),
        ("1e3", None),
        ("1.", None),
        ("0.0000000001", None),
        ("", None),
    ] {
        assert_eq!(amount(text).ok(), nanos.map(Amount::from_nanos), "{text}");
    }
}

#[test]
fn names_and_images_are_checked() {
    for (text, label, host, endpoint) in [
        ("web", true, true, true),
        ("web-1", true, true, true),
        ("1web", false, true, false),
        ("web-", false, false, true),
        ("we_b", false, false, true),
        ("Web", false, false, false),
        ("a.b", false, true, false),
        ("", false, false, false),
        ("w", true, true, false),
    ] {
        assert_eq!(
            (is_label(text), is_host(text), is_endpoint(text)),
            (label, host, endpoint),
            "{text}"
        );
    }
    for (text, right) in [
        ("nginx", true),
        ("nginx:1.27", true),
        ("localhost:5000/a/b:tag", true),
        ("ghcr.io/A-b/c", false),
        ("ghcr.io/a/c@sha256:0123", true),
        ("Nginx", false),
        ("https://ghcr.io/a", false),
        ("a b", false),
        (":tag", false),
        ("", false),
    ] {
        assert_eq!(image(text).is_ok(), right, "{text}");
    }
}
