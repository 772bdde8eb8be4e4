//! The service `kubernetes`: whom it leads to, in the namespace `default`.
//!
//! A server that has its store for itself writes its own address. Servers that share a store each keep an entry that expires
//! (upstream's `masterleases`, in upstream's form), and each writes the addresses of all entries that there are: the one that
//! dies is left out when its entry has expired. Follows `pkg/controlplane/reconcilers/lease.go`.

use crate::identity;
use crate::registry::Call;
use crate::server::ApiServer;
use crate::start::resource_of;
use api::Value;
use api::document;
use api::status::ApiError;
use futures::future::BoxFuture;
use serde_json::json;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;
use storage::{Commit, Error, Expect, Put, Range};

const SERVICE: &str = "kubernetes";
/// Where the servers on one store keep their addresses.
const LEASES: &str = "/registry/masterleases/";
/// How long an entry lives that is not renewed.
const LIFE: Duration = Duration::from_secs(15);
const RENEWAL: Duration = Duration::from_secs(10);

impl ApiServer {
    /// Makes the service `kubernetes` lead to the address that the server listens on, beside those of other servers on the same
    /// store, and tells clients of it. The future that it gives keeps that up to date until the server stops.
    pub async fn publish(self: &Arc<Self>, listening: SocketAddr) -> Result<BoxFuture<'static, ()>, ApiError> {
        let own = advertised(self.options.advertise_address, listening);
        let _ = self.address.set(SocketAddr::new(own, listening.port()));
        let identity = identity::hold(self.clone());
        if !self.store.is_shared() {
            self.lead_to(&BTreeSet::from([own]), listening.port()).await?;
            return Ok(Box::pin(identity));
        }
        self.renew(own, listening.port()).await?;
        self.lead_to(&self.servers(own), listening.port()).await?;
        let following = follow(self.clone(), own, listening.port());
        Ok(Box::pin(async {
            tokio::join!(following, identity);
        }))
    }

    /// Writes the server's own entry, which expires.
    async fn renew(&self, own: IpAddr, port: u16) -> Result<(), ApiError> {
        let entry = json!({
            "kind": "Endpoints", "apiVersion": "v1", "metadata": {},
            "subsets": [{ "addresses": [{ "ip": own.to_string() }], "ports": [{ "port": port }] }],
        });
        let encoded = document::encode(&entry);
        let put = Put { value: encoded.bytes.into(), revision_at: Some(encoded.revision_at), ttl: Some(LIFE) };
        let commit = Commit { key: format!("{LEASES}{own}").into(), expect: Expect::Any, put: Some(put) };
        self.store.commit(commit).await.map(|_| ()).map_err(|error| self.store_error(error))
    }

    /// Takes the server's own entry back, as it stops.
    async fn retire(&self, own: IpAddr, port: u16) {
        let commit = Commit { key: format!("{LEASES}{own}").into(), expect: Expect::Any, put: None };
        let retired = match self.store.commit(commit).await {
            Ok(_) | Err(Error::Conflict { .. }) => self.others(own),
            Err(error) => return tracing::debug!(%error, "the server's address stays until it expires"),
        };
        // The last one leaves its address: there is nobody to write it anew.
        if !retired.is_empty()
            && let Err(failure) = self.lead_to(&retired, port).await
        {
            tracing::debug!(%failure, "the server's address stays until others remove it");
        }
    }

    /// The addresses of all servers on the store.
    fn servers(&self, own: IpAddr) -> BTreeSet<IpAddr> {
        let mut servers = self.others(own);
        servers.insert(own);
        servers
    }

    fn others(&self, own: IpAddr) -> BTreeSet<IpAddr> {
        let found = self.store.range(Range { prefix: LEASES, ..Range::default() }).unwrap_or_default();
        let addresses = found.entries.iter().filter_map(|entry| entry.key.strip_prefix(LEASES)?.parse().ok());
        addresses.filter(|address| *address != own).collect()
    }

    /// Writes the service with its Endpoints and EndpointSlice. Addresses of another family than the first are left out.
    async fn lead_to(&self, servers: &BTreeSet<IpAddr>, port: u16) -> Result<(), ApiError> {
        let is_v4 = servers.first().is_none_or(IpAddr::is_ipv4);
        let addresses = servers.iter().filter(|address| address.is_ipv4() == is_v4).map(ToString::to_string);
        let addresses: Vec<String> = addresses.collect();
        let range = self.options.service_cluster_ip_ranges.first();
        let cluster_ip = range.and_then(|range| range.hosts().next()).map(|ip| ip.to_string());
        let labels = json!({ "component": "apiserver", "provider": "kubernetes" });
        let service = json!({
            "kind": "Service", "apiVersion": "v1",
            "metadata": { "name": SERVICE, "namespace": "default", "labels": labels },
            "spec": {
                "clusterIP": cluster_ip, "type": "ClusterIP", "sessionAffinity": "None", "ipFamilyPolicy": "SingleStack",
                "ports": [{ "name": "https", "protocol": "TCP", "port": 443, "targetPort": port }],
            },
        });
        let endpoints = json!({
            "kind": "Endpoints", "apiVersion": "v1",
            "metadata": {
                "name": SERVICE, "namespace": "default",
                "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" },
            },
            "subsets": [{
                "addresses": addresses.iter().map(|ip| json!({ "ip": ip })).collect::<Vec<_>>(),
                "ports": [{ "name": "https", "port": port, "protocol": "TCP" }],
            }],
        });
        let slice = json!({
            "kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1",
            "metadata": {
                "name": SERVICE, "namespace": "default", "labels": { "kubernetes.io/service-name": SERVICE },
            },
            "addressType": if is_v4 { "IPv4" } else { "IPv6" },
            "endpoints": addresses.iter().map(|ip| json!({ "addresses": [ip], "conditions": { "ready": true } })).collect::<Vec<_>>(),
            "ports": [{ "name": "https", "port": port, "protocol": "TCP" }],
        });
        self.drop_other_family(&slice).await?;
        for (wanted, owned) in [(service, "spec.ports"), (endpoints, "subsets"), (slice, "endpoints")] {
            self.ensure_field(wanted, owned).await?;
        }
        Ok(())
    }

    /// An EndpointSlice's family cannot change: one of another family is made anew.
    async fn drop_other_family(&self, slice: &Value) -> Result<(), ApiError> {
        let resource = resource_of(slice)?;
        let call = Call::internal(self, resource, "default", SERVICE);
        let existing = match self.read(&call) {
            Ok(object) => object.into_value(resource)?,
            Err(failure) if failure.code == 404 => return Ok(()),
            Err(failure) => return Err(failure),
        };
        if document::get_str(&existing, "addressType") != document::get_str(slice, "addressType") {
            self.delete(&call, &Default::default()).await?;
        }
        Ok(())
    }

    /// Creates an object, or gives one of its fields (and an EndpointSlice's ports) the wanted value.
    async fn ensure_field(&self, wanted: Value, field: &str) -> Result<(), ApiError> {
        let resource = resource_of(&wanted)?;
        let (namespace, name) = (document::namespace(&wanted).to_owned(), document::name(&wanted).to_owned());
        let call = Call::internal(self, resource, &namespace, &name);
        let change = |old: &Value| {
            let mut object = old.clone();
            for field in [field, "ports"] {
                if let Some(value) = document::get(&wanted, field) {
                    document::set(&mut object, field, value.clone());
                }
            }
            Ok(object)
        };
        self.put_own(&call, &change, || Ok(wanted.clone())).await
    }
}

