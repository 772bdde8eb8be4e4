//! Addresses for the pods of a node.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;

use component::Key;
use ipnet::IpNet;

/// A range from which each pod of a node gets an address. Freed ones are given again last.
#[derive(Debug)]
pub struct Pool {
    range: IpNet,
    used: HashMap<IpAddr, Key>,
    next: u128,
}

impl Pool {
    pub fn new(range: IpNet) -> Self {
        Self { range, used: HashMap::new(), next: FIRST }
    }

    pub fn range(&self) -> IpNet {
        self.range
    }

    /// A free address; none when all are taken.
    pub fn allocate(&mut self, pod: &Key) -> Option<IpAddr> {
        let host_bits = self.range.max_prefix_len() - self.range.prefix_len();
        let size = 1u128.checked_shl(host_bits.into()).unwrap_or(u128::MAX);
        // The network's own address, the bridge's and the broadcast address are not for pods.
        let last = size.checked_sub(1).filter(|last| *last > FIRST)?;
        for _ in 0..=self.used.len() {
            let address = nth(self.range, self.next);
            self.next = if self.next + 1 >= last { FIRST } else { self.next + 1 };
            if let Entry::Vacant(free) = self.used.entry(address) {
                free.insert(pod.clone());
                return Some(address);
            }
        }
        None
    }

    /// Takes the address that a pod has already. False when it is not of this range, or another pod's.
    pub fn reserve(&mut self, address: IpAddr, pod: &Key) -> bool {
        self.range.contains(&address) && self.used.entry(address).or_insert_with(|| pod.clone()) == pod
    }

    pub fn free(&mut self, address: IpAddr) {
        self.used.remove(&address);
    }
}

/// The first host number for a pod.
const FIRST: u128 = 2;

fn nth(range: IpNet, number: u128) -> IpAddr {
    match range.network() {
        IpAddr::V4(network) => IpAddr::V4((u32::from(network).wrapping_add(number as u32)).into()),
        IpAddr::V6(network) => IpAddr::V6((u128::from(network).wrapping_add(number)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_unique_until_freed() {
        let mut pool = Pool::new("10.244.1.0/29".parse().unwrap());
        let key = |i: usize| Key::new("d", &format!("p{i}"));
        assert!(pool.reserve("10.244.1.3".parse().unwrap(), &key(9)));
        assert!(!pool.reserve("10.244.1.3".parse().unwrap(), &key(8)));
        assert!(!pool.reserve("10.244.2.3".parse().unwrap(), &key(8)));
        let given: Vec<_> = (0..4).filter_map(|i| pool.allocate(&key(i))).map(|ip| ip.to_string()).collect();
        assert_eq!(given, ["10.244.1.2", "10.244.1.4", "10.244.1.5", "10.244.1.6"]);
        assert_eq!(pool.allocate(&key(5)), None);
        pool.free("10.244.1.4".parse().unwrap());
        assert_eq!(pool.allocate(&key(5)).map(|ip| ip.to_string()).as_deref(), Some("10.244.1.4"));
    }
}
