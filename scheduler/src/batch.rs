//! All nodes filtered and scored for one signature, kept current by the changes of the snapshot.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::cycle::Random;
use crate::plugin::{Normalize, PLUGINS, Row};
use crate::pod::Requirements;
use crate::snapshot::{NodeInfo, Slot, Snapshot};

/// Whether the node exists and every plugin lets the pod pass.
pub fn feasible(wants: &Requirements, node: &NodeInfo) -> bool {
    node.known && PLUGINS.iter().all(|row| row.plugin.filter(wants, node).is_ok())
}

/// The plugins that score pods with certain requirements.
pub struct Scoring {
    rows: Vec<&'static Row>,
}

impl Scoring {
    pub fn new(wants: &Requirements) -> Self {
        let scoring = PLUGINS.iter().filter(|row| row.weight > 0 && row.plugin.pre_score(wants));
        Self { rows: scoring.collect() }
    }

    /// How many raw scores a node has.
    pub fn width(&self) -> usize {
        self.rows.len()
    }

    /// Writes the node's raw scores, one a scorer.
    pub fn score(&self, wants: &Requirements, node: &NodeInfo, raw: &mut [i32]) {
        for (score, row) in raw.iter_mut().zip(&self.rows) {
            *score = row.plugin.score(wants, node).clamp(0, i32::MAX.into()) as i32;
        }
    }

    /// The weighted sum of the raw scores, normalized by the highest of each scorer.
    pub fn total(&self, raw: &[i32], highest: &[i32]) -> u32 {
        let each = self.rows.iter().zip(raw).zip(highest);
        let sum: i64 = each
            .map(|((row, raw), max)| row.weight * row.plugin.normalize_score().apply((*raw).into(), (*max).into()))
            .sum();
        sum.clamp(0, i64::from(u32::MAX) - 1) as u32
    }
}

/// A tournament over the nodes: a leaf is a slot's place, an inner node the better of its two. The root knows the best score
/// and how many nodes have it; one changed node costs its filters, its scores and one path to the root.
pub struct Batch {
    wants: Arc<Requirements>,
    scoring: Scoring,
    /// The snapshot's generation that this reflects; none before the first look.
    seen: Option<u64>,
    /// A power of two, at least the number of slots; leaves are `tree[leaves..]`.
    leaves: usize,
    tree: Vec<Place>,
    /// Raw scores of each slot.
    raw: Vec<i32>,
    /// For each scorer that normalizes: how many feasible nodes have which raw score.
    counts: Vec<BTreeMap<i32, u32>>,
    highest: Vec<i32>,
}

/// The best of a subtree.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    score: u32,
    /// How many feasible nodes have this score; with none, the score means nothing.
    count: u32,
}

impl Place {
    fn better(self, other: Self) -> Self {
        let rank = |place: Self| (place.count > 0, place.score);
        match rank(self).cmp(&rank(other)) {
            Ordering::Equal => Self { count: self.count + other.count, ..self },
            Ordering::Greater => self,
            Ordering::Less => other,
        }
    }
}

impl Batch {
    pub fn new(wants: Arc<Requirements>) -> Self {
        let scoring = Scoring::new(&wants);
        let width = scoring.width();
        Self {
            wants,
            scoring,
            seen: None,
            leaves: 0,
            tree: Vec::new(),
            raw: Vec::new(),
            counts: vec![BTreeMap::new(); width],
            highest: vec![0; width],
        }
    }

    /// Looks again at every node that changed since the last time, or at all at first.
    pub fn catch_up(&mut self, snapshot: &Snapshot) {
        let known = self.seen.filter(|_| snapshot.slots() <= self.leaves);
        let changes = known.and_then(|seen| snapshot.changes_since(seen));
        let behind = known.map_or(u64::MAX, |seen| snapshot.generation() - seen);
        match changes {
            Some(changes) if behind <= 2 * snapshot.slots() as u64 => {
                for slot in changes {
                    self.evaluate(slot, snapshot.node(slot));
                    self.rank(slot);
                    self.promote(slot);
                }
            }
            _ => self.rebuild(snapshot),
        }
        if self.highest_changed() {
            for slot in 0..self.leaves as Slot {
                self.rank(slot);
            }
            self.promote_all();
        }
        self.seen = Some(snapshot.generation());
    }

