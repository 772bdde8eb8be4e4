use jiff::Timestamp;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;
fn client_of(server: Arc<apiserver::ApiServer>, cert: &pki::CertifiedKey) -> kube::Client {
    let peer = Arc::new(server.trust().identify(&cert.chain().unwrap(), Timestamp::now()));
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let (server, peer) = (server.clone(), peer.clone());
        async move {
            Ok::<http::Response<apiserver::Body>, std::convert::Infallible>(
                apiserver::in_process(server, request, Some(peer)).await,
            )
        }
    });
    kube::Client::new(service, "default")
}
#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let count: usize = std::env::args().nth(1).unwrap_or("3".into()).parse()?;
    let stop = CancellationToken::new();
    let pki = Arc::new(pki::Pki::in_memory(&pki::Options::new(Timestamp::now()))?);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = apiserver::ApiServer::start(storage::memory(), pki.clone(), Default::default(), stop.clone()).await?;
    server.publish(address).await?;
    tokio::spawn(apiserver::serve(server.clone(), listener, pki.server_config()?));
    std::fs::write("/tmp/try.kubeconfig", pki.kubeconfig(pki::Identity::Admin, &format!("https://{address}")))?;
    let c = client_of(server.clone(), pki.certificate(pki::Identity::Scheduler));
    let s = stop.clone();
    tokio::spawn(
        async move { eprintln!("scheduler: {:?}", scheduler::run(c, scheduler::Options::default(), s).await) },
    );
    let serving = pki.issue_serving("hollow-node", &["localhost", "127.0.0.1", "::1"], Timestamp::now())?;
    let options = coracle_hollow_node::Options {
        count,
        kubelet_api: Some(coracle_hollow_node::KubeletApi {
            address: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0),
            tls: pki::server_config(&serving, pki.clients().subjects().to_vec())?,
            clients: pki.clients().clone(),
        }),
        ..Default::default()
    };
    let watcher = client_of(server.clone(), pki.certificate(pki::Identity::Admin));
    let (srv, p) = (server.clone(), pki.clone());
    let clients = move |name: &str| client_of(srv.clone(), &p.issue_node(name, Timestamp::now()).unwrap());
    let s = stop.clone();
    tokio::spawn(
        async move { eprintln!("hollow: {:?}", coracle_hollow_node::run(watcher, clients, options, s).await) },
    );
    if let Ok(n) = std::env::var("PODS") {
        use component::{Client, client::*, resource::*};
        let n: usize = n.parse()?;
        let admin = Client::from(client_of(server.clone(), pki.certificate(pki::Identity::Admin)));
        tokio::time::sleep(std::time::Duration::from_secs(8)).await;
        let _ = admin
            .create::<serde_json::Value>(
                SERVICE_ACCOUNTS,
                "default",
                &serde_json::json!({"metadata": {"name": "default"}}),
            )
            .await;
        for i in 0..count {
            let p = serde_json::json!({"spec": {"taints": null}});
            let _ = admin.patch::<serde_json::Value>(NODES, "", &format!("hollow-{i}"), "", PatchType::Merge, &p).await;
        }
        let t = std::time::Instant::now();
        let mut set = tokio::task::JoinSet::new();
        for w in 0..32usize {
            let admin = admin.clone();
            set.spawn(async move {
                for i in (w..n).step_by(32) {
                    let pod = serde_json::json!({"metadata": {"name": format!("p{i}")}, "spec": {"containers": [{"name": "c", "image": "nginx", "resources": {"requests": {"cpu": "10m", "memory": "10Mi"}}}]}});
                    if let Err(e) = admin.create::<serde_json::Value>(PODS, "default", &pod).await { eprintln!("{e}"); }
                }
            });
        }
        while set.join_next().await.is_some() {}
        eprintln!("created {n} in {:?}", t.elapsed());
        let mut told = false;
        loop {
            let page = admin.list::<serde_json::Value>(PODS, "default", &ListOptions::default()).await?;
            let bound = page.items.iter().filter(|p| p["spec"]["nodeName"].is_string()).count();
            let running = page.items.iter().filter(|p| p["status"]["phase"] == "Running").count();
            if bound == n && !told {
                told = true;
                eprintln!("bound in {:?}", t.elapsed());
            }
            if running == n {
                eprintln!("running in {:?}", t.elapsed());
                let mut by = std::collections::BTreeMap::<String, usize>::new();
                for p in &page.items {
                    *by.entry(p["spec"]["nodeName"].as_str().unwrap().into()).or_default() += 1;
                }
                eprintln!("nodes {} min {:?} max {:?}", by.len(), by.values().min(), by.values().max());
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
        let t = std::time::Instant::now();
        admin.delete_collection(PODS, "default", &DeleteOptions::default()).await?;
        loop {
            let page = admin.list::<serde_json::Value>(PODS, "default", &ListOptions::default()).await?;
            if page.items.is_empty() {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
        eprintln!("gone in {:?}", t.elapsed());
    }
    tokio::time::sleep(std::time::Duration::from_secs(1500)).await;
    Ok(())
}
