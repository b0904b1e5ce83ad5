use super::*;

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn what_people_write_is_read_as_they_mean_it() {
    let at = format!("ghcr.io/a/b@sha256:{HEX}");
    let both = format!("nginx:1@sha256:{HEX}");
    let cases = [
        ("nginx", "docker.io", "library/nginx", Some("latest")),
        (" nginx:1.27\n", "docker.io", "library/nginx", Some("1.27")),
        ("bitnami/redis", "docker.io", "bitnami/redis", Some("latest")),
        ("index.docker.io/library/nginx", "docker.io", "library/nginx", Some("latest")),
        ("GHCR.io/a/b-c__d.e:V1", "ghcr.io", "a/b-c__d.e", Some("V1")),
        ("localhost/x", "localhost", "x", Some("latest")),
        ("127.0.0.1:5000/x/y/z:t", "127.0.0.1:5000", "x/y/z", Some("t")),
        ("[::1]:5000/x", "[::1]:5000", "x", Some("latest")),
        (&at, "ghcr.io", "a/b", None),
        (&both, "docker.io", "library/nginx", Some("1")),
    ];
    for (text, host, repository, tag) in cases {
        let image: ImageRef = text.parse().unwrap();
        assert_eq!((image.host(), image.repository(), image.tag()), (host, repository, tag));
        assert_eq!(image.digest().is_some(), text.contains('@'), "{text}");
        assert_eq!(image.to_string().parse::<ImageRef>().unwrap(), image, "{text}");
    }
    assert_eq!("nginx".parse::<ImageRef>().unwrap().api_host(), "registry-1.docker.io");
}

#[test]
fn what_is_no_image_is_refused_with_what_to_write() {
    let long = format!("a.b/{}", "x".repeat(300));
    let long_tag = format!("a:{}", "x".repeat(129));
    let cases = [
        ("", "no image is named"),
        ("https://ghcr.io/a", "leave `https://` out"),
        ("docker://nginx", "leave `docker://` out"),
        ("Nginx:Tag", "write `nginx:Tag` instead"),
        ("nginx:", "is no tag"),
        ("nginx:-a", "is no tag"),
        ("nginx:a b", "is no tag"),
        (&long_tag, "is no tag"),
        ("a//b", "is no part of a repository"),
        ("a/../b", "`..` in `a/../b` is no part"),
        ("a/b?c=d", "is no part of a repository"),
        ("a___b", "is no part of a repository"),
        ("ghcr.io/", "is no part of a repository"),
        ("a.b:99999/c", "is no registry"),
        ("a.b:0/c", "is no registry"),
        ("user@host.de/c", "names no content"),
        ("-a.b/c", "is no registry"),
        ("[::g]:1/c", "is no registry"),
        ("nginx@sha256:12", "names no content"),
        (&long, "shorten the repository"),
    ];
    for (text, expected) in cases {
        let error = text.parse::<ImageRef>().unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
