//! A validator through all its lives.

use super::{World, network::Ends, network::public, users, validator};
use crate::{
    beacon,
    chronicle::state_digest,
    disk::Disk,
    life::{Host, Life},
    plan::{Bug, Deed, Plan, Property},
    wire::{Gate, In, Out, Tap},
};
use commonware_cryptography::ed25519::PublicKey;
use commonware_p2p::simulated::{Receiver, Sender, SplitTarget};
use commonware_runtime::{
    Clock as _, Handle, Spawner as _, Supervisor as _, deterministic::Context,
};
use muster_node::{
    consensus::{
        CHANNELS, Config, Consensus, FinalizedBlock, NetworkConfig, NodeError, OnBlock, P2p, Pace,
    },
    mempool::{PoolLimits, TxPool},
};
use std::{
    cell::RefCell,
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tempfile::TempDir;

/// The number of the node's channel for transactions.
const TRANSACTIONS: usize = 5;
/// How long a restarted process has to find what it was told before the crash, and one that has
/// to ask others to start at all.
const RECOVERY: Duration = Duration::from_secs(2);
const START: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(5);
/// The name of the file that says that a key was never used.
const UNUSED: &str = "unused";

type Channel = (Out<Sender<PublicKey, Context>>, In<Receiver<PublicKey>>);

/// A running process.
struct Up {
    life: Arc<Life>,
    task: Handle<()>,
    /// The node, once it has started.
    started: Arc<OnceLock<Result<Consensus, NodeError>>>,
}

/// A validator, or one of the two that share a key.
pub(super) struct Seat {
    pub(super) node: u8,
    pub(super) is_correct: bool,
    pub(super) disk: Arc<Disk>,
    skew: i64,
    /// Others start long before.
    is_late: bool,
    /// With the file that says that the key was never used, until it was.
    unused: TempDir,
    up: RefCell<Option<Up>>,
    lives: RefCell<u64>,
}

impl Seat {
    pub(super) fn new(plan: &Plan, node: u8) -> Self {
        let lies = plan.bugs.iter().find_map(|bug| match bug {
            Bug::DropSync { partition } => Some(partition.clone()),
            _ => None,
        });
        Self {
            node,
            is_late: plan.is_late(node),
            unused: unused_key(),
            is_correct: plan.is_correct(node),
            disk: Arc::new(Disk::new(lies)),
            skew: plan.skews_ms.get(usize::from(node)).copied().unwrap_or(0),
            up: RefCell::default(),
            lives: RefCell::default(),
        }
    }

    /// Whether it starts with the others.
    pub(super) fn is_early(&self) -> bool {
        !self.is_late
    }

    /// The process that is running.
    pub(super) fn life(&self) -> Option<Arc<Life>> {
        self.up.borrow().as_ref().map(|up| up.life.clone())
    }

    /// Which of its lives that is.
    pub(super) fn life_number(&self) -> Option<u64> {
        self.up.borrow().as_ref().map(|_| *self.lives.borrow())
    }

    /// How many it had.
    pub(super) fn lives(&self) -> u64 {
        *self.lives.borrow()
    }

    /// The node, once it has started.
    pub(super) fn consensus(&self) -> Option<Consensus> {
        let up = self.up.borrow();
        up.as_ref()?.started.get()?.as_ref().ok().cloned()
    }

    /// Why the node did not start.
    fn failure(&self) -> Option<String> {
        let up = self.up.borrow();
        up.as_ref()?.started.get()?.as_ref().err().map(ToString::to_string)
    }

    /// Takes the process out, if it is this one that is running.
    pub(super) fn take(&self, life: &Arc<Life>) -> Option<Handle<()>> {
        let mut up = self.up.borrow_mut();
        if up.as_ref().is_none_or(|up| !Arc::ptr_eq(&up.life, life)) {
            return None;
        }
        up.take().map(|up| up.task)
    }
}

/// A directory with the file that says that a key was never used.
fn unused_key() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory can be made");
    std::fs::write(dir.path().join(UNUSED), "").expect("a file can be made");
    dir
}

