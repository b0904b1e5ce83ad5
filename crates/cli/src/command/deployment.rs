//! What the commands for deployments of services share: their names, where they are kept, and what
//! to type when one fails.

use super::{Global, data_dir};
use crate::{
    error::{Exit, Failure, chain},
    keyfile,
};
use clap::Args;
use muster_agent::CONTAINERS;
use muster_api::WalletError;
use muster_jobs::{
    JobError,
    services::{Connection, Services, ServicesConfig, ServicesError},
};
use muster_market::{Constraint, Explanation};
use std::{net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

/// How long a node that does not answer is asked again, and a provider waited for.
const PATIENCE: Duration = Duration::from_secs(90);
/// The longest name of a deployment, in bytes.
const MAX_NAME_BYTES: usize = 63;

/// How providers are reached.
#[derive(Args, Clone)]
pub(crate) struct Reach {
    /// Where providers are called from (UDP); name an address of this machine for those elsewhere.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// A deployment's name: lower-case letters, digits and hyphens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name(String);

/// A deployment, or a service of it, or one replica: `NAME[/SERVICE[/N]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) name: Name,
    pub(crate) service: Option<String>,
    pub(crate) number: Option<usize>,
}

impl Name {
    /// The name of a deployment of this file, where none is given.
    fn of_file(path: &std::path::Path) -> Option<Self> {
        let stem = path.file_stem()?.to_string_lossy().to_ascii_lowercase();
        let letter = |one: char| if one.is_ascii_alphanumeric() { one } else { '-' };
        let name: String = stem.chars().map(letter).take(MAX_NAME_BYTES).collect();
        name.trim_matches('-').parse().ok()
    }

    /// The given name, or that of the file.
    pub(crate) fn or_of_file(name: Option<Self>, path: &std::path::Path) -> anyhow::Result<Self> {
        name.or_else(|| Self::of_file(path)).ok_or_else(|| {
            let message = "the file's name makes no name for a deployment";
            Failure::error(Exit::BadInput, message, "say which: --name app")
        })
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Where the deployment is kept.
    pub(crate) fn dir(&self) -> anyhow::Result<PathBuf> {
        Ok(deployments()?.join(&self.0))
    }

    /// How its services are reached.
    pub(crate) fn config(&self, global: &Global, reach: &Reach) -> anyhow::Result<ServicesConfig> {
        Ok(ServicesConfig {
            dir: self.dir()?,
            key: keyfile::load(&global.key_path()?)?,
            node: global.node.clone(),
            bind: reach.listen,
            patience: PATIENCE,
        })
    }

    /// Opens the deployment.
    pub(crate) async fn open(&self, global: &Global, reach: &Reach) -> anyhow::Result<Services> {
        let config = self.config(global, reach)?;
        Services::open(config).await.map_err(|error| explain(error, self))
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let good = |one: char| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '-';
        let whole = !text.is_empty() && text.len() <= MAX_NAME_BYTES && text.chars().all(good);
        match whole && !text.starts_with('-') && !text.ends_with('-') {
            true => Ok(Self(text.to_owned())),
            false => Err("use 1 to 63 lower-case letters, digits and hyphens".to_owned()),
        }
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut parts = text.split('/');
        let name = parts.next().unwrap_or_default().parse()?;
        let service = parts.next().map(str::to_owned);
        let number = parts.next().map(str::parse).transpose();
        let number = number.map_err(|_| "write a replica as a number: NAME/SERVICE/0")?;
        match parts.next().is_some() || service.as_deref() == Some("") {
            true => Err("write NAME, NAME/SERVICE or NAME/SERVICE/NUMBER".to_owned()),
            false => Ok(Self { name, service, number }),
        }
    }
}

impl Target {
    /// All replicas that are meant.
    pub(crate) async fn replicas(&self, services: &Services) -> anyhow::Result<Vec<Connection>> {
        let found = services.connections(self.service.as_deref()).await;
        let mut found = found.map_err(|error| explain(error, &self.name))?;
        let known = found.len();
        found.retain(|one| self.number.is_none_or(|number| number == one.number));
        if found.is_empty() {
            let message = format!("only {known} replicas of it are up, numbered from 0");
            return Err(Failure::error(Exit::BadInput, message, "muster ps"));
        }
        Ok(found)
    }

    /// The one replica that is meant: the first of the service, which must be named where there
    /// are several.
    pub(crate) async fn replica(&self, services: &Services) -> anyhow::Result<Connection> {
        let names = services.names();
        if self.service.is_none() && names.len() > 1 {
            let names: Vec<_> = names.into_iter().collect();
            let hint = format!("name one: {}/{}", self.name.as_str(), names[0]);
            let message = format!("it has several services: {}", names.join(", "));
            return Err(Failure::error(Exit::BadInput, message, hint));
        }
        let nothing = || explain(ServicesError::NoReplica, &self.name);
        self.replicas(services).await?.into_iter().next().ok_or_else(nothing)
    }
}

/// The names of the deployments that are kept here.
pub(crate) fn names() -> anyhow::Result<Vec<Name>> {
    let entries = match std::fs::read_dir(deployments()?) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().to_str().and_then(|name| name.parse::<Name>().ok()));
    }
    names.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    Ok(names)
}

