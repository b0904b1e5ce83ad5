//! A delay, simulated: a listener on loopback that passes every byte on, in both directions, when
//! it has had it for so long.

use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    sync::mpsc,
    task::JoinSet,
    time::Instant,
};
use tokio_util::task::AbortOnDropHandle;

/// The most bytes that are read at a time, and how many such pieces are on their way at most.
const PIECE: usize = 64 * 1024;
const PIECES: usize = 4_096;

/// Ends when dropped.
pub(super) struct Relay {
    /// Where to reach what it stands before.
    pub(super) address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl Relay {
    /// Stands before `target`.
    pub(super) async fn start(target: SocketAddr, delay: Duration) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(async move {
                    // An end that is gone is seen by the other one.
                    let _ = connect(near, target, delay).await;
                });
            }
        });
        Ok(Self { address, _task: AbortOnDropHandle::new(task) })
    }
}

async fn connect(near: TcpStream, target: SocketAddr, delay: Duration) -> io::Result<()> {
    let far = TcpStream::connect(target).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::select! {
        passed = pass(near_read, far_write, delay) => passed,
        passed = pass(far_read, near_write, delay) => passed,
    }
}

/// Passes on what comes, until there is no more.
async fn pass(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    delay: Duration,
) -> io::Result<()> {
    let (sender, mut pieces) = mpsc::channel::<(Instant, Vec<u8>)>(PIECES);
    let read = async move {
        let mut buffer = vec![0; PIECE];
        loop {
            let length = from.read(&mut buffer).await?;
            let due = Instant::now() + delay;
            if length == 0 || sender.send((due, buffer[..length].to_vec())).await.is_err() {
                return Ok(());
            }
        }
    };
    let write = async move {
        while let Some((due, piece)) = pieces.recv().await {
            tokio::time::sleep_until(due).await;
            to.write_all(&piece).await?;
        }
        to.shutdown().await
    };
    tokio::try_join!(read, write).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_goes_through_arrives_whole_and_late_in_both_directions() {
        let echo = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let target = echo.local_addr().unwrap();
        tokio::spawn(async move {
            let (stream, _) = echo.accept().await.unwrap();
            let (mut read, mut write) = stream.into_split();
            tokio::io::copy(&mut read, &mut write).await.unwrap();
        });
        let delay = Duration::from_millis(30);
        let relay = Relay::start(target, delay).await.unwrap();
        let mut stream = TcpStream::connect(relay.address).await.unwrap();
        let sent: Vec<u8> = (0..200_000u32).map(|n| n.to_le_bytes()[0]).collect();
        let begin = Instant::now();
        let (mut read, mut write) = stream.split();
        let mut back = vec![0; sent.len()];
        let both = tokio::join!(write.write_all(&sent), read.read_exact(&mut back));
        both.0.unwrap();
        both.1.unwrap();
        assert!(begin.elapsed() >= delay * 2, "it cannot be earlier than there and back");
        assert!(back == sent);
    }
}
