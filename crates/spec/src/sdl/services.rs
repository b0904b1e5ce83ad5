//! The section `services`.

use super::{
    deployment::{
        Credentials, Expose, HttpOptions, Mount, Permission, Proto, RetryOn, Tee, Variable,
    },
    value,
};
use crate::{
    form::{Field, Foreign, Form, Keys, Section},
    notes::Pos,
    value::{echo, refuse},
    yaml::{Value, join},
};
use muster_types::Millis;
use std::collections::BTreeMap;

/// The longest request body, in bytes.
const MAX_BODY: u64 = 100 << 20;
/// The most for response headers, in bytes.
const MAX_BUFFER: u64 = 1 << 20;
/// The longest timeout of a request, in milliseconds.
const MAX_TIMEOUT: u64 = 60_000;
/// The most variables, arguments or ports of a service.
const MAX_LIST: usize = 1_000;

const SERVICE: Keys = Keys {
    required: &[("image", "nginx:1.27")],
    optional: &["command", "args", "env", "expose", "dependencies", "params", "credentials"],
    foreign: &[
        ("environment", Foreign::Means("env")),
        ("entrypoint", Foreign::Means("command")),
        ("depends_on", Foreign::Means("dependencies")),
        ("ports", Foreign::Refused("write expose: [{port: 80, to: [{global: true}]}]")),
        (
            "volumes",
            Foreign::Refused("name a volume in profiles.compute, mount it in params.storage"),
        ),
        ("build", Foreign::Refused("build and push the image, then name it in image")),
        ("deploy", Foreign::Refused("write resources in profiles.compute, count in deployment")),
        ("resources", Foreign::Refused("write them in profiles.compute")),
        ("count", Foreign::Refused("write it in deployment")),
        ("env_file", Foreign::Refused("write the variables in env")),
        ("secrets", Foreign::Refused("write them in env: a manifest is encrypted")),
        ("container_name", Foreign::Ignored),
        ("hostname", Foreign::Ignored),
        ("restart", Foreign::Ignored),
        ("restart_policy", Foreign::Ignored),
        ("healthcheck", Foreign::Ignored),
        ("labels", Foreign::Ignored),
        ("annotations", Foreign::Ignored),
        ("logging", Foreign::Ignored),
        ("networks", Foreign::Ignored),
        ("links", Foreign::Ignored),
        ("stdin_open", Foreign::Ignored),
        ("tty", Foreign::Ignored),
        ("pull_policy", Foreign::Ignored),
        ("imagePullPolicy", Foreign::Ignored),
        ("platform", Foreign::Ignored),
        ("init", Foreign::Ignored),
    ],
};

const EXPOSE: Keys = Keys {
    required: &[("port", "80")],
    optional: &["as", "proto", "to", "accept", "http_options"],
    foreign: &[
        ("protocol", Foreign::Means("proto")),
        ("global", Foreign::Refused("write to: [{global: true}]")),
        ("hosts", Foreign::Means("accept")),
    ],
};

const TO: Keys =
    Keys { required: &[], optional: &["global", "service", "ip", "http_options"], foreign: &[] };

const HTTP: Keys = Keys {
    required: &[],
    optional: &[
        "max_body_size",
        "proxy_buffer_size",
        "read_timeout",
        "send_timeout",
        "next_tries",
        "next_timeout",
        "next_cases",
    ],
    foreign: &[],
};

const PARAMS: Keys =
    Keys { required: &[], optional: &["storage", "permissions", "tee"], foreign: &[] };

const CREDENTIALS: Keys = Keys {
    required: &[("host", "docker.io"), ("username", "you"), ("password", "a token")],
    optional: &["email"],
    foreign: &[],
};

/// A service as it was written, before it is deployed.
pub(super) struct Draft {
    pub(super) path: String,
    pub(super) at: Pos,
    pub(super) image: String,
    pub(super) command: Vec<String>,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<Variable>,
    pub(super) expose: Vec<(Expose, Pos, String)>,
    pub(super) mounts: BTreeMap<String, (Mount, Pos)>,
    pub(super) credentials: Option<Credentials>,
    pub(super) dependencies: Vec<(String, Pos)>,
    pub(super) permissions: Vec<Permission>,
    pub(super) tee: Option<(Tee, Pos)>,
}

