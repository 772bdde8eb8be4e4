//! Verdicts, and what of them is other than expected.

use super::table::Test;
use std::collections::BTreeMap;
use std::time::Duration;

/// How a test ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    Failed,
    Skipped,
}

impl Outcome {
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Passed => "ok",
            Outcome::Failed => "FAIL",
            Outcome::Skipped => "skip",
        }
    }

    /// The outcome of that word.
    pub fn from_word(word: &str) -> Option<Outcome> {
        [Outcome::Passed, Outcome::Failed, Outcome::Skipped].into_iter().find(|outcome| outcome.word() == word)
    }
}

/// How a test ended, after what time and why.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub outcome: Outcome,
    pub seconds: f64,
    /// Why it did not pass; empty when it did.
    pub reason: String,
}

impl Verdict {
    pub fn passed(seconds: f64) -> Verdict {
        Verdict { outcome: Outcome::Passed, seconds, reason: String::new() }
    }

    pub fn failed(seconds: f64, reason: impl Into<String>) -> Verdict {
        Verdict { outcome: Outcome::Failed, seconds, reason: reason.into() }
    }

    pub fn too_long(took: Duration) -> Verdict {
        Verdict::failed(took.as_secs_f64(), format!("ended after {} s, the limit of a test", took.as_secs()))
    }

    pub fn broken(why: &anyhow::Error) -> Verdict {
        Verdict::failed(0.0, format!("{why:#}"))
    }

    pub fn skipped(reason: &str) -> Verdict {
        Verdict { outcome: Outcome::Skipped, seconds: 0.0, reason: reason.to_owned() }
    }

    pub fn is_good(&self) -> bool {
        self.outcome != Outcome::Failed
    }
}

/// The verdicts of a run.
#[derive(Default)]
pub struct Results(BTreeMap<String, Verdict>);

impl Results {
    pub fn add(&mut self, name: &str, verdict: Verdict) {
        self.0.insert(name.to_owned(), verdict);
    }

    /// By the tests' names.
    pub fn verdicts(&self) -> &BTreeMap<String, Verdict> {
        &self.0
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// How many ended so.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.0.values().filter(|verdict| verdict.outcome == outcome).count()
    }

    /// Says what is other than expected, and what took longest; whether nothing failed that was to pass. `expected` has the tests that
    /// are known not to pass.
    pub fn tell(&self, chosen: &[&Test], expected: &BTreeMap<String, String>, took: Duration) -> bool {
        let is =
            |test: &Test, outcome: Outcome| self.0.get(&test.name).is_some_and(|verdict| verdict.outcome == outcome);
        let mut slowest: Vec<(&String, &Verdict)> = self.0.iter().collect();
        slowest.sort_by(|a, b| b.1.seconds.total_cmp(&a.1.seconds));
        println!("\nThe slowest:");
        slowest.iter().take(10).for_each(|(name, verdict)| println!("  {:7.1} s  {name}", verdict.seconds));
        let newly = |good: bool| {
            let other =
                move |test: &&&Test| expected.contains_key(&test.name) == good && is(test, Outcome::Passed) == good;
            chosen.iter().filter(other).map(|test| test.name.as_str()).collect::<Vec<_>>()
        };
        let (passes, fails) = (newly(true), newly(false));
        for (what, names) in [("Newly passes", &passes), ("Newly fails", &fails)] {
            if !names.is_empty() {
                println!("\n{what}:");
                names.iter().for_each(|name| println!("  {name}"));
            }
        }
        let (passed, failed, skipped) =
            (self.count(Outcome::Passed), self.count(Outcome::Failed), self.count(Outcome::Skipped));
        println!("\n{passed} passed, {failed} failed, {skipped} skipped, in {:.0} s", took.as_secs_f64());
        fails.is_empty()
    }
}
