//! Waiting longer after each failure.

use std::time::Duration;

pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, next: first }
    }

    /// After a success.
    pub(crate) const fn reset(&mut self) {
        self.next = self.first;
    }

    /// How long to wait now; twice as long the next time.
    pub(crate) fn next(&mut self) -> Duration {
        let now = self.next;
        self.next = now.saturating_mul(2).min(self.longest);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_over_after_a_success() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(50), ms(150));
        assert_eq!([backoff.next(), backoff.next(), backoff.next()], [ms(50), ms(100), ms(150)]);
        backoff.reset();
        assert_eq!(backoff.next(), ms(50));
    }
}
