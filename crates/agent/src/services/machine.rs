//! The life of a lease's services here, as pure state. What is written down is the stage; what is
//! done in it may be done again after a restart. Running turns to updating when the tenant delivers
//! another manifest. An update that fails is given up: what is there by then is served, and its
//! tenant may deliver what ran before; where it does neither in time, the lease is declined.
//!
//! | stage | it does | done | failed, or out of time | the lease ends |
//! |---|---|---|---|---|
//! | pulling | fetch images | starting | failed | closing |
//! | starting | make volumes and containers | probing | failed | closing |
//! | probing | wait for ports, tell the ledger | running | failed | closing |
//! | running | serve, restart what ends | closing | closing | closing |
//! | updating | fetch the new image, then make the container anew, wait for its ports, tell the ledger | running | running | closing |
//! | failed | decline, remove everything | failed, at rest | again | failed |
//! | closing | stop, remove everything | closed, at rest | again | closing |
//! | closed | nothing | | | |

use borsh::{BorshDeserialize, BorshSerialize};
use muster_api::service::Step;

/// Where a lease's services stand.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Stage {
    Pulling,
    Starting,
    Probing,
    Running,
    Updating,
    Failed { step: String, reason: String },
    Closing,
    Closed,
}

/// What ends a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// What it does is done.
    Done,
    /// It cannot be done.
    Broken(String),
    /// It was not done in time.
    Expired,
    /// Another manifest was delivered.
    Update,
    /// The lease is over.
    Over,
}

impl Stage {
    /// The stage after this one.
    pub(crate) fn next(&self, event: Event) -> Self {
        match (self, event) {
            (Self::Closed, _) => Self::Closed,
            (Self::Failed { .. }, _) => self.clone(),
            (Self::Closing, Event::Done) => Self::Closed,
            (Self::Closing, _) => Self::Closing,
            (_, Event::Over) => Self::Closing,
            (Self::Running, Event::Update) => Self::Updating,
            (Self::Running, _) => Self::Closing,
            (Self::Updating, _) => Self::Running,
            (_, Event::Update) => self.clone(),
            (Self::Pulling, Event::Done) => Self::Starting,
            (Self::Starting, Event::Done) => Self::Probing,
            (Self::Probing, Event::Done) => Self::Running,
            (_, Event::Broken(reason)) => Self::Failed { step: self.name().to_owned(), reason },
            (_, Event::Expired) => {
                let reason = "it took longer than the ledger gives a lease to get ready: use a \
                              smaller image, or one that is ready sooner";
                Self::Failed { step: self.name().to_owned(), reason: reason.to_owned() }
            }
        }
    }

    /// Whether everything of it is to go, or has gone.
    pub(crate) const fn ends(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Closing | Self::Closed)
    }

    /// Whether it must be done in the time that the ledger gives.
    pub(crate) const fn comes_up(&self) -> bool {
        matches!(self, Self::Pulling | Self::Starting | Self::Probing)
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Pulling => "pulling",
            Self::Starting => "starting",
            Self::Probing => "probing",
            Self::Running => "running",
            Self::Updating => "updating",
            Self::Failed { .. } => "failed",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }

    /// As tenants see it; `pulling` is what is known of images on the way.
    pub(crate) fn step(&self, pulling: Pulling) -> Step {
        match self {
            Self::Pulling => {
                let Pulling { image, done_bytes, total_bytes } = pulling;
                Step::Pulling { image, done_bytes, total_bytes }
            }
            Self::Starting => Step::Starting,
            Self::Probing => Step::Probing,
            Self::Running => Step::Running,
            Self::Updating => Step::Updating,
            Self::Failed { step, reason } => {
                Step::Failed { step: step.clone(), reason: reason.clone() }
            }
            Self::Closing | Self::Closed => Step::Closed,
        }
    }
}

/// An image on its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pulling {
    pub(crate) image: String,
    pub(crate) done_bytes: u64,
    pub(crate) total_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_goes_on_fails_by_its_own_name_or_closes() {
        use Stage::{Closed, Closing, Probing, Pulling, Running, Starting, Updating};
        let failed = || Stage::Failed { step: "pulling".into(), reason: "why".into() };
        // After: done, broken, expired, over, update. A name stands for a failure in that step.
        let table: [(Stage, [Result<Stage, &str>; 5]); 8] = [
            (Pulling, [Ok(Starting), Err("pulling"), Err("pulling"), Ok(Closing), Ok(Pulling)]),
            (Starting, [Ok(Probing), Err("starting"), Err("starting"), Ok(Closing), Ok(Starting)]),
            (Probing, [Ok(Running), Err("probing"), Err("probing"), Ok(Closing), Ok(Probing)]),
            (Running, [Ok(Closing), Ok(Closing), Ok(Closing), Ok(Closing), Ok(Updating)]),
            (Updating, [Ok(Running), Ok(Running), Ok(Running), Ok(Closing), Ok(Running)]),
            (failed(), [(); 5].map(|()| Ok(failed()))),
            (Closing, [Ok(Closed), Ok(Closing), Ok(Closing), Ok(Closing), Ok(Closing)]),
            (Closed, [(); 5].map(|()| Ok(Closed))),
        ];
        for (stage, after) in table {
            let broken = Event::Broken("why".into());
            let events = [Event::Done, broken, Event::Expired, Event::Over, Event::Update];
            for (event, expected) in events.into_iter().zip(after) {
                let next = stage.next(event.clone());
                match expected {
                    Ok(expected) => assert_eq!(next, expected, "{stage:?}, {event:?}"),
                    Err(name) => {
                        let Stage::Failed { step, reason } = next else { panic!("{next:?}") };
                        assert_eq!(step, name, "{event:?}");
                        assert_eq!(event == Event::Expired, reason != "why");
                    }
                }
            }
        }
    }

    #[test]
    fn what_comes_up_has_a_time_limit_and_what_ends_is_removed() {
        let failed = Stage::Failed { step: String::new(), reason: String::new() };
        for (stage, comes_up, ends) in [
            (Stage::Pulling, true, false),
            (Stage::Starting, true, false),
            (Stage::Probing, true, false),
            (Stage::Running, false, false),
            (Stage::Updating, false, false),
            (failed, false, true),
            (Stage::Closing, false, true),
            (Stage::Closed, false, true),
        ] {
            assert_eq!((stage.comes_up(), stage.ends()), (comes_up, ends), "{stage:?}");
        }
    }
}
