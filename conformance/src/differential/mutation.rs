//! Objects changed at random, along the schema of their kind.

use api::schema::{FieldType, TypeRef};
use serde_json::{Map, Value, json};

/// Objects are not filled in deeper than this.
const DEEP: usize = 7;
/// What the server says, or no client writes by hand.
const LEFT_ALONE: &[&str] = &["apiVersion", "kind", "managedFields", "status"];

/// Texts that are odd for one field or another.
const TEXTS: &[&str] = &[
    "",
    "a",
    "A_",
    "a.b",
    "x/y",
    " z",
    "-1",
    "10.0.0.1",
    "fd00::1",
    "*",
    "kubernetes.io/x",
    "1",
    "é",
    "a:b",
    "http://x",
    "/abs",
    "../up",
    "%s",
    "true",
    "metadata.name",
    "192.0.2.0/24",
    "a b",
    "system:x",
    "$(A)",
    "2026-01-01T00:00:00Z",
    "Always",
    "Never",
    "None",
    "TCP",
    "Local",
    "Cluster",
    "Exists",
    "In",
];
const NUMBERS: &[i64] =
    &[0, 1, 2, 5, -1, -2, 80, 100, 300, 443, 1000, 3600, 65535, 65536, 86_400, 2_147_483_647, 2_147_483_648];
const QUANTITIES: &[&str] = &["1", "100m", "1Gi", "0", "-1", "1.5", "x", "", "1e3", "3Mi"];
const KEYS: &[&str] = &["a", "a/b", "a b", "cpu", "memory", "example.com/gpu", "pods", "storage", ""];

/// Numbers that look random and are the same again for the same seed (SplitMix64).
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 when there is none.
    pub fn below(&mut self, end: usize) -> usize {
        let drawn = self.next() % (end.max(1) as u64);
        usize::try_from(drawn).unwrap_or(0)
    }

    pub fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Changes one to three places of an object.
pub fn mutate(object: &mut Value, ty: TypeRef<'_>, random: &mut Random) {
    for _ in 0..random.pick(&[1, 1, 2, 3]) {
        change(object, ty, random, true);
    }
}

/// Changes one place of a structure.
fn change(object: &mut Value, ty: TypeRef<'_>, random: &mut Random, is_top: bool) {
    let Value::Object(map) = object else { return };
    // Metadata are the same for all kinds; the rest is more interesting.
    let metadata = !is_top || random.percent(15);
    let fields = ty.fields.iter().filter(|field| !LEFT_ALONE.contains(&&*field.name));
    let fields: Vec<_> = fields.filter(|field| metadata || &*field.name != "metadata").collect();
    let present: Vec<_> = fields.iter().copied().filter(|field| map.contains_key(&*field.name)).collect();
    if fields.is_empty() {
        return;
    }
    if !present.is_empty() && random.percent(60) {
        let field = present[random.below(present.len())];
        let gone = map.get_mut(&*field.name).is_some_and(|value| change_value(value, &field.ty, ty, random));
        if gone {
            map.remove(&*field.name);
        }
        return;
    }
    let field = fields[random.below(fields.len())];
    map.insert(field.name.to_string(), value(&field.ty, ty, random, 0));
}

/// Changes a value; true when it is to be taken away.
fn change_value(current: &mut Value, field: &FieldType, ty: TypeRef<'_>, random: &mut Random) -> bool {
    match (&mut *current, field) {
        (Value::Object(_), FieldType::Ref(_)) => {
            if let Some(target) = ty.target(field) {
                change(current, target, random, false);
            }
            return false;
        }
        (Value::Array(items), FieldType::List(item)) => {
            let at = random.below(items.len());
            match random.below(20) {
                0..11 if !items.is_empty() => {
                    if change_value(&mut items[at], item, ty, random) {
                        items.remove(at);
                    }
                }
                11..14 if !items.is_empty() => items.push(items[at].clone()),
                14..18 => items.push(value(item, ty, random, 0)),
                18 => items.clear(),
                _ => return true,
            }
            return false;
        }
        (Value::Object(entries), FieldType::Map(entry)) => {
            let key = entries.keys().nth(random.below(entries.len())).cloned();
            match key.filter(|_| random.percent(50)) {
                Some(key) => {
                    if entries.get_mut(&key).is_some_and(|value| change_value(value, entry, ty, random)) {
                        entries.remove(&key);
                    }
                }
                None => {
                    entries.insert(random.pick(KEYS).to_owned(), value(entry, ty, random, 0));
                }
            }
            return false;
        }
        _ => {}
    }
    if random.percent(20) {
        return true;
    }
    *current = value(field, ty, random, 0);
    false
}

