//! The order form: parses and checks what a tenant wants into one typed [`Workload`].
//!
//! Batch work is ordered by a job file ([`mod@job`], TOML), services in containers by an Akash SDL
//! ([`mod@sdl`], YAML), which a `docker-compose.yml` can be turned into ([`mod@compose`]). Checking
//! lists every defect at once, each with its line, column, field and what to write instead:
//!
//! ```
//! use muster_spec::parse;
//! use std::path::Path;
//!
//! let text = r#"
//! name = "hello"
//! kind = "batsch"
//! code.wasm = "hello.wasm"
//! price = { max_per_hour = "0.10", bugdet = "1" }
//! "#;
//! let defects = parse(Path::new("hello.toml"), text).unwrap_err();
//! assert_eq!(
//!     defects.to_string(),
//!     "hello.toml:3:8 kind: `batsch` is unknown — fix: write \"batch\"\n\
//!      hello.toml:5:34 price.bugdet: unknown field — fix: write budget"
//! );
//! ```
//!
//! Nothing here reads files: paths in a job file are resolved against the file's own directory and
//! handed to the caller, with pure helpers ([`mod@input`]) for what is done with their content.

pub mod compose;
mod defect;
mod form;
pub mod input;
pub mod job;
mod notes;
mod reader;
pub mod sdl;
mod value;
mod workload;
mod yaml;

pub use compose::from_compose;
pub use defect::{Defect, Defects};
pub use input::{Input, SplitError};
pub use job::{MAX_JOB_BYTES, field_of, parse};
pub use notes::Checked;
pub use sdl::parse_sdl;
pub use value::parse_duration;
pub use workload::{
    BATCH_RESULT, CHAIN_RESULT, Chain, Constraints, Kind, Price, Run, TaskLimits, Verify, Workload,
};
pub use yaml::MAX_YAML_BYTES;
