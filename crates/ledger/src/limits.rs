//! Limits of shape: how long lists and texts may be. They bound what decoding, storing and
//! looking at a transaction costs. A transaction that is beyond one by itself is refused with
//! [`crate::Reject::BadField`]; one that would make a record's list longer than it may be, with
//! [`crate::Reject::WrongState`]; an order waits while its escrow has as many leases as it may. What may be voted on is in [`crate::Params`] instead.

use muster_types::{Amount, Millis, Rate};

/// Leases that one heartbeat covers.
pub const HEARTBEAT_LEASES: usize = 1024;

/// Bytes of a provider's name, of a region and of an attribute's key.
pub const NAME_BYTES: usize = 64;

/// Bytes of an attribute's value.
pub const VALUE_BYTES: usize = 256;

/// Attributes of a provider, and of a host.
pub const ATTRIBUTES: usize = 64;

/// Socket addresses of a provider.
pub const SOCKETS: usize = 8;

/// Bytes of a socket address.
pub const SOCKET_BYTES: usize = 128;

/// Hosts of one provider.
pub const HOSTS: usize = 1024;

/// Kinds of GPUs in one host.
pub const GPU_KINDS: usize = 16;

/// Units of any one resource in a host: thousandths of a thread, bytes, bits a second.
pub const UNITS: u64 = 1 << 56;

/// The longest notice of an interruptible offer.
pub const NOTICE_MAX: Millis = Millis(30 * 86_400_000);

/// The highest unit price of a host.
pub const UNIT_PRICE: Rate = Rate::per_hour(Amount::from_units(1_000_000));

/// Unsettled leases on one escrow.
pub const ESCROW_LEASES: u32 = 10_000;

/// Depositors of one escrow.
pub const DEPOSITORS: usize = 64;

/// Tasks of a job, and results under a commitment.
pub const TASKS: u64 = 1 << 32;

/// Bytes of a dispute's evidence.
pub const EVIDENCE_BYTES: usize = 1024;

/// Memory that a disputed task may use, in bytes: all that a 32-bit WASM module can address.
pub const TASK_MEMORY_BYTES: u64 = 4 << 30;

/// Open disputes that name one lease.
pub const LEASE_DISPUTES: u32 = 16;

/// Open challenges of one lease. Each locks more than the one before, so that to fill them up in
/// order to keep others out costs thousands of bonds.
pub const LEASE_CHALLENGES: u32 = 256;

/// Things of one kind (stalls, settlements, expiries ...) that fall due in one block; the rest
/// waits for the next block.
pub const DUE_PER_BLOCK: usize = 4096;

/// Bytes of a network's name.
pub const NETWORK_NAME_BYTES: usize = 64;

/// Validators of a network.
pub const VALIDATORS: usize = 100;

/// Keys that a validator names for seats beside its own account's.
pub const SEATS: usize = 32;

/// Bytes of what a validator deals for the beacon's key.
pub const BEACON_DEAL_BYTES: usize = 16 * 1024;

/// Blocks in the shortest epoch.
pub const EPOCH_BLOCKS_MIN: u64 = 4;

/// Delegated keys of one account.
pub const KEYS: u32 = 16;

/// Validators to whom one account delegates at a time.
pub const DELEGATIONS: usize = 16;

/// Votes on one proposal, delegators' and validators' together.
pub const VOTES_PER_PROPOSAL: usize = 1024;

/// Proposals that are tallied in one block; the rest waits for the next block.
pub const TALLIES_PER_BLOCK: usize = 1;

/// Parameters that one proposal changes.
pub const PROPOSAL_CHANGES: usize = 32;

/// Bytes of a proposal's title.
pub const TITLE_BYTES: usize = 256;
/// Parts in which a bond unbonds by `BondUnbond`.
pub const UNBONDING: usize = 16;

/// Duties that one account registers, those that are being left included.
pub const DUTIES: usize = 16;

/// Auditors whose signatures on one provider are kept.
pub const SIGNERS: usize = 16;

/// Attributes in one signature of an auditor.
pub const SIGNED_ATTRIBUTES: usize = 16;
/// Bids that stand on one order.
pub const BIDS: u16 = 256;

/// The longest bid window, in steady time.
pub const BID_WINDOW_MS: Millis = Millis(86_400_000);
