//! One order against every row.

use super::{
    Columns, NONE, ProviderRow, Row, at,
    tally::{Best, Cure, Marks, Tally},
};
use crate::{
    Constraint, Exclusion, Relax, Rules, Terms, Verifies,
    check::{Quote, bond_covers, gpu_fits, lasts, meters, provider_fits},
    explain::{
        Counts,
        relax::{self, LISTED},
    },
    host::rate_of,
};
use muster_types::{Amount, Millis, Rate};

type Bits = u128;

const CPU: u32 = 0;
const MEMORY: u32 = 1;
const DISK: u32 = 2;
const BANDWIDTH: u32 = 3;
const GPU: u32 = 4;
const REGION: u32 = 5;
const PROVIDER: u32 = 6;
const EXCLUDE: u32 = 7;
const MAX_RATE: u32 = 8;
const MIN_BOND: u32 = 9;
const MAX_RISK: u32 = 10;
const DURATION: u32 = 11;
const JURISDICTION: u32 = 12;
const EXCLUDE_JURISDICTION: u32 = 13;
const SIGNED_BY_ANY: u32 = 14;
const SIGNED_BY_ALL: u32 = 15;
const METERED: u32 = 16;
const VERIFIES: u32 = 17;
const ATTRIBUTES: u32 = 24;

const fn bit(number: u32) -> Bits {
    match (1 as Bits).checked_shl(number) {
        Some(bit) => bit,
        None => 0,
    }
}

fn bit_if(fails: bool, number: u32) -> Bits {
    if fails { bit(number) } else { 0 }
}

/// An order, worked out as far as shared values go.
struct Asked<'a> {
    columns: &'a Columns,
    terms: &'a Terms,
    rules: &'a Rules,
    now: Millis,
    /// The attributes asked for, as bits from [`ATTRIBUTES`] on.
    attributes: Bits,
    /// Of a host's own attributes: those asked for that it has, those that are as asked.
    own: Vec<(Bits, Bits)>,
    /// Of a provider's attributes: those that are as asked.
    inherited: Vec<Bits>,
    gpus: Vec<Bits>,
    regions: Vec<Bits>,
    jurisdictions: Vec<Bits>,
    signed: Vec<Bits>,
    /// The providers in `terms.providers`, and in `terms.exclude`.
    allowed: Marks,
    excluded: Marks,
    /// The capabilities asked for, as in [`Row::verifies`].
    verifies: u8,
}

/// What the look at every row finds; `None` where the order asks for more attributes than there
/// are bits.
pub(super) fn counts(
    columns: &Columns,
    terms: &Terms,
    rules: &Rules,
    now: Millis,
) -> Option<Counts> {
    let room = Bits::BITS.checked_sub(ATTRIBUTES)?;
    if u32::try_from(terms.attributes.len()).is_ok_and(|asked| asked <= room) {
        let asked = Asked::new(columns, terms, rules, now);
        return Some(look(&asked).into_counts(&asked));
    }
    None
}

