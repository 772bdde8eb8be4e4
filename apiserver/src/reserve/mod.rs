//! What a write takes besides its own key: a Service's addresses and node ports.
//!
//! An address is taken by an IPAddress of its name, a node port by its bit in a stored range (see [`ports`]); both are written
//! before the Service, and what a crash leaves behind in between is repaired (see [`repair`]). Until they are written, the
//! [`Allocator`] in memory knows.

mod follow;
mod ports;
mod repair;

pub use follow::{follow, repair_all};

use crate::kinds::service::allocate::{self, Allocator, Known, held_addresses, held_ports};
use crate::kinds::service::pool::{Cidr, family_of};
use crate::params::DeleteOptions;
use crate::registry::Call;
use crate::resources::{self, Resource};
use crate::server::{ApiServer, Options};
use api::Value;
use api::document;
use api::field::Errors;
use api::status::ApiError;
use futures::future::BoxFuture;
use ipnet::IpNet;
use parking_lot::Mutex;
use serde_json::json;
use std::net::IpAddr;
use storage::Range;

/// As what the labels of an IPAddress name the one that manages it.
const MANAGER: &str = "ipallocator.k8s.io";
const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
const IP_FAMILY: &str = "ipaddress.kubernetes.io/ip-family";

/// Given back when it is dropped, unless it was kept. Addresses that stand in the store by then are left for the repair.
#[must_use = "dropping a reservation rolls it back"]
pub struct Reservation<'a> {
    server: &'a ApiServer,
    taken: Option<allocate::Reservation>,
}

impl Reservation<'_> {
    /// Writes the addresses that were taken for this object, just before the object itself.
    pub fn claim<'b>(&'b self, object: &'b Value) -> BoxFuture<'b, Result<(), ApiError>> {
        Box::pin(async move {
            let Some(taken) = &self.taken else { return Ok(()) };
            let addresses = &taken.addresses;
            ports::take(self.server, &taken.ports).await?;
            for (i, ip) in addresses.iter().enumerate() {
                if let Err(failure) = create_address(self.server, *ip, object).await {
                    delete_addresses(self.server, &addresses[..i]).await;
                    ports::free(self.server, &taken.ports).await;
                    return Err(failure);
                }
            }
            Ok(())
        })
    }

    /// After the write of the object: what it took stays taken and what it freed is free, or the other way round.
    pub async fn settle(mut self, written: bool) {
        let Some(taken) = self.taken.take() else { return };
        let (addresses, ports) =
            if written { (&taken.freed_addresses, &taken.freed_ports) } else { (&taken.addresses, &taken.ports) };
        delete_addresses(self.server, addresses).await;
        ports::free(self.server, ports).await;
        self.server.services.lock().forget(&taken);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if let Some(taken) = self.taken.take() {
            self.server.services.lock().forget(&taken);
        }
    }
}

/// Whether writes of this resource take anything.
pub fn concerns(resource: &Resource) -> bool {
    resource.kind.kind == "Service" && resource.kind.group.is_empty()
}

/// Takes what the object needs and writes it into the object.
pub fn for_write<'a>(call: &Call<'a>, old: Option<&Value>, object: &mut Value) -> Result<Reservation<'a>, ApiError> {
    let server = call.server;
    if !concerns(call.resource) || !call.subresource.is_empty() {
        return Ok(Reservation { server, taken: None });
    }
    let cidrs = ready_cidrs(server)?;
    let addresses = resources::builtin("networking.k8s.io", "ipaddresses");
    // What cannot be read is not given out.
    let is_taken = |ip: IpAddr| !matches!(server.store.get(&addresses.key("", &ip.to_string())), Ok(None));
    let ports = ports::taken(&*server.store, server.options.service_node_port_range);
    let ports = ports.map_err(|error| server.store_error(error))?;
    let known = Known { cidrs: &cidrs, is_taken: &is_taken, ports: &ports };
    let taken = allocate::plan(old, object, &mut server.services.lock(), &known, call.dry_run)?;
    Ok(Reservation { server, taken: Some(taken) })
}

