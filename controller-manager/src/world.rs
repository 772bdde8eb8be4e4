//! For tests: a cluster small enough to hold in the hand. Documents in, plans applied as the API server would, stores out.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::quota::Evaluator;
use api::resource_list::ResourceList;
use component::client::PatchType;
use component::events::Event;
use component::resource::*;
use component::{Projection, Resource, Store};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::Options;
use crate::informers::Stores;
use crate::plan::{Action, Answer, Answers, Plan, Query, Step};
use crate::queue::Item;
use crate::runtime::View;

pub type Reconcile = fn(&View<'_>, &Item) -> Plan;
type Id = (Resource, String, String);

pub struct World {
    pub stores: Stores,
    pub options: Options,
    pub now: Timestamp,
    pub started: Timestamp,
    pub documents: BTreeMap<Id, Value>,
    pub events: Vec<Event>,
    /// The names that creations, deletions and changes happened to, in order: `+`, `-` and `~`.
    pub log: Vec<String>,
    /// How long the last plan wanted to wait.
    pub requeued: Option<std::time::Duration>,
    remembered: BTreeMap<Item, Timestamp>,
    revision: u64,
}

impl World {
    pub fn new() -> World {
        let start = Timestamp::from_second(1_800_000_000).unwrap();
        World {
            stores: Stores::default(),
            options: Options::default(),
            now: start,
            started: start,
            documents: BTreeMap::new(),
            events: Vec::new(),
            log: Vec::new(),
            requeued: None,
            remembered: BTreeMap::new(),
            revision: 100,
        }
    }

    pub fn pass(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    /// Adds or replaces an object; gives it what the server gives: uid, revision, creation time, generation.
    pub fn put(&mut self, resource: Resource, mut document: Value) -> String {
        self.revision += 1;
        let metadata = document["metadata"].as_object_mut().unwrap();
        if !metadata.contains_key("name") {
            let name = format!("{}{}", metadata["generateName"].as_str().unwrap(), self.revision);
            metadata.insert("name".into(), name.into());
        }
        let name = metadata["name"].as_str().unwrap().to_owned();
        metadata.entry("uid").or_insert_with(|| format!("uid-{}-{name}", resource.plural).into());
        metadata.insert("resourceVersion".into(), self.revision.to_string().into());
        let created = component::meta::format_time(self.now);
        metadata.entry("creationTimestamp").or_insert_with(|| created.into());
        metadata.entry("generation").or_insert(1.into());
        let namespace = metadata.get("namespace").and_then(Value::as_str).unwrap_or_default().to_owned();
        self.store(resource, &document);
        self.documents.insert((resource, namespace, name.clone()), document);
        name
    }

    fn store(&self, resource: Resource, document: &Value) {
        fn into<T: Projection>(store: &Store<T>, document: &Value) {
            store.put(Arc::new(serde_json::from_str(&document.to_string()).unwrap()));
        }
        let stores = &self.stores;
        match resource {
            PODS => into(&stores.pods, document),
            NODES => into(&stores.nodes, document),
            REPLICA_SETS => into(&stores.replica_sets, document),
            REPLICATION_CONTROLLERS => into(&stores.replication_controllers, document),
            DEPLOYMENTS => into(&stores.deployments, document),
            JOBS => into(&stores.jobs, document),
            STATEFUL_SETS => into(&stores.stateful_sets, document),
            POD_DISRUPTION_BUDGETS => into(&stores.pod_disruption_budgets, document),
            SERVICES => into(&stores.services, document),
            ENDPOINTS => into(&stores.endpoints, document),
            ENDPOINT_SLICES => into(&stores.endpoint_slices, document),
            NAMESPACES => into(&stores.namespaces, document),
            LEASES => into(&stores.leases, document),
            SERVICE_ACCOUNTS => into(&stores.service_accounts, document),
            RESOURCE_QUOTAS => into(&stores.resource_quotas, document),
            SERVICE_CIDRS => into(&stores.service_cidrs, document),
            PERSISTENT_VOLUME_CLAIMS => into(&stores.claims, document),
            PERSISTENT_VOLUMES => into(&stores.volumes, document),
            VOLUME_ATTRIBUTES_CLASSES => into(&stores.attributes_classes, document),
            IP_ADDRESSES => into(&stores.ip_addresses, document),
            CONFIG_MAPS => into(&stores.root_certificates, document),
            SECRETS => into(&stores.token_secrets, document),
            other => panic!("no store for {other}"),
        }
    }

    pub fn get(&self, resource: Resource, namespace: &str, name: &str) -> Option<&Value> {
        self.documents.get(&(resource, namespace.to_owned(), name.to_owned()))
    }

    pub fn all(&self, resource: Resource) -> Vec<&Value> {
        self.documents.iter().filter(|((r, ..), _)| *r == resource).map(|(_, document)| document).collect()
    }

    /// Changes an object by a merge patch, as somebody else would.
    pub fn change(&mut self, resource: Resource, namespace: &str, name: &str, patch: Value) {
        let id = (resource, namespace.to_owned(), name.to_owned());
        let mut document = self.documents[&id].clone();
        let spec = document["spec"].clone();
        merge(&mut document, &patch);
        if document["spec"] != spec {
            let generation = document["metadata"]["generation"].as_i64().unwrap_or_default();
            document["metadata"]["generation"] = (generation + 1).into();
        }
        if document["metadata"]["deletionTimestamp"].is_string() && document["metadata"]["finalizers"] == json!([]) {
            return self.remove(&id);
        }
        self.put(resource, document);
    }

    fn remove(&mut self, id: &Id) {
        self.documents.remove(id);
        let stores = &self.stores;
        macro_rules! from {
            ($($resource:ident: $store:ident),*) => {
                match id.0 { $($resource => { stores.$store.remove(&id.1, &id.2); })* other => panic!("no store for {other}") }
            };
        }
        from!(PODS: pods, NODES: nodes, REPLICA_SETS: replica_sets, DEPLOYMENTS: deployments, SERVICES: services,
            ENDPOINTS: endpoints, ENDPOINT_SLICES: endpoint_slices, NAMESPACES: namespaces, JOBS: jobs,
            SERVICE_CIDRS: service_cidrs, IP_ADDRESSES: ip_addresses, RESOURCE_QUOTAS: resource_quotas,
            PERSISTENT_VOLUME_CLAIMS: claims, PERSISTENT_VOLUMES: volumes,
            VOLUME_ATTRIBUTES_CLASSES: attributes_classes,
            SERVICE_ACCOUNTS: service_accounts, SECRETS: token_secrets);
    }

    pub fn delete(&mut self, resource: Resource, namespace: &str, name: &str, propagation: Option<&str>) {
        let id = (resource, namespace.to_owned(), name.to_owned());
        let Some(mut document) = self.documents.get(&id).cloned() else { return };
        let finalizer = match propagation {
            Some("Foreground") => Some("foregroundDeletion"),
            Some("Orphan") => Some("orphan"),
            _ => None,
        };
        let mut finalizers = document["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        if let Some(finalizer) = finalizer.filter(|f| !finalizers.contains(&json!(f))) {
            finalizers.push(finalizer.into());
        }
        if finalizers.is_empty() {
            return self.remove(&id);
        }
        document["metadata"]["finalizers"] = finalizers.into();
        document["metadata"]["deletionTimestamp"] = component::meta::format_time(self.now).into();
        self.put(resource, document);
    }

    pub fn plan(&self, reconcile: Reconcile, item: &Item) -> Plan {
        let mut answers = Answers::new();
        for _ in 0..4 {
            let view = View {
                stores: &self.stores,
                options: &self.options,
                now: self.now,
                started: self.started,
                remembered: self.remembered.get(item).copied(),
                answers: &answers,
            };
            let plan = reconcile(&view, item);
            if plan.ask.is_empty() {
                return plan;
            }
            answers.extend(plan.ask.into_iter().map(|query| (query.clone(), self.answer(&query))));
        }
        panic!("asks without end");
    }

    fn answer(&self, query: &Query) -> Answer {
        let matches = |id: &Id| match query {
            Query::Get(r, ns, name) | Query::Read(r, ns, name) => id == &(*r, ns.clone(), name.clone()),
            Query::List(r, ns) | Query::Usage(r, ns, _) => id.0 == *r && id.1 == *ns,
        };
        let mut found = self.documents.iter().filter(|(id, _)| matches(id));
        if let Query::Read(..) = query {
            return Answer::Object(found.next().map(|(_, document)| Box::new(document.clone())));
        }
        if let Query::Usage(resource, _, requirements) = query {
            let evaluator = Evaluator::of(resource.group, resource.plural).unwrap();
            let mut total = ResourceList::new();
            for (_, document) in found.filter(|(_, document)| evaluator.meets(requirements, document)) {
                api::resource_list::add(&mut total, &evaluator.usage(document, self.now));
            }
            return Answer::Usage(total);
        }
        Answer::Found(found.map(|(_, d)| serde_json::from_value(d["metadata"].clone()).unwrap()).collect())
    }

    /// Reconciles an item once and applies the plan; gives the number of requests it took.
    pub fn reconcile(&mut self, reconcile: Reconcile, item: &Item) -> usize {
        let plan = self.plan(reconcile, item);
        match plan.remember {
            Some(moment) => self.remembered.insert(item.clone(), moment),
            None => self.remembered.remove(item),
        };
        self.requeued = plan.requeue_after;
        let actions: Vec<Action> = plan
            .steps
            .into_iter()
            .flat_map(|step| match step {
                Step::One(action) => vec![action],
                Step::Each(actions) => actions,
                Step::Repeat(action, count) => vec![action; count],
            })
            .collect();
        let requests = actions.iter().filter(|a| !matches!(a, Action::Event(_))).count();
        actions.into_iter().for_each(|action| self.apply(action));
        requests
    }

    fn apply(&mut self, action: Action) {
        let say = |world: &mut World, event: Option<Box<Event>>, name: &str| {
            if let Some(event) = event {
                let note = event.note.replace("{name}", name);
                world.events.push(Event { note, ..*event });
            }
        };
        match action {
            Action::Event(event) => self.events.push(*event),
            Action::Create { resource, namespace, mut body, report } => {
                body["metadata"]["namespace"] = namespace.into();
                let name = self.put(resource, body);
                self.log.push(format!("+{name}"));
                say(self, report.success, &name);
            }
            Action::Patch { resource, namespace, name, patch, body, report, .. } => {
                let id = (resource, namespace.clone(), name.clone());
                let Some(document) = self.documents.get(&id) else { return };
                let expected = &body["metadata"]["resourceVersion"];
                assert!(
                    expected.is_null() || *expected == document["metadata"]["resourceVersion"],
                    "conflict on {name}"
                );
                let patch = if patch == PatchType::Strategic { by_merge_key(document, body) } else { body };
                self.change(resource, &namespace, &name, patch);
                self.log.push(format!("~{name}"));
                say(self, report.success, &name);
            }
            Action::Update { resource, namespace, name, subresource, body, .. } => {
                self.log.push(format!("={name}/{subresource}"));
                if subresource == "finalize" && body["spec"]["finalizers"] == json!([]) {
                    self.remove(&(resource, namespace, name));
                }
            }
            Action::Amend { resource, namespace, name, resource_version, mut body, token } => {
                let version = Value::from(resource_version.to_string());
                let document = self.get(resource, &namespace, &name);
                if document.is_none_or(|document| document["metadata"]["resourceVersion"] != version) {
                    return;
                }
                if let Some(claims) = token {
                    body["data"]["token"] = format!("for {}", claims.sub).into();
                }
                self.change(resource, &namespace, &name, body);
                self.log.push(format!("~{name}"));
            }
            Action::Delete { resource, namespace, name, options, report } => {
                self.delete(resource, &namespace, &name, options.propagation_policy);
                self.log.push(format!("-{name}"));
                say(self, report.success, &name);
            }
            Action::DeleteCollection { resource, namespace, .. } => {
                let ids: Vec<Id> =
                    self.documents.keys().filter(|id| id.0 == resource && id.1 == namespace).cloned().collect();
                ids.iter().for_each(|id| self.delete(id.0, &id.1, &id.2, None));
                self.log.push(format!("-{}", resource.plural));
            }
        }
    }

    /// The notes of all events so far.
    pub fn notes(&self) -> Vec<&str> {
        self.events.iter().map(|event| event.note.as_str()).collect()
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(target.as_object_mut().unwrap().entry(key).or_insert(Value::Null), value);
        }
    }
}

/// Makes a strategic patch of conditions, owner references or finalizers into a merge patch.
fn by_merge_key(document: &Value, mut patch: Value) -> Value {
    const GIVEN_UP: &str = "$deleteFromPrimitiveList/finalizers";
    let metadata = patch.get_mut("metadata").and_then(Value::as_object_mut);
    if let Some(Value::Array(gone)) = metadata.and_then(|metadata| metadata.remove(GIVEN_UP)) {
        let mut kept = document["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
        kept.retain(|finalizer| !gone.contains(finalizer));
        patch["metadata"]["finalizers"] = kept.into();
    }
    for (path, key) in [("/status/conditions", "type"), ("/metadata/ownerReferences", "uid")] {
        let Some(Value::Array(changes)) = patch.pointer(path).cloned() else { continue };
        let mut list = document.pointer(path).and_then(Value::as_array).cloned().unwrap_or_default();
        for change in changes {
            let at = list.iter().position(|entry| entry[key] == change[key]);
            match (at, change["$patch"] == "delete") {
                (Some(at), true) => drop(list.remove(at)),
                (Some(at), false) => merge(&mut list[at], &change),
                (None, true) => {}
                (None, false) => list.push(change),
            }
        }
        *patch.pointer_mut(path).unwrap() = list.into();
    }
    patch
}

/// A pod that runs on a node and is ready.
pub fn running_pod(name: &str, labels: Value, node: &str, ip: &str) -> Value {
    json!({
        "metadata": { "namespace": "n", "name": name, "labels": labels },
        "spec": { "nodeName": node },
        "status": ready_status(ip),
    })
}

pub fn ready_status(ip: &str) -> Value {
    json!({
        "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }],
        "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z" }],
    })
}
