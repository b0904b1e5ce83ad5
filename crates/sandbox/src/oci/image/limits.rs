//! How large an image may be, and whose its files become.

/// The most that an image may be. Whoever publishes it is a stranger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a manifest or an index.
    pub manifest_bytes: u64,
    /// Bytes of an image's configuration.
    pub config_bytes: u64,
    /// Layers.
    pub layers: usize,
    /// Bytes of all layers as they are transferred.
    pub packed_bytes: u64,
    /// Bytes of all layers when unpacked: what the archives hold, and what they take on disk.
    pub unpacked_bytes: u64,
    /// Files, directories, links and whiteouts of all layers.
    pub entries: u64,
}

impl Default for Limits {
    /// 4 MiB of manifest and of configuration, 127 layers, 32 GiB packed, 64 GiB unpacked, two
    /// million entries.
    fn default() -> Self {
        Self {
            manifest_bytes: 4 << 20,
            config_bytes: 4 << 20,
            layers: 127,
            packed_bytes: 32 << 30,
            unpacked_bytes: 64 << 30,
            entries: 2_000_000,
        }
    }
}

/// Whose an image's files become on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdMap(Ids);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Ids {
    Squash,
    Shift { base: u32, count: u32 },
}

/// A range of users that files cannot be given to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "containers cannot have the host's users {base} to {base}+{count}: choose a range that begins \
     above 0, has at least 1 and ends below 4294967295, such as 100000 with 65536"
)]
pub struct IdMapError {
    /// The first.
    pub base: u32,
    /// How many.
    pub count: u32,
}

impl IdMap {
    /// User and group `n` of the image become `base + n` of the host, for `n < count`. Needs the
    /// right to give files away.
    ///
    /// # Errors
    /// A range that has the host's root in it, is empty, or goes beyond the largest id.
    pub fn shift(base: u32, count: u32) -> Result<Self, IdMapError> {
        let ends = base.checked_add(count).is_some_and(|end| end < u32::MAX);
        if base == 0 || count == 0 || !ends {
            return Err(IdMapError { base, count });
        }
        Ok(Self(Ids::Shift { base, count }))
    }

    /// Everything belongs to whoever unpacks, and no file is setuid or setgid. Needs no right.
    #[must_use]
    pub const fn squash() -> Self {
        Self(Ids::Squash)
    }

    /// The host's first id and how many there are, unless all is squashed to one.
    #[must_use]
    pub const fn range(&self) -> Option<(u32, u32)> {
        match self.0 {
            Ids::Squash => None,
            Ids::Shift { base, count } => Some((base, count)),
        }
    }

    /// How a layer's directory tells this map.
    pub(super) fn label(&self) -> String {
        match self.0 {
            Ids::Squash => "squash".to_owned(),
            Ids::Shift { base, count } => format!("u{base}+{count}"),
        }
    }

    /// The host's id for one of the image: `Ok(None)` where owners are left alone.
    ///
    /// # Errors
    /// The id, where it is outside of the range.
    pub(super) fn host(&self, id: u64) -> Result<Option<u32>, u64> {
        match self.0 {
            Ids::Squash => Ok(None),
            Ids::Shift { base, count } => match u32::try_from(id) {
                Ok(small) if small < count => Ok(Some(base + small)),
                _ => Err(id),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_shifted_within_the_range_and_refused_beyond_it() {
        let ids = IdMap::shift(100_000, 65_536).unwrap();
        assert_eq!(ids.host(0), Ok(Some(100_000)));
        assert_eq!(ids.host(65_535), Ok(Some(165_535)));
        assert_eq!(ids.host(65_536), Err(65_536));
        assert_eq!(ids.host(u64::MAX), Err(u64::MAX));
        assert_eq!(IdMap::squash().host(7), Ok(None));
    }

    #[test]
    fn a_range_with_the_hosts_root_or_beyond_the_last_id_is_refused() {
        for (base, count) in [(0, 65_536), (1, 0), (u32::MAX, 1), (4_294_900_000, 67_295)] {
            assert_eq!(IdMap::shift(base, count), Err(IdMapError { base, count }));
        }
    }
}
