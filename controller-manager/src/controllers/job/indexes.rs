//! Sets of completion indexes, written as `0,3-5` in a Job's status.

use std::fmt;

/// Ranges in order, both ends included, none next to another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Indexes(Vec<(i64, i64)>);

impl Indexes {
    /// Reads the text form; what is no range is left out, as is what is not below `completions`.
    pub fn parse(text: &str, completions: i64) -> Indexes {
        let ranges = text.split(',').filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some((first.parse::<i64>().ok()?, last.parse::<i64>().ok()?.min(completions - 1)))
        });
        Indexes(Vec::new()).with_ranges(ranges.filter(|(first, last)| 0 <= *first && first <= last))
    }

    pub fn with(&self, indexes: impl IntoIterator<Item = i64>) -> Indexes {
        self.with_ranges(indexes.into_iter().map(|index| (index, index)))
    }

    pub fn and(&self, other: &Indexes) -> Indexes {
        self.with_ranges(other.0.iter().copied())
    }

    fn with_ranges(&self, more: impl Iterator<Item = (i64, i64)>) -> Indexes {
        let mut all: Vec<(i64, i64)> = self.0.iter().copied().chain(more).collect();
        all.sort_unstable();
        let mut merged: Vec<(i64, i64)> = Vec::with_capacity(all.len());
        for (first, last) in all {
            match merged.last_mut() {
                Some(before) if first <= before.1 + 1 => before.1 = before.1.max(last),
                _ => merged.push((first, last)),
            }
        }
        Indexes(merged)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn count(&self) -> i64 {
        self.0.iter().map(|(first, last)| last - first + 1).sum()
    }

    pub fn has(&self, index: i64) -> bool {
        let at = self.0.partition_point(|(_, last)| *last < index);
        self.0.get(at).is_some_and(|(first, _)| *first <= index)
    }

    /// How many indexes are in both.
    pub fn overlap(&self, other: &Indexes) -> i64 {
        let shared = |a: &(i64, i64), b: &(i64, i64)| (a.1.min(b.1) - a.0.max(b.0) + 1).max(0);
        self.0.iter().map(|range| other.0.iter().map(|with| shared(range, with)).sum::<i64>()).sum()
    }

    /// The first `count` indexes below `completions` that are not in here.
    pub fn missing(&self, count: usize, completions: i64) -> Vec<i64> {
        let ends = self.0.iter().copied().chain([(completions, completions)]);
        let mut next = 0;
        let gaps = ends.flat_map(move |(first, last)| {
            let gap = next..first.min(completions);
            next = last + 1;
            gap
        });
        gaps.take(count).collect()
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (first, last)) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(",")?;
            }
            match last - first {
                0 => write!(f, "{first}")?,
                1 => write!(f, "{first},{last}")?,
                _ => write!(f, "{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_form_is_read_and_written() {
        for (text, written) in [("", ""), ("0,1,2,4", "0-2,4"), ("3-5,7", "3-5,7"), ("1,2", "1,2"), ("x,2,9-12", "2,9")]
        {
            assert_eq!(Indexes::parse(text, 10).to_string(), written);
        }
    }

    #[test]
    fn what_is_missing_and_shared() {
        let some = Indexes::parse("1-3,6", 10);
        assert_eq!(some.missing(4, 10), [0, 4, 5, 7]);
        assert_eq!(some.missing(9, 7), [0, 4, 5]);
        assert_eq!((some.count(), some.has(3), some.has(4)), (4, true, false));
        assert_eq!(some.overlap(&Indexes::parse("0-2,6-8", 10)), 3);
        assert_eq!(some.with([5, 4]).to_string(), "1-6");
    }
}
