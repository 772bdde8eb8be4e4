//! Every reader of what clients send, on input that nobody meant.
//!
//! A decoder or patch is a row of [`readers::readers`]: its real inputs, and how it is read. Each row is tried on its
//! inputs edited and on any bytes: nothing panics, what is read can be written and read again, and the memory is bounded by
//! the input's length. [`kinds`] does the same with the rules of every kind, and [`growth`] shows that the work is
//! linear, by counting what is allocated for inputs of one shape and two sizes.
//!
//! `PROPTEST_CASES=100000` (or `make fuzz`) tries longer.

mod edit;
mod growth;
mod inputs;
mod kinds;
mod readers;

use allocation_counter::{AllocationInfo, measure};
use edit::{edited, edits};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use readers::readers;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Bytes that a reader may hold at once: some for itself, and so many for each byte of its input. A map of one entry
/// takes 600 and can be written in six; defaults fill in as many again.
const SPARE: u64 = 1 << 20;
const PER_BYTE: u64 = 400;

/// How many cases were asked for.
fn cases() -> Option<u32> {
    std::env::var("PROPTEST_CASES").ok()?.parse().ok()
}

fn is_long() -> bool {
    cases().is_some()
}

/// Tries `few` cases, the same ones every time; or as many as were asked for, others every time.
fn runner(few: u32) -> TestRunner {
    let config =
        ProptestConfig { cases: cases().unwrap_or(few), failure_persistence: None, ..ProptestConfig::default() };
    match is_long() {
        true => TestRunner::new(config),
        false => TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha)),
    }
}

/// Runs a reader; fails when it held more memory than an input of this length may cost.
fn bounded(length: usize, read: impl FnOnce()) {
    // A panic must not leave the measuring unfinished.
    let mut outcome = Ok(());
    let AllocationInfo { bytes_max, .. } = measure(|| outcome = catch_unwind(AssertUnwindSafe(read)));
    outcome.unwrap_or_else(|panic| resume_unwind(panic));
    assert!(bytes_max <= SPARE + PER_BYTE * length as u64, "{bytes_max} bytes held for {length}");
}

#[test]
fn no_reader_fails_on_edited_input() {
    for reader in readers() {
        // What is edited is read, or the edits would show nothing.
        let inputs = (reader.inputs)();
        for input in &inputs {
            bounded(input.len(), || {
                assert!((reader.read)(input), "{}: {}", reader.name, String::from_utf8_lossy(input))
            });
        }
        let cases = (any::<Index>(), edits());
        let run = runner(60).run(&cases, |(which, edits)| {
            let bytes = edited(&inputs[which.index(inputs.len())], &edits);
            bounded(bytes.len(), || _ = (reader.read)(&bytes));
            Ok(())
        });
        run.unwrap_or_else(|failure| panic!("{}: {failure}", reader.name));
    }
}

#[test]
fn no_reader_fails_on_any_bytes() {
    let texts = "[ -~]{0,40}|[a-z0-9.,=!()/ -]{0,60}|[0-9.eEinumkKMGTP+-]{0,20}|\\PC{0,40}";
    let bytes = prop_oneof![prop::collection::vec(any::<u8>(), 0..200), texts.prop_map(String::into_bytes),];
    for reader in readers() {
        let run = runner(40).run(&bytes, |bytes| {
            bounded(bytes.len(), || _ = (reader.read)(&bytes));
            Ok(())
        });
        run.unwrap_or_else(|failure| panic!("{}: {failure}", reader.name));
    }
}