/// Renews the server's entry and writes the addresses anew when other entries come and go, until the server stops.
async fn follow(server: Arc<ApiServer>, own: IpAddr, port: u16) {
    let mut known = server.servers(own);
    let mut renewal = tokio::time::interval(RENEWAL);
    renewal.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut changes = server.store.watch(LEASES, server.store.revision());
    loop {
        let renewed = tokio::select! {
            () = server.stop.cancelled() => return server.retire(own, port).await,
            _ = renewal.tick() => server.renew(own, port).await,
            changed = next(&mut changes) => {
                if changed.is_err() {
                    changes = server.store.watch(LEASES, server.store.revision());
                }
                Ok(())
            }
        };
        let now = server.servers(own);
        let written = match renewed {
            Ok(()) if now == known => Ok(()),
            Ok(()) => server.lead_to(&now, port).await,
            failed => failed,
        };
        match written {
            Ok(()) => known = now,
            Err(failure) => tracing::warn!(%failure, "the service kubernetes is not up to date"),
        }
    }
}

/// The next change; never, where there is no watch: the renewals look then.
async fn next(changes: &mut Result<storage::Watch, Error>) -> Result<(), Error> {
    match changes {
        Ok(watch) => watch.next().await.map(|_| ()),
        Err(_) => std::future::pending().await,
    }
}

/// The address others reach the server at. Endpoints may not be loopback addresses, so a server that listens on one
/// names the host's own, if it has any; no packet is sent to find out.
fn advertised(configured: Option<IpAddr>, listening: SocketAddr) -> IpAddr {
    let ip = listening.ip();
    if let Some(address) = configured {
        return address;
    }
    if !ip.is_unspecified() && !ip.is_loopback() {
        return ip;
    }
    let own = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        // TEST-NET-1: connecting a datagram socket only asks the routing table.
        socket.connect("192.0.2.1:9")?;
        socket.local_addr()
    });
    match own {
        Ok(address) if !address.ip().is_loopback() && !address.ip().is_unspecified() => address.ip(),
        _ => ip,
    }
}
