//! Reads a compose file.

use super::{App, Guess, Port, ports};
use crate::{
    form::{Field, Foreign, Form, Keys, Section},
    notes::Pos,
    sdl::value,
    value::echo,
    yaml::{Value, join},
};
use std::collections::{BTreeMap, BTreeSet};

/// The most services of a file.
const MAX_SERVICES: usize = 200;
/// The most ports, variables, volumes or words of a service.
const MAX_LIST: usize = 500;

const TOP: Keys = Keys {
    required: &[("services", "a service by name, with its image")],
    optional: &["version", "name", "volumes"],
    foreign: &[
        ("networks", Foreign::Ignored),
        ("secrets", Foreign::Refused("put their values into environment: a manifest is encrypted")),
        ("configs", Foreign::Refused("put the files into the image")),
        ("include", Foreign::Refused("write everything into this file")),
    ],
};

const SERVICE: Keys = Keys {
    required: &[],
    optional: &[
        "image",
        "build",
        "command",
        "entrypoint",
        "environment",
        "ports",
        "expose",
        "volumes",
        "tmpfs",
        "deploy",
        "depends_on",
        "restart",
        "healthcheck",
        "scale",
        "cpus",
        "mem_limit",
        "gpus",
        "privileged",
    ],
    foreign: &[
        ("env_file", Foreign::Refused("write the variables in environment")),
        ("secrets", Foreign::Refused("put their values into environment")),
        ("configs", Foreign::Refused("put the files into the image")),
        ("extends", Foreign::Refused("write the whole service here")),
        ("devices", Foreign::Refused("for GPUs write gpus: 1; other devices cannot be had")),
        ("network_mode", Foreign::Refused("remove it: every service has a network of its own")),
        ("cap_add", Foreign::Refused("remove it: containers have no capabilities")),
        ("volumes_from", Foreign::Refused("name the volumes in volumes")),
        ("pid", Foreign::Refused("remove it: every service has processes of its own")),
        ("ipc", Foreign::Refused("remove it: every service has memory of its own")),
        ("container_name", Foreign::Ignored),
        ("hostname", Foreign::Ignored),
        ("domainname", Foreign::Ignored),
        ("networks", Foreign::Ignored),
        ("links", Foreign::Ignored),
        ("labels", Foreign::Ignored),
        ("annotations", Foreign::Ignored),
        ("logging", Foreign::Ignored),
        ("stdin_open", Foreign::Ignored),
        ("tty", Foreign::Ignored),
        ("pull_policy", Foreign::Ignored),
        ("platform", Foreign::Ignored),
        ("init", Foreign::Ignored),
        ("user", Foreign::Ignored),
        ("working_dir", Foreign::Ignored),
        ("profiles", Foreign::Ignored),
        ("stop_signal", Foreign::Ignored),
        ("stop_grace_period", Foreign::Ignored),
        ("ulimits", Foreign::Ignored),
        ("sysctls", Foreign::Ignored),
        ("extra_hosts", Foreign::Ignored),
        ("dns", Foreign::Ignored),
        ("shm_size", Foreign::Ignored),
        ("security_opt", Foreign::Ignored),
        ("cap_drop", Foreign::Ignored),
        ("read_only", Foreign::Ignored),
        ("develop", Foreign::Ignored),
        ("mem_reservation", Foreign::Ignored),
        ("cpu_shares", Foreign::Ignored),
        ("runtime", Foreign::Ignored),
    ],
};

/// What a service needs beside itself to be read.
pub(super) struct Context<'c> {
    /// Names as the file has them, and as the SDL does.
    names: &'c BTreeMap<String, String>,
    /// Volumes that the file declares.
    pub(super) volumes: &'c BTreeSet<String>,
    pub(super) guess: &'c Guess,
}

