//! Run every test: the guests first, since tests load them.

use std::time::Instant;

use anyhow::Result;

use crate::{guests, shell};

/// Builds the guests, then tests the workspace.
///
/// xtask is tested by itself: built together with the rest, the features that its dependencies
/// switch on would make cargo compile most of the graph twice, once for the tests and once for
/// `cargo run -p muster-cli`. The simulator is, too: it plants faults in the node, which no other
/// test should run with. The cli is beside it for `muster sim`.
pub(crate) fn run() -> Result<()> {
    let start = Instant::now();
    guests::run("release")?;
    guests::test()?;
    shell::stream(shell::cargo().args(["test", "--locked", "--package", "xtask"]))?;
    let apart = ["--exclude", "xtask", "--exclude", "muster-sim", "--exclude", "muster-fuzz"];
    shell::stream(shell::cargo().args(["test", "--locked", "--workspace"]).args(apart))?;
    let simulator = ["--package", "muster-sim", "--package", "muster-cli"];
    let targets = ["--features", "muster-cli/sim", "--test", "simulation"];
    shell::stream(shell::cargo().args(["test", "--locked"]).args(simulator).args(targets))?;
    println!("tests passed in {} s", start.elapsed().as_secs());
    Ok(())
}
