//! The tenant's conductor: takes a workload through the network, from quote to receipt.
//!
//! [`Conductor::run`] reads what the workload names, sets the budget aside, orders leases, sends
//! their providers tasks, checks every claim, has a sample run again by another provider, brings
//! contradictions before the validators, replaces providers that fail, and at the end closes and
//! settles everything and writes results and receipt.
//!
//! Everything that matters is in a journal before it happens. A conductor that was killed goes on
//! with [`Conductor::resume`]: nothing is ordered twice, and what was done is not done again.
//!
//! ```text
//! workload ─ plan ─┐                       ┌─ leases (one task each) ── providers
//!                  ├─ drive ◀── events ────┤
//! journal ─ replay ┘   │                   └─ watch ── ledger
//!                      └─ schedule: event ─▶ effects (pure)
//! ```
//!
//! What is secret until the end is which tasks are sampled: the tenant draws them from a seed of
//! its own, so that a provider cannot know, before it answers, which of its results another one
//! will be compared with. A provider that is asked for a single step of a chain can guess that it
//! checks somebody; who runs a chain cannot.

mod checks;
mod conductor;
mod drive;
mod error;
mod files;
mod journal;
mod leases;
mod ledger;
mod plan;
mod progress;
mod receipt;
mod schedule;
pub mod services;
mod settle;
mod shared;
mod watch;

pub use conductor::{Conductor, Config, quote};
pub use error::JobError;
pub use progress::{EscrowTotals, LeaseReport, Progress, Report};
