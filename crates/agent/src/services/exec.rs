//! A command in a container, talked with over a stream.

use crate::denial::chain;
use muster_api::service::{Input, Output, read_frame, write_frame};
use muster_fabric::Channel;
use muster_sandbox::oci::container::{ContainerError, Exec, ExecIo, Exit, ExitStatus, Terminal};
use std::{collections::VecDeque, future::poll_fn, io, pin::Pin, task::Poll, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    sync::mpsc::{self, Receiver, Sender},
    task::JoinSet,
    time::Instant,
};

const CHUNK_BYTES: usize = 16 << 10;
/// Frames on the way, each way.
const FRAMES: usize = 8;
/// Input that a terminal has not taken yet.
const PENDING_BYTES: usize = 64 << 10;
/// How long what others left on a command's outputs is waited for, once it has ended.
const LEFT_OVER: Duration = Duration::from_millis(500);
/// What a terminal takes for the end of input.
const END_OF_INPUT: u8 = 4;
const NOT_STARTED: i32 = 127;
const KILLED: i32 = 137;

/// Runs until the command has ended, or its caller is gone; then it is killed.
pub(super) async fn run(mut exec: Exec, channel: Channel) {
    let (mut recv, mut send) = tokio::io::split(channel);
    let (to_command, input) = mpsc::channel(FRAMES);
    let (output, mut from_command) = mpsc::channel(FRAMES);
    let io = exec.take_io();
    let mut tasks = JoinSet::new();
    match io {
        Some(ExecIo::Pipes { stdin, stdout, stderr }) => {
            tasks.spawn(copy_in(input, stdin));
            tasks.spawn(copy_out(stdout, output.clone(), Output::Stdout));
            tasks.spawn(copy_out(stderr, output.clone(), Output::Stderr));
        }
        Some(ExecIo::Terminal(terminal)) => {
            tasks.spawn(converse(terminal, input, output.clone()));
        }
        None => {}
    }
    drop(output);
    let frames = async {
        let mut ended = false;
        loop {
            match read_frame::<Input>(&mut recv).await {
                Ok(Some(frame)) => {
                    ended |= frame == Input::End;
                    // A command that reads no more does not end the stream.
                    let _ = to_command.send(frame).await;
                }
                Ok(None) if ended => return std::future::pending().await,
                // It was not said that the input ends: whoever sent it is gone.
                Ok(None) => return io::Error::from(io::ErrorKind::UnexpectedEof),
                Err(error) => return error,
            }
        }
    };
    let answer = async {
        let exit = speak(&mut exec, &mut from_command, &mut send).await?;
        let code = match exit.map(|exit| exit.status) {
            Ok(ExitStatus::Code(code)) => code,
            Ok(ExitStatus::Signal(signal)) => 128 + signal,
            Ok(ExitStatus::NotStarted(reason)) => {
                let text = format!("{reason}\n").into_bytes();
                write_frame(&mut send, &Output::Stderr(text)).await?;
                NOT_STARTED
            }
            Ok(ExitStatus::Lost) => KILLED,
            Err(error) => {
                tracing::warn!(error = chain(&error), "a command's end is not known");
                KILLED
            }
        };
        write_frame(&mut send, &Output::Exit(code)).await?;
        send.shutdown().await
    };
    tokio::select! {
        ended = answer => if let Err(error) = ended {
            tracing::debug!(%error, "a command's stream broke off");
        },
        error = frames => tracing::debug!(%error, "a command's caller is gone"),
    }
}

/// Passes on what a command says until it has ended, and what is left of it then.
async fn speak(
    exec: &mut Exec,
    from: &mut Receiver<Output>,
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<Result<Exit, ContainerError>> {
    let (mut exit, mut open) = (None, true);
    let mut until = None;
    loop {
        let left = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        // What is written is written whole: no arm awaits beside another.
        tokio::select! {
            frame = from.recv(), if open => match frame {
                Some(frame) => write_frame(to, &frame).await?,
                None => open = false,
            },
            ended = exec.wait(), if exit.is_none() => {
                exit = Some(ended);
                until = Some(Instant::now() + LEFT_OVER);
            }
            () = left => open = false,
        }
        match exit {
            Some(exit) if !open => return Ok(exit),
            _ => {}
        }
    }
}

async fn copy_in(mut input: Receiver<Input>, mut stdin: impl AsyncWrite + Unpin) {
    while let Some(frame) = input.recv().await {
        match frame {
            Input::Bytes(bytes) => {
                if stdin.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Input::End => return,
            Input::Resize { .. } => {}
        }
    }
}

async fn copy_out(
    mut from: impl AsyncRead + Unpin,
    to: Sender<Output>,
    frame: fn(Vec<u8>) -> Output,
) {
    let mut buffer = vec![0; CHUNK_BYTES];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if to.send(frame(buffer[..count].to_vec())).await.is_err() {
            return;
        }
    }
}

/// What a terminal did.
enum Did {
    Said(usize),
    Took(usize),
}

/// Both ways at once: a terminal that is not read takes no input, and the other way round.
async fn converse(mut terminal: Terminal, mut input: Receiver<Input>, to: Sender<Output>) {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut pending: VecDeque<u8> = VecDeque::new();
    let mut open = true;
    loop {
        let both = poll_fn(|cx| {
            let mut room = ReadBuf::new(&mut buffer);
            if let Poll::Ready(read) = Pin::new(&mut terminal).poll_read(cx, &mut room) {
                return Poll::Ready(read.map(|()| Did::Said(room.filled().len())));
            }
            let (front, _) = pending.as_slices();
            if front.is_empty() {
                return Poll::Pending;
            }
            Pin::new(&mut terminal).poll_write(cx, front).map_ok(Did::Took)
        });
        let did = tokio::select! {
            did = both => Some(did),
            frame = input.recv(), if open && pending.len() < PENDING_BYTES => {
                match frame {
                    Some(Input::Bytes(bytes)) => pending.extend(bytes),
                    Some(Input::End) => pending.push_back(END_OF_INPUT),
                    Some(Input::Resize { columns, rows }) => {
                        let _ = terminal.resize(columns, rows);
                    }
                    None => open = false,
                }
                None
            }
        };
        match did {
            None => {}
            Some(Ok(Did::Said(0)) | Err(_)) => return,
            Some(Ok(Did::Said(count))) => {
                let frame = Output::Stdout(buffer[..count].to_vec());
                let Ok(()) = to.send(frame).await else { return };
            }
            Some(Ok(Did::Took(count))) => drop(pending.drain(..count)),
        }
    }
}
