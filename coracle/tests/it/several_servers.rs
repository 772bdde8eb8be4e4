//! Two servers that have nothing in common but their store and their keys. Each sees of the other's writes only what it asks for,
//! and writes of both come to the store at the same time.

use crate::client::{Client, names};
use crate::{config_map, pod};
use apiserver::ApiServer;
use async_trait::async_trait;
use jiff::Timestamp;
use pki::{Identity, Pki};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use storage::{Commit, Committed, Entry, Error, Interest, Range, RangeResult, Revision, Stats, Store, Watch};
use tokio::sync::Barrier;
use tokio_util::sync::CancellationToken;

/// The store as a server sees it that is told of others' changes as late as may be: it stands at a revision until it catches up or
/// writes itself.
struct Late {
    store: Arc<dyn Store>,
    seen: AtomicU64,
    /// The next commit below this prefix waits for another server's.
    meets: Mutex<Option<(&'static str, Arc<Barrier>)>>,
}

impl Late {
    fn new(store: Arc<dyn Store>) -> Arc<Late> {
        let seen = store.revision().into();
        Arc::new(Late { store, seen, meets: Mutex::default() })
    }

    fn sees(&self, revision: Revision) {
        self.seen.fetch_max(revision, Ordering::AcqRel);
    }
}

#[async_trait]
impl Store for Late {
    fn get(&self, key: &str) -> Result<Option<Arc<Entry>>, Error> {
        let list = self.range(Range { prefix: key, ..Range::default() })?;
        Ok(list.entries.into_iter().find(|entry| *entry.key == *key))
    }

    fn range(&self, range: Range<'_>) -> Result<RangeResult, Error> {
        self.store.range(Range { at: range.at.or(Some(self.revision())), ..range })
    }

    fn count(&self, prefix: &str) -> usize {
        self.range(Range { prefix, ..Range::default() }).map_or(0, |list| list.entries.len())
    }

    async fn commit(&self, commit: Commit) -> Result<Committed, Error> {
        let meets = self.meets.lock().unwrap().take_if(|(prefix, _)| commit.key.starts_with(*prefix));
        if let Some((_, barrier)) = meets {
            barrier.wait().await;
        }
        let done = self.store.commit(commit).await;
        self.sees(self.store.revision());
        done
    }

    fn watch_for(&self, prefix: &str, interest: Interest, after: Revision) -> Result<Watch, Error> {
        self.store.watch_for(prefix, interest, after)
    }

    fn revision(&self) -> Revision {
        self.seen.load(Ordering::Acquire)
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn catch_up(&self) -> Result<(), Error> {
        self.sees(self.store.revision());
        Ok(())
    }

    async fn wait_for(&self, revision: Revision, timeout: Duration) -> Result<(), Error> {
        self.store.wait_for(revision, timeout).await?;
        self.sees(revision);
        Ok(())
    }

    async fn compact(&self, before: Revision) -> Result<(), Error> {
        self.store.compact(before).await
    }

    fn health(&self) -> Result<(), String> {
        self.store.health()
    }

    fn stats(&self) -> Stats {
        self.store.stats()
    }

    async fn close(&self) {}
}

/// A server, and how it sees the store.
#[derive(Clone)]
struct One {
    server: Arc<ApiServer>,
    late: Arc<Late>,
    pki: Arc<Pki>,
}

impl One {
    async fn start(store: &Arc<dyn Store>, pki: &Arc<Pki>) -> One {
        let late = Late::new(store.clone());
        let (options, stop) = (apiserver::Options::default(), CancellationToken::new());
        let server = ApiServer::start(late.clone(), pki.clone(), options, None, stop).await.expect("a server");
        One { server, late, pki: pki.clone() }
    }

    /// A client that shows a certificate, or none. Counts answers of 409.
    fn transport(&self, identity: Option<Identity>, conflicts: Arc<AtomicUsize>) -> kube::Client {
        let peer = identity.map(|identity| {
            let chain = self.pki.certificate(identity).chain().expect("a certificate");
            Arc::new(self.server.trust().identify(&chain, Timestamp::now()))
        });
        let server = self.server.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let (server, peer, conflicts) = (server.clone(), peer.clone(), conflicts.clone());
            async move {
                let answer = apiserver::in_process(server, request, peer).await;
                conflicts.fetch_add(usize::from(answer.status() == 409), Ordering::Relaxed);
                Ok::<_, Infallible>(answer)
            }
        });
        kube::Client::new(service, "default")
    }

    fn admin(&self) -> Client {
        Client::new(self.transport(Some(Identity::Admin), Arc::default()))
    }

    fn with_token(&self, token: &str) -> Client {
        Client::new(self.transport(None, Arc::default())).with("authorization", &format!("Bearer {token}"))
    }
}

