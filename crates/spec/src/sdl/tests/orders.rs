//! What becomes of an SDL: groups, orders, manifests.

use super::{GOOD, good, with};
use crate::sdl::{Exchange, GpuKind, Manifest, OrderError, Proto, StorageClass, Tee};
use muster_market::{Together, Verifies};
use muster_types::{
    AccountId, Amount, Millis, Rate,
    codec::{decode, encode},
};

const GIB: u64 = 1 << 30;

fn usd(text: &str) -> Rate {
    Rate::per_hour(text.parse().unwrap())
}

#[test]
fn a_unit_becomes_an_order_for_its_leases() {
    let deployment = good(GOOD);
    let [order] = &deployment.groups[0].orders(&Exchange::default()).unwrap()[..] else { panic!() };
    let [terms] = &order.alternatives[..] else { panic!() };
    assert_eq!((terms.count, terms.max_rate), (2, usd("0.05")));
    let request = &terms.request;
    assert_eq!(
        (request.cpu_milli, request.memory_bytes, request.disk_bytes, request.gpu.count),
        (500, GIB / 2, GIB, 0)
    );
    assert_eq!(terms.check(), Ok(()));
    assert_eq!(terms.together, Together::No);
}

#[test]
fn prices_are_converted_by_what_tokens_are_worth() {
    let exchange = Exchange { akt_usd: Some("0.5".parse().unwrap()), ..Exchange::default() };
    for (denom, amount, rate) in [
        // 1000 uakt a block of 6 s, 600 blocks an hour: 0.6 AKT.
        ("uakt", "1000", Some("0.3")),
        ("uakt", "0.0000001", Some("0")),
        ("uact", "1000", Some("0.6")),
        ("usd", "1.25", Some("1.25")),
        (
            "ibc/170C677610AC31DF0904FFE09CD3B5C657492170E7E52372E48756B71E56F2F1",
            "100",
            Some("0.06"),
        ),
        ("udoge", "1", None),
    ] {
        let text = with("denom: usd", &format!("denom: {denom}"));
        let text = text.replace("amount: 0.05", &format!("amount: {amount}"));
        let deployment = good(&text);
        let rates = |exchange| deployment.groups[0].orders(exchange);
        match rate {
            Some(rate) => {
                assert_eq!(
                    rates(&exchange).unwrap()[0].alternatives[0].max_rate,
                    usd(rate),
                    "{denom}"
                );
            }
            None => assert!(matches!(rates(&exchange), Err(OrderError::NoRate { .. })), "{denom}"),
        }
        if denom == "uakt" {
            let error = rates(&Exchange::default()).unwrap_err().to_string();
            assert!(error.contains("--uakt-usd"), "{error}");
        }
    }
}

#[test]
fn an_order_never_asks_for_less_than_the_file() {
    let account = AccountId("07".repeat(32).parse().unwrap());
    let placement = format!(
        "    west:\n      attributes:\n        region: us-west\n        tier: gold\n        host: akash\n      \
         signedBy:\n        anyOf: [akash1auditor]\n        allOf: [{account}]\n"
    );
    let deployment = good(&with("    west:\n", &placement));
    let group = &deployment.groups[0];
    assert_eq!(group.requirements.attributes["host"], "akash");
    let nobody = group.orders(&Exchange::default());
    assert!(
        matches!(nobody, Err(OrderError::NoAuditor { auditor, .. }) if auditor == "akash1auditor")
    );
    let mut exchange = Exchange::default();
    exchange
        .auditors
        .insert("akash1auditor".to_owned(), AccountId("08".repeat(32).parse().unwrap()));
    let orders = group.orders(&exchange).unwrap();
    let terms = &orders[0].alternatives[0];
    assert_eq!(terms.regions, ["us-west"]);
    assert_eq!(
        terms.attributes.iter().collect::<Vec<_>>(),
        [(&"tier".to_owned(), &"gold".to_owned())]
    );
    assert_eq!(terms.signed_by_any, [AccountId("08".repeat(32).parse().unwrap())]);
    assert_eq!(terms.signed_by_all, [account]);
}

#[test]
fn each_kind_of_gpu_that_will_do_is_an_alternative() {
    let gpu = "          size: 1Gi\n        gpu:\n          units: 2\n          attributes:\n            vendor:\n              \
               nvidia:\n                - model: H100\n                  ram: 80Gi\n                  \
               interface: sxm\n                - model: a100\n";
    let deployment = good(&with("          size: 1Gi\n", gpu));
    let unit = &deployment.groups[0].units[0];
    assert_eq!(unit.compute.gpus.count, 2);
    let orders = deployment.groups[0].orders(&Exchange::default()).unwrap();
    let asked: Vec<_> = orders[0].alternatives.iter().map(|terms| &terms.request.gpu).collect();
    assert_eq!(asked.len(), 2);
    assert_eq!((asked[0].model.as_str(), asked[0].count), ("a100", 2));
    assert_eq!(
        (asked[1].model.as_str(), asked[1].memory_bytes, asked[1].interface.as_str()),
        ("h100", 80 * GIB, "sxm")
    );
    // A vendor alone allows every model.
    let any = gpu.split("                - model: H100").next().unwrap();
    let deployment = good(&with("          size: 1Gi\n", any));
    let any = GpuKind { vendor: "nvidia".to_owned(), ..GpuKind::default() };
    assert_eq!(deployment.groups[0].units[0].compute.gpus.any_of, [any]);
}

