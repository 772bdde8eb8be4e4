//! What changed between two values, in few bytes: a renewed lease differs from the one before in two times of day.
//!
//! A patch is a list of steps: how many bytes are new, those bytes, where in the old value to go on copying, and how many bytes;
//! all numbers in base 128, low digits first.

use std::collections::HashMap;

/// Equal stretches shorter than this are not looked for.
const BLOCK: usize = 16;
/// Of larger values only a common beginning and end are found.
const LARGEST: usize = 1 << 20;

/// How to make `new` of `old`; `None` if that would take more than half of `new`.
pub(crate) fn diff(old: &[u8], new: &[u8]) -> Option<Vec<u8>> {
    let prefix = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let both = (old.len() - prefix).min(new.len() - prefix);
    let suffix = old.iter().rev().zip(new.iter().rev()).take(both).take_while(|(a, b)| a == b).count();
    let mut steps = Steps { out: Vec::new(), limit: new.len() / 2 };
    steps.copy(0, prefix);
    let middle = &new[prefix..new.len() - suffix];
    let replaced = &old[prefix..old.len() - suffix];
    let rest = if middle.len().max(replaced.len()) > LARGEST {
        middle
    } else {
        stretches(replaced, middle, prefix, &mut steps)?
    };
    steps.insert(rest)?;
    steps.copy(old.len() - suffix, suffix);
    (steps.out.len() <= steps.limit).then_some(steps.out)
}

/// Finds in `new` what also stands in `old`, which begins at `offset` of the whole; returns what is left at the end.
fn stretches<'a>(old: &[u8], new: &'a [u8], offset: usize, steps: &mut Steps) -> Option<&'a [u8]> {
    let blocks: HashMap<&[u8], usize> =
        old.chunks_exact(BLOCK).enumerate().map(|(index, block)| (block, index * BLOCK)).collect();
    let (mut done, mut at) = (0, 0);
    while let Some(window) = new.get(at..at + BLOCK) {
        let Some(&found) = blocks.get(window) else {
            at += 1;
            if at - done > steps.limit {
                return None;
            }
            continue;
        };
        let back = new[done..at].iter().rev().zip(old[..found].iter().rev()).take_while(|(a, b)| a == b).count();
        let forth = new[at..].iter().zip(&old[found..]).take_while(|(a, b)| a == b).count();
        steps.insert(&new[done..at - back])?;
        steps.copy(offset + found - back, back + forth);
        at += forth;
        done = at;
    }
    Some(&new[done..])
}

/// A patch in the making: pairs of what is new and what is copied.
struct Steps {
    out: Vec<u8>,
    limit: usize,
}

impl Steps {
    /// To be followed by [`Steps::copy`]. `None` if the patch becomes too long.
    fn insert(&mut self, new: &[u8]) -> Option<()> {
        number(&mut self.out, new.len());
        self.out.extend_from_slice(new);
        (self.out.len() <= self.limit).then_some(())
    }

    fn copy(&mut self, from: usize, length: usize) {
        if self.out.is_empty() {
            number(&mut self.out, 0);
        }
        number(&mut self.out, from);
        number(&mut self.out, length);
    }
}

/// The value that a patch makes of `old`; `None` if it does not fit it, or would make more than `limit` bytes.
pub(crate) fn apply(old: &[u8], mut patch: &[u8], limit: usize) -> Option<Vec<u8>> {
    let mut new = Vec::with_capacity(old.len() + patch.len());
    while !patch.is_empty() {
        let (inserted, rest) = patch_number(patch).and_then(|(length, rest)| rest.split_at_checked(length))?;
        let (from, rest) = patch_number(rest)?;
        let (length, rest) = patch_number(rest)?;
        let copied = old.get(from..from.checked_add(length)?)?;
        if new.len() + inserted.len() + copied.len() > limit {
            return None;
        }
        new.extend_from_slice(inserted);
        new.extend_from_slice(copied);
        patch = rest;
    }
    Some(new)
}

fn number(out: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn patch_number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0;
    for (index, byte) in bytes.iter().enumerate().take(5) {
        number |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((number, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(time: &str, holder: &str) -> String {
        format!(
            "{{\"kind\":\"Lease\",\"metadata\":{{\"name\":\"n\",\"managedFields\":[{{\"manager\":\"kubelet\",\"time\":\"{time}\",\
             \"fieldsV1\":{{\"f:spec\":{{\"f:holderIdentity\":{{}},\"f:renewTime\":{{}}}}}}}}]}},\
             \"spec\":{{\"holderIdentity\":\"{holder}\",\"renewTime\":\"{time}\",\"leaseDurationSeconds\":40}}}}"
        )
    }

    #[track_caller]
    fn length(old: &[u8], new: &[u8]) -> Option<usize> {
        let patch = diff(old, new)?;
        assert_eq!(apply(old, &patch, 1 << 30).as_deref(), Some(new));
        Some(patch.len())
    }

    #[test]
    fn a_renewed_lease_takes_a_few_bytes() {
        let (old, new) = (lease("2026-01-01T10:00:00Z", "node-1"), lease("2026-01-01T10:00:10Z", "node-1"));
        assert!(length(old.as_bytes(), new.as_bytes()).unwrap() < 40);
    }

    #[test]
    fn any_two_values_are_told_apart() {
        let values: [&[u8]; 7] =
            [b"", b"a", b"aaaaaaaa", b"xaaaaaaay", &[7; 4000], &[7; 3999], b"0123456789abcdef0123456789abcdef"];
        for old in values {
            for new in values {
                length(old, new);
            }
        }
        let long: Vec<u8> = (0..5000_u32).flat_map(|n| (n * 7919).to_le_bytes()).collect();
        let moved = [&long[9000..], b"new", &long[..9000]].concat();
        assert!(length(&long, &moved).unwrap() < 60);
        let (mut random, mut other) = (1_u64, Vec::new());
        other.resize_with(5000, || {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (random >> 33) as u8
        });
        assert_eq!(length(&long, &other), None, "nothing in common");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let patch = diff(&[1; 100], &[[1; 90], [2; 90]].concat()[..100]).unwrap();
        assert_eq!(apply(&[1; 5], &patch, 1000), None);
        assert_eq!(apply(&[1; 100], &patch, 50), None);
        for end in 1..patch.len() {
            assert_ne!(apply(&[1; 100], &patch[..end], 1000).map(|it| it.len()), Some(100));
        }
        assert_eq!(apply(b"", &[0xff; 20], 1000), None);
    }
}
