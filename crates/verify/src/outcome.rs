//! What a task gave, and whether two runs of it agree.

use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::Hash;
use serde::{Deserialize, Serialize};

/// What running a task gave. The same module, input, data and limits give the same on every
/// machine.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Outcome {
    /// Content hash of the output.
    pub output: Hash,
    /// Fuel used.
    pub fuel: u64,
}

/// How two runs of one task compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Bit for bit the same output, for the same fuel.
    Agree,
    /// The same output, but one side reports another cost than the other.
    FuelDiffers,
    /// Different outputs.
    OutputDiffers,
}

impl Verdict {
    /// Whether the runs contradict each other. One side is wrong then: fuel is as deterministic as
    /// the output, and it is what metered work is paid by.
    #[must_use]
    pub const fn is_contradiction(self) -> bool {
        !matches!(self, Self::Agree)
    }
}

/// Compares two runs of one task.
#[must_use]
pub fn compare(left: &Outcome, right: &Outcome) -> Verdict {
    if left.output != right.output {
        Verdict::OutputDiffers
    } else if left.fuel != right.fuel {
        Verdict::FuelDiffers
    } else {
        Verdict::Agree
    }
}

/// Given what the task really gives, whether each claim is false. Of two claims that contradict
/// each other at least one is; both may be.
#[must_use]
pub fn judge(truth: &Outcome, claims: [&Outcome; 2]) -> [bool; 2] {
    claims.map(|claim| compare(truth, claim).is_contradiction())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(content: &str, fuel: u64) -> Outcome {
        Outcome { output: Hash::of_content(content.as_bytes()), fuel }
    }

    #[test]
    fn runs_agree_only_in_output_and_fuel() {
        let run = outcome("a", 1);
        let cases = [
            (outcome("a", 1), Verdict::Agree),
            (outcome("a", 2), Verdict::FuelDiffers),
            (outcome("b", 1), Verdict::OutputDiffers),
            (outcome("b", 2), Verdict::OutputDiffers),
        ];
        for (other, verdict) in cases {
            assert_eq!(compare(&run, &other), verdict);
            assert_eq!(compare(&other, &run), verdict);
            assert_eq!(verdict.is_contradiction(), other != run);
        }
    }

    #[test]
    fn whoever_is_not_with_the_truth_is_wrong() {
        let (truth, other, third) = (outcome("a", 1), outcome("b", 1), outcome("c", 1));
        assert_eq!(judge(&truth, [&truth, &other]), [false, true]);
        assert_eq!(judge(&truth, [&other, &truth]), [true, false]);
        assert_eq!(judge(&truth, [&other, &third]), [true, true]);
        assert_eq!(judge(&truth, [&truth, &truth]), [false, false]);
    }
}
