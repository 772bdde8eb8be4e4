//! What a write takes from the cluster besides its own key: a Service's addresses and ports. A reservation is kept with
//! the commit, and rolled back with everything else.

use crate::kinds::service::allocate::{self, Allocator};
use crate::registry::Call;
use crate::resources::{self, Resource};
use crate::server::Options;
use api::Value;
use api::status::ApiError;
use parking_lot::Mutex;
use storage::{Range, Store};

/// Given back when it is dropped, unless it was kept.
#[must_use = "dropping a reservation rolls it back"]
pub struct Reservation<'a>(Option<(&'a Mutex<Allocator>, allocate::Reservation)>);

impl Reservation<'_> {
    /// The write is durable: what it took stays taken.
    pub fn keep(mut self) {
        if let Some((allocator, reservation)) = self.0.take() {
            allocator.lock().commit(reservation);
        }
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if let Some((allocator, reservation)) = self.0.take() {
            allocator.lock().roll_back(reservation);
        }
    }
}

/// Whether writes of this resource take anything.
pub fn concerns(resource: &Resource) -> bool {
    resource.kind.kind == "Service" && resource.kind.group.is_empty()
}

/// Takes what the object needs and writes it into the object.
pub fn for_write<'a>(call: &Call<'a>, old: Option<&Value>, object: &mut Value) -> Result<Reservation<'a>, ApiError> {
    if !concerns(call.resource) || !call.subresource.is_empty() {
        return Ok(Reservation(None));
    }
    let allocator = &call.server.services;
    let reservation = allocate::plan(old, object, &mut allocator.lock())?;
    Ok(Reservation(Some((allocator, reservation))))
}

/// Gives back what an object held that is gone.
pub fn release(call: &Call<'_>, object: &Value) {
    if concerns(call.resource) {
        call.server.services.lock().release(object);
    }
}

/// The allocator as the stored Services leave it.
pub fn load(store: &dyn Store, options: &Options) -> anyhow::Result<Mutex<Allocator>> {
    let mut seed = [0u8; 8];
    getrandom::fill(&mut seed)?;
    let (low, high) = options.service_node_port_range;
    let mut allocator = Allocator::new(&[options.service_cluster_ip_range], low..=high, u64::from_ne_bytes(seed));
    let services = resources::builtin("", "services");
    let stored = store.range(Range { prefix: &services.prefix, ..Range::default() })?;
    for entry in &stored.entries {
        allocator.restore(&services.read(&entry.value)?);
    }
    Ok(Mutex::new(allocator))
}
