//! The scheduling cycle for one pod: filter, score, select.
//!
//! A pod whose signature is new is placed as upstream does it: nodes are tried from a rotating start until enough are
//! feasible, and the best of those wins. From the second pod of a signature on, a [`Batch`] keeps all nodes filtered and
//! scored for it, and only nodes that have changed since are looked at again (KEP-5598 taken further).

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::batch::{Batch, Scoring, feasible};
use crate::plugin::{self, PLUGINS, PluginSet, PreFilter, Rejection};
use crate::pod::{Pod, Requirements};
use crate::snapshot::{Slot, Snapshot};

/// Nodes that are always tried, however small the percentage.
const MIN_FEASIBLE_NODES: usize = 100;
const MIN_PERCENTAGE: usize = 5;
/// Signatures remembered; the one unused for longest goes.
const SIGNATURES: usize = 64;

/// Why no node took the pod.
#[derive(Debug, Default)]
pub struct Diagnosis {
    /// How many nodes there are.
    pub nodes: usize,
    /// Set when a plugin refused before any node was looked at.
    pub pre_filter: Option<String>,
    /// How many nodes gave each reason.
    pub reasons: BTreeMap<Cow<'static, str>, usize>,
    pub rejectors: PluginSet,
    /// Nodes that removing pods might free.
    pub resolvable: Vec<Slot>,
}

/// The pod fits no node.
#[derive(Debug)]
pub struct FitError {
    pub message: String,
    /// The plugins that refused; empty when there are no nodes at all.
    pub rejectors: PluginSet,
}

/// Chooses nodes. All it knows of the cluster is the snapshot it is given; all its chance comes from the seed.
pub struct Cycle {
    percentage: usize,
    next_start: usize,
    random: Random,
    signatures: HashMap<usize, Signature>,
    uses: u64,
}

/// What is remembered of pods with the same requirements. It holds them, so that their address stays theirs.
struct Signature {
    _wants: Arc<Requirements>,
    used: u64,
    batch: Option<Batch>,
    failure: Option<Failure>,
}

/// The last failure, good as long as nothing has changed.
struct Failure {
    generation: u64,
    priority: i32,
    may_preempt: bool,
    error: Arc<FitError>,
}

impl Cycle {
    /// `percentage` is upstream's percentageOfNodesToScore: 0 adapts to the number of nodes.
    pub fn new(percentage: u8, seed: u64) -> Self {
        Self {
            percentage: percentage.min(100).into(),
            next_start: 0,
            random: Random(seed),
            signatures: HashMap::new(),
            uses: 0,
        }
    }

    /// The node for the pod, or the reasons why there is none.
    pub fn schedule(&mut self, pod: &Pod, snapshot: &Snapshot) -> Result<Slot, Arc<FitError>> {
        if snapshot.nodes().is_empty() {
            let message = "no nodes available to schedule pods".to_owned();
            return Err(Arc::new(FitError { message, rejectors: 0 }));
        }
        let wants = &pod.requirements;
        let nominated = snapshot.find(&pod.nominated_node_name);
        if let Some(slot) = nominated.filter(|slot| feasible(wants, snapshot.node(*slot))) {
            return Ok(slot);
        }
        let mut narrowed: Option<(Vec<String>, PluginSet)> = None;
        for (index, row) in PLUGINS.iter().enumerate() {
            match row.plugin.pre_filter(pod) {
                PreFilter::All => {}
                PreFilter::Nodes(names) => {
                    let (kept, by) = narrowed.take().map_or((names.clone(), 0), |(kept, by)| {
                        (kept.into_iter().filter(|name| names.contains(name)).collect(), by)
                    });
                    narrowed = Some((kept, by | 1 << index));
                }
                PreFilter::Reject(rejection) => return Err(refused(pod, snapshot, index, &rejection)),
            }
        }
        match narrowed {
            Some((names, by)) => {
                let slots: Vec<_> = names.iter().filter_map(|name| snapshot.find(name)).collect();
                let found = self.search(wants, snapshot, &slots);
                found.ok_or_else(|| unfit(pod, snapshot, &slots, by))
            }
            None => self.schedule_anywhere(pod, snapshot),
        }
    }

    fn schedule_anywhere(&mut self, pod: &Pod, snapshot: &Snapshot) -> Result<Slot, Arc<FitError>> {
        let (key, repeated) = self.remember(&pod.requirements);
        let Some(signature) = self.signatures.get_mut(&key) else { unreachable!("remembered just now") };
        if let Some(last) = &signature.failure
            && (last.generation, last.priority, last.may_preempt)
                == (snapshot.generation(), pod.priority, pod.may_preempt)
        {
            return Err(last.error.clone());
        }
        let found = if repeated {
            let batch = signature.batch.get_or_insert_with(|| Batch::new(pod.requirements.clone()));
            batch.catch_up(snapshot);
            batch.best(&mut self.random)
        } else {
            self.search(&pod.requirements, snapshot, snapshot.nodes())
        };
        found.ok_or_else(|| {
            let error = unfit(pod, snapshot, snapshot.nodes(), 0);
            if let Some(signature) = self.signatures.get_mut(&key) {
                let (priority, may_preempt) = (pod.priority, pod.may_preempt);
                let generation = snapshot.generation();
                signature.failure = Some(Failure { generation, priority, may_preempt, error: error.clone() });
            }
            error
        })
    }

