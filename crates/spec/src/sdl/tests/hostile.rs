//! Whatever the bytes are, both parsers come back with a verdict.

use super::{GOOD, check};
use crate::{compose, notes::MAX_NOTES, yaml::MAX_YAML_BYTES};
use proptest::prelude::*;

/// Checks what holds of every verdict.
fn judge(bytes: &[u8]) {
    let sdl = crate::parse_sdl(bytes, &crate::sdl::Exchange::default());
    let made = compose::from_compose(bytes, &compose::Guess::default());
    for (errors, warnings) in
        [(sdl.result.as_ref().err(), &sdl.warnings), (made.result.as_ref().err(), &made.warnings)]
    {
        assert!(errors.is_none_or(|errors| (1..=MAX_NOTES).contains(&errors.len())));
        assert!(warnings.len() <= MAX_NOTES);
        for defect in errors.into_iter().flatten().chain(warnings) {
            assert!(defect.line >= 1 && defect.column >= 1 && !defect.fix.is_empty(), "{defect}");
            assert!(defect.to_string().chars().count() < 4_000, "{defect}");
        }
    }
    if let Ok(deployment) = &sdl.result {
        for group in &deployment.groups {
            assert!(!group.units.is_empty() && !group.services.is_empty());
            for service in &group.services {
                assert!(group.units.get(service.unit as usize).is_some());
            }
        }
    }
}

#[test]
fn large_files_of_one_thing_are_judged() {
    let full = |part: &str| part.repeat((MAX_YAML_BYTES >> 3) / part.len());
    let sdl = |place: &str, text: String| {
        let mut all = GOOD.replacen(place, &format!("{place}{text}"), 1);
        all.truncate(MAX_YAML_BYTES);
        all
    };
    let keys = |indent: &str, count: usize| -> String {
        (0..count).map(|at| format!("{indent}k{at}: 1\n")).collect()
    };
    for text in [
        full("a: 1\n"),
        full("- "),
        full("-\n"),
        full("? "),
        full(": "),
        full("&a "),
        full("*a "),
        full("!a "),
        full("#\n"),
        full("---\n"),
        full("{"),
        full("["),
        full("[]"),
        full("\"\n"),
        full("'"),
        full("|\n"),
        full("\t\n"),
        full(" \t"),
        full("%YAML 1.2\n---\n"),
        full("%TAG ! a\n"),
        full("a\n"),
        full("a:\n  b\n"),
        full("\u{2028}"),
        full("<<: {a: 1}\n"),
        keys("", 60_000),
        sdl("services:\n", keys("  ", 40_000)),
        sdl("  web:\n", keys("    ", 40_000)),
        sdl("  placement:\n", keys("    ", 40_000)),
        sdl("    image: nginx:1.27\n", format!("    env: [{}]\n", "A=1, ".repeat(40_000))),
        sdl("    image: nginx:1.27\n", format!("    args: {}\n", "x ".repeat(400_000))),
        sdl("    image: nginx:1.27\n", format!("    dependencies: [{}]\n", "w, ".repeat(40_000))),
        sdl(
            "deployment:\n",
            (0..20_000)
                .map(|at| format!("  s{at}: {{west: {{profile: small, count: 1}}}}\n"))
                .collect(),
        ),
    ] {
        judge(text.as_bytes());
    }
}

#[test]
fn a_refused_file_names_several_defects_at_once() {
    let text =
        GOOD.replace("nginx:1.27", "\"\"").replace("count: 2", "count: 0").replace("500m", "-1");
    assert_eq!(check(&text).result.unwrap_err().len(), 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_judged(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
        judge(&bytes);
    }

    #[test]
    fn any_text_of_yaml_marks_is_judged(text in "[-:?&*!|>'\"%@`{}\\[\\], \n\ta<~#.0]{0,400}") {
        judge(text.as_bytes());
    }

    #[test]
    fn a_good_file_with_holes_and_additions_is_judged(
        cuts in proptest::collection::vec((0usize..600, 0usize..12, "[-:&*!{}\\[\\], \n\ta<~0]{0,8}"), 1..6),
    ) {
        let mut text = GOOD.to_owned();
        for (at, length, more) in cuts {
            let start = at.min(text.len());
            let end = (start + length).min(text.len());
            text.replace_range(start..end, &more);
        }
        judge(text.as_bytes());
    }
}
