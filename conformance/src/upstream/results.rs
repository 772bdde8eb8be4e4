//! Verdicts, what is expected of each test, and the page that publishes them.

use super::Subset;
use super::table::Test;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Passed,
    Failed,
    Skipped,
}

/// How a test ended.
#[derive(Clone, Debug)]
pub struct Verdict {
    kind: Kind,
    pub seconds: f64,
    /// Why it did not pass; empty when it did.
    pub reason: String,
}

impl Verdict {
    pub fn passed(seconds: f64) -> Verdict {
        Verdict { kind: Kind::Passed, seconds, reason: String::new() }
    }

    pub fn failed(seconds: f64, reason: impl Into<String>) -> Verdict {
        Verdict { kind: Kind::Failed, seconds, reason: reason.into() }
    }

    pub fn too_long(took: Duration) -> Verdict {
        Verdict::failed(took.as_secs_f64(), format!("ended after {} s, the limit of a test", took.as_secs()))
    }

    pub fn broken(why: &anyhow::Error) -> Verdict {
        Verdict::failed(0.0, format!("{why:#}"))
    }

    pub fn skipped(reason: &str) -> Verdict {
        Verdict { kind: Kind::Skipped, seconds: 0.0, reason: reason.to_owned() }
    }

    pub fn is_good(&self) -> bool {
        self.kind != Kind::Failed
    }

    pub fn word(&self) -> &'static str {
        match self.kind {
            Kind::Passed => "ok",
            Kind::Failed => "FAIL",
            Kind::Skipped => "skip",
        }
    }
}

/// The verdicts of a run.
#[derive(Default)]
pub struct Results(BTreeMap<String, Verdict>);

/// What is expected of a test that is not expected to pass: why.
pub type Expectations = BTreeMap<String, String>;

