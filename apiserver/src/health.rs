//! `/healthz`, `/livez` and `/readyz`, in upstream's text format.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use api::field::quote;
use http::{HeaderValue, Response, header};
use storage::Store;

use crate::request::Incoming;
use crate::response::{self, Body};
use crate::route::Query;

/// Says what is wrong, if anything.
type Check = dyn Fn() -> Result<(), String> + Send + Sync;

/// The endpoints that a check belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// `/healthz`, `/livez` and `/readyz`.
    All,
    /// `/readyz` only: what a live server may wait for.
    Readiness,
    /// `/healthz` and `/readyz`: what a restart does not mend.
    AllButLiveness,
}

struct Entry {
    name: &'static str,
    on: On,
    check: Box<Check>,
    /// How often each of [`ENDPOINTS`] found it well, and ill.
    outcomes: [[AtomicU64; 2]; ENDPOINTS.len()],
}

impl Entry {
    fn is_on(&self, endpoint: &str) -> bool {
        match self.on {
            On::All => true,
            On::Readiness => endpoint == "readyz",
            On::AllButLiveness => endpoint != "livez",
        }
    }

    /// Checks, and counts the outcome for the endpoint.
    fn probe(&self, endpoint: &str) -> Result<(), String> {
        let outcome = (self.check)();
        if let Some(i) = ENDPOINTS.iter().position(|known| *known == endpoint) {
            self.outcomes[i][usize::from(outcome.is_err())].fetch_add(1, Relaxed);
        }
        outcome
    }
}

/// The checks of a server, in the order in which they were added.
pub struct Health(Vec<Entry>);

const ENDPOINTS: &[&str] = &["healthz", "livez", "readyz"];

/// What upstream's server does in hooks after it has begun to serve, ours has done before.
const DONE_BEFORE_SERVING: &[&str] = &[
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/start-kubernetes-service-cidr-controller",
    "poststarthook/rbac/bootstrap-roles",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/priority-and-fairness-config-producer",
];

#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    body: String,
}

impl Health {
    /// The checks of a server on this store. `etcd` is upstream's name for the store, whichever it is.
    pub fn new(store: Arc<dyn Store>) -> Health {
        let mut health = Health(Vec::new());
        let again = store.clone();
        health.add("ping", On::All, || Ok(()));
        health.add("log", On::All, || Ok(()));
        health.add("etcd", On::All, move || store.health());
        health.add("etcd-readiness", On::Readiness, move || again.health());
        health.add("informer-sync", On::Readiness, || Ok(()));
        for hook in DONE_BEFORE_SERVING {
            health.add(hook, On::All, || Ok(()));
        }
        health
    }

    /// Adds a check, by upstream's name for it.
    pub fn add(&mut self, name: &'static str, on: On, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.0.push(Entry { name, on, check: Box::new(check), outcomes: Default::default() });
    }

    /// Answers `/healthz`, `/livez`, `/readyz` (`?verbose`, `?exclude=NAME`) and the checks below them (`/readyz/etcd`); `None`
    /// for any other path.
    pub fn answer(&self, path: &str, incoming: &Incoming) -> Option<Response<Body>> {
        let answer = self.text(path, &incoming.query)?;
        let mut response = response::bytes(answer.status, "text/plain; charset=utf-8", answer.body);
        let one_check = path.trim_start_matches('/').contains('/');
        if answer.status != 200 || !one_check {
            response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        }
        Some(response)
    }

    /// The paths of all checks.
    pub fn paths(&self) -> impl Iterator<Item = String> {
        ENDPOINTS.iter().flat_map(|endpoint| {
            let below = self.checks(endpoint).map(move |entry| format!("/{endpoint}/{}", entry.name));
            std::iter::once(format!("/{endpoint}")).chain(below)
        })
    }

    /// The text of `/metrics/slis` (KEP-3466): each check as it is now, and the outcomes of those that were asked for.
    pub fn slis(&self) -> String {
        const GAUGE: &str = "kubernetes_healthcheck";
        const COUNTER: &str = "kubernetes_healthchecks_total";
        let (mut now, mut past) = (String::new(), String::new());
        for entry in &self.0 {
            let well = u8::from((entry.check)().is_ok());
            for (i, endpoint) in ENDPOINTS.iter().enumerate().filter(|(_, endpoint)| entry.is_on(endpoint)) {
                let name = entry.name;
                now.push_str(&format!("{GAUGE}{{name=\"{name}\",type=\"{endpoint}\"}} {well}\n"));
                for (status, count) in ["success", "error"].iter().zip(&entry.outcomes[i]) {
                    let count = count.load(Relaxed);
                    if count > 0 {
                        let labels = format!("name=\"{name}\",status=\"{status}\",type=\"{endpoint}\"");
                        past.push_str(&format!("{COUNTER}{{{labels}}} {count}\n"));
                    }
                }
            }
        }
        format!(
            "# HELP {GAUGE} Whether a check finds the server well.\n# TYPE {GAUGE} gauge\n{now}\
             # HELP {COUNTER} Outcomes of checks that somebody asked for.\n# TYPE {COUNTER} counter\n{past}"
        )
    }

