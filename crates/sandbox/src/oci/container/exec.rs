//! One more process in a running container, on pipes or on a terminal.

use super::{
    error::{ContainerError, Result},
    life::Exit,
    tools::{kill_process, read_json, watch},
};
use rustix::{
    fs::{OFlags, fcntl_getfl, fcntl_setfl},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
    termios::{Winsize, tcsetwinsize},
};
use std::{
    fs,
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf, unix::AsyncFd},
    net::UnixListener,
    process::{Child, ChildStderr, ChildStdin, ChildStdout},
};

/// A process to be added to a container.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ExecSpec {
    /// The program and its arguments.
    pub args: Vec<String>,
    /// Added to the container's environment; may hold secrets.
    pub env: Vec<(String, String)>,
    /// As [`ContainerSpec::user`](super::ContainerSpec::user); the container's if absent.
    pub user: Option<String>,
    /// The container's if absent.
    pub working_dir: Option<PathBuf>,
    /// A terminal of this size, columns and rows; pipes if absent.
    pub terminal: Option<(u16, u16)>,
}

impl std::fmt::Debug for ExecSpec {
    /// Without arguments and environment, which may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExecSpec")
            .field("user", &self.user)
            .field("working_dir", &self.working_dir)
            .field("terminal", &self.terminal)
            .finish_non_exhaustive()
    }
}

/// How to talk with the process.
#[derive(Debug)]
pub enum ExecIo {
    /// Without a terminal.
    Pipes {
        /// Closed when dropped.
        stdin: ChildStdin,
        /// Standard output.
        stdout: ChildStdout,
        /// Standard error.
        stderr: ChildStderr,
    },
    /// The terminal, both ways.
    Terminal(Terminal),
}

/// A process in a container. Dropped, it kills the process.
#[derive(Debug)]
pub struct Exec {
    pub(super) io: Option<ExecIo>,
    pub(super) shim: Child,
    /// Files of this process; goes when it ends.
    pub(super) dir: PathBuf,
    pub(super) done: bool,
}

impl Exec {
    /// Takes the ends to talk with the process. There are none the second time, and none to a
    /// terminal if the program could not be started.
    pub fn take_io(&mut self) -> Option<ExecIo> {
        self.io.take()
    }

    /// Waits for the end of the process. May be dropped and called again.
    ///
    /// # Errors
    /// [`ContainerError::Tool`] if nobody knows how it ended.
    pub async fn wait(&mut self) -> Result<Exit> {
        let status = self.shim.wait().await.map_err(ContainerError::io("wait for", &self.dir))?;
        let exit = read_json::<Exit>(&exit_file(&self.dir))?;
        self.done = true;
        exit.ok_or_else(|| ContainerError::Tool {
            program: "shim".into(),
            verb: "exec".into(),
            reason: format!("it left no exit status ({status})"),
        })
    }

    /// Kills the process; one that is not there yet, as soon as it is.
    pub fn kill(&self) {
        // First for the shim, which looks for this once the number is written: either it sees this,
        // or the number is there to be seen here.
        let _ = fs::write(kill_file(&self.dir), []);
        let pid = fs::read_to_string(pid_file(&self.dir)).ok();
        let pid = pid.and_then(|text| text.trim().parse().ok());
        // The shim buries the process only just before it ends itself: while it runs, the number
        // is not another's.
        if let (Some(pid), Some(_)) = (pid, self.shim.id()) {
            kill_process(pid);
        }
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        let _ = fs::write(gone_file(&self.dir), []);
        if !self.done {
            self.kill();
        }
        if !matches!(self.shim.try_wait(), Ok(None)) {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

pub(super) fn exit_file(dir: &Path) -> PathBuf {
    dir.join("exit.json")
}

pub(super) fn pid_file(dir: &Path) -> PathBuf {
    dir.join("pid")
}

/// It is there when the process is to be killed.
pub(super) fn kill_file(dir: &Path) -> PathBuf {
    dir.join("kill")
}

/// It is there when nobody asks any more, and the shim tidies up.
pub(super) fn gone_file(dir: &Path) -> PathBuf {
    dir.join("gone")
}

/// The master side of a terminal.
#[derive(Debug)]
pub struct Terminal {
    fd: AsyncFd<OwnedFd>,
}

impl Terminal {
    /// Takes the terminal that the runtime sends.
    pub(super) async fn receive(listener: &UnixListener) -> io::Result<Self> {
        let (stream, _) = listener.accept().await?;
        let fd = stream.async_io(Interest::READABLE, || Ok(receive_fd(&stream)?)).await?;
        let flags = fcntl_getfl(&fd)?;
        fcntl_setfl(&fd, flags | OFlags::NONBLOCK)?;
        Ok(Self { fd: watch(fd, Interest::READABLE | Interest::WRITABLE)? })
    }

    /// Sets its size; the process is told.
    ///
    /// # Errors
    /// If the terminal is gone.
    pub fn resize(&self, columns: u16, rows: u16) -> io::Result<()> {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        Ok(tcsetwinsize(self.fd.get_ref(), size)?)
    }
}

fn receive_fd(stream: &tokio::net::UnixStream) -> rustix::io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 256];
    recvmsg(stream, &mut [IoSliceMut::new(&mut name)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut given = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    given.next().ok_or(rustix::io::Errno::BADMSG)
}

impl AsyncRead for Terminal {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(cx))?;
            let room = buffer.initialize_unfilled();
            match guard.try_io(|fd| Ok(rustix::io::read(fd.get_ref(), &mut *room)?)) {
                Ok(Ok(count)) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                // Every process has let go of the terminal: its end of file.
                Ok(Err(error)) if error.raw_os_error() == Some(EIO) => return Poll::Ready(Ok(())),
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_) => {}
            }
        }
    }
}

const EIO: i32 = 5;

impl AsyncWrite for Terminal {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.fd.poll_write_ready(cx))?;
            if let Ok(done) = guard.try_io(|fd| Ok(rustix::io::write(fd.get_ref(), bytes)?)) {
                return Poll::Ready(done);
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
