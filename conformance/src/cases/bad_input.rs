//! What the server says to requests that are wrong.

use crate::case::{Case, Needs};
use crate::context::{Answer, Context, has};
use anyhow::{Context as _, Result, ensure};
use http::Method;
use serde_json::{Value, json};

pub const CASES: &[Case] = &[
    Case::new("bad_input::unknown_resource", Needs::Cluster, unknown_resource),
    Case::new("bad_input::not_found", Needs::Cluster, not_found),
    Case::new("bad_input::broken_json_and_yaml", Needs::Cluster, broken_json_and_yaml),
    Case::new("bad_input::wrong_type", Needs::Cluster, wrong_type),
    Case::new("bad_input::wrong_kind_or_place", Needs::Cluster, wrong_kind_or_place),
    Case::new("bad_input::too_large", Needs::Cluster, too_large),
    Case::new("bad_input::too_deep", Needs::Cluster, too_deep),
    Case::new("bad_input::unknown_and_duplicate_fields", Needs::Cluster, unknown_and_duplicate_fields),
    Case::new("bad_input::invalid_names", Needs::Cluster, invalid_names),
    Case::new("bad_input::invalid_fields", Needs::Cluster, invalid_fields),
    Case::new("bad_input::immutable_fields", Needs::Cluster, immutable_fields),
    Case::new("bad_input::conflicts", Needs::Cluster, conflicts),
    Case::new("bad_input::media_types", Needs::Cluster, media_types),
    Case::new("bad_input::bad_patches", Needs::Cluster, bad_patches),
    Case::new("bad_input::bad_parameters", Needs::Cluster, bad_parameters),
    Case::new("bad_input::resource_versions", Needs::Cluster, resource_versions),
    Case::new("bad_input::methods", Needs::Cluster, methods),
];

const JSON: (&str, &str) = ("content-type", "application/json");
const YAML: (&str, &str) = ("content-type", "application/yaml");

fn path(cx: &Context, resource: &str) -> String {
    format!("/api/v1/namespaces/{}/{resource}", cx.namespace)
}

fn post(cx: &Context, resource: &str, kind: (&str, &str), body: impl Into<Vec<u8>>) -> Result<Answer> {
    cx.raw(Method::POST, &path(cx, resource), &[kind], body)
}

fn unknown_resource(cx: &Context) -> Result<()> {
    for path in
        ["/api/v1/nothings", "/apis/apps/v1/nothings", "/apis/example.com/v1/things", "/nowhere", "/api/v7/pods"]
    {
        let answer = cx.read(path)?;
        ensure!(answer.status == 404, "{path}: {} {}", answer.status, answer.text);
    }
    has(&cx.kubectl_fails("get nothings")?, &["the server doesn't have a resource type \"nothings\""])?;
    let created = cx.post("/apis/apps/v1/namespaces/default/nothings", &json!({"metadata": {"name": "x"}}))?;
    ensure!(created.status == 404, "{} {}", created.status, created.text);
    Ok(())
}

fn not_found(cx: &Context) -> Result<()> {
    let status = cx.read(&path(cx, "pods/missing"))?.refused(404, "NotFound", &["pods \"missing\" not found"])?;
    ensure!(status["details"]["name"] == "missing" && status["details"]["kind"] == "pods", "{status}");
    let answer = cx.raw(Method::DELETE, &path(cx, "configmaps/missing"), &[], "")?;
    answer.refused(404, "NotFound", &["configmaps \"missing\" not found"])?;
    let body = json!({"metadata": {"name": "missing"}});
    let answer = cx.put(&path(cx, "configmaps/missing"), &body)?;
    answer.refused(404, "NotFound", &["configmaps \"missing\" not found"])?;
    let nowhere = cx.post("/api/v1/namespaces/no-such-namespace/configmaps", &body)?;
    nowhere.refused(404, "NotFound", &["namespaces \"no-such-namespace\" not found"])?;
    has(&cx.kubectl_fails("get pod missing")?, &["Error from server (NotFound): pods \"missing\" not found"])
}

