//! Explanations as sentences: the one place where they are worded.

use super::{Constraint, Exclusion, Relax, Shortfall};
use crate::Together;
use muster_types::{AccountId, Amount, Millis};
use std::fmt;

impl Exclusion {
    /// The exclusion as a line for people: what is excluded, and what to change.
    ///
    /// ```text
    /// max_rate excludes 3 hosts alone (5 in all): raise it to 0.72 usd an hour to reach one more
    /// ```
    #[must_use]
    pub fn hint(&self) -> String {
        let hosts = if self.total == 1 { "host" } else { "hosts" };
        let counts = match (self.alone, self.total) {
            (0, total) => format!("{total} {hosts}, none alone"),
            (alone, total) if alone == total => format!("{alone} {hosts} alone"),
            (alone, total) => format!("{alone} of {total} {hosts} alone"),
        };
        let advice = match &self.relax {
            Some(relax) => relax.to_string(),
            None => self.constraint.no_relax().to_owned(),
        };
        let goal = match (&self.relax, self.alone) {
            (None, _) => "",
            (Some(_), 0) => ", beside other changes",
            (Some(_), _) => " to match more",
        };
        format!("{} excludes {counts}: {advice}{goal}", self.constraint)
    }
}

impl Constraint {
    /// What to say where no change of the order helps.
    const fn no_relax(&self) -> &'static str {
        match self {
            Self::Cpu | Self::Memory | Self::Disk | Self::Bandwidth | Self::Gpu => {
                "nothing of it is free now; wait until leases end"
            }
            Self::MinBond => {
                "their free bond does not cover a lease; wait until leases end or their providers \
                 add to it"
            }
            Self::Duration => "their offers have ended; wait until they are renewed",
            Self::Jurisdiction | Self::ExcludeJurisdiction => {
                "their providers do not say where they are; do not ask for it"
            }
            Self::SignedByAny => "no auditor signed what is asked for; do not ask for it",
            _ => "no change of the order helps",
        }
    }
}

impl fmt::Display for Relax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LowerCpu { to_milli } => {
                // Thousandths print as a decimal: an amount of 10^-9 units does that exactly.
                let threads = Amount::from_nanos(u128::from(*to_milli).saturating_mul(1_000_000));
                write!(f, "lower it to {threads} threads")
            }
            Self::LowerMemory { to_bytes } | Self::LowerDisk { to_bytes } => {
                write!(f, "lower it to {}", Size(*to_bytes))
            }
            Self::LowerBandwidth { to_bps } => write!(f, "lower it to {to_bps} bit/s"),
            Self::LowerGpuCount { to } => write!(f, "lower the count to {to}"),
            Self::ChooseGpu { offered } => write!(f, "ask for {}", offered.join(" or ")),
            Self::AllowRegion { offered } => write!(f, "allow {}", offered.join(" or ")),
            Self::ChangeAttribute { offered } if offered.is_empty() => {
                f.write_str("do not ask for it")
            }
            Self::ChangeAttribute { offered } => {
                write!(f, "ask for {}, or do not ask", offered.join(" or "))
            }
            Self::AllowProvider { offered } => write!(f, "allow {}", accounts(offered)),
            Self::Include { offered } => write!(f, "do not exclude {}", accounts(offered)),
            Self::RaiseMaxRate { to } => write!(f, "raise it to {to} usd an hour"),
            Self::LowerMinBond { to } => write!(f, "lower it to {to} usd"),
            Self::RaiseMaxRisk { to_bps } => {
                write!(f, "raise it to {}%", Amount::from_nanos(percent_nanos(*to_bps)))
            }
            Self::LowerDuration { to: Millis(ms) } => write!(f, "lower it to {ms} ms"),
            Self::AllowJurisdiction { offered } => write!(f, "allow {}", offered.join(" or ")),
            Self::IncludeJurisdiction { offered } => {
                write!(f, "do not exclude {}", offered.join(" or "))
            }
            Self::AcceptAuditor { offered } => write!(f, "accept {}", accounts(offered)),
            Self::DropAuditor { missing } => write!(f, "do not ask for {}", accounts(missing)),
            Self::LowerFuel { to_per_s } => write!(f, "lower it to {to_per_s} a second"),
            Self::DropVerifies | Self::DropMetered => f.write_str("do not ask for it"),
        }
    }
}

impl Shortfall {
    /// The shortfall as a line for people.
    #[must_use]
    pub fn hint(&self) -> String {
        let Self { wanted, fitting, fitting_without_spread, gang, together } = self;
        let mut text = format!("{fitting} of {wanted} leases fit");
        let place = match together {
            Together::No => None,
            Together::Region => Some("region"),
            Together::Provider => Some("provider"),
            Together::Host => Some("host"),
        };
        if let Some(place) = place {
            text.push_str(&format!(
                ", and the order takes all in one {place} or none: lower the count or allow more \
                 than one {place}"
            ));
        } else if *gang {
            text.push_str(", and the order takes all or none: lower the count or drop `gang`");
        } else if fitting_without_spread > fitting {
            text.push_str("; the rest waits for other providers, hosts or regions");
        } else {
            text.push_str("; the rest waits for capacity or bond to become free");
        }
        if fitting_without_spread > fitting {
            text.push_str(&format!(" (without spread limits {fitting_without_spread} would fit)"));
        }
        text
    }
}

fn accounts(offered: &[AccountId]) -> String {
    offered.iter().map(AccountId::to_string).collect::<Vec<_>>().join(" or ")
}

fn percent_nanos(bps: u32) -> u128 {
    u128::from(bps).saturating_mul(10_000_000)
}

/// Bytes for people, rounded down to a whole unit.
struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (gib, mib, kib) = (self.0 >> 30, self.0 >> 20, self.0 >> 10);
        match self.0 {
            bytes if gib > 0 && bytes.trailing_zeros() >= 30 => write!(f, "{gib}GiB"),
            _ if mib > 0 => write!(f, "{mib}MiB"),
            _ if kib > 0 => write!(f, "{kib}KiB"),
            bytes => write!(f, "{bytes}B"),
        }
    }
}
