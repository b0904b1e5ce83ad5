//! Volumes of a compose file's service.

use super::{App, AppMount, MountKind, read::Context};
use crate::{
    form::{Field, Foreign, Form, Keys, Section},
    sdl::value,
    value::echo,
    yaml::Value,
};

impl Form<'_> {
    pub(super) fn mounts(&mut self, section: &Section, context: &Context<'_>, app: &mut App) {
        const LONG: Keys = Keys {
            required: &[("target", "/data")],
            optional: &["type", "source", "read_only"],
            foreign: &[
                ("volume", Foreign::Ignored),
                ("tmpfs", Foreign::Ignored),
                ("bind", Foreign::Ignored),
                ("consistency", Foreign::Ignored),
            ],
        };
        for field in
            section.get("volumes").map(|field| self.bounded_list(field)).unwrap_or_default()
        {
            if !matches!(field.node.value, Value::Map(_)) {
                let Some(text) = self.plain_text(&field) else { continue };
                let mut parts = text.splitn(3, ':');
                match (parts.next(), parts.next(), parts.next()) {
                    (Some(path), None, _) => {
                        self.mount_of(&field, None, path, false, context, app);
                    }
                    (Some(source), Some(path), mode) => {
                        let flags: Vec<&str> = mode.unwrap_or("rw").split(',').collect();
                        let read_only = flags.contains(&"ro");
                        self.mount_of(&field, Some(source), path, read_only, context, app);
                    }
                    _ => {}
                }
                continue;
            }
            let Some(long) = self.section(&field, &LONG) else { continue };
            let part =
                |form: &mut Self, key| long.get(key).and_then(|field| form.plain_text(field));
            let (kind, source) = (part(self, "type"), part(self, "source"));
            let Some(target) = part(self, "target") else { continue };
            let read_only = long.get("read_only").and_then(|field| self.flag(field));
            match (kind.as_deref(), source) {
                (Some("tmpfs"), _) => {
                    self.add_mount(&field, app, MountKind::Memory, None, &target, false);
                }
                (Some("bind"), source) => {
                    let source = source.unwrap_or_else(|| ".".to_owned());
                    let source = if source.contains('/') { source } else { format!("./{source}") };
                    self.mount_of(&field, Some(&source), &target, false, context, app);
                }
                (_, source) => {
                    let read_only = read_only.unwrap_or(false);
                    self.mount_of(&field, source.as_deref(), &target, read_only, context, app);
                }
            }
        }
        for field in section.get("tmpfs").map(|field| self.tmpfs(field)).unwrap_or_default() {
            let Some(text) = self.plain_text(&field) else { continue };
            let path = text.split(':').next().unwrap_or_default();
            self.add_mount(&field, app, MountKind::Memory, None, path, false);
        }
    }

    /// One path or several: both are as usual.
    fn tmpfs(&mut self, field: &Field) -> Vec<Field> {
        match field.node.value {
            Value::Scalar(_) => vec![field.clone()],
            _ => self.bounded_list(field),
        }
    }

    fn mount_of(
        &mut self,
        field: &Field,
        source: Option<&str>,
        path: &str,
        read_only: bool,
        context: &Context<'_>,
        app: &mut App,
    ) {
        let Some(source) = source else {
            self.add_mount(field, app, MountKind::Ephemeral, None, path, read_only);
            return;
        };
        if source.starts_with(['.', '/', '~']) || source.contains('\\') {
            let problem =
                format!("{} is a path of this machine, which no provider has", echo(source));
            self.error(field, problem, "put the files into the image, or use a named volume");
            return;
        }
        if !context.volumes.contains(source) {
            let problem = format!("the volume {} is not declared", echo(source));
            self.warn(field, problem, format!("add volumes: {{{source}: {{}}}}"));
        }
        let problem = format!(
            "the volume's size is not said: {} GiB are asked for",
            context.guess.volume_bytes >> 30
        );
        self.warn(field, problem, "correct it in the SDL");
        self.add_mount(field, app, MountKind::Persistent, Some(source), path, read_only);
    }

    fn add_mount(
        &mut self,
        field: &Field,
        app: &mut App,
        kind: MountKind,
        name: Option<&str>,
        path: &str,
        read_only: bool,
    ) {
        if !path.starts_with('/') || path.split('/').any(|part| part == "..") || path.contains('\0')
        {
            let problem = format!("{} is no absolute path in the container", echo(path));
            self.error(field, problem, "write e.g. data:/var/lib/data");
            return;
        }
        let number = app.mounts.len();
        let label = name.map(|name| name.to_ascii_lowercase().replace(['_', '.'], "-"));
        let volume = label
            .filter(|label| value::is_label(label) && label != "default")
            .unwrap_or_else(|| format!("volume-{number}"));
        let taken = |mount: &AppMount| mount.path == path || mount.volume == volume;
        if app.mounts.iter().any(taken) {
            let problem = format!("the path, or the volume {volume}, is mounted already");
            self.error(field, problem, "mount each volume once, each at its own path");
            return;
        }
        if app.mounts.len() >= 60 {
            self.error(field, "more than 60 volumes", "mount fewer");
            return;
        }
        app.mounts.push(AppMount { volume, path: path.to_owned(), read_only, kind });
    }
}