/// A value of a field's type, or nearly.
fn value(field: &FieldType, ty: TypeRef<'_>, random: &mut Random, depth: usize) -> Value {
    match field {
        FieldType::String if random.percent(4) => "a".repeat(random.pick(&[64, 254])).into(),
        FieldType::String | FieldType::Duration => random.pick(TEXTS).into(),
        FieldType::Bytes => random.pick(&["", "YQ==", "*", "YQ"]).into(),
        FieldType::Int32 | FieldType::Int64 => random.pick(NUMBERS).into(),
        FieldType::Float => random.pick(&[0.0, 1.0, -1.0, 0.5]).into(),
        FieldType::Bool => random.percent(50).into(),
        FieldType::Quantity => random.pick(QUANTITIES).into(),
        FieldType::IntOrString if random.percent(50) => random.pick(NUMBERS).into(),
        FieldType::IntOrString => random.pick(&["web", "A B", "50%", "150%", "x%", ""]).into(),
        FieldType::Time | FieldType::MicroTime => {
            random.pick(&["2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123456Z", "x"]).into()
        }
        FieldType::FieldsV1 | FieldType::RawExtension | FieldType::Json => {
            if random.percent(50) {
                json!({})
            } else {
                json!({"a": 1})
            }
        }
        FieldType::List(item) => {
            (0..random.pick(&[0, 1, 1, 1, 2])).map(|_| value(item, ty, random, depth + 1)).collect()
        }
        FieldType::Map(entry) => {
            let entries = (0..random.pick(&[0, 1, 1]))
                .map(|_| (random.pick(KEYS).to_owned(), value(entry, ty, random, depth + 1)));
            Value::Object(entries.collect())
        }
        FieldType::Ref(_)
        | FieldType::SchemaOrBool(_)
        | FieldType::SchemaOrArray(_)
        | FieldType::SchemaOrStrings(_) => {
            ty.target(field).map_or(Value::Null, |target| structure(target, random, depth))
        }
    }
}

/// What is required, mostly, and a few of the others.
fn structure(ty: TypeRef<'_>, random: &mut Random, depth: usize) -> Value {
    let mut map = Map::new();
    let share = if depth < DEEP { (120 / (1 + ty.fields.len())).max(10) } else { 0 };
    for field in ty.fields.iter().filter(|field| !LEFT_ALONE.contains(&&*field.name)) {
        let wanted = if field.required && depth < DEEP { 93 } else { share };
        if random.percent(wanted) {
            map.insert(field.name.to_string(), value(&field.ty, ty, random, depth + 1));
        }
    }
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::schema::Schema;

    #[test]
    fn a_seed_gives_the_same_changes_again() {
        let ty = Schema::of_kind("apps", "v1", "Deployment").unwrap();
        let object = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a"},
            "spec": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}});
        let changed = |seed| {
            let mut object = object.clone();
            mutate(&mut object, ty, &mut Random::new(seed));
            object
        };
        let all: Vec<Value> = (0..50).map(changed).collect();
        assert_eq!(all, (0..50).map(changed).collect::<Vec<_>>());
        assert!(all.iter().filter(|changed| **changed != object).count() > 40);
        assert!(all.iter().all(|changed| changed["kind"] == "Deployment" && changed["status"].is_null()));
    }
}
