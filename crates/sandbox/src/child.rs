//! The compiler's child process: limits itself, reads a module, writes machine code.
//!
//! ```text
//! in:  CPU seconds u64 || address space bytes u64 || module bytes u64 || body bytes u64 || module
//! out: 0 || machine code      compiled
//!      1 || text              the module was refused; the same on every machine
//!      2 || text              the compiler failed
//! ```
//! Integers are little-endian; the module and the last field end with the stream.

use crate::{
    check::{ModuleLimits, check_module},
    engine::compiling_engine,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{self, Read, Write};

/// How the child ended, as the first byte of its output.
pub(crate) mod status {
    pub(crate) const COMPILED: u8 = 0;
    pub(crate) const REFUSED: u8 = 1;
    pub(crate) const FAILED: u8 = 2;
}

/// What the parent asks of the child, ahead of the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) cpu_seconds: u64,
    pub(crate) address_space_bytes: u64,
    pub(crate) module: ModuleLimits,
}

const REQUEST_BYTES: usize = 32;

impl Request {
    pub(crate) fn encode(&self) -> [u8; REQUEST_BYTES] {
        let mut bytes = [0; REQUEST_BYTES];
        let fields = [
            self.cpu_seconds,
            self.address_space_bytes,
            self.module.module_bytes as u64,
            self.module.body_bytes as u64,
        ];
        for (to, field) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(fields) {
            *to = field.to_le_bytes();
        }
        bytes
    }

    fn decode(bytes: &[u8; REQUEST_BYTES]) -> Self {
        let field = |index: usize| u64::from_le_bytes(bytes.as_chunks::<8>().0[index]);
        let size = |index| usize::try_from(field(index)).unwrap_or(usize::MAX);
        Self {
            cpu_seconds: field(0),
            address_space_bytes: field(1),
            module: ModuleLimits { module_bytes: size(2), body_bytes: size(3) },
        }
    }
}

/// The whole of the child process: reads one request from `input`, answers on `output`.
///
/// Sets limits on CPU time, address space and core dumps of the calling process that cannot be
/// taken back: call it from a process that does nothing else, before any thread is started.
///
/// # Errors
/// A stream that breaks, or limits that cannot be set. A module that does not compile is an answer,
/// not an error.
pub fn compile_child_main(input: &mut dyn Read, output: &mut dyn Write) -> io::Result<()> {
    let mut request = [0; REQUEST_BYTES];
    input.read_exact(&mut request)?;
    let request = Request::decode(&request);
    limit(Resource::Core, 0)?;
    limit(Resource::Cpu, request.cpu_seconds)?;
    limit(Resource::As, request.address_space_bytes)?;

    let mut module = Vec::new();
    // One byte more than allowed, so that a module that is too large is seen to be.
    let most = (request.module.module_bytes as u64).saturating_add(1);
    match input.take(most).read_to_end(&mut module) {
        // As in the allocator: the parent sees a signal, and knows that a limit was reached.
        Err(error) if error.kind() == io::ErrorKind::OutOfMemory => std::process::abort(),
        read => read?,
    };
    let (status, answer) = compile(&module, &request.module);
    output.write_all(&[status])?;
    output.write_all(&answer)?;
    output.flush()
}

fn compile(module: &[u8], limits: &ModuleLimits) -> (u8, Vec<u8>) {
    if let Err(error) = check_module(module, limits) {
        return (status::REFUSED, error.to_string().into_bytes());
    }
    match compiling_engine().and_then(|engine| engine.precompile_module(module)) {
        Ok(code) => (status::COMPILED, code),
        Err(error) => (status::FAILED, format!("{error:#}").into_bytes()),
    }
}

/// Lowers a limit of this process for good, never above what it is.
fn limit(resource: Resource, wanted: u64) -> io::Result<()> {
    let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let value = Some(wanted.min(most));
    Ok(setrlimit(resource, Rlimit { current: value, maximum: value })?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_back() {
        let request = Request {
            cpu_seconds: 1,
            address_space_bytes: 2,
            module: ModuleLimits { module_bytes: 3, body_bytes: u32::MAX as usize },
        };
        assert_eq!(Request::decode(&request.encode()), request);
    }

    #[test]
    fn a_refused_module_is_an_answer_that_says_why() {
        let (status, answer) = compile(b"\0asm\x01\0\0\0", &ModuleLimits::default());
        assert_eq!(status, status::REFUSED);
        assert!(String::from_utf8(answer).unwrap().contains("_start"));
    }
}
