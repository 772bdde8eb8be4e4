//! Cluster IPs and node ports: which are taken, and what a create or an update of a Service takes and frees.
//!
//! State is in memory, rebuilt from the Services at start. Ranges have two bands (KEP-3070, KEP-3668): the upper one is
//! for dynamic allocation, the lower for values that clients name; dynamic allocation falls back to it.

use super::families::{families, keep_allocated_values, normalize_cluster_ips};
use super::{is_headless, kind, needs_cluster_ip, needs_health_check, needs_node_port, node_ports, spec};
use crate::kinds::path::{child, int, list, opt_flag, texts};
use api::field::Errors;
use api::status::ApiError;
use api::{Value, document};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

/// Numbers `0..size`, of which those from `lower` on are given out first.
#[derive(Debug)]
struct Pool {
    size: u64,
    lower: u64,
    used: BTreeSet<u64>,
}

impl Pool {
    /// The lower band is one `step`th of `total`, within `16..=max`, and nothing in a small pool.
    fn new(size: u64, total: u64, step: u64, max: u64) -> Pool {
        let lower = if total <= 16 { 0 } else { (total / step).clamp(16, max) };
        Pool { size, lower, used: BTreeSet::new() }
    }

    fn next(&mut self, random: u64) -> Option<u64> {
        let found = self.free_in(self.lower, self.size, random).or_else(|| self.free_in(0, self.lower, random))?;
        self.used.insert(found);
        Some(found)
    }

    /// The first free number in `start..end` from a random one on, going around.
    fn free_in(&self, start: u64, end: u64, random: u64) -> Option<u64> {
        let span = end.checked_sub(start).filter(|span| *span > 0)?;
        let first = start + random % span;
        (first..end).chain(start..first).find(|number| !self.used.contains(number))
    }
}

/// The addresses of one service CIDR.
#[derive(Debug)]
struct Addresses {
    net: IpNet,
    pool: Pool,
}

impl Addresses {
    fn new(net: IpNet) -> Addresses {
        let host_bits = u32::from(net.max_prefix_len() - net.prefix_len()).min(62);
        let total = 1u64 << host_bits;
        // The network's own address is never given out, nor is the broadcast address of IPv4.
        let reserved = if net.addr().is_ipv4() { 2 } else { 1 };
        Addresses { net, pool: Pool::new(total.saturating_sub(reserved), total, 16, 256) }
    }

    fn family(&self) -> &'static str {
        family_of(self.net.addr())
    }

    fn offset(&self, ip: IpAddr) -> Option<u64> {
        let offset = number_of(ip).checked_sub(number_of(self.net.network()))?.checked_sub(1)?;
        u64::try_from(offset).ok().filter(|offset| *offset < self.pool.size)
    }

    fn address(&self, offset: u64) -> IpAddr {
        let number = number_of(self.net.network()) + 1 + u128::from(offset);
        match self.net {
            IpNet::V4(_) => Ipv4Addr::from(number as u32).into(),
            IpNet::V6(_) => Ipv6Addr::from(number).into(),
        }
    }
}

pub fn family_of(ip: IpAddr) -> &'static str {
    if ip.is_ipv4() { "IPv4" } else { "IPv6" }
}

fn number_of(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => u32::from(ip).into(),
        IpAddr::V6(ip) => ip.into(),
    }
}

/// What is given out of the cluster's service addresses and node ports.
#[derive(Debug)]
pub struct Allocator {
    /// One range a family; the first is the cluster's default.
    ranges: Vec<Addresses>,
    first_port: u16,
    last_port: u16,
    ports: Pool,
    random: u64,
}

/// What a planned write took and will free. [`Allocator::commit`] it after the write, or [`Allocator::roll_back`] when
/// the write fails or is a dry run.
#[derive(Debug, Default, PartialEq)]
#[must_use = "commit or roll back"]
pub struct Reservation {
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
    freed_addresses: Vec<IpAddr>,
    freed_ports: Vec<u16>,
}

