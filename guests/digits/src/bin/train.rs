//! Chain filter: one step of training. stdin is the step index (u64, little-endian) and the state
//! before it; `/data/train` is the training set; stdout is the next state.

use std::{error::Error, fs, process::ExitCode};

fn main() -> ExitCode {
    muster_guest::filter(|input| -> Result<_, Box<dyn Error>> {
        let training_set =
            fs::read("/data/train").map_err(|error| format!("/data/train: {error}"))?;
        Ok(muster_digits::train(input, &training_set)?)
    })
}
