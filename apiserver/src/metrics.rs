//! `/metrics`: what the server counts, under upstream's names, in the Prometheus text format.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use crate::encryption::Encryption;
use api::kinds::{KINDS, Kind};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use storage::{Stats, Store};

type Text = Cow<'static, str>;

/// What a request was about, in upstream's labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet, Default)]
struct RequestLabels {
    verb: &'static str,
    group: Text,
    version: Text,
    resource: Text,
    subresource: Text,
    /// `resource`, `namespace` or `cluster`.
    scope: &'static str,
    dry_run: &'static str,
    component: &'static str,
}

impl RequestLabels {
    /// Only what the server has becomes a label: names that clients make up would fill the memory.
    fn new(verb: &str, group: &str, resource: &str, subresource: &str) -> RequestLabels {
        let verb = metric_verb(verb);
        let labels = RequestLabels { verb, component: "apiserver", ..RequestLabels::default() };
        let Some(kind) = KINDS.iter().find(|kind| kind.resource == resource && kind.group == group) else {
            return labels;
        };
        RequestLabels {
            group: kind.group.into(),
            version: kind.version.into(),
            resource: kind.resource.into(),
            subresource: kind.subresource(subresource).map_or("", |sub| sub.name).into(),
            scope: scope(verb, kind),
            ..labels
        }
    }
}

/// Upstream's scope of a request, as far as verb and kind say it: one object, or all of a namespace or the cluster.
fn scope(verb: &str, kind: &Kind) -> &'static str {
    match verb {
        "LIST" | "WATCH" | "DELETECOLLECTION" if kind.namespaced => "namespace",
        "LIST" | "WATCH" | "DELETECOLLECTION" => "cluster",
        _ => "resource",
    }
}

/// The metric's verb of a request's verb.
fn metric_verb(verb: &str) -> &'static str {
    match verb {
        "get" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" => "PATCH",
        "delete" => "DELETE",
        "deletecollection" => "DELETECOLLECTION",
        "head" => "HEAD",
        "connect" => "CONNECT",
        _ => "other",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    verb: &'static str,
    group: Text,
    version: Text,
    resource: Text,
    subresource: Text,
    scope: &'static str,
    dry_run: &'static str,
    component: &'static str,
    code: u16,
}

