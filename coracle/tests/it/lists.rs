//! Lists: what they hold, in which order, as of when, in which form.

use crate::client::{Client, name, names, version};
use crate::{Space, bare, config_map, pod};
use serde_json::{Value, json};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

/// `a` to `e`, labelled by tier and rank.
async fn letters(space: &Space) -> String {
    let all = space.core("configmaps");
    for (letter, tier, rank) in
        [("c", "web", "1"), ("a", "web", "2"), ("e", "db", "1"), ("b", "", "3"), ("d", "db", "2")]
    {
        let mut object = config_map(letter, json!({ "letter": letter }));
        object["metadata"]["labels"] =
            if tier.is_empty() { json!({ "rank": rank }) } else { json!({ "rank": rank, "tier": tier }) };
        space.create(&all, object).await;
    }
    all
}

fn query(path: &str, pairs: &[(&str, &str)]) -> String {
    let escape = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        text.chars().map(|c| if plain(c) { c.to_string() } else { format!("%{:02X}", c as u32) }).collect::<String>()
    };
    let pairs: Vec<String> = pairs.iter().map(|(key, value)| format!("{key}={}", escape(value))).collect();
    format!("{path}?{}", pairs.join("&"))
}

fn token(list: &Value) -> &str {
    list["metadata"]["continue"].as_str().unwrap_or_default()
}

#[test]
fn a_list_is_ordered_by_name_and_says_what_it_is() {
    crate::run(async {
        let space = Space::bare("lists-order").await;
        let list = space.client.get(&letters(&space).await).await.ok();
        assert_eq!(names(&list), ["a", "b", "c", "d", "e"]);
        assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("ConfigMapList"), &json!("v1")));
        assert!(version(&list).parse::<u64>().is_ok());
        let item = &list["items"][0];
        assert!(item.get("kind").is_none() && item.get("apiVersion").is_none(), "{item}");
        assert_eq!(item["data"], json!({ "letter": "a" }));
        let nothing = space.client.get(&space.core("secrets")).await.ok();
        assert_eq!(nothing["items"], json!([]));
    });
}

#[test]
fn lists_span_namespaces() {
    crate::run(async {
        let (one, two) = (Space::bare("lists-span-1").await, Space::bare("lists-span-2").await);
        for space in [&two, &one] {
            space.create(&space.core("secrets"), json!({ "metadata": { "name": "lists-span" } })).await;
        }
        let found = query("/api/v1/secrets", &[("fieldSelector", "metadata.name=lists-span")]);
        let list = one.client.get(&found).await.ok();
        let namespaces: Vec<_> =
            list["items"].as_array().unwrap().iter().map(|i| &i["metadata"]["namespace"]).collect();
        assert_eq!(namespaces, ["lists-span-1", "lists-span-2"]);
    });
}

#[test]
fn selectors_choose() {
    crate::run(async {
        let space = Space::bare("lists-select").await;
        let all = letters(&space).await;
        for (kind, selector, expected) in [
            ("labelSelector", "tier=web", "a c"),
            ("labelSelector", "tier!=web", "b d e"),
            ("labelSelector", "tier in (web, db),rank notin (2)", "c e"),
            ("labelSelector", "!tier", "b"),
            ("labelSelector", "tier,rank==2", "a d"),
            ("labelSelector", "rank>1", "a b d"),
            ("labelSelector", "tier=none", ""),
            ("fieldSelector", "metadata.name=b", "b"),
            ("fieldSelector", "metadata.name!=b", "a c d e"),
            ("fieldSelector", "metadata.name=b,metadata.name=c", ""),
            ("fieldSelector", "metadata.namespace=other", ""),
        ] {
            let list = space.client.get(&query(&all, &[(kind, selector)])).await.ok();
            assert_eq!(names(&list).join(" "), expected, "{kind} {selector}");
        }
        let bad = space.client.get(&query(&all, &[("fieldSelector", "data.letter=a")])).await;
        let message = "\"data.letter\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";
        bad.fails(400, "BadRequest", message);
        let pods = query(&space.core("pods"), &[("fieldSelector", "spec.colour=red")]);
        space.client.get(&pods).await.fails(400, "BadRequest", "field label not supported: spec.colour");
        for bad in ["tier in web", "a b", "=x", "tier in (", "-x=y"] {
            space.client.get(&query(&all, &[("labelSelector", bad)])).await.is(400);
        }
    });
}

