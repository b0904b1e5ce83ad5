//! Shows a job's progress to people, as it happens.

use crate::printer::Printer;
use indicatif::ProgressBar;
use muster_jobs::Progress;
use muster_types::AccountId;

/// Follows one job: a bar for its tasks, a line for everything worth one.
pub(crate) struct Follower<N> {
    printer: Printer,
    label: String,
    name: N,
    bar: Option<ProgressBar>,
}

impl<N: Fn(&AccountId) -> String> Follower<N> {
    /// A follower that calls providers by `name`.
    pub(crate) fn new(printer: &Printer, label: &str, name: N) -> Self {
        Self { printer: printer.clone(), label: label.to_owned(), name, bar: None }
    }

    /// Shows what happened.
    pub(crate) fn see(&mut self, progress: &Progress) {
        if let Progress::Opened { tasks, .. } = progress {
            self.bar = Some(self.printer.bar(&self.label, *tasks));
        }
        if let Some(bar) = &self.bar {
            match progress {
                Progress::TaskDone { done, .. } => bar.set_position(*done),
                Progress::Checkpoint { step, .. } => bar.set_position(*step),
                Progress::Closing => bar.set_message("settling"),
                Progress::Closed { .. } => bar.finish_and_clear(),
                _ => {}
            }
        }
        if let Some(line) = self.line(progress) {
            self.printer.note(format!("{:>9}  {line}", self.label));
        }
    }

    fn line(&self, progress: &Progress) -> Option<String> {
        let name = &self.name;
        Some(match progress {
            Progress::Quoted { explanation } => format!(
                "{} of {} hosts match, {} usd/h for {} leases",
                explanation.matched,
                explanation.hosts,
                explanation.price_per_hour,
                explanation.would_grant
            ),
            Progress::Escrowed { deposit, .. } => format!("{deposit} usd set aside"),
            Progress::Leased { provider, rate, waited_ms, .. } => {
                let wait =
                    waited_ms.map_or_else(String::new, |ms| format!(", {ms} ms after the order"));
                format!("leased {} at {rate} usd/h{wait}", name(provider))
            }
            Progress::Retried { index, message } => format!("task {index} again: {message}"),
            Progress::FailedOver { provider, tasks, reason } => {
                format!("lost {}: {reason}; {tasks} tasks move", name(provider))
            }
            Progress::Mismatch { index, providers: [first, second] } => format!(
                "task {index}: {} and {} differ; asking the validators",
                name(first),
                name(second)
            ),
            Progress::Judged { loser, discarded } => {
                format!("{} was wrong: {discarded} results thrown away", name(loser))
            }
            Progress::Closed { escrow } => {
                format!("paid {} usd, {} usd back", escrow.paid, escrow.refunded)
            }
            _ => return None,
        })
    }
}
