use super::*;

fn tree(text: &str) -> (Option<String>, String, String) {
    bytes(text.as_bytes())
}

/// The tree as JSON-like text, errors, warnings.
fn bytes(bytes: &[u8]) -> (Option<String>, String, String) {
    let mut notes = Notes::default();
    let root = read(bytes, &mut notes);
    let checked = notes.finish(root.map(|node| show(&node)));
    let lines = |list: &[crate::Defect]| list.iter().map(|one| format!("{one}\n")).collect();
    match checked.result {
        Ok(shown) => (Some(shown), String::new(), lines(&checked.warnings)),
        Err(errors) => (None, lines(&errors), lines(&checked.warnings)),
    }
}

fn show(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Scalar(Scalar { text, plain: true }) => text.as_ref().to_owned(),
        Value::Scalar(Scalar { text, plain: false }) => format!("{text:?}"),
        Value::List(nodes) => format!("[{}]", nodes.iter().map(show).collect::<Vec<_>>().join(" ")),
        Value::Map(entries) => {
            let pair = |entry: &Entry| format!("{}:{}", entry.key, show(&entry.value));
            format!("{{{}}}", entries.iter().map(pair).collect::<Vec<_>>().join(" "))
        }
    }
}

#[test]
fn a_text_becomes_the_tree_that_it_means() {
    for (text, shown) in [
        ("a: 1", "{a:1}"),
        ("---\n# note\na: '1'\n...\n", "{a:\"1\"}"),
        ("a:\nb: ~\nc: null\nd: ''", "{a:null b:null c:null d:\"\"}"),
        ("a: [1, x]\nb: {c: d}", "{a:[1 x] b:{c:d}}"),
        ("a: &x {k: v}\nb: *x", "{a:{k:v} b:{k:v}}"),
        ("a: &x {k: v, l: w}\nb: {<<: *x, k: own}", "{a:{k:v l:w} b:{k:own l:w}}"),
        (
            "a: &x {k: 1}\nb: &y {l: 2, k: 3}\nc: {<<: [*x, *y]}",
            "{a:{k:1} b:{l:2 k:3} c:{k:1 l:2}}",
        ),
        ("a: !!str 1\nb: !!int 2", "{a:\"1\" b:2}"),
        ("a: |\n  x\n  y\n", "{a:\"x\\ny\\n\"}"),
        ("a: 1\r\nb:\r\n  c: 2\r\n", "{a:1 b:{c:2}}"),
        ("\u{FEFF}a: 1", "{a:1}"),
        ("80: x\nyes: y\nnull: z", "{80:x yes:y null:z}"),
        ("a: \"\tx\"\nb: |\n  \tc", "{a:\"\\tx\" b:\"\\tc\\n\"}"),
    ] {
        let (tree, errors, warnings) = tree(text);
        assert_eq!(
            (tree.as_deref(), errors.as_str(), warnings.as_str()),
            (Some(shown), "", ""),
            "{text}"
        );
    }
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, error) in [
        ("", "1:1: the file is empty"),
        ("# nothing\n", "1:1: the file is empty"),
        ("a: 1\nb: 2\na: 3\n", "3:1 a: is given twice, first on line 1"),
        ("x:\n  - {a: 1, a: 2}\n", "2:12 x[0].a: is given twice"),
        ("a: *b", "1:4: no anchor `b` comes before it"),
        ("a: &x [*x]", "1:8: the alias is part of what it stands for"),
        ("a: 1\n<<: 2", "2:5 <<: cannot merge a single value"),
        ("a: !secret x", "1:"),
        ("a: 1\n---\nb: 2\n", "2:1: a second document starts here"),
        ("? [a]\n: 1", "1:3: a key cannot be a list"),
        ("a: [1", "no YAML"),
        ("a: \"x", "no YAML"),
        ("a: b: c", "1:5: no YAML"),
        ("a:\n - 1\n  b: 2", "no YAML"),
        ("a:\n  b: 1\n\tc: 2\n", "3:1: the line is indented with a tab"),
    ] {
        let (tree, errors, _) = tree(text);
        assert_eq!(tree, None, "{text}");
        assert!(errors.contains(error) && errors.contains("fix: "), "{text}\n{errors}");
    }
}

