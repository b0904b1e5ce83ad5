use super::*;
use crate::{
    Defect,
    sdl::{Deployment, Proto, StorageClass},
};
use proptest::prelude::*;

fn make(text: &str) -> Checked<String> {
    from_compose(text.as_bytes(), &Guess::default())
}

fn lines(defects: &[Defect]) -> String {
    defects.iter().map(|defect| format!("{defect}\n")).collect()
}

fn deployment(text: &str) -> Deployment {
    let sdl = make(text).result.unwrap_or_else(|errors| panic!("{text}\n{}", lines(&errors)));
    let checked = parse_sdl(sdl.as_bytes(), &Exchange::default());
    // What is made has nothing odd in it, but perhaps no port for the world.
    let odd: Vec<_> = checked.warnings.iter().filter(|one| one.field != "services").collect();
    assert!(odd.is_empty(), "{odd:?}\n{sdl}");
    checked.result.unwrap_or_else(|errors| panic!("{sdl}\n{}", lines(&errors)))
}

const SHOP: &str = r#"
name: shop
services:
  web:
    image: ghcr.io/me/web:${TAG:-1.2}
    entrypoint: ["/entry"]
    command: serve --name "a b"
    environment:
      MODE: production
      PRICE: 5$$
      EMPTY: ""
    ports:
      - "8080:80"
      - target: 53
        published: "5353"
        protocol: udp
    depends_on:
      my_db: {condition: service_healthy}
    deploy:
      replicas: 2
      resources:
        limits: {cpus: "0.25", memory: 256M}
        reservations: {devices: [{driver: nvidia, count: 2, capabilities: [gpu]}]}
    restart: unless-stopped
  my_db:
    image: postgres:16
    environment:
      - POSTGRES_PASSWORD=hush
    expose: [5432]
    volumes:
      - pg_data:/var/lib/postgresql/data
      - /scratch
    tmpfs: /run
    cpus: 1.5
    mem_limit: 1g
    healthcheck: {test: [CMD, pg_isready]}
    restart: on-failure
volumes:
  pg_data:
"#;

#[test]
fn the_common_subset_becomes_services_that_say_the_same() {
    let deployment = deployment(SHOP);
    let [group] = &deployment.groups[..] else { panic!() };
    let [db, web] = &group.services[..] else { panic!() };
    assert_eq!(web.image, "ghcr.io/me/web:1.2");
    assert_eq!(
        (web.command.join("|"), web.args.join("|")),
        ("/entry".into(), "serve|--name|a b".into())
    );
    let env: Vec<_> = web.env.iter().map(|one| format!("{}={}", one.name, one.value)).collect();
    assert_eq!(env, ["MODE=production", "PRICE=5$", "EMPTY="]);
    assert_eq!(web.count, 2);
    assert_eq!(web.dependencies, ["my-db"]);
    let ports: Vec<_> =
        web.expose.iter().map(|one| (one.port, one.external, one.proto, one.global)).collect();
    assert_eq!(ports, [(53, Some(5353), Proto::Udp, true), (80, Some(8080), Proto::Tcp, true)]);
    assert_eq!((web.compute.cpu_milli, web.compute.memory_bytes), (250, 256 << 20));
    assert_eq!(web.compute.gpus.count, 2);

    assert_eq!(db.name, "my-db");
    let [port] = &db.expose[..] else { panic!() };
    assert_eq!((port.port, port.global, port.service.as_deref()), (5432, false, Some("web")));
    let mounts: Vec<_> =
        db.mounts.iter().map(|one| (one.volume.as_str(), one.path.as_str())).collect();
    assert_eq!(
        mounts,
        [("pg-data", "/var/lib/postgresql/data"), ("volume-1", "/scratch"), ("volume-2", "/run")]
    );
    let kind = |name: &str| {
        let volume = db.compute.volumes.iter().find(|volume| volume.name == name).unwrap();
        (volume.class, volume.persistent)
    };
    assert_eq!(kind("pg-data"), (Some(StorageClass::Default), true));
    assert_eq!(kind("volume-1"), (None, false));
    assert_eq!(kind("volume-2"), (Some(StorageClass::Ram), false));
    assert_eq!((db.compute.cpu_milli, db.compute.memory_bytes), (1_500, 1 << 30));
}