    fn text(&self, path: &str, query: &Query) -> Option<Answer> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let (endpoint, name) = match path.split_once('/') {
            Some((endpoint, name)) => (endpoint, Some(name)),
            None => (path, None),
        };
        if !ENDPOINTS.contains(&endpoint) {
            return None;
        }
        let Some(name) = name else { return Some(answer_all(endpoint, self.checks(endpoint), query)) };
        let entry = self.checks(endpoint).find(|entry| entry.name == name)?;
        Some(match entry.probe(endpoint) {
            Ok(()) => Answer { status: 200, body: "ok".to_owned() },
            Err(why) => Answer { status: 500, body: format!("internal server error: {why}\n") },
        })
    }

    fn checks<'a>(&'a self, endpoint: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.0.iter().filter(move |entry| entry.is_on(endpoint))
    }
}

fn answer_all<'a>(endpoint: &str, checks: impl Iterator<Item = &'a Entry>, query: &Query) -> Answer {
    let mut unknown: Vec<&str> = query.all("exclude").collect();
    unknown.sort_unstable();
    unknown.dedup();
    let mut lines = String::new();
    let mut failed = false;
    for entry in checks {
        let name = entry.name;
        if let Some(at) = unknown.iter().position(|excluded| *excluded == name) {
            unknown.remove(at);
            lines.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        match entry.probe(endpoint) {
            Ok(()) => lines.push_str(&format!("[+]{name} ok\n")),
            // Anybody may read this; the reason takes the right to read the check itself.
            Err(why) => {
                tracing::warn!(check = name, why, "{endpoint} check failed");
                lines.push_str(&format!("[-]{name} failed: reason withheld\n"));
                failed = true;
            }
        }
    }
    if !unknown.is_empty() {
        let names: Vec<String> = unknown.iter().map(|name| quote(name)).collect();
        let names = names.join(",");
        lines.push_str(&format!("warn: some health checks cannot be excluded: no matches for {names}\n"));
    }
    if failed {
        return Answer { status: 500, body: format!("{lines}{endpoint} check failed\n") };
    }
    let body = match query.get("verbose") {
        None => "ok".to_owned(),
        Some(_) => format!("{lines}{endpoint} check passed\n"),
    };
    Answer { status: 200, body }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(health: &Health, path: &str, query: &str) -> (u16, String) {
        let answer = health.text(path, &Query::parse(Some(query))).unwrap();
        (answer.status, answer.body)
    }

    fn health() -> Health {
        let mut health = Health(Vec::new());
        health.add("ping", On::All, || Ok(()));
        health.add("shutdown", On::Readiness, || Err("process is shutting down".to_owned()));
        health
    }

    #[test]
    fn the_text_is_upstreams() {
        let health = health();
        assert_eq!(get(&health, "/livez", ""), (200, "ok".into()));
        let failed = "[+]ping ok\n[-]shutdown failed: reason withheld\nreadyz check failed\n";
        assert_eq!(get(&health, "/readyz", ""), (500, failed.into()));
        let why = "internal server error: process is shutting down\n";
        assert_eq!(get(&health, "/readyz/shutdown", ""), (500, why.into()));
        let verbose = "[+]ping ok\n[+]shutdown excluded: ok\n\
                       warn: some health checks cannot be excluded: no matches for \"x\"\nreadyz check passed\n";
        assert_eq!(get(&health, "/readyz", "verbose&exclude=shutdown&exclude=x"), (200, verbose.into()));
    }

    #[test]
    fn checks_are_counted_where_they_were_asked_for() {
        let health = health();
        get(&health, "/readyz", "");
        get(&health, "/readyz/ping", "");
        let slis = health.slis();
        for line in [
            "kubernetes_healthcheck{name=\"ping\",type=\"livez\"} 1",
            "kubernetes_healthcheck{name=\"shutdown\",type=\"readyz\"} 0",
            "kubernetes_healthchecks_total{name=\"ping\",status=\"success\",type=\"readyz\"} 2",
            "kubernetes_healthchecks_total{name=\"shutdown\",status=\"error\",type=\"readyz\"} 1",
        ] {
            assert!(slis.lines().any(|shown| shown == line), "{line} is not in:\n{slis}");
        }
        assert!(!slis.contains("type=\"healthz\"} 2") && !slis.contains("name=\"shutdown\",type=\"livez\""));
    }

    #[test]
    fn readiness_may_wait_for_more_than_liveness() {
        let health = health();
        assert!(health.text("/livez/shutdown", &Query::default()).is_none());
        assert!(health.text("/elsewhere", &Query::default()).is_none());
        assert_eq!(get(&health, "/livez/ping", ""), (200, "ok".into()));
    }

    #[test]
    fn a_server_on_a_sound_store_is_ready() {
        assert_eq!(get(&Health::new(storage::memory()), "/readyz", ""), (200, "ok".into()));
    }
}
