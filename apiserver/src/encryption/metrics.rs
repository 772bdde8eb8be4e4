//! What encryption counts, under upstream's names.

use super::hash;
use super::resource::GroupResource;
use parking_lot::Mutex;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    provider_name: String,
    method_name: &'static str,
    grpc_status_code: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Use {
    transformation_type: &'static str,
    provider_name: String,
    key_id_hash: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Told {
    provider_name: String,
    key_id_hash: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Invalid {
    provider_name: String,
    error: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Service {
    provider_name: String,
}

type Timestamp = Gauge<f64, AtomicU64>;
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// What is counted of key services.
struct Services {
    calls: Histograms<Call>,
    uses: Family<Use, Counter>,
    used_at: Family<Use, Timestamp>,
    told_at: Family<Told, Timestamp>,
    invalid: Family<Invalid, Counter>,
    cached: Family<Service, Gauge>,
    missed: Counter,
    generations: Histogram,
    failed_generations: Counter,
}

impl Default for Services {
    fn default() -> Services {
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(1e-4, 2.0, 20));
        Services {
            calls: Family::new_with_constructor(histogram),
            uses: Family::default(),
            used_at: Family::default(),
            told_at: Family::default(),
            invalid: Family::default(),
            cached: Family::default(),
            missed: Counter::default(),
            generations: Histogram::new(exponential_buckets(5e-6, 2.0, 14)),
            failed_generations: Counter::default(),
        }
    }
}

impl Services {
    fn register(&self, registry: &mut Registry) {
        let prefix = "apiserver_envelope_encryption";
        let help = "How long calls of key services took, by service, method and status";
        registry.register(format!("{prefix}_kms_operations_latency_seconds"), help, self.calls.clone());
        let help = "How often a key of a key service was used";
        registry.register(format!("{prefix}_key_id_hash"), help, self.uses.clone());
        let help = "When a key of a key service was last used";
        registry.register(format!("{prefix}_key_id_hash_last_timestamp_seconds"), help, self.used_at.clone());
        let help = "When a key service last told of a key";
        registry.register(format!("{prefix}_key_id_hash_status_last_timestamp_seconds"), help, self.told_at.clone());
        let help = "How often a key service told of a key whose name is invalid";
        registry.register(format!("{prefix}_invalid_key_id_from_status"), help, self.invalid.clone());
        let help = "Decrypted key sources in memory";
        registry.register(format!("{prefix}_dek_source_cache_size"), help, self.cached.clone());
        let help = "How often a key source had to be decrypted by its service";
        registry.register("apiserver_storage_envelope_transformation_cache_misses", help, self.missed.clone());
        let help = "How long it took to generate a key";
        registry.register("apiserver_storage_data_key_generation_duration_seconds", help, self.generations.clone());
        let help = "How often no key could be generated";
        registry.register("apiserver_storage_data_key_generation_failures", help, self.failed_generations.clone());
    }
}

/// Cheap to update from any thread.
pub(super) struct Metrics {
    operations: Family<Operation, Counter>,
    durations: Histograms<Way>,
    reloads: Family<Outcome, Counter>,
    reloaded_at: Family<Outcome, Timestamp>,
    services: Services,
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
            services: Services::default(),
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
        self.services.register(registry);
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
        self.reloaded_at.get_or_create(&outcome).set(now());
    }

    /// A key service was asked by a gRPC method, and answered with a status.
    pub(super) fn asked(&self, service: &str, method: &'static str, status: &'static str, took: Duration) {
        let call = Call { provider_name: service.to_owned(), method_name: method, grpc_status_code: status };
        self.services.calls.get_or_create(&call).observe(took.as_secs_f64());
    }

    /// A key of a service was used for a value.
    pub(super) fn used(&self, direction: Direction, service: &str, key_id: &str) {
        let key_id_hash = hash(key_id.as_bytes());
        let used = Use { transformation_type: direction.name(), provider_name: service.to_owned(), key_id_hash };
        self.services.uses.get_or_create(&used).inc();
        self.services.used_at.get_or_create(&used).set(now());
    }

    /// A service has told which key it writes with.
    pub(super) fn key_id_told(&self, service: &str, key_id: &str) {
        let told = Told { provider_name: service.to_owned(), key_id_hash: hash(key_id.as_bytes()) };
        self.services.told_at.get_or_create(&told).set(now());
    }

    /// A service has told of a key whose name is `empty` or `too_long`.
    pub(super) fn invalid_key_id(&self, service: &str, error: &'static str) {
        self.services.invalid.get_or_create(&Invalid { provider_name: service.to_owned(), error }).inc();
    }

    /// So many decrypted sources of a service are in memory.
    pub(super) fn cached(&self, service: &str, count: usize) {
        let service = Service { provider_name: service.to_owned() };
        self.services.cached.get_or_create(&service).set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A source is to be decrypted by its service.
    pub(super) fn cache_missed(&self) {
        self.services.missed.inc();
    }

    /// A seed was generated since `begin`, or not.
    pub(super) fn generated(&self, begin: Instant, succeeded: bool) {
        if succeeded {
            self.services.generations.observe(begin.elapsed().as_secs_f64());
        } else {
            self.services.failed_generations.inc();
        }
    }
}

/// In seconds since the Unix epoch.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
