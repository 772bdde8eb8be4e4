//! Watches by WebSocket: what browsers and dashboards see of them, when they are refused, and that none outlives its client.

use crate::client::{Client, version};
use crate::websocket::{Watch, ask, watch};
use crate::{Space, bare, config_map, lists};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use coracle::Cluster;
use serde_json::json;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::OnceCell;
use tokio_tungstenite::tungstenite::Message;

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const NORMAL: u16 = 1000;

async fn start() -> Cluster {
    let dir = tempfile::tempdir().unwrap();
    let mut builder = bare();
    let tokens = dir.path().join("tokens");
    std::fs::write(&tokens, "root-token,root,2,system:masters\n").unwrap();
    builder.options.token_auth_file = Some(tokens);
    builder.start().await.expect("a cluster")
}

async fn shared() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    CLUSTER.get_or_init(start).await
}

/// Waits until so many watches of a resource are running.
async fn until_watches(client: &Client, resource: &str, count: usize) {
    let mut turn = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..2000 {
        turn.tick().await;
        let metrics = client.get("/metrics").await.text;
        let of_resource = |line: &&str| {
            line.starts_with("apiserver_longrunning_requests{") && line.contains(&format!("resource=\"{resource}\""))
        };
        let line = metrics.lines().find(of_resource).unwrap_or_default();
        if line.ends_with(&format!(" {count}")) {
            return;
        }
    }
    panic!("there were never {count} watches of {resource}")
}

#[test]
fn each_event_is_a_message_as_an_ordinary_watch_has_it() {
    crate::run(async {
        let space = Space::new(shared().await, "websocket-events").await;
        let all = space.core("configmaps");
        for name in ["a", "b"] {
            space.create(&all, config_map(name, json!({ "k": "two\nlines" }))).await;
        }
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let metadata = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        for accept in ["application/json", table, metadata] {
            let mut ordinary = space.client.watch_as(&all, "", accept).await;
            let mut messages = watch(shared().await, &all, "", &[("accept", accept)]).await;
            for _ in ["a", "b"] {
                let text = messages.text().await;
                assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), ordinary.next().await);
                assert_eq!(text.find('\n'), Some(text.len() - 1), "a line: {text}");
            }
        }
        let mut ordinary = space.client.watch_as(&all, "", PROTOBUF).await;
        let mut messages = watch(shared().await, &all, "", &[("accept", PROTOBUF)]).await;
        for _ in ["a", "b"] {
            // The message says how long it is.
            let expected = Message::binary(ordinary.next_frame().await.split_off(4));
            assert_eq!(messages.message().await, Some(expected));
        }
    });
}

#[test]
fn changes_are_told_as_they_happen() {
    crate::run(async {
        let space = Space::new(shared().await, "websocket-changes").await;
        let all = space.core("configmaps");
        let state = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
        let one = format!("{state}&fieldSelector=metadata.name%3Db");
        let (mut everything, mut one) =
            (watch(shared().await, &all, state, &[]).await, watch(shared().await, &all, &one, &[]).await);
        for watch in [&mut everything, &mut one] {
            assert_eq!(watch.event().await["type"], "BOOKMARK");
        }
        for name in ["a", "b"] {
            space.create(&all, config_map(name, json!({}))).await;
        }
        space.client.delete(&format!("{all}/b")).await.ok();
        for expected in ["ADDED a", "ADDED b", "DELETED b"] {
            assert_eq!(everything.named().await, expected);
        }
        for expected in ["ADDED b", "DELETED b"] {
            assert_eq!(one.named().await, expected);
        }
    });
}

#[test]
fn a_watch_closes_when_its_time_is_over() {
    crate::run(async {
        let space = Space::new(shared().await, "websocket-timeout").await;
        let watch = watch(shared().await, &space.core("configmaps"), "timeoutSeconds=1", &[]).await;
        assert_eq!(watch.closed().await, NORMAL);
    });
}