/// Nobody makes the default service account, which pods need.
async fn two_servers() -> [One; 2] {
    let store = storage::memory();
    let pki = Arc::new(Pki::in_memory(&pki::Options::new(Timestamp::now())).expect("keys"));
    let servers = [One::start(&store, &pki).await, One::start(&store, &pki).await];
    let account = json!({ "metadata": { "name": "default" } });
    servers[0].admin().post("/api/v1/namespaces/default/serviceaccounts", &account).await.ok();
    servers
}

/// Lets the next commits of both servers below a prefix come to the store at the same time.
fn meet(servers: &[One; 2], prefix: &'static str) {
    let barrier = Arc::new(Barrier::new(2));
    for one in servers {
        *one.late.meets.lock().unwrap() = Some((prefix, barrier.clone()));
    }
}

/// Sends both requests at the same time, on threads of their own.
async fn both<T: Send + 'static>(
    one: impl Future<Output = T> + Send + 'static,
    other: impl Future<Output = T> + Send + 'static,
) -> [T; 2] {
    let (one, other) = (tokio::spawn(one), tokio::spawn(other));
    [one.await.unwrap(), other.await.unwrap()]
}

#[test]
fn each_request_sees_what_the_other_server_has_acknowledged() {
    crate::run(async {
        let [one, other] = two_servers().await.map(|one| one.admin());
        let all = "/api/v1/namespaces/default/configmaps";
        let made = one.post(all, &config_map("a", json!({ "n": "1" }))).await.ok();
        assert_eq!(other.get(&format!("{all}/a")).await.ok(), made);
        let made = one.post(all, &config_map("b", json!({ "n": "1" }))).await.ok();
        assert_eq!(names(&other.get(all).await.ok()), ["a", "b"]);
        // On top of a version that the second server has not been told of.
        let mut changed = made.clone();
        changed["data"]["n"] = "2".into();
        let put = other.put(&format!("{all}/b"), &changed).await.ok();
        one.put(&format!("{all}/b"), &changed).await.fails_with(409, "the object has been modified");
        one.delete(&format!("{all}/b")).await.ok();
        other.put(&format!("{all}/b"), &put).await.is(404);
        let namespace = json!({ "metadata": { "name": "new" } });
        one.post("/api/v1/namespaces", &namespace).await.ok();
        other.post("/api/v1/namespaces/new/configmaps", &config_map("a", json!({}))).await.ok();
    });
}

#[test]
fn a_token_is_good_on_the_other_server_at_once() {
    crate::run(async {
        let servers = two_servers().await;
        let admin = servers[0].admin();
        let (accounts, me) =
            ("/api/v1/namespaces/default/serviceaccounts", "/apis/authentication.k8s.io/v1/selfsubjectreviews");
        let who = async |token: &str| {
            let review = json!({ "kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1" });
            servers[1].with_token(token).post(me, &review).await
        };
        let bound = json!({ "kind": "Pod", "apiVersion": "v1", "name": "p" });
        for spec in [json!({}), json!({ "boundObjectRef": bound })] {
            // The second time around, the other server knows an account and a pod of these names that are gone.
            for _ in 0..2 {
                admin.post(accounts, &json!({ "metadata": { "name": "robot" } })).await.ok();
                let mut pod = pod("p");
                pod["spec"]["serviceAccountName"] = "robot".into();
                let pods = "/api/v1/namespaces/default/pods";
                admin.post(pods, &pod).await.ok();
                let request = json!({ "spec": spec });
                let token = admin.post(&format!("{accounts}/robot/token"), &request).await.ok();
                let review = who(token["status"]["token"].as_str().unwrap()).await.ok();
                assert_eq!(review["status"]["userInfo"]["username"], "system:serviceaccount:default:robot");
                admin.delete_with(&format!("{pods}/p"), &json!({ "gracePeriodSeconds": 0 })).await.ok();
                admin.delete(&format!("{accounts}/robot")).await.ok();
            }
        }
        let nobody = servers[1].with_token("nobody.knows.this").get("/api/v1/namespaces/default/pods").await;
        nobody.is(401);
    });
}

