//! The network, its training step and its inference.

use crate::{DigitsError, IMAGE_BYTES, RECORD_BYTES};
use muster_guest::kernel;

/// Hidden units.
pub const HIDDEN: usize = 256;

/// Digits.
pub const CLASSES: usize = 10;

/// Images in one step of training.
pub const BATCH: usize = 128;

/// How far one step goes along the gradient of the mean loss of its batch.
pub const LEARNING_RATE: f32 = 0.25;

/// Bytes of an encoded [`Model`].
pub const STATE_BYTES: usize = HEADER_BYTES + PARAMETERS * 4;

const MAGIC: [u8; 8] = *b"digits/1";
const HEADER_BYTES: usize = 16;
const PARAMETERS: usize = IMAGE_BYTES * HIDDEN + HIDDEN + HIDDEN * CLASSES + CLASSES;

/// Pixels are 0 to 16.
const PIXEL_SCALE: f32 = 1.0 / 16.0;

/// The network's parameters and how many steps made them.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    steps: u64,
    /// Pixel by hidden unit.
    hidden_weights: Vec<f32>,
    hidden_bias: Vec<f32>,
    /// Hidden unit by class.
    class_weights: Vec<f32>,
    class_bias: Vec<f32>,
}

impl Model {
    /// The parameters before the first step: weights uniform in +-sqrt(6 / inputs) from a fixed
    /// sequence, biases zero.
    #[must_use]
    pub fn initial() -> Self {
        let mut sequence = SplitMix64(0x6d75_7374_6572);
        let mut weights = |inputs: u16, outputs: usize| -> Vec<f32> {
            let bound = (6.0 / f32::from(inputs)).sqrt();
            (0..usize::from(inputs) * outputs).map(|_| sequence.signed_unit() * bound).collect()
        };
        Self {
            steps: 0,
            hidden_weights: weights(64, HIDDEN),
            hidden_bias: vec![0.0; HIDDEN],
            class_weights: weights(256, CLASSES),
            class_bias: vec![0.0; CLASSES],
        }
    }

    /// Steps of training behind these parameters.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// Reads a state.
    ///
    /// # Errors
    /// [`DigitsError::BadState`] if it is not what [`Model::encode`] writes.
    pub fn decode(state: &[u8]) -> Result<Self, DigitsError> {
        let bad = || DigitsError::BadState(state.len());
        let (magic, rest) = state.split_first_chunk::<8>().ok_or_else(bad)?;
        let (steps, parameters) = rest.split_first_chunk::<8>().ok_or_else(bad)?;
        if *magic != MAGIC || state.len() != STATE_BYTES {
            return Err(bad());
        }
        let (hidden_weights, rest) = parameters.split_at(IMAGE_BYTES * HIDDEN * 4);
        let (hidden_bias, rest) = rest.split_at(HIDDEN * 4);
        let (class_weights, class_bias) = rest.split_at(HIDDEN * CLASSES * 4);
        Ok(Self {
            steps: u64::from_le_bytes(*steps),
            hidden_weights: floats(hidden_weights),
            hidden_bias: floats(hidden_bias),
            class_weights: floats(class_weights),
            class_bias: floats(class_bias),
        })
    }

