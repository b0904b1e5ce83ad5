//! A plan: everything that a simulation does, and what must hold. Generated from a seed alone, or
//! read from a file.
//!
//! Times are milliseconds since all validators had started. Faults last until `fault_ms`; then the
//! network heals, and everybody that is correct is up and stays up.

use crate::disk::Unsynced;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng as _},
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What must hold, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Property {
    /// No two correct validators are told different blocks for a height, and each is told them in
    /// order.
    Agreement,
    /// Every final block follows the rules: executed again from genesis by a plain ledger, with
    /// every signature checked, it gives its header's roots and every validator's state.
    Validity,
    /// After healing, every correct validator makes progress within [`Plan::settle_ms`].
    Liveness,
    /// The ledger's invariants hold after every block; money is conserved.
    Conservation,
    /// No transaction is applied twice; one that a correct validator accepted is applied, unless
    /// the validator crashed before it was final.
    Once,
    /// A transaction of whom a validator censors is in a block within a bound of blocks.
    Inclusion,
    /// What a validator was told as final before a crash, it has after it without the network's
    /// help.
    Durability,
    /// What a restarted validator reads from its disk is the state after the block that it names.
    Storage,
    /// Rounds of the beacon are consecutive and their values never come again; a value is what two
    /// thirds have signed, no correct validator signs a round before the one before is final, and
    /// after healing there are new ones.
    Beacon,
    /// A correct validator that was jailed for being down votes again once it asked for that.
    Comeback,
    /// No correct validator votes so that it could be slashed.
    Honesty,
    /// No process of a correct validator ends by itself, and none cuts another off.
    Soundness,
}

impl Property {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Agreement,
        Self::Validity,
        Self::Liveness,
        Self::Conservation,
        Self::Once,
        Self::Inclusion,
        Self::Durability,
        Self::Storage,
        Self::Beacon,
        Self::Comeback,
        Self::Honesty,
        Self::Soundness,
    ];
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Agreement => "agreement",
            Self::Validity => "validity",
            Self::Liveness => "liveness",
            Self::Conservation => "conservation",
            Self::Once => "once",
            Self::Inclusion => "inclusion",
            Self::Durability => "durability",
            Self::Storage => "storage",
            Self::Beacon => "beacon",
            Self::Comeback => "comeback",
            Self::Honesty => "honesty",
            Self::Soundness => "soundness",
        })
    }
}

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Links {
    /// How long on average, one way.
    pub latency_ms: u64,
    /// The standard deviation of that.
    pub jitter_ms: u64,
    /// How many of a thousand are lost, until the network heals.
    pub loss_permille: u64,
}

/// Something that breaks, and is mended by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Fault {
    /// A validator's process dies and is started again.
    Crash {
        /// Whose.
        node: u8,
        /// From when on.
        at_ms: u64,
        /// It dies with so manieth change of its disk after that.
        change: u64,
        /// What becomes of changes that were not synced.
        unsynced: Unsynced,
        /// How long it is down.
        down_ms: u64,
    },
    /// A validator dies, loses its disk, and is started again.
    Wipe {
        /// Which.
        node: u8,
        /// When.
        at_ms: u64,
        /// How long it is down.
        down_ms: u64,
        /// Whether it fetches the state, or executes every block.
        state_sync: bool,
    },
    /// A validator starts for the first time when the others have blocks already. Its key is
    /// known to be unused, so it votes at once.
    Late {
        /// Which.
        node: u8,
        /// When.
        at_ms: u64,
        /// Whether it fetches the state, or executes every block.
        state_sync: bool,
    },
    /// Some do not reach the others.
    Partition {
        /// When.
        at_ms: u64,
        /// For how long.
        for_ms: u64,
        /// One side of it.
        side: Vec<u8>,
        /// Whether the others still reach these.
        one_way: bool,
    },
}

