//! Names by which containers of one lease find each other.

use super::{
    containers::Containers,
    error::{ContainerError, Result},
    spec::ContainerId,
};
use std::{fmt::Write as _, fs::OpenOptions, io::Write as _, net::Ipv4Addr};

impl Containers {
    /// Sets what a container finds in `/etc/hosts` beside itself, also while it runs. The file is
    /// written in place: whoever reads it at that moment may see a part.
    ///
    /// # Errors
    /// [`ContainerError::Unknown`]; [`ContainerError::Refused`] for a name with anything in it but
    /// letters, digits, `-`, `_` and `.`; [`ContainerError::Io`].
    pub fn set_names(&self, id: &ContainerId, names: &[(String, Ipv4Addr)]) -> Result<()> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if let Some((name, _)) =
            names.iter().find(|(name, _)| name.is_empty() || !name.bytes().all(plain))
        {
            return Err(ContainerError::refused("names", format!("{name:?} is no host's name")));
        }
        let record = self.record(id)?.ok_or_else(|| ContainerError::Unknown { id: id.clone() })?;
        let path = self.dir(id).join("etc/hosts");
        let hostname = std::fs::read_to_string(path.with_file_name("hostname"))
            .map_err(ContainerError::io("read", path.with_file_name("hostname")))?;
        let (own, hostname) = (record.member.address, hostname.trim());
        let mut text = format!("127.0.0.1 localhost\n{own} {hostname} {id}\n");
        for (name, address) in names {
            let _ = writeln!(text, "{address} {name}");
        }
        let write = || {
            let mut file = OpenOptions::new().write(true).open(&path)?;
            file.write_all(text.as_bytes())?;
            file.set_len(text.len() as u64)
        };
        write().map_err(ContainerError::io("write", &path))
    }
}
