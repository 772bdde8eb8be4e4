//! Where free addresses and node ports come from.
//!
//! Each range has two bands (KEP-3070, KEP-3668): the upper one is for dynamic allocation, the lower for values that clients
//! name; dynamic allocation falls back to it.

use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

pub const ALLOCATED_PORT: &str = "provided port is already allocated";

/// Numbers `0..size`, of which those from `lower` on are given out first.
#[derive(Debug)]
struct Bands {
    size: u64,
    lower: u64,
}

impl Bands {
    /// The lower band is one `step`th of `total`, within `16..=max`, and nothing in a small range.
    fn new(size: u64, total: u64, step: u64, max: u64) -> Bands {
        Bands { size, lower: if total <= 16 { 0 } else { (total / step).clamp(16, max) } }
    }

    /// A free number: the first one from a random one on, going around, in the upper band and then in the lower.
    fn free(&self, random: u64, is_taken: impl Fn(u64) -> bool) -> Option<u64> {
        [(self.lower, self.size), (0, self.lower)].into_iter().find_map(|(start, end)| {
            let span = end.checked_sub(start).filter(|span| *span > 0)?;
            let first = start + random % span;
            (first..end).chain(start..first).find(|number| !is_taken(*number))
        })
    }
}

/// One range of a ServiceCIDR.
#[derive(Debug)]
pub struct Cidr {
    net: IpNet,
    bands: Bands,
}

impl Cidr {
    pub fn new(net: IpNet) -> Cidr {
        let host_bits = u32::from(net.max_prefix_len() - net.prefix_len()).min(62);
        let total = 1u64 << host_bits;
        // The network's own address is never given out, nor is the broadcast address of IPv4.
        let reserved = if net.addr().is_ipv4() { 2 } else { 1 };
        Cidr { net: net.trunc(), bands: Bands::new(total.saturating_sub(reserved), total, 16, 256) }
    }

    pub fn family(&self) -> &'static str {
        family_of(self.net.addr())
    }

    /// The network's own address: what a dry run shows in place of one that it would be given.
    pub fn network(&self) -> IpAddr {
        self.net.network()
    }

    /// Refuses an address that is never given out; the error is upstream's sentence.
    pub fn check(&self, ip: IpAddr) -> Result<(), String> {
        let offset = number_of(ip).checked_sub(number_of(self.net.network()) + 1);
        if self.net.contains(&ip) && offset.is_some_and(|offset| offset < u128::from(self.bands.size)) {
            return Ok(());
        }
        let net = self.net;
        Err(format!("the provided IP ({ip}) is not in the valid range. The range of valid IPs is {net}"))
    }

    pub fn free(&self, random: u64, is_taken: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        self.bands.free(random, |offset| is_taken(self.address(offset))).map(|offset| self.address(offset))
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

/// The node ports, and which of them are taken.
#[derive(Debug)]
pub struct Ports {
    first: u16,
    last: u16,
    bands: Bands,
    /// Those of writes that are under way.
    pending: BTreeSet<u16>,
}

impl Ports {
    pub fn new(range: RangeInclusive<u16>) -> Ports {
        let (first, last) = (*range.start(), *range.end());
        let total = u64::from(last.saturating_sub(first)) + 1;
        Ports { first, last, bands: Bands::new(total, total, 32, 128), pending: BTreeSet::new() }
    }

    fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Whether a port is taken, in the store or by a write that is under way.
    pub fn is_taken(&self, port: u16, stored: &BTreeSet<u16>) -> bool {
        self.pending.contains(&port) || stored.contains(&port)
    }

    /// Takes a certain port; the error is upstream's sentence.
    pub fn reserve(&mut self, port: u16, stored: &BTreeSet<u16>) -> Result<(), String> {
        if !self.contains(port) {
            let (first, last) = (self.first, self.last);
            return Err(format!("provided port is not in the valid range. The range of valid ports is {first}-{last}"));
        }
        if self.is_taken(port, stored) {
            return Err(ALLOCATED_PORT.to_owned());
        }
        self.pending.insert(port);
        Ok(())
    }

    /// Takes any free port.
    pub fn allocate(&mut self, random: u64, stored: &BTreeSet<u16>) -> Option<u16> {
        let port = |offset: u64| u16::try_from(u64::from(self.first) + offset).unwrap_or(self.last);
        let offset = self.bands.free(random, |offset| self.is_taken(port(offset), stored))?;
        let port = port(offset);
        self.pending.insert(port).then_some(port)
    }

    /// The writes that took these have ended.
    pub fn forget(&mut self, ports: &[u16]) {
        for port in ports {
            self.pending.remove(port);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_band_is_left_for_those_who_name_their_value() {
        let cidr = Cidr::new("10.0.0.0/24".parse().unwrap());
        for random in 0..1000 {
            let IpAddr::V4(ip) = cidr.free(random, |_| false).unwrap() else { panic!("another family") };
            assert!((17..=254).contains(&ip.octets()[3]), "{ip}");
        }
        let full = |ip: IpAddr| ip >= IpAddr::from([10, 0, 0, 17]);
        assert!(cidr.free(7, full).is_some_and(|ip| !full(ip)));
        assert_eq!(cidr.free(7, |_| true), None);
    }

    #[test]
    fn the_ends_of_a_range_are_never_given_out() {
        let cidr = Cidr::new("10.0.0.0/30".parse().unwrap());
        for (last, good) in [(0, false), (1, true), (2, true), (3, false), (4, false)] {
            assert_eq!(cidr.check([10, 0, 0, last].into()).is_ok(), good, "{last}");
        }
        let six = Cidr::new("2001:db8::/64".parse().unwrap());
        assert!(six.check("2001:db8::ffff".parse().unwrap()).is_ok());
        assert!(six.check("2001:db8::".parse().unwrap()).is_err());
    }
}
