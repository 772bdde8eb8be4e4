//! The API server: HTTPS in, one write path to the store, watches out.

mod admission;
pub mod authn;
pub mod authz;
#[cfg(test)]
mod bad_input;
mod bootstrap;
mod cel;
mod columns;
mod component_status;
mod dangling;
mod decode;
mod discovery;
pub mod encryption;
mod endpoints;
mod go_regexp;
mod health;
mod identity;
mod impersonate;
mod json_schema;
pub mod kinds;
mod kubelet;
mod legacy_token_tracking;
mod metrics;
mod negotiate;
mod openapi;
mod params;
mod paths;
mod registry;
mod request;
mod reserve;
mod resources;
mod response;
mod route;
mod selection;
mod serve;
mod server;
mod start;
mod stored;
mod subresources;
mod table;
mod verbs;
mod websocket;

pub use response::{Body, BoxError};
pub use serve::{in_process, serve};
pub use server::{ApiServer, Options};
pub use stored::Layout;