impl Fault {
    /// Until when it lasts, about.
    #[must_use]
    pub fn end_ms(&self) -> u64 {
        match self {
            Self::Crash { at_ms, down_ms, .. } | Self::Wipe { at_ms, down_ms, .. } => {
                at_ms.saturating_add(*down_ms)
            }
            Self::Partition { at_ms, for_ms, .. } => at_ms.saturating_add(*for_ms),
            Self::Late { at_ms, .. } => *at_ms,
        }
    }
}

/// What a byzantine validator does, all the time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "does", rename_all = "snake_case")]
pub enum Deed {
    /// It runs twice, with one key: each of the two talks with one side only.
    Equivocate {
        /// One side.
        side: Vec<u8>,
    },
    /// It sends nothing on these of the node's channels.
    Withhold {
        /// Their numbers.
        channels: Vec<usize>,
    },
    /// It makes blocks with a transaction that its account did not sign.
    Forge,
    /// It makes blocks whose root of the state is made up.
    FakeState,
    /// It makes blocks whose root of the events is made up.
    FakeEvents,
    /// It makes blocks that are no later than their parents.
    StopTime,
    /// It makes blocks that name others as validators.
    Usurp,
    /// It makes blocks whose beacon is made up.
    Rig,
    /// It does not want to have heard of the first payer's transactions.
    Censor,
}

/// A validator that does not follow the rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Byzantine {
    /// Which.
    pub node: u8,
    /// What it does.
    #[serde(flatten)]
    pub deed: Deed,
}

/// A bug that the simulator must find.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "bug", rename_all = "snake_case")]
pub enum Bug {
    /// No validator checks the signatures in a block.
    UnsignedBlocks,
    /// No validator compares a block's events with its header.
    AnyEvents,
    /// No validator checks a block's beacon.
    AnyBeacon,
    /// Validators sign the round of the beacon after the next one, too.
    HastyBeacon,
    /// Validators do not delete from the store on disk what leaves the state.
    KeepDeleted,
    /// Nobody lets a jailed validator out.
    AbsentOwners,
    /// Disks say that they synced what has this in its partition's name, and did not.
    DropSync {
        /// A part of the name.
        partition: String,
    },
}

/// When a validator that is down is jailed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jail {
    /// It has missed so many turns of an epoch, and half of its turns.
    pub turns: u64,
    /// For how long, in milliseconds. Then its owner asks for its return.
    pub for_ms: u64,
}

/// What users do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workload {
    /// Who pay each other and strangers.
    pub payers: u8,
    /// How many transactions they send while faults last, at even distances.
    pub txs: u64,
}

/// A simulation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Decides everything that the plan does not.
    pub seed: u64,
    /// How many validators there are.
    pub validators: u8,
    /// Blocks in an epoch.
    pub epoch_blocks: u64,
    /// How long faults last.
    pub fault_ms: u64,
    /// How long healing may take.
    pub settle_ms: u64,
    /// How far the validators' clocks are ahead.
    pub skews_ms: Vec<i64>,
    /// Whom being down costs its vote for a while; nobody where it is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jail: Option<Jail>,
    /// The properties that are checked.
    pub properties: Vec<Property>,
    /// How messages travel.
    pub links: Links,
    /// What users do.
    pub workload: Workload,
    /// What breaks.
    #[serde(default)]
    pub faults: Vec<Fault>,
    /// Who does not follow the rules; at most a third of the validators.
    #[serde(default)]
    pub byzantine: Vec<Byzantine>,
    /// Bugs to be found; none where the node is what is tested.
    #[serde(default)]
    pub bugs: Vec<Bug>,
}