impl Form<'_> {
    pub(super) fn services(&mut self, field: &Field) -> BTreeMap<String, Option<Draft>> {
        let mut services = BTreeMap::new();
        for (name, field) in self.entries(field) {
            if self.notes.is_full() {
                break;
            }
            if !value::is_label(&name) {
                let problem = format!("{} is no name of a service", echo(&name));
                let fix = "use a-z, 0-9 and -, a letter first, at most 63";
                self.notes.error(field.key_at, field.path.as_str(), problem, fix);
            }
            services.insert(name.as_ref().to_owned(), self.service(&field));
        }
        services
    }

    fn service(&mut self, field: &Field) -> Option<Draft> {
        let section = self.section(field, &SERVICE)?;
        let image = section.get("image").and_then(|field| self.read(field, value::image));
        let words = |form: &mut Self, key| {
            section.get(key).map(|field| form.words(field)).unwrap_or_default()
        };
        let (command, args) = (words(self, "command"), words(self, "args"));
        let env = section.get("env").map(|field| self.env(field)).unwrap_or_default();
        let mut expose = Vec::new();
        if let Some(field) = section.get("expose") {
            for port in self.bounded(field) {
                self.expose(&port, &mut expose);
            }
        }
        let dependencies =
            section.get("dependencies").map(|field| self.dependencies(field)).unwrap_or_default();
        let mut draft = Draft {
            path: section.path.clone(),
            at: section.at,
            image: image.unwrap_or_default(),
            command,
            args,
            env,
            expose,
            mounts: BTreeMap::new(),
            credentials: section.get("credentials").and_then(|field| self.credentials(field)),
            dependencies,
            permissions: Vec::new(),
            tee: None,
        };
        if let Some(field) = section.get("params") {
            self.params(field, &mut draft);
        }
        Some(draft)
    }

    /// A list of at most [`MAX_LIST`] elements.
    fn bounded(&mut self, field: &Field) -> Vec<Field> {
        let mut elements = self.list(field);
        if elements.len() > MAX_LIST {
            let problem = format!("{} elements, at most {MAX_LIST} are allowed", elements.len());
            self.error(field, problem, "write fewer");
            elements.truncate(MAX_LIST);
        }
        elements
    }

    /// A command line: a list of words, or one text, split as a shell would.
    pub(crate) fn words(&mut self, field: &Field) -> Vec<String> {
        if !matches!(field.node.value, Value::Scalar(_)) {
            let elements = self.bounded(field);
            return elements.iter().filter_map(|element| self.text(element)).collect();
        }
        let Some(text) = self.text(field) else { return Vec::new() };
        match shlex::split(&text) {
            Some(words) if words.len() <= MAX_LIST => {
                let list: Vec<String> =
                    words.iter().map(|word| echo(word).replace('`', "\"")).collect();
                let mut fix = format!("write [{}]", list.join(", "));
                if fix.chars().count() > 120 {
                    fix = "write it as a list of words".to_owned();
                }
                self.warn(field, format!("is read as a list of {} words", words.len()), fix);
                words
            }
            _ => {
                self.error(field, "is no command line", "write a list of words");
                Vec::new()
            }
        }
    }

    fn env(&mut self, field: &Field) -> Vec<Variable> {
        let mut env: Vec<Variable> = Vec::new();
        if let Value::Map(_) = field.node.value {
            self.warn(field, "a mapping is read as a list", "write `- NAME=value` lines");
            for (name, value) in self.entries(field) {
                self.pair(&name, &value, &mut env);
            }
            return env;
        }
        for element in self.bounded(field) {
            if let Value::Map(_) = element.node.value {
                self.env_mapping(&element, &mut env);
                continue;
            }
            let Some(text) = self.text(&element) else { continue };
            match text.split_once('=') {
                Some((name, value)) => self.variable(&element, name, value, &mut env),
                None => {
                    let fix = format!("write {}=value", element_name(&text));
                    self.warn(&element, "has no `=`: the value is empty", fix);
                    self.variable(&element, &text, "", &mut env);
                }
            }
        }
        env
    }

    /// `- NAME: value`, or Kubernetes' `- name: NAME` with `value: …`.
    fn env_mapping(&mut self, element: &Field, env: &mut Vec<Variable>) {
        let entries = self.entries(element);
        let find = |key: &str| entries.iter().find(|(name, _)| name.as_ref() == key);
        if let (2, Some((_, name)), Some((_, value))) = (entries.len(), find("name"), find("value"))
        {
            let Some(name) = self.text(name) else { return };
            self.pair_as(&name, value, env);
        } else {
            for (name, value) in &entries {
                self.pair_as(name, value, env);
            }
        }
    }

    fn pair_as(&mut self, name: &str, value: &Field, env: &mut Vec<Variable>) {
        let fix = format!("write - {}=value", element_name(name));
        self.notes.warn(value.key_at, value.path.as_str(), "is read as NAME=value", fix);
        self.pair(name, value, env);
    }

    fn pair(&mut self, name: &str, value: &Field, env: &mut Vec<Variable>) {
        let text = match value.node.value {
            Value::Null => Some(String::new()),
            _ => self.text(value),
        };
        if let Some(text) = text {
            self.variable(value, name, &text, env);
        }
    }

    fn variable(&mut self, field: &Field, name: &str, value: &str, env: &mut Vec<Variable>) {
        let trimmed = name.trim();
        if !value::is_variable(trimmed) {
            let problem = format!("{} is no name of a variable", echo(trimmed));
            self.error(field, problem, "use letters, digits and _, no digit first");
            return;
        }
        if trimmed.len() != name.len() {
            self.warn(field, "has spaces around the name", "remove them");
        }
        let quoted = |quote| value.len() > 1 && value.starts_with(quote) && value.ends_with(quote);
        if quoted('"') || quoted('\'') {
            self.warn(field, "the quotes are part of the value", "remove them");
        }
        if env.iter().any(|one| one.name == trimmed) {
            self.warn(field, "is given twice: the last one counts", "keep one of the two");
            env.retain(|one| one.name != trimmed);
        }
        env.push(Variable { name: trimmed.to_owned(), value: value.to_owned() });
    }

    fn expose(&mut self, field: &Field, out: &mut Vec<(Expose, Pos, String)>) {
        if let Value::Scalar(_) = field.node.value {
            self.error(field, "expected a mapping", "write port: 80 and to: [{global: true}]");
            return;
        }
        let Some(section) = self.section(field, &EXPOSE) else { return };
        let port = section.get("port").and_then(|field| self.port(field));
        let external = section.get("as").and_then(|field| self.port(field));
        let words = [("tcp", Proto::Tcp), ("udp", Proto::Udp)];
        let proto = section.get("proto").and_then(|field| self.word(field, &words));
        let hosts = section.get("accept").map(|field| self.hosts(field)).unwrap_or_default();
        let mut http = section.get("http_options").map(|field| self.http(field));
        let mut targets = Vec::new();
        if let Some(field) = section.get("to") {
            for target in self.bounded(field) {
                if let Some((target, place, options)) = self.target(&target) {
                    http = http.or(options);
                    targets.push((target, place));
                }
            }
        }
        if targets.is_empty() {
            targets.push(((false, None, None), section.at));
        }
        for ((global, service, ip), at) in targets {
            let (hosts, http) = (hosts.clone(), http.clone().unwrap_or_default());
            let proto = proto.unwrap_or(Proto::Tcp);
            let port = port.unwrap_or_default();
            let expose = Expose { port, external, proto, global, service, ip, hosts, http };
            out.push((expose, at, section.path.clone()));
        }
    }

    #[expect(clippy::type_complexity, reason = "used once")]
    fn target(
        &mut self,
        field: &Field,
    ) -> Option<((bool, Option<String>, Option<String>), Pos, Option<HttpOptions>)> {
        let section = self.section(field, &TO)?;
        let global = section.get("global").and_then(|field| self.flag(field)).unwrap_or(false);
        let name = |form: &mut Self, key| {
            let text = section.get(key).and_then(|field| form.text(field));
            text.filter(|text| !text.is_empty())
        };
        let (service, ip) = (name(self, "service"), name(self, "ip"));
        if ip.is_some() && !global {
            let fix = "add global: true";
            self.notes.error(section.at, section.path.as_str(), "an ip is global or nothing", fix);
        }
        if !global && service.is_none() && section.get("service").is_none() {
            let fix = "write global: true or service: name";
            self.notes.warn(section.at, section.path.as_str(), "is exposed to nobody", fix);
        }
        let http = section.get("http_options").map(|field| {
            let fix = "move http_options beside `to`";
            self.notes.warn(field.key_at, field.path.as_str(), "counts for the whole port", fix);
            self.http(field)
        });
        Some(((global, service, ip), section.at, http))
    }

    fn port(&mut self, field: &Field) -> Option<u16> {
        if let Value::Scalar(scalar) = &field.node.value
            && let Some((outside, inside)) = scalar.text.split_once(':')
        {
            let fix =
                format!("write port: {} and as: {}", element_name(inside), element_name(outside));
            self.error(field, format!("{} is no single port", echo(&scalar.text)), fix);
            return None;
        }
        self.whole(field, 1, 65_535).and_then(|port| u16::try_from(port).ok())
    }

    fn hosts(&mut self, field: &Field) -> Vec<String> {
        let mut hosts = Vec::new();
        for element in self.bounded(field) {
            let Some(text) = self.text(&element) else { continue };
            let host = text.trim();
            let host = host.split_once("://").map_or(host, |(_, rest)| rest);
            let host = host.split('/').next().unwrap_or_default().to_ascii_lowercase();
            if !value::is_host(&host) {
                let fix = "write a DNS name, e.g. www.example.com";
                self.error(&element, format!("{} is no host name", echo(&text)), fix);
                continue;
            }
            if host != text {
                self.warn(&element, format!("is read as {host}"), format!("write {host}"));
            }
            hosts.push(host);
        }
        hosts
    }

    fn http(&mut self, field: &Field) -> HttpOptions {
        let mut options = HttpOptions::default();
        let Some(section) = self.section(field, &HTTP) else { return options };
        // Zero asks for the default, as on Akash.
        let mut number = |key: &str, most: u64| -> Option<u32> {
            let number = section.get(key).and_then(|field| self.whole(field, 0, most));
            number.filter(|number| *number > 0).and_then(|number| u32::try_from(number).ok())
        };
        let millis = |number: u32| Millis(u64::from(number));
        if let Some(bytes) = number("max_body_size", MAX_BODY) {
            options.max_body_bytes = bytes;
        }
        options.buffer_bytes = number("proxy_buffer_size", MAX_BUFFER);
        if let Some(timeout) = number("read_timeout", MAX_TIMEOUT) {
            options.read_timeout = millis(timeout);
        }
        if let Some(timeout) = number("send_timeout", MAX_TIMEOUT) {
            options.send_timeout = millis(timeout);
        }
        if let Some(tries) = number("next_tries", u64::from(u32::MAX)) {
            options.tries = tries;
        }
        if let Some(timeout) = number("next_timeout", u64::from(u32::MAX)) {
            options.try_timeout = millis(timeout);
        }
        if let Some(field) = section.get("next_cases") {
            options.retry_on = self.retry_on(field).unwrap_or(options.retry_on);
        }
        options
    }

    fn retry_on(&mut self, field: &Field) -> Option<Vec<RetryOn>> {
        const CASES: [(&str, Option<RetryOn>); 10] = [
            ("off", None),
            ("error", Some(RetryOn::Error)),
            ("timeout", Some(RetryOn::Timeout)),
            ("500", Some(RetryOn::Status(500))),
            ("502", Some(RetryOn::Status(502))),
            ("503", Some(RetryOn::Status(503))),
            ("504", Some(RetryOn::Status(504))),
            ("403", Some(RetryOn::Status(403))),
            ("404", Some(RetryOn::Status(404))),
            ("429", Some(RetryOn::Status(429))),
        ];
        let elements = self.bounded(field);
        let cases: Vec<_> =
            elements.iter().filter_map(|element| self.word(element, &CASES)).collect();
        if cases.len() > 1 && cases.contains(&None) {
            self.error(
                field,
                "off is given beside other cases",
                "write off alone, or leave it out",
            );
        }
        (!elements.is_empty()).then(|| cases.into_iter().flatten().collect())
    }

    fn dependencies(&mut self, field: &Field) -> Vec<(String, Pos)> {
        const DEPENDENCY: Keys =
            Keys { required: &[("service", "db")], optional: &[], foreign: &[] };
        let mut names = Vec::new();
        for element in self.bounded(field) {
            let name = if let Value::Scalar(_) = element.node.value {
                self.warn(&element, "is read as a service's name", "write - service: name");
                self.text(&element)
            } else {
                let section = self.section(&element, &DEPENDENCY);
                section.and_then(|section| self.text(section.get("service")?))
            };
            names.extend(name.map(|name| (name, element.node.at)));
        }
        names
    }

    fn credentials(&mut self, field: &Field) -> Option<Credentials> {
        let section = self.section(field, &CREDENTIALS)?;
        let mut text = |key: &str, least: usize| -> Option<String> {
            let field = section.get(key)?;
            let text = self.text(field)?.trim().to_owned();
            if text.is_empty() && key != "email" {
                self.error(field, "is empty", format!("write {key}"));
            } else if text.len() < least {
                let fix = "look whether it is right";
                self.warn(field, format!("is shorter than {least} letters"), fix);
            }
            Some(text)
        };
        Some(Credentials {
            email: text("email", 5).unwrap_or_default(),
            host: text("host", 1)?,
            username: text("username", 1)?,
            password: text("password", 6)?,
        })
    }

    fn params(&mut self, field: &Field, draft: &mut Draft) {
        const PERMISSIONS: Keys = Keys { required: &[], optional: &["read"], foreign: &[] };
        let Some(section) = self.section(field, &PARAMS) else { return };
        if let Some(field) = section.get("storage") {
            for (name, field) in self.entries(field) {
                if let Some(mount) = self.mount(&name, &field) {
                    draft.mounts.insert(name.as_ref().to_owned(), (mount, field.key_at));
                }
            }
        }
        let words = [
            ("deployment", Permission::Deployment),
            ("logs", Permission::Logs),
            ("events", Permission::Events),
        ];
        let permissions =
            section.get("permissions").and_then(|field| self.section(field, &PERMISSIONS));
        if let Some(field) = permissions.as_ref().and_then(|section| section.get("read")) {
            let elements = self.bounded(field);
            draft.permissions =
                elements.iter().filter_map(|element| self.word(element, &words)).collect();
        }
        let words = [("cpu", Tee::Cpu), ("cpu-gpu", Tee::CpuGpu)];
        draft.tee =
            section.get("tee").and_then(|field| Some((self.word(field, &words)?, field.key_at)));
    }

    fn mount(&mut self, name: &str, field: &Field) -> Option<Mount> {
        const MOUNT: Keys = Keys {
            required: &[],
            optional: &["mount", "readOnly"],
            foreign: &[("path", Foreign::Means("mount"))],
        };
        let section: Section = self.section(field, &MOUNT)?;
        let path = section.get("mount").and_then(|field| {
            self.read(field, |text| {
                if text.starts_with('/')
                    && !text.contains('\0')
                    && !text.split('/').any(|p| p == "..")
                {
                    Ok(text.to_owned())
                } else {
                    refuse(format!("{} is no absolute path", echo(text)), "write e.g. /data")
                }
            })
        });
        if section.get("mount").is_none() {
            let problem = "is missing";
            self.notes.error(section.at, join(&section.path, "mount"), problem, "add mount: /data");
        }
        let read_only = section.get("readOnly").and_then(|field| self.flag(field)).unwrap_or(false);
        Some(Mount { volume: name.to_owned(), path: path.unwrap_or_default(), read_only })
    }
}

/// A word to be repeated in a fix: short.
fn element_name(text: &str) -> String {
    text.chars().take(40).collect::<String>().escape_debug().to_string()
}
