//! The page that publishes what is known.

use super::Subset;
use super::record::{Last, Record, root};
use super::results::Outcome;
use super::table::Test;
use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

/// Writes `docs/CONFORMANCE.md`.
pub fn write(all: &[Test], record: &Record) -> Result<()> {
    let page = root().join("docs/CONFORMANCE.md");
    fs::create_dir_all(root().join("docs"))?;
    fs::write(&page, text(all, record)).with_context(|| page.display().to_string())
}

/// What is known of a test.
#[derive(Clone, Copy, PartialEq)]
enum Standing {
    Ended(Outcome),
    /// It needs real nodes, and was not run on any.
    NotApplicable,
    NotRun,
}

struct Page<'a> {
    all: &'a [Test],
    record: &'a Record,
    text: String,
}

fn text(all: &[Test], record: &Record) -> String {
    let mut page = Page { all, record, text: INTRODUCTION.to_owned() };
    page.where_it_stands();
    page.runs();
    page.sigs();
    page.failed();
    page.listed("Skipped by the test itself", Standing::Ended(Outcome::Skipped));
    page.slowest();
    page.beside_upstream();
    page.listed("Passed", Standing::Ended(Outcome::Passed));
    page.not_applicable();
    page.listed("Not run yet", Standing::NotRun);
    page.text
}

impl<'a> Page<'a> {
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = self.text.write_fmt(line);
        self.text.push('\n');
    }

    fn last(&self, test: &Test) -> Option<&'a Last> {
        self.record.tests.get(&test.name)
    }

    fn standing(&self, test: &Test) -> Standing {
        match self.last(test) {
            Some(last) => Standing::Ended(last.outcome),
            None if test.subset() == Subset::Full => Standing::NotApplicable,
            None => Standing::NotRun,
        }
    }

    fn of(&self, standing: Standing) -> Vec<&'a Test> {
        self.all.iter().filter(|test| self.standing(test) == standing).collect()
    }

    /// The numbers of tests that passed, failed (or were skipped), cannot be run here, and were not run.
    fn counts<'t>(&self, tests: impl Iterator<Item = &'t Test>) -> [usize; 4] {
        let mut counts = [0; 4];
        for test in tests {
            counts[match self.standing(test) {
                Standing::Ended(Outcome::Passed) => 0,
                Standing::Ended(_) => 1,
                Standing::NotApplicable => 2,
                Standing::NotRun => 3,
            }] += 1;
        }
        counts
    }

    fn where_it_stands(&mut self) {
        self.line(format_args!("\n## Where it stands\n"));
        self.line(format_args!(
            "| subset | tests | passed | failed | not applicable | not run |\n|---|---|---|---|---|---|"
        ));
        let all = self.all;
        for subset in [Subset::Api, Subset::Hollow, Subset::Full] {
            let tests = || all.iter().filter(|test| test.subset() <= subset);
            let [passed, failed, not_applicable, not_run] = self.counts(tests());
            let (name, count) = (subset.name(), tests().count());
            self.line(format_args!("| `{name}` | {count} | {passed} | {failed} | {not_applicable} | {not_run} |"));
        }
        self.line(format_args!(
            "\nEach subset contains the one above it. Not applicable is what needs a container, on nodes that have none."
        ));
    }

    fn runs(&mut self) {
        self.line(format_args!("\n## Runs\n"));
        self.line(format_args!("| subset | cluster | date | commit | passed | of | time | processors | at once |"));
        self.line(format_args!("|---|---|---|---|---|---|---|---|---|"));
        for run in &self.record.runs {
            let time = format!("{} min {} s", run.seconds / 60, run.seconds % 60);
            self.line(format_args!(
                "| `{}` | {} | {} | {} | {} | {} | {time} | {} | {} |",
                run.subset.name(),
                run.cluster,
                run.date,
                run.commit,
                run.passed,
                run.tests,
                run.processors,
                run.parallel,
            ));
        }
    }

    fn sigs(&mut self) {
        self.line(format_args!(
            "\n## By SIG\n\n| SIG | passed | failed | not applicable | not run |\n|---|---|---|---|---|"
        ));
        let mut sigs: BTreeMap<&str, Vec<&Test>> = BTreeMap::new();
        self.all.iter().for_each(|test| sigs.entry(&test.sig).or_default().push(test));
        for (sig, tests) in sigs {
            let [passed, failed, not_applicable, not_run] = self.counts(tests.into_iter());
            self.line(format_args!("| {sig} | {passed} | {failed} | {not_applicable} | {not_run} |"));
        }
    }

    fn failed(&mut self) {
        let failed = self.of(Standing::Ended(Outcome::Failed));
        if failed.is_empty() {
            return;
        }
        self.line(format_args!("\n## Failed, by cause"));
        let mut by_cause: BTreeMap<&str, Vec<&Test>> = BTreeMap::new();
        for test in failed {
            let cause = self.record.causes.get(&test.name).map_or("not known yet", String::as_str);
            by_cause.entry(cause).or_default().push(test);
        }
        let mut by_cause: Vec<_> = by_cause.into_iter().collect();
        by_cause.sort_by_key(|(_, tests)| std::cmp::Reverse(tests.len()));
        for (cause, tests) in by_cause {
            self.line(format_args!("\n**{cause}** ({}):\n", tests.len()));
            tests.into_iter().for_each(|test| self.line(format_args!("- `{}`", test.name)));
        }
    }

    fn slowest(&mut self) {
        let mut passed: Vec<(&Test, &Last)> =
            self.all.iter().filter_map(|test| Some((test, self.last(test)?))).collect();
        passed.retain(|(_, last)| last.outcome == Outcome::Passed);
        passed.sort_by(|a, b| b.1.seconds.total_cmp(&a.1.seconds));
        self.line(format_args!("\n## The slowest that pass\n"));
        for (test, last) in passed.into_iter().take(10) {
            let why = self.record.slow.get(&test.name).map(|why| format!(": {why}")).unwrap_or_default();
            self.line(format_args!("- {:.1} s `{}`{why}", last.seconds, test.name));
        }
    }

    fn beside_upstream(&mut self) {
        let both = self.record.upstream.iter().filter_map(|(name, there)| {
            let here = self.record.tests.get(name).filter(|last| last.outcome == Outcome::Passed)?;
            Some((here.seconds, *there))
        });
        let both: Vec<(f64, f64)> = both.collect();
        if both.is_empty() {
            return;
        }
        let (here, there) = both.iter().fold((0.0, 0.0), |(a, b), (here, there)| (a + here, b + there));
        self.line(format_args!("\n## Beside upstream\n"));
        self.line(format_args!(
            "{} tests of `api` were seen to pass on upstream's kube-apiserver v1.36 and etcd too, on the same machine and with Coracle's \
             controllers beside them. One after the other they take {here:.0} s here and {there:.0} s there; the list of what passed \
             says it test by test. Most of either is what the tests themselves wait.",
            both.len(),
        ));
    }

    /// A section with the tests of a standing; none if there are none.
    fn listed(&mut self, title: &str, standing: Standing) {
        let tests = self.of(standing);
        if tests.is_empty() {
            return;
        }
        self.line(format_args!("\n## {title}\n"));
        for test in tests {
            let seconds = self.last(test).map(|last| format!(" ({:.1} s", last.seconds)).unwrap_or_default();
            let upstream = self.record.upstream.get(&test.name).filter(|_| !seconds.is_empty());
            let upstream = upstream.map(|there| format!(", upstream {there:.1} s")).unwrap_or_default();
            let end = if seconds.is_empty() { "" } else { ")" };
            let cause = self.record.causes.get(&test.name).map(|cause| format!(": {cause}")).unwrap_or_default();
            self.line(format_args!("- `{}`{seconds}{upstream}{end}{cause}", test.name));
        }
    }

    fn not_applicable(&mut self) {
        let tests = self.of(Standing::NotApplicable);
        if tests.is_empty() {
            return;
        }
        self.line(format_args!("\n## Not applicable without real nodes"));
        let mut by_why: BTreeMap<&str, Vec<&Test>> = BTreeMap::new();
        tests.into_iter().for_each(|test| by_why.entry(test.why.in_words()).or_default().push(test));
        for (why, tests) in by_why {
            self.line(format_args!("\n**{why}** ({}):\n", tests.len()));
            for test in tests {
                let extension = if test.area == "extension" { ", and an extension point" } else { "" };
                self.line(format_args!("- `{}`{extension}", test.name));
            }
        }
    }
}

