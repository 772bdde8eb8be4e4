//! `api/schema/overlay.txt`: facts that neither crate has.
//!
//! ```text
//! # comment
//! api.core.v1.PodSpec
//!   * activeDeadlineSeconds hostUsers     pointers in Go
//!   ? restartPolicy                       omitempty without pointer, where it would be taken for `0`
//!   0 replicas                            written even when zero
//!   schedulingGroup tag=45 listType=map listMapKey=name patchStrategy=merge default="x"
//!   stream type=s tag=10 description=To the end of the line.     a field that neither crate has
//! api.core.v1.Other new=v1/Other          a type that the crates do not have; `new` alone where it is no kind
//!   spec type=@api.core.v1.OtherSpec tag=1
//! ```

use super::{Field, Type, Types};
use anyhow::{Context, Result, bail};

pub fn apply(text: &str, types: &mut Types) -> Result<()> {
    let mut current = None;
    for (number, line) in text.lines().enumerate() {
        let at = || format!("overlay.txt:{}: {line}", number + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some(rest) = line.strip_prefix("  ") else {
            let (name, flag) = line.split_once(' ').unwrap_or((line, ""));
            if flag == "new" || flag.starts_with("new=") {
                let kind = flag.strip_prefix("new=").map(str::to_owned);
                types.insert(name.to_owned(), Type { gvk: kind, ..Type::default() });
            }
            let ty = types.get_mut(name).with_context(at)?;
            match flag {
                "" => {}
                "structType=atomic" => ty.atomic = true,
                _ if flag.starts_with("union=") => ty.union = flag.strip_prefix("union=").map(str::to_owned),
                _ if flag.starts_with("description=") => ty.description = flag["description=".len()..].to_owned(),
                _ if flag.starts_with("new") => {}
                _ => bail!(at()),
            }
            current = Some(ty);
            continue;
        };
        let ty = current.as_mut().with_context(at)?;
        let (first, rest) = rest.split_once(' ').with_context(at)?;
        if let ("*" | "n" | "?" | "0", Some(presence)) = (first, first.chars().next()) {
            for name in rest.split(' ') {
                ty.fields.get_mut(name).with_context(at)?.presence = presence;
            }
            continue;
        }
        let (rest, description) = rest.split_once("description=").unwrap_or((rest, ""));
        if rest.starts_with("type=") && !ty.fields.contains_key(first) {
            ty.fields.insert(first.to_owned(), Field { presence: '?', ..Field::default() });
        }
        let field = ty.fields.get_mut(first).with_context(at)?;
        if !description.is_empty() {
            field.description = description.replace("\\n", "\n");
        }
        for fact in rest.split(' ').filter(|fact| !fact.is_empty()) {
            let (key, value) = fact.split_once('=').with_context(at)?;
            match (key, value) {
                ("tag", tag) => field.tag = tag.to_owned(),
                ("type", ty) => field.ty = ty.to_owned(),
                ("place", value) => field.place = value.parse().with_context(at)?,
                ("required", value) => field.required = value == "true",
                ("listMapKey", keys) => field.list_keys = keys.split(',').map(str::to_owned).collect(),
                (marker, "none") => {
                    field.markers.remove(marker);
                }
                (marker, value) => {
                    field.markers.insert(marker.to_owned(), value.to_owned());
                }
            }
        }
    }
    Ok(())
}
