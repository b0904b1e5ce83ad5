//! Escrows: who put in what, and who gets what back.

use super::{Escrow, Model, Money, Outcome, act::positive, money, must};
use muster_types::{AccountId, Amount, Asset, EscrowId, TxId};
use num_traits::Zero as _;

impl Model {
    pub(super) fn escrow_open(&mut self, tx: TxId, who: AccountId, deposit: Amount) -> Outcome {
        positive(deposit)?;
        let deposit = money(deposit);
        self.take(who, Asset::Usd, &deposit)?;
        self.escrows.push(Escrow {
            id: EscrowId::derive(&tx),
            owner: who,
            closed: false,
            opened: self.height,
            short_since: None,
            deposits: vec![(who, deposit.clone(), deposit.clone())],
            balance: deposit,
            refunded: Money::zero(),
            final_since: None,
            fees: Money::zero(),
        });
        Ok(())
    }

    pub(super) fn escrow_deposit(
        &mut self,
        who: AccountId,
        id: &EscrowId,
        amount: Amount,
    ) -> Outcome {
        positive(amount)?;
        must(!self.escrow(id)?.closed)?;
        let amount = money(amount);
        self.take(who, Asset::Usd, &amount)?;
        self.refresh(id);
        let escrow = self.escrow_mut(id);
        match escrow.deposits.iter_mut().find(|(depositor, _, _)| *depositor == who) {
            Some((_, all, left)) => {
                *all += &amount;
                *left += &amount;
            }
            None => {
                must(escrow.deposits.len() < 64)?;
                escrow.deposits.push((who, amount.clone(), amount.clone()));
            }
        }
        escrow.balance += &amount;
        self.pay_shortfalls(id);
        self.fed(id);
        Ok(())
    }

    /// What was spent since was spent from every depositor's rest in the same proportion.
    fn refresh(&mut self, id: &EscrowId) {
        let withheld = self.withheld_on(id);
        let escrow = self.escrow_mut(id);
        let unspent = &escrow.balance + withheld;
        let weights: Vec<Money> = escrow.deposits.iter().map(|(_, _, left)| left.clone()).collect();
        for ((_, _, left), share) in escrow.deposits.iter_mut().zip(divide(&unspent, &weights)) {
            *left = share;
        }
    }

    /// What the leases of an escrow have earned and were not paid.
    pub(super) fn withheld_on(&self, id: &EscrowId) -> Money {
        self.leases_on(id).iter().map(|lease| lease.withheld()).sum()
    }

    pub(super) fn escrow_close(&mut self, who: AccountId, id: &EscrowId) -> Outcome {
        let escrow = self.escrow(id)?;
        must(escrow.owner == who && !escrow.closed)?;
        must(self.orders.find(|order| order.escrow == *id && order.is_open()).is_none())?;
        must(self.leases_on(id).iter().all(|lease| lease.is_settled()))?;
        self.refresh(id);
        let escrow = self.escrow_mut(id);
        escrow.closed = true;
        escrow.short_since = None;
        escrow.refunded = std::mem::take(&mut escrow.balance);
        let deposits = escrow.deposits.clone();
        for (depositor, _, left) in deposits {
            self.give(depositor, Asset::Usd, &left);
        }
        Ok(())
    }
}

/// Divides in proportion: every share is rounded down, and the nano-units left over go one by one
/// to the largest fractions, on equality to the earlier.
fn divide(whole: &Money, weights: &[Money]) -> Vec<Money> {
    let total: Money = weights.iter().sum();
    if total.is_zero() {
        return weights.to_vec();
    }
    let exact: Vec<Money> = weights.iter().map(|weight| whole * weight / &total).collect();
    let mut shares: Vec<Money> = exact.iter().map(Money::floor).collect();
    let mut places: Vec<usize> = (0..exact.len()).collect();
    places.sort_by_key(|place| std::cmp::Reverse(exact[*place].fract()));
    let mut left = whole - shares.iter().sum::<Money>();
    for place in places {
        if left.is_zero() {
            break;
        }
        shares[place] += Money::from_integer(1.into());
        left -= Money::from_integer(1.into());
    }
    shares
}
