//! Every defect is named with its place, its field and its fix.

use super::{GOOD, check, good, lines, with};

/// One part of the good file replaced by another, and the line that tells of it.
fn refused(cases: &[(&str, &str, &str)]) {
    for (part, other, told) in cases {
        let checked = check(&with(part, other));
        let errors = lines(&checked.result.expect_err(other));
        assert!(errors.contains(told), "{other}\n{errors}");
    }
}

fn warned(cases: &[(&str, &str, &str)]) {
    for (part, other, told) in cases {
        let checked = check(&with(part, other));
        if let Err(errors) = &checked.result {
            panic!("{other}\n{}", lines(errors));
        }
        let warnings = lines(&checked.warnings);
        assert!(warnings.contains(told), "{other}\n{warnings}");
    }
}

#[test]
fn defects_of_services_are_named() {
    refused(&[
        (
            "image: nginx:1.27",
            "image: \"\"",
            "4:12 services.web.image: is empty — fix: write registry",
        ),
        (
            "image: nginx:1.27",
            "imag: nginx",
            "4:5 services.web.imag: unknown field — fix: write image",
        ),
        ("image: nginx:1.27", "tty: true", "3:3 services.web.image: is missing — fix: add image"),
        ("image: nginx:1.27", "image:", "4:5 services.web.image: has no value"),
        (
            "image: nginx:1.27",
            "image: [nginx]",
            "4:12 services.web.image: expected a single value, found a list",
        ),
        (
            "  web:\n    image",
            "  Web_1:\n    image",
            "3:3 services.Web_1: `Web_1` is no name of a service",
        ),
        (
            "port: 80",
            "port: 99999",
            "6:15 services.web.expose[0].port: `99999` is out of range — fix: write 1 to 65535",
        ),
        ("port: 80", "port: 8080:80", "is no single port — fix: write port: 80 and as: 8080"),
        (
            "port: 80",
            "port: 80\n        proto: http",
            "proto: `http` is unknown — fix: write tcp or udp",
        ),
        ("port: 80", "port: 80\n        accept: [\"a b\"]", "accept[0]: `a b` is no host name"),
        ("global: true", "global: maybe", "global: `maybe` is neither true nor false"),
        ("global: true", "ip: front", "an ip is global or nothing — fix: add global: true"),
        (
            "global: true",
            "global: true\n            ip: front",
            "there is no endpoint `front` — fix: add endpoints: {front: {kind: ip}}",
        ),
        ("image: nginx:1.27", "image: a\n    env: [1A=b]", "env[0]: `1A` is no name of a variable"),
        ("image: nginx:1.27", "image: a\n    dependencies: [{service: web}]", "depends on itself"),
        (
            "image: nginx:1.27",
            "image: a\n    credentials: {host: b, username: c}",
            "credentials.password: is missing",
        ),
        (
            "image: nginx:1.27",
            "image: a\n    params: {tee: sgx}",
            "params.tee: `sgx` is unknown — fix: write cpu or cpu-gpu",
        ),
        (
            "image: nginx:1.27",
            "image: a\n    params: {tee: cpu-gpu}",
            "the compute profile `small` has no GPU",
        ),
        (
            "image: nginx:1.27",
            "image: a\n    params: {storage: {data: {mount: /d}}}",
            "has no such volume — fix: add it to the profile's storage, or write default",
        ),
        (
            "image: nginx:1.27",
            "image: a\n    params: {storage: {default: {mount: d}}}",
            "mount: `d` is no absolute path",
        ),
        (
            "port: 80",
            "port: 80\n        http_options: {read_timeout: 60001}",
            "read_timeout: `60001` is out of range",
        ),
        (
            "port: 80",
            "port: 80\n        http_options: {next_cases: [off, error]}",
            "off is given beside other cases",
        ),
        (
            "port: 80",
            "port: 80\n        http_options: {next_cases: [\"501\"]}",
            "next_cases[0]: `501` is unknown",
        ),
        (
            "image: nginx:1.27",
            "image: a\n    ports: [\"80:80\"]",
            "5:5 services.web.ports: is no field of this format — fix: write expose",
        ),
        (
            "image: nginx:1.27",
            "image: a\n    build: .",
            "services.web.build: is no field of this format — fix: build and push",
        ),
        ("image: nginx:1.27", "image: a\n    command: \"sh -c 'x\"", "command: is no command line"),
    ]);
}

