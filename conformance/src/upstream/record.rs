//! What recorded runs have said, kept beside the table of tests: a run of one subset says nothing of the others, so what is known of
//! those stays.

use super::Subset;
use super::results::{Outcome, Verdict};
use anyhow::{Context, Result};
use clap::ValueEnum;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Of the same subset on the same kind of cluster so many runs are kept.
const RUNS: usize = 3;

/// One recorded run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunOf {
    pub subset: Subset,
    /// Day, and the commit of this repository.
    pub date: String,
    pub commit: String,
    pub passed: usize,
    pub tests: usize,
    pub seconds: u64,
    pub processors: usize,
    /// How many tests ran at the same time.
    pub parallel: usize,
    /// What the cluster was made of.
    pub cluster: String,
}

/// How a test ended when it was last run.
#[derive(Clone, Debug, PartialEq)]
pub struct Last {
    pub outcome: Outcome,
    pub seconds: f64,
    pub date: String,
    pub commit: String,
}

/// Everything that is known.
#[derive(Default)]
pub struct Record {
    pub runs: Vec<RunOf>,
    pub tests: BTreeMap<String, Last>,
    /// Of tests that are known not to pass, why.
    pub causes: BTreeMap<String, String>,
    /// Why tests take long that do.
    pub slow: BTreeMap<String, String>,
    /// What tests took on upstream's API server and etcd with Coracle's controllers, of those that pass there.
    pub upstream: BTreeMap<String, f64>,
}

/// The repository's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn file(name: &str) -> PathBuf {
    root().join("conformance/upstream").join(name)
}

/// The cells of a file's rows; none where there is no file.
fn rows<const N: usize>(name: &str) -> Result<Vec<[String; N]>> {
    let path = file(name);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let row = |line: &str| {
        let cells: Vec<String> = line.splitn(N, '\t').map(str::to_owned).collect();
        cells.try_into().ok().with_context(|| format!("{}: {line:?} has not {N} cells", path.display()))
    };
    text.lines().filter(|line| !line.is_empty()).map(row).collect()
}

fn pairs(name: &str) -> Result<BTreeMap<String, String>> {
    Ok(rows::<2>(name)?.into_iter().map(|[test, text]| (test, text)).collect())
}

impl Record {
    /// Reads what is checked in.
    pub fn read() -> Result<Record> {
        let run = |[subset, date, commit, passed, tests, seconds, processors, parallel, cluster]: [String; 9]| {
            Ok(RunOf {
                subset: Subset::from_str(&subset, false).map_err(anyhow::Error::msg)?,
                date,
                commit,
                passed: passed.parse()?,
                tests: tests.parse()?,
                seconds: seconds.parse()?,
                processors: processors.parse()?,
                parallel: parallel.parse()?,
                cluster,
            })
        };
        let last = |[outcome, seconds, date, commit, test]: [String; 5]| {
            let outcome = Outcome::from_word(&outcome).with_context(|| format!("{outcome:?} is no outcome"))?;
            Ok((test, Last { outcome, seconds: seconds.parse()?, date, commit }))
        };
        let seconds = |(test, seconds): (String, String)| Ok((test, seconds.parse()?));
        Ok(Record {
            runs: rows("runs.tsv")?.into_iter().map(run).collect::<Result<_>>()?,
            tests: rows("results.tsv")?.into_iter().map(last).collect::<Result<_>>()?,
            causes: pairs("expected-failures.tsv")?,
            slow: pairs("slow.tsv")?,
            upstream: pairs("upstream-seconds.tsv")?.into_iter().map(seconds).collect::<Result<_>>()?,
        })
    }

    /// Takes in what a run said of its tests. Causes that were written by hand stay as long as their test does not pass.
    pub fn note(&mut self, run: &RunOf, verdicts: &BTreeMap<String, Verdict>) {
        for (name, verdict) in verdicts {
            if verdict.outcome == Outcome::Passed {
                self.causes.remove(name);
            } else {
                let first = verdict.reason.lines().next().unwrap_or_default();
                let first = first.replace('\t', " ").chars().take(200).collect();
                self.causes.entry(name.clone()).or_insert(first);
            }
            let (date, commit) = (run.date.clone(), run.commit.clone());
            let last = Last { outcome: verdict.outcome, seconds: verdict.seconds, date, commit };
            self.tests.insert(name.clone(), last);
        }
    }

