use super::*;
use crate::authn::User;
use api::time;
use serde_json::json;

fn pod() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "namespace": "n", "labels": {"app": "x"}},
        "spec": {"containers": [{"name": "c", "image": "nginx"}]},
    })
}

fn container(more: Value) -> Value {
    let mut container = json!({"name": "c", "image": "nginx"});
    as_map(&mut container).extend(more.as_object().cloned().unwrap_or_default());
    json!([container])
}

use api::document::as_map;

fn texts(errors: Errors) -> Vec<String> {
    errors.0.iter().map(ToString::to_string).collect()
}

fn context<R>(check: impl FnOnce(&Context) -> R) -> R {
    let user = User::default();
    check(&Context { user: &user, now: time::parse("2026-01-02T03:04:05Z").unwrap(), labelled: true })
}

/// A pod as a client sends it with these fields in its specification, as the registry makes it.
fn made(spec: &Value) -> Value {
    let mut pod = pod();
    as_map(&mut pod["spec"]).extend(spec.as_object().cloned().unwrap_or_default());
    Pod.default(&mut pod);
    context(|context| Pod.prepare_for_create(&mut pod, context));
    pod
}

fn problems(spec: Value) -> Vec<String> {
    let mut errors = Errors::new();
    let pod = made(&spec);
    Pod.check(&pod, None, &mut errors);
    texts(errors)
}

