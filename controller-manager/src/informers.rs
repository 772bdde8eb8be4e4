//! The informers that all controllers share, and their stores, which make a reconcile's view.
//!
//! Each resource is watched once: as a projection where some controller reads its fields, else by its metadata for the garbage collector.

use std::collections::BTreeMap;
use std::sync::Arc;

use component::informer::{Builder, Progress};
use component::resource::*;
use component::store::{by_controller, by_owner};
use component::{Client, Informer, Meta, PartialObject, Projection, Resource, Store};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::controllers::storage_protection::{Attributed, claims_of};
use crate::kinds::*;

/// Index: the uids of all owners.
pub const OWNER: &str = "owner";
/// Index: the uid of the controlling owner, empty without one.
pub const CONTROLLER: &str = "controller";
/// Index of pods: the node's name.
pub const NODE: &str = "node";
/// Index of pods: `namespace/claim` of each claim.
pub const CLAIM: &str = "claim";
/// Index of claims and volumes: each VolumeAttributesClass they name.
pub const ATTRIBUTES_CLASS: &str = "attributesClass";
/// Index of endpoint slices: `namespace/service`.
pub const SERVICE: &str = "service";
/// Index of Secrets with tokens: `namespace/account`.
pub const ACCOUNT: &str = "account";
/// Index of service accounts: `namespace/secret` of each Secret that one lists.
pub const SECRET: &str = "secret";

/// Of these resources only some objects are read, so that the garbage collector needs a watch of its own.
const READ_IN_PART: [Resource; 2] = [CONFIG_MAPS, SECRETS];

/// Any object, for its metadata.
pub trait HasMeta: Send + Sync {
    fn metadata(&self) -> &Meta;
}

impl<T: Projection> HasMeta for T {
    fn metadata(&self) -> &Meta {
        self.meta()
    }
}

/// A store of some kind, read for metadata only.
pub trait MetaStore: Send + Sync {
    fn metadata(&self, namespace: &str, name: &str) -> Option<Arc<dyn HasMeta>>;
    fn owned_by(&self, uid: &str) -> Vec<Arc<dyn HasMeta>>;
}

impl<T: Projection> MetaStore for Store<T> {
    fn metadata(&self, namespace: &str, name: &str) -> Option<Arc<dyn HasMeta>> {
        self.get(namespace, name).map(|object| object as Arc<dyn HasMeta>)
    }
    fn owned_by(&self, uid: &str) -> Vec<Arc<dyn HasMeta>> {
        self.by(OWNER, uid).into_iter().map(|object| object as Arc<dyn HasMeta>).collect()
    }
}

/// What a subscriber to any kind is told: the object as it was and as it is.
pub type AnyChange<'a> = (Option<&'a Meta>, Option<&'a Meta>);