const INTRODUCTION: &str = concat!(
    "# Upstream's conformance tests\n\n",
    "Kubernetes decides what is Kubernetes by the tests marked `[Conformance]` in its e2e.test: 446 in v1.36. This page is written by\n",
    "`make conformance E2E_TEST=FILE SUBSET=api|hollow|full RECORD=1`; do not edit it. What it knows stands in `conformance/upstream/`:\n",
    "`v1.36.tsv` says what each test needs, `results.tsv` and `runs.tsv` what recorded runs said, `expected-failures.tsv` the causes of\n",
    "failures, `slow.tsv` why some take long.\n\n",
    "## Running them\n\n",
    "- Here: `make conformance E2E_TEST=path/to/e2e.test SUBSET=api`. The file is in `kubernetes-test-linux-amd64.tar.gz` of the Kubernetes\n",
    "  release v1.36, as `kubernetes/test/bin/e2e.test`. `api` needs no\n",
    "  node and no extension point, `hollow` at most nodes that run pods in name, `full` real ones. `KUBECONFIG=FILE` takes a cluster that\n",
    "  runs already; `COMPONENTS=1` starts each component as a process of its own, `SERVER='--store=memory'` gives the server more flags.\n",
    "- With Hydrophone, against a cluster with real nodes: `hydrophone --conformance --kubeconfig admin.kubeconfig`.\n",
    "- With Sonobuoy: `sonobuoy run --mode=certified-conformance --kubeconfig admin.kubeconfig --wait`, then `sonobuoy retrieve`.\n",
);