/// A group, version and resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResourceLabels {
    group: Text,
    version: Text,
    resource: Text,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ObjectLabels {
    resource: Text,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GroupResourceLabels {
    group: Text,
    resource: Text,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    request_kind: &'static str,
}

const DURATIONS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

/// The counters of one server. Cheap to update from any thread.
pub struct Metrics {
    registry: Registry,
    requests: Family<CodeLabels, Counter>,
    durations: Family<RequestLabels, Histogram, fn() -> Histogram>,
    in_flight: Family<KindLabels, Gauge>,
    long_running: Family<RequestLabels, Gauge>,
    watch_events: Family<ResourceLabels, Counter>,
    objects: Family<ObjectLabels, Gauge>,
    resource_objects: Family<GroupResourceLabels, Gauge>,
    process: Process,
    store: StoreMetrics,
}

#[derive(Default)]
struct Process {
    resident: Gauge,
    virtual_memory: Gauge,
    cpu: Gauge<f64, AtomicU64>,
    start: Gauge<f64, AtomicU64>,
    open_files: Gauge,
}

#[derive(Default)]
struct StoreMetrics {
    size: Gauge,
    revision: Gauge,
    history: Gauge,
    unreadable: Gauge,
    commits: Gauge,
    committed_bytes: Gauge,
    written_bytes: Gauge,
    syncs: Gauge,
    wear: Gauge<f64, AtomicU64>,
    segments: Gauge,
    segment_bytes: Gauge,
    snapshots: Gauge,
    failed_snapshots: Gauge,
    writable: Gauge,
}

/// Counts a request as running until it is dropped.
pub struct Running(Gauge);

impl Running {
    fn new(gauge: Gauge) -> Running {
        gauge.inc();
        Running(gauge)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts a watch as running until it is dropped.
pub struct WatchGuard {
    _running: Running,
    /// Events sent to watches of the resource.
    pub sent: Counter,
}

impl Metrics {
    pub fn new(encryption: Option<&Encryption>) -> Metrics {
        let mut metrics = Metrics {
            registry: Registry::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(DURATIONS)),
            in_flight: Family::default(),
            long_running: Family::default(),
            watch_events: Family::default(),
            objects: Family::default(),
            resource_objects: Family::default(),
            process: Process::default(),
            store: StoreMetrics::default(),
        };
        metrics.register();
        if let Some(encryption) = encryption {
            encryption.register(&mut metrics.registry);
        }
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        let help = "Requests answered, by verb, group, version, resource, scope, component and code";
        registry.register("apiserver_request", help, self.requests.clone());
        let help = "Response latency distribution in seconds";
        registry.register("apiserver_request_duration_seconds", help, self.durations.clone());
        let help = "Currently running requests, by whether they can change something";
        registry.register("apiserver_current_inflight_requests", help, self.in_flight.clone());
        let help = "Currently running watches and streams";
        registry.register("apiserver_longrunning_requests", help, self.long_running.clone());
        registry.register("apiserver_watch_events", "Events sent to watches", self.watch_events.clone());
        registry.register("apiserver_storage_objects", "Stored objects", self.objects.clone());
        registry.register("apiserver_resource_objects", "Stored objects", self.resource_objects.clone());
        let (process, store) = (&self.process, &self.store);
        registry.register("process_resident_memory_bytes", "Resident memory size in bytes", process.resident.clone());
        registry.register(
            "process_virtual_memory_bytes",
            "Virtual memory size in bytes",
            process.virtual_memory.clone(),
        );
        let help = "Total user and system CPU time spent in seconds";
        registry.register("process_cpu_seconds_total", help, process.cpu.clone());
        let help = "Start time of the process since unix epoch in seconds";
        registry.register("process_start_time_seconds", help, process.start.clone());
        registry.register("process_open_fds", "Number of open file descriptors", process.open_files.clone());
        registry.register("apiserver_storage_size_bytes", "Bytes of live keys and values", store.size.clone());
        registry.register("coracle_storage_revision", "The latest revision", store.revision.clone());
        registry.register(
            "coracle_storage_history_bytes",
            "Bytes kept for watches and past lists",
            store.history.clone(),
        );
        let help = "Keys whose values cannot be decoded or decrypted; the log names them";
        registry.register("coracle_storage_unreadable_values", help, store.unreadable.clone());
        registry.register("coracle_storage_commits_total", "Commits acknowledged", store.commits.clone());
        let help = "Bytes of keys and values committed";
        registry.register("coracle_storage_committed_bytes_total", help, store.committed_bytes.clone());
        let help = "Bytes written to disk, snapshots included; over the committed bytes this is the wear of the disk";
        registry.register("coracle_storage_written_bytes_total", help, store.written_bytes.clone());
        let help = "Bytes written to disk for each byte of keys and values committed, since the start";
        registry.register("coracle_storage_written_bytes_ratio", help, store.wear.clone());
        registry.register("coracle_storage_segments", "Segments of the log", store.segments.clone());
        registry.register("coracle_storage_segment_bytes", "Bytes in them", store.segment_bytes.clone());
        registry.register("coracle_storage_snapshots_total", "Snapshots written", store.snapshots.clone());
        let help = "Snapshots that could not be written; the log stays longer";
        registry.register("coracle_storage_failed_snapshots_total", help, store.failed_snapshots.clone());
        let help = "1 while changes are accepted; 0 after a write failed: the log and /readyz/etcd say why";
        registry.register("coracle_storage_writable", help, store.writable.clone());
        registry.register("coracle_storage_syncs_total", "Calls of fsync and fdatasync", store.syncs.clone());
    }

    /// Counts a request that has been answered. The parts are the request's own words; an unknown resource counts as none.
    /// Watches have no duration.
    pub fn observe(&self, verb: &str, group: &str, resource: &str, subresource: &str, code: u16, duration: Duration) {
        let labels = RequestLabels::new(verb, group, resource, subresource);
        if labels.verb != "WATCH" {
            self.durations.get_or_create(&labels).observe(duration.as_secs_f64());
        }
        let RequestLabels { verb, group, version, resource, subresource, scope, dry_run, component } = labels;
        let labels = CodeLabels { verb, group, version, resource, subresource, scope, dry_run, component, code };
        self.requests.get_or_create(&labels).inc();
    }

    /// A request that is neither a watch nor a stream, until the value is dropped. `verb` is the request's.
    pub fn running(&self, verb: &str) -> Running {
        let reads = matches!(verb, "get" | "list" | "watch" | "head" | "options");
        let labels = KindLabels { request_kind: if reads { "readOnly" } else { "mutating" } };
        Running::new(self.in_flight.get_or_create(&labels).clone())
    }

    /// A watch that has begun, until the value is dropped.
    pub fn watch_started(&self, kind: &Kind) -> WatchGuard {
        let labels = RequestLabels::new("watch", kind.group, kind.resource, "");
        let running = Running::new(self.long_running.get_or_create(&labels).clone());
        let RequestLabels { group, version, resource, .. } = labels;
        let sent = self.watch_events.get_or_create(&ResourceLabels { group, version, resource }).clone();
        WatchGuard { _running: running, sent }
    }

    fn set_objects(&self, kind: &'static Kind, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.objects.get_or_create(&ObjectLabels { resource: kind.qualified_resource().into() }).set(count);
        let labels = GroupResourceLabels { group: kind.group.into(), resource: kind.resource.into() };
        self.resource_objects.get_or_create(&labels).set(count);
    }

    /// The text of `/metrics`, to be served as [`CONTENT_TYPE`]. Reads the store's and the process's numbers.
    pub fn render(&self, store: &dyn Store) -> String {
        for kind in KINDS.iter().filter(|kind| kind.is_stored()) {
            self.set_objects(kind, store.count(&kind.store_prefix()));
        }
        self.store.set(&store.stats(), store.health().is_ok());
        self.process.read();
        let mut out = String::new();
        if text::encode(&mut out, &self.registry).is_err() {
            return String::new();
        }
        let mut out = plain_text(&out);
        let os = std::env::consts::OS;
        let version = crate::discovery::VERSION;
        let _ = writeln!(out, "# HELP kubernetes_build_info What this server is.\n# TYPE kubernetes_build_info gauge");
        let _ = writeln!(
            out,
            "kubernetes_build_info{{compiler=\"rustc\",git_version=\"{version}\",major=\"1\",minor=\"36\",platform=\"{os}\"}} 1"
        );
        out
    }
}

/// The Prometheus text format that every scraper reads.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// A histogram's sample: its metric, its bound and what follows. Upstream writes whole bounds without a point.
fn bucket(line: &str) -> Option<(&str, (&str, &str))> {
    let (metric, rest) = line.split_once("_bucket{le=\"")?;
    Some((metric, rest.split_once('"')?))
}

/// OpenMetrics as the older text format: counters are declared by the name of their samples, and nothing marks the end.
fn plain_text(open_metrics: &str) -> String {
    let mut out = String::with_capacity(open_metrics.len());
    let mut help = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            // Totals that are read from elsewhere are gauges inside.
            let kind = if name.ends_with("_total") { "counter" } else { kind };
            if let Some((_, text)) = help.take() {
                let _ = writeln!(out, "# HELP {name}{suffix} {text}");
            }
            let _ = writeln!(out, "# TYPE {name}{suffix} {kind}");
        } else if let Some((metric, (bound, rest))) = bucket(line) {
            let _ = writeln!(out, "{metric}_bucket{{le=\"{}\"{rest}", bound.strip_suffix(".0").unwrap_or(bound));
        } else if !line.starts_with('#') {
            let _ = writeln!(out, "{line}");
        }
    }
    out
}