fn broken_json_and_yaml(cx: &Context) -> Result<()> {
    let json = "{\n  \"metadata\": {\"name\": \"x\"},\n  \"data\": {\"a\" \"b\"}\n}";
    let wrong = "json parse error: invalid character '\"' after object key";
    post(cx, "configmaps", JSON, json)?.refused(400, "BadRequest", &[wrong])?;
    let yaml = "metadata:\n  name: x\ndata:\n  a: [1, 2\n  b: c\n";
    let status = post(cx, "configmaps", YAML, yaml)?.refused(400, "BadRequest", &[])?;
    has(status["message"].as_str().unwrap_or_default(), &["line "])?;
    for body in ["", "[]", "null", "7", "\"text\"", "\u{feff}", "{}{}", "{\"metadata\":{\"name\":\"x\"}} trailing"] {
        let answer = post(cx, "configmaps", JSON, body)?;
        // An empty object has no name: that is 422 upstream too.
        ensure!((400..=422).contains(&answer.status), "{body:?}: {} {}", answer.status, answer.text);
        ensure!(answer.json()?["kind"] == "Status", "{}", answer.text);
    }
    let not_utf8 = post(cx, "configmaps", JSON, b"{\"metadata\":{\"name\":\"\xff\xfe\"}}".to_vec())?;
    ensure!([400, 422].contains(&not_utf8.status), "{} {}", not_utf8.status, not_utf8.text);
    Ok(())
}

fn wrong_type(cx: &Context) -> Result<()> {
    let body = json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "c", "image": 7}]}});
    let status = cx.post(&path(cx, "pods"), &body)?.refused(400, "BadRequest", &["Pod"])?;
    has(status["message"].as_str().unwrap_or_default(), &["containers", "image"])?;
    let body = "metadata:\n  name: x\nspec:\n  containers: none\n";
    post(cx, "pods", YAML, body)?.refused(400, "BadRequest", &["spec.containers"])?;
    let quantity = json!({"metadata": {"name": "x"}, "spec": {"containers": [{"name": "c", "image": "i",
        "resources": {"requests": {"cpu": "much"}}}]}});
    let answer = cx.post(&path(cx, "pods"), &quantity)?;
    answer.refused(400, "BadRequest", &["quantities must match the regular expression"])?;
    let time = json!({"metadata": {"name": "x", "creationTimestamp": "yesterday"}});
    cx.post(&path(cx, "configmaps"), &time)?.refused(400, "BadRequest", &["yesterday"])?;
    Ok(())
}

fn wrong_kind_or_place(cx: &Context) -> Result<()> {
    let body = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}});
    cx.post(&path(cx, "configmaps"), &body)?.refused(400, "BadRequest", &["Secret", "ConfigMap"])?;
    let body = json!({"apiVersion": "v7", "kind": "ConfigMap", "metadata": {"name": "x"}});
    let answer = cx.post(&path(cx, "configmaps"), &body)?;
    ensure!(answer.status == 400, "{} {}", answer.status, answer.text);
    let body = json!({"metadata": {"name": "x", "namespace": "elsewhere"}});
    let sentence = "the namespace of the provided object does not match the namespace sent on the request";
    cx.post(&path(cx, "configmaps"), &body)?.refused(400, "BadRequest", &[sentence])?;
    cx.kubectl("create configmap here")?;
    let body = json!({"metadata": {"name": "there"}});
    let sentence = "the name of the object (there) does not match the name on the URL (here)";
    cx.put(&path(cx, "configmaps/here"), &body)?.refused(400, "BadRequest", &[sentence])?;
    Ok(())
}

