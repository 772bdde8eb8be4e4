//! The schema table: types and descriptions from k8s-openapi, protobuf tags and markers from k8s-pb, and what neither
//! knows from `api/schema/overlay.txt` and `api/schema/enums.txt`. Both crates are read as text; nothing of them is compiled.

mod descriptions;
mod enums;
mod openapi;
mod overlay;
mod protobuf;
mod render;

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A type on its way into the table.
#[derive(Debug, Default, Clone)]
pub struct Type {
    pub description: String,
    /// `group/version/Kind`, or `version/Kind` in the core group.
    pub gvk: Option<String>,
    pub atomic: bool,
    /// Not an object: only described.
    pub is_scalar: bool,
    /// Of a type with `+union`: the field that says which of the others is set; empty where none does.
    pub union: Option<String>,
    /// By JSON key.
    pub fields: BTreeMap<String, Field>,
}

#[derive(Debug, Default, Clone)]
pub struct Field {
    pub description: String,
    /// In the table's notation: `s`, `[@api.core.v1.Container`.
    pub ty: String,
    pub required: bool,
    /// The place among the type's fields in Go.
    pub place: usize,
    /// `12`, or `2.1` where protobuf embeds a message that JSON flattens.
    pub tag: String,
    /// `*`, `n`, `?` or `0`: what the Go field is (see `api::schema::Presence`).
    pub presence: char,
    pub markers: BTreeMap<String, String>,
    pub list_keys: Vec<String>,
    /// Of an enumeration.
    pub values: Vec<String>,
}

/// Types by name, without `io.k8s.`.
pub type Types = BTreeMap<String, Type>;

/// Writes the table and the descriptions.
pub fn write() -> Result<()> {
    for (path, text) in generate()? {
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Fails when a checked-in file is not what would be generated.
pub fn check() -> Result<()> {
    for (path, text) in generate()? {
        if std::fs::read_to_string(&path).unwrap_or_default() != text {
            bail!("{} is stale: run `cargo run -p xtask -- schema`", path.display());
        }
    }
    Ok(())
}

fn generate() -> Result<[(PathBuf, String); 2]> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let sources = sources(&root)?;
    let mut types = openapi::read(&sources.openapi.join("src/v1_36"))?;
    protobuf::read(&sources.protobuf.join("src"), &mut types)?;
    overlay::apply(&std::fs::read_to_string(root.join("api/schema/overlay.txt"))?, &mut types)?;
    enums::apply(&std::fs::read_to_string(root.join("api/schema/enums.txt"))?, &mut types)?;
    for (name, ty) in &types {
        for (key, field) in &ty.fields {
            let target = field.ty.split_once('@').map(|(_, target)| target);
            if let Some(target) = target.filter(|target| !types.contains_key(*target)) {
                bail!("{name}.{key} refers to {target}, which is not in the table");
            }
        }
    }
    Ok([
        (root.join("api/schema/table.txt"), render::table(&types)),
        (root.join("api/schema/descriptions.txt"), render::descriptions(&types)),
    ])
}

struct Sources {
    openapi: PathBuf,
    protobuf: PathBuf,
}

/// Where cargo keeps the two crates that the lock file names.
fn sources(root: &Path) -> Result<Sources> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg(root.join("Cargo.toml"))
        .output()?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let find = |name: &str| {
        let package = metadata["packages"].as_array()?.iter().find(|p| p["name"] == name)?;
        Some(Path::new(package["manifest_path"].as_str()?).parent()?.to_owned())
    };
    Ok(Sources {
        openapi: find("k8s-openapi").context("k8s-openapi is not in the lock file")?,
        protobuf: find("k8s-pb").context("k8s-pb is not in the lock file")?,
    })
}

/// The Rust files below a directory, in order.
fn rust_files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(&directory).with_context(|| directory.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    Ok(files)
}

/// The doc comment's lines.
fn docs(attributes: &[syn::Attribute]) -> Vec<String> {
    let text = |attribute: &syn::Attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => {
                Some(text.value().trim_end().strip_prefix(' ').map_or_else(|| text.value(), str::to_owned))
            }
            _ => None,
        },
        _ => None,
    };
    attributes.iter().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_checked_in_table_is_current() {
        super::check().unwrap();
    }
}
