use super::*;
use muster_types::JobId;
use proptest::{prelude::*, test_runner::RngSeed};

fn chain() -> Chain {
    let hash = Hash::of_content;
    Chain { job: JobId(hash(b"job")), module: hash(b"module"), data: hash(b"data") }
}

/// The states of a run, made when they are asked for: right ones before `wrong`, others from there
/// on.
#[derive(Clone, Copy)]
struct Run {
    steps: u64,
    wrong: u64,
}

impl Run {
    /// A run whose step `step` is the first that went wrong.
    fn wrong_at(steps: u64, step: u64) -> Self {
        Self { steps, wrong: step + 1 }
    }

    fn honest(place: u64) -> Hash {
        Hash::of("test state", &[&place.to_le_bytes()])
    }

    fn state(&self, place: u64) -> Hash {
        if place < self.wrong {
            return Self::honest(place);
        }
        Hash::of("test wrong state", &[&place.to_le_bytes()])
    }

    fn leaf(&self, place: u64) -> Hash {
        chain().leaf(place, &self.state(place))
    }
}

/// The tree over a run's states. Kept are the tops of its subtrees of 2^10 leaves; what is below
/// them is made again for each proof.
struct Tree {
    run: Run,
    /// The levels from those tops up.
    upper: Vec<Vec<Hash>>,
    root: Hash,
}

const CUT: u64 = 10;

fn join(pair: &[Hash]) -> Hash {
    match pair {
        [left, right] => Hash::of("muster merkle node v1", &[left.as_bytes(), right.as_bytes()]),
        rest => rest[0],
    }
}

fn levels(leaves: Vec<Hash>) -> Vec<Vec<Hash>> {
    let mut levels = vec![leaves];
    while levels.last().unwrap().len() > 1 {
        levels.push(levels.last().unwrap().chunks(2).map(join).collect());
    }
    levels
}

impl Tree {
    fn new(run: Run) -> Self {
        let tops = (0..=run.steps >> CUT).map(|part| Self::lower(&run, part).pop().unwrap()[0]);
        let upper = levels(tops.collect());
        let count = run.steps + 1;
        let top = upper.last().unwrap()[0];
        let root = Hash::of("muster merkle root v1", &[&count.to_le_bytes(), top.as_bytes()]);
        Self { run, upper, root }
    }

    fn lower(run: &Run, part: u64) -> Vec<Vec<Hash>> {
        let places = part << CUT..((part + 1) << CUT).min(run.steps + 1);
        levels(places.map(|place| run.leaf(place)).collect())
    }

    fn open(&self, place: u64) -> Opening {
        let mut proof = Vec::new();
        let lower = Self::lower(&self.run, place >> CUT);
        let mut at = usize::try_from(place % (1 << CUT)).unwrap();
        for level in &lower {
            proof.extend(level.get(at ^ 1).filter(|_| level.len() > 1));
            at >>= 1;
        }
        let mut at = usize::try_from(place >> CUT).unwrap();
        for level in &self.upper {
            proof.extend(level.get(at ^ 1).filter(|_| level.len() > 1));
            at >>= 1;
        }
        Opening { state: self.run.state(place), proof }
    }

    /// The provider's move.
    fn reveal(&self, game: &mut Game) -> Result<(), BadMove> {
        let openings: Vec<Opening> =
            game.asked().into_iter().map(|place| self.open(place)).collect();
        game.reveal(&chain(), &self.root, self.run.steps + 1, &openings)
    }
}

fn game(arity: u32, run: &Run) -> Game {
    Game::new(arity, run.steps, Run::honest(0), None).unwrap()
}

/// An honest challenger against a run with a wrong step.
fn play(arity: u32, tree: &Tree) -> Game {
    let mut game = game(arity, &tree.run);
    loop {
        match game.turn() {
            Turn::Provider => tree.reveal(&mut game).unwrap(),
            Turn::Challenger => {
                let part = game.first_wrong(Run::honest).unwrap();
                game.pick(part).unwrap();
            }
            Turn::Step => return game,
        }
    }
}

