//! Shares of what is leased, and the fee on them.

use super::{Model, Money, money, part, whole};
use muster_types::AccountId;
use num_traits::Zero as _;

impl Model {
    /// The sum of the rates of the open leases of the providers that are so.
    pub(super) fn leased(&self, is: impl Fn(&AccountId) -> bool) -> Money {
        let open = self.leases.iter().filter(|lease| lease.is_open());
        let of = open.filter(|lease| is(&lease.host.provider));
        of.map(|lease| money(lease.rate.amount_per_hour())).sum()
    }

    /// What goes to the validators of a provider's pay.
    pub(super) fn share_fee(&self, provider: &AccountId, pay: &Money) -> Money {
        let total = self.leased(|_| true);
        if total.is_zero() || self.params.share_fee_max_bps == 0 {
            return Money::zero();
        }
        let operator = self.operator_of(provider);
        let operated = self.leased(|one| self.operator_of(one) == operator);
        // Shares are known in thousand-millionths.
        let unit = whole(1_000_000_000);
        let share = (operated * &unit / total).floor() / unit;
        let from = part(self.params.share_fee_from_bps);
        let over = (share - &from).max(Money::zero());
        (pay * part(self.params.share_fee_max_bps) * over / (whole(1) - from)).floor()
    }
}
