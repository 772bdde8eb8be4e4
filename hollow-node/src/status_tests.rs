use super::*;
use crate::timeline::backoff;

fn pod(spec: Value, annotations: Value) -> Pod {
    let mut document = json!({
        "metadata": {"name": "p", "namespace": "d", "uid": "u", "generation": 1, "annotations": annotations},
        "spec": {"nodeName": "hollow-0", "restartPolicy": "Always", "containers": [{"name": "c", "image": "nginx:1.27"}]},
        "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]},
    });
    document["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(document).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn place() -> Placement {
    Placement {
        host_ip: "127.0.0.1".into(),
        pod_ip: Some("10.244.0.2".into()),
        admitted: at(0),
        prepared: at(0),
        start_delay: Duration::from_secs(1),
    }
}

fn condition<'a>(moment: &'a Moment, r#type: &str) -> &'a Value {
    moment.status["conditions"].as_array().unwrap().iter().find(|c| c["type"] == r#type).unwrap()
}

fn container(moment: &Moment) -> &Value {
    &moment.status["containerStatuses"][0]
}

#[test]
fn a_pod_is_pending_and_then_runs() {
    let pod = pod(json!({}), json!({}));
    let pending = status_at(&pod, &place(), at(0));
    assert_eq!(pending.status["phase"], "Pending");
    assert_eq!(container(&pending)["state"]["waiting"]["reason"], "ContainerCreating");
    assert_eq!(condition(&pending, "Ready")["message"], "containers with unready status: [c]");
    assert_eq!(condition(&pending, "Initialized")["status"], "True");
    assert_eq!(pending.next_change, Some(at(1)));

    let running = status_at(&pod, &place(), at(1));
    assert_eq!(running.status["phase"], "Running");
    assert_eq!(running.status["podIP"], "10.244.0.2");
    assert_eq!(container(&running)["ready"], true);
    assert!(container(&running)["containerID"].as_str().unwrap().starts_with("hollow://"));
    assert!(container(&running)["imageID"].as_str().unwrap().starts_with("nginx@sha256:"));
    assert_eq!(condition(&running, "Ready")["status"], "True");
    assert_eq!(running.next_change, None, "a running pod needs no timer");
}

#[test]
fn without_an_address_nothing_starts() {
    let waiting = status_at(&pod(json!({}), json!({})), &Placement { pod_ip: None, ..place() }, at(100));
    assert_eq!(waiting.status["phase"], "Pending");
    assert_eq!(condition(&waiting, "PodReadyToStartContainers")["status"], "False");
}

#[test]
fn init_containers_run_in_order_and_sidecars_stay() {
    let init = json!({"initContainers": [
        {"name": "a", "image": "i"}, {"name": "s", "image": "i", "restartPolicy": "Always"}, {"name": "b", "image": "i"}]});
    let pod = pod(init, json!({}));
    let first = status_at(&pod, &place(), at(1));
    assert!(first.status["initContainerStatuses"][0]["state"].get("running").is_some());
    assert_eq!(container(&first)["state"]["waiting"]["reason"], "PodInitializing");
    assert_eq!(condition(&first, "Initialized")["message"], "containers with incomplete status: [a s b]");
    let done = status_at(&pod, &place(), at(4));
    assert_eq!(done.status["phase"], "Running");
    assert_eq!(done.status["initContainerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
    assert!(done.status["initContainerStatuses"][1]["state"].get("running").is_some());
    assert_eq!(done.progress, Progress { init_started: 3, runs: 1, ..Progress::default() });
}

#[test]
fn a_job_s_pod_completes_or_fails() {
    for (code, phase, reason) in [("0", "Succeeded", "Completed"), ("3", "Failed", "Error")] {
        let annotations = json!({"hollow.coracle.dev/exit-after": "2s", "hollow.coracle.dev/exit-code": code});
        let pod = pod(json!({"restartPolicy": "Never"}), annotations);
        assert_eq!(status_at(&pod, &place(), at(2)).next_change, Some(at(3)));
        let ended = status_at(&pod, &place(), at(3));
        assert_eq!(ended.status["phase"], phase);
        assert_eq!(container(&ended)["state"]["terminated"]["reason"], reason);
        assert_eq!(condition(&ended, "Ready")["status"], "False");
    }
}

#[test]
fn a_container_that_exits_restarts_with_backoff() {
    let annotations = json!({"hollow.coracle.dev/exit-after": "1s", "hollow.coracle.dev/exit-code": "1"});
    let pod = pod(json!({}), annotations);
    // Starts at 1, exits at 2 and starts again at once, exits at 3 and waits for 10 s.
    let again = status_at(&pod, &place(), at(2));
    assert_eq!((container(&again)["restartCount"].as_i64(), again.progress.runs), (Some(1), 2));
    assert_eq!(container(&again)["lastState"]["terminated"]["exitCode"], 1);
    let waiting = status_at(&pod, &place(), at(3));
    assert_eq!(container(&waiting)["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert_eq!(
        container(&waiting)["state"]["waiting"]["message"],
        "back-off 10s restarting failed container=c pod=p_d(u)"
    );
    assert_eq!((waiting.status["phase"].as_str(), waiting.next_change), (Some("Running"), Some(at(13))));
    assert_eq!(backoff(20).as_secs(), 300);
}

#[test]
fn a_deleted_pod_stops_and_may_go() {
    let mut pod = pod(json!({}), json!({"hollow.coracle.dev/termination-seconds": "5"}));
    pod.metadata.deletion_timestamp = Some(at(40));
    pod.metadata.deletion_grace_period_seconds = Some(30);
    let running = status_at(&pod, &place(), at(10));
    assert!(!running.stopped && running.status["phase"] == "Running");
    assert_eq!(running.next_change, Some(at(15)));
    let stopped = status_at(&pod, &place(), at(15));
    assert!(stopped.stopped);
    assert_eq!(stopped.status["phase"], "Succeeded");
    assert_eq!(container(&stopped)["state"]["terminated"]["finishedAt"], format_time(at(15)));
    assert_eq!(stopped, status_at(&pod, &place(), at(15)), "looking again changes nothing");
}

#[test]
fn readiness_gates_hold_ready_back() {
    let mut pod = pod(json!({"readinessGates": [{"conditionType": "example.com/gate"}]}), json!({}));
    let held = status_at(&pod, &place(), at(5));
    assert_eq!(condition(&held, "ContainersReady")["status"], "True");
    assert_eq!(condition(&held, "Ready")["reason"], "ReadinessGatesNotReady");
    pod.status.conditions.push(serde_json::from_value(json!({"type": "example.com/gate", "status": "True"})).unwrap());
    assert_eq!(condition(&status_at(&pod, &place(), at(5)), "Ready")["status"], "True");
}

#[test]
fn conditions_keep_the_time_of_their_transition() {
    let mut pod = pod(json!({}), json!({}));
    let ready = json!({"type": "Ready", "status": "True", "lastTransitionTime": format_time(at(1))});
    pod.status.conditions.push(serde_json::from_value(ready).unwrap());
    assert_eq!(condition(&status_at(&pod, &place(), at(500)), "Ready")["lastTransitionTime"], format_time(at(1)));
}

#[test]
fn a_container_is_started_and_ready_when_its_probes_delays_are_over() {
    let probes = json!({"containers": [
        {"name": "c", "image": "i", "startupProbe": {"initialDelaySeconds": 3}, "readinessProbe": {"initialDelaySeconds": 15}},
        {"name": "d", "image": "i", "readinessProbe": null}]});
    let pod = pod(probes, json!({}));
    let seen = |seconds| {
        let moment = status_at(&pod, &place(), at(seconds));
        let container = container(&moment);
        (container["started"] == true, container["ready"] == true, condition(&moment, "Ready")["status"] == "True")
    };
    assert_eq!(status_at(&pod, &place(), at(1)).status["containerStatuses"][1]["ready"], true);
    assert_eq!(condition(&status_at(&pod, &place(), at(1)), "Ready")["message"], "containers with unready status: [c]");
    assert_eq!(status_at(&pod, &place(), at(1)).next_change, Some(at(4)));
    assert_eq!((seen(3), seen(4)), ((false, false, false), (true, false, false)));
    assert_eq!(status_at(&pod, &place(), at(4)).next_change, Some(at(16)));
    assert_eq!((seen(15), seen(16)), ((true, false, false), (true, true, true)));
    assert_eq!(status_at(&pod, &place(), at(16)).next_change, None);
}

#[test]
fn a_pod_fails_at_its_deadline() {
    let mut pod = pod(json!({"activeDeadlineSeconds": 5}), json!({}));
    assert_eq!(status_at(&pod, &place(), at(1)).next_change, Some(at(5)));
    let failed = status_at(&pod, &place(), at(5));
    assert_eq!((&failed.status["phase"], &failed.status["reason"]), (&json!("Failed"), &json!("DeadlineExceeded")));
    assert!(container(&failed)["state"].get("terminated").is_some());
    assert_eq!((failed.next_change, failed.stopped), (None, false), "it stays, for its owner to see");
    // One that completed in time has.
    pod.spec.restart_policy = "Never".into();
    pod.metadata.annotations = serde_json::from_value(json!({"hollow.coracle.dev/exit-after": "2s"})).unwrap();
    let done = status_at(&pod, &place(), at(7));
    assert_eq!((&done.status["phase"], &done.status["reason"]), (&json!("Succeeded"), &Value::Null));
}

#[test]
fn what_a_container_asks_for_it_has() {
    let asks = json!({"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}});
    let pod = pod(
        json!({"containers": [{"name": "c", "image": "i", "resources": asks}, {"name": "d", "image": "i"}]}),
        json!({}),
    );
    let running = status_at(&pod, &place(), at(1));
    assert_eq!(container(&running)["resources"], asks);
    assert_eq!(container(&running)["allocatedResources"], asks["requests"]);
    assert_eq!(running.status["containerStatuses"][1]["resources"], json!({}));
}

#[test]
fn an_ephemeral_container_runs_from_when_it_is_seen() {
    let mut pod = pod(json!({"ephemeralContainers": [{"name": "e", "image": "i"}]}), json!({}));
    let first = status_at(&pod, &place(), at(9));
    let ephemeral = &first.status["ephemeralContainerStatuses"][0];
    assert_eq!(ephemeral["state"]["running"]["startedAt"], format_time(at(9)));
    assert_eq!(condition(&first, "Ready")["status"], "True", "nobody waits for it");
    pod.status.ephemeral_container_statuses = serde_json::from_value(json!([ephemeral])).unwrap();
    assert_eq!(status_at(&pod, &place(), at(20)).status["ephemeralContainerStatuses"][0], *ephemeral);
}