fn too_large(cx: &Context) -> Result<()> {
    let body = format!("{{\"metadata\":{{\"name\":\"x\"}},\"data\":{{\"a\":\"{}\"}}}}", "x".repeat(4 << 20));
    let answer = post(cx, "configmaps", JSON, body)?;
    answer.refused(413, "RequestEntityTooLarge", &["limit is 3145728"])?;
    let body = json!({"metadata": {"name": "x"}, "data": {"a": "x".repeat(1 << 20), "b": "y"}});
    cx.post(&path(cx, "configmaps"), &body)?.refused(
        422,
        "Invalid",
        &["Too long: may not be more than 1048576 bytes"],
    )?;
    let annotation = json!({"metadata": {"name": "x", "annotations": {"a": "x".repeat(300 << 10)}}});
    cx.post(&path(cx, "configmaps"), &annotation)?.refused(422, "Invalid", &["metadata.annotations: Too long"])?;
    Ok(())
}

fn too_deep(cx: &Context) -> Result<()> {
    let depth = 20_000;
    let json = format!("{{\"metadata\":{{\"name\":\"x\"}},\"data\":{}{}}}", "{\"a\":".repeat(depth), "}".repeat(depth));
    post(cx, "configmaps", JSON, json)?.refused(400, "BadRequest", &[])?;
    let lists = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    post(cx, "configmaps", JSON, lists.clone())?.refused(400, "BadRequest", &[])?;
    post(cx, "configmaps", YAML, lists)?.refused(400, "BadRequest", &[])?;
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let references = vec![format!("*a{}", level - 1); 10].join(", ");
        laughs += &format!("a{level}: &a{level} [{references}]\n");
    }
    let answer = post(cx, "configmaps", YAML, laughs)?;
    ensure!([400, 413].contains(&answer.status), "aliases of aliases: {} {}", answer.status, answer.text);
    cx.kubectl("create configmap deep")?;
    let patch = format!("{}1{}", "{\"data\":".repeat(depth), "}".repeat(depth));
    let headers = [("content-type", "application/merge-patch+json")];
    cx.raw(Method::PATCH, &path(cx, "configmaps/deep"), &headers, patch)?.refused(400, "BadRequest", &[])?;
    ensure!(cx.read("/readyz")?.status == 200, "the server suffered");
    Ok(())
}

fn unknown_and_duplicate_fields(cx: &Context) -> Result<()> {
    let body = r#"{"metadata":{"name":"odd"},"spec":{"containers":[{"name":"c","image":"i","imagee":"j"}],"restartpolicy":"x"},"spec":{"containers":[{"name":"c","image":"i","imagee":"j"}],"nodename":"x"}}"#;
    let strict = cx.raw(Method::POST, &path(cx, "pods?fieldValidation=Strict"), &[JSON], body)?;
    let status = strict.refused(400, "BadRequest", &["strict decoding error: "])?;
    let message = status["message"].as_str().unwrap_or_default();
    has(
        message,
        &["unknown field \"spec.containers[0].imagee\"", "duplicate field \"spec\"", "unknown field \"spec.nodename\""],
    )?;
    let warned = cx.raw(Method::POST, &path(cx, "pods?fieldValidation=Warn&dryRun=All"), &[JSON], body)?;
    ensure!(warned.status == 201, "{} {}", warned.status, warned.text);
    let warnings: String = warned.headers.get_all("warning").iter().filter_map(|value| value.to_str().ok()).collect();
    has(&warnings, &["299 - \"unknown field", "spec.nodename", "duplicate field"])?;
    let ignored = cx.raw(Method::POST, &path(cx, "pods?fieldValidation=Ignore&dryRun=All"), &[JSON], body)?;
    ensure!(ignored.status == 201 && !ignored.headers.contains_key("warning"), "{} {}", ignored.status, ignored.text);
    let wrong = cx.raw(Method::POST, &path(cx, "pods?fieldValidation=Perhaps"), &[JSON], body)?;
    wrong
        .refused(422, "Invalid", &["fieldValidation: Unsupported value: \"Perhaps\""])
        .or_else(|error| wrong.refused(400, "BadRequest", &["fieldValidation"]).map_err(|_| error))?;
    let yaml = "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: odd-map}, dataa: {a: b}}";
    std::fs::write(cx.dir.path().join("y.yaml"), yaml)?;
    let printed = cx.kubectl_fails(&format!("apply -f {}", cx.dir.path().join("y.yaml").display()))?;
    has(&printed, &["strict decoding error: unknown field \"dataa\""])
}

