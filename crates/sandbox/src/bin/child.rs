//! The compiler's child process as a program of its own, for tests of this room. The `muster`
//! program starts itself instead.

use std::io;

fn main() -> io::Result<()> {
    muster_sandbox::compile_child_main(&mut io::stdin().lock(), &mut io::stdout().lock())
}
