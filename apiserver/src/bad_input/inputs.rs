//! What clients send, as they mean it.

pub const DEPLOYMENT: &str = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d","labels":{"a":"b"},"finalizers":["a/b","c/d"],
 "creationTimestamp":"2026-01-02T03:04:05Z","managedFields":[{"manager":"m","operation":"Apply","apiVersion":"apps/v1","time":"2026-01-02T03:04:05Z",
 "fieldsType":"FieldsV1","fieldsV1":{"f:spec":{"f:replicas":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:name":{},"f:image":{}}}}}}}}]},
 "spec":{"replicas":2,"selector":{"matchLabels":{"a":"b"}},"strategy":{"rollingUpdate":{"maxSurge":"25%"}},"template":{"metadata":{"labels":{"a":"b"}},
 "spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],"env":[{"name":"A","value":"1"}],"resources":{"requests":{"cpu":"100m","memory":"1.5Gi"}}}],
 "volumes":[{"name":"v","emptyDir":{}}],"tolerations":[{"key":"k"}]}}}}"#;

pub const APPLIED: &str = r#"{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d","finalizers":["e/f","c/d"]},"spec":{"replicas":3,"template":{"spec":{
 "containers":[{"name":"n","image":"j"},{"name":"c","image":"k","ports":[{"containerPort":80,"protocol":"TCP"},{"containerPort":81,"protocol":"TCP"}]}]}}}}"#;

pub const YAML_APPLIED: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: d\nspec:\n  template:\n    spec:\n      containers:\n      - {name: c, image: k}\n";

pub const YAML: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: &m\n  name: d\n  labels: {a: b}\nspec:\n  replicas: 0o17\n  template:\n    spec:\n      containers:\n      - name: c\n        image: |\n          text\n        args: [a, 'b', \"c\\n\", &x w, *x]\n---\nx: y\n";

pub const POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web-0","labels":{"app":"web"},"ownerReferences":[{"apiVersion":"apps/v1","kind":"StatefulSet","name":"web","uid":"8d0c","controller":true}]},
 "spec":{"containers":[{"name":"c","image":"nginx","env":[{"name":"N","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}],"livenessProbe":{"httpGet":{"port":"http"},"periodSeconds":10}}],
 "volumes":[{"name":"s","secret":{"secretName":"s","defaultMode":420}},{"name":"d","downwardAPI":{"items":[{"path":"p","fieldRef":{"fieldPath":"metadata.labels"}}]}}],"overhead":{"cpu":"1.5"},"nodeSelector":{"a":"b"}},
 "status":{"phase":"Running","startTime":"2026-01-02T03:04:05Z","podIPs":[{"ip":"10.0.0.1"}]}}"#;

pub const SECRET: &str = r#"{"apiVersion":"v1","kind":"Secret","metadata":{"name":"s"},"data":{"a":"AQID","b":"","c":[1,2]},"stringData":{"d":"e"},"immutable":true,"type":"Opaque"}"#;

pub const DEFINITION: &str = r#"{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"as.e.com"},"spec":{"group":"e.com","names":{"plural":"as","kind":"A"},"scope":"Namespaced",
 "versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object","properties":{"a":{"type":"array","items":{"type":"string"},"default":["x"]},"b":{"additionalProperties":{"type":"integer","maximum":5.5,"enum":[1,2]}},
 "c":{"not":{"minLength":1},"anyOf":[{"required":["x"]}],"x-kubernetes-preserve-unknown-fields":true}}}},"additionalPrinterColumns":[{"name":"n","type":"date","jsonPath":".a"}]}]}}"#;

pub const EVENT: &str = r#"{"apiVersion":"v1","kind":"Event","metadata":{"name":"e"},"eventTime":"2026-01-02T03:04:05.000006Z","firstTimestamp":"2026-01-02T03:04:05Z","count":3,"involvedObject":{"kind":"Pod","name":"p"},"series":{"count":2,"lastObservedTime":"2026-01-02T03:04:05.000006Z"}}"#;

pub const DELETE_OPTIONS: &str = r#"{"apiVersion":"v1","kind":"DeleteOptions","gracePeriodSeconds":5,"propagationPolicy":"Foreground","preconditions":{"uid":"u","resourceVersion":"7"},"dryRun":["All"]}"#;

