//! Everything that may happen, in any order, by seed.

use super::*;

/// A small generator: what the tests draw must not change with a library.
struct Draw(u64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A network in which anything may happen in any order.
struct Storm {
    desk: Desk,
    draw: Draw,
    /// Requests that wait for an answer.
    asked: Vec<Assignment>,
    orders: Vec<(u32, u32, Vec<AccountId>)>,
    disputes: Vec<(u32, [Claim; 2])>,
    preparing: Vec<LeaseId>,
    live: BTreeMap<LeaseId, u8>,
    next_provider: u8,
}

impl Storm {
    fn nature(number: u8) -> Nature {
        if number.is_multiple_of(4) { Nature::Lies(2) } else { Nature::Honest }
    }

    fn collect(&mut self) {
        self.asked.extend(self.desk.runs());
        self.orders.extend(self.desk.orders());
        self.disputes.extend(self.desk.disputes());
        for effect in self.desk.effects.drain(..) {
            match effect {
                Effect::Prepare { lease, .. } => self.preparing.push(lease),
                Effect::Abandon { lease } => {
                    self.live.remove(&lease);
                }
                _ => {}
            }
        }
        let mut busy = BTreeSet::new();
        for lease in self.desk.schedule.leases.values() {
            assert!(lease.tickets.len() <= WINDOW);
            for ticket in lease.tickets.values().filter(|ticket| ticket.against.is_none()) {
                for index in ticket.first..ticket.first + ticket.count {
                    assert!(busy.insert(index), "task {index} is in work twice");
                }
            }
        }
    }

    fn take<T>(draw: &mut Draw, items: &mut Vec<T>) -> Option<T> {
        let at = usize::try_from(draw.below((items.len() as u64).max(1))).unwrap();
        (at < items.len()).then(|| items.swap_remove(at))
    }

    fn step(&mut self) {
        match self.draw.below(16) {
            0..=6 => {
                if let Some(run) = Self::take(&mut self.draw, &mut self.asked)
                    && let Some(number) = self.live.get(&run.lease)
                {
                    self.desk.reply(Self::nature(*number), &run);
                }
            }
            7 => {
                if let Some(run) = Self::take(&mut self.draw, &mut self.asked)
                    && self.live.contains_key(&run.lease)
                {
                    self.desk.fail(&run, 0, false);
                }
            }
            8..=9 => {
                if let Some(lease) = Self::take(&mut self.draw, &mut self.preparing) {
                    self.desk.on(Event::Prepared { lease });
                }
            }
            10..=11 => self.grant(),
            12..=13 => {
                if let Some((number, claims)) = Self::take(&mut self.draw, &mut self.disputes) {
                    self.desk.judge(number, &claims);
                }
            }
            14 => self.lose(),
            _ => self.restart(),
        }
        self.collect();
    }

    fn grant(&mut self) {
        let Some((order, count, exclude)) = Self::take(&mut self.draw, &mut self.orders) else {
            return;
        };
        self.next_provider += 1;
        let number = self.next_provider;
        assert!(!exclude.contains(&provider(number)));
        let id = lease(number);
        if count > 1 {
            self.orders.push((order, count - 1, exclude));
        }
        self.live.insert(id, number);
        let rate = Rate::ZERO;
        let provider = provider(number);
        self.desk.on(Event::Granted { lease: id, order, provider, rate, waited_ms: None });
    }

    fn lose(&mut self) {
        let leases: Vec<LeaseId> = self.live.keys().copied().collect();
        let at = usize::try_from(self.draw.below((leases.len() as u64).max(1))).unwrap();
        let Some(lease) = leases.get(at).copied() else { return };
        if self.next_provider > 100 || self.draw.below(4) > 0 {
            self.preparing.push(lease);
            self.desk.on(Event::Interrupted { lease });
        } else {
            self.live.remove(&lease);
            self.desk.on(Event::Gone { lease, cause: Cause::Silent(String::new()) });
        }
    }

    /// Kills the conductor: only the log is left.
    fn restart(&mut self) {
        if self.draw.below(4) > 0 {
            return;
        }
        let mut schedule = Schedule::new(self.desk.schedule.rules.clone());
        for event in &self.desk.log {
            drop(schedule.on(event.clone()));
        }
        assert_eq!(schedule.done(), self.desk.schedule.done());
        assert_eq!(schedule.verified(), self.desk.schedule.verified());
        assert_eq!(schedule.counts(), self.desk.schedule.counts());
        self.desk.schedule = schedule;
        self.asked.clear();
        self.preparing.clear();
        self.disputes.clear();
        // The ledger has the orders; asking for them again brings nothing new.
        let orders = std::mem::take(&mut self.orders);
        self.desk.effects.clear();
        self.desk.on(Event::Started);
        let asked = self.desk.orders();
        let known: BTreeSet<u32> = orders.iter().map(|order| order.0).collect();
        self.orders = orders;
        self.orders.extend(asked.into_iter().filter(|order| !known.contains(&order.0)));
    }
}

#[test]
fn whatever_happens_in_whatever_order_verified_results_are_true_and_the_job_ends() {
    for seed in 0..400 {
        let kind = if seed % 2 == 0 { JobKind::Batch } else { JobKind::Chain };
        let all: Vec<u64> = (0..24).collect();
        let rules = Rules { retries: 1_000, ..rules(kind, 24, &all) };
        let mut storm = Storm {
            desk: Desk::open(rules),
            draw: Draw(seed),
            asked: Vec::new(),
            orders: Vec::new(),
            disputes: Vec::new(),
            preparing: Vec::new(),
            live: BTreeMap::new(),
            next_provider: 0,
        };
        storm.collect();
        for _ in 0..20_000 {
            storm.step();
            if storm.desk.outcome().is_some() {
                break;
            }
        }
        let schedule = &storm.desk.schedule;
        assert_eq!(storm.desk.outcome(), Some(&Outcome::Done), "seed {seed} {kind:?}");
        assert!(storm.desk.results_are_true(), "seed {seed}");
        assert_eq!((schedule.done(), schedule.verified()), (24, 24), "seed {seed}");
        let mut state = input(0);
        for (index, claim) in (0..24).zip(schedule.results()) {
            let expected = if kind == JobKind::Batch { input(index) } else { state };
            assert_eq!((claim.task.index, claim.task.input), (index, expected), "seed {seed}");
            state = claim.result.output;
        }
    }
}