#[test]
fn what_is_left_out_or_guessed_is_said() {
    let warnings = lines(&make(SHOP).warnings);
    for told in [
        "services.web.image: TAG is taken to be its default",
        "services.my_db: is called my-db in the SDL",
        "services.my_db.volumes[0]: the volume's size is not said: 10 GiB",
        "services.my_db.healthcheck: an SDL has no health checks",
        "services.my_db.restart: services are always restarted",
    ] {
        assert!(warnings.contains(told), "{told}\n{warnings}");
    }
    assert_eq!(warnings.lines().count(), 5, "{warnings}");
}

#[test]
fn what_no_provider_can_do_is_refused_with_a_way_out() {
    for (service, told) in [
        ("build: .", "3:5 services.a.build: a provider builds no images — fix: docker build -t"),
        ("tty: true", "services.a.image: is missing"),
        ("image: b\n    volumes: [./data:/data]", "volumes[0]: `./data` is a path of this machine"),
        (
            "image: b\n    volumes: [{type: bind, source: data, target: /data}]",
            "is a path of this machine",
        ),
        ("image: b\n    volumes: [data:data]", "`data` is no absolute path"),
        ("image: b\n    volumes: [d:/x, e:/x]", "is mounted already"),
        (
            "image: b\n    env_file: .env",
            "services.a.env_file: is no field of this format — fix: write the variables",
        ),
        ("image: b\n    privileged: true", "no provider runs privileged containers"),
        ("image: b\n    network_mode: host", "network_mode: is no field of this format"),
        (
            "image: b:${TAG}",
            "services.a.image: nobody says what ${TAG} is — fix: write the value itself",
        ),
        ("image: b\n    environment: {A: $B}", "environment.A: nobody says what $B is"),
        ("image: b\n    environment: [a b=c]", "`a b` is no name of a variable"),
        ("image: b\n    ports: [\"80:x\"]", "ports[0]: `80:x` is no port"),
        ("image: b\n    ports: [\"1-9:1-8\"]", "is no port"),
        ("image: b\n    depends_on: [c]", "there is no service `c`"),
        ("image: b\n    depends_on: [a]", "depends on itself"),
        ("image: b\n    mem_limit: lots", "mem_limit: `lots` is no size"),
        ("image: b\n    cpus: 0", "cpus: `0` is no number of CPUs"),
        ("image: b\n    scale: 0", "scale: `0` is out of range"),
        ("image: b\n    imagee: c", "imagee: unknown field — fix: write image"),
    ] {
        let text = format!("services:\n  a:\n    {service}\n");
        let errors = lines(&make(&text).result.expect_err(service));
        assert!(errors.contains(told), "{service}\n{errors}");
    }
}

#[test]
fn ports_are_read_in_every_form() {
    let port = |target, published, udp, global| Port { target, published, udp, global };
    for (text, expected) in [
        ("80", vec![port(80, None, false, true)]),
        ("8080:80", vec![port(80, Some(8080), false, true)]),
        ("8080:80/udp", vec![port(80, Some(8080), true, true)]),
        ("127.0.0.1:8080:80", vec![port(80, Some(8080), false, false)]),
        ("0.0.0.0:8080:80", vec![port(80, Some(8080), false, true)]),
        ("127.0.0.1::80", vec![port(80, None, false, false)]),
        ("[::1]:8080:80", vec![port(80, Some(8080), false, false)]),
        ("3000-3001", vec![port(3000, None, false, true), port(3001, None, false, true)]),
        ("81-82:1-2", vec![port(1, Some(81), false, true), port(2, Some(82), false, true)]),
    ] {
        assert_eq!(ports::short(text).unwrap(), expected, "{text}");
    }
    for text in ["", ":", "0", "65536", "80/sctp", "2-1", "1-200", "a:80", "8080:", "80:80:80:80"] {
        assert!(ports::short(text).is_err(), "{text}");
    }
}

#[test]
fn a_port_without_callers_is_exposed_to_all_other_services() {
    let deployment =
        deployment("services:\n  a: {image: x, expose: ['1']}\n  b: {image: y}\n  c: {image: z}\n");
    let targets: Vec<_> =
        deployment.groups[0].services[0].expose.iter().map(|one| one.service.clone()).collect();
    assert_eq!(targets, [Some("b".to_owned()), Some("c".to_owned())]);
}

#[test]
fn names_that_yaml_takes_for_something_else_stay_names() {
    let deployment = deployment(
        "services:\n  'null': {image: x, ports: ['80'], depends_on: ['true']}\n  'true': {image: y, expose: ['1'], volumes: ['on:/on']}\nvolumes: {on: }\n",
    );
    let names: Vec<_> = deployment.groups[0].services.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["null", "true"]);
    assert_eq!(deployment.groups[0].services[0].dependencies, ["true"]);
}

