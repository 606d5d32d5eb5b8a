//! The groups of one roll-up over the rows of one project, at one tier.

use tidewater_model::names::ProjectName;
use tidewater_model::schema::Tier;

use super::axis::{Axis, Sorted};
use crate::feed::Keys;
use crate::group::{Codes, Groups};
use crate::section::{EncodedSlice, dimension, measure, time};
use crate::state::{StateKind, States};

/// Groups by (bucket, dimensions) with their states.
pub(super) struct Table {
    pub tier: Tier,
    /// The bucket numbers behind the time codes, in order of first sight.
    buckets: Vec<i64>,
    /// Finds a bucket's code.
    known: hashbrown::HashMap<i64, u32>,
    pub groups: Groups,
    pub states: Vec<States>,
    /// The codes of a batch: time, then the dimensions.
    codes: Vec<Vec<u32>>,
}

impl Table {
    /// Without rows.
    pub fn new(tier: Tier, dimensions: usize, kinds: &[StateKind]) -> Self {
        Table {
            tier,
            buckets: Vec::new(),
            known: hashbrown::HashMap::new(),
            groups: Groups::new(vec![Codes::Given(1); dimensions + 1]),
            states: kinds.iter().map(|kind| States::new(*kind, false)).collect(),
            codes: vec![Vec::new(); dimensions + 1],
        }
    }

    pub fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// Finds the groups of a batch's rows and makes room for their states.
    pub fn assign<'a>(
        &'a mut self,
        times: &[i64],
        axes: &[Axis],
        used: &[usize],
    ) -> (Keys<'a>, &'a mut [States]) {
        let mut codes = std::mem::take(&mut self.codes);
        codes[0].clear();
        self.bucket_codes(times, &mut codes[0]);
        for (place, axis) in used.iter().enumerate() {
            codes[place + 1].clear();
            codes[place + 1].extend_from_slice(&axes[*axis].rows);
            self.groups.dimensions[place + 1] = Codes::Given(axes[*axis].cardinality());
        }
        self.codes = codes;
        self.assign_codes();
        (Keys::of(self.groups.assigned()), &mut self.states)
    }

    fn assign_codes(&mut self) {
        self.groups.dimensions[0] = Codes::Given(self.buckets.len().max(1));
        self.groups.assign(&self.codes).expect("a segment has fewer rows than there may be groups");
        let groups = self.groups.len();
        self.states.iter_mut().for_each(|states| states.resize(groups));
    }

    fn bucket_codes(&mut self, times: &[i64], out: &mut Vec<u32>) {
        let width_us = self.tier.width_us();
        // Rows in time order stay in one bucket for long.
        let (mut start, mut passed_us, mut code) = (0, 0, 0);
        out.extend(times.iter().map(|time| {
            if time.wrapping_sub(start) as u64 >= passed_us {
                let bucket = time.div_euclid(width_us);
                (start, passed_us) = (bucket * width_us, width_us as u64);
                code = self.code_of(bucket);
            }
            code
        }));
    }

    fn code_of(&mut self, bucket: i64) -> u32 {
        *self.known.entry(bucket).or_insert_with(|| {
            self.buckets.push(bucket);
            self.buckets.len() as u32 - 1
        })
    }

    /// The same rows at a coarser tier.
    pub fn coarsened(&self, tier: Tier, kinds: &[StateKind]) -> Table {
        let mut coarse = Table::new(tier, self.codes.len() - 1, kinds);
        coarse.groups.dimensions.clone_from(&self.groups.dimensions);
        let width_us = self.tier.width_us();
        let codes_of: Vec<u32> = self
            .buckets
            .iter()
            .map(|bucket| coarse.code_of((bucket * width_us).div_euclid(tier.width_us())))
            .collect();
        let len = self.groups.len();
        for (place, codes) in coarse.codes.iter_mut().enumerate() {
            let of_group = (0..len).map(|group| self.groups.key(group)[place]);
            match place {
                0 => codes.extend(of_group.map(|code| codes_of[code as usize])),
                _ => codes.extend(of_group),
            }
        }
        coarse.assign_codes();
        let Table { groups, states, .. } = &mut coarse;
        for (own, fine) in states.iter_mut().zip(&self.states) {
            own.merge(fine, groups.assigned());
        }
        coarse
    }

    /// The slice of these groups. `sorted` has the order of every axis that is used.
    pub fn encode(&self, project: &ProjectName, sorted: &[Option<Sorted>], used: &[usize]) -> EncodedSlice {
        let sorted: Vec<&Sorted> =
            used.iter().map(|axis| sorted[*axis].as_ref().expect("axes in use are sorted before")).collect();
        let mut by_time: Vec<u32> = (0..self.buckets.len() as u32).collect();
        by_time.sort_unstable_by_key(|code| self.buckets[*code as usize]);
        let mut time_ranks = vec![0; by_time.len()];
        by_time.iter().zip(0..).for_each(|(code, rank)| time_ranks[*code as usize] = rank);
        let mut ranks: Vec<&[u32]> = vec![&time_ranks];
        ranks.extend(sorted.iter().map(|sorted| sorted.ranks.as_slice()));
        let order = sort_groups(&self.groups, &ranks);
        let bucket = |group: &u32| self.buckets[self.groups.key(*group as usize)[0] as usize];
        let buckets: Vec<i64> = order.iter().map(bucket).collect();
        let mut columns = vec![time::write(&buckets)];
        for (place, sorted) in sorted.iter().enumerate() {
            let codes: Vec<u32> = order
                .iter()
                .map(|group| sorted.ranks[self.groups.key(*group as usize)[place + 1] as usize])
                .collect();
            columns.push(dimension::write(&sorted.bytes, &codes, sorted.ranks.len()));
        }
        columns.extend(self.states.iter().map(|states| measure::write(states, &order)));
        let start_us = |bucket: Option<&i64>| bucket.map_or(0, |bucket| bucket * self.tier.width_us());
        EncodedSlice {
            project: project.clone(),
            rows: order.len() as u64,
            min_us: start_us(buckets.first()),
            max_us: start_us(buckets.last()),
            columns,
        }
    }

    /// Bytes held, without those of the axes.
    pub fn memory_bytes(&self) -> usize {
        self.groups.memory_bytes() + self.states.iter().map(States::memory_bytes).sum::<usize>()
    }
}

