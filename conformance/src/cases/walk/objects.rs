//! Manifests, labels, patches: what works the same for every kind.

use crate::case::{Case, Needs};
use crate::context::{Context, has};
use anyhow::{Result, ensure};

pub const CASES: &[Case] = &[
    Case::new("walk::multi_document_yaml", Needs::Cluster, multi_document_yaml),
    Case::new("walk::edit", Needs::Cluster, edit),
    Case::new("walk::replace", Needs::Cluster, replace),
    Case::new("walk::label_and_annotate", Needs::Cluster, label_and_annotate),
    Case::new("walk::patch", Needs::Cluster, patch),
    Case::new("walk::selectors", Needs::Cluster, selectors),
    Case::new("walk::chunks", Needs::Cluster, chunks),
    Case::new("walk::output_formats", Needs::Cluster, output_formats),
    Case::new("walk::config_maps_and_secrets", Needs::Cluster, config_maps_and_secrets),
    Case::new("walk::server_dry_run", Needs::Cluster, server_dry_run),
    Case::new("walk::diff", Needs::Cluster, diff),
    Case::new("walk::finalizer", Needs::Cluster, finalizer),
];

const TWO: &str = r"
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, labels: {app: two}}
data: {mode: one}
---
# a comment
apiVersion: apps/v1
kind: Deployment
metadata: {name: worker, labels: {app: two}}
spec:
  replicas: 2
  selector: {matchLabels: {app: two}}
  template:
    metadata: {labels: {app: two}}
    spec:
      containers:
      - name: main
        image: busybox
        envFrom: [{configMapRef: {name: settings}}]
        resources: {requests: {cpu: 100m, memory: 16Mi}}
---
";