#[test]
fn what_is_odd_but_clear_is_a_warning() {
    let wide = |text: &str, unit: fn(u16) -> [u8; 2]| -> Vec<u8> {
        std::iter::once(0xFEFFu16).chain(text.encode_utf16()).flat_map(unit).collect()
    };
    for (text, shown, warning) in [
        (b"a:\n\tb: 1\n\tc:\n\t\td: 2\n".to_vec(), "{a:{b:1 c:{d:2}}}", "2:1: 3 lines"),
        (b"a: [\n\t1]\n".to_vec(), "{a:[1]}", "2:1: a line is indented with tabs"),
        (b"a: 1\n---\n".to_vec(), "{a:1}", "2:1: an empty document follows"),
        (wide("a: 1", u16::to_le_bytes), "{a:1}", "1:1: the text is UTF-16"),
        (wide("a: \u{1F600}", u16::to_be_bytes), "{a:\u{1F600}}", "1:1: the text is UTF-16"),
    ] {
        let (tree, errors, warnings) = bytes(&text);
        assert_eq!(tree.as_deref(), Some(shown), "{errors}");
        assert!(warnings.starts_with(warning), "{warnings}");
    }
}

#[test]
fn places_in_a_text_with_tabs_are_those_of_the_text() {
    let (_, errors, _) = tree("a:\n\tb: 1\n\tb: 2\n");
    assert!(errors.starts_with("3:2 a.b: is given twice"), "{errors}");
}

#[test]
fn bytes_that_are_no_text_are_refused_at_their_place() {
    let (_, errors, _) = bytes(b"a: 1\nb: \xFF\n");
    assert!(errors.starts_with("2:4: a byte here is no UTF-8"), "{errors}");
    let (_, errors, _) = bytes(b"\xFF\xFEa\x00\x00");
    assert!(errors.contains("broken UTF-16"), "{errors}");
}

#[test]
fn a_tree_that_would_grow_beyond_all_bounds_is_refused() {
    let mut laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..30 {
        let alias = format!("*a{}", level - 1);
        laughs.push_str(&format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 10].join(", ")));
    }
    let bytes = format!("a: &a {}\nb: [{}*a]\n", "x".repeat(500_000), "*a, ".repeat(1_000));
    let merges = format!(
        "a: &a {{{}}}\nb: [{}]\n",
        (0..1_000).map(|key| format!("k{key}: 1")).collect::<Vec<_>>().join(", "),
        ["{<<: *a}"; 1_000].join(", ")
    );
    // Each alias is shallow, their chain is not.
    let mut chain = "a0: &a0 [1]\n".to_owned();
    for level in 1..100 {
        chain.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    for (name, text) in [
        ("laughs", laughs),
        ("bytes", bytes),
        ("merges", merges),
        ("chain", chain),
        ("deep lists", format!("a: {}", "[".repeat(100_000))),
        ("deep mappings", format!("a: {}", "{a: ".repeat(100_000))),
        ("deep blocks", "- ".repeat(100_000)),
        ("deep keys", (0..500).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect()),
        ("long", "x".repeat(MAX_YAML_BYTES + 1)),
        ("wide", format!("a: [{}1]", "1,".repeat(MAX_NODES + 1))),
    ] {
        let (tree, errors, _) = tree(&text);
        assert_eq!(tree, None, "{name}");
        assert_eq!(errors.lines().count(), 1, "{name}: {errors}");
        assert!(errors.contains("fix: "), "{name}: {errors}");
    }
}

#[test]
fn no_more_defects_are_told_than_anybody_reads() {
    let text: String = (0..5_000).map(|_| "a: 1\n").collect();
    let (_, errors, _) = tree(&text);
    assert_eq!(errors.lines().count(), crate::notes::MAX_NOTES);
}
