//! Modules for jobs, written as text.

/// Copies stdin to stdout after `turns` turns of a loop that does nothing else: a few units of fuel
/// each, about 300 million turns a second.
pub(crate) fn echo(turns: u32) -> Vec<u8> {
    let text = format!(
        r#"(module
            (import "wasi_snapshot_preview1" "fd_read"
                (func $read (param i32 i32 i32 i32) (result i32)))
            (import "wasi_snapshot_preview1" "fd_write"
                (func $write (param i32 i32 i32 i32) (result i32)))
            (memory (export "memory") 2)
            (func (export "_start") (local $turns i32)
                (local.set $turns (i32.const {turns}))
                (block $done (loop $turn
                    (br_if $done (i32.eqz (local.get $turns)))
                    (local.set $turns (i32.sub (local.get $turns) (i32.const 1)))
                    (br $turn)))
                (i32.store (i32.const 0) (i32.const 64))
                (loop $more
                    (i32.store (i32.const 4) (i32.const 65536))
                    (if (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8))
                        (then unreachable))
                    (if (i32.load (i32.const 8)) (then
                        (i32.store (i32.const 4) (i32.load (i32.const 8)))
                        (if (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12))
                            (then unreachable))
                        (br $more))))))"#
    );
    module(&text)
}

/// Never ends.
pub(crate) fn endless() -> Vec<u8> {
    plain("(loop (br 0))")
}

/// Takes memory until it gets no more, and cannot do without.
pub(crate) fn memory_bomb() -> Vec<u8> {
    plain(
        "(loop (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable)) (br 0))",
    )
}

/// A good module that a custom section makes larger than any that is taken.
pub(crate) fn too_large() -> Vec<u8> {
    let mut module = echo(0);
    let content = 3 << 20_u32;
    // Section 0, its length in LEB128, an empty name, zeros.
    module.push(0);
    let mut length: u32 = content;
    while length >= 0x80 {
        module.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    module.push(u8::try_from(length).unwrap());
    module.resize(module.len() + content as usize, 0);
    module
}

fn plain(start: &str) -> Vec<u8> {
    module(&format!(r#"(module (memory (export "memory") 1) (func (export "_start") {start}))"#))
}

fn module(text: &str) -> Vec<u8> {
    wat::parse_str(text).unwrap()
}
