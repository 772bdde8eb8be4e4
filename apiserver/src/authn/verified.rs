//! What was verified at some cost and need not be again.

use std::collections::HashMap;
use std::mem;

use parking_lot::Mutex;
use pki::Digest;

/// A bounded map from the digest of a good credential to what it stands for. Only successes are kept, so that nobody without
/// credentials can push anything out. The oldest half goes when it is full.
pub(super) struct Verified<T> {
    half: usize,
    generations: Mutex<[HashMap<Digest, T>; 2]>,
}

impl<T: Clone> Verified<T> {
    pub(super) fn new(capacity: usize) -> Verified<T> {
        Verified { half: capacity.div_ceil(2), generations: Mutex::default() }
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<T> {
        let mut generations = self.generations.lock();
        if let Some(found) = generations[0].get(digest) {
            return Some(found.clone());
        }
        let found = generations[1].remove(digest)?;
        put(&mut generations, self.half, *digest, found.clone());
        Some(found)
    }

    pub(super) fn insert(&self, digest: Digest, value: T) {
        put(&mut self.generations.lock(), self.half, digest, value);
    }
}

fn put<T>(generations: &mut [HashMap<Digest, T>; 2], half: usize, digest: Digest, value: T) {
    if generations[0].len() >= half {
        generations[1] = mem::take(&mut generations[0]);
    }
    generations[0].insert(digest, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_is_bounded_and_keeps_what_is_used() {
        let verified = Verified::new(8);
        for value in 0..100u8 {
            verified.insert([value; 32], value);
            assert_eq!(verified.get(&[0; 32]), Some(0));
        }
        assert_eq!(verified.get(&[99; 32]), Some(99));
        assert!(verified.generations.lock().iter().map(HashMap::len).sum::<usize>() <= 8);
    }
}