    /// The state's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(STATE_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&self.steps.to_le_bytes());
        for part in [&self.hidden_weights, &self.hidden_bias, &self.class_weights, &self.class_bias]
        {
            bytes.extend(part.iter().flat_map(|value| value.to_le_bytes()));
        }
        bytes
    }

    /// One step of SGD on the batch of this step: the [`BATCH`] records from
    /// `steps * BATCH` on, counted round the training set.
    ///
    /// # Errors
    /// A training set that is not whole records, or a label above 9.
    pub fn train_step(&mut self, training_set: &[u8]) -> Result<(), DigitsError> {
        let (images, labels) = batch(training_set, self.steps)?;
        let hidden = self.hidden(&images, BATCH);
        // Softmax minus the truth is the gradient of the loss by the scores. Scaled by the step
        // here, every product below adds its update straight to the parameters.
        let mut step = self.scores(&hidden, BATCH);
        for (row, label) in step.chunks_exact_mut(CLASSES).zip(labels) {
            softmax(row);
            row[usize::from(label)] -= 1.0;
            for value in row {
                *value *= -LEARNING_RATE / BATCH as f32;
            }
        }
        let mut hidden_step = vec![0.0; BATCH * HIDDEN];
        kernel::matmul_nt(&step, &self.class_weights, &mut hidden_step, BATCH, CLASSES, HIDDEN);
        for (value, activation) in hidden_step.iter_mut().zip(&hidden) {
            // A select, not a branch: it vectorizes.
            *value = if *activation > 0.0 { *value } else { 0.0 };
        }
        let ones = [1.0; BATCH];
        kernel::matmul_tn(&hidden, &step, &mut self.class_weights, HIDDEN, BATCH, CLASSES);
        kernel::matmul(&ones, &step, &mut self.class_bias, 1, BATCH, CLASSES);
        kernel::matmul_tn(
            &images,
            &hidden_step,
            &mut self.hidden_weights,
            IMAGE_BYTES,
            BATCH,
            HIDDEN,
        );
        kernel::matmul(&ones, &hidden_step, &mut self.hidden_bias, 1, BATCH, HIDDEN);
        self.steps = self.steps.saturating_add(1);
        Ok(())
    }

    /// The most likely digit of each image; of equals the lowest.
    #[must_use]
    pub fn labels(&self, images: &[u8]) -> Vec<u8> {
        let count = images.len() / IMAGE_BYTES;
        let images: Vec<f32> = images[..count * IMAGE_BYTES]
            .iter()
            .map(|pixel| f32::from(*pixel) * PIXEL_SCALE)
            .collect();
        let hidden = self.hidden(&images, count);
        self.scores(&hidden, count).chunks_exact(CLASSES).map(best).collect()
    }

    fn hidden(&self, images: &[f32], count: usize) -> Vec<f32> {
        let mut hidden = self.hidden_bias.repeat(count);
        kernel::matmul(images, &self.hidden_weights, &mut hidden, count, IMAGE_BYTES, HIDDEN);
        for value in &mut hidden {
            *value = if *value < 0.0 { 0.0 } else { *value };
        }
        hidden
    }

    fn scores(&self, hidden: &[f32], count: usize) -> Vec<f32> {
        let mut scores = self.class_bias.repeat(count);
        kernel::matmul(hidden, &self.class_weights, &mut scores, count, HIDDEN, CLASSES);
        scores
    }
}

/// The images (scaled) and labels of one step.
fn batch(training_set: &[u8], step: u64) -> Result<(Vec<f32>, Vec<u8>), DigitsError> {
    let records = training_set.len() / RECORD_BYTES;
    if records == 0 || !training_set.len().is_multiple_of(RECORD_BYTES) {
        return Err(DigitsError::BadTrainingSet(training_set.len()));
    }
    let start = step.wrapping_mul(BATCH as u64) % records as u64;
    let mut record = usize::try_from(start).expect("below the number of records, a usize");
    let (mut images, mut labels) =
        (Vec::with_capacity(BATCH * IMAGE_BYTES), Vec::with_capacity(BATCH));
    for _ in 0..BATCH {
        let (pixels, label) =
            training_set[record * RECORD_BYTES..][..RECORD_BYTES].split_at(IMAGE_BYTES);
        let label = label[0];
        if usize::from(label) >= CLASSES {
            return Err(DigitsError::BadLabel { record, label });
        }
        images.extend(pixels.iter().map(|pixel| f32::from(*pixel) * PIXEL_SCALE));
        labels.push(label);
        record = (record + 1) % records;
    }
    Ok((images, labels))
}

/// Scores to probabilities, in place.
fn softmax(row: &mut [f32]) {
    let largest = row.iter().copied().fold(f32::MIN, f32::max);
    let mut sum = 0.0;
    for value in row.iter_mut() {
        *value = libm::expf(*value - largest);
        sum += *value;
    }
    for value in row {
        *value /= sum;
    }
}

fn best(scores: &[f32]) -> u8 {
    let mut best = (0, f32::MIN);
    for (label, score) in (0u8..).zip(scores) {
        if *score > best.1 {
            best = (label, *score);
        }
    }
    best.0
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

/// Steele, Lea and Flood's generator: enough to break symmetry.
struct SplitMix64(u64);

impl SplitMix64 {
    /// Uniform in [-1, 1), 24 bits.
    fn signed_unit(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        // 24 bits are exact in an f32.
        (z >> 40) as f32 / 8_388_608.0 - 1.0
    }
}