pub const JSON_PATCH: &str = r#"[{"op":"add","path":"/spec/template/spec/containers/-","value":{"name":"n"}},{"op":"copy","from":"/metadata","path":"/spec/x"},
 {"op":"move","from":"/spec/replicas","path":"/metadata/labels/z"},{"op":"test","path":"/spec/a~1b","value":null},{"op":"remove","path":"/metadata/finalizers/-1"}]"#;

pub const STRATEGIC: &str = r#"{"metadata":{"$deleteFromPrimitiveList/finalizers":["a/b"],"$setElementOrder/finalizers":["c/d"]},"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"},
 "template":{"spec":{"$setElementOrder/containers":[{"name":"n"},{"name":"c"}],"containers":[{"name":"n","image":"z"},{"$patch":"delete","name":"c"}],"volumes":[{"$patch":"replace"},{"name":"w"}]}}}}"#;

pub const FIELDS: &str = r#"{"f:metadata":{"f:labels":{".":{},"f:a":{}},"f:finalizers":{"v:\"a/b\"":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\",\"port\":80}":{".":{},"f:args":{"i:0":{}}}}}}"#;

pub const LABEL_SELECTOR: &str = r#"{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"k","operator":"In","values":["x","y"]},{"key":"l","operator":"DoesNotExist"}]}"#;

pub const PASSWORDS: &str = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy,ann,1,\"dev,ops\"\n\"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b2dWRWJTmaaObFHdXuZ3E1tJWI\",bob,2\n";

/// A request of `CN=ann, O=dev`.
pub const REQUEST: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURSBSRVFVRVNULS0tLS0KTUlIWE1IOENBUUF3SFRFTk1Bc0dBMVVFQ2d3RVpHVjJjekVNTUFvR0ExVUVBd3dEWVc1dU1Ga3dFd1lIS29aSQp6ajBDQVFZSUtvWkl6ajBEQVFjRFFnQUVzN0pWbWlNWVVCZldkOW1NYStTeGRLZG9TOC82bzFkYkZqaTZwQkJmCkszSXN2Y3BrT1U1M1doa05zTkoxNlRtYU96VWZLU0RMaTY3QitRc29KMmtQRTZBQU1Bb0dDQ3FHU000OUJBTUMKQTBnQU1FVUNJRmRrSVdpNXRjcVJDOE5wVEVjeG85SUlFVFFEUHFFOEt3aXpsV3B3QS9rckFpRUE3cldld1d4awp5ZVFoL1VwYVV0RVJybEY0SnMxR2JkbVdBQkJyN2krVEZTbz0KLS0tLS1FTkQgQ0VSVElGSUNBVEUgUkVRVUVTVC0tLS0tCg==";

/// Expressions with all that the language has.
pub const EXPRESSIONS: &[&str] = &[
    "object.spec.replicas <= params.max && !has(object.metadata.labels) || -1.5e3 < 0x1F",
    "[1, 2].map(x, x * 2).all(i, v, string(v) in {'a': b'\\xff', \"b\": br'\\d'}) ? true : false // c",
    "device.attributes['a'].?b[?'c'].optMap(x, x.matches('^[a-z]+$')).orValue(false)",
    "cel.bind(x, device, x.driver == 'a' && x.capacity['b'].c.isGreaterThan(quantity('1')))",
    "[JSONPatch{op: 'add', path: '/a', value: Object.a{?b: object.?y}}].size() > 0",
    "'%d %.2f'.format([1, 2.0]) == '''é\n''' && duration('1h') > timestamp(1) - timestamp('2026-01-01T00:00:00Z')",
];

pub const PATTERNS: &[&str] =
    &["^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", r"(?i)\d{2,3}|\p{Greek}+\x{1F600}(?P<n>[^[:alpha:]\-])*?", r"\Qa.b\E\b\z"];

pub const FORMATTED: &[&str] = &[
    "2026-01-01T00:00:00.5Z",
    "1h2m3s",
    "Ann <ann@a.example>",
    "\"a b\"@[127.0.0.1]",
    "https://a.example:80/b%20c?d=e#f",
    "::ffff:1.2.3.4/96",
    "00:1b:44:11:3a:b7",
    "978-3-16-148410-0",
    "f81d4fae-7dec-31d0-a765-00a0c91e6bf6",
    "rgb(1, 2, 255)",
    "#ffaa00",
    "YWJj",
];
