use std::collections::VecDeque;
use std::convert::Infallible;

use http_body_util::Full;
use kube::client::Body;

use super::*;
use crate::resource::PODS;

/// A server that answers from a script; when it is used up, it never answers again.
fn scripted(script: Vec<(u16, String)>) -> (Client, Arc<Mutex<Vec<String>>>) {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let script = Arc::new(Mutex::new(VecDeque::from(script)));
    let log = asked.clone();
    let service = tower::service_fn(move |request: http::Request<Body>| {
        log.lock().push(request.uri().to_string());
        let answer = script.lock().pop_front();
        async move {
            let Some((code, text)) = answer else { return std::future::pending().await };
            let response = http::Response::builder().status(code).body(Full::new(bytes::Bytes::from(text))).unwrap();
            Ok::<_, Infallible>(response)
        }
    });
    (kube::Client::new(service, "default").into(), asked)
}

fn pod(name: &str, revision: u32) -> String {
    format!(r#"{{"metadata":{{"namespace":"n","name":"{name}","uid":"{name}","resourceVersion":"{revision}"}}}}"#)
}

fn event(kind: &str, object: &str) -> String {
    format!("{{\"type\":\"{kind}\",\"object\":{object}}}\n")
}

fn page(revision: u32, continue_token: &str, items: &[String]) -> (u16, String) {
    let items = items.join(",");
    (
        200,
        format!(r#"{{"metadata":{{"resourceVersion":"{revision}","continue":"{continue_token}"}},"items":[{items}]}}"#),
    )
}

#[tokio::test]
async fn a_list_a_watch_and_a_second_list_after_410() {
    let stop = CancellationToken::new();
    let gone = r#"{"kind":"Status","status":"Failure","code":410,"reason":"Expired","message":"too old"}"#;
    let (client, asked) = scripted(vec![
        page(5, "more", &[pod("a", 1)]),
        page(5, "", &[pod("b", 2)]),
        (
            200,
            [event("MODIFIED", &pod("a", 6)), event("DELETED", &pod("b", 7)), event("BOOKMARK", &pod("", 9))].concat(),
        ),
        (200, event("ERROR", gone)),
        page(20, "", &[pod("c", 15)]),
    ]);
    let informer: Informer<PartialObject> = Informer::builder(client, PODS).start(stop.clone());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = heard.clone();
    informer.subscribe(move |delta| {
        let what = match delta {
            Delta::Added(_) => "+",
            Delta::Updated { .. } => "~",
            Delta::Deleted(_) => "-",
        };
        log.lock().push(format!("{what}{}", delta.object().meta().name));
    });
    informer.seen(20).await;
    assert_eq!(*heard.lock(), ["+a", "+b", "~a", "-b", "+c", "-a"]);
    assert_eq!(informer.store().list().iter().map(|o| o.meta().name.clone()).collect::<Vec<_>>(), ["c"]);
    let asked = asked.lock();
    assert!(asked[1].contains("continue=more"), "{asked:?}");
    assert!(asked[2].contains("resourceVersion=5&"), "{asked:?}");
    assert!(asked[3].contains("resourceVersion=9&") && asked[3].contains("allowWatchBookmarks=true"), "{asked:?}");
    assert!(!asked[4].contains("watch"), "{asked:?}");
    stop.cancel();
}

#[tokio::test]
async fn a_late_subscriber_hears_what_is_known() {
    let stop = CancellationToken::new();
    let (client, _) = scripted(vec![page(5, "", &[pod("a", 1)])]);
    let informer: Informer<PartialObject> = Informer::builder(client, PODS).start(stop.clone());
    informer.synced().await;
    let heard = Arc::new(Mutex::new(0));
    let count = heard.clone();
    informer.subscribe(move |_| *count.lock() += 1);
    assert_eq!(*heard.lock(), 1);
    stop.cancel();
}
