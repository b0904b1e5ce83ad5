//! Who asks: credentials, and the two ways in which registries want to be shown them.

use std::fmt;
use zeroize::Zeroizing;

/// What a registry is shown. Never printed.
#[derive(Clone, Default)]
pub enum Credentials {
    /// Nothing: what everybody may have.
    #[default]
    Anonymous,
    /// A name and a password, or an access token in its place.
    Basic {
        /// Who.
        user: String,
        /// The secret.
        password: Zeroizing<String>,
    },
    /// A token that the registry itself takes.
    Bearer(Zeroizing<String>),
}

impl Credentials {
    /// A name and a password.
    #[must_use]
    pub fn basic(user: &str, password: &str) -> Self {
        Self::Basic { user: user.to_owned(), password: Zeroizing::new(password.to_owned()) }
    }

    pub(in super::super) const fn are_anonymous(&self) -> bool {
        matches!(self, Self::Anonymous)
    }

    /// As in "does not give it to ..".
    pub(super) const fn who(&self) -> &'static str {
        match self {
            Self::Anonymous => "strangers",
            Self::Basic { .. } | Self::Bearer(_) => "who has these credentials",
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Basic { .. } => "Basic(..)",
            Self::Bearer(_) => "Bearer(..)",
        })
    }
}

/// How a registry wants to be asked, from its header `WWW-Authenticate`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    Basic,
    Bearer { realm: String, service: Option<String> },
}

impl Challenge {
    /// The best of the challenges in a header: bearer before basic.
    pub(super) fn read(header: &str) -> Option<Self> {
        let mut best = None;
        for (scheme, parameters) in challenges(header) {
            let find = |name: &str| {
                let mut all = parameters.iter();
                all.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone())
            };
            if scheme.eq_ignore_ascii_case("bearer") {
                return Some(Self::Bearer { realm: find("realm")?, service: find("service") });
            }
            if scheme.eq_ignore_ascii_case("basic") {
                best = Some(Self::Basic);
            }
        }
        best
    }
}

/// `Scheme key="value", key=value, Scheme ..`, as RFC 9110 has it, without `token68`.
fn challenges(header: &str) -> Vec<(String, Vec<(String, String)>)> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = header.trim_start_matches([' ', ',']);
    while !rest.is_empty() {
        let end = rest.find([' ', ',', '=']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if let Some(value) = after.trim_start().strip_prefix('=') {
            let (value, after) = value_of(value.trim_start());
            if let Some((_, parameters)) = found.last_mut() {
                parameters.push((word.to_owned(), value));
            }
            rest = after;
        } else {
            found.push((word.to_owned(), Vec::new()));
            rest = after;
        }
        rest = rest.trim_start_matches([' ', ',']);
    }
    found
}

/// A quoted text or a word, and what follows it.
fn value_of(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([' ', ',']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut escaped = false;
    for (at, c) in quoted.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return (value, &quoted[at + 1..]),
            _ => {
                value.push(c);
                escaped = false;
            }
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read_as_registries_write_them() {
        let bearer = |realm: &str, service: Option<&str>| {
            let (realm, service) = (realm.to_owned(), service.map(str::to_owned));
            Some(Challenge::Bearer { realm, service })
        };
        let cases = [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io""#,
                bearer("https://auth.docker.io/token", Some("registry.docker.io")),
            ),
            (r#"bearer scope="a b,c" , realm="x\"y""#, bearer("x\"y", None)),
            (r#"Basic realm="r", Bearer realm=https://t"#, bearer("https://t", None)),
            (r#"Basic realm="Registry Realm""#, Some(Challenge::Basic)),
            ("Negotiate", None),
            ("Bearer", None),
            (r#"Bearer realm="unfinished"#, bearer("unfinished", None)),
            ("=,=\"", None),
            ("", None),
        ];
        for (header, expected) in cases {
            assert_eq!(Challenge::read(header), expected, "{header}");
        }
    }

    #[test]
    fn credentials_are_not_printed() {
        let all = [
            Credentials::basic("user", "secret"),
            Credentials::Bearer(Zeroizing::new("secret".to_owned())),
        ];
        for credentials in all {
            let printed = format!("{credentials:?} {credentials:#?}");
            assert!(!printed.contains("secret") && !printed.contains("user"), "{printed}");
        }
    }
}
