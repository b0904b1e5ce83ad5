//! `muster exec`: a command in a running container.

use super::{
    Global,
    deployment::{Reach, Target, explain},
};
use crate::{
    error::{Exit, Failure, Status},
    printer::Printer,
};
use clap::Args;
use muster_api::service::{Input, Open, Output, read_frame, write_frame};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use std::io::{IsTerminal as _, Read as _, Write as _, stdin, stdout};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// Standard input is sent in pieces of at most so many bytes.
const CHUNK_BYTES: usize = 32 << 10;
/// Where ours must be told from the command's own statuses: as `docker exec` and `ssh` do.
const SIGNAL_BASE: i32 = 128;

/// Run a command in a running container; its exit status is the command's.
///
/// Where standard input and output are terminals, the command has one, too.
#[derive(Args)]
#[command(after_help = "Example:\n  muster exec app/web -- sh\n  \
    muster exec app/web/1 -- cat /etc/os-release")]
pub(crate) struct Exec {
    /// Which deployment, service of it, or replica.
    #[arg(value_name = "NAME[/SERVICE[/N]]")]
    target: Target,
    /// The program and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    args: Vec<String>,
    #[command(flatten)]
    reach: Reach,
}

impl Exec {
    pub(crate) async fn run(self, global: &Global, printer: &Printer) -> anyhow::Result<()> {
        if printer.is_json() {
            let message = "what a command prints is its own: --json has no meaning here";
            return Err(Failure::error(Exit::BadInput, message, "muster exec NAME -- COMMAND"));
        }
        let services = self.target.name.open(global, &self.reach).await?;
        let replica = self.target.replica(&services).await?;
        let terminal = (stdin().is_terminal() && stdout().is_terminal()).then(size).flatten();
        let open = Open::Exec {
            lease: replica.lease,
            service: replica.service.clone(),
            args: self.args,
            terminal,
        };
        let opened = services.stream(&replica, &open).await;
        let channel = opened.map_err(|error| explain(error, &self.target.name))?;
        let (mut from, to) = tokio::io::split(channel);
        let _raw = terminal.is_some().then(Raw::enter).transpose()?;
        let send = tokio::spawn(send(to, terminal.is_some()));
        let status = receive(&mut from).await;
        send.abort();
        match status? {
            Some(0) => Ok(()),
            Some(status) => Err(Status::error(status)),
            None => {
                let message = "the provider broke off before the command ended";
                Err(Failure::error(Exit::Failed, message, "muster ps   # is it running?"))
            }
        }
    }
}

/// Prints what the command gives, until it ends; its status.
async fn receive(from: &mut (impl tokio::io::AsyncRead + Unpin)) -> anyhow::Result<Option<u8>> {
    while let Some(output) = read_frame::<Output>(from).await? {
        match output {
            Output::Stdout(bytes) => {
                let mut out = stdout().lock();
                out.write_all(&bytes).and_then(|()| out.flush())?;
            }
            Output::Stderr(bytes) => {
                let mut err = std::io::stderr().lock();
                err.write_all(&bytes).and_then(|()| err.flush())?;
            }
            Output::Exit(status) => {
                let failed = u8::try_from(SIGNAL_BASE).unwrap_or(u8::MAX);
                return Ok(Some(u8::try_from(status).unwrap_or(failed)));
            }
        }
    }
    Ok(None)
}

/// Sends standard input and, with a terminal, its size.
async fn send(mut to: impl AsyncWrite + Unpin, terminal: bool) -> anyhow::Result<()> {
    let (sender, mut input) = mpsc::channel(4);
    // A thread of its own, which ends with the process: one of the runtime's would be waited for.
    std::thread::spawn(move || {
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let read = stdin().lock().read(&mut buffer).unwrap_or(0);
            if read == 0 || sender.blocking_send(buffer[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    let mut resized = signal(SignalKind::window_change())?;
    let mut open = true;
    loop {
        let frame = tokio::select! {
            bytes = input.recv(), if open => match bytes {
                Some(bytes) => Input::Bytes(bytes),
                None => {
                    open = false;
                    Input::End
                }
            },
            _ = resized.recv() => match size().filter(|_| terminal) {
                Some((columns, rows)) => Input::Resize { columns, rows },
                None => continue,
            },
        };
        write_frame(&mut to, &frame).await?;
        to.flush().await?;
    }
}

/// The terminal's columns and rows.
fn size() -> Option<(u16, u16)> {
    let size = tcgetwinsize(stdout()).ok()?;
    Some((size.ws_col, size.ws_row))
}

/// The terminal gives every key as it is pressed, until this is dropped.
struct Raw(Termios);

impl Raw {
    fn enter() -> anyhow::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // The terminal is gone: there is nothing to set right.
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.0);
    }
}
