//! ComponentStatus: whether the other components are well. It is found out when somebody asks, and never stored.

use crate::request::{Incoming, wanted};
use crate::resources::Resource;
use crate::response::{self, Body};
use crate::server::ApiServer;
use crate::verbs;
use api::Value;
use api::status::ApiError;
use http::Response;
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;

/// The components, with the ports at which upstream's answer for their health on this host.
const COMPONENTS: [(&str, u16); 2] = [("scheduler", 10259), ("controller-manager", 10257)];
/// Upstream's name for the store, whichever it is.
const STORE: &str = "etcd-0";
/// How long a component may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers a GET of one, or of all.
pub async fn serve(
    server: &ApiServer,
    resource: &'static Resource,
    incoming: &Incoming,
) -> Result<Response<Body>, ApiError> {
    let output = wanted(incoming)?;
    let name = incoming.route.name.as_str();
    let mut found = Vec::new();
    for (component, port) in COMPONENTS.into_iter().filter(|(component, _)| name.is_empty() || name == *component) {
        found.push(status(component, health(server, component, port).await));
    }
    if name.is_empty() || name == STORE {
        found.push(status(STORE, server.store.health()));
    }
    if name.is_empty() {
        return Ok(response::objects(resource, found, json!({}), output));
    }
    let call = verbs::reading(server, resource, incoming);
    match found.pop() {
        Some(found) => Ok(response::built(200, call.resource, found, output)),
        None => Err(ApiError::not_found_in("", "componentstatus", name)),
    }
}

fn status(name: &str, health: Result<(), String>) -> Value {
    let (status, message) = match health {
        Ok(()) => ("True", "ok".to_owned()),
        Err(why) => ("False", why),
    };
    json!({
        "kind": "ComponentStatus", "apiVersion": "v1", "metadata": { "name": name },
        "conditions": [{ "type": "Healthy", "status": status, "message": message }],
    })
}

/// A component of this process is well as long as the process is. Of another one it is only asked whether somebody answers at
/// its port.
async fn health(server: &ApiServer, component: &str, port: u16) -> Result<(), String> {
    if server.components.lock().contains(component) {
        return Ok(());
    }
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let why = match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            "connect: connection refused".to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "i/o timeout".to_owned(),
    };
    Err(format!("Get \"https://{address}/healthz\": dial tcp {address}: {why}"))
}
