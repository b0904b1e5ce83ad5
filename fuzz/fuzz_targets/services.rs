//! An SDL or a compose file is understood or its defects are named; what is made of a compose file
//! is understood.
#![no_main]

use libfuzzer_sys::fuzz_target;
use muster_spec::{compose, sdl};

fuzz_target!(|bytes: &[u8]| {
    let _ = sdl::parse_sdl(bytes, &sdl::Exchange::default());
    if let Ok(made) = compose::from_compose(bytes, &compose::Guess::default()).result {
        assert!(sdl::parse_sdl(made.as_bytes(), &sdl::Exchange::default()).result.is_ok());
    }
});
