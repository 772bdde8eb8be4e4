//! Watches: which events, in which order, from when, in which form.

use crate::client::{Watch, name, version};
use crate::{Space, bare, config_map, lists, pod};
use api::codec::protobuf::{encode_any, write_event};
use serde_json::{Value, json};

fn labelled(name: &str, tier: &str) -> Value {
    let mut object = config_map(name, json!({}));
    object["metadata"]["labels"] = json!({ "tier": tier });
    object
}

async fn take(watch: &mut Watch, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    for _ in 0..count {
        seen.push(watch.next_named().await);
    }
    seen
}

#[test]
fn a_watch_from_nowhere_begins_with_what_is_there() {
    crate::run(async {
        let space = Space::bare("watches-zero").await;
        let all = space.core("configmaps");
        for name in ["b", "a"] {
            space.create(&all, config_map(name, json!({}))).await;
        }
        for query in ["", "resourceVersion=0", "resourceVersion="] {
            let mut watch = space.client.watch(&all, query).await;
            assert_eq!(take(&mut watch, 2).await, ["ADDED a", "ADDED b"], "{query}");
        }
        let mut watch = space.client.watch(&all, "").await;
        take(&mut watch, 2).await;
        space.client.delete(&format!("{all}/a")).await.ok();
        assert_eq!(watch.next_named().await, "DELETED a");
    });
}

#[test]
fn list_and_watch_miss_nothing_and_repeat_nothing() {
    crate::run(async {
        let space = Space::bare("watches-from").await;
        let all = space.core("configmaps");
        space.create(&all, config_map("a", json!({}))).await;
        let list = space.client.get(&all).await.ok();
        let from = version(&list).to_owned();
        let patched = space.client.patch(&format!("{all}/a"), "merge", &json!({ "data": { "n": "1" } })).await.ok();
        let mut watch = space.client.watch(&all, &format!("resourceVersion={from}")).await;
        space.create(&all, config_map("b", json!({}))).await;
        let last = space.client.get(&format!("{all}/a")).await.ok();
        space.client.delete(&format!("{all}/a")).await.ok();
        let first = watch.next().await;
        assert_eq!((&first["type"], &first["object"]), (&json!("MODIFIED"), &patched));
        assert_eq!(watch.next_named().await, "ADDED b");
        let deleted = watch.next().await;
        assert_eq!((&deleted["type"], name(&deleted["object"])), (&json!("DELETED"), "a"));
        let number = |object: &Value| version(object).parse::<u64>().unwrap_or(0);
        assert!(number(&deleted["object"]) > number(&last), "the deletion has its own version");
        assert_eq!(deleted["object"]["data"], last["data"]);
        let mut after = space.client.watch(&all, &format!("resourceVersion={}", version(&deleted["object"]))).await;
        space.create(&all, config_map("c", json!({}))).await;
        assert_eq!(after.next_named().await, "ADDED c");
    });
}

#[test]
fn one_name_can_be_watched() {
    crate::run(async {
        let space = Space::bare("watches-name").await;
        let all = space.core("configmaps");
        let mut by_field = space.client.watch(&all, "fieldSelector=metadata.name%3Db").await;
        let old_style = format!("/api/v1/watch/namespaces/{}/configmaps/b", space.name);
        let mut old_style = space.client.watch(&old_style, "").await;
        for name in ["a", "b"] {
            space.create(&all, config_map(name, json!({}))).await;
        }
        assert_eq!(by_field.next_named().await, "ADDED b");
        assert_eq!(old_style.next_named().await, "ADDED b");
    });
}

#[test]
fn what_a_selector_no_longer_takes_is_deleted_for_it() {
    crate::run(async {
        let space = Space::bare("watches-selector").await;
        let all = space.core("configmaps");
        let mut watch = space.client.watch(&all, "labelSelector=tier%3Dweb").await;
        space.create(&all, labelled("other", "db")).await;
        space.create(&all, labelled("a", "web")).await;
        space.client.put(&format!("{all}/a"), &labelled("a", "db")).await.ok();
        let moved = space.client.get(&format!("{all}/a")).await.ok();
        space.client.patch(&format!("{all}/a"), "merge", &json!({ "data": { "n": "1" } })).await.ok();
        space.client.put(&format!("{all}/a"), &labelled("a", "web")).await.ok();
        space.client.delete(&format!("{all}/a")).await.ok();
        assert_eq!(watch.next_named().await, "ADDED a");
        let gone = watch.next().await;
        assert_eq!((&gone["type"], version(&gone["object"])), (&json!("DELETED"), version(&moved)));
        assert_eq!(gone["object"]["metadata"]["labels"]["tier"], "web");
        assert_eq!(take(&mut watch, 2).await, ["ADDED a", "DELETED a"]);
    });
}

