//! Container images: pulled from any OCI registry, checked, and unpacked into layers that many
//! containers share.
//!
//! ```text
//!  ImageRef --Registry--> manifest --> configuration ------------------------------> Image
//!                            '--> layers --partial file--> digest --unpack--> Store ---'
//! ```
//! Neither the registry nor the image is trusted: every byte that is used has the digest that the
//! image's has, everything has a limit ([`Limits`]), the client speaks to no private address that
//! the provider has not named ([`RegistryConfig::trusted`]), and no archive writes outside of its
//! layer.
//!
//! ```no_run
//! # async fn pull() -> Result<(), Box<dyn std::error::Error>> {
//! use muster_sandbox::oci::image::{IdMap, PullOptions, Registry, RegistryConfig, Store};
//!
//! let store = Store::open("/var/lib/muster/layers".as_ref(), 50 << 30)?;
//! let registry = Registry::new(&RegistryConfig::default())?;
//! let options = PullOptions::new(IdMap::shift(100_000, 65_536)?);
//! let image = store.pull(&registry, &"nginx:1.27".parse()?, &options).await?;
//! let lower: Vec<_> = image.layers.iter().rev().map(|layer| layer.dir()).collect();
//! # drop(lower);
//! # Ok(())
//! # }
//! ```

mod digest;
mod error;
mod limits;
mod manifest;
mod pull;
mod reference;
mod registry;
mod store;
mod unpack;

pub use digest::{Digest, DigestError};
pub use error::{Blame, PullError};
pub use limits::{IdMap, IdMapError, Limits};
pub use manifest::{ExposedPort, ImageConfig, Platform};
pub use pull::{Image, ImageRecord, Progress, ProgressFn, PullOptions, Stage};
pub use reference::{ImageRef, ImageRefError};
pub use registry::{Credentials, Registry, RegistryConfig, RegistryConfigError};
pub use store::{Layer, Store, StoreStats};
pub use unpack::LayerProblem;
pub(in crate::oci) use unpack::restore;
