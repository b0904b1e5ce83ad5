//! How much memory something takes.
#![allow(unsafe_code, reason = "an allocator cannot be written without")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    /// What this thread has allocated and not freed, and the most that was since it was last
    /// asked.
    static TAKEN: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// The system's allocator, counted by thread. A test binary takes it with
/// `#[global_allocator] static METER: Meter = Meter;`.
#[derive(Debug)]
pub struct Meter;

fn count(by: isize) {
    // Where a thread is ending nothing is counted any more.
    let _ = TAKEN.try_with(|taken| {
        let (now, peak) = taken.get();
        let now = now.wrapping_add(by);
        taken.set((now, peak.max(now)));
    });
}

fn size(bytes: usize) -> isize {
    isize::try_from(bytes).unwrap_or(isize::MAX)
}

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(size(layout.size()));
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-size(layout.size()));
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Does something, and tells how many bytes of memory this thread took for it at the most. Nothing
/// where the binary does not allocate by [`Meter`].
pub fn peak_during<T>(act: impl FnOnce() -> T) -> (T, usize) {
    let before = TAKEN.with(|taken| {
        let (now, _) = taken.get();
        taken.set((now, now));
        now
    });
    let done = act();
    let peak = TAKEN.with(|taken| taken.get().1);
    (done, usize::try_from(peak.wrapping_sub(before)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_that_was_held_at_a_time_is_told() {
        let (kept, peak) = peak_during(|| {
            drop(vec![0_u8; 5_000]);
            vec![1_u8; 3_000]
        });
        assert!((5_000..6_000).contains(&peak), "{peak}");
        assert_eq!(kept.len(), 3_000);
    }
}