#[test]
fn initial_events_end_with_a_bookmark() {
    crate::run(async {
        let space = Space::bare("watches-initial").await;
        let all = space.core("configmaps");
        space.create(&all, config_map("a", json!({}))).await;
        let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
        let mut watch = space.client.watch(&all, query).await;
        assert_eq!(watch.next_named().await, "ADDED a");
        let end = watch.next().await;
        assert_eq!((&end["type"], &end["object"]["kind"]), (&json!("BOOKMARK"), &json!("ConfigMap")));
        assert_eq!(end["object"]["metadata"]["annotations"], json!({ "k8s.io/initial-events-end": "true" }));
        let from = format!("resourceVersion={}", version(&end["object"]));
        let mut resumed = space.client.watch(&all, &from).await;
        space.create(&all, config_map("b", json!({}))).await;
        assert_eq!((watch.next_named().await, resumed.next_named().await), ("ADDED b".into(), "ADDED b".into()));
        for bad in [
            "sendInitialEvents=true",
            "resourceVersionMatch=NotOlderThan",
            "sendInitialEvents=true&resourceVersionMatch=Exact",
        ] {
            space.client.get(&format!("{all}?watch=1&{bad}")).await.is(422);
        }
    });
}

#[test]
fn the_end_of_the_state_is_marked_for_those_who_take_bookmarks() {
    crate::run(async {
        let space = Space::bare("watches-marked").await;
        let all = space.core("configmaps");
        space.create(&all, config_map("a", json!({}))).await;
        for (query, marked) in [
            ("allowWatchBookmarks=true", true),
            ("resourceVersion=0&allowWatchBookmarks=true", true),
            ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan", false),
            ("", false),
        ] {
            let mut watch = space.client.watch(&all, &format!("{query}&labelSelector=!none&timeoutSeconds=3600")).await;
            assert_eq!(watch.next_named().await, "ADDED a", "{query}");
            let patch = json!({ "data": { "for": query } });
            if marked {
                assert_eq!(watch.next().await["type"], "BOOKMARK", "{query}");
            }
            space.client.patch(&format!("{all}/a"), "merge", &patch).await.ok();
            assert_eq!(watch.next_named().await, "MODIFIED a", "{query}");
        }
    });
}

#[test]
fn a_node_watches_its_own_pods() {
    crate::run(async {
        let space = Space::bare("watches-node").await;
        space.create(&space.core("serviceaccounts"), json!({ "metadata": { "name": "default" } })).await;
        let all = space.core("pods");
        let mut watches = Vec::new();
        for node in ["n1", "n2", ""] {
            watches.push(space.client.watch(&all, &format!("fieldSelector=spec.nodeName%3D{node}")).await);
        }
        for (name, node) in [("a", "n1"), ("b", "n2"), ("c", "n1")] {
            let mut object = pod(name);
            object["spec"]["nodeName"] = json!(node);
            space.create(&all, object).await;
        }
        space.create(&all, pod("free")).await;
        let binding = json!({ "metadata": { "name": "free" }, "target": { "kind": "Node", "name": "n2" } });
        space.create(&format!("{all}/free/binding"), binding).await;
        assert_eq!(take(&mut watches[0], 2).await, ["ADDED a", "ADDED c"]);
        assert_eq!(take(&mut watches[1], 2).await, ["ADDED b", "ADDED free"]);
        assert_eq!(take(&mut watches[2], 2).await, ["ADDED free", "DELETED free"]);
    });
}

#[test]
fn without_initial_events_only_what_is_new_comes() {
    crate::run(async {
        let space = Space::bare("watches-quiet").await;
        let all = space.core("configmaps");
        space.create(&all, config_map("a", json!({}))).await;
        let query = "sendInitialEvents=false&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
        let mut watch = space.client.watch(&all, query).await;
        space.create(&all, config_map("b", json!({}))).await;
        assert_eq!(watch.next_named().await, "ADDED b");
    });
}

#[test]
fn a_history_that_is_gone_is_an_error_event() {
    crate::run(async {
        let cluster = bare().start().await.unwrap();
        let space = Space::new(&cluster, "watches-gone").await;
        let all = space.core("configmaps");
        let old = version(&space.create(&all, config_map("a", json!({}))).await).to_owned();
        lists::compact(&space).await;
        let mut watch = space.client.watch(&all, &format!("resourceVersion={old}")).await;
        let error = watch.next().await;
        let status = &error["object"];
        assert_eq!(
            (&error["type"], &status["kind"], &status["code"]),
            (&json!("ERROR"), &json!("Status"), &json!(410))
        );
        assert_eq!((&status["reason"], &status["status"]), (&json!("Expired"), &json!("Failure")));
        assert!(
            status["message"].as_str().is_some_and(|m| m.starts_with(&format!("too old resource version: {old} (")))
        );
        assert_eq!(watch.next_or_end().await, None);
        let protobuf = "application/vnd.kubernetes.protobuf";
        let mut watch = space.client.watch_as(&all, &format!("resourceVersion={old}"), protobuf).await;
        let mut expected = Vec::new();
        write_event(&mut expected, "ERROR", &encode_any(status).unwrap());
        assert_eq!(watch.next_frame().await, expected);
    });
}