#[test]
fn the_tests_tree_is_the_one_that_everybody_uses() {
    for steps in [0, 1, 2, 6, 1_022, 1_023, 1_024, 3_000] {
        let run = Run::wrong_at(steps, steps / 2);
        let tree = Tree::new(run);
        let leaves: Vec<Hash> = (0..=steps).map(|place| run.leaf(place)).collect();
        assert_eq!(tree.root, merkle::root(&leaves), "{steps}");
        for place in [0, steps / 3, steps] {
            let proof = merkle::proof(&leaves, usize::try_from(place).unwrap());
            assert_eq!(tree.open(place).proof, proof, "{place} of {steps}");
        }
    }
}

#[test]
fn the_bound_of_rounds_is_the_logarithm_rounded_up() {
    let table = [
        (1, 2, 0),
        (2, 2, 1),
        (3, 2, 2),
        (1_024, 2, 10),
        (1_025, 2, 11),
        (1_024, 16, 3),
        (256, 16, 2),
        (257, 16, 3),
        (1 << 20, 16, 5),
        (u64::MAX, 2, 64),
        (7, 0, 3),
    ];
    for (steps, arity, rounds) in table {
        assert_eq!(rounds_max(steps, arity), rounds, "{steps} by {arity}");
    }
}

#[test]
fn every_wrong_step_of_every_short_chain_is_found_at_every_arity() {
    for steps in 1..=40 {
        for step in 0..steps {
            let tree = Tree::new(Run::wrong_at(steps, step));
            for arity in [2, 3, 5, 16] {
                let game = play(arity, &tree);
                let found = Step {
                    index: step,
                    before: Run::honest(step),
                    after: tree.run.state(step + 1),
                };
                assert_eq!(game.step(), Some(found), "{step} of {steps} by {arity}");
                assert!(game.rounds() <= rounds_max(steps, arity));
            }
        }
    }
}

#[test]
fn a_long_chain_is_played_to_its_wrong_step() {
    let steps = 1 << 20;
    for step in [0, 777_777, steps - 1] {
        let tree = Tree::new(Run::wrong_at(steps, step));
        for (arity, rounds) in [(2, 20), (16, 5)] {
            let game = play(arity, &tree);
            assert_eq!(game.step().map(|step| step.index), Some(step));
            assert_eq!(game.rounds(), rounds);
        }
    }
}

#[test]
fn there_is_no_game_without_steps_or_beyond_the_arity() {
    for (arity, steps, is_game) in [(2, 0, false), (1, 5, false), (17, 5, false), (16, 1, true)] {
        assert_eq!(Game::new(arity, steps, Hash::ZERO, None).is_some(), is_game);
    }
}

#[test]
fn what_is_known_need_not_be_opened() {
    let run = Run::wrong_at(1, 0);
    let known = Game::new(2, 1, Run::honest(0), Some(run.state(1))).unwrap();
    assert_eq!((known.turn(), known.asked()), (Turn::Step, vec![]));
    let mut unknown = game(2, &run);
    assert_eq!((unknown.turn(), unknown.asked(), unknown.step()), (Turn::Provider, vec![1], None));
    Tree::new(run).reveal(&mut unknown).unwrap();
    assert_eq!(unknown, known);
}

