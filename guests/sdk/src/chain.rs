//! The input of a chain job's step: its index and the state before it.
//!
//! ```text
//! step: u64, little-endian || state: the bytes that the step before wrote
//! ```
//! The state before step 0 is empty: step 0 makes the first state and takes its step too.

/// The input of one step of a chain job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StepInput<'a> {
    /// The index of the step, from 0.
    pub step: u64,
    /// What the step before wrote; empty at step 0.
    pub state: &'a [u8],
}

impl<'a> StepInput<'a> {
    /// Reads the input of a step; `None` if it is shorter than an index.
    #[must_use]
    pub fn decode(input: &'a [u8]) -> Option<Self> {
        let (step, state) = input.split_first_chunk::<8>()?;
        Some(Self { step: u64::from_le_bytes(*step), state })
    }

    /// The bytes that [`StepInput::decode`] reads.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(8 + self.state.len());
        bytes.extend_from_slice(&self.step.to_le_bytes());
        bytes.extend_from_slice(self.state);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_input_is_read_back_and_a_short_one_refused() {
        let input = StepInput { step: 0x0102, state: b"state" };
        let bytes = input.encode();
        assert_eq!(bytes, b"\x02\x01\0\0\0\0\0\0state");
        assert_eq!(StepInput::decode(&bytes), Some(input));
        assert_eq!(StepInput::decode(&bytes[..8]), Some(StepInput { step: 0x0102, state: b"" }));
        assert_eq!(StepInput::decode(&bytes[..7]), None);
    }
}