fn multi_document_yaml(cx: &Context) -> Result<()> {
    has(&cx.apply(TWO)?, &["configmap/settings created", "deployment.apps/worker created"])?;
    cx.kubectl("rollout status deployment/worker --timeout=60s")?;
    has(&cx.apply(TWO)?, &["configmap/settings unchanged", "deployment.apps/worker unchanged"])?;
    let changed = TWO.replace("mode: one", "mode: two").replace("replicas: 2", "replicas: 1");
    has(&cx.apply(&changed)?, &["configmap/settings configured", "deployment.apps/worker configured"])?;
    ensure!(cx.path("configmap/settings", "{.data.mode}")? == "two");
    // What a manifest no longer says is taken away; what others set stays.
    cx.kubectl("label configmap settings other=kept")?;
    cx.apply(&changed.replace("data: {mode: two}", "data: {speed: slow}"))?;
    ensure!(cx.path("configmap/settings", "{.data} {.metadata.labels.other}")? == r#"{"speed":"slow"} kept"#);
    let deleted = cx.kubectl_reading("delete -f -", TWO)?;
    has(&deleted, &["configmap \"settings\" deleted", "deployment.apps \"worker\" deleted"])?;
    cx.until("nothing to be left", || Ok(cx.kubectl("get all -o name")?.is_empty()))
}

fn edit(cx: &Context) -> Result<()> {
    cx.kubectl("create configmap edited --from-literal=a=one")?;
    let editor = cx.dir.path().join("editor");
    std::fs::write(&editor, "#!/bin/sh\nsed -i 's/a: one/a: two/' \"$1\"\n")?;
    std::fs::set_permissions(&editor, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let editor = editor.to_string_lossy();
    let printed = cx.kubectl_with_env("edit configmap edited", &[("KUBE_EDITOR", &editor)])?;
    has(&printed, &["configmap/edited edited"])?;
    ensure!(cx.path("configmap/edited", "{.data.a}")? == "two");
    let (_, unchanged) = cx.kubectl_tries_with_env("edit configmap edited", &[("KUBE_EDITOR", "true")])?;
    has(&unchanged, &["Edit cancelled, no changes made."])
}

fn replace(cx: &Context) -> Result<()> {
    cx.kubectl("create configmap whole --from-literal=a=1")?;
    let old = cx.kubectl("get configmap whole -o json")?;
    cx.kubectl_reading("replace -f -", &old.replace("\"a\": \"1\"", "\"b\": \"2\""))?;
    ensure!(cx.path("configmap/whole", "{.data}")? == r#"{"b":"2"}"#);
    let path = cx.dir.path().join("old.json");
    std::fs::write(&path, old)?;
    let stale = cx.kubectl_fails(&format!("replace -f {}", path.display()))?;
    has(
        &stale,
        &[
            "Error from server (Conflict)",
            "Operation cannot be fulfilled on configmaps \"whole\": the object has been modified; please apply your changes to the latest version and try again",
        ],
    )
}

fn label_and_annotate(cx: &Context) -> Result<()> {
    cx.kubectl("create configmap tagged")?;
    has(&cx.kubectl("label configmap tagged tier=gold zone=a")?, &["configmap/tagged labeled"])?;
    has(&cx.kubectl("get configmaps -l tier=gold,zone!=b --show-labels")?, &["tagged", "tier=gold,zone=a"])?;
    has(
        &cx.kubectl_fails("label configmap tagged tier=silver")?,
        &["already has a value (gold), and --overwrite is false"],
    )?;
    cx.kubectl("label configmap tagged tier=silver --overwrite")?;
    cx.kubectl("label configmap tagged zone-")?;
    has(&cx.kubectl("get configmap tagged -L tier")?, &["TIER", "silver"])?;
    cx.kubectl("annotate configmap tagged example.com/note='two words'")?;
    ensure!(cx.path("configmap/tagged", "{.metadata.annotations.example\\.com/note}")? == "two words");
    cx.kubectl("annotate configmap tagged example.com/note-")?;
    ensure!(cx.path("configmap/tagged", "{.metadata.annotations}{.metadata.labels}")? == r#"{"tier":"silver"}"#);
    has(
        &cx.kubectl_fails("label configmap tagged bad=-x-")?,
        &["a valid label must be an empty string or consist of alphanumeric characters"],
    )
}

fn patch(cx: &Context) -> Result<()> {
    cx.kubectl("create deployment p --image=nginx --replicas=0")?;
    let strategic = r#"{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"busybox"}]}}}}"#;
    has(&cx.kubectl(&format!("patch deployment p -p '{strategic}'"))?, &["deployment.apps/p patched"])?;
    let mut names: Vec<String> =
        cx.path("deployment/p", "{.spec.template.spec.containers[*].name}")?.split(' ').map(str::to_owned).collect();
    names.sort();
    ensure!(names == ["nginx", "side"], "a strategic merge merges lists by key: {names:?}");
    let delete = r#"{"spec":{"template":{"spec":{"containers":[{"name":"side","$patch":"delete"}]}}}}"#;
    cx.kubectl(&format!("patch deployment p --type=strategic -p '{delete}'"))?;
    ensure!(cx.path("deployment/p", "{.spec.template.spec.containers[*].name}")? == "nginx");
    let merge = r#"{"metadata":{"labels":{"app":null,"new":"yes"}},"spec":{"template":{"spec":{"containers":[{"name":"only","image":"x"}]}}}}"#;
    cx.kubectl(&format!("patch deployment p --type=merge -p '{merge}'"))?;
    ensure!(
        cx.path("deployment/p", "{.spec.template.spec.containers[*].name}")? == "only",
        "a merge patch replaces lists"
    );
    ensure!(cx.path("deployment/p", "{.metadata.labels}")? == r#"{"new":"yes"}"#);
    let json = r#"[{"op":"test","path":"/spec/replicas","value":0},{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"y"},{"op":"add","path":"/metadata/labels/a~1b","value":"c"}]"#;
    cx.kubectl(&format!("patch deployment p --type=json -p '{json}'"))?;
    ensure!(cx.path("deployment/p", "{.spec.template.spec.containers[0].image} {.metadata.labels.a/b}")? == "y c");
    let failing = r#"[{"op":"test","path":"/spec/replicas","value":7}]"#;
    let refused = cx.kubectl_fails(&format!("patch deployment p --type=json -p '{failing}'"))?;
    has(&refused, &["The request is invalid: the server rejected our request due to an error in our request"])?;
    has(
        &cx.kubectl("patch deployment p --type=merge -p '{\"metadata\":{\"labels\":{\"new\":\"yes\"}}}'")?,
        &["(no change)"],
    )?;
    cx.kubectl("patch deployment p --subresource=scale --type=merge -p '{\"spec\":{\"replicas\":1}}'")?;
    ensure!(cx.path("deployment/p", "{.spec.replicas}")? == "1");
    Ok(())
}

fn selectors(cx: &Context) -> Result<()> {
    for (name, labels) in [("a", "color=red,size=1"), ("b", "color=blue,size=2"), ("c", "size=3")] {
        cx.kubectl(&format!("create configmap {name}"))?;
        cx.kubectl(&format!("label configmap {name} {}", labels.replace(',', " ")))?;
    }
    let select = |selector: &str| {
        let names = cx.kubectl(&format!("get configmaps -l '{selector}' -o jsonpath={{.items[*].metadata.name}}"));
        names.map(|names| names.replace("kube-root-ca.crt", "").split_whitespace().collect::<Vec<_>>().join(" "))
    };
    let expected = [
        ("color=red", "a"),
        ("color in (red,blue)", "a b"),
        ("color notin (red),size", "b c"),
        ("color,size!=2", "a"),
        ("!color,size", "c"),
        ("size==3", "c"),
    ];
    for (selector, names) in expected {
        let found = select(selector)?;
        ensure!(found == names, "{selector}: wanted {names:?}, got {found:?}");
    }
    ensure!(cx.kubectl("get configmaps --field-selector metadata.name=b -o name")?.trim() == "configmap/b");
    cx.kubectl("delete configmaps -l color")?;
    ensure!(select("size")? == "c");
    has(
        &cx.kubectl_fails("get configmaps --field-selector data.a=b")?,
        &["\"data.a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\""],
    )
}

fn chunks(cx: &Context) -> Result<()> {
    let manifest: String =
        (0..25).map(|n| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: n{n:02}}}\n---\n")).collect();
    cx.kubectl_reading("create -f -", &manifest)?;
    cx.until("the CA's configmap", || Ok(cx.kubectl("get configmaps -o name")?.contains("kube-root-ca.crt")))?;
    ensure!(
        cx.kubectl("get configmaps --chunk-size=4 -o name")?.lines().filter(|name| name.contains("/n")).count() == 25
    );
    let path = format!("/api/v1/namespaces/{}/configmaps?limit=10", cx.namespace);
    let first = cx.read(&path)?.json()?;
    ensure!(first["items"].as_array().is_some_and(|items| items.len() == 10), "{first}");
    ensure!(first["metadata"]["remainingItemCount"] == 16, "{}", first["metadata"]);
    let token = first["metadata"]["continue"].as_str().unwrap_or_default();
    let version = &first["metadata"]["resourceVersion"];
    cx.kubectl("create configmap n09-later")?;
    let second = cx.read(&format!("{path}&continue={token}"))?.json()?;
    ensure!(&second["metadata"]["resourceVersion"] == version, "all chunks are of one revision");
    ensure!(!second.to_string().contains("n09-later"), "all chunks are of one revision");
    cx.kubectl("delete configmaps --all").map(|_| ())
}

fn output_formats(cx: &Context) -> Result<()> {
    cx.kubectl("create configmap shown --from-literal=key=value")?;
    has(
        &cx.kubectl("get configmap shown -o yaml")?,
        &["apiVersion: v1\ndata:\n  key: value\nkind: ConfigMap\n", "uid: ", "resourceVersion: "],
    )?;
    has(&cx.kubectl("get configmap shown -o json")?, &["\"kind\": \"ConfigMap\""])?;
    has(&cx.kubectl("get configmaps -o yaml")?, &["kind: List"])?;
    let columns = cx.kubectl(
        "get configmaps -o custom-columns=N:.metadata.name,K:.data.key --sort-by=.metadata.creationTimestamp",
    )?;
    has(&columns, &["N ", "K", "shown", "value"])?;
    ensure!(cx.kubectl("get configmap shown -o go-template={{.data.key}}")? == "value");
    has(&cx.kubectl("get configmaps")?, &["NAME", "DATA", "AGE", "shown"])?;
    has(&cx.kubectl("get configmaps -A")?, &["NAMESPACE", "kube-system"])?;
    has(&cx.kubectl("get nodes -o wide")?, &["ROLES", "VERSION", "INTERNAL-IP", "CONTAINER-RUNTIME", "Ready"])?;
    has(&cx.kubectl("describe configmap shown")?, &["Data\n====\nkey:\n----\nvalue"])
}

fn config_maps_and_secrets(cx: &Context) -> Result<()> {
    cx.kubectl("create secret generic hidden --from-literal=password=hunter2")?;
    ensure!(cx.path("secret/hidden", "{.data.password} {.type}")? == "aHVudGVyMg== Opaque");
    has(&cx.kubectl("get secrets")?, &["TYPE", "DATA", "Opaque", "1"])?;
    has(&cx.kubectl("describe secret hidden")?, &["password:  7 bytes"])?;
    cx.apply("{apiVersion: v1, kind: Secret, metadata: {name: plain}, stringData: {a: b}}")?;
    ensure!(cx.path("secret/plain", "{.data.a}{.stringData}")? == "Yg==");
    cx.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: fixed}, immutable: true, data: {a: b}}")?;
    let refused = cx.kubectl_fails("patch configmap fixed -p '{\"data\":{\"a\":\"c\"}}'")?;
    has(&refused, &["data: Forbidden: field is immutable when `immutable` is set"])?;
    let wrong = cx.kubectl_fails("create secret tls broken --cert=/dev/null --key=/dev/null")?;
    ensure!(!wrong.is_empty());
    Ok(())
}

fn server_dry_run(cx: &Context) -> Result<()> {
    has(&cx.kubectl("create deployment ghost --image=nginx --dry-run=server")?, &["created (server dry run)"])?;
    cx.kubectl_fails("get deployment ghost")?;
    cx.kubectl("create configmap real --from-literal=a=1")?;
    cx.kubectl("delete configmap real --dry-run=server")?;
    cx.kubectl("label configmap real x=y --dry-run=server")?;
    has(&cx.kubectl("patch configmap real --dry-run=server -o yaml -p '{\"data\":{\"a\":\"2\"}}'")?, &["a: \"2\""])?;
    ensure!(cx.path("configmap/real", "{.data.a}{.metadata.labels}")? == "1");
    has(
        &cx.kubectl("create service nodeport ghost --tcp=80 --dry-run=server -o yaml")?,
        &["clusterIP: ", "nodePort: 3"],
    )?;
    cx.kubectl_fails("get service ghost").map(|_| ())
}

fn diff(cx: &Context) -> Result<()> {
    let manifest = "---\n{apiVersion: v1, kind: ConfigMap, metadata: {name: d}, data: {a: one}}";
    cx.apply(manifest)?;
    cx.kubectl_reading("diff -f -", manifest)?;
    let path = cx.dir.path().join("changed.yaml");
    std::fs::write(&path, manifest.replace("one", "two"))?;
    let (same, printed) = cx.kubectl_tries(&format!("diff -f {}", path.display()))?;
    ensure!(!same, "a difference ends with 1");
    has(&printed, &["-  a: one", "+  a: two"])
}

fn finalizer(cx: &Context) -> Result<()> {
    cx.apply("{apiVersion: v1, kind: ConfigMap, metadata: {name: held, finalizers: [example.com/hold]}}")?;
    cx.kubectl("delete configmap held --wait=false")?;
    ensure!(!cx.path("configmap/held", "{.metadata.deletionTimestamp}")?.is_empty(), "not marked for deletion");
    let added = cx.kubectl_fails("patch configmap held --type=merge -p '{\"metadata\":{\"finalizers\":[\"example.com/hold\",\"example.com/more\"]}}'")?;
    has(&added, &["no new finalizers can be added if the object is being deleted"])?;
    cx.kubectl("patch configmap held --type=merge -p '{\"metadata\":{\"finalizers\":null}}'")?;
    cx.kubectl_fails("get configmap held").map(|_| ())
}
