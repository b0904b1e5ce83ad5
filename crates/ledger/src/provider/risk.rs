//! The risk premium: what a provider's conduct adds to its price in the eyes of the auction.
//!
//! ```text
//! newcomer_premium x max(0, 1 - fees_paid / newcomer_fees)
//!   + risk_broken x leases_broken / leases
//!   + risk_missed x heartbeats_missed / leases
//!   + risk_refused x (leases_rejected + leases_undelivered) / leases
//!   + risk_dispute x disputes_lost,   at most risk_max
//! ```
//!
//! Each term is rounded down; fewer than `risk_leases_min` leases count as so many, so that one bad
//! day at the beginning is not everything. Only fees paid to others bring the newcomer's premium
//! down, so a fresh identity or dealing with oneself buys nothing.

use super::Conduct;
use crate::Params;

/// The risk premium in hundredths of a per cent.
pub(crate) fn premium_bps(conduct: &Conduct, params: &Params) -> u32 {
    let leases = u128::from(conduct.leases.max(params.risk_leases_min));
    let rate = |bps: u32, count: u64| {
        u128::from(bps).saturating_mul(u128::from(count)).checked_div(leases).unwrap_or(0)
    };
    let unpaid = params.newcomer_fees.saturating_sub(conduct.fees_paid);
    let newcomer = muster_types::Amount::from_nanos(u128::from(params.newcomer_premium_bps))
        .mul_div_floor(unpaid.nanos(), params.newcomer_fees.nanos())
        .unwrap_or_default()
        .nanos();
    let refused = conduct.leases_rejected.saturating_add(conduct.leases_undelivered);
    let disputes =
        u128::from(params.risk_dispute_bps).saturating_mul(u128::from(conduct.disputes_lost));
    let total = newcomer
        .saturating_add(rate(params.risk_broken_bps, conduct.leases_broken))
        .saturating_add(rate(params.risk_missed_bps, conduct.heartbeats_missed))
        .saturating_add(rate(params.risk_refused_bps, refused))
        .saturating_add(disputes)
        .min(u128::from(params.risk_max_bps));
    u32::try_from(total).unwrap_or(params.risk_max_bps)
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_types::Amount;

    #[test]
    fn the_premium_follows_conduct() {
        let params = Params::default();
        let usd = |nanos| Amount::from_nanos(nanos);
        // (leases, broken, missed, disputes lost, fees paid, premium)
        let table = [
            (0, 0, 0, 0, usd(0), 1_000),
            (0, 0, 0, 0, usd(500_000_000), 500),
            (0, 0, 0, 0, usd(999_999_999), 0),
            (1_000, 0, 0, 0, usd(u128::MAX), 0),
            (1, 1, 0, 0, usd(u128::MAX), 500),
            (100, 50, 0, 0, usd(u128::MAX), 2_500),
            (100, 0, 50, 0, usd(u128::MAX), 50),
            (100, 0, 0, 1, usd(u128::MAX), 20_000),
            (1, u64::MAX, u64::MAX, u64::MAX, usd(0), 100_000),
        ];
        for (leases, leases_broken, heartbeats_missed, disputes_lost, fees_paid, premium) in table {
            let conduct = Conduct {
                leases,
                leases_broken,
                heartbeats_missed,
                disputes_lost,
                fees_paid,
                ..Conduct::default()
            };
            assert_eq!(premium_bps(&conduct, &params), premium, "{conduct:?}");
        }
        let fees_paid = Amount::MAX;
        for (leases_rejected, leases_undelivered, premium) in
            [(5, 0, 50), (0, 5, 50), (60, 40, 1_000)]
        {
            let conduct = Conduct {
                leases: 100,
                fees_paid,
                leases_rejected,
                leases_undelivered,
                ..Conduct::default()
            };
            assert_eq!(premium_bps(&conduct, &params), premium, "{conduct:?}");
        }
    }
}