#[test]
fn all_watchers_see_one_order() {
    crate::run(async {
        let space = Space::bare("watches-order").await;
        let all = space.core("configmaps");
        let mut watches = Vec::new();
        for query in ["", "labelSelector=tier", "timeoutSeconds=60"] {
            watches.push(space.client.watch(&all, query).await);
        }
        let writers = (0..4).map(|writer| {
            let (space, all) = (&space, &all);
            async move {
                for turn in 0..5 {
                    let name = format!("w{writer}-{turn}");
                    space.create(all, labelled(&name, "web")).await;
                    space.client.patch(&format!("{all}/{name}"), "merge", &json!({ "data": { "n": "1" } })).await.ok();
                    space.client.delete(&format!("{all}/{name}")).await.ok();
                }
            }
        });
        futures::future::join_all(writers).await;
        let mut orders = Vec::new();
        for watch in &mut watches {
            let mut order: Vec<(u64, String)> = Vec::new();
            for _ in 0..60 {
                let event = watch.next().await;
                let number = version(&event["object"]).parse().unwrap();
                order.push((number, format!("{} {}", event["type"], name(&event["object"]))));
            }
            assert!(order.windows(2).all(|pair| pair[0].0 < pair[1].0), "versions rise: {order:?}");
            orders.push(order);
        }
        assert!(orders.iter().all(|order| *order == orders[0]));
    });
}

#[test]
fn a_table_can_be_watched() {
    crate::run(async {
        let space = Space::bare("watches-table").await;
        let all = space.core("configmaps");
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let mut watch = space.client.watch_as(&all, "", table).await;
        for name in ["a", "b"] {
            space.create(&all, config_map(name, json!({ "k": "v" }))).await;
        }
        let (first, second) = (watch.next().await, watch.next().await);
        for (event, name) in [(&first, "a"), (&second, "b")] {
            assert_eq!((&event["type"], &event["object"]["kind"]), (&json!("ADDED"), &json!("Table")));
            let row = &event["object"]["rows"][0];
            assert_eq!(
                (&row["cells"][0], &row["cells"][1], &row["object"]["metadata"]["name"]),
                (&json!(name), &json!(1), &json!(name))
            );
            assert!(version(&event["object"]).parse::<u64>().is_ok(), "{event}");
        }
        assert_eq!(first["object"]["columnDefinitions"][0]["name"], "Name");
        assert!(second["object"]["columnDefinitions"].is_null(), "headers come once");
    });
}

#[test]
fn metadata_can_be_watched() {
    crate::run(async {
        let space = Space::bare("watches-metadata").await;
        let all = space.core("configmaps");
        let metadata = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        let mut watch = space.client.watch_as(&all, "", metadata).await;
        let created = space.create(&all, config_map("a", json!({ "k": "v" }))).await;
        let event = watch.next().await;
        assert_eq!((&event["type"], &event["object"]["kind"]), (&json!("ADDED"), &json!("PartialObjectMetadata")));
        assert_eq!((&event["object"]["metadata"], event["object"].get("data")), (&created["metadata"], None));
    });
}

#[test]
fn a_watch_ends_when_its_time_is_over() {
    crate::run(async {
        let space = Space::bare("watches-timeout").await;
        let mut watch = space.client.watch(&space.core("configmaps"), "timeoutSeconds=1").await;
        assert_eq!(watch.next_or_end().await, None);
    });
}

#[test]
fn a_watch_ends_with_the_server() {
    crate::run(async {
        let cluster = bare().start().await.unwrap();
        let space = Space::new(&cluster, "watches-stop").await;
        let mut watch = space.client.watch(&space.core("configmaps"), "").await;
        space.create(&space.core("configmaps"), config_map("a", json!({}))).await;
        assert_eq!(watch.next_named().await, "ADDED a");
        cluster.stop().await;
        assert_eq!(watch.next_or_end().await, None);
    });
}

#[test]
fn namespaces_are_watched_apart_and_together() {
    crate::run(async {
        let (one, two) = (Space::bare("watches-ns-1").await, Space::bare("watches-ns-2").await);
        let mut apart = one.client.watch(&one.core("secrets"), "").await;
        let both = "labelSelector=tier%3Dwatches-ns";
        let mut together = one.client.watch("/api/v1/secrets", both).await;
        for space in [&two, &one] {
            let secret = json!({ "metadata": { "name": &space.name, "labels": { "tier": "watches-ns" } } });
            space.create(&space.core("secrets"), secret).await;
        }
        assert_eq!(apart.next_named().await, "ADDED watches-ns-1");
        assert_eq!(take(&mut together, 2).await, ["ADDED watches-ns-2", "ADDED watches-ns-1"]);
    });
}