#[test]
fn plain_pod_gets_its_defaults_and_is_valid() {
    let pod = made(&json!({}));
    assert_eq!(problems(json!({})), [""; 0]);
    assert_eq!(
        pod["spec"],
        json!({
            "containers": [{
                "name": "c", "image": "nginx", "imagePullPolicy": "Always", "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }],
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "securityContext": {}, "enableServiceLinks": true,
            "terminationGracePeriodSeconds": 30, "schedulerName": "default-scheduler",
        })
    );
    assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
}

#[test]
fn defaults_follow_other_fields() {
    let pod = made(&json!({
        "hostNetwork": true,
        "containers": container(json!({
            "image": "registry:5000/a/b:v1", "ports": [{"containerPort": 80}],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
            "livenessProbe": {"httpGet": {"port": 80}},
            "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        })),
        "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}}],
        "schedulingGates": [{"name": "a.b/c"}],
    }));
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["imagePullPolicy"], "IfNotPresent");
    assert_eq!(container["ports"][0], json!({"containerPort": 80, "hostPort": 80, "protocol": "TCP"}));
    assert_eq!(container["resources"]["requests"], json!({"cpu": "1", "memory": "1Gi"}));
    assert_eq!(
        container["livenessProbe"],
        json!({
            "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1, "periodSeconds": 10,
            "successThreshold": 1, "failureThreshold": 3,
        })
    );
    assert_eq!(container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
    assert_eq!(pod["spec"]["volumes"][0]["emptyDir"], json!({}));
    assert_eq!(pod["spec"]["volumes"][1]["secret"]["defaultMode"], 0o644);
    assert_eq!(pod["status"]["qosClass"], "Guaranteed");
    assert_eq!(pod["status"]["conditions"][0]["reason"], "SchedulingGated");
}

#[test]
fn images_are_pulled_by_their_tag() {
    for (image, policy) in [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.2", "IfNotPresent"),
        ("localhost:5000/nginx", "Always"),
        ("nginx@sha256:0123456789012345678901234567890123456789012345678901234567890123", "IfNotPresent"),
        ("NGINX", "IfNotPresent"),
        ("NGINX:latest", "IfNotPresent"),
        ("Registry.example:5000/a/b__c", "Always"),
        ("a_B/c", "IfNotPresent"),
        ("[fd00::1]:5000/a", "Always"),
        ("a/b@sha256:0123456789012345678901234567890123456789012345678901234567890123", "IfNotPresent"),
        (&"a".repeat(247), "Always"),
        (&"a".repeat(248), "IfNotPresent"),
    ] {
        let pod = made(&json!({"containers": [{"name": "c", "image": image}]}));
        assert_eq!(pod["spec"]["containers"][0]["imagePullPolicy"], policy, "{image}");
    }
}

#[test]
fn class_of_service_follows_requests_and_limits() {
    for (resources, class) in [
        (json!({}), "BestEffort"),
        (json!({"requests": {"cpu": "0"}}), "BestEffort"),
        (json!({"requests": {"cpu": "1"}}), "Burstable"),
        (json!({"limits": {"cpu": "1"}}), "Burstable"),
        (json!({"limits": {"cpu": "1", "memory": "1Gi"}}), "Guaranteed"),
        (json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}), "Burstable"),
        (json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m"}}), "Guaranteed"),
    ] {
        let pod = made(&json!({"containers": container(json!({"resources": resources}))}));
        assert_eq!(qos_class(&pod), class, "{resources}");
    }
}

#[test]
fn containers_are_checked() {
    let rows = [
        (json!({"name": ""}), "spec.containers[0].name: Required value"),
        (json!({"image": ""}), "spec.containers[0].image: Required value"),
        (
            json!({"image": " nginx"}),
            "spec.containers[0].image: Invalid value: \" nginx\": must not have leading or trailing whitespace",
        ),
        (
            json!({"imagePullPolicy": "No"}),
            "spec.containers[0].imagePullPolicy: Unsupported value: \"No\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
        ),
        (
            json!({"ports": [{"containerPort": 65536}]}),
            "spec.containers[0].ports[0].containerPort: Invalid value: 65536: must be between 1 and 65535, inclusive",
        ),
        (
            json!({"ports": [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}]}),
            "spec.containers[0].ports[1].name: Duplicate value: \"a\"",
        ),
        (
            json!({"ports": [{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}]}),
            "spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//9\"",
        ),
        (
            json!({"env": [{"name": "A", "valueFrom": {}}]}),
            "spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        ),
        (
            json!({"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "spec.containers"}}}]}),
            "spec.containers[0].env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.containers\": error converting fieldPath: field label not supported: spec.containers",
        ),
        (
            json!({"envFrom": [{}]}),
            "spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
        ),
        (
            json!({"volumeMounts": [{"name": "v", "mountPath": "/x"}]}),
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
        (
            json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
        (
            json!({"resources": {"limits": {"cpu": "-1"}, "requests": {"cpu": "-1"}}}),
            "spec.containers[0].resources.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
        ),
        (
            json!({"resources": {"claims": [{"name": "g"}]}}),
            "spec.containers[0].resources.claims[0]: Not found: \"g\": must be one of the names in pod.spec.resourceClaims which is empty",
        ),
        (json!({"livenessProbe": {}}), "spec.containers[0].livenessProbe: Required value: must specify a handler type"),
        (
            json!({"livenessProbe": {"exec": {"command": ["a"]}, "tcpSocket": {"port": 1}}}),
            "spec.containers[0].livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
        ),
        (
            json!({"livenessProbe": {"exec": {"command": ["a"]}, "successThreshold": 2}}),
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ),
        (
            json!({"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}}),
            "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than terminationGracePeriodSeconds (30)",
        ),
        (
            json!({"securityContext": {"runAsUser": -1}}),
            "spec.containers[0].securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647, inclusive",
        ),
        (
            json!({"securityContext": {"procMount": "Unmasked"}}),
            "spec.containers[0].securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
        ),
        (
            json!({"restartPolicy": "Sometimes"}),
            "spec.containers[0].restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"Never\", \"OnFailure\"",
        ),
    ];
    for (fields, problem) in rows {
        let found = problems(json!({"containers": container(fields.clone())}));
        assert!(found.iter().any(|found| found == problem), "{fields}: {found:#?}");
    }
}

#[test]
fn specifications_are_checked() {
    let rows = [
        (json!({"containers": []}), "spec.containers: Required value"),
        (
            json!({"initContainers": [{"name": "c", "image": "i"}]}),
            "spec.initContainers[0].name: Duplicate value: \"c\"",
        ),
        (
            json!({"initContainers": [{"name": "i", "image": "i", "livenessProbe": {"grpc": {"port": 1}}}]}),
            "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
        ),
        (
            json!({"ephemeralContainers": [{"name": "e", "image": "i"}]}),
            "spec.ephemeralContainers: Forbidden: cannot be set on create",
        ),
        (
            json!({"restartPolicy": "x"}),
            "spec.restartPolicy: Unsupported value: \"x\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ),
        (
            json!({"nodeName": "n", "schedulingGates": [{"name": "a.b/c"}]}),
            "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
        ),
        (
            json!({"activeDeadlineSeconds": 0}),
            "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive",
        ),
        (
            json!({"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]}),
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
        ),
        (
            json!({"volumes": [{"name": "v", "emptyDir": {}}, {"name": "v", "emptyDir": {}}]}),
            "spec.volumes[1].name: Duplicate value: \"v\"",
        ),
        (
            json!({"volumes": [{"name": "v", "configMap": {"name": "m", "items": [{"key": "k", "path": "../x"}]}}]}),
            "spec.volumes[0].configMap.items[0].path: Invalid value: \"../x\": must not contain '..'",
        ),
        (
            json!({"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}),
            "spec.volumes[0].projected.sources[0].serviceAccountToken: Forbidden: must not be specified when serviceAccountName is not set",
        ),
        (
            json!({"tolerations": [{"operator": "Equal"}]}),
            "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        ),
        (
            json!({"dnsPolicy": "None"}),
            "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
        ),
        (
            json!({"hostAliases": [{"ip": "1.2.3"}]}),
            "spec.hostAliases[0].ip: Invalid value: \"1.2.3\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        ),
        (
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}}}),
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must have at least one node selector term",
        ),
        (
            json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{}]}}}),
            "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can not be empty",
        ),
        (
            json!({"topologySpreadConstraints": [{"topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule"}]}),
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
        ),
        (
            json!({"os": {"name": "windows"}, "securityContext": {"runAsUser": 1}}),
            "spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod",
        ),
        (json!({"hostUsers": false, "hostPID": true}), "spec.HostPID: Forbidden: when `hostUsers` is false"),
        (
            json!({"securityContext": {"sysctls": [{"name": "net.x"}]}, "hostNetwork": true}),
            "spec.securityContext.sysctls[0].name: Invalid value: \"net.x\": may not be specified when 'hostNetwork' is true",
        ),
        (
            json!({"securityContext": {"seccompProfile": {"type": "Localhost"}}}),
            "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
        ),
        (
            json!({"resourceClaims": [{"name": "a"}]}),
            "spec.resourceClaims[0]: Invalid value: {\"Name\":\"a\",\"ResourceClaimName\":null,\"ResourceClaimTemplateName\":null}: must specify one of: `resourceClaimName`, `resourceClaimTemplateName`",
        ),
        (
            json!({"resources": {"requests": {"cpu": "1"}}, "containers": container(json!({"resources": {"requests": {"cpu": "2"}}}))}),
            "spec.resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container requests of 2",
        ),
        (json!({"nodeSelector": {"a": "b c"}}), "spec.nodeSelector: Invalid value: \"b c\": "),
        (json!({"hostname": "a.b"}), "spec.hostname: Invalid value: \"a.b\": "),
    ];
    for (fields, problem) in rows {
        let found = problems(fields.clone());
        let matches =
            |found: &&String| if problem.ends_with(": ") { found.starts_with(problem) } else { *found == problem };
        assert!(found.iter().find(matches).is_some(), "{fields}: {found:#?}");
    }
}

fn update_problems(old_spec: Value, new_spec: Value) -> Vec<String> {
    let (old, new) = (made(&old_spec), made(&new_spec));
    let mut errors = Errors::new();
    Pod.check(&new, Some(&old), &mut errors);
    texts(errors)
}

#[test]
fn little_of_a_pod_can_be_changed() {
    let image = json!({"containers": container(json!({"image": "other"}))});
    let policy = json!({"imagePullPolicy": "Always"});
    let with_policy = json!({"containers": container(policy.clone())});
    let mut image_with_policy = image.clone();
    as_map(&mut image_with_policy["containers"][0]).extend(policy.as_object().cloned().unwrap());
    assert_eq!(update_problems(with_policy, image_with_policy), [""; 0]);
    let toleration = |seconds| json!({"tolerations": [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}]});
    assert_eq!(update_problems(json!({}), toleration(1)), [""; 0]);
    assert_eq!(update_problems(toleration(1), toleration(2)), [""; 0]);
    assert_eq!(
        update_problems(toleration(1), json!({})),
        ["spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"]
    );
    assert_eq!(update_problems(json!({"activeDeadlineSeconds": 9}), json!({"activeDeadlineSeconds": 8})), [""; 0]);
    assert_eq!(
        update_problems(json!({"activeDeadlineSeconds": 9}), json!({"activeDeadlineSeconds": 10})),
        ["spec.activeDeadlineSeconds: Invalid value: 10: must be less than or equal to previous value"]
    );
    assert_eq!(
        update_problems(json!({}), json!({"schedulingGates": [{"name": "a.b/c"}]})),
        ["spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'a.b/c'"]
    );
    let gated = json!({"schedulingGates": [{"name": "a.b/c"}], "nodeSelector": {"a": "b"}});
    assert_eq!(update_problems(gated.clone(), json!({"nodeSelector": {"a": "b", "c": "d"}})), [""; 0]);
    assert_eq!(update_problems(gated, json!({})).len(), 1);
}

#[test]
fn what_an_old_pod_already_breaks_stays_allowed() {
    let block = json!({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}], "hostUsers": false,
        "containers": container(json!({"volumeDevices": [{"name": "v", "devicePath": "/dev/a"}]}))});
    let term = json!({"topologyKey": "z", "labelSelector": {"matchExpressions": [{"key": "a", "operator": "In", "values": ["b c"]}]}});
    let node =
        json!({"nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "In", "values": ["b c"]}]}]});
    let spread = |keys, selector| {
        json!({"topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "DoNotSchedule", "matchLabelKeys": keys, "labelSelector": selector,
        }]})
    };
    let token = json!({"sources": [{"serviceAccountToken": {"path": "../t"}}]});
    let rows = [
        json!({"containers": container(json!({"resources": {"limits": {"hugepages-2Mi": "3Mi", "memory": "1Gi"}}}))}),
        json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}),
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": node}}}),
        spread(json!([]), json!({"matchLabels": {"a": "b c"}})),
        json!({"serviceAccountName": "a", "volumes": [{"name": "v", "projected": token}]}),
        json!({"hostNetwork": true, "securityContext": {"sysctls": [{"name": "net.ipv4.x", "value": "1"}]}}),
        json!({"securityContext": {"seLinuxChangePolicy": "MountOption"}}),
        json!({"tolerations": [{"key": "a", "operator": "Gt", "value": "5"}]}),
        json!({"initContainers": [{"name": "i", "image": "i",
            "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]}]}),
        block,
    ];
    for spec in rows {
        assert_ne!(problems(spec.clone()), [""; 0], "{spec}");
        assert_eq!(update_problems(spec.clone(), spec), [""; 0]);
    }
}

#[test]
fn refused_changes_are_shown() {
    let found = update_problems(json!({}), json!({"hostname": "h"}));
    assert_eq!(found.len(), 1);
    let (message, changes) = found[0].split_once('\n').unwrap();
    assert!(message.starts_with(
        "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    ));
    assert!(changes.contains("\n- \"Hostname\": \"\",\n+ \"Hostname\": \"h\",\n"), "{changes}");
}

#[test]
fn binding_assigns_a_node_once() {
    let now = time::parse("2026-01-02T03:04:05Z").unwrap();
    let binding = json!({
        "metadata": {"name": "a", "annotations": {"x": "y"}, "labels": {"zone": "z"}}, "target": {"kind": "Node", "name": "node-1"},
    });
    let mut pod = made(&json!({}));
    bind(&mut pod, &binding, now).unwrap();
    assert_eq!(pod["spec"]["nodeName"], "node-1");
    assert_eq!(pod["metadata"]["labels"], json!({"app": "x", "zone": "z"}));
    assert_eq!(pod["metadata"]["annotations"], json!({"x": "y"}));
    let condition = &pod["status"]["conditions"][0];
    assert_eq!((condition["type"].as_str(), condition["status"].as_str()), (Some("PodScheduled"), Some("True")));
    let refused = bind(&mut pod, &binding, now).unwrap_err();
    assert_eq!(refused.code, 409);
    assert_eq!(
        refused.message,
        "Operation cannot be fulfilled on pods/binding \"a\": pod a is already assigned to node \"node-1\""
    );
}

#[test]
fn deletion_waits_only_for_pods_that_run() {
    let bound = made(&json!({"nodeName": "n"}));
    assert_eq!(Pod.grace_period(&bound, None), Some(30));
    assert_eq!(Pod.grace_period(&bound, Some(5)), Some(5));
    assert_eq!(Pod.grace_period(&bound, Some(-1)), Some(1));
    assert_eq!(Pod.grace_period(&made(&json!({})), Some(5)), Some(0));
    let mut ended = bound;
    ended["status"]["phase"] = "Failed".into();
    assert_eq!(Pod.grace_period(&ended, None), Some(0));
}

#[test]
fn ephemeral_containers_are_only_added() {
    let old = made(&json!({}));
    let mut new = old.clone();
    new["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": "busybox"}]);
    new["spec"]["hostname"] = "h".into();
    new["metadata"]["labels"] = json!({});
    Pod.default(&mut new);
    prepare_ephemeral_containers(&mut new, &old);
    assert_eq!(new["spec"]["hostname"], Value::Null);
    assert_eq!(new["metadata"]["labels"], json!({"app": "x"}));
    let mut errors = Errors::new();
    validate_ephemeral_containers(&new, &old, &mut errors);
    assert_eq!(texts(errors), [""; 0]);
    let mut errors = Errors::new();
    validate_ephemeral_containers(&old, &new, &mut errors);
    let found = texts(errors);
    assert_eq!(
        found,
        ["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"debug\" may not be removed\n"]
    );
}

#[test]
fn resize_changes_resources_only() {
    let with = |cpu| made(&json!({"containers": container(json!({"resources": {"requests": {"cpu": cpu}}}))}));
    let (old, mut new) = (with("1"), with("2"));
    new["spec"]["hostname"] = "h".into();
    prepare_resize(&mut new, &old);
    assert_eq!(new["spec"]["hostname"], Value::Null);
    let check = |new: &Value| {
        let mut errors = Errors::new();
        validate_resize(new, &old, &mut errors);
        texts(errors)
    };
    assert_eq!(check(&new), [""; 0]);
    let found = check(&made(&json!({"containers": container(json!({"resources": {"requests": {"memory": "1Gi"}}}))})));
    assert_eq!(found, ["spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"]);
    let found = check(&made(&json!({})));
    assert_eq!(found[0], "spec: Invalid value: \"BestEffort\": Pod QOS Class may not change as a result of resizing");
}

#[test]
fn status_keeps_what_was_decided() {
    let mut old = made(&json!({"restartPolicy": "Never", "nodeName": "n"}));
    old["status"]["containerStatuses"] = json!([{"name": "c", "state": {"terminated": {"exitCode": 1}}}]);
    let mut new = old.clone();
    new["status"] = json!({
        "containerStatuses": [{"name": "c", "state": {"running": {}}}], "podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}],
    });
    context(|context| Pod.prepare_for_status_update(&mut new, &old, context));
    assert_eq!(new["status"]["qosClass"], "BestEffort");
    let mut errors = Errors::new();
    Pod.validate_status_update(&new, &old, &mut errors);
    assert_eq!(
        texts(errors),
        [
            "status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state",
            "status.podIPs: Invalid value: [{\"IP\":\"10.0.0.1\"},{\"IP\":\"10.0.0.2\"}]: may specify no more than one IP for each IP family",
        ]
    );
}

#[test]
fn odd_pods_get_warnings() {
    let warnings = |spec| Pod.warnings(&made(&spec), None);
    assert_eq!(warnings(json!({})), [""; 0]);
    assert_eq!(
        warnings(json!({"nodeSelector": {"beta.kubernetes.io/os": "linux"}})),
        ["spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead"]
    );
    assert_eq!(
        warnings(
            json!({"containers": container(json!({"env": [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}]}))})
        ),
        ["spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply"]
    );
    assert_eq!(
        warnings(json!({"containers": container(json!({"ports": [{"containerPort": 80}, {"containerPort": 80}]}))})),
        ["spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]"]
    );
}

#[test]
fn fields_to_select_by() {
    let mut pod = made(&json!({"nodeName": "n"}));
    pod["status"]["podIPs"] = json!([{"ip": "10.0.0.1"}]);
    let rows = [
        ("spec.nodeName", "n"),
        ("spec.hostNetwork", "false"),
        ("status.phase", "Pending"),
        ("status.podIP", "10.0.0.1"),
        ("status.podIPs", ""),
        ("spec.schedulerName", "default-scheduler"),
    ];
    for (field, value) in rows {
        assert_eq!(Pod.selectable_field(&pod, field), value, "{field}");
    }
}
