//! `muster update`: what a deployment runs, changed in place.

use super::{
    Global,
    deploy::{Follower, Report, render},
    deployment::{Name, Reach, explain},
    interrupted,
    sdl::{Rates, read_deployment},
};
use crate::{
    error::{Exit, Failure},
    printer::Printer,
};
use clap::Args;
use std::path::PathBuf;

/// Change what a deployment runs, in place.
///
/// Images, commands, arguments, environments, ports and counts may be others; what its leases have
/// (CPU, memory, storage, prices, attributes) stays. The first replica takes it alone; when it
/// serves, the others do at once, at the same addresses. Where one does not serve, all of them get
/// back what ran before. Run the same command again after a crash or Ctrl-C, and it goes on.
#[derive(Args)]
#[command(after_help = "Example:\n  muster update app.yaml")]
pub(crate) struct Update {
    /// The services as they are to be (Akash SDL 2.0 or 2.1).
    file: PathBuf,
    /// Which deployment [default: the file's name].
    #[arg(long)]
    name: Option<Name>,
    #[command(flatten)]
    rates: Rates,
    #[command(flatten)]
    reach: Reach,
}

impl Update {
    pub(crate) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        let exchange = self.rates.exchange();
        let deployment = read_deployment(&self.file, &exchange, printer)?;
        let name = Name::or_of_file(self.name.clone(), &self.file)?;
        let mut services = name.open(global, &self.reach).await?;
        let follower = Follower::new(&name, printer);
        let tell = |note| follower.see(note);
        let replicas = async {
            services.update(&deployment, &exchange, &tell).await?;
            Ok((services.replicas().await?, services.cost()?))
        };
        let replicas = tokio::select! {
            replicas = replicas => replicas,
            result = interrupted() => {
                result?;
                follower.clear();
                let hint = "the same command goes on, with the file of before it is taken back";
                return Err(Failure::error(Exit::Failed, "interrupted", hint));
            }
        };
        follower.clear();
        let (replicas, cost) = replicas.map_err(|error| explain(error, &name))?;
        printer.data(&Report::of(&name, name.dir()?, &cost, replicas), render)
    }
}