#[test]
fn pods_are_found_by_their_fields() {
    crate::run(async {
        let space = Space::bare("lists-fields").await;
        space.create(&space.core("serviceaccounts"), json!({ "metadata": { "name": "default" } })).await;
        let mut bound = pod("bound");
        bound["spec"]["nodeName"] = json!("n1");
        bound["spec"]["restartPolicy"] = json!("Never");
        space.create(&space.core("pods"), bound).await;
        space.create(&space.core("pods"), pod("free")).await;
        for (selector, expected) in [
            ("spec.nodeName=n1", vec!["bound"]),
            ("spec.nodeName=", vec!["free"]),
            ("status.phase=Pending", vec!["bound", "free"]),
            ("status.phase!=Pending", vec![]),
            ("spec.restartPolicy=Never,metadata.name=bound", vec!["bound"]),
            ("spec.restartPolicy=Never,metadata.name=free", vec![]),
        ] {
            let list = space.client.get(&query(&space.core("pods"), &[("fieldSelector", selector)])).await.ok();
            assert_eq!(names(&list), expected, "{selector}");
        }
    });
}

#[test]
fn pages_show_one_moment_however_much_is_written_meanwhile() {
    crate::run(async {
        let space = Space::bare("lists-pages").await;
        let all = letters(&space).await;
        let mut page = space.client.get(&query(&all, &[("limit", "2")])).await.ok();
        assert_eq!((names(&page), &page["metadata"]["remainingItemCount"]), (vec!["a", "b"], &json!(3)));
        let at = version(&page).to_owned();
        space.client.delete(&format!("{all}/c")).await.is(200);
        space.create(&all, config_map("cc", json!({}))).await;
        space.client.patch(&format!("{all}/d"), "merge", &json!({ "data": { "letter": "changed" } })).await.ok();
        let mut seen = Vec::new();
        while !token(&page).is_empty() {
            page = space.client.get(&query(&all, &[("limit", "2"), ("continue", token(&page))])).await.ok();
            assert_eq!(version(&page), at);
            seen.extend(page["items"].as_array().unwrap().clone());
        }
        assert_eq!(seen.iter().map(name).collect::<Vec<_>>(), ["c", "d", "e"]);
        assert_eq!(seen[1]["data"]["letter"], "d");
        let whole = space.client.get(&query(&all, &[("limit", "5")])).await.ok();
        assert_eq!((names(&whole).len(), token(&whole)), (5, ""));
    });
}

#[test]
fn pages_of_a_selection_are_full() {
    crate::run(async {
        let space = Space::bare("lists-selected-pages").await;
        let all = letters(&space).await;
        let selector = ("labelSelector", "tier");
        let first = space.client.get(&query(&all, &[("limit", "3"), selector])).await.ok();
        assert_eq!(names(&first), ["a", "c", "d"]);
        assert!(first["metadata"].get("remainingItemCount").is_none());
        let rest = query(&all, &[("limit", "3"), selector, ("continue", token(&first))]);
        let rest = space.client.get(&rest).await.ok();
        assert_eq!((names(&rest), token(&rest)), (vec!["e"], ""));
    });
}