#[test]
fn moves_against_the_rules_are_refused_and_change_nothing() {
    let tree = Tree::new(Run::wrong_at(100, 33));
    let root = &tree.root;
    let mut game = game(4, &tree.run);
    let good: Vec<Opening> = [25, 50, 75, 100].map(|place| tree.open(place)).into();
    let bent = |change: &dyn Fn(&mut Vec<Opening>)| {
        let mut openings = good.clone();
        change(&mut openings);
        openings
    };
    let wrong_moves = [
        bent(&|openings| openings.clear()),
        bent(&|openings| _ = openings.pop()),
        bent(&|openings| openings.push(tree.open(100))),
        bent(&|openings| openings.swap(0, 1)),
        bent(&|openings| openings[0].state = Hash::ZERO),
        bent(&|openings| openings[3].state = Run::honest(100)),
        bent(&|openings| openings[1].proof[0] = Hash::ZERO),
        bent(&|openings| _ = openings[2].proof.pop()),
        bent(&|openings| openings[2].proof.push(Hash::ZERO)),
        bent(&|openings| openings[0] = tree.open(26)),
    ];
    let before = game.clone();
    assert_eq!(game.pick(0), Err(BadMove::OutOfTurn));
    for openings in wrong_moves {
        let refused = game.reveal(&chain(), root, 101, &openings);
        assert_eq!(refused, Err(BadMove::Openings), "{openings:?}");
    }
    let other = Chain { module: Hash::ZERO, ..chain() };
    assert_eq!(game.reveal(&other, root, 101, &good), Err(BadMove::Openings));
    assert_eq!(game.reveal(&chain(), root, 102, &good), Err(BadMove::Openings));
    assert_eq!((&game, game.first_wrong(Run::honest)), (&before, None));

    game.reveal(&chain(), root, 101, &good).unwrap();
    let before = game.clone();
    assert_eq!(game.reveal(&chain(), root, 101, &good), Err(BadMove::OutOfTurn));
    for part in [4, 5, u32::MAX] {
        assert_eq!(game.pick(part), Err(BadMove::Segment));
    }
    assert_eq!(game, before);
    assert_eq!(game.first_wrong(Run::honest), Some(1));
    game.pick(1).unwrap();
    assert_eq!((game.segment(), game.rounds()), ((25, 50), 1));
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        rng_seed: RngSeed::Fixed(1),
        ..ProptestConfig::default()
    })]

    /// Lengths of all magnitudes up to 2^20.
    #[test]
    fn any_wrong_step_of_any_chain_is_found_within_the_bound(
        magnitude in 0u32..=20, length in any::<u64>(), step in any::<u64>(), arity in 2u32..=16,
    ) {
        let steps = 1 + length % (1 << magnitude);
        let tree = Tree::new(Run::wrong_at(steps, step % steps));
        let game = play(arity, &tree);
        prop_assert_eq!(game.step().map(|found| found.index), Some(step % steps));
        prop_assert!(game.rounds() <= rounds_max(steps, arity));
        prop_assert!(game.rounds() >= u32::from(steps > 1));
    }

    /// Whatever both do, the game ends in time at a step of the provider's own states. Where the
    /// challenger keeps to the truth that step is wrong; where the provider did, it is right.
    #[test]
    fn a_game_of_misbehaving_players_ends_at_a_step_within_the_bound(
        steps in 1u64..5_000, step in any::<u64>(), arity in 2u32..=16, honest_run in any::<bool>(),
        moves in prop::collection::vec((any::<u32>(), 0u8..4), 64),
    ) {
        let step = if honest_run { steps } else { step % steps };
        let tree = Tree::new(Run::wrong_at(steps, step));
        let mut game = game(arity, &tree.run);
        let mut honest_challenger = true;
        let mut moves = moves.into_iter().cycle();
        while game.turn() != Turn::Step {
            let (random, kind) = moves.next().unwrap();
            let before = game.clone();
            match (game.turn(), kind) {
                (Turn::Provider, 0) => {
                    let mut openings: Vec<Opening> =
                        game.asked().into_iter().map(|place| tree.open(place)).collect();
                    let at = random as usize % openings.len();
                    openings[at].state = Run::honest(steps + 1 + u64::from(random));
                    let done = game.reveal(&chain(), &tree.root, steps + 1, &openings);
                    prop_assert_eq!(done, Err(BadMove::Openings));
                    prop_assert_eq!(&game, &before);
                }
                (Turn::Provider, 1) => prop_assert_eq!(game.pick(random), Err(BadMove::OutOfTurn)),
                (Turn::Provider, _) => tree.reveal(&mut game).unwrap(),
                (_, 0) => prop_assert_eq!(tree.reveal(&mut game), Err(BadMove::OutOfTurn)),
                (_, 1) => {
                    prop_assert_eq!(game.pick(arity.max(random)), Err(BadMove::Segment));
                    prop_assert_eq!(&game, &before);
                }
                (_, 2) => {
                    let part = random % arity;
                    honest_challenger &= game.first_wrong(Run::honest) == Some(part);
                    let _ = game.pick(part);
                }
                (_, _) => {
                    let part = game.first_wrong(Run::honest);
                    honest_challenger &= part.is_some();
                    game.pick(part.unwrap_or(0)).unwrap();
                }
            }
        }
        let found = game.step().unwrap();
        prop_assert!(game.rounds() <= rounds_max(steps, arity));
        prop_assert_eq!(found.before, tree.run.state(found.index));
        prop_assert_eq!(found.after, tree.run.state(found.index + 1));
        if honest_challenger && !honest_run {
            prop_assert_eq!(found.index, step);
        }
        if honest_run {
            prop_assert_eq!(found.after, Run::honest(found.index + 1));
        }
    }
}