/// The groups by the ranks of their codes.
fn sort_groups(groups: &Groups, ranks: &[&[u32]]) -> Vec<u32> {
    let bits_of = |values: usize| usize::BITS - values.saturating_sub(1).leading_zeros();
    let widths: Vec<u32> = ranks.iter().map(|ranks| bits_of(ranks.len())).collect();
    let group_bits = bits_of(groups.len());
    let rank = |group: usize, place: usize| ranks[place][groups.key(group)[place] as usize];
    if widths.iter().sum::<u32>() + group_bits <= u64::BITS {
        // Ranks and the group's number in one number: to sort numbers is fastest.
        let pack = |group: usize| {
            let key =
                (0..ranks.len()).fold(0, |key, place| key << widths[place] | u64::from(rank(group, place)));
            key << group_bits | group as u64
        };
        let mut packed: Vec<u64> = (0..groups.len()).map(pack).collect();
        packed.sort_unstable();
        let mask = u64::MAX.checked_shr(u64::BITS - group_bits).unwrap_or(0);
        return packed.into_iter().map(|number| (number & mask) as u32).collect();
    }
    let mut order: Vec<u32> = (0..groups.len() as u32).collect();
    order.sort_unstable_by(|a, b| {
        let key = |group: u32| (0..ranks.len()).map(move |place| rank(group as usize, place));
        key(*a).cmp(key(*b))
    });
    order
}
