//! A list of cloud prices to compare with.

use anyhow::Context as _;
use muster_types::Rate;
use serde::Deserialize;
use std::path::Path;

const BUILT_IN: &str = include_str!("../../../data/cloud-prices.toml");

/// A virtual machine that one could rent instead.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cloud {
    /// Which.
    pub(crate) name: String,
    /// Its CPU threads.
    pub(crate) threads: u32,
    /// Its list price.
    pub(crate) usd_per_hour: Rate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    cloud: Vec<Cloud>,
}

/// The list in `file`, or the built-in one.
pub(crate) fn read(file: Option<&Path>) -> anyhow::Result<Vec<Cloud>> {
    let text = match file {
        Some(file) => std::fs::read_to_string(file)
            .with_context(|| format!("the price list {} cannot be read", file.display()))?,
        None => BUILT_IN.to_owned(),
    };
    let list: List = toml::from_str(&text).context("the price list is malformed")?;
    Ok(list.cloud)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_built_in_list_is_well_formed() {
        assert!(!super::read(None).unwrap().is_empty());
    }
}