/// An informer of some kind.
pub trait AnyInformer: Send + Sync {
    fn progress(&self) -> watch::Receiver<Progress>;
    fn subscribe_metadata(&self, handler: Box<dyn Fn(AnyChange<'_>) + Send + Sync>);
}

impl<T: Projection> AnyInformer for Informer<T> {
    fn progress(&self) -> watch::Receiver<Progress> {
        Informer::progress(self)
    }
    fn subscribe_metadata(&self, handler: Box<dyn Fn(AnyChange<'_>) + Send + Sync>) {
        use component::Delta;
        self.subscribe(move |delta| match delta {
            Delta::Added(new) => handler((None, Some(new.meta()))),
            Delta::Updated { old, new } => handler((Some(old.meta()), Some(new.meta()))),
            Delta::Deleted(old) => handler((Some(old.meta()), None)),
        });
    }
}

macro_rules! shared {
    ($($(#[$doc:meta])* $field:ident: $kind:ident = $resource:expr, [$($index:expr),*], $limit:expr;)*) => {
        /// What the controllers see of the cluster.
        #[derive(Clone)]
        pub struct Stores {
            $($(#[$doc])* pub $field: Store<$kind>,)*
            /// Every collectable resource, those above included.
            pub all: BTreeMap<Resource, Arc<dyn MetaStore>>,
        }

        /// Keeps [`Stores`] up to date.
        pub struct Informers {
            $($(#[$doc])* pub $field: Informer<$kind>,)*
            /// Every resource that is watched, those above included.
            pub all: BTreeMap<Resource, Arc<dyn AnyInformer>>,
            stores: Stores,
            /// Of `all`, those that only the garbage collector reads.
            metadata: Vec<Informer<PartialObject>>,
        }

        impl Default for Stores {
            /// Empty stores, for tests.
            fn default() -> Stores {
                $(let $field = Store::<$kind>::new(&[(OWNER, by_owner), (CONTROLLER, by_controller) $(, $index)*]);)*
                let mut all: BTreeMap<Resource, Arc<dyn MetaStore>> = BTreeMap::new();
                $(all.insert($resource, Arc::new($field.clone()));)*
                Stores { $($field,)* all }
            }
        }

        impl Informers {
            /// Starts all watches on the current Tokio runtime.
            pub fn start(client: &Client, stop: &CancellationToken) -> Informers {
                $(
                    let limit: fn(Builder<$kind>) -> Builder<$kind> = $limit;
                    let builder = limit(Informer::<$kind>::builder(client.clone(), $resource));
                    let builder = builder.index(OWNER, by_owner).index(CONTROLLER, by_controller);
                    $(let builder = { let (name, values) = $index; builder.index(name, values) };)*
                    let $field = builder.start(stop.clone());
                )*
                let mut all: BTreeMap<Resource, Arc<dyn AnyInformer>> = BTreeMap::new();
                let mut stores: BTreeMap<Resource, Arc<dyn MetaStore>> = BTreeMap::new();
                $(
                    if !READ_IN_PART.contains(&$resource) {
                        all.insert($resource, Arc::new($field.clone()));
                        stores.insert($resource, Arc::new($field.store().clone()));
                    }
                )*
                let mut metadata = Vec::new();
                for resource in collectable() {
                    if all.contains_key(&resource) {
                        continue;
                    }
                    let builder = Informer::<PartialObject>::builder(client.clone(), resource).metadata_only();
                    let informer = builder.index(OWNER, by_owner).start(stop.clone());
                    all.insert(resource, Arc::new(informer.clone()));
                    stores.insert(resource, Arc::new(informer.store().clone()));
                    metadata.push(informer);
                }
                let stores = Stores { $($field: $field.store().clone(),)* all: stores };
                Informers { $($field,)* all, stores, metadata }
            }

            /// Waits for the first lists of what controllers read.
            pub async fn synced(&self) {
                $(self.$field.synced().await;)*
            }
        }
    };
}

shared! {
    pods: Pod = PODS,
        [(NODE, |pod: &Pod, add: &mut dyn FnMut(&str)| add(&pod.spec.node_name)),
         (CLAIM, |pod: &Pod, add: &mut dyn FnMut(&str)| {
            for (claim, _) in claims_of(pod) {
                add(&format!("{}/{claim}", pod.metadata.namespace));
            }
        })], |b| b;
    nodes: Node = NODES, [], |b| b;
    replica_sets: ReplicaSet = REPLICA_SETS, [], |b| b;
    replication_controllers: ReplicaSet = REPLICATION_CONTROLLERS, [], |b| b;
    deployments: Deployment = DEPLOYMENTS, [], |b| b;
    stateful_sets: Scaled = STATEFUL_SETS, [], |b| b;
    pod_disruption_budgets: PodDisruptionBudget = POD_DISRUPTION_BUDGETS, [], |b| b;
    jobs: Job = JOBS, [], |b| b;
    services: Service = SERVICES, [], |b| b;
    endpoints: Endpoints = ENDPOINTS, [], |b| b;
    endpoint_slices: EndpointSlice = ENDPOINT_SLICES,
        [(SERVICE, |slice: &EndpointSlice, add: &mut dyn FnMut(&str)| {
            let service = slice.metadata.labels.get("kubernetes.io/service-name").unwrap_or_default();
            add(&format!("{}/{service}", slice.metadata.namespace));
        })], |b| b;
    namespaces: Namespace = NAMESPACES, [], |b| b;
    leases: Lease = LEASES, [], |b| b;
    resource_quotas: ResourceQuota = RESOURCE_QUOTAS, [], |b| b;
    service_cidrs: ServiceCidr = SERVICE_CIDRS, [], |b| b;
    claims: PersistentVolumeClaim = PERSISTENT_VOLUME_CLAIMS, [(ATTRIBUTES_CLASS, PersistentVolumeClaim::add_classes)], |b| b;
    volumes: PersistentVolume = PERSISTENT_VOLUMES, [(ATTRIBUTES_CLASS, PersistentVolume::add_classes)], |b| b;
    attributes_classes: PartialObject = VOLUME_ATTRIBUTES_CLASSES, [], |b| b.metadata_only();
    ip_addresses: PartialObject = IP_ADDRESSES, [], |b| b.metadata_only();
    service_accounts: ServiceAccount = SERVICE_ACCOUNTS,
        [(SECRET, |account: &ServiceAccount, add: &mut dyn FnMut(&str)| {
            for secret in &account.secrets {
                add(&format!("{}/{}", account.metadata.namespace, secret.name));
            }
        })], |b| b;
    /// Only the Secrets that hold tokens of service accounts.
    token_secrets: TokenSecret = SECRETS,
        [(ACCOUNT, |secret: &TokenSecret, add: &mut dyn FnMut(&str)| {
            let account = secret.metadata.annotations.get("kubernetes.io/service-account.name").unwrap_or_default();
            add(&format!("{}/{account}", secret.metadata.namespace));
        })], |b| b.field_selector("type=kubernetes.io/service-account-token");
    /// Only the ConfigMaps named `kube-root-ca.crt`.
    root_certificates: RootCertificate = CONFIG_MAPS, [], |b| b.field_selector("metadata.name=kube-root-ca.crt");
}

impl Informers {
    pub fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Waits for the first lists of every collectable resource.
    pub async fn metadata_synced(&self) {
        for informer in &self.metadata {
            informer.synced().await;
        }
    }
}

/// The resources whose objects may have owners: those that can be listed, watched and deleted, but for events, as upstream.
pub fn collectable() -> impl Iterator<Item = Resource> {
    let mut seen = std::collections::HashSet::new();
    api::kinds::KINDS
        .iter()
        .filter(|kind| kind.resource != "events" && ["list", "watch", "delete"].iter().all(|verb| kind.has_verb(verb)))
        // A resource in several versions is watched once.
        .filter(move |kind| seen.insert((kind.group, kind.resource)))
        .map(Resource::of)
}