impl Allocator {
    /// `cidrs` are one or two service CIDRs of different families, the default first; upstream's ports are
    /// `30000..=32767`. `seed` decides which free values are given out first.
    pub fn new(cidrs: &[IpNet], ports: RangeInclusive<u16>, seed: u64) -> Allocator {
        let total = u64::from(ports.end().saturating_sub(*ports.start())) + 1;
        Allocator {
            ranges: cidrs.iter().map(|net| Addresses::new(*net)).collect(),
            first_port: *ports.start(),
            last_port: *ports.end(),
            ports: Pool::new(total, total, 32, 128),
            random: seed | 1,
        }
    }

    /// Marks what an existing Service holds; values outside of the ranges are left alone.
    pub fn restore(&mut self, service: &Value) {
        let (addresses, ports) = held(service);
        for ip in addresses {
            let _ = self.reserve(ip);
        }
        for port in ports {
            let _ = self.reserve_port(port);
        }
    }

    /// Frees what a deleted Service held.
    pub fn release(&mut self, service: &Value) {
        let (addresses, ports) = held(service);
        self.free(&addresses, &ports);
    }

    pub fn commit(&mut self, reservation: Reservation) {
        self.free(&reservation.freed_addresses, &reservation.freed_ports);
    }

    pub fn roll_back(&mut self, reservation: Reservation) {
        self.free(&reservation.addresses, &reservation.ports);
    }

    fn free(&mut self, addresses: &[IpAddr], ports: &[u16]) {
        for ip in addresses {
            for range in &mut self.ranges {
                if range.net.contains(ip)
                    && let Some(offset) = range.offset(*ip)
                {
                    range.pool.used.remove(&offset);
                }
            }
        }
        for port in ports {
            if let Some(offset) = port.checked_sub(self.first_port) {
                self.ports.used.remove(&offset.into());
            }
        }
    }

    /// Takes a certain address; the error is upstream's sentence.
    pub fn reserve(&mut self, ip: IpAddr) -> Result<(), String> {
        let Some(range) = self.ranges.iter_mut().find(|range| range.net.contains(&ip)) else {
            return Err("the provided network does not match the current range".to_owned());
        };
        let Some(offset) = range.offset(ip) else {
            let net = range.net;
            return Err(format!("the provided IP ({ip}) is not in the valid range. The range of valid IPs is {net}"));
        };
        if range.pool.used.insert(offset) { Ok(()) } else { Err("provided IP is already allocated".to_owned()) }
    }

    /// Takes any free address of a family.
    pub fn allocate(&mut self, family: &str) -> Option<IpAddr> {
        let random = self.next_random();
        let range = self.ranges.iter_mut().find(|range| range.family() == family)?;
        let offset = range.pool.next(random)?;
        Some(range.address(offset))
    }

    /// Takes a certain node port; the error is upstream's sentence.
    pub fn reserve_port(&mut self, port: u16) -> Result<(), String> {
        if !(self.first_port..=self.last_port).contains(&port) {
            let (first, last) = (self.first_port, self.last_port);
            return Err(format!("provided port is not in the valid range. The range of valid ports is {first}-{last}"));
        }
        let free = self.ports.used.insert((port - self.first_port).into());
        if free { Ok(()) } else { Err("provided port is already allocated".to_owned()) }
    }

    /// Takes any free node port.
    pub fn allocate_port(&mut self) -> Option<u16> {
        let random = self.next_random();
        let offset = self.ports.next(random)?;
        Some(self.first_port + u16::try_from(offset).ok()?)
    }

    pub fn has_family(&self, family: &str) -> bool {
        self.ranges.iter().any(|range| range.family() == family)
    }

    pub fn is_dual_stack(&self) -> bool {
        self.ranges.len() > 1
    }

    pub fn default_family(&self) -> &'static str {
        self.ranges.first().map_or("IPv4", Addresses::family)
    }

    /// Xorshift; spreading values is all it is for.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// The addresses and node ports that a stored Service holds.