impl<'a> Asked<'a> {
    fn new(columns: &'a Columns, terms: &'a Terms, rules: &'a Rules, now: Millis) -> Self {
        let keys = || terms.attributes.iter().zip(ATTRIBUTES..);
        let attributes = keys().fold(0, |bits, (_, number)| bits | bit(number));
        let as_asked = |texts: &super::Texts| {
            keys().fold((0, 0), |(has, same), ((key, value), number)| {
                let found = texts.get(key);
                (has | bit_if(found.is_some(), number), same | bit_if(found == Some(value), number))
            })
        };
        // The provider's facts one by one, each among others that hold for every order.
        let fails = |view: &crate::ProviderView, of: u32| {
            let mut bits = 0;
            let _ = provider_fits(view, terms, &mut |holds, constraint| {
                bits |= bit_if(!holds, number_of(&constraint));
                Some(())
            });
            bits & bit(of)
        };
        let with = |change: &dyn Fn(&mut crate::ProviderView)| {
            let mut view = crate::ProviderView::default();
            change(&mut view);
            view
        };
        let marked = |list: &[muster_types::AccountId]| {
            let mut marks = Marks::of(columns.owners.len());
            for number in list.iter().filter_map(|id| columns.by_id.get(id)) {
                marks.set(*number);
            }
            marks
        };
        let mut verifies = 0u8;
        for (bit, capability) in Verifies::ALL.iter().enumerate() {
            verifies |= u8::from(terms.verifies.contains(capability)) << bit;
        }
        Self {
            columns,
            terms,
            rules,
            now,
            attributes,
            own: columns.attributes.map(as_asked),
            inherited: columns.provider_attributes.map(|texts| as_asked(texts).1),
            gpus: columns.gpus.map(|free| bit_if(!gpu_fits(&terms.request.gpu, free), GPU)),
            regions: columns
                .regions
                .map(|region| fails(&with(&|view| view.region.clone_from(region)), REGION)),
            jurisdictions: columns.jurisdictions.map(|code| {
                let view = with(&|view| view.jurisdiction.clone_from(code));
                fails(&view, JURISDICTION) | fails(&view, EXCLUDE_JURISDICTION)
            }),
            signed: columns.signed.map(|signed| {
                let view = with(&|view| view.signed.clone_from(signed));
                fails(&view, SIGNED_BY_ANY) | fails(&view, SIGNED_BY_ALL)
            }),
            allowed: marked(&terms.providers),
            excluded: marked(&terms.exclude),
            verifies,
        }
    }

    /// What fails by the provider alone.
    fn provider_bits(&self, number: u32, provider: &ProviderRow) -> Bits {
        let terms = self.terms;
        at(&self.regions, provider.region).copied().unwrap_or_default()
            | at(&self.jurisdictions, provider.jurisdiction).copied().unwrap_or_default()
            | at(&self.signed, provider.signed).copied().unwrap_or_default()
            | bit_if(terms.max_risk_bps != 0 && provider.risk_bps > terms.max_risk_bps, MAX_RISK)
            | bit_if(!terms.providers.is_empty() && !self.allowed.has(number), PROVIDER)
            | bit_if(self.excluded.has(number), EXCLUDE)
    }

    #[inline]
    fn rate(&self, row: &Row) -> Option<(Rate, Option<Millis>)> {
        let other = if self.terms.interruptible {
            self.columns.interruptible.get(row.interruptible)?.as_ref()
        } else {
            None
        };
        rate_of(&row.prices, other, &self.terms.request)
    }

    /// What fails, beside `known` of its provider.
    #[inline]
    fn row_bits(
        &self,
        row: &Row,
        provider: &ProviderRow,
        known: Bits,
        quote: Option<&Quote>,
    ) -> Bits {
        let (terms, want) = (self.terms, &self.terms.request);
        let mut bits = known
            | bit_if(want.cpu_milli > row.cpu_milli, CPU)
            | bit_if(want.memory_bytes > row.memory_bytes, MEMORY)
            | bit_if(want.disk_bytes > row.disk_bytes, DISK)
            | bit_if(want.bandwidth_bps > row.bandwidth_bps, BANDWIDTH)
            | at(&self.gpus, row.gpus).copied().unwrap_or_default()
            | bit_if(!lasts(row.offered_until, terms.min_duration, self.now), DURATION)
            | bit_if(!meters(row.fuel_per_s, terms), METERED)
            | (Bits::from(self.verifies & !row.verifies)).wrapping_shl(VERIFIES);
        if self.attributes != 0 {
            let (has, same) = at(&self.own, row.attributes).copied().unwrap_or_default();
            let inherited = at(&self.inherited, provider.attributes).copied().unwrap_or_default();
            bits |= self.attributes & !(same | inherited & !has);
        }
        match quote {
            Some(quote) => {
                bits |= bit_if(quote.rate > terms.max_rate, MAX_RATE);
                let covered = bond_covers(provider.bond_free, quote.pledge, terms.min_bond);
                bits | bit_if(!covered, MIN_BOND)
            }
            None => bits | bit(MAX_RATE),
        }
    }

