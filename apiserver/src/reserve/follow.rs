//! Repairs addresses and tells about node ports: all of them at the start, and each whose Service or IPAddress changes.

use super::repair::{self, Seen, Step, Warning};
use super::{address_of, delete_addresses, nets, ports, service_cidrs};
use crate::kinds::service::allocate::held_ports;
use crate::registry::Call;
use crate::resources::{self, Resource};
use crate::server::ApiServer;
use api::Value;
use api::document;
use api::status::ApiError;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use storage::{Error, Range, Revision};

const REPORTER: &str = "ipallocator-repair-controller";
const CIDR_REPORTER: &str = "kubernetes-service-cidr-controller";
const PORT_REPORTER: &str = "portallocator-repair-controller";
/// How long after a failure all is looked at again.
const RETRY: Duration = Duration::from_secs(5);

fn services() -> &'static Resource {
    resources::builtin("", "services")
}

fn addresses() -> &'static Resource {
    resources::builtin("networking.k8s.io", "ipaddresses")
}

/// Looks at everything once. Gives what is to be looked at again, and when.
pub async fn repair_all(server: &ApiServer) -> Result<Later, ApiError> {
    let services = all(server, services())?;
    for service in &services {
        repair_service(server, document::namespace(service), document::name(service)).await?;
    }
    for (i, warning) in repair::ports(&services, server.options.service_node_port_range) {
        tell(server, PORT_REPORTER, &services[i], warning).await;
    }
    let default = resources::builtin("networking.k8s.io", "servicecidrs");
    if let Some(cidr) = stored(server, default, "", "kubernetes")
        && let Some(warning) = repair::default_cidr(&cidr, &server.options.service_cluster_ip_ranges)
    {
        tell(server, CIDR_REPORTER, &cidr, warning).await;
    }
    let mut later = Later::default();
    for address in all(server, addresses())? {
        if let Some(wait) = repair_address(server, &address).await? {
            later.add(Due::Address(document::name(&address).to_owned()), wait);
        }
    }
    let held = ports_held(server)?;
    ports::repair(server, &held, &BTreeSet::new()).await?;
    let taken = ports::taken(&*server.store, server.options.service_node_port_range);
    let taken = taken.map_err(|error| server.store_error(error))?;
    let leaked: BTreeSet<u16> = taken.difference(&held).copied().collect();
    if !leaked.is_empty() {
        later.add(Due::Ports(leaked), repair::GRACE);
    }
    Ok(later)
}

/// The node ports that the Services hold, of those that can be given out.
fn ports_held(server: &ApiServer) -> Result<BTreeSet<u16>, ApiError> {
    let (low, high) = server.options.service_node_port_range;
    let held = all(server, services())?.into_iter().flat_map(|service| held_ports(&service));
    Ok(held.filter(|port| (low..=high).contains(port)).collect())
}

fn all(server: &ApiServer, resource: &'static Resource) -> Result<Vec<Value>, ApiError> {
    let range = Range { prefix: &resource.prefix, ..Range::default() };
    let found = server.store.range(range).map_err(|error| server.store_error(error))?;
    found.entries.iter().map(|entry| resource.read(&entry.value)).collect()
}

/// What is without a Service, which may be about to be written.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    /// The name of an IPAddress.
    Address(String),
    /// Node ports that are taken.
    Ports(BTreeSet<u16>),
}

/// What waits for its Service, in the order of the deadlines.
#[derive(Default)]
pub struct Later(BTreeSet<(Timestamp, Due)>);

impl Later {
    fn add(&mut self, due: Due, wait: SignedDuration) {
        let at = Timestamp::now().checked_add(wait).unwrap_or(Timestamp::MAX);
        self.0.insert((at, due));
    }

    /// Returns when the first deadline has passed; never, when there is none.
    async fn next(&mut self) -> Due {
        let Some((at, _)) = self.0.first() else { return std::future::pending().await };
        let wait = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
        tokio::time::sleep(wait).await;
        match self.0.pop_first() {
            Some((_, due)) => due,
            None => std::future::pending().await,
        }
    }
}