impl StoreMetrics {
    fn set(&self, stats: &Stats, writable: bool) {
        let values = [
            (&self.size, stats.bytes),
            (&self.revision, stats.revision),
            (&self.history, stats.history_bytes),
            (&self.unreadable, stats.unreadable),
            (&self.commits, stats.commits),
            (&self.committed_bytes, stats.committed_bytes),
            (&self.written_bytes, stats.disk_bytes),
            (&self.syncs, stats.syncs),
            (&self.segments, stats.segments),
            (&self.segment_bytes, stats.segment_bytes),
            (&self.snapshots, stats.snapshots),
            (&self.failed_snapshots, stats.failed_snapshots),
            (&self.writable, writable.into()),
        ];
        self.wear.set(stats.disk_bytes as f64 / stats.committed_bytes.max(1) as f64);
        for (gauge, value) in values {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
}

/// The kernel counts processor time in hundredths of a second for processes, whatever its own tick.
const TICKS: f64 = 100.0;

impl Process {
    /// Reads `/proc`; where there is none, the values stay 0.
    fn read(&self) {
        if let Some([cpu, since_boot]) = std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| times(&stat)) {
            self.cpu.set(cpu);
            self.start.set(boot_time() + since_boot);
        }
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        for (name, gauge) in [("VmRSS:", &self.resident), ("VmSize:", &self.virtual_memory)] {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kilobytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<i64>().ok());
            gauge.set(kilobytes.unwrap_or_default() * 1024);
        }
        let open = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        self.open_files.set(i64::try_from(open).unwrap_or_default());
    }
}