    /// What would let a row pass one constraint.
    fn cure(&self, number: u32, row: &Row, provider: &ProviderRow, quote: Option<&Quote>) -> Cure {
        let some = |amount: u64| match amount {
            0 => Cure::None,
            amount => Cure::Number(u128::from(amount)),
        };
        let less = |number: u128| Cure::Number(u128::MAX.saturating_sub(number));
        // A rate may be there where no quote can be made of it.
        let rate = || match quote {
            Some(quote) => Some(quote.rate),
            None => self.rate(row).map(|(rate, _)| rate),
        };
        match number {
            CPU => some(row.cpu_milli),
            MEMORY => some(row.memory_bytes),
            DISK => some(row.disk_bytes),
            BANDWIDTH => some(row.bandwidth_bps),
            GPU => Cure::Shared(row.gpus),
            REGION => Cure::Shared(provider.region),
            PROVIDER | EXCLUDE => Cure::Shared(row.provider),
            MAX_RATE => rate().map_or(Cure::None, |rate| less(rate.amount_per_hour().nanos())),
            MIN_BOND => {
                // It is asked for only where there is a quote.
                let rest = quote.and_then(|quote| provider.bond_free.checked_sub(quote.pledge));
                rest.map_or(Cure::None, |rest| Cure::Number(rest.nanos()))
            }
            MAX_RISK => less(u128::from(provider.risk_bps)),
            DURATION => some(row.offered_until.since(self.now).0),
            JURISDICTION | EXCLUDE_JURISDICTION => Cure::Shared(provider.jurisdiction),
            SIGNED_BY_ANY | SIGNED_BY_ALL => Cure::Shared(provider.signed),
            METERED => Cure::Number(u128::from(row.fuel_per_s)),
            attribute if attribute >= ATTRIBUTES => {
                let own =
                    at(&self.own, row.attributes).is_some_and(|(has, _)| has & bit(attribute) != 0);
                // Own ones come first, then those of providers.
                if own {
                    Cure::Shared(row.attributes)
                } else {
                    let own = u32::try_from(self.own.len()).unwrap_or(NONE);
                    Cure::Shared(own.saturating_add(provider.attributes))
                }
            }
            _ => Cure::None,
        }
    }

    /// How many shared values a constraint chooses from.
    fn choices(&self, number: u32) -> usize {
        let columns = self.columns;
        match number {
            GPU => self.gpus.len(),
            REGION => self.regions.len(),
            PROVIDER | EXCLUDE => columns.owners.len(),
            JURISDICTION | EXCLUDE_JURISDICTION => self.jurisdictions.len(),
            SIGNED_BY_ANY | SIGNED_BY_ALL => self.signed.len(),
            attribute if attribute >= ATTRIBUTES => {
                self.own.len().saturating_add(self.inherited.len())
            }
            _ => 0,
        }
    }