const TWO: &str = r#"version: "VERSION"
services:
  api:
    image: api
    env: [TOKEN=hush]
    expose:
      - {port: 8080, to: [{service: web}]}
    params: {tee: cpu}
    credentials: {host: ghcr.io, username: me, password: secret}
  web:
    image: web
    expose:
      - port: 80
        to: [{global: true}]
      - {port: 53, proto: UDP, to: [{global: true, ip: front}]}
    dependencies: [{service: api}]
    params:
      storage: {data: {mount: /data}, fast: {mount: /fast}}
      permissions: {read: [logs]}
profiles:
  compute:
    small:
      resources:
        cpu: {units: 1, attributes: {arch: arm64}}
        memory: {size: 1Gi}
        storage:
          - {size: 1Gi}
          - {name: data, size: 2Gi, attributes: {persistent: true, class: beta3}}
          - {name: fast, size: 512Mi, attributes: {class: ram}}
  placement:
    west:
      pricing: {small: {denom: usd, amount: 1}}
deployment:
  web: {west: {profile: small, count: 2}}
  api: {west: {profile: small, count: 1}}
endpoints: {front: {kind: ip}}
reclamation: {min_window: 24h}
"#;

#[test]
fn services_of_one_profile_share_a_unit_from_2_1_on() {
    // A persistent volume that a service does not mount is refused by 2.0 alone.
    let mounted = "params: {tee: cpu, storage: {data: {mount: /data}}}";
    for (version, units, counts) in [("2.0", vec![0, 1], vec![1, 2]), ("2.1", vec![0, 0], vec![3])]
    {
        let text = TWO.replace("VERSION", version).replace("params: {tee: cpu}", mounted);
        let deployment = good(&text);
        let group = &deployment.groups[0];
        assert_eq!(
            group.services.iter().map(|one| one.unit).collect::<Vec<_>>(),
            units,
            "{version}"
        );
        assert_eq!(
            group.units.iter().map(|one| one.count).collect::<Vec<_>>(),
            counts,
            "{version}"
        );
    }
}

#[test]
fn a_group_carries_everything_that_its_services_say() {
    let deployment = good(&TWO.replace("VERSION", "2.1"));
    assert_eq!(deployment.reclaim_window, Some(Millis::from_secs(24 * 3600)));
    let group = &deployment.groups[0];
    assert!(group.is_linked());
    assert_eq!(group.requirements.tee, Some(Tee::Cpu));
    let orders = group.orders(&Exchange::default()).unwrap();
    let terms = &orders[0].alternatives[0];
    assert_eq!(terms.together, Together::Provider);
    assert!(terms.verifies.contains(&Verifies::Attest));
    assert_eq!(terms.attributes["tee/type"], "cpu");
    assert_eq!(terms.attributes["arch"], "arm64");
    assert_eq!(terms.attributes["storage/beta3"], "true");
    assert_eq!(terms.attributes["endpoint/ip"], "true");
    assert_eq!(terms.attributes.len(), 4);
    assert_eq!(terms.request.memory_bytes, GIB + GIB / 2);
    assert_eq!(terms.request.disk_bytes, 3 * GIB);
    let [api, web] = &group.services[..] else { panic!() };
    assert_eq!(api.credentials.as_ref().unwrap().password, "secret");
    assert_eq!(web.dependencies, ["api"]);
    assert_eq!(web.mounts.len(), 2);
    assert_eq!(web.compute.volumes[0].class, Some(StorageClass::Ram));
    let udp = &web.expose[0];
    assert_eq!((udp.port, udp.proto, udp.ip.as_deref()), (53, Proto::Udp, Some("front")));
    assert!(web.expose[1].is_ingress() && !udp.is_ingress());
}

#[test]
fn a_manifest_survives_its_encoding_and_shows_no_secret() {
    let manifest = good(&TWO.replace("VERSION", "2.1")).groups[0].manifest();
    let bytes = encode(&manifest);
    assert_eq!(decode::<Manifest>(&bytes, bytes.len()), Ok(manifest.clone()));
    assert!(decode::<Manifest>(&bytes, bytes.len() - 1).is_err());
    let shown = format!("{manifest:?}");
    assert!(shown.contains("TOKEN") && shown.contains("ghcr.io"));
    assert!(!shown.contains("hush") && !shown.contains("secret"), "{shown}");
}

#[test]
fn what_no_amount_can_hold_is_no_price() {
    let exchange = Exchange { akt_usd: Some(Amount::MAX), ..Exchange::default() };
    let deployment = good(&with("denom: usd", "denom: uakt"));
    assert_eq!(exchange.rate(&deployment.groups[0].units[0].price), None);
}
