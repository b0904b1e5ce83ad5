//! Who may have what.

use super::{
    build::{hello, image},
    fake::{Fake, client},
    pull::{options, store},
};
use muster_sandbox::oci::image::{Credentials, Digest, Progress, PullError, PullOptions, Stage};
use std::sync::Arc;

const BASIC: &str = "Basic dXNlcjpwYXNz";

fn with(credentials: Credentials) -> PullOptions {
    PullOptions { credentials, ..options() }
}

fn bearer(fake: &Fake, realm: &str) -> String {
    format!(r#"Bearer realm="http://{}{realm}",service="fake",scope="wrong""#, fake.host)
}

#[tokio::test]
async fn a_token_is_fetched_once_and_with_the_credentials_that_there_are() {
    let (fake, (_dir, store)) = (Fake::start().await, store());
    let name = fake.has("a/b", "1", &image(&[hello()]));
    let challenge = bearer(&fake, "/token");
    fake.ways(|ways| ways.wants = Some(("Bearer t0".to_owned(), challenge)));
    fake.answers("/token", 200, &[], br#"{"access_token":"t0","expires_in":60}"#);

    fake.pull(&store, &name, &options()).await.unwrap();
    let tokens = |fake: &Fake| {
        let asked = fake.asked().into_iter().filter(|asked| asked.path == "/token");
        asked.map(|asked| (asked.query, asked.authorization)).collect::<Vec<_>>()
    };
    let query = "service=fake&scope=repository%3Aa%2Fb%3Apull".to_owned();
    assert_eq!(tokens(&fake), [(query.clone(), String::new())]);

    fake.pull(&store, &name, &with(Credentials::basic("user", "pass"))).await.unwrap();
    assert_eq!(tokens(&fake)[1], (query, BASIC.to_owned()));
    // A password is for the token service; the registry sees tokens only.
    let to_registry = fake.asked().into_iter().filter(|asked| asked.path != "/token");
    assert!(to_registry.into_iter().all(|asked| asked.authorization != BASIC));
}

#[tokio::test]
async fn a_token_that_runs_out_on_the_way_is_fetched_again() {
    let (fake, (_dir, store)) = (Arc::new(Fake::start().await), store());
    let name = fake.has("a/b", "1", &image(&[hello()]));
    let valid = |fake: &Fake, token: &str| {
        let (wanted, challenge) = (format!("Bearer {token}"), bearer(fake, "/token"));
        fake.ways(|ways| ways.wants = Some((wanted, challenge)));
        fake.answers("/token", 200, &[], format!(r#"{{"token":"{token}"}}"#).as_bytes());
    };
    valid(&fake, "t0");
    let registry = Arc::clone(&fake);
    let progress = move |progress: &Progress| {
        if progress.stage == Stage::Downloading && progress.bytes == 0 {
            valid(&registry, "t1");
        }
    };
    let options = PullOptions { progress: Some(Arc::new(progress)), ..options() };
    fake.pull(&store, &name, &options).await.unwrap();
    let tokens = fake.asked().into_iter().filter(|asked| asked.path == "/token");
    assert_eq!(tokens.count(), 2);
}

#[tokio::test]
async fn a_token_of_ones_own_is_shown_at_once_and_not_replaced() {
    let (fake, (_dir, store)) = (Fake::start().await, store());
    let name = fake.has("a/b", "1", &image(&[hello()]));
    let challenge = bearer(&fake, "/token");
    fake.ways(|ways| ways.wants = Some(("Bearer own".to_owned(), challenge)));
    fake.answers("/token", 200, &[], br#"{"token":"another"}"#);
    let own = |token: &str| with(Credentials::Bearer(token.to_owned().into()));
    fake.pull(&store, &name, &own("own")).await.unwrap();
    let error = fake.pull(&store, &name, &own("old")).await.unwrap_err();
    assert!(matches!(error, PullError::Denied { .. }), "{error:?}");
    assert!(fake.asked().into_iter().all(|asked| asked.path != "/token"));
}

#[tokio::test]
async fn a_name_and_a_password_are_shown_where_the_registry_asks_for_them() {
    let (fake, (_dir, store)) = (Fake::start().await, store());
    let name = fake.has("app", "1", &image(&[hello()]));
    fake.ways(|ways| ways.wants = Some((BASIC.to_owned(), r#"Basic realm="r""#.to_owned())));
    fake.pull(&store, &name, &with(Credentials::basic("user", "pass"))).await.unwrap();

    let wrong = with(Credentials::basic("user", "wrong-secret"));
    for (options, who) in [(wrong, "who has these credentials"), (options(), "strangers")] {
        let error = fake.pull(&store, &name, &options).await.unwrap_err();
        let text = format!("{error} {error:?} {options:?}");
        assert!(matches!(error, PullError::Denied { .. }), "{text}");
        assert!(text.contains(who) && !text.contains("wrong-secret"), "{text}");
    }
}

#[tokio::test]
async fn a_token_service_inside_of_the_providers_network_is_not_asked() {
    let (fake, inner, (_dir, store)) = (Fake::start().await, Fake::start().await, store());
    let name = fake.has("app", "1", &image(&[hello()]));
    for realm in [format!("http://{}/admin", inner.host), "http://169.254.169.254/x".to_owned()] {
        let challenge = format!(r#"Bearer realm="{realm}""#);
        fake.ways(|ways| ways.wants = Some(("Bearer t".to_owned(), challenge)));
        let options = with(Credentials::basic("user", "pass"));
        let error = fake.pull(&store, &name, &options).await.unwrap_err();
        assert!(matches!(error, PullError::HostRefused { .. }), "{error:?}");
    }
    assert_eq!(inner.asked(), []);
}

#[tokio::test]
async fn credentials_do_not_follow_a_redirect_to_another_host() {
    let (fake, other, (_dir, store)) = (Fake::start().await, Fake::start().await, store());
    let layer = hello();
    let name = fake.has("app", "1", &image(std::slice::from_ref(&layer)));
    let path = format!("/v2/app/blobs/{}", Digest::of(&layer.bytes));
    fake.ways(|ways| ways.wants = Some((BASIC.to_owned(), r#"Basic realm="r""#.to_owned())));
    fake.answers(&path, 307, &[("location", &format!("http://{}/cdn", other.host))], b"");
    other.answers("/cdn", 200, &[], &layer.bytes);
    let both = client(&[&fake.host, &other.host]);
    store.pull(&both, &name, &with(Credentials::basic("user", "pass"))).await.unwrap();
    assert_eq!(other.asked().into_iter().map(|a| a.authorization).collect::<Vec<_>>(), [""]);
}

#[tokio::test]
async fn a_token_that_is_none_or_never_ends_is_refused() {
    let (fake, (_dir, store)) = (Fake::start().await, store());
    let name = fake.has("app", "1", &image(&[hello()]));
    let challenge = bearer(&fake, "/token");
    fake.ways(|ways| ways.wants = Some(("Bearer t".to_owned(), challenge)));
    for (body, expected) in [
        (b"{}".to_vec(), "has no token"),
        (b"<html>".to_vec(), "has no token"),
        (vec![b' '; 1 << 20], "more than 65536 bytes"),
    ] {
        fake.answers("/token", 200, &[], &body);
        let error = fake.pull(&store, &name, &options()).await.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    // A token that is fetched and refused ends in a refusal, not in a circle.
    fake.answers("/token", 200, &[], br#"{"token":"another"}"#);
    let error = fake.pull(&store, &name, &options()).await.unwrap_err();
    assert!(matches!(error, PullError::Denied { .. }), "{error:?}");
}

#[tokio::test]
async fn a_private_layer_is_not_given_to_who_knows_only_its_hash() {
    let (fake, theirs, (_dir, store)) = (Fake::start().await, Fake::start().await, store());
    let layer = hello();
    let built = image(std::slice::from_ref(&layer));
    let name = fake.has("private", "1", &built);
    fake.ways(|ways| ways.wants = Some((BASIC.to_owned(), r#"Basic realm="r""#.to_owned())));
    let owner = with(Credentials::basic("user", "pass"));
    let first = fake.pull(&store, &name, &owner).await.unwrap();
    let again = fake.pull(&store, &name, &owner).await.unwrap();
    assert_eq!(first.layers[0].dir(), again.layers[0].dir());

    // The thief's registry names the layer, and does not have it.
    let stolen = theirs.has("stolen", "1", &built);
    let path = format!("/v2/stolen/blobs/{}", Digest::of(&layer.bytes));
    theirs.answers(&path, 404, &[], b"");
    for options in [options(), with(Credentials::basic("thief", "x"))] {
        let error = theirs.pull(&store, &stolen, &options).await.unwrap_err();
        assert!(matches!(error, PullError::NotFound { .. }), "{error:?}");
    }
}
