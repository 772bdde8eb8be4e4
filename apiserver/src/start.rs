//! From parts to a server that can take requests: what the store must hold before the first one.

use crate::authn::{
    Authenticators, BoundKind, BoundObjects, LegacyTokens, Passwords, PeerTrust, SecretUse, ServiceAccounts,
    StaticTokens, User,
};
use crate::authz::{self, Authorizer};
use crate::bootstrap::{self, FrontProxy, Settings, Step};
use crate::encryption::Encryption;
use crate::health::{Health, On};
use crate::metrics::Metrics;
use crate::registry::{Call, Part};
use crate::resources::{self, Resource};
use crate::server::{ApiServer, Options};
use crate::{dangling, decode, kubelet, legacy_token_tracking, reserve};
use anyhow::Context;
use api::Value;
use api::document;
use api::status::ApiError;
use async_trait::async_trait;
use futures::future::try_join_all;
use ipnet::IpNet;
use jiff::Timestamp;
use pki::Pki;
use pki::service_account::DEFAULT_ISSUER;
use serde_json::json;
use std::sync::Arc;
use storage::Store;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

/// The ServiceCIDR of the configured ranges.
const DEFAULT_CIDR: &str = "kubernetes";

impl ApiServer {
    /// Prepares a server on a store that keeps values by `encryption`. When this returns, RBAC and the bootstrap objects are in place.
    pub async fn start(
        store: Arc<dyn Store>,
        pki: Arc<Pki>,
        options: Options,
        encryption: Option<Arc<Encryption>>,
        stop: CancellationToken,
    ) -> anyhow::Result<Arc<ApiServer>> {
        check_ranges(&options.service_cluster_ip_ranges)?;
        let authorizer = Arc::new(Authorizer::new());
        let services = reserve::allocator(&options)?;
        let (told, uses) = mpsc::channel(legacy_token_tracking::WAITING);
        let server = Arc::new(ApiServer {
            authenticators: authenticators(&store, &pki, &options, told)?,
            authorizer: authorizer.clone(),
            services,
            quota_turns: Default::default(),
            metrics: Metrics::new(encryption.as_deref()),
            health: health(&store, encryption.as_ref()),
            encryption,
            own_user: User {
                name: "system:apiserver".into(),
                groups: vec![authz::SUPERUSERS.into(), crate::authn::AUTHENTICATED_GROUP.into()],
                ..User::default()
            },
            seats: Semaphore::new(options.max_requests_inflight),
            components: Default::default(),
            address: Default::default(),
            kubelet_tls: kubelet::client_config(&pki)?,
            stop,
            store,
            pki,
            options,
        });
        server.bootstrap().await.context("the objects that every cluster has could not be written")?;
        let following = authz::follow(authorizer, server.store.clone()).context("RBAC objects cannot be read")?;
        let since = server.store.revision();
        let later = reserve::repair_all(&server).await.context("the addresses of Services cannot be repaired")?;
        let repairing = reserve::follow(server.clone(), since, later);
        if let Some(encryption) = &server.encryption {
            let following = encryption.clone().follow(server.store.clone());
            let following = following.context("changes of the encryption configuration cannot be watched")?;
            tokio::spawn(server.stop.clone().run_until_cancelled_owned(following));
        }
        let changes = dangling::begin(&server).await.context("FlowSchemas cannot be read")?;
        let noting = dangling::follow(server.clone(), changes);
        let changes = legacy_token_tracking::begin(&server);
        let changes = changes.await.context("the use of tokens in Secrets cannot be tracked")?;
        let tracking = legacy_token_tracking::follow(server.clone(), changes, uses);
        let stop = server.stop.clone();
        tokio::spawn(async move {
            let all = async { tokio::join!(following, repairing, noting, tracking) };
            tokio::select! { _ = stop.cancelled() => {}, _ = all => {} }
        });
        Ok(server)
    }

    /// Whose client certificates are trusted.
    pub fn trust(&self) -> PeerTrust {
        PeerTrust {
            clients: self.pki.clients().clone(),
            front_proxies: self.pki.front_proxies().clone(),
            front_proxy_names: vec!["front-proxy-client".into()],
        }
    }

    async fn bootstrap(&self) -> Result<(), ApiError> {
        let settings = Settings {
            service_cidrs: self.options.service_cluster_ip_ranges.iter().map(ToString::to_string).collect(),
            client_ca: self.pki.ca_pem().to_owned(),
            front_proxy: Some(FrontProxy {
                ca: self.pki.front_proxy_ca_pem().to_owned(),
                allowed_names: vec!["front-proxy-client".into()],
            }),
        };
        let (namespaces, rest): (Vec<Value>, Vec<Value>) = bootstrap::documents(&settings)
            .into_iter()
            .partition(|object| document::get_str(object, "kind") == "Namespace");
        // At the same time, so that they share the disk's flushes; namespaces first, for the others stand in them.
        for group in [namespaces, rest] {
            try_join_all(group.into_iter().map(|object| self.ensure(object))).await?;
        }
        let cidrs = resources::builtin("networking.k8s.io", "servicecidrs");
        let wanted = |cidr: &Value, now| {
            let is_new = document::get(cidr, "status.conditions").is_none();
            Ok(is_new.then(|| bootstrap::service_cidr_status(now)))
        };
        self.apply_own_status(cidrs, DEFAULT_CIDR, "kubernetes-service-cidr-controller", wanted).await
    }

