//! From a `docker-compose.yml` to an SDL: the common subset.
//!
//! | compose | SDL |
//! |---|---|
//! | `image`, `entrypoint`, `command`, `environment` | image, command, args, env |
//! | `ports` | exposed to the world; bound to 127.0.0.1 only to services that depend on it |
//! | `expose` | exposed to services that depend on it, else to all others |
//! | named `volumes` | persistent volumes; without a name, and `tmpfs`: ones that are not |
//! | `deploy.resources`, `cpus`, `mem_limit`, `gpus` | a compute profile for each service |
//! | `deploy.replicas`, `scale` | count |
//! | `depends_on` | dependencies |
//! | `restart`, `healthcheck`, `networks`, … | left out with a warning |
//! | `build`, bind mounts, `env_file`, `privileged`, … | refused, with what to do instead |
//!
//! `${NAME:-default}` is its default; `${NAME}` has no value here and is refused. Compose names no
//! price: that is the caller's ([`Guess`]), as are sizes that it does not name.

mod emit;
mod ports;
mod read;
mod resources;
mod variables;
mod volumes;

use crate::{
    form::{Field, Form},
    notes::{Checked, Notes, Pos},
    sdl::{Exchange, parse_sdl},
    yaml,
};
use muster_types::Amount;

#[cfg(test)]
mod tests;

/// What a compose file does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guess {
    /// The most that a replica may cost, in `usd` by the hour; more than zero.
    pub price_per_hour: Amount,
    /// The bytes of a volume.
    pub volume_bytes: u64,
    /// Thousandths of a CPU thread.
    pub cpu_milli: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
}

impl Default for Guess {
    fn default() -> Self {
        Self {
            price_per_hour: Amount::from_nanos(50_000_000),
            volume_bytes: 10 << 30,
            cpu_milli: 500,
            memory_bytes: 512 << 20,
        }
    }
}

/// A service of a compose file.
#[derive(Debug, Default)]
struct App {
    at: Pos,
    /// A DNS label.
    name: String,
    image: String,
    command: Vec<String>,
    args: Vec<String>,
    env: Vec<(String, String)>,
    ports: Vec<Port>,
    mounts: Vec<AppMount>,
    cpu_milli: Option<u64>,
    memory_bytes: Option<u64>,
    gpus: u32,
    replicas: u32,
    /// Names as the SDL has them.
    depends_on: Vec<String>,
}

/// A port, published or only exposed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Port {
    target: u16,
    published: Option<u16>,
    udp: bool,
    /// To the world.
    global: bool,
}

/// A mounted volume.
#[derive(Debug)]
struct AppMount {
    volume: String,
    path: String,
    read_only: bool,
    kind: MountKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MountKind {
    Persistent,
    Ephemeral,
    Memory,
}

/// Turns a compose file into the text of an SDL that [`parse_sdl`] accepts.
#[must_use]
pub fn from_compose(bytes: &[u8], guess: &Guess) -> Checked<String> {
    let mut notes = Notes::default();
    let apps = yaml::read(bytes, &mut notes)
        .and_then(|root| Form { notes: &mut notes }.compose(&Field::root(root), guess));
    let Some(apps) = apps.filter(|_| !notes.has_errors()) else { return notes.finish(None) };
    let text = emit::sdl(&apps, guess);
    if let Err(errors) = parse_sdl(text.as_bytes(), &Exchange::default()).result {
        for error in errors {
            let problem = format!("the SDL made of it is refused: {}", error.problem);
            notes.error(Pos::START, error.field, problem, error.fix);
        }
    }
    notes.finish(Some(text))
}