#[test]
fn a_history_that_is_gone_is_an_error_event() {
    crate::run(async {
        let cluster = start().await;
        let space = Space::new(&cluster, "websocket-gone").await;
        let all = space.core("configmaps");
        let old = version(&space.create(&all, config_map("a", json!({}))).await).to_owned();
        lists::compact(&space).await;
        let mut watch = watch(&cluster, &all, &format!("resourceVersion={old}"), &[]).await;
        let error = watch.event().await;
        assert_eq!((&error["type"], &error["object"]["code"]), (&json!("ERROR"), &json!(410)));
        assert_eq!(watch.closed().await, NORMAL);
    });
}

#[test]
fn a_watch_closes_before_the_server_ends() {
    let servers = Runtime::new().unwrap();
    let cluster = servers.block_on(start());
    let watch = crate::run(async {
        let space = Space::new(&cluster, "websocket-stop").await;
        let all = space.core("configmaps");
        let mut watch = watch(&cluster, &all, "", &[]).await;
        space.create(&all, config_map("a", json!({}))).await;
        assert_eq!(watch.named().await, "ADDED a");
        watch
    });
    servers.block_on(cluster.stop());
    servers.shutdown_background();
    assert_eq!(crate::run(watch.closed()), NORMAL);
}

#[test]
fn what_a_client_sends_changes_nothing() {
    crate::run(async {
        let space = Space::new(shared().await, "websocket-sends").await;
        let all = space.core("configmaps");
        let mut watch = watch(shared().await, &all, "", &[]).await;
        for message in [Message::text("x".repeat(64 << 10)), Message::binary(vec![0; 9]), Message::Pong("x".into())] {
            watch.send(message).await;
        }
        watch.send(Message::Ping("are you there".into())).await;
        assert_eq!(watch.message().await, Some(Message::Pong("are you there".into())));
        space.create(&all, config_map("a", json!({}))).await;
        assert_eq!(watch.named().await, "ADDED a");
        watch.send(Message::text("x".repeat((64 << 10) + 1))).await;
        assert_eq!(watch.closed().await, 1009);
    });
}