/// What passes on a channel of a seat.
fn gate(plan: &Plan, node: u8, is_second: bool, channel: usize) -> Gate {
    match plan.deed(node) {
        Some(Deed::Equivocate { side }) => {
            let others = (0..plan.validators).filter(|other| *other != node);
            let only = others.filter(|other| side.contains(other) != is_second).map(public);
            Gate { only: Some(only.collect()), ..Gate::default() }
        }
        Some(Deed::Withhold { channels }) => {
            Gate { mute: channels.contains(&channel), ..Gate::default() }
        }
        Some(Deed::Censor) if channel == TRANSACTIONS => {
            Gate { deaf_to: Some(users::trace_of_first()), ..Gate::default() }
        }
        _ => Gate::default(),
    }
}

impl World<'_> {
    /// Starts everybody for the first time, but those who are late.
    pub(super) async fn start_all(&self) {
        let twins = self.seats.len() > usize::from(self.plan.validators);
        let early = |seat: &usize| self.seats[*seat].is_early();
        for seat in (0..usize::from(self.plan.validators)).filter(early) {
            let node = self.seats[seat].node;
            let ends = self.net.ends(node).await;
            let twin = (usize::from(self.plan.validators)..self.seats.len())
                .find(|twin| self.seats[*twin].node == node);
            match twin.filter(|_| twins) {
                None => self.launch(seat, ends, false),
                Some(twin) => {
                    let (first, second) = self.split(ends, node);
                    self.launch(seat, first, false);
                    self.launch(twin, second, false);
                }
            }
        }
        for seat in (0..self.seats.len()).filter(early) {
            self.started(seat).await;
        }
    }

    /// The ends of two processes with one key.
    fn split(&self, ends: Ends, node: u8) -> (Ends, Ends) {
        let (mut firsts, mut seconds) = (Ends::new(), Ends::new());
        for (sender, receiver) in ends {
            let context = self.context.child("split").with_attribute("node", node);
            let (first, second) = receiver.split_with(context, |_| SplitTarget::Both);
            firsts.push((sender.clone(), first));
            seconds.push((sender, second));
        }
        (firsts, seconds)
    }

    /// Starts a validator whose disk is new.
    pub(super) async fn start(&self, seat: usize, state_sync: bool) {
        let ends = self.net.ends(self.seats[seat].node).await;
        self.launch(seat, ends, state_sync);
        self.started(seat).await;
    }

    /// Starts a validator that crashed. Before it reaches anybody, it must have again what it was
    /// told.
    pub(super) async fn restart(&self, seat: usize) {
        let node = self.seats[seat].node;
        let told = self.chronicle.told(node);
        let ends = self.net.ends(node).await;
        let is_checked = self.seats[seat].is_correct && told > 0;
        if is_checked {
            self.net.part(&[node], false).await;
        }
        self.launch(seat, ends, false);
        if is_checked {
            self.recover(seat, told).await;
            self.look_at_store(seat);
            self.net.join(&[node], false).await;
        }
        self.started(seat).await;
    }

    /// Starts a process.
    fn launch(&self, seat: usize, ends: Ends, state_sync: bool) {
        let is_second = seat >= usize::from(self.plan.validators);
        let seat = &self.seats[seat];
        let number = {
            let mut lives = seat.lives.borrow_mut();
            *lives = lives.saturating_add(1);
            *lives
        };
        let life = Life::new(seat.disk.clone(), seat.skew);
        let channels = ends.into_iter().enumerate().map(|(channel, (sender, receiver))| {
            let gate = gate(self.plan, seat.node, is_second, channel);
            let tap = (channel == beacon::CHANNEL).then(|| self.tap(seat));
            let out = Out { inner: sender, life: life.clone(), gate: gate.clone(), tap };
            (out, In { inner: receiver, life: life.clone(), gate })
        });
        let channels: Result<[Channel; CHANNELS], _> = channels.collect::<Vec<_>>().try_into();
        let Ok(channels) = channels else { unreachable!("there are as many as were asked for") };
        let config = self.config(seat, number, &life, state_sync);
        let network = self.net.of(seat.node);
        let started = Arc::new(OnceLock::new());
        let (slot, process) = (started.clone(), life.clone());
        let context = self.context.child("validator").with_attribute("node", seat.node);
        let task = context.spawn(move |context| async move {
            let host = Host::new(context, process);
            let node = Consensus::host(host, &config, "node", channels, network).await;
            // It is started once.
            let _ = slot.set(node);
            std::future::pending::<()>().await;
        });
        *seat.up.borrow_mut() = Some(Up { life, task, started });
    }

    /// Hears what a seat says of the beacon.
    fn tap(&self, seat: &Seat) -> Tap {
        let (chronicle, by, is_correct) =
            (self.chronicle.clone(), validator(seat.node).account(), seat.is_correct);
        Arc::new(move |message| chronicle.hear(by, is_correct, message))
    }

    /// Notes the state that a validator has read from its disk.
    fn look_at_store(&self, seat: usize) {
        let seat = &self.seats[seat];
        if let Some(consensus) = seat.consensus() {
            let found = consensus.read(|state, head| (head.height, state_digest(state)));
            self.stored.borrow_mut().push((seat.node, found.0, found.1));
        }
    }

    fn config(&self, seat: &Seat, number: u64, life: &Arc<Life>, state_sync: bool) -> Config {
        let (chronicle, node, is_correct) = (self.chronicle.clone(), seat.node, seat.is_correct);
        let (life, applying) = (life.clone(), life.clone());
        let on_finalized: OnBlock = Arc::new(move |block: &FinalizedBlock| {
            if is_correct && !life.is_dead() {
                chronicle.tell(node, number, block);
            }
        });
        let (chronicle, process) = (self.chronicle.clone(), applying);
        let on_applying: OnBlock = Arc::new(move |block: &FinalizedBlock| {
            if is_correct && !process.is_dead() {
                chronicle.applying(block);
            }
        });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Config {
            dir: PathBuf::new(),
            key: validator(node),
            genesis: self.genesis.clone(),
            network: NetworkConfig::P2p(P2p {
                listen: address,
                external: address.into(),
                peers: Vec::new(),
            }),
            state_sync,
            unused_key: Some(seat.unused.path().join(UNUSED)),
            anchor: None,
            pool: TxPool::new(self.genesis.id(), PoolLimits::default()),
            pace: Pace::default(),
            on_applying,
            on_finalized,
        }
    }

    async fn recover(&self, seat: usize, told: u64) {
        let end = self.context.current() + RECOVERY;
        let found = loop {
            let found = self.seats[seat].consensus().map(|consensus| consensus.head().height);
            if found >= Some(told) {
                return;
            }
            if self.context.current() >= end {
                break found;
            }
            self.context.sleep(POLL).await;
        };
        let node = self.seats[seat].node;
        let found = match found {
            Some(height) => {
                format!("validator {node} was told {told}, and came back with {height}")
            }
            None => format!("validator {node} was told {told}, and does not start by itself"),
        };
        self.chronicle.violate(Property::Durability, found);
    }

    /// Waits until a process has started.
    async fn started(&self, seat: usize) {
        let end = self.context.current() + START;
        while self.seats[seat].consensus().is_none() {
            let failed = self.seats[seat].failure();
            if failed.is_some() || self.context.current() >= end {
                let (node, why) = (self.seats[seat].node, failed.unwrap_or_default());
                let found = format!("validator {node} does not start. {why}");
                self.chronicle.violate(Property::Soundness, found);
                return;
            }
            self.context.sleep(POLL).await;
        }
    }
}