    /// Takes in a run of a whole subset; of the same kind the last few are kept.
    pub fn add(&mut self, run: RunOf) {
        self.runs.push(run.clone());
        let same: Vec<usize> = (0..self.runs.len())
            .filter(|at| self.runs[*at].subset == run.subset && self.runs[*at].cluster == run.cluster)
            .collect();
        if same.len() > RUNS {
            self.runs.remove(same[0]);
        }
        self.runs.sort_by_key(|run| (run.subset, run.cluster.clone()));
    }

    /// Writes it back.
    pub fn write(&self) -> Result<()> {
        let run = |run: &RunOf| {
            let RunOf { date, commit, passed, tests, seconds, processors, parallel, cluster, .. } = run;
            let subset = run.subset.name();
            format!("{subset}\t{date}\t{commit}\t{passed}\t{tests}\t{seconds}\t{processors}\t{parallel}\t{cluster}\n")
        };
        let test = |(name, last): (&String, &Last)| {
            let Last { outcome, seconds, date, commit } = last;
            format!("{}\t{seconds:.1}\t{date}\t{commit}\t{name}\n", outcome.word())
        };
        let cause = |(name, cause): (&String, &String)| format!("{name}\t{cause}\n");
        fs::write(file("runs.tsv"), self.runs.iter().map(run).collect::<String>())?;
        fs::write(file("results.tsv"), self.tests.iter().map(test).collect::<String>())?;
        fs::write(file("expected-failures.tsv"), self.causes.iter().map(cause).collect::<String>())?;
        Ok(())
    }
}

/// Today, and what is checked out.
pub fn date_and_commit() -> (String, String) {
    let output = Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(root()).output();
    let commit = output.ok().filter(|output| output.status.success());
    let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    (time::OffsetDateTime::now_utc().date().to_string(), commit.unwrap_or_else(|| "unknown".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::super::table::tests;
    use super::*;

    #[test]
    fn what_is_recorded_is_of_tests_and_failures_have_causes() {
        let (record, all) = (Record::read().unwrap(), tests().unwrap());
        let known = |name: &String| assert!(all.iter().any(|test| test.name == *name), "{name}");
        record.tests.keys().for_each(known);
        record.slow.keys().for_each(known);
        record.upstream.keys().for_each(known);
        for (name, cause) in &record.causes {
            known(name);
            assert!(!cause.is_empty(), "{name}");
        }
        for (name, last) in &record.tests {
            assert!(last.outcome == Outcome::Passed || record.causes.contains_key(name), "{name}");
        }
    }

    #[test]
    fn a_run_of_one_subset_leaves_what_is_known_of_the_others() {
        let run = |subset, date: &str| RunOf {
            subset,
            date: date.into(),
            commit: "c".into(),
            passed: 1,
            tests: 1,
            seconds: 1,
            processors: 2,
            parallel: 4,
            cluster: "one process".into(),
        };
        let mut record = Record::default();
        let took = |record: &mut Record, run: RunOf, verdicts: BTreeMap<String, Verdict>| {
            record.note(&run, &verdicts);
            record.add(run);
        };
        let verdicts = |name: &str, verdict| BTreeMap::from([(name.to_owned(), verdict)]);
        took(&mut record, run(Subset::Hollow, "1"), verdicts("b", Verdict::failed(1.0, "no\nmore")));
        for date in ["1", "2", "3", "4"] {
            took(&mut record, run(Subset::Api, date), verdicts("a", Verdict::passed(2.0)));
        }
        assert_eq!(record.causes, BTreeMap::from([("b".to_owned(), "no".to_owned())]));
        let runs: Vec<_> = record.runs.iter().map(|run| (run.subset, run.date.as_str())).collect();
        assert_eq!(runs, [(Subset::Api, "2"), (Subset::Api, "3"), (Subset::Api, "4"), (Subset::Hollow, "1")]);
        record.causes.insert("b".into(), "by hand".into());
        took(&mut record, run(Subset::Hollow, "5"), verdicts("b", Verdict::failed(1.0, "no")));
        assert_eq!(record.causes["b"], "by hand");
        took(&mut record, run(Subset::Hollow, "6"), verdicts("b", Verdict::passed(1.0)));
        assert!(record.causes.is_empty());
        assert_eq!(record.tests["b"].date, "6");
    }
}