impl Results {
    pub fn add(&mut self, name: &str, verdict: Verdict) {
        self.0.insert(name.to_owned(), verdict);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Says what is other than expected, and what took longest; whether nothing failed that was to pass.
    pub fn tell(&self, chosen: &[&Test], expected: &Expectations, took: Duration) -> bool {
        let is = |test: &Test, kind: Kind| self.0.get(&test.name).is_some_and(|verdict| verdict.kind == kind);
        let count = |kind: Kind| chosen.iter().filter(|test| is(test, kind)).count();
        let mut slowest: Vec<(&String, &Verdict)> = self.0.iter().collect();
        slowest.sort_by(|a, b| b.1.seconds.total_cmp(&a.1.seconds));
        println!("\nThe slowest:");
        slowest.iter().take(10).for_each(|(name, verdict)| println!("  {:7.1} s  {name}", verdict.seconds));
        let newly = |good: bool| {
            let other =
                move |test: &&&Test| expected.contains_key(&test.name) == good && is(test, Kind::Passed) == good;
            chosen.iter().filter(other).map(|test| test.name.as_str()).collect::<Vec<_>>()
        };
        let (passes, fails) = (newly(true), newly(false));
        for (what, names) in [("Newly passes", &passes), ("Newly fails", &fails)] {
            if !names.is_empty() {
                println!("\n{what}:");
                names.iter().for_each(|name| println!("  {name}"));
            }
        }
        let (passed, failed, skipped) = (count(Kind::Passed), count(Kind::Failed), count(Kind::Skipped));
        println!("\n{passed} passed, {failed} failed, {skipped} skipped, in {:.0} s", took.as_secs_f64());
        fails.is_empty()
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn expectations_file() -> PathBuf {
    root().join("conformance/upstream/expected-failures.tsv")
}

/// The tests that are known not to pass, with the cause: one a line, a tab in between.
pub fn expectations() -> Result<Expectations> {
    let file = expectations_file();
    let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let row = |line: &str| line.split_once('\t').map(|(name, cause)| (name.to_owned(), cause.to_owned()));
    Ok(text.lines().filter_map(row).collect())
}

/// Writes what was seen as what is expected, and the page. Causes that were written by hand stay.
pub fn record(results: &Results, all: &[Test], chosen: &[&Test], subset: Subset, took: Duration) -> Result<()> {
    let mut expected = expectations()?;
    for test in chosen {
        match results.0.get(&test.name) {
            Some(verdict) if verdict.kind == Kind::Passed => drop(expected.remove(&test.name)),
            Some(verdict) => {
                let first = verdict.reason.lines().next().unwrap_or_default().chars().take(200).collect();
                expected.entry(test.name.clone()).or_insert(first);
            }
            None => {}
        }
    }
    let lines: String = expected.iter().map(|(name, cause)| format!("{name}\t{cause}\n")).collect();
    std::fs::write(expectations_file(), lines)?;
    let page = root().join("docs/CONFORMANCE.md");
    std::fs::create_dir_all(root().join("docs"))?;
    std::fs::write(&page, page_of(results, &expected, all, chosen, subset, took))
        .with_context(|| page.display().to_string())
}

fn page_of(
    results: &Results,
    expected: &Expectations,
    all: &[Test],
    chosen: &[&Test],
    subset: Subset,
    took: Duration,
) -> String {
    let mut page = String::from(INTRODUCTION);
    let date = time::OffsetDateTime::now_utc().date();
    let _ = writeln!(
        page,
        "\n## The last run\n\nOf {date}, commit {}, subset `{}`: {} of its {} tests passed, in {:.0} minutes with {} processors.\n",
        commit(),
        subset.name(),
        chosen.iter().filter(|test| results.0.get(&test.name).is_some_and(|it| it.kind == Kind::Passed)).count(),
        chosen.len(),
        took.as_secs_f64() / 60.0,
        std::thread::available_parallelism().map_or(0, usize::from),
    );
    page.push_str("| SIG | passed | failed | not run |\n|---|---|---|---|\n");
    let mut sigs: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    for test in all {
        let column = match results.0.get(&test.name) {
            Some(verdict) if verdict.kind == Kind::Passed => 0,
            Some(verdict) if verdict.kind == Kind::Failed => 1,
            _ => 2,
        };
        sigs.entry(&test.sig).or_default()[column] += 1;
    }
    for (sig, [passed, failed, not_run]) in &sigs {
        let _ = writeln!(page, "| {sig} | {passed} | {failed} | {not_run} |");
    }
    for (title, wanted) in [("Failed", Kind::Failed), ("Skipped", Kind::Skipped), ("Passed", Kind::Passed)] {
        let of_kind = all.iter().filter_map(|test| Some((test, results.0.get(&test.name)?)));
        let of_kind: Vec<_> = of_kind.filter(|(_, verdict)| verdict.kind == wanted).collect();
        if of_kind.is_empty() {
            continue;
        }
        let _ = writeln!(page, "\n## {title}\n");
        for (test, verdict) in of_kind {
            let cause = expected.get(&test.name).filter(|_| wanted != Kind::Passed);
            let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            let _ = writeln!(page, "- `{}` ({:.1} s){cause}", test.name, verdict.seconds);
        }
    }
    let left: Vec<&Test> = all.iter().filter(|test| !results.0.contains_key(&test.name)).collect();
    if !left.is_empty() {
        page.push_str("\n## Not run\n\nThey need what this subset leaves out: ");
        page.push_str("`hollow` nodes on which pods run in name, real `node`s, or an `extension` (CRDs, webhooks, policies, aggregation).\n\n");
        for test in left {
            let needs =
                if test.area == "extension" { format!("{}, extension", test.needs) } else { test.needs.clone() };
            let _ = writeln!(page, "- `{}` ({needs})", test.name);
        }
    }
    page
}

const INTRODUCTION: &str = concat!(
    "# Upstream's conformance tests\n\n",
    "Kubernetes decides what is Kubernetes by the tests marked `[Conformance]` in its e2e.test: 446 in v1.36. This page is written by\n",
    "`make conformance E2E_TEST=FILE SUBSET=api|hollow|full RECORD=1`; do not edit it. Causes stand in\n",
    "`conformance/upstream/expected-failures.tsv`.\n\n",
    "## Running them\n\n",
    "- Here: `make conformance E2E_TEST=path/to/e2e.test SUBSET=api`. The file is in `kubernetes-test-linux-amd64.tar.gz` of the Kubernetes\n",
    "  release v1.36, as `kubernetes/test/bin/e2e.test`. `api` needs no node, `hollow` nodes that run pods in name, `full` real ones;\n",
    "  `KUBECONFIG=FILE` takes a cluster that runs already.\n",
    "- With Hydrophone, against a cluster with real nodes: `hydrophone --conformance --kubeconfig admin.kubeconfig`.\n",
    "- With Sonobuoy: `sonobuoy run --mode=certified-conformance --kubeconfig admin.kubeconfig --wait`, then `sonobuoy retrieve`.\n",
);

fn commit() -> String {
    let output = Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(root()).output();
    let text = output
        .ok()
        .filter(|output| output.status.success())
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|| "unknown".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expected_failure_is_a_test_and_has_a_cause() {
        let all = super::super::table::tests().unwrap();
        for (name, cause) in expectations().unwrap() {
            assert!(all.iter().any(|test| test.name == name), "{name}");
            assert!(!cause.is_empty(), "{name}");
        }
    }
}
