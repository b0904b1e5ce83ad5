use super::*;

fn platform(text: &str) -> Platform {
    let mut parts = text.split('/').map(str::to_owned);
    let (os, architecture) = (parts.next().unwrap(), parts.next().unwrap());
    Platform { os, architecture, variant: parts.next() }
}

#[test]
fn an_image_runs_on_the_machine_it_was_made_for() {
    let cases = [
        ("linux/amd64", "linux/amd64", true),
        ("linux/amd64", "linux/arm64", false),
        ("linux/amd64", "windows/amd64", false),
        ("linux/amd64", "linux/amd64/v3", false),
        ("linux/amd64/v3", "linux/amd64", true),
        ("linux/arm64", "linux/arm64/v8", true),
        ("linux/arm64/v8", "linux/arm64", true),
        ("linux/arm/v7", "linux/arm/v8", false),
    ];
    for (ours, theirs, runs) in cases {
        assert_eq!(platform(ours).runs(&platform(theirs)), runs, "{theirs} on {ours}");
    }
}

#[test]
fn a_document_that_is_two_things_or_none_is_refused() {
    let zero = Digest::of(b"");
    let descriptor = |kind: &str| format!(r#"{{"mediaType":"{kind}","digest":"{zero}","size":0}}"#);
    let config = descriptor(CONFIGS[0]);
    let cases = [
        (
            format!(r#"{{"schemaVersion":2,"config":{config},"layers":[],"manifests":[]}}"#),
            "or both",
        ),
        (r#"{"schemaVersion":2}"#.to_owned(), "neither"),
        (r#"{"schemaVersion":1,"fsLayers":[]}"#.to_owned(), "old format"),
        ("[]".to_owned(), "cannot be read"),
        (
            format!(r#"{{"schemaVersion":2,"config":{},"layers":[]}}"#, descriptor("a/helm")),
            "holds `a/helm`, no container image",
        ),
        (
            format!(
                r#"{{"schemaVersion":2,"config":{config},"layers":[{}]}}"#,
                descriptor("application/vnd.oci.image.layer.v1.tar+encrypted")
            ),
            "unknown kind",
        ),
    ];
    for (text, expected) in cases {
        let error = Manifest::read("it", text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_configuration_is_read_with_its_nulls_and_oddities() {
    let text = format!(
        r#"{{"os":"linux","architecture":"amd64","rootfs":{{"type":"layers","diff_ids":["{}"]}},
        "config":{{"Entrypoint":null,"Cmd":["a","b"],"Env":["A=b=c","D"],"User":"1:2",
        "ExposedPorts":{{"80/tcp":{{}},"53/udp":{{}},"443":{{}},"0/tcp":{{}},"x":{{}}}},
        "Volumes":{{"/data":{{}}}},"WorkingDir":"/w","StopSignal":"SIGQUIT","Labels":null}}}}"#,
        Digest::of(b"")
    );
    let read = configured("i", text.as_bytes(), 1, &platform("linux/amd64")).unwrap();
    let port = |port, protocol: &str| ExposedPort { port, protocol: protocol.to_owned() };
    let expected = ImageConfig {
        cmd: vec!["a".to_owned(), "b".to_owned()],
        env: vec![("A".to_owned(), "b=c".to_owned()), ("D".to_owned(), String::new())],
        user: "1:2".to_owned(),
        working_dir: "/w".to_owned(),
        exposed_ports: vec![port(443, "tcp"), port(53, "udp"), port(80, "tcp")],
        stop_signal: "SIGQUIT".to_owned(),
        volumes: vec!["/data".to_owned()],
        ..ImageConfig::default()
    };
    assert_eq!(read.config, expected);
    let error = configured("i", text.as_bytes(), 2, &platform("linux/amd64")).err().unwrap();
    assert!(error.to_string().contains("names 1 layers, its manifest 2"), "{error}");
    let error = configured("i", text.as_bytes(), 1, &platform("linux/arm64")).err().unwrap();
    assert!(matches!(error, PullError::Platform { .. }), "{error}");
}
