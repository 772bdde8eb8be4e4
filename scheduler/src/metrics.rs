//! Upstream's metrics of the scheduler.

use std::time::Duration;

use component::metrics::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::queue::Depth;

type Outcome = [(&'static str, &'static str); 2];

pub struct SchedulerMetrics {
    profile: &'static str,
    attempts: Family<Outcome, Counter>,
    durations: Family<Outcome, Histogram>,
    pending: Family<[(&'static str, &'static str); 1], Gauge>,
}

impl SchedulerMetrics {
    pub fn new(metrics: &Metrics, profile: &'static str) -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 15));
        let all = Self {
            profile,
            attempts: Family::default(),
            durations: Family::new_with_constructor(seconds),
            pending: Family::default(),
        };
        metrics.register(|registry| {
            registry.register(
                "scheduler_schedule_attempts",
                "Number of attempts to schedule pods, by the result",
                all.attempts.clone(),
            );
            registry.register(
                "scheduler_scheduling_attempt_duration_seconds",
                "Scheduling attempt latency in seconds (scheduling algorithm + binding)",
                all.durations.clone(),
            );
            registry.register(
                "scheduler_pending_pods",
                "Number of pending pods, by the queue type",
                all.pending.clone(),
            );
        });
        all
    }

    /// Counts an attempt: `scheduled`, `unschedulable` or `error`.
    pub fn attempt(&self, result: &'static str, took: Duration) {
        let labels = [("profile", self.profile), ("result", result)];
        self.attempts.get_or_create(&labels).inc();
        self.durations.get_or_create(&labels).observe(took.as_secs_f64());
    }

    pub fn pending(&self, depth: Depth) {
        for (queue, pods) in [
            ("active", depth.active),
            ("backoff", depth.backoff),
            ("unschedulable", depth.unschedulable),
            ("gated", depth.gated),
        ] {
            self.pending.get_or_create(&[("queue", queue)]).set(pods as i64);
        }
    }
}
