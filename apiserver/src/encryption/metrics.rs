//! What encryption counts, under upstream's names.

use super::resource::GroupResource;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Which way a value goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    FromStorage,
    ToStorage,
}

impl Direction {
    fn name(self) -> &'static str {
        match self {
            Direction::FromStorage => "from_storage",
            Direction::ToStorage => "to_storage",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    resource: String,
    transformation_type: &'static str,
    transformer_prefix: String,
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Way {
    transformation_type: &'static str,
    transformer_prefix: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct File {
    hash: String,
}

/// Cheap to update from any thread.
pub(super) struct Metrics {
    operations: Family<Operation, Counter>,
    durations: Family<Way, Histogram, fn() -> Histogram>,
    reloads: Family<Outcome, Counter>,
    reloaded_at: Family<Outcome, Gauge<f64, AtomicU64>>,
    file: Family<File, Gauge>,
    /// The hash that is shown.
    hash: Mutex<String>,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(5e-6, 2.0, 25));
        Metrics {
            operations: Family::default(),
            durations: Family::new_with_constructor(histogram),
            reloads: Family::default(),
            reloaded_at: Family::default(),
            file: Family::default(),
            hash: Mutex::default(),
        }
    }
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Values that were encrypted or decrypted, by resource, direction, provider and outcome";
        registry.register("apiserver_storage_transformation_operations", help, self.operations.clone());
        let help = "How long it took to encrypt or decrypt a value";
        registry.register("apiserver_storage_transformation_duration_seconds", help, self.durations.clone());
        let help = "Reloads of the encryption configuration, by outcome";
        registry.register("apiserver_encryption_config_controller_automatic_reloads", help, self.reloads.clone());
        let help = "When the encryption configuration was last reloaded, by outcome";
        let name = "apiserver_encryption_config_controller_automatic_reload_last_timestamp_seconds";
        registry.register(name, help, self.reloaded_at.clone());
        let help = "The encryption configuration that is in force";
        registry.register("apiserver_encryption_config_controller_last_config_info", help, self.file.clone());
    }

    /// A value of `key` has been transformed since `begin`.
    pub(super) fn transformed(&self, key: &str, direction: Direction, prefix: &str, begin: Instant, succeeded: bool) {
        let operation = Operation {
            resource: GroupResource::of_key(key).name(),
            transformation_type: direction.name(),
            transformer_prefix: prefix.to_owned(),
            status: if succeeded { "OK" } else { "unknown-non-grpc" },
        };
        self.operations.get_or_create(&operation).inc();
        if succeeded {
            let way = Way { transformation_type: direction.name(), transformer_prefix: prefix.to_owned() };
            self.durations.get_or_create(&way).observe(begin.elapsed().as_secs_f64());
        }
    }

    /// A file with this hash is in force.
    pub(super) fn loaded(&self, hash: &str) {
        let before = std::mem::replace(&mut *self.hash.lock(), hash.to_owned());
        self.file.remove(&File { hash: before });
        self.file.get_or_create(&File { hash: hash.to_owned() }).set(1);
    }

    /// A changed file was taken into use, or refused.
    pub(super) fn reloaded(&self, succeeded: bool) {
        let outcome = Outcome { status: if succeeded { "success" } else { "failure" } };
        self.reloads.get_or_create(&outcome).inc();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.reloaded_at.get_or_create(&outcome).set(now.as_secs_f64());
    }
}