#[test]
fn defects_of_profiles_are_named() {
    refused(&[
        ("units: 500m", "units: -100m", "units: `-100m` is no number of CPU threads"),
        ("units: 500m", "unit: 500m", "cpu.unit: unknown field — fix: write units"),
        ("size: 512Mi", "size: 512m", "memory.size: `512m` is no size — fix: write 512Mi"),
        (
            "        memory:\n          size: 512Mi\n",
            "",
            "resources.memory: is missing — fix: add memory: {size: 512Mi}",
        ),
        (
            "size: 1Gi",
            "size: 1Gi\n          attributes: {class: beta2}",
            "class: a class is for persistent volumes — fix: add persistent: true",
        ),
        (
            "size: 1Gi",
            "size: 1Gi\n          attributes: {class: ram, persistent: true}",
            "memory does not outlive",
        ),
        (
            "size: 1Gi",
            "size: 1Gi\n          attributes: {class: floppy, persistent: true}",
            "class: `floppy` is unknown",
        ),
        (
            "size: 1Gi",
            "size: 1Gi\n          attributes: {persistent: true}",
            "services.web.params.storage: the volume `default` is mounted nowhere",
        ),
        (
            "          size: 1Gi",
            "          - size: 1Gi\n          - size: 2Gi",
            "storage[1]: a second volume is called `default`",
        ),
        ("size: 1Gi", "size: 1Gi\n        gpu: {units: 1}", "gpu.attributes: is missing"),
        (
            "size: 1Gi",
            "size: 1Gi\n        gpu: {attributes: {vendor: {nvidia: }}}",
            "says which GPUs, but not how many",
        ),
        (
            "size: 1Gi",
            "size: 1Gi\n        gpu: {units: half, attributes: {vendor: {nvidia: }}}",
            "gpu.units: `half` is no whole number",
        ),
        ("amount: 0.05", "amount: 0", "amount: nothing can be had for zero"),
        ("amount: 0.05", "amount: -1", "amount: `-1` is no amount"),
        ("          amount: 0.05\n", "", "pricing.small.amount: is missing"),
        (
            "        small:\n          denom",
            "        large:\n          denom",
            "profiles.placement.west.pricing: has no price for `small`",
        ),
    ]);
}

#[test]
fn defects_of_the_whole_are_named() {
    refused(&[
        ("version: \"2.0\"\n", "", "1:1 version: is missing — fix: add version: \"2.0\""),
        ("\"2.0\"", "\"1.5\"", "1:10 version: `1.5` is no version of the SDL"),
        ("deployment:\n", "deploment:\n", "deploment: unknown field — fix: write deployment"),
        (
            "profile: small",
            "profile: smal",
            "deployment.web.west.profile: there is no compute profile `smal` — fix: add it to profiles.compute, or write small",
        ),
        (
            "deployment:\n  web:",
            "deployment:\n  wep:",
            "deployment.wep: there is no such service — fix: add it to services, or write web",
        ),
        (
            "  web:\n    west:",
            "  web:\n    east:",
            "deployment.web.east: there is no such placement",
        ),
        ("count: 2", "count: 0", "count: `0` is out of range"),
        ("count: 2", "count: two", "count: `two` is no whole number"),
        (
            "deployment:",
            "endpoints: {front: {kind: ip}}\ndeployment:",
            "endpoints.front: is never used",
        ),
        (
            "deployment:",
            "endpoints: {Front: {kind: ip}}\ndeployment:",
            "`Front` is no name of an endpoint",
        ),
        (
            "deployment:",
            "reclamation: {min_window: soon}\ndeployment:",
            "min_window: `soon` is no length of time",
        ),
        ("deployment:", "volumes: {data: {}}\ndeployment:", "volumes: is no field of this format"),
        (
            "version: \"2.0\"",
            "version: \"2.0\"\nversion: \"2.0\"",
            "2:1 version: is given twice, first on line 1",
        ),
    ]);
}

#[test]
fn what_is_clear_is_accepted_with_a_warning() {
    warned(&[
        ("\"2.0\"", "2.0", "1:10 version: is read as the text 2.0"),
        ("\"2.0\"", "\"2.2\"", "version: `2.2` is read as 2.1"),
        ("port: 80", "port: \"80\"", "port: is text where a number belongs"),
        ("count: 2", "count: '2'", "count: is text where a number belongs"),
        ("global: true", "global: yes", "global: `yes` is read as true"),
        (
            "        to:\n          - global: true",
            "        to:\n          global: true",
            "to: is read as a list of one — fix: put `- ` before it",
        ),
        ("    image:", "    Image:", "services.web.Image: is read as image"),
        (
            "    image: nginx:1.27",
            "    image: a\n    restart: always",
            "services.web.restart: means nothing here and is left out",
        ),
        (
            "    image: nginx:1.27",
            "    image: a\n    environment: {A: 1}",
            "services.web.environment: is read as env",
        ),
        (
            "    image: nginx:1.27",
            "    image: a\n    env: {A: 1}",
            "env: a mapping is read as a list",
        ),
        (
            "    image: nginx:1.27",
            "    image: a\n    env: [A: 1]",
            "env[0].A: is read as NAME=value",
        ),
        (
            "    image: nginx:1.27",
            "    image: a\n    env: [{name: A, value: 1}]",
            "is read as NAME=value",
        ),
        (
            "    image: nginx:1.27",
            "    image: a\n    env: [A]",
            "env[0]: has no `=`: the value is empty",
        ),
        (
            "    image: nginx:1.27",
            "    image: a\n    env: ['A=\"b\"']",
            "env[0]: the quotes are part of the value",
        ),
        (
            "    image: nginx:1.27",
            "    image: a\n    env: [A=1, A=2]",
            "env[1]: is given twice: the last one counts",
        ),
        (
            "    image: nginx:1.27",
            "    image: a\n    command: sh -c 'a b'",
            "command: is read as a list of 3 words — fix: write [\"sh\", \"-c\", \"a b\"]",
        ),
        (
            "    image: nginx:1.27",
            "    image: a\n    depends-on: [web2]",
            "services.web.dependencies: there is no service `web2`",
        ),
        ("    image: nginx:1.27", "    image: a\n    params:", "services.web.params: has no value"),
        ("port: 80", "port: 80\n        accept: [\"https://A.example/\"]", "is read as a.example"),
    ]);
}

