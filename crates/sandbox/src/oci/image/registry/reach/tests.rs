use super::*;

fn reach(trusted: &[&str], plain_http: &[&str]) -> Reach {
    let set = |hosts: &[&str]| hosts.iter().map(|&host| host.to_owned()).collect();
    let config = RegistryConfig {
        trusted: set(trusted),
        plain_http: set(plain_http),
        ..RegistryConfig::default()
    };
    Reach::new(&config)
}

#[test]
fn private_addresses_are_told_from_public_ones() {
    let public = ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::101:101"];
    let private = [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.2",
        "169.254.169.254",
        "172.31.255.255",
        "192.168.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:10.0.0.1",
        "fd00:ec2::254",
        "fe80::1",
        "ff02::1",
        "2002:a00:1::1",
        "2001::1",
        "2001:db8::1",
        "64:ff9b::a00:1",
        "::127.0.0.1",
    ];
    for address in public {
        assert!(is_public(address.parse().unwrap()), "{address}");
    }
    for address in private {
        assert!(!is_public(address.parse().unwrap()), "{address}");
    }
}

#[test]
fn every_address_meets_the_rule_that_the_table_says() {
    let rule = reach(&["127.0.0.1:5000", "10.0.0.9"], &["10.0.0.7:5000"]);
    let cases = [
        ("https://ghcr.io/v2/", true),
        ("http://ghcr.io/v2/", false),
        ("https://10.0.0.8/v2/", false),
        ("https://10.0.0.9/v2/", true),
        ("http://10.0.0.9/v2/", false),
        ("http://127.0.0.1:5000/v2/", true),
        ("http://127.0.0.1:5001/v2/", false),
        ("https://127.0.0.1:5001/v2/", false),
        ("https://[::1]/v2/", false),
        ("https://[::ffff:169.254.169.254]/latest", false),
        ("https://2852039166/latest", false),
        ("http://10.0.0.7:5000/v2/", true),
        ("https://10.0.0.7:5000/v2/", true),
        ("file:///etc/passwd", false),
    ];
    for (url, allowed) in cases {
        assert_eq!(rule.check(&Url::parse(url).unwrap()).is_ok(), allowed, "{url}");
    }
}

#[tokio::test]
async fn a_name_that_leads_to_the_loopback_is_resolved_only_where_it_is_trusted() {
    let resolve = |reach: Reach| async move {
        Resolver(Arc::new(reach)).resolve("localhost".parse().unwrap()).await.is_ok()
    };
    assert!(!resolve(reach(&[], &[])).await);
    assert!(resolve(reach(&["localhost:5000"], &[])).await);
}