fn deployments() -> anyhow::Result<PathBuf> {
    Ok(data_dir()?.join("deployments"))
}

/// Gives a deployment's failure its exit status and what to type next.
pub(crate) fn explain(error: ServicesError, name: &Name) -> anyhow::Error {
    let name = name.as_str();
    let (exit, hint) = match &error {
        ServicesError::NoMatch { explanation, .. } => {
            (Exit::NoMatch, relax(explanation.as_deref()))
        }
        ServicesError::OverLimit { .. } => (
            Exit::BadInput,
            "ask for a shorter time (--for) or lower prices in the file, or raise --max".to_owned(),
        ),
        ServicesError::NotGranted { .. } => {
            (Exit::NoMatch, format!("muster close {name}   # then raise prices, or lower counts"))
        }
        ServicesError::Wallet(WalletError::Unfunded { .. }) => (
            Exit::NoFunds,
            "muster wallet show   # then add funds, or ask for less time".to_owned(),
        ),
        ServicesError::Step(JobError::Refused { source, .. })
            if source.code() == Some("insufficient_funds") =>
        {
            (
                Exit::NoFunds,
                "muster wallet show   # then add funds, or ask for less time".to_owned(),
            )
        }
        ServicesError::Order(_) => (Exit::BadInput, "muster sdl check FILE".to_owned()),
        ServicesError::Exists { .. } => (
            Exit::BadInput,
            format!("muster update FILE --name {name}   # or deploy under another --name"),
        ),
        ServicesError::Changed { .. } => {
            (Exit::BadInput, format!("muster deploy FILE --name {name}-2 && muster close {name}"))
        }
        ServicesError::TakenBack(_) => {
            (Exit::Failed, format!("muster logs {name}   # then correct the file, and try again"))
        }
        ServicesError::Nothing { .. } => {
            (Exit::BadInput, "muster ps   # lists your deployments".to_owned())
        }
        ServicesError::Failed { .. } => (
            Exit::Failed,
            format!("muster close {name}   # then correct the file, and deploy again"),
        ),
        ServicesError::NoService { .. } => (Exit::BadInput, format!("muster logs {name}/SERVICE")),
        ServicesError::NoReplica => {
            (Exit::Failed, format!("muster ps   # then deploy again, or `muster close {name}`"))
        }
        _ => return error.into(),
    };
    Failure::error(exit, chain(&error), hint)
}

/// What to change for hosts to match.
fn relax(explanation: Option<&Explanation>) -> String {
    let first = explanation.and_then(|explanation| explanation.excluded.first());
    let is_containers = |constraint: &Constraint| matches!(constraint, Constraint::Attribute { key } if key == CONTAINERS.0);
    match first.filter(|first| !is_containers(&first.constraint)) {
        Some(first) => {
            format!("correct `{}` in the file: {}", field_of(&first.constraint), first.hint())
        }
        None => "sudo muster provider run --containers   # offer a host of containers".to_owned(),
    }
}

/// Where an SDL says what a constraint stands for.
pub(crate) fn field_of(constraint: &Constraint) -> String {
    match constraint {
        Constraint::Cpu => "cpu",
        Constraint::Memory => "memory",
        Constraint::Disk => "storage",
        Constraint::Gpu => "gpu",
        Constraint::Region => "attributes.region",
        Constraint::Attribute { key } => return format!("attributes.{key}"),
        Constraint::MaxRate => "pricing",
        Constraint::SignedByAny | Constraint::SignedByAll => "signedBy",
        Constraint::Provider => "(with its other services)",
        Constraint::Exclude => "(failed before)",
        other => return muster_spec::field_of(other),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_names_a_deployment_a_service_or_a_replica_and_nothing_else() {
        for (text, parts) in [
            ("web", Some(("web", None, None))),
            ("web/api", Some(("web", Some("api"), None))),
            ("web/api/2", Some(("web", Some("api"), Some(2)))),
            ("web/", None),
            ("web/api/x", None),
            ("web/api/-1", None),
            ("web/api/2/3", None),
            ("", None),
            ("/api", None),
            ("..", None),
            ("Web", None),
            ("-web", None),
        ] {
            let target = text.parse::<Target>().ok();
            let found = target
                .as_ref()
                .map(|target| (target.name.as_str(), target.service.as_deref(), target.number));
            assert_eq!(found, parts, "{text}");
        }
    }

    #[test]
    fn a_file_gives_its_deployment_a_name_where_it_can() {
        for (file, name) in [
            ("app.yaml", Some("app")),
            ("/srv/My App_2.yml", Some("my-app-2")),
            ("-.yaml", None),
            ("-", None),
        ] {
            let found = Name::of_file(std::path::Path::new(file));
            assert_eq!(found.as_ref().map(Name::as_str), name, "{file}");
        }
    }
}
