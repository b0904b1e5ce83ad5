//! The provider: offers this machine on the ledger, serves the leases it wins, and answers for
//! its results.
//!
//! ```text
//!            ledger                                    tenant
//!   register, bond, offers                               |
//!   events: granted, closed, settled                     |  Prepare, Run, Commit
//!   LeaseReady, LeaseDecline, Heartbeat, ResultCommit    |  (muster_api::provider)
//!             |                                          |
//!          [wallet]----------- Agent ----------------[fabric]---- blobs in, blobs out
//!                         /      |      \
//!                  [journal]  [leases]  [sandbox]
//! ```
//!
//! # A lease here
//! | state | event | next |
//! |---|---|---|
//! | unknown | `LeaseGranted`, or a request whose lease the ledger knows | granted |
//! | granted | `Prepare`: content fetched, module compiled, `LeaseReady` applied | live, served |
//! | granted | `Deploy`: images fetched, containers started and reached, `LeaseReady` applied | live, served |
//! | granted | `Deploy` of what cannot be run, or does not come up in time | `LeaseDecline` |
//! | granted | `Prepare` with a module that is refused; nothing prepared in time | `LeaseDecline` |
//! | live | `LeaseUpdating`: work under way takes no new manifest here | `LeaseDecline` |
//! | live, served | each heartbeat period | covered by the heartbeat |
//! | live, served | this process restarts | of services: live, served, their containers never stopped |
//! | live, served | this process restarts | of a job: live; served again when what was prepared is still in store, else at the next `Prepare` |
//! | any open | `LeaseClosed` | closed: runs are killed, module, data and inputs let go; containers stopped, nothing left of them |
//! | closed | `LeaseSettled` | forgotten: outputs let go |
//!
//! # What a tenant can rely on
//! A claim that was handed out is in the journal before it leaves, so that a restart changes
//! nothing: the same task asked again gives the same answer. One index has one result, the last
//! one: asked again with another input, as when a chain is run again from an earlier state, the new
//! result takes the place of the old one. Each `Commit` is to the results so far: a root over
//! [`muster_verify::task_leaf`]s in order of index, of batches and chains alike.
//!
//! # What a tenant cannot do
//! Reach another's lease, run more at once than its lease's CPUs and memory carry, run anything
//! outside the sandbox, keep more bytes here than its lease's disk (or [`MIN_STORED_BYTES`]), or
//! make the provider pay fees by asking again.

mod agent;
mod backoff;
mod check;
mod commit;
mod config;
mod decline;
mod denial;
mod error;
mod follow;
mod journal;
mod lease;
mod prepare;
mod register;
mod run;
mod service;
mod services;
mod shared;
#[cfg(test)]
mod testing;
mod upkeep;

pub use agent::{Agent, AgentStatus, Earnings, LeaseLine};
pub use config::{
    Config, DEFAULT_HEARTBEAT_MS, HostConfig, MAX_DATA_BYTES, MAX_INPUT_BYTES, MAX_OUTPUT_BYTES,
    MAX_RESULTS_PER_LEASE, MAX_RUN_TASKS, MAX_RUNS_PER_LEASE, MAX_STDERR_BYTES,
    MAX_TASKS_PER_LEASE, MAX_WALL_MS, MIN_STORED_BYTES, SimulatedFault,
};
pub use error::AgentError;
pub use journal::JournalError;
pub use services::{CONTAINERS, ServicesConfig};
