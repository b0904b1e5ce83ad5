//! `muster bench consensus`: every figure that it promises, from few blocks.

use crate::devnet::Home;

#[test]
fn the_consensus_bench_measures_every_figure_that_it_names() {
    let home = Home::new();
    let report = home.run(&["bench", "consensus", "--quick", "--json"]).json();
    let results = report["results"].as_array().unwrap();
    let table = [
        ("finality_1_ms", None),
        ("finality_4_ms", None),
        ("idle_rss_mib", Some(200.0)),
        ("idle_cpu_pct", Some(2.0)),
        ("catch_up_blocks_s", None),
        ("finality_4_wan_over_delay", Some(3.5)),
        ("tps_4", None),
    ];
    assert_eq!(results.len(), table.len(), "{report}");
    for (result, (name, target)) in results.iter().zip(table) {
        assert_eq!(result["name"], name);
        assert!(result["value"].as_f64() > Some(0.0), "{result}");
        assert_eq!(result["target"].as_f64(), target, "{result}");
        assert!(result["note"].is_string(), "what it is of: {result}");
        assert_eq!(result["p99"].is_f64(), name.starts_with("finality"), "{result}");
    }
    let wan = &results[5];
    // Three messages follow one another: no engine is faster.
    assert!(wan["value"].as_f64() >= Some(3.0), "the delay is not there: {wan}");
}
