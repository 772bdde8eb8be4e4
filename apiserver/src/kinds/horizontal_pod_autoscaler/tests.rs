use super::*;

fn target() -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"})
}

#[test]
fn both_versions_say_the_same() {
    let v2 = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a", "annotations": {"x": "y"}},
        "spec": {"minReplicas": 1, "maxReplicas": 3, "scaleTargetRef": target(), "metrics": [
            {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "s"}, "metric": {"name": "m"},
                "target": {"type": "Value", "value": "10"}}},
            cpu_metric(50.into())],
            "behavior": {"scaleDown": {"selectPolicy": "Min", "policies": [{"type": "Pods", "value": 1, "periodSeconds": 5}]}}},
        "status": {"currentReplicas": 2, "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu",
            "current": {"averageUtilization": 40, "averageValue": "400m"}}}],
            "conditions": [{"type": "AbleToScale", "status": "True"}]},
    });
    let v1 = v2_to_v1(v2.clone());
    assert_eq!(
        v1["spec"],
        json!({"minReplicas": 1, "maxReplicas": 3, "scaleTargetRef": target(), "targetCPUUtilizationPercentage": 50})
    );
    assert_eq!(v1["status"], json!({"currentReplicas": 2, "currentCPUUtilizationPercentage": 40}));
    let annotations = &v1["metadata"]["annotations"];
    assert_eq!(
        annotations["autoscaling.alpha.kubernetes.io/behavior"],
        r#"{"ScaleUp":null,"ScaleDown":{"StabilizationWindowSeconds":null,"SelectPolicy":"Min","Policies":[{"Type":"Pods","Value":1,"PeriodSeconds":5}],"Tolerance":null}}"#
    );
    assert_eq!(v1_to_v2(v1), v2);
}

#[test]
fn v1_without_a_target_gets_the_default() {
    let v2 = v1_to_v2(json!({"apiVersion": "autoscaling/v1", "spec": {"maxReplicas": 3}}));
    assert_eq!(v2["spec"]["metrics"], json!([cpu_metric(80.into())]));
}

#[test]
fn behavior_is_completed() {
    let mut autoscaler = json!({"spec": {"behavior": {"scaleUp": {"selectPolicy": "Min"}}}});
    HorizontalPodAutoscaler.default(&mut autoscaler);
    let behavior = &autoscaler["spec"]["behavior"];
    assert_eq!(behavior["scaleUp"]["selectPolicy"], "Min");
    assert_eq!(behavior["scaleUp"]["policies"].as_array().unwrap().len(), 2);
    assert_eq!(behavior["scaleDown"]["policies"][0]["value"], 100);
}

#[test]
fn what_is_wrong_is_said() {
    let cases = [
        (json!({"maxReplicas": 1, "scaleTargetRef": target()}), ""),
        (json!({"scaleTargetRef": target()}), "spec.maxReplicas: Required value: must be set and greater than 0"),
        (
            json!({"minReplicas": 0, "maxReplicas": 1, "scaleTargetRef": target()}),
            "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
        ),
        (
            json!({"maxReplicas": 1, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}),
            "spec.scaleTargetRef.apiVersion: Invalid value: \"\": apiVersion must specify API group",
        ),
        (
            json!({"maxReplicas": 1, "scaleTargetRef": target(), "metrics": [{"type": "Pods"}]}),
            "spec.metrics[0].pods: Required value: must populate information for the given metric source",
        ),
    ];
    for (spec, expected) in cases {
        let mut autoscaler = json!({ "spec": spec });
        HorizontalPodAutoscaler.default(&mut autoscaler);
        let mut errors = Errors::new();
        HorizontalPodAutoscaler.check(&autoscaler, None, &mut errors);
        assert_eq!(errors.0.first().map_or_else(String::new, ToString::to_string), expected);
    }
}
