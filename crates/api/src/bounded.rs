//! How much a node may answer. A client trusts a node with its memory no further than this.

use futures::{Stream, StreamExt as _};

/// The most bytes of an answer, or of one event of a stream: far more than the longest page.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Why an answer was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken<E> {
    /// The connection.
    #[error("the connection broke")]
    Connection(#[source] E),
    /// There is no end of it.
    #[error("more than {limit} bytes came at a time")]
    TooLong {
        /// The most allowed.
        limit: usize,
    },
}

/// The whole of a body.
///
/// # Errors
/// [`Broken`].
pub(crate) async fn body<B: AsRef<[u8]>, E>(
    chunks: impl Stream<Item = Result<B, E>>,
    limit: usize,
) -> Result<Vec<u8>, Broken<E>> {
    let mut chunks = std::pin::pin!(chunks);
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(Broken::Connection)?;
        if chunk.as_ref().len() > limit - bytes.len() {
            return Err(Broken::TooLong { limit });
        }
        bytes.extend_from_slice(chunk.as_ref());
    }
    Ok(bytes)
}

/// The bytes of a stream of server-sent events, broken off in an event that is longer than
/// `limit`: an event ends with an empty line.
pub(crate) fn events<B: AsRef<[u8]>, E>(
    chunks: impl Stream<Item = Result<B, E>>,
    limit: usize,
) -> impl Stream<Item = Result<B, Broken<E>>> {
    let (mut event, mut line) = (0, 0);
    chunks.map(move |chunk| {
        let chunk = chunk.map_err(Broken::Connection)?;
        for byte in chunk.as_ref() {
            event += 1;
            match byte {
                b'\n' if line == 0 => event = 0,
                b'\n' => line = 0,
                b'\r' => {}
                _ => line += 1,
            }
            if event > limit {
                return Err(Broken::TooLong { limit });
            }
        }
        Ok(chunk)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{executor::block_on, stream};

    fn chunks<'a>(parts: &'a [&'a str]) -> impl Stream<Item = Result<&'a [u8], ()>> {
        stream::iter(parts.iter().map(|part| Ok(part.as_bytes())))
    }

    #[test]
    fn a_body_is_taken_up_to_its_limit() {
        let whole = |parts: &[&str]| block_on(body(chunks(parts), 6)).ok();
        assert_eq!(whole(&["abc", "def"]).as_deref(), Some(&b"abcdef"[..]));
        assert_eq!(whole(&[]).as_deref(), Some(&b""[..]));
        assert_eq!(whole(&["abc", "defg"]), None);
        assert_eq!(whole(&["a", "b", "c", "d", "e", "f", "g"]), None);
    }

    #[test]
    fn a_stream_may_be_endless_and_an_event_may_not() {
        let passed = |parts: &[&str]| {
            let passed = block_on(events(chunks(parts), 8).collect::<Vec<_>>());
            passed.iter().all(Result::is_ok)
        };
        let table: [(&[&str], bool); 7] = [
            (&["data: a\n\n", "data: b\n\n", "data: c\n\n"], true),
            (&["a\r\n\r\n", "b\r\n", "\r\n"], true),
            (&["data: ", "ab"], true),
            (&["data: ", "abc"], false),
            (&["a\nb\nc\nd\n"], true),
            (&["a\nb\nc\nd\n", "e"], false),
            (&["\n\n\n\n\n\n\n\n\n\n"], true),
        ];
        for (parts, expected) in table {
            assert_eq!(passed(parts), expected, "{parts:?}");
        }
    }
}