fn held(service: &Value) -> (Vec<IpAddr>, Vec<u16>) {
    let has_addresses = needs_cluster_ip(service) && !is_headless(service);
    let addresses = texts(spec(service), "clusterIPs").filter(|_| has_addresses).filter_map(|ip| ip.parse().ok());
    let mut ports: Vec<u16> = node_ports(service).into_iter().filter_map(|port| port.try_into().ok()).collect();
    if needs_health_check(service) {
        ports.extend(health_check_port(service));
    }
    (addresses.collect(), ports)
}

pub fn health_check_port(service: &Value) -> Option<u16> {
    int(spec(service), "healthCheckNodePort")?.try_into().ok().filter(|port| *port != 0)
}

/// Completes a Service that is about to be created (no `old`) or updated: families, cluster IPs and node ports. Runs
/// before the rules' `prepare_for_*` and validation, as upstream's does. On an error nothing stays taken.
pub fn plan(old: Option<&Value>, service: &mut Value, allocator: &mut Allocator) -> Result<Reservation, ApiError> {
    if let Some(old) = old {
        keep_allocated_values(service, old);
    }
    normalize_cluster_ips(service, old);
    let mut plan = Plan { old, allocator, taken: Reservation::default() };
    match plan.run(service) {
        Ok(()) => Ok(plan.taken),
        Err(error) => {
            let taken = std::mem::take(&mut plan.taken);
            plan.allocator.roll_back(taken);
            Err(error)
        }
    }
}

struct Plan<'a> {
    old: Option<&'a Value>,
    allocator: &'a mut Allocator,
    taken: Reservation,
}