/// Why a text is not a plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Not TOML of a plan.
    #[error("the plan is not valid TOML of a plan")]
    Toml(#[from] toml::de::Error),
    /// Not JSON of a plan.
    #[error("the plan is not valid JSON of a plan")]
    Json(#[from] serde_json::Error),
    /// What it says cannot be done.
    #[error("the plan's `{field}` {problem}")]
    Field {
        /// Which.
        field: &'static str,
        /// Why.
        problem: &'static str,
    },
}

/// The dice of a plan.
struct Dice(ChaCha8Rng);

impl Dice {
    /// A number of at least `from` and less than `to`.
    fn between(&mut self, from: u64, to: u64) -> u64 {
        let width = to.saturating_sub(from).max(1);
        from.saturating_add(self.0.next_u64() % width)
    }

    /// Whether something happens that happens once in so many times.
    fn once_in(&mut self, times: u64) -> bool {
        self.between(0, times) == 0
    }

    fn skew(&mut self, most: u64) -> i64 {
        let ahead = i64::try_from(self.between(0, most)).unwrap_or(0);
        if self.once_in(2) { ahead } else { ahead.saturating_neg() }
    }

    fn node(&mut self, validators: u8) -> u8 {
        u8::try_from(self.between(0, validators.into())).unwrap_or(0)
    }

    /// Some of the nodes, neither none nor all.
    fn side(&mut self, validators: u8) -> Vec<u8> {
        let all = (1_u64 << validators.min(32)).saturating_sub(1);
        let chosen = self.between(1, all);
        (0..validators).filter(|node| chosen >> node & 1 == 1).collect()
    }
}

impl Plan {
    /// The plan of a seed: four or five validators, one of them byzantine in many.
    ///
    /// Whoever is down is jailed, where those who are left bear it: four honest ones, whatever
    /// breaks, or five of which one is byzantine, if one more thing breaks at most. Four of which
    /// one is byzantine would be three, and bear none.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice(ChaCha8Rng::seed_from_u64(seed));
        let kind = dice.between(0, 16);
        let (wipes, late, one_lies) = (kind < 2, kind == 2 || kind == 3, kind >= 9);
        let jails = !one_lies || dice.once_in(3);
        let validators = if one_lies && jails { 5 } else { 4 };
        let fault_ms = dice.between(2_500, 4_500);
        let latency_ms = dice.between(5, 60);
        let jitter_ms = dice.between(0, latency_ms / 3 + 1);
        let loss_permille = if dice.once_in(2) { 0 } else { dice.between(1, 60) };
        let byzantine = if one_lies { vec![dice.byzantine(validators)] } else { Vec::new() };
        let mut skews_ms: Vec<i64> = (0..validators).map(|_| dice.skew(150)).collect();
        if byzantine.is_empty() && dice.once_in(4) {
            skews_ms[usize::from(dice.node(validators))] = dice.skew(3_000);
        }
        let faults = if wipes {
            vec![dice.wipe(validators, fault_ms)]
        } else if late {
            vec![dice.late(validators, fault_ms)]
        } else {
            (0..dice.between(0, if one_lies && jails { 2 } else { 4 }))
                .map(|_| dice.fault(validators, fault_ms))
                .collect()
        };
        Self {
            seed,
            validators,
            epoch_blocks: dice.between(8, 16),
            fault_ms,
            settle_ms: 30_000,
            skews_ms,
            jail: jails.then(|| dice.jail()),
            properties: Property::ALL.to_vec(),
            links: Links {
                latency_ms,
                jitter_ms,
                loss_permille: if wipes || late { 0 } else { loss_permille },
            },
            workload: Workload { payers: 3, txs: dice.between(8, 20) },
            faults,
            byzantine,
            bugs: Vec::new(),
        }
    }

    /// Reads a plan from TOML, or from JSON, which begins with a brace.
    ///
    /// # Errors
    /// [`PlanError`].
    pub fn read(text: &str) -> Result<Self, PlanError> {
        let plan: Self = if text.trim_start().starts_with('{') {
            serde_json::from_str(text)?
        } else {
            toml::from_str(text)?
        };
        plan.check()?;
        Ok(plan)
    }

    /// The plan as TOML.
    ///
    /// # Errors
    /// Where a number does not fit into TOML's.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }

    fn check(&self) -> Result<(), PlanError> {
        let refuse = |field, problem| Err(PlanError::Field { field, problem });
        let known = |node: &u8| *node < self.validators;
        if !(1..=16).contains(&self.validators) {
            return refuse("validators", "must be from 1 to 16");
        }
        if self.skews_ms.len() != usize::from(self.validators) {
            return refuse("skews_ms", "must have one number for each validator");
        }
        if self.byzantine.len() > usize::from(self.validators.saturating_sub(1) / 3) {
            return refuse("byzantine", "must be at most a third of the validators");
        }
        if !(1..=16).contains(&self.workload.payers) {
            return refuse("workload.payers", "must be from 1 to 16");
        }
        let nodes = self.faults.iter().all(|fault| match fault {
            Fault::Crash { node, .. } | Fault::Wipe { node, .. } | Fault::Late { node, .. } => {
                known(node)
            }
            Fault::Partition { side, .. } => side.iter().all(known),
        });
        if !nodes {
            return refuse("faults", "name a validator that there is not");
        }
        let nodes = self.byzantine.iter().all(|byzantine| match &byzantine.deed {
            Deed::Equivocate { side } => side.iter().all(known) && known(&byzantine.node),
            _ => known(&byzantine.node),
        });
        if !nodes {
            return refuse("byzantine", "name a validator that there is not");
        }
        Ok(())
    }

    /// Whether a validator follows the rules.
    #[must_use]
    pub fn is_correct(&self, node: u8) -> bool {
        self.byzantine.iter().all(|byzantine| byzantine.node != node)
    }

    /// Whether a validator starts long after the others.
    #[must_use]
    pub fn is_late(&self, node: u8) -> bool {
        let late = |fault: &Fault| matches!(fault, Fault::Late { node: of, .. } if *of == node);
        self.faults.iter().any(late)
    }

    /// What a validator does that does not follow the rules.
    #[must_use]
    pub fn deed(&self, node: u8) -> Option<&Deed> {
        self.byzantine.iter().find(|byzantine| byzantine.node == node).map(|found| &found.deed)
    }
}

