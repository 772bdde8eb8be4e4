//! The file: `EncryptionConfiguration` of `apiserver.config.k8s.io/v1`, read as strictly as upstream reads it.

use super::shape;
use api::document;
use api::time::parse_duration;
use api::{Value, codec};
use jiff::SignedDuration;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use zeroize::Zeroizing;

/// A configuration is some lines for each key.
const LIMIT: u64 = 1 << 20;
/// What is used for `timeout` where none is given.
const TIMEOUT: SignedDuration = SignedDuration::from_secs(3);

/// What a file says, checked for form only.
pub(super) struct Configuration {
    pub(super) resources: Vec<Rule>,
}

/// How some resources are kept.
pub(super) struct Rule {
    pub(super) resources: Vec<String>,
    pub(super) providers: Vec<Provider>,
}

/// One way to keep values; exactly one field is set in a valid one. Holds keys: has no `Debug`.
#[derive(Default)]
pub(super) struct Provider {
    pub(super) aesgcm: Option<Vec<Key>>,
    pub(super) aescbc: Option<Vec<Key>>,
    pub(super) secretbox: Option<Vec<Key>>,
    pub(super) identity: bool,
    pub(super) kms: Option<Kms>,
}

/// A named key.
pub(super) struct Key {
    pub(super) name: String,
    /// Base64.
    pub(super) secret: Zeroizing<String>,
}

/// A key service.
#[derive(Clone)]
pub(super) struct Kms {
    pub(super) api_version: String,
    pub(super) name: String,
    pub(super) cache_size: Option<i64>,
    pub(super) endpoint: String,
    pub(super) timeout: SignedDuration,
}

/// The bytes of the file. Warns when others may read it.
pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let shown = api::field::quote(&path.display().to_string());
    let failed = |error: std::io::Error| {
        let why = match error.kind() {
            std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
            std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
            _ => error.to_string(),
        };
        format!("error reading encryption provider configuration file {shown}: open {}: {why}", path.display())
    };
    let file = std::fs::File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.permissions().mode();
    if mode & 0o077 != 0 {
        let mode = format!("{:04o}", mode & 0o7777);
        tracing::warn!(file = %path.display(), mode, "others may read the file with the encryption keys: give it mode 0600");
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(LIMIT + 1).read_to_end(&mut bytes).map_err(failed)?;
    match bytes.len() as u64 {
        0 => Err(format!("encryption provider configuration file {shown} is empty")),
        length if length > LIMIT => {
            Err(format!("encryption provider configuration file {shown} is larger than {LIMIT} bytes"))
        }
        _ => Ok(bytes),
    }
}

/// Reads the text of a configuration. Errors quote nothing that could be a key.
pub(super) fn parse(bytes: &[u8]) -> Result<Configuration, String> {
    let tree = Tree(codec::yaml::decode_any(bytes)?);
    check_kind(&tree.0)?;
    let mut problems = codec::yaml::problems(bytes);
    shape::check(&tree.0, &mut problems)?;
    if !problems.is_empty() {
        return Err(codec::strict_error(&problems));
    }
    let rules = document::get_list(&tree.0, "resources").iter().map(rule);
    Ok(Configuration { resources: rules.collect::<Result<_, _>>()? })
}

/// The tree of a file; its strings are wiped when it is dropped.
struct Tree(Value);

impl Drop for Tree {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => zeroize::Zeroize::zeroize(text),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(map) => map.values_mut().for_each(wipe),
        _ => {}
    }
}

fn check_kind(tree: &Value) -> Result<(), String> {
    let Some(map) = tree.as_object() else {
        return Err("couldn't get version/kind; json parse error: the document is no object".to_owned());
    };
    let text = |name| map.get(name).and_then(Value::as_str).unwrap_or_default();
    match (text("apiVersion"), text("kind")) {
        (_, "") => Err("Object 'Kind' is missing".to_owned()),
        ("", _) => Err("Object 'apiVersion' is missing".to_owned()),
        // The second one is what it was called first.
        ("apiserver.config.k8s.io/v1", "EncryptionConfiguration") | ("v1", "EncryptionConfig") => Ok(()),
        (version, kind) => {
            let (version, kind) = (api::field::quote(version), api::field::quote(kind));
            Err(format!("no kind {kind} is registered for version {version}"))
        }
    }
}

fn rule(value: &Value) -> Result<Rule, String> {
    let resources =
        document::get_list(value, "resources").iter().map(|name| name.as_str().unwrap_or_default().to_owned());
    let providers = document::get_list(value, "providers").iter().map(provider);
    Ok(Rule { resources: resources.collect(), providers: providers.collect::<Result<_, _>>()? })
}

fn provider(value: &Value) -> Result<Provider, String> {
    let given = |name: &str| value.get(name).filter(|it| !it.is_null());
    let keys = |name: &str| given(name).map(|it| document::get_list(it, "keys").iter().map(key).collect());
    Ok(Provider {
        aesgcm: keys("aesgcm"),
        aescbc: keys("aescbc"),
        secretbox: keys("secretbox"),
        identity: given("identity").is_some(),
        kms: given("kms").map(kms).transpose()?,
    })
}

fn key(value: &Value) -> Key {
    Key {
        name: document::get_str(value, "name").to_owned(),
        secret: Zeroizing::new(document::get_str(value, "secret").to_owned()),
    }
}

fn kms(value: &Value) -> Result<Kms, String> {
    let text = |name| document::get_str(value, name).to_owned();
    let timeout = value.get("timeout").and_then(Value::as_str).map(parse_duration).transpose()?;
    let api_version = if text("apiVersion").is_empty() { "v1".to_owned() } else { text("apiVersion") };
    Ok(Kms {
        cache_size: value.get("cachesize").and_then(Value::as_i64).or((api_version == "v1").then_some(1000)),
        api_version,
        name: text("name"),
        endpoint: text("endpoint"),
        timeout: timeout.unwrap_or(TIMEOUT),
    })
}
