//! Containers: what people already have, run as it is and trusted as little as a WASM program.
//!
//! ```text
//!  ImageRef ─ image::Store::pull ─▶ Image ─ ContainerSpec::of_image ─▶ ContainerSpec
//!                                     │ layers, pinned while it lives       │
//!                                     '── until the container is deleted    ▼
//!                                                container::Containers::create, start, wait, delete
//! ```
//!
//! [`image`] brings images from registries; [`container`] runs them under an OCI runtime; here they
//! meet. The ids that layers are unpacked for are those that containers run with: make the
//! [`IdMap`](image::IdMap) of [`Config::ids`](container::Config::ids).

pub mod container;
mod from_image;
pub mod image;

pub use from_image::Overrides;
