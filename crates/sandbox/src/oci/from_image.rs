//! An image as a container: what the image wants, and what a tenant says instead.
//!
//! | command | args | what runs |
//! |---|---|---|
//! | | | the image's entrypoint with its cmd |
//! | | given | the image's entrypoint with the args |
//! | given | | the command alone |
//! | given | given | the command with the args |
//!
//! Paths that the image calls volumes are directories of the ephemeral disk, and the ports that it
//! says it exposes mean nothing here.

use super::{
    container::{ContainerError, ContainerId, ContainerSpec, IdRange},
    image::{IdMap, IdMapError, Image, ImageConfig},
};
use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Signals by name, without `SIG`, as Linux numbers them on the processors that this runs on.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// The first and the last of the signals without a name, as C libraries have them.
const RT: (i32, i32) = (34, 64);

/// What a tenant says instead of the image.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The program and its first arguments; empty for the image's.
    pub command: Vec<String>,
    /// What follows them; the image's if absent.
    pub args: Option<Vec<String>>,
    /// Added to the image's environment, and stronger; may hold secrets.
    pub env: Vec<(String, String)>,
    /// As in an image's configuration; the image's if absent.
    pub user: Option<String>,
    /// An absolute path; the image's if absent.
    pub working_dir: Option<PathBuf>,
}

impl fmt::Debug for Overrides {
    /// Without arguments and environment, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overrides")
            .field("user", &self.user)
            .field("working_dir", &self.working_dir)
            .finish_non_exhaustive()
    }
}

impl ContainerSpec {
    /// The container that an image wants to be, with default limits and no egress. The image must
    /// not be dropped before the container is deleted: its layers could be taken away.
    ///
    /// # Errors
    /// [`ContainerError::Refused`] for a stop signal that is none.
    pub fn of_image(
        id: ContainerId,
        image: &Image,
        overrides: &Overrides,
    ) -> Result<Self, ContainerError> {
        let config = &image.config;
        let layers = image.layers.iter().map(super::image::Layer::dir).collect();
        let mut spec = Self::new(id, layers, arguments(config, overrides));
        spec.env = config.env.iter().chain(&overrides.env).cloned().collect();
        spec.user = overrides.user.clone().unwrap_or_else(|| config.user.clone());
        // Builders write it from the root, people at times do not.
        let given = overrides.working_dir.as_deref().unwrap_or(Path::new(&config.working_dir));
        spec.working_dir = Path::new("/").join(given);
        if !config.stop_signal.is_empty() {
            spec.stop_signal = signal(&config.stop_signal).ok_or_else(|| {
                let reason = format!("the image's stop signal {:?} is none", config.stop_signal);
                ContainerError::refused("stop_signal", reason)
            })?;
        }
        Ok(spec)
    }
}

fn arguments(config: &ImageConfig, overrides: &Overrides) -> Vec<String> {
    let (command, args) = (&overrides.command, overrides.args.as_ref());
    let (first, rest) = match command.is_empty() {
        true => (&config.entrypoint, args.unwrap_or(&config.cmd)),
        false => (command, args.unwrap_or(const { &Vec::new() })),
    };
    first.iter().chain(rest).cloned().collect()
}

/// `SIGTERM`, `term`, `15`, `SIGRTMIN+3`.
fn signal(text: &str) -> Option<i32> {
    let upper = text.trim().to_ascii_uppercase();
    let offset = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i32>().ok() };
    let number = upper.parse().ok().or_else(|| {
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let named = SIGNALS.iter().zip(1..).find(|(known, _)| **known == name);
        let least = || offset(name.strip_prefix("RTMIN")?)?.checked_add(RT.0);
        let most = || offset(name.strip_prefix("RTMAX")?)?.checked_add(RT.1);
        let unnamed = || least().or_else(most).filter(|found| (RT.0..=RT.1).contains(found));
        named.map(|(_, number)| number).or_else(unnamed)
    });
    number.filter(|found| (1..=64).contains(found))
}

impl TryFrom<IdRange> for IdMap {
    type Error = IdMapError;

    /// The owners that containers with these ids expect of their layers.
    fn try_from(ids: IdRange) -> Result<Self, IdMapError> {
        Self::shift(ids.base, ids.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_ascii_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_command_takes_the_place_of_all_and_args_that_of_the_cmd() {
        let config = ImageConfig {
            entrypoint: words("entry point"),
            cmd: words("cmd"),
            ..ImageConfig::default()
        };
        for (command, args, runs) in [
            ("", None, "entry point cmd"),
            ("", Some("a b"), "entry point a b"),
            ("", Some(""), "entry point"),
            ("c d", None, "c d"),
            ("c d", Some("a"), "c d a"),
        ] {
            let (command, args) = (words(command), args.map(words));
            let overrides = Overrides { command, args, ..Overrides::default() };
            assert_eq!(arguments(&config, &overrides), words(runs));
        }
    }

    #[test]
    fn stop_signals_are_understood_as_images_write_them() {
        for (text, number) in [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("15", Some(15)),
            ("SIGQUIT", Some(3)),
            ("SIGWINCH", Some(28)),
            ("SIGSYS", Some(31)),
            ("SIGRTMIN", Some(34)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-2", Some(62)),
            ("RTMAX+1", None),
            ("RTMIN+2147483647", None),
            ("0", None),
            ("65", None),
            ("-9", None),
            ("SIG", None),
            ("SIGNOTHING", None),
        ] {
            assert_eq!(signal(text), number, "{text}");
        }
    }

    #[test]
    fn overrides_do_not_print_secrets() {
        let mut overrides = Overrides { command: words("tell-nobody"), ..Overrides::default() };
        overrides.env = vec![("TOKEN".into(), "tell-nobody".into())];
        overrides.args = Some(words("tell-nobody"));
        assert!(!format!("{overrides:?}").contains("tell-nobody"));
    }
}
