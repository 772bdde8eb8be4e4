//! `api/schema/enums.txt`: the values of fields whose Go types are enumerations, which neither crate has.
//!
//! ```text
//! api.core.v1.Container.imagePullPolicy api.core.v1.EphemeralContainer.imagePullPolicy
//!   "Always" means that ...
//! ```

use super::Types;
use anyhow::{Context, Result};

/// Adds the values to the fields, and what they mean to the descriptions of fields that are no lists or maps.
pub fn apply(text: &str, types: &mut Types) -> Result<()> {
    let mut fields: Vec<&str> = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with('#')) {
        let at = || format!("enums.txt:{}: {line}", number + 1);
        let Some(rest) = line.strip_prefix("  \"") else {
            fields = line.split(' ').collect();
            continue;
        };
        let (value, about) = rest.split_once('"').with_context(at)?;
        for field in &fields {
            let (field, gap) = field.strip_suffix('~').map_or((*field, ""), |field| (field, "\n"));
            let (ty, key) = field.rsplit_once('.').with_context(at)?;
            let field = types.get_mut(ty).and_then(|ty| ty.fields.get_mut(key)).with_context(at)?;
            if field.ty == "s" {
                if field.values.is_empty() {
                    let separator = if field.description.is_empty() { "" } else { "\n\n" };
                    field.description.push_str(&format!("{gap}{separator}Possible enum values:"));
                }
                field.description.push_str(&format!("\n - `\"{value}\"`{about}"));
            }
            field.values.push(value.to_owned());
        }
    }
    Ok(())
}
