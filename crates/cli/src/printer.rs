//! The one place that prints: data to stdout, words for people to stderr.

use crate::error::classify;
use comfy_table::{ContentArrangement, Table, TableStyle};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde::Serialize;
use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

/// Where a command's output goes. With `--json` stdout carries JSON and nothing else.
#[derive(Clone)]
pub(crate) struct Printer {
    json: bool,
    bars: MultiProgress,
}

impl Printer {
    /// A printer; `json` as on the command line.
    pub(crate) fn new(json: bool) -> Self {
        Self { json, bars: MultiProgress::new() }
    }

    /// Whether the user asked for JSON.
    pub(crate) const fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a result: as one JSON document, or as `people` renders it.
    pub(crate) fn data<T: Serialize>(
        &self,
        value: &T,
        people: impl FnOnce(&T) -> String,
    ) -> anyhow::Result<()> {
        let text = if self.json { serde_json::to_string_pretty(value)? } else { people(value) };
        let mut out = std::io::stdout().lock();
        match writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush()) {
            // The reader has what it wants (`muster ps | head`).
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            result => Ok(result?),
        }
    }

    /// Prints text as it is, e.g. a completion script.
    pub(crate) fn raw(&self, text: &str) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    /// Says something to people. Never data.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        let text = text.as_ref();
        self.bars.suspend(|| {
            // A closed stderr is nobody to talk to.
            let _ = writeln!(std::io::stderr().lock(), "{text}");
        });
    }

    /// A progress bar on stderr; invisible where stderr is no terminal.
    pub(crate) fn bar(&self, label: &str, length: u64) -> ProgressBar {
        let bar = self.bars.add(ProgressBar::new(length));
        let style =
            ProgressStyle::with_template("{prefix:>9} [{bar:32}] {pos:>4}/{len} {wide_msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar())
                .progress_chars("=> ");
        bar.set_style(style);
        bar.set_prefix(label.to_owned());
        bar
    }

    /// Prints an error with its causes and what to type next; returns the exit status.
    pub(crate) fn fail(&self, error: &anyhow::Error) -> ExitCode {
        let (exit, hint) = classify(error);
        let mut text = format!("error: {error}");
        let mut last = error.to_string();
        for cause in error.chain().skip(1) {
            let cause = cause.to_string();
            // Wrappers that only pass a message on would print it twice.
            if !last.contains(&cause) {
                text.push_str(&format!("\n  caused by: {cause}"));
            }
            last = cause;
        }
        if let Some(hint) = hint {
            text.push_str(&format!("\nnext: {hint}"));
        }
        self.note(text);
        ExitCode::from(exit as u8)
    }
}

/// A table for people, fitted to the terminal or to 80 columns where there is none.
pub(crate) fn table<const N: usize>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(TableStyle::new())
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(head);
    if !std::io::stdout().is_terminal() {
        table.set_width(80);
    }
    for row in rows {
        table.add_row(row);
    }
    // Columns are padded on both sides; lines neither begin nor end with that.
    let lines = table.to_string();
    lines.lines().map(|line| format!("{}\n", line.trim_end().trim_start_matches(' '))).collect()
}

/// Label and value pairs, aligned.
pub(crate) fn facts<'a>(rows: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let rows: Vec<_> = rows.into_iter().collect();
    let width = rows.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
    rows.iter().map(|(label, value)| format!("{label:<width$}  {value}\n")).collect()
}