/// Follows the changes after `since` until the store is closed.
pub async fn follow(server: Arc<ApiServer>, mut since: Revision, mut later: Later) {
    loop {
        match follow_from(&server, since, &mut later).await {
            Err(Error::Unavailable(_)) => return,
            Err(Error::Compacted { .. }) | Ok(()) => {}
            Err(error) => tracing::warn!(%error, "service addresses cannot be followed"),
        }
        since = server.store.revision();
        match repair_all(&server).await {
            Ok(again) => later = again,
            Err(failure) => {
                tracing::warn!(%failure, "service addresses could not be repaired");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Ends with `Ok` when something could not be repaired.
async fn follow_from(server: &ApiServer, since: Revision, later: &mut Later) -> Result<(), Error> {
    let mut services_changed = server.store.watch(&services().prefix, since)?;
    let mut addresses_changed = server.store.watch(&addresses().prefix, since)?;
    loop {
        let outcome = tokio::select! {
            event = services_changed.next() => {
                let event = event?;
                let (namespace, name) = services().split_key(&event.key);
                repair_service(server, namespace, name).await
            }
            event = addresses_changed.next() => {
                let event = event?;
                let name = addresses().split_key(&event.key).1;
                match &event.entry {
                    Some(_) => look_at(server, name, later).await,
                    None => look_at_holder(server, event.previous.as_ref().map(|entry| &*entry.value)).await,
                }
            }
            due = later.next() => match due {
                Due::Address(name) => look_at(server, &name, later).await,
                Due::Ports(leaked) => free_leaked(server, &leaked).await,
            },
        };
        if let Err(failure) = outcome {
            tracing::debug!(%failure, "a service address could not be repaired");
            return Ok(());
        }
    }
}

/// Looks at an IPAddress as it is now.
async fn look_at(server: &ApiServer, name: &str, later: &mut Later) -> Result<(), ApiError> {
    let Some(address) = stored(server, addresses(), "", name) else { return Ok(()) };
    if let Some(wait) = repair_address(server, &address).await? {
        later.add(Due::Address(name.to_owned()), wait);
    }
    Ok(())
}

/// Frees the node ports that are still no Service's.
async fn free_leaked(server: &ApiServer, leaked: &BTreeSet<u16>) -> Result<(), ApiError> {
    let held = ports_held(server)?;
    tracing::warn!(ports = ?leaked.difference(&held).collect::<Vec<_>>(), "node ports without a Service are freed");
    ports::repair(server, &held, leaked).await
}

/// Looks at the Service whose IPAddress is gone.
async fn look_at_holder(server: &ApiServer, address: Option<&[u8]>) -> Result<(), ApiError> {
    let Some(address) = address.map(|bytes| addresses().read(bytes)).transpose()? else { return Ok(()) };
    let of = |key: &str| document::get_str(&address, &format!("spec.parentRef.{key}")).to_owned();
    repair_service(server, &of("namespace"), &of("name")).await
}

fn stored(server: &ApiServer, resource: &Resource, namespace: &str, name: &str) -> Option<Value> {
    let entry = server.store.get(&resource.key(namespace, name)).ok()??;
    resource.read(&entry.value).ok()
}

/// Looks at a Service as it is now.
async fn repair_service(server: &ApiServer, namespace: &str, name: &str) -> Result<(), ApiError> {
    let Some(service) = stored(server, services(), namespace, name) else { return Ok(()) };
    let steps = with_seen(server, |seen| repair::service(&service, seen))?;
    // A write gives up an address only after it has changed the Service: one that has not changed still holds its own.
    if steps.is_empty() || is_outdated(server, &service) {
        return Ok(());
    }
    carry_out(server, &service, steps).await
}

/// Whether a Service has changed since; the change will be heard of.
fn is_outdated(server: &ApiServer, service: &Value) -> bool {
    let now = stored(server, services(), document::namespace(service), document::name(service));
    now.is_none_or(|now| document::resource_version(&now) != document::resource_version(service))
}

async fn repair_address(server: &ApiServer, address: &Value) -> Result<Option<SignedDuration>, ApiError> {
    let (steps, again) = with_seen(server, |seen| repair::address(address, seen, Timestamp::now()))?;
    carry_out(server, address, steps).await?;
    Ok(again)
}

fn with_seen<T>(server: &ApiServer, look: impl FnOnce(&Seen) -> T) -> Result<T, ApiError> {
    let cidrs: Vec<_> = service_cidrs(server)?.iter().flat_map(nets).collect();
    let address = |ip: IpAddr| stored(server, addresses(), "", &ip.to_string());
    let service = |namespace: &str, name: &str| stored(server, services(), namespace, name);
    Ok(look(&Seen { address: &address, service: &service, cidrs: &cidrs }))
}

async fn carry_out(server: &ApiServer, about: &Value, steps: Vec<Step>) -> Result<(), ApiError> {
    for step in steps {
        match step {
            Step::Take(ip) => {
                delete_addresses(server, &[ip]).await;
                let name = ip.to_string();
                let call = Call::internal(server, addresses(), "", &name);
                let mut address = address_of(ip, about);
                call.resource.complete(&mut address);
                server.create(&call, address).await?;
                if is_outdated(server, about) {
                    delete_addresses(server, &[ip]).await;
                }
            }
            Step::Free => {
                let ip: Option<IpAddr> = document::name(about).parse().ok();
                delete_addresses(server, ip.as_slice()).await;
            }
            Step::Warn(warning) => tell(server, REPORTER, about, warning).await,
        }
    }
    Ok(())
}

/// Writes an event about an object; one that cannot be written is only logged.
async fn tell(server: &ApiServer, reporter: &str, about: &Value, warning: Warning) {
    let now = Timestamp::now();
    let namespace = match document::namespace(about) {
        "" => "default",
        namespace => namespace,
    };
    let name = format!("{}.{:x}", document::name(about), now.as_nanosecond());
    let resource = resources::builtin("events.k8s.io", "events");
    let call = Call::internal(server, resource, namespace, &name);
    let text = |path: &str| document::get_str(about, path);
    let mut event = json!({
        "kind": "Event", "apiVersion": "events.k8s.io/v1",
        "metadata": { "name": name, "namespace": namespace },
        "eventTime": api::time::format_micro(now),
        "reportingController": reporter, "reportingInstance": reporter,
        "action": warning.action, "reason": warning.reason, "note": warning.note, "type": "Warning",
        "regarding": {
            "kind": text("kind"), "apiVersion": text("apiVersion"), "namespace": document::namespace(about),
            "name": document::name(about), "uid": document::uid(about),
            "resourceVersion": document::resource_version(about),
        },
    });
    tracing::warn!(note = warning.note, "service addresses");
    resource.complete(&mut event);
    if let Err(failure) = server.create(&call, event).await {
        tracing::debug!(%failure, "an event could not be written");
    }
}
