//! Frames of a stream: a length (u32, big-endian) and as many bytes of borsh.

use super::MAX_FRAME_BYTES;
use borsh::{BorshDeserialize, BorshSerialize};
use muster_types::codec;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Reads a stream's next frame; `None` at its end.
///
/// # Errors
/// The stream broke, within a frame or between two; a frame is too long or does not decode.
pub async fn read_frame<T: BorshDeserialize>(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<T>> {
    let mut head = [0; 4];
    let (first, rest) = head.split_at_mut(1);
    if from.read(first).await? == 0 {
        return Ok(None);
    }
    from.read_exact(rest).await?;
    let length = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    if length > MAX_FRAME_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too long"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    let frame = codec::decode(&body, MAX_FRAME_BYTES);
    frame.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Writes a frame.
///
/// # Errors
/// The stream broke; the frame is too long.
pub async fn write_frame<T: BorshSerialize>(
    to: &mut (impl AsyncWrite + Unpin),
    frame: &T,
) -> io::Result<()> {
    let body = codec::encode(frame);
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_FRAME_BYTES);
    let length =
        length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a frame is too long"))?;
    to.write_all(&[&length.to_be_bytes()[..], &body].concat()).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Input;

    #[tokio::test]
    async fn frames_come_as_they_went_and_what_is_none_is_an_error() {
        let frames = [Input::Bytes(vec![7; 60_000]), Input::Resize { columns: 80, rows: 24 }];
        let mut wire = Vec::new();
        for frame in &frames {
            write_frame(&mut wire, frame).await.unwrap();
        }
        let mut from = wire.as_slice();
        for frame in frames {
            assert_eq!(read_frame(&mut from).await.unwrap(), Some(frame));
        }
        assert_eq!(read_frame::<Input>(&mut from).await.unwrap(), None);
        let too_long = Input::Bytes(vec![0; MAX_FRAME_BYTES]);
        assert!(write_frame(&mut Vec::new(), &too_long).await.is_err());
        let huge = u32::MAX.to_be_bytes();
        for bad in [&huge[..], &wire[..3], &wire[..100], &[0, 0, 0, 1, 9], &[0, 0, 0, 0]] {
            let read = read_frame::<Input>(&mut &*bad).await;
            assert!(read.is_err(), "{read:?}");
        }
    }
}
