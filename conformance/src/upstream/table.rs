//! The conformance tests of Kubernetes v1.36, and what each needs.

use super::Subset;
use anyhow::{Context, Result};

/// One row a test: SIG, file, release, `needs`, `area`, name, `why`. `needs` is
/// - `nothing`: an API server and controllers, no node;
/// - `hollow`: nodes on which pods run in name. The test looks at phases, conditions, scheduling and what controllers do with pods;
/// - `real`: a container. The test reads what one prints, runs something in one, talks to one, reads back what was mounted, asks the
///   kubelet itself, counts on an image that cannot be pulled, or on how a command ends.
///
/// `why` says which of these for a `real` one (see [`Why`]), and is empty for the others.
///
/// `area` is `extension` for what needs CRDs, webhooks, policies or aggregation, else `core`.
const TABLE: &str = include_str!("../../upstream/v1.36.tsv");

/// Where the judge is to be had.
pub const WHENCE: &str =
    "e2e.test of v1.36 is in the archive kubernetes-test-linux-amd64.tar.gz of the Kubernetes release";

/// What for a test needs a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    Not,
    Output,
    Exec,
    Network,
    Mount,
    Pull,
    End,
}

impl Why {
    const WORDS: [(Why, &str, &str); 7] = [
        (Why::Not, "", "Needs none"),
        (Why::Output, "output", "Reads what a container prints"),
        (Why::Exec, "exec", "Runs something in a container"),
        (Why::Network, "network", "Talks to a container"),
        (Why::Mount, "mount", "Looks at how volumes are mounted"),
        (Why::Pull, "pull", "Counts on an image that cannot be pulled"),
        (Why::End, "end", "Counts on how a command ends, or on what a probe finds"),
    ];

    fn from_word(word: &str) -> Option<Why> {
        Why::WORDS.iter().find(|(_, short, _)| *short == word).map(|(why, ..)| *why)
    }

    pub fn in_words(self) -> &'static str {
        Why::WORDS.iter().find(|(why, ..)| *why == self).map_or("", |(_, _, words)| words)
    }
}

#[derive(Debug)]
pub struct Test {
    pub sig: String,
    pub needs: String,
    pub area: String,
    pub why: Why,
    /// As Ginkgo knows it, with the tags.
    pub name: String,
}

impl Test {
    /// The smallest subset that it is in.
    pub fn subset(&self) -> Subset {
        match (self.needs.as_str(), self.area.as_str()) {
            ("nothing", "core") => Subset::Api,
            ("real", _) => Subset::Full,
            _ => Subset::Hollow,
        }
    }

    /// Whether no other may run at the same time.
    pub fn is_serial(&self) -> bool {
        self.name.contains("[Serial]") || self.name.contains("[Disruptive]")
    }
}

/// All of them, in the table's order.
pub fn tests() -> Result<Vec<Test>> {
    let rows = TABLE.lines().skip(1).filter(|line| !line.is_empty());
    let test = |line: &str| {
        let mut cells = line.split('\t').map(str::to_owned);
        let mut cell = || cells.next().with_context(|| format!("a cell is missing: {line}"));
        let (sig, _file, _release, needs, area, name) = (cell()?, cell()?, cell()?, cell()?, cell()?, cell()?);
        let why = Why::from_word(&cell()?).with_context(|| format!("why? {line}"))?;
        Ok(Test { sig, needs, area, why, name })
    };
    rows.map(test).collect()
}

/// A name that can be a file's.
pub fn file_name(test: &str) -> String {
    let plain = test.strip_suffix(" [Conformance]").unwrap_or(test);
    let name: String = plain.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let parts: Vec<&str> = name.split('-').filter(|part| !part.is_empty()).collect();
    parts.join("-").chars().take(150).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let all = tests().unwrap();
        assert_eq!(all.len(), 446);
        let needing = |needs: &str| all.iter().filter(|test| test.needs == needs).count();
        assert_eq!(["nothing", "hollow", "real"].map(needing), [125, 97, 224]);
        let smallest = |subset: Subset| all.iter().filter(|test| test.subset() == subset).count();
        assert_eq!([Subset::Api, Subset::Hollow, Subset::Full].map(smallest), [97, 125, 224]);
        assert!(all.iter().all(|test| (test.needs == "real") == (test.why != Why::Not)));
        assert!(
            all.iter()
                .all(|test| test.name.starts_with(&format!("[{}]", test.sig)) && test.name.contains("[Conformance]"))
        );
        let mut files: Vec<String> = all.iter().map(|test| file_name(&test.name)).collect();
        files.sort();
        files.dedup();
        assert_eq!(files.len(), all.len(), "each has a file of its own");
    }
}
