//! Lets in as many runs at once as the engine has slots for.

use crate::{guest::Halt, run::StopFlag};
use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How often a waiting run looks at its stop flag.
const LOOK: Duration = Duration::from_millis(20);

/// Counts free slots.
#[derive(Debug)]
pub(crate) struct Gate {
    free: Mutex<u32>,
    freed: Condvar,
}

impl Gate {
    pub(crate) const fn new(slots: u32) -> Self {
        Self { free: Mutex::new(slots), freed: Condvar::new() }
    }

    /// Waits for a slot and takes it until the permit is dropped.
    pub(crate) fn enter(&self, deadline: Instant, stop: &StopFlag) -> Result<Permit<'_>, Halt> {
        let mut free = self.free();
        while *free == 0 {
            if stop.is_raised() {
                return Err(Halt::Stopped);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Halt::Deadline);
            }
            let waited = self.freed.wait_timeout(free, left.min(LOOK));
            free = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        *free -= 1;
        Ok(Permit(self))
    }

    fn free(&self) -> MutexGuard<'_, u32> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One slot, taken.
#[derive(Debug)]
pub(crate) struct Permit<'a>(&'a Gate);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.0.free() += 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_gate_waits_for_a_slot_a_deadline_or_a_stop() {
        let (gate, stop) = (Gate::new(1), StopFlag::default());
        let soon = || Instant::now() + Duration::from_secs(60);
        let permit = gate.enter(soon(), &stop).unwrap();
        assert_eq!(gate.enter(Instant::now(), &stop).unwrap_err(), Halt::Deadline);
        drop(permit);
        let permit = gate.enter(soon(), &stop).unwrap();
        stop.raise();
        assert_eq!(gate.enter(soon(), &stop).unwrap_err(), Halt::Stopped);
        std::thread::scope(|scope| {
            scope.spawn(move || drop(permit));
            drop(gate.enter(soon(), &StopFlag::default()).unwrap());
        });
    }
}
