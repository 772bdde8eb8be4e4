//! Cluster IPs and node ports: what a create or an update of a Service takes and frees.
//!
//! Addresses are taken when an IPAddress stands for them in the store, node ports when the stored range has them; until a
//! write gets that far, they are pending here.

use super::families::{families, keep_allocated_values, normalize_cluster_ips};
use super::pool::{ALLOCATED_PORT, Cidr, Ports};
use super::{is_headless, kind, needs_cluster_ip, needs_health_check, needs_node_port, node_ports, spec};
use crate::kinds::path::{int, list, opt_flag, text, texts};
use api::field::Errors;
use api::status::ApiError;
use api::{Value, document};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::RangeInclusive;

/// What is given out of the cluster's service addresses and node ports.
#[derive(Debug)]
pub struct Allocator {
    /// The families of the cluster's own ranges, the default first.
    families: Vec<&'static str>,
    /// Addresses of writes that are under way.
    pending: BTreeSet<IpAddr>,
    /// Node ports of writes that are under way.
    ports: Ports,
    random: u64,
}

/// What the store says about addresses and node ports.
pub struct Known<'a> {
    /// The ranges of the ServiceCIDRs that are ready.
    pub cidrs: &'a [Cidr],
    /// Whether an IPAddress has this name.
    pub is_taken: &'a dyn Fn(IpAddr) -> bool,
    /// The node ports that are taken.
    pub ports: &'a BTreeSet<u16>,
}

/// What a planned write took and will free. [`Allocator::forget`] it when the write has ended and the store tells what is
/// taken. A dry run takes and frees nothing.
#[derive(Debug, Default, PartialEq)]
#[must_use = "to be forgotten"]
pub struct Reservation {
    pub addresses: Vec<IpAddr>,
    pub freed_addresses: Vec<IpAddr>,
    pub ports: Vec<u16>,
    pub freed_ports: Vec<u16>,
}

impl Allocator {
    /// `families` are one or two, the default first; upstream's ports are `30000..=32767`. `seed` decides which free values
    /// are given out first.
    pub fn new(families: Vec<&'static str>, ports: RangeInclusive<u16>, seed: u64) -> Allocator {
        Allocator { families, pending: BTreeSet::new(), ports: Ports::new(ports), random: seed | 1 }
    }

    /// The write has ended, with or without success, and the store knows.
    pub fn forget(&mut self, reservation: &Reservation) {
        for ip in &reservation.addresses {
            self.pending.remove(ip);
        }
        self.ports.forget(&reservation.ports);
    }

    fn is_free(&self, ip: IpAddr, known: &Known) -> bool {
        !self.pending.contains(&ip) && !(known.is_taken)(ip)
    }

    /// Takes a certain address; the error is upstream's sentence.
    fn reserve(&mut self, ip: IpAddr, known: &Known) -> Result<(), String> {
        if !known.cidrs.iter().any(|cidr| cidr.check(ip).is_ok()) {
            return Err("the provided network does not match the current range".to_owned());
        }
        if !self.is_free(ip, known) {
            return Err("provided IP is already allocated".to_owned());
        }
        self.pending.insert(ip);
        Ok(())
    }

    /// Takes any free address of a family.
    fn allocate(&mut self, family: &str, known: &Known) -> Option<IpAddr> {
        let random = self.next_random();
        let mut cidrs = known.cidrs.iter().filter(|cidr| cidr.family() == family);
        let ip = cidrs.find_map(|cidr| cidr.free(random, |ip| !self.is_free(ip, known)))?;
        self.pending.insert(ip);
        Some(ip)
    }

    pub fn has_family(&self, family: &str) -> bool {
        self.families.contains(&family)
    }

    pub fn is_dual_stack(&self) -> bool {
        self.families.len() > 1
    }

    pub fn default_family(&self) -> &'static str {
        self.families.first().copied().unwrap_or("IPv4")
    }

    /// Xorshift; spreading values is all it is for.
    fn next_random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// The addresses that a stored Service holds, as they are written there.
pub fn held_addresses(service: &Value) -> impl Iterator<Item = &str> {
    let has_addresses = needs_cluster_ip(service) && !is_headless(service);
    texts(spec(service), "clusterIPs").filter(move |_| has_addresses)
}

/// The node ports that a stored Service holds, with the one for health checks.
pub fn held_ports(service: &Value) -> Vec<u16> {
    let mut ports: Vec<u16> = node_ports(service).into_iter().filter_map(|port| port.try_into().ok()).collect();
    if needs_health_check(service) {
        ports.extend(health_check_port(service));
    }
    ports
}