    /// The advice from what was seen, as the plain explanation words it.
    fn relax(&self, number: u32, best: &Best) -> Option<Relax> {
        let columns = self.columns;
        let marks = &best.marks;
        let unit = best.number.and_then(|number| u64::try_from(number).ok());
        let less = best.number.map(|number| u128::MAX.saturating_sub(number));
        let amount = |nanos| Amount::from_nanos(nanos);
        let texts = |shared: &super::Shared<String>| -> Vec<String> {
            let marked = shared.sorted().filter(|(text, at)| !text.is_empty() && marks.has(*at));
            marked.take(LISTED).map(|(text, _)| text.clone()).collect()
        };
        let accounts = || {
            let marked = columns.by_id.iter().filter(|(_, at)| marks.has(**at));
            marked.take(LISTED).map(|(id, _)| *id).collect()
        };
        match number {
            CPU => unit.map(|to_milli| Relax::LowerCpu { to_milli }),
            MEMORY => unit.map(|to_bytes| Relax::LowerMemory { to_bytes }),
            DISK => unit.map(|to_bytes| Relax::LowerDisk { to_bytes }),
            BANDWIDTH => unit.map(|to_bps| Relax::LowerBandwidth { to_bps }),
            GPU => columns
                .gpus
                .sorted()
                .filter(|(_, at)| marks.has(*at))
                .map(|(free, _)| relax::gpu(&self.terms.request.gpu, free))
                .fold(None, relax::easier),
            REGION => {
                let marked = columns.regions.sorted().filter(|(_, at)| marks.has(*at));
                let offered = marked.take(LISTED).map(|(region, _)| region.clone()).collect();
                Some(Relax::AllowRegion { offered })
            }
            PROVIDER => Some(Relax::AllowProvider { offered: accounts() }),
            EXCLUDE => Some(Relax::Include { offered: accounts() }),
            MAX_RATE => less.map(|to| Relax::RaiseMaxRate { to: Rate::per_hour(amount(to)) }),
            MIN_BOND => best.number.map(|to| Relax::LowerMinBond { to: amount(to) }),
            MAX_RISK => less
                .and_then(|to| u32::try_from(to).ok())
                .map(|to_bps| Relax::RaiseMaxRisk { to_bps }),
            DURATION => unit.map(|to| Relax::LowerDuration { to: Millis(to) }),
            JURISDICTION => nonempty(texts(&columns.jurisdictions))
                .map(|offered| Relax::AllowJurisdiction { offered }),
            EXCLUDE_JURISDICTION => nonempty(texts(&columns.jurisdictions))
                .map(|offered| Relax::IncludeJurisdiction { offered }),
            SIGNED_BY_ANY => columns
                .signed
                .sorted()
                .filter(|(_, at)| marks.has(*at))
                .map(|(signed, _)| relax::accept_auditor(signed, self.terms))
                .fold(None, relax::easier),
            SIGNED_BY_ALL => columns
                .signed
                .sorted()
                .filter(|(_, at)| marks.has(*at))
                .map(|(signed, _)| Some(relax::drop_auditor(signed, self.terms)))
                .fold(None, relax::easier),
            METERED => Some(match unit.and_then(relax::some) {
                Some(to_per_s) => Relax::LowerFuel { to_per_s },
                None => Relax::DropMetered,
            }),
            attribute if attribute >= ATTRIBUTES => self.relax_attribute(attribute, marks),
            _ => Some(Relax::DropVerifies),
        }
    }

    fn relax_attribute(&self, number: u32, marks: &Marks) -> Option<Relax> {
        let index = number.checked_sub(ATTRIBUTES)? as usize;
        let key = self.terms.attributes.keys().nth(index)?;
        let own = u32::try_from(self.own.len()).unwrap_or(NONE);
        let own_values = self.columns.attributes.sorted().filter(|(_, at)| marks.has(*at));
        let inherited = self.columns.provider_attributes.sorted();
        let inherited = inherited.filter(|(_, at)| marks.has(at.saturating_add(own)));
        own_values
            .chain(inherited)
            .map(|(texts, _)| Some(relax::attribute(texts.get(key))))
            .fold(None, relax::easier)
    }

    /// The constraints with their bits, in the order of the constraints.
    fn constraints(&self) -> Vec<(Constraint, u32)> {
        let mut all = vec![
            (Constraint::Cpu, CPU),
            (Constraint::Memory, MEMORY),
            (Constraint::Disk, DISK),
            (Constraint::Bandwidth, BANDWIDTH),
            (Constraint::Gpu, GPU),
            (Constraint::Region, REGION),
            (Constraint::Provider, PROVIDER),
            (Constraint::Exclude, EXCLUDE),
            (Constraint::MaxRate, MAX_RATE),
            (Constraint::MinBond, MIN_BOND),
            (Constraint::MaxRisk, MAX_RISK),
            (Constraint::Duration, DURATION),
            (Constraint::Jurisdiction, JURISDICTION),
            (Constraint::ExcludeJurisdiction, EXCLUDE_JURISDICTION),
            (Constraint::SignedByAny, SIGNED_BY_ANY),
            (Constraint::SignedByAll, SIGNED_BY_ALL),
            (Constraint::Metered, METERED),
        ];
        for (capability, number) in Verifies::ALL.iter().zip(VERIFIES..) {
            all.push((Constraint::Verifies { capability: *capability }, number));
        }
        for (key, number) in self.terms.attributes.keys().zip(ATTRIBUTES..) {
            all.push((Constraint::Attribute { key: key.clone() }, number));
        }
        all.sort();
        all
    }
}

