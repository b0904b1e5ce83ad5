//! Batch filter: labels images. stdin is images of 64 bytes; `/data/model` is the trained state;
//! stdout is one digit a line.

use std::{error::Error, fs, process::ExitCode};

fn main() -> ExitCode {
    muster_guest::filter(|images| -> Result<_, Box<dyn Error>> {
        let model = fs::read("/data/model").map_err(|error| format!("/data/model: {error}"))?;
        Ok(muster_digits::classify(images, &model)?)
    })
}
