//! Dividing money in proportion, exactly: what remains of an escrow among its depositors.
//!
//! Every share is rounded down; what is left over, less than one nano-unit a share, goes one by
//! one to the largest remainders, on equality to the earlier. So shares add up to the whole.

use super::Deposit;
use crate::{Reject, ctx::rest};
use muster_types::Amount;

/// Divides `whole` in proportion to `weights`. Nothing is divided where all weights are zero.
pub(crate) fn divide(whole: Amount, weights: &[Amount]) -> Result<Vec<Amount>, Reject> {
    let total = weights
        .iter()
        .try_fold(Amount::ZERO, |total, weight| total.checked_add(*weight))
        .ok_or(Reject::Overflow)?;
    if total.is_zero() {
        return Ok(vec![Amount::ZERO; weights.len()]);
    }
    let mut shares = Vec::with_capacity(weights.len());
    let mut by_remainder = Vec::with_capacity(weights.len());
    let mut left = whole;
    for (index, weight) in weights.iter().enumerate() {
        let share = whole.mul_div_floor(weight.nanos(), total.nanos()).ok_or(Reject::Overflow)?;
        // The remainder of a product that may exceed 128 bits, by wrapping: it is below `total`.
        let product = whole.nanos().wrapping_mul(weight.nanos());
        let remainder = product.wrapping_sub(share.nanos().wrapping_mul(total.nanos()));
        left = rest(left, share)?;
        by_remainder.push((std::cmp::Reverse(remainder), index));
        shares.push(share);
    }
    by_remainder.sort_unstable();
    let one = Amount::from_nanos(1);
    for (_, index) in by_remainder {
        let Some(next) = left.checked_sub(one) else { break };
        if let Some(share) = shares.get_mut(index) {
            *share = share.checked_add(one).ok_or(Reject::Overflow)?;
            left = next;
        }
    }
    Ok(shares)
}

/// Brings what is left of each deposit up to date: together `unspent`, in the proportion that it
/// had. Every nano-unit that was spent since was spent from all of them alike.
pub(crate) fn refresh(deposits: &mut [Deposit], unspent: Amount) -> Result<(), Reject> {
    let weights: Vec<Amount> = deposits.iter().map(|deposit| deposit.left).collect();
    for (deposit, left) in deposits.iter_mut().zip(divide(unspent, &weights)?) {
        deposit.left = left;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_the_largest_remainders_get_the_dust() {
        let table: [(u128, &[u128], &[u128]); 7] = [
            (10, &[1, 1], &[5, 5]),
            (10, &[1, 1, 1], &[4, 3, 3]),
            (10, &[2, 1, 3], &[3, 2, 5]),
            (0, &[5, 7], &[0, 0]),
            (5, &[0, 0], &[0, 0]),
            (2, &[1, 0, 1, 1], &[1, 0, 1, 0]),
            (u128::MAX, &[u128::MAX / 2, u128::MAX / 2], &[u128::MAX / 2 + 1, u128::MAX / 2]),
        ];
        let nanos = |values: &[u128]| -> Vec<Amount> {
            values.iter().copied().map(Amount::from_nanos).collect()
        };
        for (whole, weights, shares) in table {
            let divided = divide(Amount::from_nanos(whole), &nanos(weights));
            assert_eq!(divided, Ok(nanos(shares)), "{whole} by {weights:?}");
        }
    }
}