#[test]
fn a_watch_ends_with_its_client() {
    crate::run(async {
        let cluster = start().await;
        let space = Space::new(&cluster, "websocket-leak").await;
        let open = async || watch(&cluster, &space.core("secrets"), "", &[]).await;
        let mut orderly = open().await;
        let gone = open().await;
        let mut wrong = open().await;
        until_watches(&space.client, "secrets", 3).await;
        orderly.socket.close(None).await.unwrap();
        until_watches(&space.client, "secrets", 2).await;
        assert!(matches!(orderly.message().await, Some(Message::Close(_))), "a close is answered");
        assert_eq!(orderly.message().await, None);
        drop(gone);
        until_watches(&space.client, "secrets", 1).await;
        // Behind its TLS, the client speaks another protocol.
        tokio::io::AsyncWriteExt::write_all(wrong.socket.get_mut(), b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        tokio::io::AsyncWriteExt::flush(wrong.socket.get_mut()).await.unwrap();
        until_watches(&space.client, "secrets", 0).await;
        assert_eq!(wrong.closed().await, 1002);
    });
}

#[test]
fn a_client_that_does_not_read_does_not_outlive_its_watch() {
    crate::run(async {
        let cluster = start().await;
        let space = Space::new(&cluster, "websocket-stalled").await;
        let all = space.core("configmaps");
        let large = "x".repeat(900_000);
        for turn in 0..10 {
            space.create(&all, config_map(&format!("large-{turn}"), json!({ "x": large }))).await;
        }
        let mut stalled = watch(&cluster, &all, "timeoutSeconds=1", &[]).await;
        until_watches(&space.client, "configmaps", 0).await;
        let mut seen = 0;
        while let Some(Message::Text(_)) = stalled.message().await {
            seen += 1;
        }
        assert!(seen < 10, "the server waited for the client");
    });
}

#[test]
fn handshakes_are_refused_as_upstream_refuses_them() {
    crate::run(async {
        let space = Space::new(shared().await, "websocket-refused").await;
        let path = format!("{}?watch=1", space.core("configmaps"));
        for (header, value, code, body) in [
            ("sec-websocket-version", "8", 400, "missing or bad WebSocket Version"),
            ("sec-websocket-version", "", 400, "missing or bad WebSocket Version"),
            ("sec-websocket-key", "", 400, "mismatch challenge/response"),
            ("origin", "", 403, ""),
            ("origin", "null", 403, ""),
            ("sec-websocket-protocol", "one, two", 400, ""),
        ] {
            let answer = ask(shared().await, &path, &[(header, value)]).await;
            let version = (header == "sec-websocket-version").then_some("13");
            assert_eq!((answer.code(), answer.header("sec-websocket-version")), (code, version), "{header}: {value}");
            assert_eq!(answer.body().await, body, "{header}: {value}");
        }
        until_watches(&space.client, "configmaps", 0).await;
        // What is wrong with the watch comes first.
        for (query, code) in [("labelSelector=!!", 400), ("sendInitialEvents=true", 422), ("resourceVersion=x", 500)] {
            let answer = ask(shared().await, &format!("{path}&{query}"), &[("origin", "")]).await;
            assert_eq!((answer.code(), answer.header("content-type")), (code, Some("application/json")), "{query}");
        }
        let yaml = ask(shared().await, &path, &[("accept", "application/yaml")]).await;
        assert_eq!(yaml.code(), 406);
    });
}

#[test]
fn only_a_watch_becomes_a_websocket() {
    crate::run(async {
        let space = Space::new(shared().await, "websocket-list").await;
        let all = space.core("configmaps");
        space.create(&all, config_map("a", json!({}))).await;
        for path in [all.clone(), format!("{all}/a")] {
            assert_eq!(ask(shared().await, &path, &[]).await.code(), 200, "{path}");
        }
        for changed in [[("upgrade", "h2c")], [("connection", "keep-alive")]] {
            let answer = ask(shared().await, &format!("{all}?watch=1"), &changed).await;
            assert_eq!((answer.code(), answer.header("transfer-encoding")), (200, Some("chunked")), "{changed:?}");
        }
    });
}

#[test]
fn a_browser_sends_its_token_as_a_protocol() {
    crate::run(async {
        let space = Space::new(shared().await, "websocket-token").await;
        let path = format!("{}?watch=1", space.core("configmaps"));
        let token = |token: &str| format!("base64url.bearer.authorization.k8s.io.{}", URL_SAFE_NO_PAD.encode(token));
        let right = token("root-token");
        for (protocols, code, chosen) in [
            (format!("{right}, base64.binary.k8s.io"), 101, Some("base64.binary.k8s.io")),
            (format!("base64.binary.k8s.io,{right}"), 101, Some("base64.binary.k8s.io")),
            (format!("{right}, one, two"), 400, None),
            (right.clone(), 401, None),
            (format!("{}, one", token("wrong")), 401, None),
            ("one".to_owned(), 403, None),
        ] {
            let changed = [("authorization", ""), ("sec-websocket-protocol", protocols.as_str())];
            let answer = ask(shared().await, &path, &changed).await;
            assert_eq!((answer.code(), answer.header("sec-websocket-protocol")), (code, chosen), "{protocols}");
        }
        let mut watch: Watch = watch(
            shared().await,
            &space.core("configmaps"),
            "",
            &[("authorization", ""), ("sec-websocket-protocol", &format!("{right}, one"))],
        )
        .await;
        space.create(&space.core("configmaps"), config_map("a", json!({}))).await;
        assert_eq!(watch.named().await, "ADDED a");
    });
}