/// 422 with these causes: field and reason.
fn invalid(answer: &Answer, causes: &[(&str, &str)]) -> Result<()> {
    let status = answer.refused(422, "Invalid", &["is invalid"])?;
    let found = status["details"]["causes"].as_array().cloned().unwrap_or_default();
    for (field, reason) in causes {
        let is_it =
            |cause: &Value| cause["field"] == *field && cause["reason"] == *reason && cause["message"].is_string();
        ensure!(found.iter().any(is_it), "no cause {reason} at {field}: {}", answer.text);
    }
    Ok(())
}

fn invalid_names(cx: &Context) -> Result<()> {
    for name in ["Upper", "under_score", "-dash", "dot.", "a b", "é", "..", "a/b", &"x".repeat(254)] {
        let answer = cx.post(&path(cx, "configmaps"), &json!({"metadata": {"name": name}}))?;
        invalid(&answer, &[("metadata.name", "FieldValueInvalid")]).with_context(|| name.to_owned())?;
    }
    let none = cx.post(&path(cx, "configmaps"), &json!({"metadata": {}}))?;
    none.refused(422, "Invalid", &["name or generateName is required"])?;
    let service = json!({"metadata": {"name": "a.b"}, "spec": {"ports": [{"port": 80}]}});
    invalid(&cx.post(&path(cx, "services"), &service)?, &[("metadata.name", "FieldValueInvalid")])?;
    let namespace = cx.post("/api/v1/namespaces", &json!({"metadata": {"name": "x".repeat(64)}}))?;
    invalid(&namespace, &[("metadata.name", "FieldValueInvalid")])?;
    let label = json!({"metadata": {"name": "x", "labels": {"-bad-": "v", "good": "not good!"}}});
    invalid(&cx.post(&path(cx, "configmaps"), &label)?, &[("metadata.labels", "FieldValueInvalid")])
}