impl Form<'_> {
    pub(super) fn compose(&mut self, root: &Field, guess: &Guess) -> Option<Vec<App>> {
        let section = self.section(root, &TOP)?;
        let services = section.get("services").map(|field| self.entries(field))?;
        if services.is_empty() || services.len() > MAX_SERVICES {
            let problem = format!("{} services", services.len());
            let fix = format!("write 1 to {MAX_SERVICES}");
            self.notes.error(section.at, "services", problem, fix);
            return None;
        }
        let mut names: BTreeMap<String, String> = BTreeMap::new();
        for (name, field) in &services {
            let label = self.label(name, field)?;
            if names.values().any(|other| *other == label) {
                let problem = format!("two services would be called {label}");
                self.notes.error(field.key_at, field.path.as_str(), problem, "rename one");
            }
            names.insert(name.as_ref().to_owned(), label);
        }
        let declared = section.get("volumes").map(|field| self.entries(field)).unwrap_or_default();
        let volumes = declared.iter().map(|(name, _)| name.as_ref().to_owned()).collect();
        let context = Context { names: &names, volumes: &volumes, guess };
        let mut apps = Vec::new();
        for (name, field) in &services {
            let label = names.get(name.as_ref()).cloned().unwrap_or_default();
            apps.extend(self.app(label, field, &context));
        }
        for app in &apps {
            let caller = apps.iter().any(|other| other.depends_on.contains(&app.name));
            if caller && app.ports.is_empty() {
                let path = join("services", &app.name);
                let problem = "another service depends on it, but none of its ports is named";
                self.notes.warn(app.at, path, problem, "add expose: [\"5432\"]");
            }
        }
        Some(apps)
    }

    /// A service's name as a DNS label.
    fn label(&mut self, name: &str, field: &Field) -> Option<String> {
        let label: String = name
            .chars()
            .map(|letter| match letter.to_ascii_lowercase() {
                '_' | '.' => '-',
                other => other,
            })
            .collect();
        if !value::is_label(&label) {
            let problem = format!("{} is no name of a service", echo(name));
            let fix = "use a-z, 0-9 and -, a letter first, at most 63";
            self.notes.error(field.key_at, field.path.as_str(), problem, fix);
            return None;
        }
        if label != name {
            let fix = format!("write {label}, also where other services address it");
            let problem = format!("is called {label} in the SDL");
            self.notes.warn(field.key_at, field.path.as_str(), problem, fix);
        }
        Some(label)
    }

    fn app(&mut self, name: String, field: &Field, context: &Context<'_>) -> Option<App> {
        let section = self.section(field, &SERVICE)?;
        let mut app = App { at: section.at, name, replicas: 1, ..App::default() };
        app.image = self.app_image(&section)?;
        let words = |form: &mut Self, key| {
            let words = section.get(key).map(|field| form.command_line(field));
            words.unwrap_or_default()
        };
        (app.command, app.args) = (words(self, "entrypoint"), words(self, "command"));
        if let Some(field) = section.get("environment") {
            app.env = self.environment(field);
        }
        if let Some(field) = section.get("ports") {
            for port in self.bounded_list(field) {
                app.ports.extend(self.port_of(&port));
            }
        }
        if let Some(field) = section.get("expose") {
            for port in self.bounded_list(field) {
                let exposed = self.interpolated(&port, ports::short).unwrap_or_default();
                let inner = |port| Port { published: None, global: false, ..port };
                app.ports.extend(exposed.into_iter().map(inner));
            }
        }
        app.ports.dedup();
        if app.ports.len() > MAX_LIST {
            let problem = format!("more than {MAX_LIST} ports");
            self.notes.error(section.at, section.path.as_str(), problem, "publish fewer");
        }
        self.mounts(&section, context, &mut app);
        self.resources_of(&section, context, &mut app);
        if let Some(field) = section.get("depends_on") {
            app.depends_on = self.depends_on(field, &app.name, context);
        }
        self.left_out(&section);
        Some(app)
    }

    fn app_image(&mut self, section: &Section) -> Option<String> {
        match (section.get("image"), section.get("build")) {
            (Some(image), build) => {
                if let Some(build) = build {
                    let problem = "nothing is built: the image is pulled";
                    self.notes.warn(
                        build.key_at,
                        build.path.as_str(),
                        problem,
                        "push the image first, and remove build",
                    );
                }
                self.interpolated(image, value::image)
            }
            (None, Some(build)) => {
                let fix = "docker build -t HOST/NAME . && docker push HOST/NAME, then write \
                           image: HOST/NAME";
                let (at, path) = (build.key_at, build.path.as_str());
                self.notes.error(at, path, "a provider builds no images", fix);
                None
            }
            (None, None) => {
                let path = join(&section.path, "image");
                self.notes.error(section.at, path, "is missing", "add image: nginx:1.27");
                None
            }
        }
    }

    pub(super) fn bounded_list(&mut self, field: &Field) -> Vec<Field> {
        let mut elements = self.list(field);
        if elements.len() > MAX_LIST {
            self.error(field, format!("more than {MAX_LIST} elements"), "write fewer");
            elements.truncate(MAX_LIST);
        }
        elements
    }

    /// A list of words, or one text that is split as a shell would.
    fn command_line(&mut self, field: &Field) -> Vec<String> {
        if !matches!(field.node.value, Value::Scalar(_)) {
            let elements = self.bounded_list(field);
            return elements.iter().filter_map(|word| self.plain_text(word)).collect();
        }
        let Some(text) = self.plain_text(field) else { return Vec::new() };
        shlex::split(&text).filter(|words| words.len() <= MAX_LIST).unwrap_or_else(|| {
            self.error(field, "is no command line", "write a list of words");
            Vec::new()
        })
    }

    fn environment(&mut self, field: &Field) -> Vec<(String, String)> {
        let mut env: Vec<(String, String)> = Vec::new();
        let mut add = |form: &mut Self, field: &Field, name: &str, value: Option<String>| {
            if !value::is_variable(name) {
                let problem = format!("{} is no name of a variable", echo(name));
                form.error(field, problem, "use letters, digits and _, no digit first");
                return;
            }
            if value.is_none() {
                let problem = "has no value: there is no shell to take it from";
                form.warn(field, problem, format!("write {name}=value"));
            }
            env.retain(|(known, _)| known != name);
            env.push((name.to_owned(), value.unwrap_or_default()));
        };
        if let Value::Map(_) = field.node.value {
            for (name, field) in self.entries(field).into_iter().take(MAX_LIST) {
                let null = matches!(field.node.value, Value::Null);
                let value = if null { None } else { self.plain_text(&field) };
                if null || value.is_some() {
                    add(self, &field, &name, value);
                }
            }
            return env;
        }
        for element in self.bounded_list(field) {
            let Some(text) = self.plain_text(&element) else { continue };
            match text.split_once('=') {
                Some((name, value)) => add(self, &element, name, Some(value.to_owned())),
                None => add(self, &element, &text, None),
            }
        }
        env
    }

    fn port_of(&mut self, field: &Field) -> Vec<Port> {
        const LONG: Keys = Keys {
            required: &[("target", "80")],
            optional: &["published", "protocol", "host_ip"],
            foreign: &[
                ("mode", Foreign::Ignored),
                ("name", Foreign::Ignored),
                ("app_protocol", Foreign::Ignored),
            ],
        };
        let published = match &field.node.value {
            Value::Map(_) => {
                let Some(section) = self.section(field, &LONG) else { return Vec::new() };
                let mut part = |key| {
                    let field: Option<&Field> = section.get(key);
                    field.and_then(|field| self.plain_text(field)).unwrap_or_default()
                };
                let (target, published) = (part("target"), part("published"));
                let (protocol, address) = (part("protocol"), part("host_ip"));
                if target.is_empty() {
                    return Vec::new();
                }
                let protocol = if protocol.is_empty() { "tcp" } else { &protocol };
                let colon = if published.is_empty() { "" } else { ":" };
                match ports::short(&format!("{published}{colon}{target}/{protocol}")) {
                    Ok(mut list) => {
                        for port in &mut list {
                            port.global = !ports::is_local(&address);
                        }
                        Some(list)
                    }
                    Err(refusal) => {
                        self.error(field, refusal.problem, refusal.fix);
                        None
                    }
                }
            }
            _ => self.interpolated(field, ports::short),
        };
        let published = published.unwrap_or_default();
        if published.iter().any(|port| !port.global) {
            let problem = "is bound to this host alone: exposed to other services only";
            self.warn(field, problem, "remove the address, or use `muster forward`");
        }
        published
    }

    fn depends_on(&mut self, field: &Field, own: &str, context: &Context<'_>) -> Vec<String> {
        let wanted: Vec<(String, Field)> = if let Value::Map(_) = field.node.value {
            let entries = self.entries(field).into_iter();
            entries.map(|(name, field)| (name.as_ref().to_owned(), field)).collect()
        } else {
            let elements = self.bounded_list(field).into_iter();
            elements.filter_map(|field| Some((self.plain_text(&field)?, field))).collect()
        };
        let mut names: Vec<String> = Vec::new();
        for (name, field) in wanted {
            match context.names.get(&name) {
                Some(label) if label == own => self.notes.error(
                    field.key_at,
                    field.path.as_str(),
                    "depends on itself",
                    "remove it",
                ),
                Some(label) if !names.contains(label) => names.push(label.clone()),
                Some(_) => {}
                None => {
                    let problem = format!("there is no service {}", echo(&name));
                    self.notes.error(field.key_at, field.path.as_str(), problem, "remove it");
                }
            }
        }
        names
    }

    /// What an SDL cannot say.
    fn left_out(&mut self, section: &Section) {
        if let Some(field) = section.get("healthcheck") {
            let (at, path): (Pos, &str) = (field.key_at, field.path.as_str());
            let problem = "an SDL has no health checks: left out";
            self.notes.warn(at, path, problem, "remove it");
        }
        if let Some(field) = section.get("restart")
            && let Some(text) = self.plain_text(field)
            && !matches!(text.as_str(), "always" | "unless-stopped")
        {
            self.warn(field, "services are always restarted", "write always, or remove it");
        }
        if let Some(field) = section.get("privileged")
            && self.flag(field) == Some(true)
        {
            self.error(field, "no provider runs privileged containers", "remove it");
        }
    }
}