pub fn health_check_port(service: &Value) -> Option<u16> {
    int(spec(service), "healthCheckNodePort")?.try_into().ok().filter(|port| *port != 0)
}

/// Completes a Service that is about to be created (no `old`) or updated: families, cluster IPs and node ports. Runs
/// before the rules' `prepare_for_*` and validation, as upstream's does. On an error nothing stays taken.
pub fn plan(
    old: Option<&Value>,
    service: &mut Value,
    allocator: &mut Allocator,
    known: &Known,
    dry_run: bool,
) -> Result<Reservation, ApiError> {
    if let Some(old) = old {
        keep_allocated_values(service, old);
    }
    normalize_cluster_ips(service, old);
    let mut plan = Plan { old, allocator, known, dry_ports: dry_run.then(Vec::new), taken: Reservation::default() };
    let outcome = plan.run(service);
    let taken = std::mem::take(&mut plan.taken);
    match outcome {
        Ok(()) if dry_run => Ok(Reservation::default()),
        Ok(()) => Ok(taken),
        Err(error) => {
            allocator.forget(&taken);
            Err(error)
        }
    }
}

/// A dry run's values only show where there would be some, as upstream's do: the network's own address, and ports from here on.
const FIRST_DRY_PORT: u16 = 32769;

struct Plan<'a> {
    old: Option<&'a Value>,
    allocator: &'a mut Allocator,
    known: &'a Known<'a>,
    /// The ports of a dry run, which takes none.
    dry_ports: Option<Vec<u16>>,
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
        let mut old_addresses = held_addresses(old).filter_map(|ip| ip.parse::<IpAddr>().ok());
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
        for i in first..families.len() {
            if ips[i].is_empty() {
                let Some(found) = self.any_address(&families[i]) else {
                    let name = api::field::quote(document::name(service));
                    return Err(ApiError::internal(format!(
                        "failed to allocate a serviceIP for Service {name}: range is full"
                    )));
                };
                ips[i] = found.to_string();
            } else if let Ok(wanted) = ips[i].parse()
                && let Err(why) = self.take_address(wanted, &families[i])
            {
                let mut errors = Errors::new();
                errors.invalid("spec.clusterIPs", ips.clone(), format!("failed to allocate IP {}: {why}", ips[i]));
                return reject(service, &errors);
            }
        }
        if let Some(first) = ips.first() {
            document::set(service, "spec.clusterIP", first.as_str());
        }
        document::set(service, "spec.clusterIPs", ips);
        Ok(())
    }

    fn any_address(&mut self, family: &str) -> Option<IpAddr> {
        if self.dry_ports.is_some() {
            return self.known.cidrs.iter().find(|cidr| cidr.family() == family).map(Cidr::network);
        }
        let found = self.allocator.allocate(family, self.known)?;
        self.taken.addresses.push(found);
        Some(found)
    }

    fn take_address(&mut self, ip: IpAddr, family: &str) -> Result<(), String> {
        if self.dry_ports.is_some() {
            // Upstream asks one of the ranges, whichever that is; what would be given is not refused here.
            let cidrs = || self.known.cidrs.iter().filter(|cidr| cidr.family() == family);
            if cidrs().any(|cidr| cidr.check(ip).is_ok()) {
                return Ok(());
            }
            return cidrs().next().map_or_else(|| Err("allocator not ready".to_owned()), |cidr| cidr.check(ip));
        }
        self.allocator.reserve(ip, self.known)?;
        self.taken.addresses.push(ip);
        Ok(())
    }

    fn ports(&mut self, service: &mut Value) -> Result<(), ApiError> {
        let before = self.old.filter(|old| needs_node_port(old)).map(node_ports).unwrap_or_default();
        if needs_node_port(service) {
            let mut ports = list(spec(service), "ports").to_vec();
            match self.old {
                None => self.first_ports(service, &mut ports)?,
                Some(old) => self.changed_ports(service, &mut ports, &node_ports(old))?,
            }
            document::set(service, "spec.ports", ports);
        }
        let now = if needs_node_port(service) { node_ports(service) } else { BTreeSet::new() };
        self.taken.freed_ports.extend(before.difference(&now).filter_map(|port| u16::try_from(*port).ok()));
        Ok(())
    }

    /// Gives each port of a new Service a node port. Ports with the same number (TCP and UDP) share one.
    fn first_ports(&mut self, service: &Value, ports: &mut [Value]) -> Result<(), ApiError> {
        // By the port's number, the node port that its first bearer got.
        let mut given = BTreeMap::new();
        for i in 0..ports.len() {
            let (number, asked) = (int(&ports[i], "port").unwrap_or_default(), node_port(&ports[i]));
            if asked == 0 && !allocates_node_ports(service) {
                continue;
            }
            match given.get(&number).copied() {
                Some(shared) if asked == 0 => set_node_port(&mut ports[i], shared),
                Some(shared) if asked == shared => {}
                Some(_) => self.take_port(service, i, asked)?,
                None => {
                    // A later port with the same number may name the node port that both shall have.
                    let mut named = ports.iter().filter(|port| int(port, "port") == Some(number)).map(node_port);
                    let taken = match named.find(|port| *port != 0) {
                        Some(named) => {
                            self.take_port(service, i, named)?;
                            named
                        }
                        None => self.any_port("failed to allocate a nodePort: range is full")?.into(),
                    };
                    given.insert(number, taken);
                    set_node_port(&mut ports[i], taken);
                }
            }
        }
        Ok(())
    }

    /// Gives a node port to each port of an updated Service that needs one and has none.
    fn changed_ports(&mut self, service: &Value, ports: &mut [Value], before: &BTreeSet<i64>) -> Result<(), ApiError> {
        let (mut taken, mut seen) = (BTreeSet::new(), BTreeSet::new());
        for (i, port) in ports.iter_mut().enumerate() {
            let mut number = node_port(port);
            if number == 0 {
                if !allocates_node_ports(service) {
                    continue;
                }
                number = self.any_port("failed to allocate a nodePort: range is full")?.into();
                set_node_port(port, number);
            } else if !before.contains(&number) && taken.insert(number) {
                self.take_port(service, i, number)?;
            }
            let protocol = text(port, "protocol");
            if !seen.insert((protocol.to_owned(), number)) {
                return Err(ApiError::new(500, "", format!("duplicate nodePort: {{{protocol} {number}}}")));
            }
        }
        Ok(())
    }

    /// Takes a port that the client named.
    fn take_port(&mut self, service: &Value, index: usize, port: i64) -> Result<(), ApiError> {
        let Err(why) = self.reserve_port(port) else { return Ok(()) };
        let mut errors = Errors::new();
        errors.invalid(format!("spec.ports[{index}].nodePort"), port, why);
        reject(service, &errors)
    }

    fn reserve_port(&mut self, port: i64) -> Result<(), String> {
        let number = u16::try_from(port).unwrap_or_default();
        if let Some(dry) = &mut self.dry_ports {
            if self.allocator.ports.is_taken(number, self.known.ports) || dry.contains(&number) {
                return Err(ALLOCATED_PORT.to_owned());
            }
            dry.push(number);
            return Ok(());
        }
        self.allocator.ports.reserve(number, self.known.ports)?;
        self.taken.ports.push(number);
        Ok(())
    }

    fn any_port(&mut self, failure: &str) -> Result<u16, ApiError> {
        if let Some(dry) = &mut self.dry_ports {
            let port = dry.iter().max().map_or(FIRST_DRY_PORT, |last| last.saturating_add(1));
            dry.push(port);
            return Ok(port);
        }
        let random = self.allocator.next_random();
        let port =
            self.allocator.ports.allocate(random, self.known.ports).ok_or_else(|| ApiError::internal(failure))?;
        self.taken.ports.push(port);
        Ok(port)
    }

    fn health_check(&mut self, service: &mut Value) -> Result<(), ApiError> {
        let needed = self.old.filter(|old| needs_health_check(old));
        match (needed, needs_health_check(service)) {
            (None, true) => match health_check_port(service) {
                Some(port) => self.reserve_port(port.into()).map_err(|why| {
                    ApiError::internal(format!("failed to allocate requested HealthCheck NodePort {port}: {why}"))
                })?,
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

/// The port's node port; 0 for none.
fn node_port(port: &Value) -> i64 {
    int(port, "nodePort").unwrap_or_default()
}

fn set_node_port(port: &mut Value, node_port: i64) {
    document::as_map(port).insert("nodePort".to_owned(), node_port.into());
}

/// Whether ports without a node port are to be given one.
fn allocates_node_ports(service: &Value) -> bool {
    kind(service) == "NodePort" || opt_flag(spec(service), "allocateLoadBalancerNodePorts") == Some(true)
}

fn reject(service: &Value, errors: &Errors) -> Result<(), ApiError> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid("", "Service", document::name(service), errors))
}