/// Processor seconds used, and seconds from the machine's start to the process's, of `/proc/self/stat`.
fn times(stat: &str) -> Option<[f64; 2]> {
    // The name in brackets may hold anything; the third field follows it.
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |at: usize| fields.get(at - 3)?.parse::<f64>().ok();
    Some([(ticks(14)? + ticks(15)?) / TICKS, ticks(22)? / TICKS])
}

/// When the machine started, in seconds since the Unix epoch.
fn boot_time() -> f64 {
    static BOOT: OnceLock<f64> = OnceLock::new();
    *BOOT.get_or_init(|| {
        let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok()).unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_under_upstreams_names() {
        let metrics = Metrics::new(None);
        metrics.observe("list", "", "pods", "", 200, Duration::from_millis(30));
        metrics.observe("create", "", "pods", "exec", 403, Duration::from_millis(1));
        let running = metrics.running("create");
        let watch = metrics.watch_started(&KINDS[2]);
        watch.sent.inc();
        let text = metrics.render(&*storage::memory());
        for expected in [
            "# TYPE apiserver_request_total counter\n",
            r#"apiserver_request_total{verb="POST",group="",version="v1",resource="pods",subresource="exec",scope="resource","#,
            r#"apiserver_request_duration_seconds_bucket{le="0.05",verb="LIST","#,
            r#"{le="60",verb="LIST","#,
            r#"apiserver_current_inflight_requests{request_kind="mutating"} 1"#,
            r#"apiserver_storage_objects{resource="deployments.apps"} 0"#,
            r#"apiserver_watch_events_total{group="",version="v1",resource="configmaps"} 1"#,
            "# TYPE process_cpu_seconds_total counter\n",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
        assert!(!text.contains("# EOF"));
        drop((running, watch));
        let text = metrics.render(&*storage::memory());
        assert!(text.contains(r#"apiserver_current_inflight_requests{request_kind="mutating"} 0"#));
    }

    #[test]
    fn made_up_resources_make_no_series() {
        let metrics = Metrics::new(None);
        metrics.observe("get", "x", "made-up", "", 404, Duration::ZERO);
        metrics.observe("get", "", "pods", "made-up", 404, Duration::ZERO);
        assert!(!metrics.render(&*storage::memory()).contains("made-up"));
    }

    #[test]
    fn process_times_are_read_past_an_odd_name() {
        let stat = "1 (a ) b) S 1 1 1 0 -1 4194560 1 1 1 1 150 50 0 0 20 0 1 0 1234 1 1";
        assert_eq!(times(stat), Some([2.0, 12.34]));
    }
}
