//! The smallest job: greets every name on its input. See hello.toml.

use std::io::{self, BufRead, Write};

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for name in io::stdin().lock().lines() {
        writeln!(out, "Hello, {}!", name?)?;
    }
    out.flush()
}