impl Plan<'_> {
    fn run(&mut self, service: &mut Value) -> Result<(), ApiError> {
        let mut errors = Errors::new();
        families(service, self.old, self.allocator, &mut errors);
        reject(service, &errors)?;
        self.addresses(service)?;
        self.ports(service)?;
        self.health_check(service)
    }

    fn addresses(&mut self, service: &mut Value) -> Result<(), ApiError> {
        let families: Vec<String> = texts(spec(service), "ipFamilies").map(str::to_owned).collect();
        let Some(old) = self.old.filter(|old| needs_cluster_ip(old)) else {
            if needs_cluster_ip(service) && !is_headless(service) {
                return self.take_addresses(service, &families, 0);
            }
            return Ok(());
        };
        if is_headless(old) {
            return Ok(());
        }
        let before = list(spec(old), "ipFamilies").len();
        let mut old_addresses = texts(spec(old), "clusterIPs").filter_map(|ip| ip.parse::<IpAddr>().ok());
        if !needs_cluster_ip(service) {
            self.taken.freed_addresses.extend(old_addresses);
        } else if before == 1 && families.len() == 2 {
            return self.take_addresses(service, &families, 1);
        } else if before == 2 && families.len() == 1 {
            self.taken.freed_addresses.extend(old_addresses.nth(1));
        }
        Ok(())
    }

    /// Takes an address for each family from `first` on: the one named in `clusterIPs`, or any.
    fn take_addresses(&mut self, service: &mut Value, families: &[String], first: usize) -> Result<(), ApiError> {
        let mut ips: Vec<String> = texts(spec(service), "clusterIPs").map(str::to_owned).collect();
        ips.resize(ips.len().max(families.len()), String::new());
        for (ip, family) in ips.iter_mut().zip(families).skip(first) {
            if ip.is_empty() {
                let Some(found) = self.allocator.allocate(family) else {
                    let name = api::field::quote(document::name(service));
                    return Err(ApiError::internal(format!(
                        "failed to allocate a serviceIP for Service {name}: range is full"
                    )));
                };
                self.taken.addresses.push(found);
                *ip = found.to_string();
            } else if let Ok(wanted) = ip.parse() {
                if let Err(why) = self.allocator.reserve(wanted) {
                    let mut errors = Errors::new();
                    let all = child(spec(service), "clusterIPs").cloned().unwrap_or_default();
                    errors.invalid("spec.clusterIPs", all, format!("failed to allocate IP {ip}: {why}"));
                    return reject(service, &errors);
                }
                self.taken.addresses.push(wanted);
            }
        }
        if let Some(first) = ips.first() {
            document::set(service, "spec.clusterIP", first.as_str());
        }
        document::set(service, "spec.clusterIPs", ips);
        Ok(())
    }

    fn ports(&mut self, service: &mut Value) -> Result<(), ApiError> {
        let before = self.old.filter(|old| needs_node_port(old)).map(node_ports).unwrap_or_default();
        if needs_node_port(service) {
            self.take_ports(service, &before)?;
        }
        let now = if needs_node_port(service) { node_ports(service) } else { BTreeSet::new() };
        self.taken.freed_ports.extend(before.difference(&now).filter_map(|port| u16::try_from(*port).ok()));
        Ok(())
    }

    /// Gives each port a node port. On a create, ports with the same number (TCP and UDP) share one.
    fn take_ports(&mut self, service: &mut Value, before: &BTreeSet<i64>) -> Result<(), ApiError> {
        let dynamic =
            kind(service) == "NodePort" || opt_flag(spec(service), "allocateLoadBalancerNodePorts") == Some(true);
        let mut ports = list(spec(service), "ports").to_vec();
        let wanted = |port: &Value| int(port, "nodePort").filter(|port| *port != 0);
        let mut given: Vec<(i64, i64)> = Vec::new();
        for i in 0..ports.len() {
            let number = int(&ports[i], "port").unwrap_or_default();
            let shared = self.old.is_none().then(|| given.iter().find(|(port, _)| *port == number)).flatten();
            let asked = wanted(&ports[i]);
            let node_port = match (asked, shared) {
                (None, _) if !dynamic => continue,
                (None, Some((_, shared))) => *shared,
                (None, None) => {
                    // A later port with the same number may name the node port that both shall have.
                    let named = ports.iter().filter(|p| int(p, "port") == Some(number)).find_map(wanted);
                    match named.filter(|_| self.old.is_none()) {
                        Some(named) => self.take_port(service, i, named, &given, before)?,
                        None => self.any_port("failed to allocate a nodePort: range is full")?.into(),
                    }
                }
                (Some(asked), _) => self.take_port(service, i, asked, &given, before)?,
            };
            given.push((number, node_port));
            if let Some(port) = ports[i].as_object_mut() {
                port.insert("nodePort".to_owned(), node_port.into());
            }
        }
        document::set(service, "spec.ports", ports);
        Ok(())
    }

    /// Takes a port that the client named, unless this Service has it already.
    fn take_port(
        &mut self,
        service: &Value,
        index: usize,
        port: i64,
        given: &[(i64, i64)],
        before: &BTreeSet<i64>,
    ) -> Result<i64, ApiError> {
        if before.contains(&port) || given.iter().any(|(_, other)| *other == port) {
            return Ok(port);
        }
        let number = u16::try_from(port).unwrap_or_default();
        if let Err(why) = self.allocator.reserve_port(number) {
            let mut errors = Errors::new();
            errors.invalid(format!("spec.ports[{index}].nodePort"), port, why);
            reject(service, &errors)?;
        }
        self.taken.ports.push(number);
        Ok(port)
    }

    fn any_port(&mut self, failure: &str) -> Result<u16, ApiError> {
        let port = self.allocator.allocate_port().ok_or_else(|| ApiError::internal(failure))?;
        self.taken.ports.push(port);
        Ok(port)
    }

    fn health_check(&mut self, service: &mut Value) -> Result<(), ApiError> {
        let needed = self.old.filter(|old| needs_health_check(old));
        match (needed, needs_health_check(service)) {
            (None, true) => match health_check_port(service) {
                Some(port) => {
                    self.allocator.reserve_port(port).map_err(|why| {
                        ApiError::internal(format!("failed to allocate requested HealthCheck NodePort {port}: {why}"))
                    })?;
                    self.taken.ports.push(port);
                }
                None => {
                    let port = self.any_port("failed to allocate a HealthCheck NodePort 0: range is full")?;
                    document::set(service, "spec.healthCheckNodePort", port);
                }
            },
            (Some(old), false) => self.taken.freed_ports.extend(health_check_port(old)),
            _ => {}
        }
        Ok(())
    }
}

fn reject(service: &Value, errors: &Errors) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid("", "Service", document::name(service), errors))
}
