use super::*;
use crate::world::World;
use serde_json::Value;
use std::time::Duration;

fn job(spec: Value) -> Value {
    let mut whole = json!({
        "parallelism": 2, "completions": 2, "backoffLimit": 6, "completionMode": "NonIndexed",
        "selector": { "matchLabels": { "job": "j" } },
        "template": { "metadata": { "labels": { "job": "j" } },
            "spec": { "restartPolicy": "Never", "containers": [{ "name": "c" }] } },
    });
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    json!({ "metadata": { "namespace": "n", "name": "j" }, "spec": whole })
}

fn world(spec: Value) -> World {
    let mut world = World::new();
    world.put(JOBS, job(spec));
    settle(&mut world);
    world
}

fn item() -> Item {
    Item::new(JOBS, "n", "j")
}

/// Reconciles until there is nothing more to do.
fn settle(world: &mut World) {
    for _ in 0..10 {
        if world.reconcile(reconcile, &item()) == 0 {
            return;
        }
    }
    panic!("it never settles: {:?}", world.log);
}

fn pods(world: &World) -> Vec<String> {
    world.all(PODS).iter().map(|pod| pod["metadata"]["name"].as_str().unwrap().to_owned()).collect()
}

fn end(world: &mut World, pod: &str, phase: &str, code: i64) {
    let finished = format_time(world.now);
    let status = json!({ "status": { "phase": phase, "containerStatuses": [
        { "name": "c", "state": { "terminated": { "exitCode": code, "finishedAt": finished } } }] } });
    world.change(PODS, "n", pod, status);
    settle(world);
}

fn status(world: &World) -> &Value {
    &world.get(JOBS, "n", "j").unwrap()["status"]
}

