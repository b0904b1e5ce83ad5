//! What was asked for, on disk before anything is sent.

use super::{Cost, ServicesError};
use crate::files::write_private;
use borsh::{BorshDeserialize, BorshSerialize};
use muster_api::{Wallet, service};
use muster_market::Terms;
use muster_spec::sdl::{Deployment, Exchange, Manifest};
use muster_types::{AccountId, Amount, Hash, Millis, Rate, codec};
use std::{fs, io, path::Path};

/// The plan's file. It has secrets in it.
const FILE: &str = "deployment";
/// Bound for decoding a plan that we wrote.
const MAX_BYTES: usize = 32 << 20;
/// Orders ask for hosts that run containers.
const ATTRIBUTE: (&str, &str) = ("containers", "true");

/// A deployment as it is ordered.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct Plan {
    pub(super) tenant: AccountId,
    pub(super) chain: Hash,
    /// What hides the manifests.
    salt: Hash,
    /// What is set aside, `usd`.
    pub(super) deposit: Amount,
    pub(super) groups: Vec<GroupPlan>,
    /// What ran before, while an update to `groups` is under way.
    pub(super) before: Option<Vec<GroupPlan>>,
    /// Every commitment that an order of it may have been made with, and its group and unit.
    commitments: Vec<(Hash, u32, u32)>,
}

/// Services that are ordered together.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct GroupPlan {
    pub(super) name: String,
    pub(super) manifest: Manifest,
    pub(super) units: Vec<UnitPlan>,
    /// Its services call each other.
    pub(super) linked: bool,
}

/// An order of equal leases.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(super) struct UnitPlan {
    pub(super) profile: String,
    /// Any one of these will do.
    pub(super) alternatives: Vec<Terms>,
}

impl UnitPlan {
    /// How many leases.
    pub(super) fn count(&self) -> u32 {
        self.alternatives.first().map_or(0, |terms| terms.count)
    }

    /// What all leases cost at the highest price; `None` beyond all amounts.
    fn cost(&self, charge: impl Fn(Rate) -> Option<Amount>) -> Option<Amount> {
        let dearest = self.alternatives.iter().map(|terms| terms.max_rate).max()?;
        charge(dearest)?.checked_mul(u64::from(self.count()))
    }
}

impl GroupPlan {
    /// How many leases.
    pub(super) fn leases(&self) -> u64 {
        self.units.iter().map(|unit| u64::from(unit.count())).sum()
    }
}

impl Plan {
    pub(super) fn new(
        wallet: &Wallet,
        deployment: &Deployment,
        exchange: &Exchange,
        funded: Millis,
    ) -> Result<Self, ServicesError> {
        let mut salt = [0; 32];
        getrandom::fill(&mut salt).map_err(ServicesError::Entropy)?;
        let groups = groups(deployment, exchange)?;
        let costs = groups.iter().flat_map(|group| &group.units);
        let costs = costs.map(|unit| unit.cost(|rate| rate.charge_ceil(funded)));
        let deposit = costs
            .into_iter()
            .try_fold(Amount::ZERO, |sum, cost| sum.checked_add(cost?))
            .ok_or(ServicesError::TooDear)?;
        let (tenant, chain, salt) = (wallet.account(), wallet.chain(), Hash(salt));
        let mut plan =
            Self { tenant, chain, salt, deposit, groups, before: None, commitments: Vec::new() };
        plan.commit();
        Ok(plan)
    }

    /// Remembers what orders commit to from now on.
    fn commit(&mut self) {
        for (group, of_group) in self.groups.iter().enumerate() {
            for unit in 0..of_group.units.len() {
                let commitment = self.commitment(group, unit);
                if self.unit_of(&commitment).is_none() {
                    let [group, unit] =
                        [group, unit].map(|at| u32::try_from(at).unwrap_or(u32::MAX));
                    self.commitments.push((commitment, group, unit));
                }
            }
        }
    }

    /// Has the plan ask for this from now on, and keeps what it asked for before: of what runs,
    /// the image and all else that is in the manifest may be another, and how many there are.
    /// Returns whether anything is another.
    pub(super) fn update(
        &mut self,
        deployment: &Deployment,
        exchange: &Exchange,
    ) -> Result<bool, ServicesError> {
        let groups = groups(deployment, exchange)?;
        if groups == self.groups {
            return Ok(false);
        }
        let changed = |what: String| Err(ServicesError::Changed { what });
        let names = |groups: &[GroupPlan]| -> Vec<(String, bool)> {
            groups.iter().map(|group| (group.name.clone(), group.linked)).collect()
        };
        if names(&groups) != names(&self.groups) {
            return changed("its groups, or whether their services call each other".to_owned());
        }
        for (group, before) in groups.iter().zip(&self.groups) {
            let asked = |group: &GroupPlan| -> Vec<UnitPlan> {
                let mut units = group.units.clone();
                let terms = units.iter_mut().flat_map(|unit| &mut unit.alternatives);
                terms.for_each(|terms| terms.count = 0);
                units
            };
            if asked(group) != asked(before) {
                let what = "what its leases have (compute profiles, prices, attributes), or which \
                            services there are";
                return changed(format!("{what}, in {}", group.name));
            }
        }
        let before = std::mem::replace(&mut self.groups, groups);
        // Of an update that did not come to its end, what ran before it is still what ran.
        self.before.get_or_insert(before);
        self.commit();
        Ok(true)
    }

