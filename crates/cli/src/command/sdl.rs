//! `muster sdl`: files of services in containers.

use crate::{
    diagnostic::{self, Severity},
    error::{Exit, Failure},
    printer::Printer,
};
use clap::{Args, Subcommand};
use muster_spec::{
    Checked, Defect, MAX_YAML_BYTES,
    compose::{Guess, from_compose},
    sdl::{Deployment, Exchange, parse_sdl},
};
use muster_types::Amount;
use serde::Serialize;
use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

/// Check files of services in containers (Akash SDL 2.0 and 2.1), or make one of a
/// docker-compose file.
#[derive(Args)]
#[command(after_help = "Example:\n  muster sdl check deploy.yaml\n  \
    muster sdl from-compose docker-compose.yml > deploy.yaml")]
pub(crate) struct Sdl {
    #[command(subcommand)]
    command: SdlCommand,
}

#[derive(Subcommand)]
enum SdlCommand {
    /// Say all that is wrong with SDL files: line, column, field and fix.
    #[command(after_help = "Example:\n  muster sdl check deploy.yaml\n  \
        muster sdl check --uakt-usd 0.50 apps/*.yaml --json | jq '.files[] | select(.ok | not)'\n\n\
        Exit status: 0 all are accepted, perhaps with warnings · 2 one is refused")]
    Check(Check),
    /// Print the SDL that a docker-compose file asks for.
    #[command(after_help = "Example:\n  \
        muster sdl from-compose docker-compose.yml > deploy.yaml && muster sdl check deploy.yaml")]
    FromCompose(FromCompose),
}

#[derive(Args)]
struct Check {
    /// The SDL files; `-` reads standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    rates: Rates,
}

/// What tokens are worth.
#[derive(Args)]
pub(crate) struct Rates {
    /// What one AKT (a million uakt) is worth in usd: converts prices in uakt.
    #[arg(long, env = "MUSTER_UAKT_USD", value_name = "RATE")]
    uakt_usd: Option<Amount>,
    /// What one ACT (a million uact) is worth in usd [default: 1, its peg].
    #[arg(long, env = "MUSTER_UACT_USD", value_name = "RATE")]
    uact_usd: Option<Amount>,
}

impl Rates {
    pub(crate) fn exchange(&self) -> Exchange {
        Exchange { akt_usd: self.uakt_usd, act_usd: self.uact_usd, ..Exchange::default() }
    }
}

/// Reads a file of services; says all that is wrong with it, and what might be.
pub(crate) fn read_deployment(
    file: &Path,
    exchange: &Exchange,
    printer: &Printer,
) -> anyhow::Result<Deployment> {
    let (bytes, checked) = parse(file, exchange);
    let shown = show(&file.display().to_string(), &bytes, &checked);
    if !shown.is_empty() {
        printer.note(shown.trim_end());
    }
    checked.result.map_err(|_| {
        let message = format!("{} is refused", file.display());
        Failure::error(Exit::BadInput, message, "correct what is named above")
    })
}

fn parse(file: &Path, exchange: &Exchange) -> (Vec<u8>, Checked<Deployment>) {
    match read(file) {
        Ok(bytes) => {
            let checked = parse_sdl(&bytes, exchange);
            (bytes, checked)
        }
        Err(error) => (Vec::new(), Checked { result: Err(vec![error]), warnings: Vec::new() }),
    }
}

#[derive(Args)]
struct FromCompose {
    /// The docker-compose file; `-` reads standard input.
    file: PathBuf,
    /// The most that one replica of a service may cost, in usd an hour.
    #[arg(long, value_name = "USD", default_value = "0.05")]
    max_per_hour: Amount,
}

/// What `muster sdl check --json` prints.
#[derive(Serialize)]
struct Report {
    /// Whether every file is accepted.
    ok: bool,
    files: Vec<FileReport>,
}

#[derive(Serialize)]
struct FileReport {
    file: String,
    ok: bool,
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<Summary>,
    /// For people only.
    #[serde(skip)]
    shown: String,
}

#[derive(Serialize)]
struct Finding {
    line: usize,
    column: usize,
    field: String,
    message: String,
    fix: String,
}

/// What an accepted file asks for.
#[derive(Serialize)]
struct Summary {
    groups: usize,
    services: usize,
    leases: u64,
    /// What all leases may cost; null where a price's worth is not known.
    max_usd_per_hour: Option<Amount>,
}

/// What `muster sdl from-compose --json` prints.
#[derive(Serialize)]
struct Made {
    ok: bool,
    sdl: Option<String>,
    errors: Vec<Finding>,
    warnings: Vec<Finding>,
}

impl Sdl {
    pub(crate) fn run(self, printer: &Printer) -> anyhow::Result<()> {
        match self.command {
            SdlCommand::Check(command) => command.run(printer),
            SdlCommand::FromCompose(command) => command.run(printer),
        }
    }
}

impl Check {
    fn run(self, printer: &Printer) -> anyhow::Result<()> {
        let exchange = self.rates.exchange();
        let files: Vec<FileReport> = self.files.iter().map(|file| check(file, &exchange)).collect();
        let refused = files.iter().filter(|file| !file.ok).count();
        let report = Report { ok: refused == 0, files };
        printer.data(&report, |report| {
            report.files.iter().map(|file| file.shown.as_str()).collect::<Vec<_>>().join("\n")
        })?;
        if refused == 0 {
            return Ok(());
        }
        let message = format!("{refused} of {} files refused", report.files.len());
        Err(Failure::error(Exit::BadInput, message, "correct what is named above"))
    }
}

impl FromCompose {
    fn run(self, printer: &Printer) -> anyhow::Result<()> {
        let name = self.file.display().to_string();
        if self.max_per_hour.is_zero() {
            let hint = "muster sdl from-compose --max-per-hour 0.05 …";
            return Err(Failure::error(Exit::BadInput, "nothing can be had for zero", hint));
        }
        let guess = Guess { price_per_hour: self.max_per_hour, ..Guess::default() };
        let (bytes, checked) = match read(&self.file) {
            Ok(bytes) => {
                let checked = from_compose(&bytes, &guess);
                (bytes, checked)
            }
            Err(error) => (Vec::new(), Checked { result: Err(vec![error]), warnings: Vec::new() }),
        };
        let shown = show(&name, &bytes, &checked);
        let (sdl, errors) = match checked.result {
            Ok(sdl) => (Some(sdl), Vec::new()),
            Err(errors) => (None, errors),
        };
        let refused = sdl.is_none();
        if printer.is_json() {
            let (errors, warnings) = (findings(errors), findings(checked.warnings));
            printer.data(&Made { ok: !refused, sdl, errors, warnings }, |_| String::new())?;
        } else {
            if !shown.is_empty() {
                printer.note(shown.trim_end());
            }
            printer.raw(&sdl.unwrap_or_default())?;
        }
        if !refused {
            return Ok(());
        }
        let message = format!("{name}: no SDL can be made of it");
        Err(Failure::error(Exit::BadInput, message, "correct what is named above"))
    }
}

fn check(file: &Path, exchange: &Exchange) -> FileReport {
    let name = file.display().to_string();
    let (bytes, checked) = parse(file, exchange);
    let mut shown = show(&name, &bytes, &checked);
    let warnings = checked.warnings.len();
    let (summary, errors) = match checked.result {
        Ok(deployment) => (Some(Summary::of(&deployment, exchange)), Vec::new()),
        Err(errors) => (None, errors),
    };
    let also = |word: &str| match warnings {
        0 => String::new(),
        warnings => format!(" {word} {}", count(warnings, "warning")),
    };
    let verdict = match &summary {
        Some(summary) => format!("{name}: accepted{}: {}", also("with"), summary.words()),
        None => format!("{name}: refused: {}{}", count(errors.len(), "error"), also("and")),
    };
    shown.push_str(&diagnostic::wrap(&verdict, "", "  "));
    FileReport {
        file: name,
        ok: summary.is_some(),
        errors: findings(errors),
        warnings: findings(checked.warnings),
        summary,
        shown,
    }
}

/// A file's bytes, one more than a form may have at most; what is wrong with it otherwise.
fn read(file: &Path) -> Result<Vec<u8>, Defect> {
    let limit = MAX_YAML_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    let result = if file == Path::new("-") {
        std::io::stdin().lock().take(limit).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes))
    };
    result.map(|_| bytes).map_err(|error| Defect {
        line: 1,
        column: 1,
        field: String::new(),
        problem: format!("cannot be read: {error}"),
        fix: "name a file that you can read".to_owned(),
    })
}

/// Errors and warnings in the order of the text.
fn show<T>(name: &str, bytes: &[u8], checked: &Checked<T>) -> String {
    // What is too long was refused for that alone.
    let bytes = if bytes.len() > MAX_YAML_BYTES { &[] } else { bytes };
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(&text);
    let errors = checked.result.as_ref().err().into_iter().flatten();
    let errors = errors.map(|defect| (Severity::Error, defect));
    let warnings = checked.warnings.iter().map(|defect| (Severity::Warning, defect));
    let mut all: Vec<_> = errors.chain(warnings).collect();
    all.sort_by_key(|(_, defect)| (defect.line, defect.column));
    let shown = all.into_iter();
    shown
        .map(|(severity, defect)| diagnostic::render(name, text, severity, defect) + "\n")
        .collect()
}

fn findings(defects: Vec<Defect>) -> Vec<Finding> {
    let finding = |defect: Defect| Finding {
        line: defect.line,
        column: defect.column,
        field: defect.field,
        message: defect.problem,
        fix: defect.fix,
    };
    defects.into_iter().map(finding).collect()
}

fn count(number: usize, word: &str) -> String {
    format!("{number} {word}{}", if number == 1 { "" } else { "s" })
}

impl Summary {
    fn of(deployment: &Deployment, exchange: &Exchange) -> Self {
        let groups = &deployment.groups;
        let units = || groups.iter().flat_map(|group| &group.units);
        let cost = units().try_fold(Amount::ZERO, |sum, unit| {
            let each = exchange.rate(&unit.price)?.amount_per_hour();
            sum.checked_add(each.checked_mul(u64::from(unit.count))?)
        });
        Self {
            groups: groups.len(),
            services: groups.iter().map(|group| group.services.len()).sum(),
            leases: units().map(|unit| u64::from(unit.count)).sum(),
            max_usd_per_hour: cost,
        }
    }

    fn words(&self) -> String {
        let leases = usize::try_from(self.leases).unwrap_or(usize::MAX);
        let price = match self.max_usd_per_hour {
            Some(price) => format!("at most {price} usd/h"),
            None => "at a price in another token".to_owned(),
        };
        let (services, leases) = (count(self.services, "service"), count(leases, "lease"));
        format!("{services}, {leases}, {price}")
    }
}
