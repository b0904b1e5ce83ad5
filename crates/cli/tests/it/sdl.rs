//! Files of services in containers: checked without a network.

use crate::devnet::Home;
use serde_json::json;

const GOOD: &str = "\
version: \"2.0\"
services:
  web:
    image: nginx:1.27
    expose: [{port: 80, to: [{global: true}]}]
profiles:
  compute:
    small:
      resources: {cpu: {units: 500m}, memory: {size: 512Mi}, storage: {size: 1Gi}}
  placement:
    west: {pricing: {small: {denom: uakt, amount: 1000}}}
deployment:
  web: {west: {profile: small, count: 2}}
";

#[test]
fn several_files_are_checked_into_one_document() {
    let home = Home::new();
    home.write("good.yaml", GOOD);
    home.write("bad.yaml", GOOD.replace("nginx:1.27", "''").replace("count: 2", "count: '2'"));
    let files = ["sdl", "check", "good.yaml", "bad.yaml", "none.yaml", "--uakt-usd", "0.5"];
    let said = home.run(&[&files[..], &["--json"]].concat());
    assert_eq!(said.code, Some(2), "{said:?}");
    let report: serde_json::Value = serde_json::from_str(&said.stdout).unwrap();
    assert_eq!(report["ok"], false);
    let [good, bad, none] = &report["files"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!((&good["ok"], &good["warnings"]), (&json!(true), &json!([])));
    assert_eq!(
        good["summary"],
        json!({"groups": 1, "services": 1, "leases": 2, "max_usd_per_hour": "0.6"})
    );
    let fix = "write registry/name:tag, e.g. nginx:1.27";
    assert_eq!(
        bad["errors"],
        json!([{"line": 4, "column": 12, "field": "services.web.image", "message": "is empty", "fix": fix}])
    );
    assert_eq!(bad["warnings"][0]["field"], "deployment.web.west.count");
    assert_eq!(none["ok"], false);

    let said = home.run(&files);
    assert_eq!(said.code, Some(2));
    assert!(said.stdout.contains("error: services.web.image: is empty\n --> bad.yaml:4:12\n"));
    assert!(said.stdout.contains("good.yaml: accepted: 1 service, 2 leases, at most 0.6 usd/h"));
    assert!(said.stdout.lines().all(|line| line.chars().count() <= 80), "{}", said.stdout);
    let said = home.run(&["sdl", "check", "good.yaml"]);
    assert_eq!(said.code, Some(0));
    assert!(said.stdout.contains("--uakt-usd"), "{}", said.stdout);
}

#[test]
fn what_is_made_of_a_compose_file_is_accepted() {
    let home = Home::new();
    home.write("a.yml", "services:\n  web:\n    image: nginx\n    ports: ['8080:80']\n");
    let said = home.run(&["sdl", "from-compose", "a.yml"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stderr.contains("warning: services.web: "), "{said:?}");
    home.write("a.yaml", &said.stdout);
    let report = home.run(&["sdl", "check", "a.yaml", "--json"]).json();
    assert_eq!((&report["ok"], &report["files"][0]["warnings"]), (&json!(true), &json!([])));
    home.write("b.yml", "services:\n  web:\n    build: .\n");
    home.run(&["sdl", "from-compose", "b.yml"])
        .assert_refused(2, &["services.web.build: a provider builds no images", "docker build"]);
}
