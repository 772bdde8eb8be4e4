//! Which node ports are taken: in the store, in upstream's place and form, so that all servers on it agree.
//!
//! Upstream's `RangeAllocation` holds the range and a bit for each of its ports, as the bytes of a big-endian number whose
//! lowest bit is the first port (`pkg/registry/core/service/allocator/bitmap.go`).

use crate::server::ApiServer;
use api::Value;
use api::document;
use api::status::ApiError;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::collections::BTreeSet;
use storage::{Commit, Error, Expect, Put, Store};

const KEY: &str = "/registry/ranges/servicenodeports";
/// How often a change is tried that other servers' changes come before.
const TRIES: usize = 100;

/// The ports of `range` that are taken.
pub fn taken(store: &dyn Store, range: (u16, u16)) -> Result<BTreeSet<u16>, Error> {
    Ok(read(store.get(KEY)?.as_ref().map(|entry| &*entry.value), range))
}

/// Takes ports, all or none. 429 when one of them has been taken since the write was planned.
pub async fn take(server: &ApiServer, ports: &[u16]) -> Result<(), ApiError> {
    change(server, |taken| {
        let lost = ports.iter().find(|port| !taken.insert(**port));
        lost.map_or(Ok(()), |port| {
            Err(ApiError::too_many_requests(format!("node port {port} has just been taken through another server"), 1))
        })
    })
    .await
}

/// Gives ports back; when that fails, they stay taken until the next start finds them.
pub async fn free(server: &ApiServer, ports: &[u16]) {
    let freed = change(server, |taken| {
        taken.retain(|port| !ports.contains(port));
        Ok(())
    });
    if let Err(failure) = freed.await {
        tracing::warn!(%failure, ?ports, "node ports could not be given back");
    }
}

/// Makes the stored range that of the Services: takes what `held` names, and frees what `leaked` does.
pub async fn repair(server: &ApiServer, held: &BTreeSet<u16>, leaked: &BTreeSet<u16>) -> Result<(), ApiError> {
    change(server, |taken| {
        taken.extend(held);
        taken.retain(|port| held.contains(port) || !leaked.contains(port));
        Ok(())
    })
    .await
}

/// Reads, changes and writes the taken ports, again if another write came in between; writes nothing if nothing changes.
async fn change(
    server: &ApiServer,
    mut change: impl FnMut(&mut BTreeSet<u16>) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    let range = server.options.service_node_port_range;
    for _ in 0..TRIES {
        let entry = server.store.get(KEY).map_err(|error| server.store_error(error))?;
        let before = read(entry.as_ref().map(|entry| &*entry.value), range);
        let mut after = before.clone();
        change(&mut after)?;
        if after == before {
            return Ok(());
        }
        let expect = entry.map_or(Expect::Absent, |entry| Expect::Revision(entry.revision));
        let encoded = document::encode(&allocation(&after, range));
        let put = Put { value: encoded.bytes.into(), revision_at: Some(encoded.revision_at), ttl: None };
        match server.store.commit(Commit { key: KEY.into(), expect, put: Some(put) }).await {
            Err(Error::Conflict { .. }) => continue,
            other => return other.map(|_| ()).map_err(|error| server.store_error(error)),
        }
    }
    Err(ApiError::too_many_requests("other servers are changing the node ports that are taken", 1))
}

fn allocation(taken: &BTreeSet<u16>, (low, high): (u16, u16)) -> Value {
    let mut bits = vec![0_u8; usize::from(high - low) / 8 + 1];
    let length = bits.len();
    for offset in taken.iter().map(|port| usize::from(port - low)) {
        bits[length - 1 - offset / 8] |= 1 << (offset % 8);
    }
    let significant = bits.iter().position(|byte| *byte != 0).unwrap_or(length);
    json!({
        "kind": "RangeAllocation", "apiVersion": "v1", "metadata": {},
        "range": format!("{low}-{high}"), "data": STANDARD.encode(&bits[significant..]),
    })
}

/// The taken ports that lie within `range`; the stored range may be another one.
fn read(kept: Option<&[u8]>, (low, high): (u16, u16)) -> BTreeSet<u16> {
    let object: Value = kept.and_then(|kept| serde_json::from_slice(kept).ok()).unwrap_or_default();
    let first = document::get_str(&object, "range").split('-').next().and_then(|first| first.parse::<u16>().ok());
    let bits = STANDARD.decode(document::get_str(&object, "data")).unwrap_or_default();
    let Some(first) = first else { return BTreeSet::new() };
    let bytes = bits.iter().rev().enumerate();
    let set = bytes.flat_map(|(at, byte)| (0..8).filter(move |bit| byte >> bit & 1 == 1).map(move |bit| at * 8 + bit));
    let ports = set.filter_map(|offset| first.checked_add(u16::try_from(offset).ok()?));
    ports.filter(|port| (low..=high).contains(port)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(object: &Value, range: (u16, u16)) -> BTreeSet<u16> {
        read(Some(object.to_string().as_bytes()), range)
    }

    #[test]
    fn upstreams_bits_are_read_and_written() {
        const RANGE: (u16, u16) = (30000, 32767);
        // What an upstream server keeps when port 30080 is taken.
        let upstream = json!({"kind": "RangeAllocation", "range": "30000-32767", "data": "AQAAAAAAAAAAAAA="});
        let ports = BTreeSet::from([30080]);
        assert_eq!(of(&upstream, RANGE), ports);
        assert_eq!(allocation(&ports, RANGE)["data"], upstream["data"]);
        for ports in [BTreeSet::new(), BTreeSet::from([30000]), BTreeSet::from([30000, 30007, 30008, 32767])] {
            assert_eq!(of(&allocation(&ports, RANGE), RANGE), ports);
        }
        let moved = allocation(&BTreeSet::from([30000, 31000]), RANGE);
        assert_eq!(of(&moved, (30500, 31500)), BTreeSet::from([31000]), "of a range that was moved");
        assert!(read(None, RANGE).is_empty());
    }
}
