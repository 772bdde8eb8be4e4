//! The conformance tests of Kubernetes v1.36, and what each needs.

use super::Subset;
use anyhow::{Context, Result};

/// One row a test: SIG, file, release, what it needs, area, name. `needs` is `nothing`, `hollow` (nodes on which pods run in
/// name) or `node` (real ones); `area` is `extension` for what needs CRDs, webhooks, policies or aggregation.
const TABLE: &str = include_str!("../../upstream/v1.36.tsv");

/// Where the judge is to be had.
pub const WHENCE: &str =
    "e2e.test of v1.36 is in the archive kubernetes-test-linux-amd64.tar.gz of the Kubernetes release";

#[derive(Debug)]
pub struct Test {
    pub sig: String,
    pub needs: String,
    pub area: String,
    /// As Ginkgo knows it, with the tags.
    pub name: String,
}

impl Test {
    /// The smallest subset that it is in.
    pub fn subset(&self) -> Subset {
        match (self.needs.as_str(), self.area.as_str()) {
            ("nothing", "core") => Subset::Api,
            ("hollow", "core") => Subset::Hollow,
            _ => Subset::Full,
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
        Ok(Test { sig, needs, area, name })
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
        assert_eq!(all.iter().filter(|test| test.subset() == Subset::Api).count(), 97);
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
