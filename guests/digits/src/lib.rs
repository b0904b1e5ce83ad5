//! A small handwriting classifier: its training step and its inference, as filters over bytes.
//!
//! An image is 64 pixels (8 x 8, row by row), one byte each, 0 to 16. The network is
//! 64 - [`HIDDEN`] - 10 with ReLU, softmax and cross-entropy, trained by plain mini-batch SGD.
//! Everything here is deterministic: the same bytes in give the same bytes out, natively and as
//! `wasm-det-v1`, because every sum has a fixed order and `exp` is the `libm` crate's.
//!
//! # Formats
//! | name | bytes |
//! |---|---|
//! | training set (`/data/train`) | records of [`RECORD_BYTES`]: 64 pixels, then the label 0 to 9 |
//! | images (input of [`classify`]) | records of [`IMAGE_BYTES`]: 64 pixels |
//! | labels (output of [`classify`]) | for each image one ASCII digit and a newline |
//! | state (output of [`train`], `/data/model`) | `digits/1`, steps taken (u64), parameters (f32), little-endian |

mod model;
#[cfg(test)]
mod tests;

pub use model::{BATCH, CLASSES, HIDDEN, LEARNING_RATE, Model, STATE_BYTES};

use muster_guest::chain::StepInput;

/// Bytes of one image.
pub const IMAGE_BYTES: usize = 64;

/// Bytes of one training record: an image and its label.
pub const RECORD_BYTES: usize = IMAGE_BYTES + 1;

/// Why a filter refused its input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigitsError {
    /// Shorter than the step index that starts every chain input.
    #[error("{0} bytes of input are no chain step: give the step index (u64) and the state")]
    NoStep(usize),
    /// Step 0 was given a state, or a later step none or one of another step.
    #[error("step {step} cannot follow a state of {taken} steps: give the state before it")]
    OutOfOrder {
        /// The step asked for.
        step: u64,
        /// Steps that the given state has behind it.
        taken: u64,
    },
    /// Not a state that [`train`] wrote.
    #[error("{0} bytes are no model state: a state has {STATE_BYTES} and starts with `digits/1`")]
    BadState(usize),
    /// A training set that is empty or not whole records.
    #[error("{0} bytes are no training set: give records of {RECORD_BYTES} bytes, at least one")]
    BadTrainingSet(usize),
    /// A label above 9.
    #[error("record {record} has label {label}: labels are 0 to 9")]
    BadLabel {
        /// Index of the record.
        record: usize,
        /// The label found.
        label: u8,
    },
    /// Images that are not whole records.
    #[error("{0} bytes are no images: give records of {IMAGE_BYTES} bytes")]
    BadImages(usize),
}

/// One step of training: a chain input (step index and state) to the next state.
///
/// Step 0 takes the empty state, makes the initial parameters and trains on its batch.
///
/// # Errors
/// Input, state or training set malformed, or the state is not that before this step.
pub fn train(input: &[u8], training_set: &[u8]) -> Result<Vec<u8>, DigitsError> {
    let StepInput { step, state } =
        StepInput::decode(input).ok_or(DigitsError::NoStep(input.len()))?;
    let mut model = if state.is_empty() { Model::initial() } else { Model::decode(state)? };
    if model.steps() != step {
        return Err(DigitsError::OutOfOrder { step, taken: model.steps() });
    }
    model.train_step(training_set)?;
    Ok(model.encode())
}

/// Labels images with a trained model: one line for each image, in order.
///
/// # Errors
/// Images or model malformed.
pub fn classify(images: &[u8], model: &[u8]) -> Result<Vec<u8>, DigitsError> {
    let model = Model::decode(model)?;
    if !images.len().is_multiple_of(IMAGE_BYTES) {
        return Err(DigitsError::BadImages(images.len()));
    }
    let mut output = Vec::with_capacity(images.len() / IMAGE_BYTES * 2);
    for batch in images.chunks(BATCH * IMAGE_BYTES) {
        for label in model.labels(batch) {
            output.extend_from_slice(&[b'0' + label, b'\n']);
        }
    }
    Ok(output)
}