/// The bit of a constraint that hangs on the provider.
const fn number_of(constraint: &Constraint) -> u32 {
    match constraint {
        Constraint::Region => REGION,
        Constraint::MaxRisk => MAX_RISK,
        Constraint::Jurisdiction => JURISDICTION,
        Constraint::ExcludeJurisdiction => EXCLUDE_JURISDICTION,
        Constraint::SignedByAny => SIGNED_BY_ANY,
        Constraint::SignedByAll => SIGNED_BY_ALL,
        _ => Bits::BITS,
    }
}

fn nonempty<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

/// Looks at every row, in two halves at once where there are many.
fn look(asked: &Asked<'_>) -> Seen {
    let rows = &asked.columns.rows;
    let (mut seen, mut more) = (Seen::new(asked), Seen::new(asked));
    if rows.len() < MANY {
        seen.look(asked, rows);
        return seen;
    }
    let (first, second) = rows.split_at(rows.len() / 2);
    std::thread::scope(|scope| {
        scope.spawn(|| more.look(asked, second));
        seen.look(asked, first);
    });
    seen.join(&more);
    seen
}

/// So many rows take longer than a thread takes to start.
const MANY: usize = 50_000;

/// What was seen so far.
struct Seen {
    matched: u64,
    cheapest: Option<Rate>,
    tallies: Vec<Tally>,
}

impl Seen {
    fn new(asked: &Asked<'_>) -> Self {
        let tallies = (0..Bits::BITS).map(|number| Tally::of(asked.choices(number))).collect();
        Self { matched: 0, cheapest: None, tallies }
    }

    fn look(&mut self, asked: &Asked<'_>, rows: &[Row]) {
        let mut of_provider = (NONE, 0);
        for row in rows {
            let Some(provider) = at(&asked.columns.providers, row.provider) else { continue };
            if of_provider.0 != row.provider {
                of_provider = (row.provider, asked.provider_bits(row.provider, provider));
            }
            let weight = asked.terms.weight(provider.risk_bps);
            let quote = asked
                .rate(row)
                .and_then(|(rate, notice)| Quote::at(rate, notice, weight, asked.rules));
            let mut bits = asked.row_bits(row, provider, of_provider.1, quote.as_ref());
            if let (0, Some(quote)) = (bits, quote) {
                self.matched = self.matched.saturating_add(1);
                let rate = self.cheapest.map_or(quote.rate, |least| least.min(quote.rate));
                self.cheapest = Some(rate);
            }
            let alone = bits.is_power_of_two();
            while bits != 0 {
                let number = bits.trailing_zeros();
                bits &= bits.wrapping_sub(1);
                if let Some(tally) = self.tallies.get_mut(number as usize) {
                    tally.count(alone, asked.cure(number, row, provider, quote.as_ref()));
                }
            }
        }
    }

    /// Adds what was seen in other rows.
    fn join(&mut self, other: &Self) {
        self.matched = self.matched.saturating_add(other.matched);
        self.cheapest = match (self.cheapest, other.cheapest) {
            (Some(left), Some(right)) => Some(left.min(right)),
            (left, right) => left.or(right),
        };
        for (mine, more) in self.tallies.iter_mut().zip(&other.tallies) {
            mine.join(more);
        }
    }

    fn into_counts(self, asked: &Asked<'_>) -> Counts {
        let mut excluded = Vec::new();
        for (constraint, number) in asked.constraints() {
            let Some(tally) = self.tallies.get(number as usize) else { continue };
            if tally.total > 0 {
                let relax = asked.relax(number, tally.best());
                let (alone, total) = (tally.alone, tally.total);
                excluded.push(Exclusion { constraint, alone, total, relax });
            }
        }
        Counts {
            hosts: asked.columns.host_count(),
            matched: self.matched,
            cheapest: self.cheapest,
            excluded,
        }
    }
}
