//! The events of a pod on a hollow node: the difference of two moments.

use component::events::{Event, EventType, Reference};
use component::resource::PODS;

use crate::pod::{Container, Pod};
use crate::status::{Progress, described};

/// What happened to the pod between two moments, as a kubelet tells it.
pub fn events(pod: &Pod, before: Progress, after: Progress) -> Vec<Event> {
    let mut events = Vec::new();
    for container in pod.spec.init_containers.iter().take(after.init_started).skip(before.init_started) {
        started(pod, container, "initContainers", &mut events);
    }
    for container in &pod.spec.containers {
        // Of restarts that were missed, as after a pause, one is told.
        if after.runs > before.runs {
            started(pod, container, "containers", &mut events);
        }
        if after.backing_off > before.backing_off {
            let message = format!("Back-off restarting failed container {} in pod {}", container.name, described(pod));
            events.push(event(pod, container, "containers", EventType::Warning, "BackOff", message));
        }
        if after.stopped && !before.stopped && after.runs > 0 {
            let message = format!("Stopping container {}", container.name);
            events.push(event(pod, container, "containers", EventType::Normal, "Killing", message));
        }
    }
    events
}

fn started(pod: &Pod, container: &Container, list: &str, events: &mut Vec<Event>) {
    let pulled = format!("Container image \"{}\" already present on machine", container.image);
    for (reason, message) in
        [("Pulled", pulled), ("Created", "Container created".to_owned()), ("Started", "Container started".to_owned())]
    {
        events.push(event(pod, container, list, EventType::Normal, reason, message));
    }
}

fn event(pod: &Pod, container: &Container, list: &str, kind: EventType, reason: &str, note: String) -> Event {
    let field_path = format!("spec.{list}{{{}}}", container.name);
    Event {
        reporter: "kubelet",
        regarding: Reference { field_path, ..Reference::to(PODS, &pod.metadata) },
        related: None,
        kind,
        reason: reason.to_owned(),
        action: String::new(),
        note,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starting_restarting_and_stopping_are_told_once() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "d", "uid": "u"},
            "spec": {"containers": [{"name": "c", "image": "nginx"}], "initContainers": [{"name": "i", "image": "x"}]},
        }))
        .unwrap();
        let told = |before, after| {
            let events = events(&pod, before, after);
            events.into_iter().map(|event| (event.reason, event.regarding.field_path)).collect::<Vec<_>>()
        };
        let none = Progress::default();
        let running = Progress { init_started: 1, runs: 1, ..none };
        let reasons: Vec<_> = told(none, running).into_iter().map(|(reason, _)| reason).collect();
        assert_eq!(reasons, ["Pulled", "Created", "Started", "Pulled", "Created", "Started"]);
        assert_eq!(told(none, Progress { init_started: 1, ..none })[0].1, "spec.initContainers{i}");
        assert!(told(running, running).is_empty());
        let stopped = Progress { stopped: true, ..running };
        assert_eq!(told(running, stopped), [("Killing".to_owned(), "spec.containers{c}".to_owned())]);
        let backing_off = events(&pod, running, Progress { backing_off: 1, ..running });
        assert_eq!(backing_off[0].note, "Back-off restarting failed container c in pod p_d(u)");
    }
}