    /// Creates an object, or completes the one that is there.
    async fn ensure(&self, wanted: Value) -> Result<(), ApiError> {
        let resource = resource_of(&wanted)?;
        let (namespace, name) = (document::namespace(&wanted).to_owned(), document::name(&wanted).to_owned());
        let call = Call { manager: bootstrap::manager(&wanted), ..Call::internal(self, resource, &namespace, &name) };
        let existing = match self.read(&call) {
            Ok(object) => Some(object.into_value(resource)?),
            Err(failure) if failure.code == 404 => None,
            Err(failure) => return Err(failure),
        };
        match bootstrap::reconcile(existing.as_ref(), &wanted) {
            Step::Nothing => Ok(()),
            Step::Update(object) => self.update(&call, Part::Main, &|_| Ok(object.clone())).await.map(|_| ()),
            Step::Create => self.create_own(&call, wanted).await,
            Step::Recreate => {
                self.delete(&call, &Default::default()).await?;
                self.create_own(&call, wanted).await
            }
        }
    }

    /// Applies a status to an object of the cluster, as one of upstream's controllers inside the server: what `wanted` gives for the
    /// object and the time, if anything.
    pub(crate) async fn apply_own_status(
        &self,
        resource: &'static Resource,
        name: &str,
        manager: &str,
        wanted: impl Fn(&Value, Timestamp) -> Result<Option<Value>, ApiError> + Sync,
    ) -> Result<(), ApiError> {
        let call = Call { manager, subresource: "status", applies: true, ..Call::internal(self, resource, "", name) };
        let change = |old: &Value| {
            let Some(status) = wanted(old, call.now)? else { return Ok(old.clone()) };
            let applied = json!({
                "apiVersion": resource.api_version, "kind": resource.kind.kind, "metadata": { "name": name },
                "status": status,
            });
            decode::applied_to(&call, old, &applied, true)
        };
        let old = self.read(&call)?.into_value(resource)?;
        if wanted(&old, call.now)?.is_some() {
            self.update(&call, Part::Status, &change).await?;
        }
        Ok(())
    }

    /// Changes an object of the server's own, or makes it as `new` says.
    pub(crate) async fn put_own(
        &self,
        call: &Call<'_>,
        change: &(dyn Fn(&Value) -> Result<Value, ApiError> + Sync),
        new: impl FnOnce() -> Result<Value, ApiError>,
    ) -> Result<(), ApiError> {
        match self.update(call, Part::Main, change).await {
            Err(failure) if failure.code == 404 => self.create_own(call, new()?).await,
            other => other.map(|_| ()),
        }
    }

    pub(crate) async fn create_own(&self, call: &Call<'_>, mut object: Value) -> Result<(), ApiError> {
        call.resource.complete(&mut object);
        match self.create(call, object).await {
            Err(failure) if failure.reason != "AlreadyExists" => Err(failure),
            _ => Ok(()),
        }
    }
}

fn health(store: &Arc<dyn Store>, encryption: Option<&Arc<Encryption>>) -> Health {
    let mut health = Health::new(store.clone());
    if let Some(encryption) = encryption.filter(|encryption| encryption.has_health()).cloned() {
        health.add("kms-providers", On::AllButLiveness, move || encryption.health());
    }
    health
}

/// One range, or one of each family.
fn check_ranges(ranges: &[IpNet]) -> anyhow::Result<()> {
    match ranges {
        [_] => Ok(()),
        [first, second] if first.addr().is_ipv4() != second.addr().is_ipv4() => Ok(()),
        [_, _] => anyhow::bail!("the two ranges of service addresses must be of different IP families"),
        _ => anyhow::bail!("one range of service addresses is needed, or two of different IP families"),
    }
}

pub(crate) fn resource_of(object: &Value) -> Result<&'static Resource, ApiError> {
    resources::of(object).ok_or_else(ApiError::no_such_resource)
}

fn authenticators(
    store: &Arc<dyn Store>,
    pki: &Arc<Pki>,
    options: &Options,
    uses: mpsc::Sender<SecretUse>,
) -> anyhow::Result<Authenticators> {
    let mut tokens = StaticTokens::new()?;
    if let Some(file) = &options.token_auth_file {
        tokens.load(file)?;
    }
    let passwords = options.basic_auth_file.as_deref().map(Passwords::load).transpose()?;
    let bound: Arc<dyn BoundObjects> = Arc::new(Bound(store.clone()));
    let issuers = vec![DEFAULT_ISSUER.to_owned()];
    Ok(Authenticators {
        passwords,
        tokens: Some(tokens),
        service_accounts: Some(ServiceAccounts::new(pki.service_accounts(), issuers.clone(), bound.clone())?),
        legacy_tokens: Some(LegacyTokens::new(pki.service_accounts(), bound, uses)?),
        api_audiences: issuers,
    })
}

/// Finds in the store what tokens are bound to.
struct Bound(Arc<dyn Store>);

#[async_trait]
impl BoundObjects for Bound {
    async fn find(&self, kind: BoundKind, namespace: &str, name: &str) -> Result<Option<Value>, String> {
        let resource = resources::builtin(
            "",
            match kind {
                BoundKind::ServiceAccount => "serviceaccounts",
                BoundKind::Pod => "pods",
                BoundKind::Secret => "secrets",
                BoundKind::Node => "nodes",
            },
        );
        let found = self.0.get(&resource.key(namespace, name)).map_err(|error| error.to_string())?;
        let Some(entry) = found else { return Ok(None) };
        resource.read_unmanaged(&entry.value).map(Some).map_err(|error| error.to_string())
    }

    async fn catch_up(&self) -> bool {
        self.0.is_shared() && self.0.catch_up().await.is_ok()
    }
}