    /// Goes back to what ran before.
    pub(super) fn take_back(&mut self) {
        if let Some(before) = self.before.take() {
            self.groups = before;
        }
    }

    /// Whether both ask for the same of the same network for the same tenant.
    pub(super) fn asks_the_same(&self, other: &Self) -> bool {
        let commitments = self.commitments.clone();
        *self == Self { salt: self.salt, commitments, ..other.clone() }
    }

    /// What all leases may cost; `None` beyond all amounts.
    pub(super) fn cost(&self) -> Option<Cost> {
        let costs = self.units().map(|(_, unit)| unit.cost(|rate| Some(rate.amount_per_hour())));
        let most = costs.into_iter().try_fold(Amount::ZERO, |sum, cost| sum.checked_add(cost?));
        Some(Cost { quoted_per_hour: None, most_per_hour: most?, deposit: self.deposit })
    }

    pub(super) fn units(&self) -> impl Iterator<Item = (&GroupPlan, &UnitPlan)> {
        self.groups.iter().flat_map(|group| group.units.iter().map(move |unit| (group, unit)))
    }

    /// What hides a unit's manifest: so that its order says which unit it is for, to who knows
    /// the plan.
    pub(super) fn salt_of(&self, group: usize, unit: usize) -> Hash {
        let [group, unit] =
            [group, unit].map(|at| u64::try_from(at).unwrap_or(u64::MAX).to_le_bytes());
        Hash::of("muster service salt v1", &[self.salt.as_bytes(), &group, &unit])
    }

    pub(super) fn commitment(&self, group: usize, unit: usize) -> Hash {
        service::commitment(&self.groups[group].manifest, &self.salt_of(group, unit))
    }

    /// The group and unit that an order committed to.
    pub(super) fn unit_of(&self, commitment: &Hash) -> Option<(usize, usize)> {
        let mut all = self.commitments.iter();
        let (_, group, unit) = all.find(|(known, ..)| known == commitment)?;
        let [group, unit] = [*group, *unit].map(usize::try_from);
        Some((group.ok()?, unit.ok()?))
    }

    /// The services of which leases of this unit run a replica, and how many.
    pub(super) fn services(&self, group: usize, unit: usize) -> Vec<(&str, u32)> {
        let services = self.groups[group].manifest.services.iter();
        let ours = services.filter(|service| usize::try_from(service.unit) == Ok(unit));
        ours.map(|service| (service.name.as_str(), service.count)).collect()
    }

    /// The plan in a directory; `None` where there is none.
    pub(super) fn read(dir: &Path) -> Result<Option<Self>, ServicesError> {
        let path = dir.join(FILE);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ServicesError::File { path, action: "read", source }),
        };
        let plan = codec::decode(&bytes, MAX_BYTES);
        plan.map(Some).map_err(|source| ServicesError::Damaged { path, source })
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), ServicesError> {
        Ok(write_private(&dir.join(FILE), &codec::encode(self))?)
    }

    /// Deletes the directory: the plan last, so that a crash leaves one that can be closed again.
    pub(super) fn remove(dir: &Path) -> Result<(), ServicesError> {
        let failed =
            |source| ServicesError::File { path: dir.to_owned(), action: "removed", source };
        for entry in fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name() != FILE {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        fs::remove_dir_all(dir).map_err(failed)
    }
}