#[test]
fn writes_at_the_same_time_do_not_exceed_a_quota_together() {
    crate::run(async {
        let servers = two_servers().await;
        let clients = servers.clone().map(|one| one.admin());
        clients[0].post("/api/v1/namespaces", &json!({ "metadata": { "name": "race" } })).await.ok();
        let (quotas, path) = ("/api/v1/namespaces/race/resourcequotas", "/api/v1/namespaces/race/configmaps");
        let hard = json!({ "configmaps": "5" });
        clients[0].post(quotas, &json!({ "metadata": { "name": "q" }, "spec": { "hard": hard } })).await.ok();
        let status = json!({ "status": { "hard": hard, "used": { "configmaps": "0" } } });
        clients[0].patch(&format!("{quotas}/q/status"), "merge", &status).await.ok();
        let mut made = 0;
        for round in 0..6 {
            meet(&servers, "/registry/resourcequotas/race/");
            let [one, other] = [0, 1].map(|i| {
                let (client, map) = (clients[i].clone(), config_map(&format!("m{round}-{i}"), json!({})));
                async move { client.post(path, &map).await }
            });
            for answer in both(one, other).await {
                if answer.code == 201 {
                    made += 1;
                } else {
                    answer.fails_with(403, "exceeded quota: q, requested: configmaps=1, used: configmaps=5");
                }
            }
            if made == 5 {
                break;
            }
        }
        assert_eq!(made, 5);
        assert_eq!(names(&clients[0].get(path).await.ok()).len(), 5);
        assert_eq!(clients[1].get(&format!("{quotas}/q")).await.ok()["status"]["used"], hard);
    });
}

#[test]
fn a_pod_is_bound_to_one_node_by_whichever_server() {
    crate::run(async {
        let servers = two_servers().await;
        let clients = servers.clone().map(|one| one.admin());
        let pods = "/api/v1/namespaces/default/pods";
        for round in 0..5 {
            let name = format!("p{round}");
            clients[0].post(pods, &pod(&name)).await.ok();
            meet(&servers, "/registry/pods/default/");
            let [one, other] = [0, 1].map(|i| {
                let node = format!("n{i}");
                let binding = json!({ "metadata": { "name": name }, "target": { "kind": "Node", "name": node } });
                let (client, path) = (clients[i].clone(), format!("{pods}/{name}/binding"));
                async move { (node, client.post(&path, &binding).await) }
            });
            let (mut won, mut lost) = (Vec::new(), 0);
            for (node, answer) in both(one, other).await {
                if answer.code == 201 {
                    won.push(node);
                } else {
                    answer.fails_with(409, "is already assigned to node");
                    lost += 1;
                }
            }
            assert_eq!((won.len(), lost), (1, 1), "{won:?}");
            for client in &clients {
                assert_eq!(client.get(&format!("{pods}/{name}")).await.ok()["spec"]["nodeName"], *won[0]);
            }
        }
    });
}

fn node(name: &str) -> Value {
    let room = json!({ "cpu": "64", "memory": "64Gi", "pods": "1000" });
    let ready = json!([{ "type": "Ready", "status": "True" }]);
    json!({
        "metadata": { "name": name },
        "status": { "capacity": room, "allocatable": room, "conditions": ready },
    })
}

/// As when both believe that they hold the lease.
#[test]
fn two_schedulers_at_work_bind_no_pod_twice() {
    crate::run(async {
        let servers = two_servers().await;
        let admin = servers[0].admin();
        for n in 0..4 {
            let name = format!("n{n}");
            admin.post("/api/v1/nodes", &node(&name)).await.ok();
            // Nobody takes off the taint that new nodes have.
            let untainted = json!({ "spec": { "taints": null } });
            admin.patch(&format!("/api/v1/nodes/{name}"), "merge", &untainted).await.ok();
        }
        let (stop, conflicts) = (CancellationToken::new(), Arc::<AtomicUsize>::default());
        let schedulers: Vec<_> = servers
            .iter()
            .map(|one| one.transport(Some(Identity::Scheduler), conflicts.clone()))
            .map(|client| tokio::spawn(scheduler::run(client, scheduler::Options::default(), stop.clone())))
            .collect();
        let pods = "/api/v1/namespaces/default/pods";
        let mut watch = servers[1].admin().watch(pods, "resourceVersion=0").await;
        let (mut bound, mut made) = (BTreeMap::<String, String>::new(), 0);
        // Until it has come about that both wanted to bind the same pod, which they try with nearly every one.
        while bound.len() < 40 || conflicts.load(Ordering::Relaxed) == 0 {
            if made < bound.len() + 20 {
                admin.post(pods, &pod(&format!("p{made}"))).await.ok();
                made += 1;
                continue;
            }
            let pod = watch.next().await["object"].take();
            if let Some(node) = pod["spec"]["nodeName"].as_str() {
                let before = bound.insert(crate::client::name(&pod).to_owned(), node.to_owned());
                assert!(before.is_none_or(|before| before == node), "{pod} was bound again");
            }
            assert!(made < 2000, "the schedulers never want the same pod");
        }
        stop.cancel();
        for scheduler in schedulers {
            scheduler.await.unwrap().unwrap();
        }
    });
}
