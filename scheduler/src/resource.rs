//! Amounts of compute resources, in the units the scheduler counts in: cpu in milli-cores, all else in whole units.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Requested, used or allocatable amounts. Upstream: `framework.Resource`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Resources {
    pub milli_cpu: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes.
    pub ephemeral_storage: i64,
    /// Only meaningful for what a node allows.
    pub pods: i64,
    /// Extended resources, huge pages and attachable volumes, sorted by name.
    pub scalar: Vec<(Arc<str>, i64)>,
}

impl Resources {
    /// The amounts of a resource list (name to quantity). Unknown names and unreadable quantities count as nothing.
    pub fn from_list(list: &BTreeMap<String, Quantity>) -> Self {
        let mut all = Self::default();
        for (name, quantity) in list {
            match name.as_str() {
                "cpu" => all.milli_cpu = quantity.0.millis(),
                "memory" => all.memory = quantity.0.value(),
                "ephemeral-storage" => all.ephemeral_storage = quantity.0.value(),
                "pods" => all.pods = quantity.0.value(),
                name if is_scalar(name) => all.scalar.push((name.into(), quantity.0.value())),
                _ => {}
            }
        }
        all
    }

    pub fn add(&mut self, other: &Self) {
        self.merge(other, i64::saturating_add);
    }

    pub fn subtract(&mut self, other: &Self) {
        self.merge(other, i64::saturating_sub);
    }

    /// The larger of each dimension.
    pub fn max(&mut self, other: &Self) {
        self.merge(other, i64::max);
    }

    /// The amount of an extended resource, 0 when there is none.
    pub fn scalar(&self, name: &str) -> i64 {
        self.scalar.iter().find(|(n, _)| &**n == name).map_or(0, |(_, amount)| *amount)
    }

    fn merge(&mut self, other: &Self, f: fn(i64, i64) -> i64) {
        self.milli_cpu = f(self.milli_cpu, other.milli_cpu);
        self.memory = f(self.memory, other.memory);
        self.ephemeral_storage = f(self.ephemeral_storage, other.ephemeral_storage);
        for (name, amount) in &other.scalar {
            match self.scalar.binary_search_by(|(n, _)| n.cmp(name)) {
                Ok(at) => self.scalar[at].1 = f(self.scalar[at].1, *amount),
                Err(at) => self.scalar.insert(at, (name.clone(), f(0, *amount))),
            }
        }
    }
}

/// Whether the scheduler counts a resource of this name besides the four native ones.
fn is_scalar(name: &str) -> bool {
    name.contains('/') || name.starts_with("hugepages-") || name.starts_with("attachable-volumes-")
}

/// A quantity of a document.
#[derive(Clone, Copy, Debug)]
pub struct Quantity(api::quantity::Quantity);

impl<'de> serde::Deserialize<'de> for Quantity {
    /// A string, or the bare number that hand-written JSON may hold. An unreadable one is zero: the API validated it.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use api::quantity::Quantity;
        let value = serde_json::Value::deserialize(deserializer)?;
        let parsed = match &value {
            serde_json::Value::String(text) => Quantity::parse(text).ok(),
            serde_json::Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
            _ => None,
        };
        Ok(Self(parsed.unwrap_or_else(|| Quantity::from_millis(0))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_in_the_schedulers_units() {
        let list = serde_json::json!({"cpu": "1500m", "memory": "1Ki", "pods": 110, "example.com/gpu": "2", "odd": "7",
            "ephemeral-storage": "nonsense"});
        let all = Resources::from_list(&serde_json::from_value(list).unwrap());
        assert_eq!((all.milli_cpu, all.memory, all.pods, all.ephemeral_storage), (1500, 1024, 110, 0));
        assert_eq!(all.scalar, [("example.com/gpu".into(), 2)]);
    }

    #[test]
    fn sums_keep_every_name() {
        let gpus = |n| Resources { scalar: vec![("example.com/gpu".into(), n)], ..Resources::default() };
        let mut sum = Resources { milli_cpu: 5, ..Resources::default() };
        sum.add(&gpus(2));
        sum.add(&gpus(3));
        sum.subtract(&gpus(1));
        assert_eq!((sum.milli_cpu, sum.scalar("example.com/gpu"), sum.scalar("other")), (5, 4, 0));
    }
}
