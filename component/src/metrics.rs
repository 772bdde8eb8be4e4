//! Metrics of a component, with upstream's names.

use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A component's metrics; clones share them.
#[derive(Clone, Default)]
pub struct Metrics(Arc<Mutex<Registry>>);

impl Metrics {
    /// Registers more metrics.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.0.lock());
    }

    /// What `/metrics` answers.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &self.0.lock()) {
            tracing::error!(%error, "the metrics cannot be rendered");
        }
        text
    }
}

type ByName<M> = Family<[(&'static str, String); 1], M>;

/// The metrics of work queues, one series a queue.
#[derive(Clone)]
pub struct Workqueues {
    depth: ByName<Gauge>,
    adds: ByName<Counter>,
    retries: ByName<Counter>,
    queue_seconds: Family<[(&'static str, String); 1], Histogram>,
    work_seconds: Family<[(&'static str, String); 1], Histogram>,
}

/// One queue's series of [`Workqueues`].
#[derive(Clone)]
pub struct Workqueue {
    pub depth: Gauge,
    pub adds: Counter,
    pub retries: Counter,
    pub queue_seconds: Histogram,
    pub work_seconds: Histogram,
}

impl Workqueues {
    pub fn new(metrics: &Metrics) -> Workqueues {
        let seconds = || ByName::new_with_constructor(|| Histogram::new(exponential_buckets(1e-6, 10.0, 8)));
        let all = Workqueues {
            depth: ByName::default(),
            adds: ByName::default(),
            retries: ByName::default(),
            queue_seconds: seconds(),
            work_seconds: seconds(),
        };
        metrics.register(|registry| {
            registry.register("workqueue_depth", "Current depth of workqueue", all.depth.clone());
            registry.register("workqueue_adds", "Total number of adds handled by workqueue", all.adds.clone());
            registry.register("workqueue_retries", "Total number of retries handled by workqueue", all.retries.clone());
            registry.register(
                "workqueue_queue_duration_seconds",
                "How long in seconds an item stays in workqueue before being requested",
                all.queue_seconds.clone(),
            );
            registry.register(
                "workqueue_work_duration_seconds",
                "How long in seconds processing an item from workqueue takes",
                all.work_seconds.clone(),
            );
        });
        all
    }

    pub fn queue(&self, name: &str) -> Workqueue {
        let label = [("name", name.to_owned())];
        Workqueue {
            depth: self.depth.get_or_create_owned(&label),
            adds: self.adds.get_or_create_owned(&label),
            retries: self.retries.get_or_create_owned(&label),
            queue_seconds: self.queue_seconds.get_or_create_owned(&label),
            work_seconds: self.work_seconds.get_or_create_owned(&label),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_have_upstreams_names() {
        let metrics = Metrics::default();
        let queue = Workqueues::new(&metrics).queue("deployment");
        queue.depth.set(3);
        queue.adds.inc();
        let text = metrics.render();
        assert!(text.contains("workqueue_depth{name=\"deployment\"} 3"), "{text}");
        assert!(text.contains("workqueue_adds_total{name=\"deployment\"} 1"), "{text}");
    }
}