/// Gives back what an object held that is gone, and removes the Endpoints of its name.
pub fn release<'a>(call: &'a Call<'_>, object: &'a Value) -> BoxFuture<'a, ()> {
    Box::pin(async move {
        if !concerns(call.resource) {
            return;
        }
        ports::free(call.server, &held_ports(object)).await;
        let addresses: Vec<IpAddr> = held_addresses(object).filter_map(|ip| ip.parse().ok()).collect();
        delete_addresses(call.server, &addresses).await;
        delete(call.server, resources::builtin("", "endpoints"), call.namespace, call.name).await;
    })
}

/// The IPAddress of a Service.
fn address_of(ip: IpAddr, service: &Value) -> Value {
    json!({
        "kind": "IPAddress", "apiVersion": "networking.k8s.io/v1",
        "metadata": { "name": ip.to_string(), "labels": { IP_FAMILY: family_of(ip), MANAGED_BY: MANAGER } },
        "spec": { "parentRef": {
            "resource": "services", "namespace": document::namespace(service), "name": document::name(service),
        } },
    })
}

async fn create_address(server: &ApiServer, ip: IpAddr, service: &Value) -> Result<(), ApiError> {
    let name = ip.to_string();
    let call = Call::internal(server, resources::builtin("networking.k8s.io", "ipaddresses"), "", &name);
    let mut address = address_of(ip, service);
    call.resource.complete(&mut address);
    match server.create(&call, address).await {
        Err(failure) if failure.reason == "AlreadyExists" => {
            let mut errors = Errors::new();
            let all = document::get(service, "spec.clusterIPs").cloned().unwrap_or_default();
            errors.invalid(
                "spec.clusterIPs",
                all,
                format!("failed to allocate IP {ip}: provided IP is already allocated"),
            );
            Err(ApiError::invalid("", "Service", document::name(service), &errors))
        }
        other => other.map(|_| ()),
    }
}

async fn delete_addresses(server: &ApiServer, addresses: &[IpAddr]) {
    for ip in addresses {
        delete(server, resources::builtin("networking.k8s.io", "ipaddresses"), "", &ip.to_string()).await;
    }
}

/// Deletes an object that may be gone already; what stays is found by the repair.
async fn delete(server: &ApiServer, resource: &'static Resource, namespace: &str, name: &str) {
    let call = Call::internal(server, resource, namespace, name);
    match server.delete(&call, &DeleteOptions::default()).await {
        Err(failure) if failure.code != 404 => {
            tracing::warn!(resource = resource.kind.resource, name, %failure, "could not be given back");
        }
        _ => {}
    }
}

/// The ranges that addresses may come from: of each ServiceCIDR that is ready.
fn ready_cidrs(server: &ApiServer) -> Result<Vec<Cidr>, ApiError> {
    let all = service_cidrs(server)?;
    let ready = all.iter().filter(|object| {
        let conditions = document::get_list(object, "status.conditions").iter();
        let mut ready = conditions.filter(|condition| document::get_str(condition, "type") == "Ready");
        // Without a condition nobody is there who would set it.
        let holds = ready.next().is_none_or(|condition| document::get_str(condition, "status") == "True");
        holds && !document::is_terminating(object)
    });
    Ok(ready.flat_map(nets).filter(|net| net.addr().is_ipv4() || net.prefix_len() >= 64).map(Cidr::new).collect())
}

fn service_cidrs(server: &ApiServer) -> Result<Vec<Value>, ApiError> {
    let cidrs = resources::builtin("networking.k8s.io", "servicecidrs");
    let range = Range { prefix: &cidrs.prefix, ..Range::default() };
    let found = server.store.range(range).map_err(|error| server.store_error(error))?;
    found.entries.iter().map(|entry| cidrs.read(&entry.value)).collect()
}

fn nets(cidr: &Value) -> impl Iterator<Item = IpNet> {
    document::get_list(cidr, "spec.cidrs").iter().filter_map(|cidr| cidr.as_str()?.parse().ok())
}

/// An allocator for the configured ranges.
pub fn allocator(options: &Options) -> anyhow::Result<Mutex<Allocator>> {
    let mut seed = [0u8; 8];
    getrandom::fill(&mut seed)?;
    let (low, high) = options.service_node_port_range;
    let families = options.service_cluster_ip_ranges.iter().map(|net| family_of(net.addr())).collect();
    Ok(Mutex::new(Allocator::new(families, low..=high, u64::from_ne_bytes(seed))))
}
