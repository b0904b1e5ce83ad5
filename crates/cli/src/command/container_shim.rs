//! `muster container-shim`: the process between a provider and a container.

use clap::Args;
use std::{path::PathBuf, process::ExitCode};

/// Watch over a container.
#[derive(Args)]
pub(crate) struct ContainerShim {
    /// What to do.
    request: PathBuf,
}

impl ContainerShim {
    pub(crate) fn run(&self) -> ExitCode {
        muster_sandbox::oci::container::shim_main(&self.request)
    }
}