#[test]
fn what_is_clear_in_profiles_is_accepted_with_a_warning() {
    warned(&[
        ("size: 512Mi", "size: 512MB", "memory.size: is read as 512M"),
        ("size: 1Gi", "size: 1Gi\n          name: data", "the only volume is called default"),
        (
            "size: 1Gi",
            "size: 1Gi\n        gpu: {units: 1, attributes: {vendor: {amd: }}}",
            "vendor.amd: few hosts have GPUs of this vendor",
        ),
        (
            "      pricing:",
            "      signed_by: {any_of: akash1x}\n      pricing:",
            "signed_by: is read as signedBy",
        ),
        (
            "      pricing:",
            "      signedBy: {anyOf: [akash1x]}\n      pricing:",
            "an auditor is no account here",
        ),
        (
            "      pricing:",
            "      attributes: [{key: region, value: us}]\n      pricing:",
            "a list is read as a mapping",
        ),
        (
            "      pricing:",
            "      attributes: {host: akash}\n      pricing:",
            "host: akash is true of no host here",
        ),
        (
            "denom: usd",
            "denom: uakt",
            "pricing.small: offers are in usd, and what uakt is worth is not said — fix: say what one AKT is worth: --uakt-usd",
        ),
        ("denom: usd", "denom: doge", "denom: nobody knows what `doge` is worth"),
        (
            "          - global: true",
            "          - service: db",
            "to.service: there is no service `db`",
        ),
        (
            "        to:\n          - global: true\n",
            "",
            "services: nothing is exposed to the world",
        ),
        ("profiles:", "include: [a.yaml]\nprofiles:", "include: other files are not read"),
        (
            "deployment:",
            "reclamation: {min_window: 1h30m}\ndeployment:",
            "min_window: `1h30m` is read as 5400 seconds",
        ),
    ]);
}

#[test]
fn nothing_is_said_of_what_is_as_usual() {
    for (part, other) in [
        ("    image: nginx:1.27", "    image: a\n    command:\n    args: ~\n    env: null"),
        ("version:", "x-common: &common {A: 1}\nversion:"),
        ("units: 500m", "units: \"500m\""),
        ("    image: nginx:1.27", "    image: a\n    args: [8080, true]"),
        (
            "size: 1Gi",
            "size: 1Gi\n        gpu: {units: \"1\", attributes: {vendor: {nvidia: [{model: a100}]}}}",
        ),
        ("count: 2\n", "count: 2\n...\n"),
    ] {
        let checked = check(&with(part, other));
        assert!(checked.result.is_ok() && checked.warnings.is_empty(), "{other}: {checked:?}");
    }
    let args = good(&with("image: nginx:1.27", "image: a\n    args: [8080, true]"));
    assert_eq!(args.groups[0].services[0].args, ["8080", "true"]);
}

#[test]
fn all_that_is_wrong_is_told_at_once_and_nothing_twice() {
    let text = GOOD
        .replace("image: nginx:1.27", "imge: nginx\n    restart: always")
        .replace("port: 80", "port: 0")
        .replace("512Mi", "lots")
        .replace("profile: small", "profile: tiny");
    let checked = check(&text);
    let errors = lines(&checked.result.unwrap_err());
    let starts = [
        "4:5 services.web.imge",
        "7:15 services.web.expose[0].port",
        "17:17 profiles.compute.small.resources.memory.size",
        "29:16 deployment.web.west.profile",
    ];
    assert_eq!(errors.lines().count(), starts.len(), "{errors}");
    for (line, start) in errors.lines().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
    assert!(lines(&checked.warnings).contains("5:5 services.web.restart"));
}

#[test]
fn a_compose_file_is_told_what_it_is() {
    let checked =
        check("version: '3.8'\nservices:\n  web:\n    image: nginx\n    ports: ['80:80']\n");
    let errors = lines(&checked.result.unwrap_err());
    assert!(errors.starts_with("2:1: this looks like a docker-compose file"), "{errors}");
    assert!(errors.contains("muster sdl from-compose FILE"), "{errors}");
}