    /// The feasible node with the highest score; among equals, one by chance.
    pub fn best(&self, random: &mut Random) -> Option<Slot> {
        let root = *self.tree.get(1)?;
        let mut chosen = random.draw().checked_rem(root.count)?;
        let mut at = 1;
        while at < self.leaves {
            let left = self.tree[2 * at];
            let equals = if left.score == root.score { left.count } else { 0 };
            at *= 2;
            if chosen >= equals {
                chosen -= equals;
                at += 1;
            }
        }
        Some((at - self.leaves) as Slot)
    }

    fn rebuild(&mut self, snapshot: &Snapshot) {
        self.leaves = snapshot.slots().next_power_of_two().max(2);
        self.tree = vec![Place::default(); 2 * self.leaves];
        self.raw = vec![0; self.scoring.width() * self.leaves];
        self.counts.iter_mut().for_each(BTreeMap::clear);
        for slot in snapshot.nodes() {
            self.evaluate(*slot, snapshot.node(*slot));
        }
        self.highest_changed();
        for slot in snapshot.nodes() {
            self.rank(*slot);
        }
        self.promote_all();
    }

    /// Filters and scores one node. Its leaf says feasible or not; `rank` gives the place.
    fn evaluate(&mut self, slot: Slot, node: &NodeInfo) {
        let leaf = self.leaves + slot as usize;
        let width = self.scoring.width();
        let raw = &mut self.raw[slot as usize * width..][..width];
        if self.tree[leaf].count > 0 {
            count(&self.scoring, &mut self.counts, raw, false);
        }
        self.tree[leaf].count = 0;
        if feasible(&self.wants, node) {
            self.scoring.score(&self.wants, node, raw);
            count(&self.scoring, &mut self.counts, raw, true);
            self.tree[leaf].count = 1;
        }
    }

    fn rank(&mut self, slot: Slot) {
        let leaf = self.leaves + slot as usize;
        let width = self.scoring.width();
        self.tree[leaf].score = self.scoring.total(&self.raw[slot as usize * width..][..width], &self.highest);
    }

    fn promote(&mut self, slot: Slot) {
        let mut at = (self.leaves + slot as usize) / 2;
        while at >= 1 {
            self.tree[at] = self.tree[2 * at].better(self.tree[2 * at + 1]);
            at /= 2;
        }
    }

    fn promote_all(&mut self) {
        for at in (1..self.leaves).rev() {
            self.tree[at] = self.tree[2 * at].better(self.tree[2 * at + 1]);
        }
    }

    /// Brings the highest raw scores up to date; tells whether any moved, which moves every normalized score.
    fn highest_changed(&mut self) -> bool {
        let mut changed = false;
        for (highest, counts) in self.highest.iter_mut().zip(&self.counts) {
            let now = counts.last_key_value().map_or(0, |(raw, _)| *raw);
            changed |= std::mem::replace(highest, now) != now;
        }
        changed
    }
}

/// Adds or removes a feasible node's raw scores, for the scorers that need to know the highest.
fn count(scoring: &Scoring, counts: &mut [BTreeMap<i32, u32>], raw: &[i32], add: bool) {
    for ((row, counts), raw) in scoring.rows.iter().zip(counts).zip(raw) {
        if row.plugin.normalize_score() == Normalize::AsIs {
            continue;
        }
        let count = counts.entry(*raw).or_default();
        *count = if add { *count + 1 } else { count.saturating_sub(1) };
        if *count == 0 {
            counts.remove(raw);
        }
    }
}
