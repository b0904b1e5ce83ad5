//! A job file is understood or its defects are named.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::path::Path;

fuzz_target!(|text: &str| {
    if let Err(defects) = muster_spec::job::parse(Path::new("job.toml"), text) {
        assert!(!defects.to_string().is_empty());
    }
});
