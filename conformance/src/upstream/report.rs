//! The JUnit report that `e2e.test` writes when it is through.

use super::results::Verdict;
use anyhow::Result;
use std::fs;
use std::path::Path;

/// The verdicts in the reports of a directory; none, where the process was ended before it had written one.
pub fn read(directory: &Path) -> Result<Vec<(String, Verdict)>> {
    let mut verdicts = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("junit") && name.ends_with(".xml") {
            let text = fs::read_to_string(&path)?;
            // One that was ended while it wrote leaves a part, which says nothing.
            verdicts.extend(parse(&text).unwrap_or_default());
        }
    }
    Ok(verdicts)
}

/// The tests of a report that were run.
fn parse(text: &str) -> Result<Vec<(String, Verdict)>> {
    let document = roxmltree::Document::parse(text)?;
    let cases = document.descendants().filter(|node| node.has_tag_name("testcase"));
    let verdict = |case: roxmltree::Node<'_, '_>| {
        // `[It] [sig-node] … [Conformance] [sig-node, Conformance]`: kind and labels are not the name's.
        let name = case.attribute("name")?.strip_prefix("[It] ")?;
        let end = name.find("[Conformance]")? + "[Conformance]".len();
        let seconds = case.attribute("time").and_then(|time| time.parse().ok()).unwrap_or_default();
        let child = |tag: &str| case.children().find(|node| node.has_tag_name(tag));
        if let Some(skipped) = child("skipped") {
            let reason = skipped.attribute("message").unwrap_or_default();
            // What was not chosen is in the report too, and says nothing.
            let reason = reason.strip_prefix("skipped - ")?;
            return Some((name[..end].to_owned(), Verdict::skipped(reason)));
        }
        let failure = child("failure").or_else(|| child("error"));
        let verdict = match failure {
            None => Verdict::passed(seconds),
            Some(failure) => {
                let message = failure.attribute("message").unwrap_or_default();
                let at = failure.text().unwrap_or_default();
                let reason = if message.is_empty() { at } else { message };
                Verdict::failed(seconds, reason)
            }
        };
        Some((name[..end].to_owned(), verdict))
    };
    Ok(cases.filter_map(verdict).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_are_read() {
        let text = r#"<?xml version="1.0" encoding="UTF-8"?><testsuites><testsuite>
            <testcase name="[SynchronizedBeforeSuite]" status="passed" time="1"></testcase>
            <testcase name="[It] [sig-a] one [Conformance] [sig-a, Conformance]" status="passed" time="2.5"></testcase>
            <testcase name="[It] [sig-a] two [Conformance]" status="failed" time="1.5"><failure message="no &quot;x&quot;" type="failed">at</failure></testcase>
            <testcase name="[It] [sig-a] three [Conformance]" status="skipped" time="0"><skipped message="skipped"></skipped></testcase>
            <testcase name="[It] [sig-a] four [Conformance]" status="skipped" time="0"><skipped message="skipped - no node"></skipped></testcase>
        </testsuite></testsuites>"#;
        let verdicts = parse(text).unwrap();
        let seen: Vec<_> =
            verdicts.iter().map(|(name, it)| (name.as_str(), it.outcome.word(), it.reason.as_str())).collect();
        assert_eq!(
            seen,
            [
                ("[sig-a] one [Conformance]", "ok", ""),
                ("[sig-a] two [Conformance]", "FAIL", "no \"x\""),
                ("[sig-a] four [Conformance]", "skip", "no node"),
            ]
        );
        assert_eq!(verdicts[0].1.seconds, 2.5);
    }
}
