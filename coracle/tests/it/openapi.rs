//! The OpenAPI documents as clients fetch and keep them.

use crate::{Space, run};
use http::Method;

const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";

#[test]
fn a_document_whose_hash_is_right_may_be_kept_for_good() {
    run(async {
        let space = Space::bare("openapi").await;
        let index = space.client.get("/openapi/v3").await.ok();
        let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().unwrap();
        let document = space.client.get(url).await;
        assert_eq!(document.headers["cache-control"], "public, immutable");
        assert!(document.headers.contains_key("expires"));
        let etag = document.headers["etag"].to_str().unwrap().to_owned();
        assert!(url.ends_with(&format!("?hash={}", etag.trim_matches('"'))), "{url}");
        assert_eq!(document.ok()["info"]["title"], "Kubernetes");

        let known = space.client.send(Method::GET, url, &[("if-none-match", &etag)], "").await;
        assert_eq!((known.code, known.text.as_str()), (304, ""));
        let moved = space.client.get("/openapi/v3/apis/apps/v1?hash=old").await;
        assert_eq!((moved.code, moved.headers["location"].to_str().unwrap()), (301, url));
        let plain = space.client.get("/openapi/v3/apis/apps/v1").await;
        assert_eq!((plain.code, plain.headers.get("expires")), (200, None));
        assert_eq!(space.client.get("/openapi/v3/apis/nothing").await.code, 404);
    });
}

#[test]
fn documents_come_in_protobuf_and_compressed() {
    run(async {
        let space = Space::bare("openapi-forms").await;
        let protobuf = space.client.get_as("/openapi/v3/version", PROTOBUF).await;
        assert_eq!(protobuf.headers["content-type"], "application/com.github.proto-openapi.spec.v3.v1.0+protobuf");
        let json = space.client.get("/openapi/v3/version").await;
        assert_eq!(json.headers["etag"], protobuf.headers["etag"]);
        assert_eq!(space.client.get_as("/openapi/v2", "text/html").await.code, 406);
        let small = space.client.send(Method::GET, "/openapi/v2", &[("accept-encoding", "gzip")], "").await;
        assert_eq!(small.headers["content-encoding"], "gzip");
        assert_eq!(space.client.get("/openapi/v2").await.ok()["swagger"], "2.0");
    });
}