fn invalid_fields(cx: &Context) -> Result<()> {
    let pod = json!({"metadata": {"name": "x"}, "spec": {"restartPolicy": "Sometimes", "containers": [
        {"name": "Bad", "image": ""}, {"name": "c", "image": "i", "ports": [{"containerPort": 70000}]}, {"name": "c", "image": "i"}]}});
    let causes = [
        ("spec.restartPolicy", "FieldValueNotSupported"),
        ("spec.containers[0].name", "FieldValueInvalid"),
        ("spec.containers[0].image", "FieldValueRequired"),
        ("spec.containers[1].ports[0].containerPort", "FieldValueInvalid"),
        ("spec.containers[2].name", "FieldValueDuplicate"),
    ];
    invalid(&cx.post(&path(cx, "pods"), &pod)?, &causes)?;
    let empty = cx.post(&path(cx, "pods"), &json!({"metadata": {"name": "x"}, "spec": {}}))?;
    invalid(&empty, &[("spec.containers", "FieldValueRequired")])?;
    let deployment = json!({"metadata": {"name": "x"}, "spec": {"replicas": -1, "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "c"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}});
    let deployments = format!("/apis/apps/v1/namespaces/{}/deployments", cx.namespace);
    let causes = [("spec.replicas", "FieldValueInvalid"), ("spec.template.metadata.labels", "FieldValueInvalid")];
    invalid(&cx.post(&deployments, &deployment)?, &causes)?;
    let service = json!({"metadata": {"name": "s"}, "spec": {"type": "Odd", "ports": [{"port": 0}, {"port": 80}]}});
    let causes = [("spec.type", "FieldValueNotSupported"), ("spec.ports[0].port", "FieldValueInvalid")];
    invalid(&cx.post(&path(cx, "services"), &service)?, &causes)?;
    let policy = json!({"metadata": {"name": "n"}, "spec": {"podSelector": {"matchExpressions": [{"key": "a", "operator": "Likes"}]}}});
    let policies = format!("/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies", cx.namespace);
    let causes = [("spec.podSelector.matchExpressions[0].operator", "FieldValueInvalid")];
    invalid(&cx.post(&policies, &policy)?, &causes)?;
    let map = json!({"metadata": {"name": "m"}, "data": {"not a key": "x"}});
    invalid(&cx.post(&path(cx, "configmaps"), &map)?, &[("data[not a key]", "FieldValueInvalid")])?;
    let sentence =
        cx.kubectl_fails("run x --image=nginx --restart=Always --overrides={\"spec\":{\"dnsPolicy\":\"Odd\"}}")?;
    has(&sentence, &["The Pod \"x\" is invalid: spec.dnsPolicy: Unsupported value: \"Odd\": supported values: "])
}

fn immutable_fields(cx: &Context) -> Result<()> {
    cx.kubectl("create deployment d --image=nginx --replicas=0")?;
    let printed = cx.kubectl_fails("patch deployment d --type=merge -p '{\"spec\":{\"selector\":{\"matchLabels\":{\"x\":\"y\"}},\"template\":{\"metadata\":{\"labels\":{\"x\":\"y\"}}}}}'")?;
    has(&printed, &["spec.selector: Invalid value", "field is immutable"])?;
    cx.kubectl("run p --image=nginx")?;
    let printed = cx.kubectl_fails("patch pod p -p '{\"spec\":{\"restartPolicy\":\"Never\"}}'")?;
    has(&printed, &["spec: Forbidden: pod updates may not change fields other than"])?;
    let printed =
        cx.kubectl_fails("patch configmap kube-root-ca.crt --type=merge -p '{\"metadata\":{\"uid\":\"other\"}}'")?;
    has(&printed, &["metadata.uid: Invalid value: \"other\": field is immutable"])?;
    cx.kubectl("create secret generic s")?;
    let printed = cx.kubectl_fails("patch secret s -p '{\"type\":\"other\"}'")?;
    has(&printed, &["type: Invalid value: \"other\": field is immutable"])
}

fn conflicts(cx: &Context) -> Result<()> {
    let made = cx.post(&path(cx, "configmaps"), &json!({"metadata": {"name": "c"}}))?.json()?;
    let again = cx.post(&path(cx, "configmaps"), &json!({"metadata": {"name": "c"}}))?;
    again.refused(409, "AlreadyExists", &["configmaps \"c\" already exists"])?;
    let mut changed = made.clone();
    changed["data"] = json!({"a": "b"});
    ensure!(cx.put(&path(cx, "configmaps/c"), &changed)?.status == 200);
    let sentence = "Operation cannot be fulfilled on configmaps \"c\": the object has been modified; please apply your changes to the latest version and try again";
    cx.put(&path(cx, "configmaps/c"), &changed)?.refused(409, "Conflict", &[sentence])?;
    let delete = |preconditions: Value| {
        let body = json!({"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": preconditions});
        cx.raw(Method::DELETE, &path(cx, "configmaps/c"), &[JSON], body.to_string())
    };
    delete(json!({"uid": "another"}))?.refused(
        409,
        "Conflict",
        &["the UID in the precondition (another) does not match the UID in record"],
    )?;
    delete(json!({"resourceVersion": "1"}))?.refused(
        409,
        "Conflict",
        &["the ResourceVersion in the precondition (1) does not match the ResourceVersion in record"],
    )?;
    ensure!(delete(json!({"uid": made["metadata"]["uid"]}))?.status == 200);
    Ok(())
}

fn media_types(cx: &Context) -> Result<()> {
    let body = json!({"metadata": {"name": "m"}}).to_string();
    let answer = cx.raw(Method::POST, &path(cx, "configmaps"), &[("content-type", "text/plain")], body.clone())?;
    let sentence = "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf";
    answer.refused(415, "UnsupportedMediaType", &[sentence])?;
    let accepted = cx.raw(Method::GET, &path(cx, "configmaps"), &[("accept", "text/html")], "")?;
    let sentence = "Available representations: application/json, application/yaml, application/vnd.kubernetes.protobuf";
    accepted.refused(406, "NotAcceptable", &[sentence])?;
    for (accept, kind) in [
        ("*/*", "application/json"),
        ("application/vnd.kubernetes.protobuf, application/yaml;q=0.5", "application/vnd.kubernetes.protobuf"),
        ("application/yaml", "application/yaml"),
        ("text/html, application/json;q=0.5", "application/json"),
        ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "application/json"),
        ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", "application/json"),
    ] {
        let answer = cx.raw(Method::GET, &path(cx, "configmaps"), &[("accept", accept)], "")?;
        let found = answer.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        ensure!(answer.status == 200 && found.starts_with(kind), "{accept}: {} {found}", answer.status);
    }
    let partial = [("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")];
    let list = cx.raw(Method::GET, &path(cx, "configmaps"), &partial, "")?.json()?;
    ensure!(list["kind"] == "PartialObjectMetadataList", "{list}");
    let made = cx.raw(
        Method::POST,
        &path(cx, "configmaps"),
        &[YAML, ("accept", "application/yaml")],
        "metadata: {name: yam}",
    )?;
    ensure!(made.status == 201 && made.text.contains("name: yam"), "{}", made.text);
    Ok(())
}

fn bad_patches(cx: &Context) -> Result<()> {
    cx.kubectl("create configmap p --from-literal=a=b")?;
    let patch = |kind: &str, body: &str| {
        cx.raw(Method::PATCH, &path(cx, "configmaps/p"), &[("content-type", kind)], body.to_owned())
    };
    let wrong = patch("application/json", "{}")?;
    wrong.refused(415, "UnsupportedMediaType", &["415: Unsupported Media Type"])?;
    for body in ["{", "[]", "7", "\"x\""] {
        let answer = patch("application/merge-patch+json", body)?;
        ensure!([400, 422].contains(&answer.status), "merge {body}: {} {}", answer.status, answer.text);
    }
    for body in [
        "{}",
        "[{\"op\":\"leap\",\"path\":\"/a\"}]",
        "[{\"op\":\"remove\",\"path\":\"/no/such\"}]",
        "[{\"op\":\"add\",\"path\":\"data\"}]",
    ] {
        let answer = patch("application/json-patch+json", body)?;
        ensure!([400, 422].contains(&answer.status), "json {body}: {} {}", answer.status, answer.text);
    }
    let many = serde_json::to_string(&vec![json!({"op": "add", "path": "/data/x", "value": "y"}); 10_001])?;
    patch("application/json-patch+json", &many)?.refused(
        413,
        "RequestEntityTooLarge",
        &["The allowed maximum operations in a JSON patch is 10000"],
    )?;
    // Each copy doubles what is there.
    let doubling: Vec<Value> =
        (0..40).map(|n| json!({"op": "copy", "from": "/data", "path": format!("/data/{n}")})).collect();
    let answer = patch("application/json-patch+json", &serde_json::to_string(&doubling)?)?;
    ensure!((400..=422).contains(&answer.status), "{} {}", answer.status, &answer.text[..answer.text.len().min(300)]);
    let wrong = patch("application/merge-patch+json", "{\"data\":{\"a\":7}}")?;
    ensure!([400, 422].contains(&wrong.status), "{} {}", wrong.status, wrong.text);
    patch("application/merge-patch+json", "{\"metadata\":{\"name\":\"q\"}}")?.refused(
        400,
        "BadRequest",
        &["name of the object"],
    )?;
    ensure!(cx.path("configmap/p", "{.data}")? == r#"{"a":"b"}"#, "a patch that failed changed something");
    Ok(())
}

fn bad_parameters(cx: &Context) -> Result<()> {
    for (query, part) in [
        ("labelSelector=a%20in", "unable to parse requirement"),
        ("labelSelector=-a", "unable to parse requirement"),
        ("fieldSelector=spec.nothing%3Dx", "field label not supported: spec.nothing"),
        ("fieldSelector=x", "invalid selector: 'x'; can't understand 'x'"),
        ("limit=many", ""),
        ("continue=rubbish", "continue key is not valid"),
        ("resourceVersion=rubbish", "Invalid value"),
        ("resourceVersionMatch=Exact", "resourceVersionMatch"),
        ("timeoutSeconds=soon", ""),
    ] {
        let answer = cx.read(&format!("{}?{query}", path(cx, "pods")))?;
        ensure!([400, 422].contains(&answer.status), "{query}: {} {}", answer.status, answer.text);
        has(answer.json()?["message"].as_str().unwrap_or_default(), &[part]).context(query)?;
    }
    let dry = cx.raw(Method::POST, &path(cx, "configmaps?dryRun=Maybe"), &[JSON], r#"{"metadata":{"name":"x"}}"#)?;
    ensure!([400, 422].contains(&dry.status), "{} {}", dry.status, dry.text);
    has(&dry.text, &["dryRun"])?;
    let policy = cx.raw(Method::DELETE, &path(cx, "configmaps/x?propagationPolicy=Sideways"), &[], "")?;
    ensure!([400, 422].contains(&policy.status), "{} {}", policy.status, policy.text);
    Ok(())
}

fn resource_versions(cx: &Context) -> Result<()> {
    let future = cx.read(&format!("{}?resourceVersion=999999999999", path(cx, "pods")))?;
    let status = future.refused(504, "Timeout", &["Too large resource version"])?;
    ensure!(status["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge", "{status}");
    ensure!(status["details"]["retryAfterSeconds"] == 1, "{status}");
    let first = cx.read(&format!("{}?watch=true&resourceVersion=rubbish", path(cx, "pods")))?;
    // A list answers 400, but a watch, as upstream's, 500.
    ensure!(first.status == 500, "{} {}", first.status, first.text);
    has(&first.text, &["strconv.ParseUint: parsing"])?;
    let any = cx.read(&format!("{}?resourceVersion=0&resourceVersionMatch=NotOlderThan", path(cx, "pods")))?;
    ensure!(any.status == 200, "{} {}", any.status, any.text);
    let short = cx.read(&format!("{}?watch=true&timeoutSeconds=1", path(cx, "configmaps")))?;
    ensure!(short.status == 200, "{} {}", short.status, short.text);
    Ok(())
}

fn methods(cx: &Context) -> Result<()> {
    let answer = cx.raw(Method::POST, &path(cx, "configmaps/x"), &[JSON], "{}")?;
    answer.refused(405, "MethodNotAllowed", &["the server does not allow this method on the requested resource"])?;
    let answer = cx.raw(Method::PUT, &path(cx, "configmaps"), &[JSON], "{}")?;
    answer.refused(405, "MethodNotAllowed", &[])?;
    let answer = cx.read("/api/v1/namespaces/default/bindings")?;
    answer.refused(405, "MethodNotAllowed", &[])?;
    let delete = cx.raw(Method::DELETE, "/api/v1/namespaces", &[], "")?;
    delete.refused(405, "MethodNotAllowed", &[])?;
    for strange in
        ["/api/v1/namespaces/%2e%2e/pods", "/api//v1/pods", "/api/v1/namespaces/a%2Fb/pods", "/api/v1/pods/%00"]
    {
        let answer = cx.read(strange)?;
        ensure!(answer.status < 500, "{strange}: {} {}", answer.status, answer.text);
    }
    Ok(())
}