impl Dice {
    fn byzantine(&mut self, validators: u8) -> Byzantine {
        let node = self.node(validators);
        let deed = match self.between(0, 10) {
            0 | 1 => Deed::Equivocate { side: self.side(validators) },
            2 => {
                let channels = [vec![0, 1], vec![3, 4], vec![4], (0..9).collect()];
                let chosen = usize::try_from(self.between(0, 4)).unwrap_or(0);
                Deed::Withhold { channels: channels[chosen].clone() }
            }
            3 => Deed::Forge,
            4 => Deed::FakeState,
            5 => Deed::FakeEvents,
            6 => Deed::StopTime,
            7 => Deed::Usurp,
            8 => Deed::Rig,
            _ => Deed::Censor,
        };
        Byzantine { node, deed }
    }

    fn wipe(&mut self, validators: u8, fault_ms: u64) -> Fault {
        Fault::Wipe {
            node: self.node(validators),
            at_ms: self.between(1_000, fault_ms / 2),
            down_ms: self.between(50, 1_500),
            state_sync: self.once_in(2),
        }
    }

    fn late(&mut self, validators: u8, fault_ms: u64) -> Fault {
        Fault::Late {
            node: self.node(validators),
            at_ms: self.between(1_000, fault_ms),
            state_sync: self.once_in(2),
        }
    }

    fn jail(&mut self) -> Jail {
        Jail { turns: self.between(2, 4), for_ms: self.between(100, 3_000) }
    }

    fn fault(&mut self, validators: u8, fault_ms: u64) -> Fault {
        let at_ms = self.between(100, fault_ms * 4 / 5);
        if self.once_in(3) {
            return Fault::Partition {
                at_ms,
                for_ms: self.between(300, 2_500),
                side: self.side(validators),
                one_way: self.once_in(3),
            };
        }
        let unsynced = match self.between(0, 3) {
            0 => Unsynced::Lost,
            1 => Unsynced::Prefix,
            _ => Unsynced::Torn,
        };
        let quick = self.once_in(2);
        let down_ms = self.between(10, if quick { 100 } else { 2_000 });
        let node = self.node(validators);
        Fault::Crash { node, at_ms, change: self.between(1, 60), unsynced, down_ms }
    }
}
