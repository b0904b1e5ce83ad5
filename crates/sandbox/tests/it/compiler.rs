//! The child process and the cache.

use crate::helpers::{block_on, child, compiler, plain};
use muster_sandbox::{ChildProgram, CompileError, CompileLimits, Compiler, Limits, Task};
use muster_types::Hash;
use std::{fmt::Write, sync::Arc};

fn module(number: u32) -> Vec<u8> {
    wat::parse_str(plain("", &format!("(drop (i32.const {number}))"))).unwrap()
}

/// A valid module within every size limit that takes many seconds to compile.
fn bomb() -> Vec<u8> {
    let mut text = String::new();
    for function in 0..2_500 {
        text.push_str("(func (param i32 f32) (result f32) local.get 1 ");
        for step in 0..60 {
            write!(text, "f32.const {} f32.mul local.get 1 f32.add ", step + function % 7).unwrap();
        }
        text.push(')');
    }
    wat::parse_str(plain(&text, "")).unwrap()
}

#[test]
fn one_module_is_compiled_once_and_the_least_used_goes_first() {
    let compiler = compiler(CompileLimits { cached_modules: 2, ..CompileLimits::default() });
    block_on(async {
        let one = module(1);
        let (first, again) =
            tokio::try_join!(compiler.compile(&one), compiler.compile(&one)).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(first.hash(), Hash::of_content(&module(1)));
        compiler.compile(&module(2)).await.unwrap();
        assert!(compiler.get(&first.hash()).is_some());
        compiler.compile(&module(3)).await.unwrap();
        let kept = |number| compiler.get(&Hash::of_content(&module(number))).is_some();
        assert_eq!([kept(1), kept(2), kept(3)], [true, false, true]);
        // What was dropped from the cache still runs for those who hold it.
        compiler.compile(&module(4)).await.unwrap();
        compiler.compile(&module(5)).await.unwrap();
        assert!(!kept(1));
        first.run(Task::default(), &Limits::default()).unwrap();
    });
}

#[test]
fn the_cache_is_bounded_in_bytes() {
    let compiler = compiler(CompileLimits { cached_bytes: 1, ..CompileLimits::default() });
    block_on(async {
        for number in 1..=2 {
            let compiled = compiler.compile(&module(number)).await.unwrap();
            assert!(compiled.code_bytes() > 1);
        }
    });
    let kept = |number| compiler.get(&Hash::of_content(&module(number))).is_some();
    assert_eq!([kept(1), kept(2)], [false, true]);
}

#[test]
fn a_compile_bomb_ends_with_its_child() {
    let defaults = CompileLimits::default();
    for limits in [
        CompileLimits { cpu_seconds: 1, ..defaults },
        CompileLimits { address_space_bytes: 1 << 20, ..defaults },
        CompileLimits { wall_ms: 1, ..defaults },
    ] {
        let error = block_on(compiler(limits).compile(&bomb())).unwrap_err();
        assert!(matches!(error, CompileError::OverLimits { .. }), "{limits:?}: {error:?}");
        assert!(!error.is_deterministic());
    }
}

#[test]
fn a_refused_module_says_why_and_is_refused_everywhere() {
    let compiler = compiler(CompileLimits::default());
    let too_large = vec![0; CompileLimits::default().module.module_bytes + 1];
    for (module, says) in [
        (b"not wasm".to_vec(), "at byte"),
        (wat::parse_str("(module)").unwrap(), "_start"),
        (too_large, "at most 2097152"),
    ] {
        let error = block_on(compiler.compile(&module)).unwrap_err();
        assert!(error.is_deterministic(), "{error:?}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[test]
fn machine_code_over_its_limit_is_dropped() {
    let compiler = compiler(CompileLimits { code_bytes: 100, ..CompileLimits::default() });
    let error = block_on(compiler.compile(&module(1))).unwrap_err();
    assert!(matches!(error, CompileError::CodeTooLarge { limit: 100 }), "{error:?}");
}

#[test]
fn a_child_that_is_missing_or_another_program_is_an_error_of_this_machine() {
    let with = |program: &str| {
        let child = ChildProgram { program: program.into(), ..child() };
        let compiler = Compiler::new(child, CompileLimits::default()).unwrap();
        block_on(compiler.compile(&module(1))).unwrap_err()
    };
    assert!(matches!(with("/nowhere/muster"), CompileError::Child { .. }));
    // Answers with the request.
    assert!(matches!(with("/bin/cat"), CompileError::Compiler { .. }));
    // Answers with nothing.
    assert!(matches!(with("/bin/true"), CompileError::Compiler { .. }));
}