#[test]
fn a_token_is_for_its_own_list_only() {
    crate::run(async {
        let space = Space::bare("lists-token").await;
        let all = letters(&space).await;
        use base64::Engine;
        let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        for bad in [
            "nonsense!".to_owned(),
            encode("{}"),
            encode(r#"{"v":"meta.k8s.io/v1","rv":0,"start":"a"}"#),
            encode(r#"{"v":"meta.k8s.io/v2","rv":1,"start":"a"}"#),
            encode(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../../secrets/kube-system/a"}"#),
            encode(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"//registry/secrets/a"}"#),
        ] {
            let refused = space.client.get(&query(&all, &[("limit", "1"), ("continue", &bad)])).await;
            refused.fails_with(400, "invalid continue token");
        }
        let both = query(&all, &[("resourceVersion", "1"), ("resourceVersionMatch", "Exact"), ("continue", "x")]);
        space.client.get(&both).await.is(422);
        let first = space.client.get(&query(&all, &[("limit", "2")])).await.ok();
        let elsewhere = query("/api/v1/namespaces/kube-system/configmaps", &[("continue", token(&first))]);
        let listed = space.client.get(&elsewhere).await.ok();
        assert!(
            !names(&listed).contains(&"c"),
            "a token leads nowhere but below the path that it is used on: {listed}"
        );
    });
}

/// Writes until the history that the store keeps of ConfigMaps no longer reaches back to what was before.
pub async fn compact(space: &Space) {
    let one = space.core("configmaps/big");
    space.create(&space.core("configmaps"), config_map("big", json!({}))).await;
    for turn in 0..40 {
        let data = json!({ "x": turn.to_string().repeat(500_000) });
        space.client.put(&one, &config_map("big", data)).await.ok();
    }
    space.client.delete(&one).await.ok();
}

#[test]
fn a_page_that_comes_too_late_is_gone_and_can_be_had_inconsistently() {
    crate::run(async {
        let cluster = bare().start().await.unwrap();
        let space = Space::new(&cluster, "lists-expired").await;
        let all = letters(&space).await;
        let first = space.client.get(&query(&all, &[("limit", "2")])).await.ok();
        compact(&space).await;
        let late = space.client.get(&query(&all, &[("limit", "2"), ("continue", token(&first))])).await;
        let late =
            late.fails_with(410, "The provided continue parameter is too old to display a consistent list result.");
        assert_eq!(late["reason"], "Expired");
        let rest = space.client.get(&query(&all, &[("continue", token(&late))])).await.ok();
        assert_eq!(names(&rest), ["c", "d", "e"]);
        let then = [("resourceVersion", version(&first)), ("resourceVersionMatch", "Exact")];
        space.client.get(&query(&all, &then)).await.fails_with(410, "too old");
    });
}

#[test]
fn a_list_is_of_the_version_that_was_asked_for() {
    crate::run(async {
        let space = Space::bare("lists-version").await;
        let all = letters(&space).await;
        let then = version(&space.client.get(&all).await.ok()).to_owned();
        space.client.delete(&format!("{all}/a")).await.is(200);
        let get = async |pairs: &[(&str, &str)]| space.client.get(&query(&all, pairs)).await;
        let (at, exact, newer) = (("resourceVersion", then.as_str()), "Exact", "NotOlderThan");
        for (pairs, has_a) in [
            (vec![at, ("resourceVersionMatch", exact)], true),
            (vec![at, ("resourceVersionMatch", exact), ("fieldSelector", "metadata.name=a")], true),
            (vec![at, ("limit", "10")], true),
            (vec![at], false),
            (vec![at, ("resourceVersionMatch", newer)], false),
            (vec![at, ("resourceVersionMatch", newer), ("limit", "10")], false),
            (vec![("resourceVersion", "0")], false),
            (vec![("resourceVersion", "0"), ("resourceVersionMatch", newer)], false),
        ] {
            let list = get(&pairs).await.ok();
            assert_eq!(names(&list).contains(&"a"), has_a, "{pairs:?}");
            assert_eq!(version(&list) == then, has_a, "{pairs:?}");
        }
        for pairs in [
            vec![("resourceVersionMatch", exact)],
            vec![("resourceVersion", "0"), ("resourceVersionMatch", exact)],
            vec![at, ("resourceVersionMatch", "Roughly")],
            vec![("sendInitialEvents", "true")],
        ] {
            get(&pairs).await.is(422);
        }
        get(&[("resourceVersion", "abc")]).await.fails_with(400, "abc");
    });
}

#[test]
fn any_version_means_everything() {
    crate::run(async {
        let space = Space::bare("lists-any").await;
        let all = letters(&space).await;
        let list = space.client.get(&query(&all, &[("resourceVersion", "0"), ("limit", "2")])).await.ok();
        assert_eq!((names(&list).len(), token(&list)), (5, ""), "limits came later than this way to ask");
        let list = space.client.get(&query(&all, &[("limit", "-1")])).await.ok();
        assert_eq!(names(&list).len(), 5);
        let one = format!("{all}/a?resourceVersion={}", version(&list));
        assert_eq!(name(&space.client.get(&one).await.ok()), "a");
        let message = "resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax";
        space.client.get(&format!("{all}/a?resourceVersion=abc")).await.fails_with(500, message);
    });
}

#[test]
fn a_version_from_the_future_is_a_timeout_to_retry() {
    crate::run(async {
        let space = Space::bare("lists-future").await;
        let future = query(&space.core("configmaps"), &[("resourceVersion", "99999999")]);
        let failure = space.client.get(&future).await;
        let failure = failure.fails_with(504, "Timeout: Too large resource version: 99999999, current: ");
        assert_eq!(failure["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
        assert_eq!((&failure["reason"], &failure["details"]["retryAfterSeconds"]), (&json!("Timeout"), &json!(1)));
    });
}

#[test]
fn a_table_has_columns_and_rows() {
    crate::run(async {
        let space = Space::bare("lists-table").await;
        let all = letters(&space).await;
        let table = space.client.get_as(&all, TABLE).await.ok();
        assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
        let columns = |table: &Value| {
            let columns = table["columnDefinitions"].as_array().unwrap().iter();
            columns.map(|c| c["name"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(columns(&table), "Name Data Age");
        assert!(version(&table).parse::<u64>().is_ok(), "{table}");
        assert_eq!(table["rows"][0]["cells"].as_array().map(|c| c[..2].to_vec()), Some(vec![json!("a"), json!(1)]));
        assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
        let one = space.client.get_as(&format!("{all}/a"), TABLE).await.ok();
        assert!(version(&one).parse::<u64>().is_ok(), "{one}");
        assert_eq!((columns(&one).as_str(), one["rows"].as_array().map(Vec::len)), ("Name Data Age", Some(1)));
        for (include, kind) in [("Object", json!("ConfigMap")), ("None", Value::Null)] {
            let table = space.client.get_as(&format!("{all}?includeObject={include}"), TABLE).await.ok();
            assert_eq!(table["rows"][0]["object"]["kind"], kind);
        }
        space.client.get_as(&format!("{all}?includeObject=Some"), TABLE).await.is(400);
        let paged = space.client.get_as(&format!("{all}?limit=2"), TABLE).await.ok();
        assert!(!token(&paged).is_empty() && paged["rows"].as_array().is_some_and(|rows| rows.len() == 2));
        let fallback = space.client.get_as(&space.core("configmaps/nobody"), TABLE).await.is(404);
        assert_eq!(fallback["kind"], "Status");
    });
}

#[test]
fn metadata_alone_can_be_asked_for() {
    crate::run(async {
        let space = Space::bare("lists-metadata").await;
        let all = letters(&space).await;
        let accept = |kind: &str| format!("application/json;as={kind};v=v1;g=meta.k8s.io");
        let list = space.client.get_as(&all, &accept("PartialObjectMetadataList")).await.ok();
        let kinds = (&list["kind"], &list["apiVersion"], &list["items"][0]["kind"]);
        assert_eq!(
            kinds,
            (&json!("PartialObjectMetadataList"), &json!("meta.k8s.io/v1"), &json!("PartialObjectMetadata"))
        );
        assert_eq!((names(&list).len(), list["items"][0].get("data")), (5, None));
        let one = space.client.get_as(&format!("{all}/a"), &accept("PartialObjectMetadata")).await.ok();
        assert_eq!((&one["kind"], name(&one), one.get("data")), (&json!("PartialObjectMetadata"), "a", None));
        assert_eq!(one["metadata"]["labels"]["tier"], "web");
    });
}

#[test]
fn yaml_and_pretty_json_say_the_same() {
    crate::run(async {
        let space = Space::bare("lists-yaml").await;
        let all = letters(&space).await;
        let yaml = space.client.get_as(&all, "application/yaml").await;
        assert_eq!(yaml.headers["content-type"], "application/yaml");
        assert!(yaml.text.contains("kind: ConfigMapList") && yaml.text.contains("letter: e"), "{}", yaml.text);
        let pretty = space.client.get(&format!("{all}?pretty=true")).await;
        assert!(pretty.text.contains("\n  \"kind\": \"ConfigMapList\""), "{}", pretty.text);
        let pretty = pretty.json();
        assert_eq!(pretty["items"].as_array().map(Vec::len), Some(5));
        assert!(pretty["items"][0].get("kind").is_none(), "items do not say what they are: {pretty}");
    });
}

#[test]
fn a_list_that_is_larger_than_a_chunk_arrives_whole() {
    crate::run(async {
        let space = Space::bare("lists-large").await;
        let all = space.core("configmaps");
        for number in 0..60 {
            space.create(&all, config_map(&format!("n{number:02}"), json!({ "x": "y".repeat(5000) }))).await;
        }
        let list = space.client.get(&all).await.ok();
        assert_eq!(names(&list).len(), 60);
        assert!(
            list["items"].as_array().unwrap().iter().all(|i| i["data"]["x"].as_str().is_some_and(|x| x.len() == 5000))
        );
    });
}

#[test]
fn a_client_over_https_sees_the_same() {
    crate::run(async {
        let cluster = bare().start().await.unwrap();
        let space = Space::new(&cluster, "lists-https").await;
        let all = letters(&space).await;
        let config = kube::config::Kubeconfig::from_yaml(&cluster.kubeconfig()).unwrap();
        let config = kube::Config::from_custom_kubeconfig(config, &Default::default()).await.unwrap();
        let https = Client::new(kube::Client::try_from(config).unwrap());
        assert_eq!(https.get(&all).await.ok(), space.client.get(&all).await.ok());
    });
}