fn conditions(world: &World) -> Vec<String> {
    let conditions = status(world)["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().map(|c| format!("{} {}", c["type"].as_str().unwrap(), c["reason"].as_str().unwrap())).collect()
}

#[test]
fn pods_run_until_enough_have_succeeded() {
    let mut world = world(json!({}));
    let names = pods(&world);
    assert_eq!((names.len(), &status(&world)["active"]), (2, &json!(2)));
    assert_eq!(world.all(PODS)[0]["metadata"]["finalizers"], json!([FINALIZER]));
    end(&mut world, &names[0], "Succeeded", 0);
    assert_eq!((pods(&world).len(), &status(&world)["succeeded"]), (2, &json!(1)));
    end(&mut world, &names[1], "Succeeded", 0);
    let now = status(&world);
    assert_eq!(
        (&now["succeeded"], &now["active"], &now["uncountedTerminatedPods"]),
        (&json!(2), &Value::Null, &json!({}))
    );
    assert!(now["completionTime"].is_string());
    assert_eq!(conditions(&world), ["SuccessCriteriaMet CompletionsReached", "Complete CompletionsReached"]);
    assert!(world.all(PODS).iter().all(|pod| pod["metadata"]["finalizers"] == json!([])), "finalizers are gone");
    assert_eq!(world.notes().last(), Some(&"Job completed"));
}

#[test]
fn a_failed_pod_is_replaced_after_a_wait_and_too_many_fail_the_job() {
    let mut world = world(json!({ "parallelism": 1, "completions": 1, "backoffLimit": 1 }));
    let first = pods(&world).remove(0);
    end(&mut world, &first, "Failed", 1);
    assert_eq!((pods(&world).len(), &status(&world)["failed"]), (1, &json!(1)));
    assert_eq!(world.requeued, Some(Duration::from_secs(10)));
    world.pass(11);
    settle(&mut world);
    let second = pods(&world).into_iter().find(|name| *name != first).unwrap();
    end(&mut world, &second, "Failed", 1);
    assert_eq!(conditions(&world), ["FailureTarget BackoffLimitExceeded", "Failed BackoffLimitExceeded"]);
    assert_eq!(status(&world)["failed"], 2);
}

#[test]
fn indexes_are_done_once_each() {
    let mut world = world(json!({ "completionMode": "Indexed", "completions": 3, "parallelism": 3 }));
    let indexed: Vec<Value> = world.all(PODS).into_iter().cloned().collect();
    let indexes: Vec<&Value> = indexed.iter().map(|pod| &pod["metadata"]["annotations"][policy::INDEX]).collect();
    assert_eq!(indexes, ["0", "1", "2"]);
    assert_eq!(indexed[1]["spec"]["hostname"], "j-1");
    assert_eq!(indexed[1]["spec"]["containers"][0]["env"][0]["name"], "JOB_COMPLETION_INDEX");
    for name in pods(&world) {
        end(&mut world, &name, "Succeeded", 0);
    }
    assert_eq!((&status(&world)["completedIndexes"], &status(&world)["succeeded"]), (&json!("0-2"), &json!(3)));
    assert_eq!(conditions(&world).last().unwrap(), "Complete CompletionsReached");
}

#[test]
fn each_index_has_a_limit_of_its_own() {
    let spec = json!({ "completionMode": "Indexed", "completions": 2, "parallelism": 2, "backoffLimitPerIndex": 1, "backoffLimit": 100 });
    let mut world = world(spec);
    let names = pods(&world);
    end(&mut world, &names[0], "Failed", 1);
    end(&mut world, &names[1], "Succeeded", 0);
    world.pass(11);
    settle(&mut world);
    let second = pods(&world).into_iter().find(|name| !names.contains(name)).expect("the index is tried again");
    assert_eq!(world.get(PODS, "n", &second).unwrap()["metadata"]["annotations"][policy::FAILURES], "1");
    end(&mut world, &second, "Failed", 1);
    assert_eq!(status(&world)["failedIndexes"], "0");
    assert_eq!(conditions(&world), ["FailureTarget FailedIndexes", "Failed FailedIndexes"]);
}

#[test]
fn a_suspended_job_has_no_pods_and_starts_anew() {
    let mut world = world(json!({ "suspend": true }));
    assert_eq!((pods(&world).len(), conditions(&world)), (0, vec!["Suspended JobSuspended".to_owned()]));
    assert!(status(&world)["startTime"].is_null());
    world.change(JOBS, "n", "j", json!({ "spec": { "suspend": false } }));
    settle(&mut world);
    assert_eq!((pods(&world).len(), conditions(&world)), (2, vec!["Suspended JobResumed".to_owned()]));
    world.change(JOBS, "n", "j", json!({ "spec": { "suspend": true } }));
    settle(&mut world);
    assert_eq!((pods(&world).len(), &status(&world)["failed"]), (0, &Value::Null));
}

#[test]
fn the_deadline_ends_it() {
    let mut world = world(json!({ "activeDeadlineSeconds": 60 }));
    assert_eq!(world.requeued, Some(Duration::from_secs(60)));
    world.pass(60);
    settle(&mut world);
    assert_eq!(conditions(&world), ["FailureTarget DeadlineExceeded", "Failed DeadlineExceeded"]);
    assert_eq!(pods(&world).len(), 0);
}

#[test]
fn policies_decide_about_failures_and_success() {
    let rules = json!([{ "action": "Ignore", "onExitCodes": { "operator": "In", "values": [3] } },
        { "action": "FailJob", "onExitCodes": { "operator": "In", "values": [4] } }]);
    let spec = json!({ "parallelism": 1, "completions": 1, "backoffLimit": 0, "podFailurePolicy": { "rules": rules } });
    let mut world = world(spec);
    let first = pods(&world).remove(0);
    end(&mut world, &first, "Failed", 3);
    assert_eq!((&status(&world)["failed"], conditions(&world).len()), (&Value::Null, 0), "ignored");
    world.pass(11);
    settle(&mut world);
    let second = pods(&world).into_iter().find(|name| *name != first).unwrap();
    end(&mut world, &second, "Failed", 4);
    assert_eq!(conditions(&world).last().unwrap(), "Failed PodFailurePolicy");
    let message = status(&world)["conditions"][1]["message"].as_str().unwrap();
    assert!(message.ends_with("failed with exit code 4 matching FailJob rule at index 1"), "{message}");
}

#[test]
fn a_success_policy_ends_it_early() {
    let policy = json!({ "rules": [{ "succeededIndexes": "1" }] });
    let mut world =
        world(json!({ "completionMode": "Indexed", "completions": 3, "parallelism": 3, "successPolicy": policy }));
    let second = pods(&world).remove(1);
    end(&mut world, &second, "Succeeded", 0);
    assert_eq!(conditions(&world), ["SuccessCriteriaMet SuccessPolicy", "Complete SuccessPolicy"]);
    assert_eq!((&status(&world)["succeeded"], &status(&world)["failed"]), (&json!(1), &Value::Null));
}

#[test]
fn pods_of_a_job_that_is_gone_are_let_go() {
    let mut world = world(json!({}));
    world.delete(JOBS, "n", "j", None);
    let name = pods(&world).remove(0);
    world.reconcile(reconcile, &Item::new(PODS, "n", &name));
    assert_eq!(world.get(PODS, "n", &name).unwrap()["metadata"]["finalizers"], json!([]));
}