#[test]
fn the_price_is_the_callers() {
    let guess = Guess { price_per_hour: "1.5".parse().unwrap(), ..Guess::default() };
    let sdl = from_compose(b"services: {a: {image: b, ports: [80]}}", &guess).result.unwrap();
    let deployment = parse_sdl(sdl.as_bytes(), &Exchange::default()).result.unwrap();
    let price = &deployment.groups[0].units[0].price;
    assert_eq!((price.denom.as_str(), price.amount), ("usd", guess.price_per_hour));
}

/// A text in YAML's double quotes, all but letters and digits escaped.
fn quote(text: &str) -> String {
    let escape = |letter: char| match letter {
        letter if letter.is_ascii_alphanumeric() => letter.to_string(),
        letter => format!("\\U{:08X}", u32::from(letter)),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

prop_compose! {
    fn service(index: usize)(
        words in proptest::collection::vec(".{0,12}", 0..4),
        env in proptest::collection::btree_map("[A-Z_][A-Z0-9_]{0,8}", "\\PC{0,20}|[\u{0}-\u{40}\u{2028}\u{FEFF}\"\\\\]{0,9}", 0..5),
        ports in proptest::collection::btree_set(1u16..=65_535, 0..4),
        local in any::<bool>(),
        udp in any::<bool>(),
        memory in 1u64..1 << 40,
        cpus in 1u32..64_000,
        replicas in 1u32..20,
        depends in any::<bool>(),
        volume in any::<bool>(),
        gpus in 0u32..4,
    ) -> String {
        let dollars = |text: &str| quote(&text.replace('$', "$$"));
        let mut text = format!("  s_{index}:\n    image: img{index}\n");
        if !words.is_empty() {
            let words: Vec<_> = words.iter().map(|word| dollars(word)).collect();
            text.push_str(&format!("    command: [{}]\n", words.join(", ")));
        }
        if !env.is_empty() {
            text.push_str("    environment:\n");
        }
        for (name, value) in &env {
            text.push_str(&format!("      {name}: {}\n", dollars(value)));
        }
        if !ports.is_empty() {
            text.push_str("    ports:\n");
        }
        for port in &ports {
            let (address, protocol) = (if local { "127.0.0.1:" } else { "" }, if udp { "/udp" } else { "" });
            text.push_str(&format!("      - \"{address}{port}:{port}{protocol}\"\n"));
        }
        if depends && index > 0 {
            text.push_str(&format!("    depends_on: [s_{}]\n", index - 1));
        }
        if volume {
            text.push_str(&format!("    volumes: [\"data_{index}:/data:ro\", /scratch]\n"));
        }
        if gpus > 0 {
            text.push_str(&format!("    gpus: {gpus}\n"));
        }
        text.push_str(&format!(
            "    deploy:\n      replicas: {replicas}\n      resources:\n        limits:\n          \
             cpus: '{}.{:03}'\n          memory: {memory}b\n", cpus / 1_000, cpus % 1_000
        ));
        text
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_sdl_that_is_made_is_accepted_and_says_the_same(
        services in (service(0), service(1), service(2)),
        count in 1usize..=3,
    ) {
        let parts = [services.0, services.1, services.2];
        let text = format!("services:\n{}", parts[..count].concat());
        let sdl = make(&text).result.map_err(|errors| TestCaseError::fail(format!("{text}\n{}", lines(&errors))))?;
        let deployment = parse_sdl(sdl.as_bytes(), &Exchange::default()).result
            .map_err(|errors| TestCaseError::fail(format!("{sdl}\n{}", lines(&errors))))?;
        // The environment is the same text, whatever is in it.
        let tree = crate::yaml::read(text.as_bytes(), &mut Notes::default()).unwrap();
        let read = Form { notes: &mut Notes::default() }.compose(&Field::root(tree), &Guess::default()).unwrap();
        prop_assert_eq!(deployment.groups[0].services.len(), count);
        for (app, service) in read.iter().zip(&deployment.groups[0].services) {
            prop_assert_eq!(&app.name, &service.name);
            prop_assert_eq!(&app.args, &service.args);
            let env: Vec<_> = service.env.iter().map(|one| (one.name.clone(), one.value.clone())).collect();
            prop_assert_eq!(&app.env, &env);
            prop_assert_eq!(app.replicas, service.count);
            prop_assert_eq!(app.memory_bytes, Some(service.compute.memory_bytes));
            prop_assert_eq!(app.gpus, service.compute.gpus.count);
        }
    }
}