    /// Finds or makes room for the signature; tells its key and whether it was known.
    fn remember(&mut self, wants: &Arc<Requirements>) -> (usize, bool) {
        self.uses += 1;
        let key = Arc::as_ptr(wants) as usize;
        if let Some(signature) = self.signatures.get_mut(&key) {
            signature.used = self.uses;
            return (key, true);
        }
        if self.signatures.len() == SIGNATURES {
            let oldest = self.signatures.iter().min_by_key(|(_, signature)| signature.used).map(|(key, _)| *key);
            oldest.and_then(|key| self.signatures.remove(&key));
        }
        let signature = Signature { _wants: wants.clone(), used: self.uses, batch: None, failure: None };
        self.signatures.insert(key, signature);
        (key, false)
    }

    /// Filters the nodes from where the last search ended, until enough are feasible, and takes the best.
    fn search(&mut self, wants: &Requirements, snapshot: &Snapshot, nodes: &[Slot]) -> Option<Slot> {
        let wanted = nodes_to_find(self.percentage, nodes.len());
        let start = self.next_start.checked_rem(nodes.len())?;
        let rotated = nodes[start..].iter().chain(&nodes[..start]);
        let mut tried = 0;
        let looked_at = rotated.inspect(|_| tried += 1);
        let found: Vec<_> =
            looked_at.copied().filter(|slot| feasible(wants, snapshot.node(*slot))).take(wanted).collect();
        self.next_start = start + tried;
        if let [only] = found[..] {
            return Some(only);
        }
        let scoring = Scoring::new(wants);
        let width = scoring.width();
        let mut raw = vec![0; width * found.len()];
        for (scores, slot) in raw.chunks_mut(width).zip(&found) {
            scoring.score(wants, snapshot.node(*slot), scores);
        }
        let highest: Vec<i32> =
            (0..width).map(|scorer| raw.iter().skip(scorer).step_by(width).copied().max().unwrap_or(0)).collect();
        let ranked = raw.chunks(width).map(|scores| (scoring.total(scores, &highest), self.random.draw()));
        ranked.zip(&found).max_by_key(|(rank, _)| *rank).map(|(_, slot)| *slot)
    }
}

/// How many feasible nodes end the search, of this many nodes.
fn nodes_to_find(percentage: usize, nodes: usize) -> usize {
    if nodes < MIN_FEASIBLE_NODES {
        return nodes;
    }
    let percentage = if percentage == 0 { 50usize.saturating_sub(nodes / 125).max(MIN_PERCENTAGE) } else { percentage };
    (nodes * percentage / 100).max(MIN_FEASIBLE_NODES)
}

fn refused(pod: &Pod, snapshot: &Snapshot, plugin: usize, rejection: &Rejection) -> Arc<FitError> {
    let diagnosis = Diagnosis {
        nodes: snapshot.nodes().len(),
        pre_filter: Some(rejection.reasons.join(", ")),
        rejectors: 1 << plugin,
        ..Diagnosis::default()
    };
    fit_error(pod, snapshot, &diagnosis)
}

/// Asks each of the nodes why. `narrowed_by` are the plugins that have excluded all others.
fn unfit(pod: &Pod, snapshot: &Snapshot, nodes: &[Slot], narrowed_by: PluginSet) -> Arc<FitError> {
    let mut diagnosis = Diagnosis { nodes: snapshot.nodes().len(), rejectors: narrowed_by, ..Diagnosis::default() };
    for slot in nodes {
        let info = snapshot.node(*slot);
        for (index, row) in PLUGINS.iter().enumerate() {
            let Err(rejection) = row.plugin.filter(&pod.requirements, info) else { continue };
            diagnosis.rejectors |= 1 << index;
            if !rejection.unresolvable {
                diagnosis.resolvable.push(*slot);
            }
            for reason in rejection.reasons {
                *diagnosis.reasons.entry(reason).or_default() += 1;
            }
            break;
        }
    }
    let absent = diagnosis.nodes - nodes.len();
    if absent > 0 {
        let by = plugin::names(narrowed_by).join(" ");
        diagnosis.reasons.insert(format!("node(s) didn't satisfy plugin(s) [{by}]").into(), absent);
    }
    fit_error(pod, snapshot, &diagnosis)
}

fn fit_error(pod: &Pod, snapshot: &Snapshot, diagnosis: &Diagnosis) -> Arc<FitError> {
    let post_filter = PLUGINS.iter().find_map(|row| row.plugin.post_filter(pod, snapshot, diagnosis));
    let pre_filter = diagnosis.pre_filter.as_deref();
    let message = fit_message(diagnosis.nodes, pre_filter, &diagnosis.reasons, post_filter.as_deref());
    Arc::new(FitError { message, rejectors: diagnosis.rejectors })
}

/// The sentence users know: `0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s).`
pub fn fit_message(
    nodes: usize,
    pre_filter: Option<&str>,
    reasons: &BTreeMap<Cow<'static, str>, usize>,
    post_filter: Option<&str>,
) -> String {
    let mut message = format!("0/{nodes} nodes are available:");
    if let Some(pre_filter) = pre_filter {
        message += &format!(" {pre_filter}.");
    } else if !reasons.is_empty() {
        let mut counted: Vec<_> = reasons.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        counted.sort_unstable();
        message += &format!(" {}.", counted.join(", "));
    }
    if let Some(post_filter) = post_filter {
        message += &format!(" {post_filter}");
    }
    message
}

/// A small seeded generator (SplitMix64): chance that a test can repeat.
pub struct Random(pub u64);

impl Random {
    pub fn draw(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 32) as u32
    }
}

#[cfg(test)]
#[path = "cycle_tests.rs"]
mod tests;