/// What is ordered for a deployment.
fn groups(deployment: &Deployment, exchange: &Exchange) -> Result<Vec<GroupPlan>, ServicesError> {
    let mut groups = Vec::new();
    for group in &deployment.groups {
        let mut units = Vec::new();
        for order in group.orders(exchange)? {
            let mut alternatives = order.alternatives;
            for terms in &mut alternatives {
                let (name, value) = ATTRIBUTE;
                terms.attributes.insert(name.to_owned(), value.to_owned());
            }
            let profile = group.units[order.unit].profile.clone();
            units.push(UnitPlan { profile, alternatives });
        }
        let (name, manifest) = (group.name.clone(), group.manifest());
        groups.push(GroupPlan { name, manifest, units, linked: group.is_linked() });
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_spec::sdl::parse_sdl;
    use muster_types::SecretKey;

    const TWO: &str = "\
version: \"2.0\"
services:
  web: {image: nginx, expose: [{port: 80, to: [{global: true}]}]}
  api: {image: api, env: [KEY=secret], expose: [{port: 8080, to: [{service: web}]}]}
profiles:
  compute:
    small: {resources: {cpu: {units: 1}, memory: {size: 64Mi}, storage: {size: 64Mi}}}
  placement:
    here: {pricing: {small: {denom: usd, amount: 0.1}}}
deployment:
  web: {here: {profile: small, count: 2}}
  api: {here: {profile: small, count: 1}}
";

    fn parsed(text: &str) -> Deployment {
        parse_sdl(text.as_bytes(), &Exchange::default()).result.unwrap()
    }

    fn plan(salt: u8) -> Plan {
        let mut plan = Plan {
            tenant: SecretKey::from_seed([1; 32]).account(),
            chain: Hash([2; 32]),
            salt: Hash([salt; 32]),
            deposit: Amount::from_units(1),
            groups: groups(&parsed(TWO), &Exchange::default()).unwrap(),
            before: None,
            commitments: Vec::new(),
        };
        plan.commit();
        plan
    }

    #[test]
    fn an_order_tells_its_unit_to_who_knows_the_plan_and_to_nobody_else() {
        let (ours, others) = (plan(1), plan(2));
        assert_eq!(ours.groups[0].units.len(), 2, "a unit for each service");
        for unit in 0..2 {
            let commitment = ours.commitment(0, unit);
            assert_eq!(ours.unit_of(&commitment), Some((0, unit)));
            assert_eq!(others.unit_of(&commitment), None);
        }
        let mut named: Vec<_> = (0..2).flat_map(|unit| ours.services(0, unit)).collect();
        named.sort_unstable();
        assert_eq!(named, [("api", 1), ("web", 2)]);
        assert!(ours.groups[0].linked);
    }

    #[test]
    fn an_update_changes_manifests_and_counts_alone_and_can_be_taken_back() {
        let exchange = Exchange::default();
        let mut updated = plan(1);
        assert!(!updated.update(&parsed(TWO), &exchange).unwrap());
        assert_eq!(updated, plan(1));
        let image = TWO.replace("image: nginx", "image: nginx:2");
        assert!(updated.update(&parsed(&image), &exchange).unwrap());
        let more = image.replace("count: 2", "count: 3");
        assert!(updated.update(&parsed(&more), &exchange).unwrap());
        assert_eq!(updated.before.as_ref(), Some(&plan(1).groups), "what ran, not what was tried");
        for unit in 0..2 {
            assert_ne!(updated.commitment(0, unit), plan(1).commitment(0, unit));
            // Orders of before are known, too.
            assert_eq!(updated.unit_of(&plan(1).commitment(0, unit)), Some((0, unit)));
            assert_eq!(updated.unit_of(&updated.commitment(0, unit)), Some((0, unit)));
        }
        updated.take_back();
        assert_eq!(updated.groups, plan(1).groups);
        assert!(updated.asks_the_same(&plan(2)));
        for (from, to) in [
            ("units: 1", "units: 2"),
            ("amount: 0.1", "amount: 0.2"),
            ("service: web", "global: true"),
            ("here:", "there:"),
        ] {
            let refused = plan(1).update(&parsed(&TWO.replace(from, to)), &exchange);
            assert!(matches!(refused, Err(ServicesError::Changed { .. })), "{from}: {refused:?}");
        }
    }

    #[test]
    fn a_plan_is_read_back_is_private_and_only_the_salt_tells_equal_ones_apart() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("web");
        assert_eq!(Plan::read(&dir).unwrap(), None);
        plan(1).write(&dir).unwrap();
        let read = Plan::read(&dir).unwrap().unwrap();
        assert_eq!(read, plan(1));
        assert!(read.asks_the_same(&plan(2)));
        let mut dearer = plan(2);
        dearer.deposit = Amount::from_units(2);
        assert!(!read.asks_the_same(&dearer));
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &fs::metadata(dir.join(FILE)).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600, "it has secrets in it");
        fs::write(dir.join("journal.redb"), "").unwrap();
        Plan::remove(&dir).unwrap();
        assert!(!dir.exists());
    }

    #[test]
    fn a_damaged_plan_is_an_error_that_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        plan(1).write(dir.path()).unwrap();
        let path = dir.path().join(FILE);
        let mut bytes = fs::read(&path).unwrap();
        bytes.pop();
        fs::write(&path, bytes).unwrap();
        let error = Plan::read(dir.path()).unwrap_err();
        assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    }
}
