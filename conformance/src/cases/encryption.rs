//! Encryption at rest by the real binary, in the embedded store and in etcd: what stands on the disk, keys that are replaced or
//! missing, and a key service that is not always there.

use crate::case::{Case, Needs};
use crate::context::{Cluster, Context, until};
use crate::etcd::Etcd;
use crate::key_service::KeyService;
use crate::server::{Process, Server};
use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const CASES: &[Case] = &[
    Case::new("encryption::keys_are_replaced_in_the_log", Needs::Binary, |cx| keys_are_replaced(&Bed::log(cx)?)),
    Case::new("encryption::keys_are_replaced_in_etcd", Needs::Binary, |cx| keys_are_replaced(&Bed::etcd(cx)?)),
    Case::new("encryption::without_its_key_the_log_is_kept", Needs::Binary, |cx| without_its_key(&Bed::log(cx)?)),
    Case::new("encryption::without_its_key_etcd_is_kept", Needs::Binary, |cx| without_its_key(&Bed::etcd(cx)?)),
    Case::new("encryption::a_key_service_of_the_log_comes_and_goes", Needs::Binary, |cx| a_key_service(&Bed::log(cx)?)),
    Case::new("encryption::a_key_service_of_etcd_comes_and_goes", Needs::Binary, |cx| a_key_service(&Bed::etcd(cx)?)),
];

/// As nothing is written there.
const BLOCK: [u8; 4096] = [0; 4096];
const NEEDLE: &str = "a needle in the haystack";
const SECRETS: usize = 5;
/// A server asks a key service again every ten seconds.
const NOTICED: Duration = Duration::from_secs(40);

/// A store with a server on it, which is started as often as need be.
struct Bed<'a> {
    outer: &'a Context<'a>,
    dir: PathBuf,
    etcd: Option<Etcd>,
}

/// A server that runs, and what cases need to use it.
struct Running {
    server: Server,
    cluster: Cluster,
}

impl<'a> Bed<'a> {
    fn log(outer: &'a Context<'a>) -> Result<Bed<'a>> {
        Ok(Bed { outer, dir: outer.dir.path().to_owned(), etcd: None })
    }

    fn etcd(outer: &'a Context<'a>) -> Result<Bed<'a>> {
        Ok(Bed { etcd: Some(Etcd::start(outer)?), ..Bed::log(outer)? })
    }

    /// An EncryptionConfiguration for Secrets.
    fn configure(&self, providers: &Value) -> Result<PathBuf> {
        let file = self.dir.join("encryption.json");
        let configuration = json!({
            "kind": "EncryptionConfiguration", "apiVersion": "apiserver.config.k8s.io/v1",
            "resources": [{ "resources": ["secrets"], "providers": providers }],
        });
        fs::write(&file, configuration.to_string())?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        Ok(file)
    }

    fn flags(&self, providers: &Value) -> Result<Vec<String>> {
        let file = self.configure(providers)?.to_str().context("the path is not UTF-8")?.to_owned();
        let mut flags = vec!["--encryption-provider-config".to_owned(), file];
        match &self.etcd {
            Some(etcd) => flags.extend(["--store", "etcd", "--etcd-servers", &etcd.url].map(str::to_owned)),
            None => flags.extend(["--store", "embedded"].map(str::to_owned)),
        }
        Ok(flags)
    }

    fn start(&self, providers: &Value) -> Result<Running> {
        let flags = self.flags(providers)?;
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let data_dir = self.dir.join("data");
        let server = Server::start(self.outer.binary()?, "apiserver", &data_dir, &flags)?;
        let cluster = Cluster::connect("", &server.kubeconfig(), Some(&data_dir), &self.outer.settings.runtime)?;
        Ok(Running { server, cluster })
    }

    /// What a server says that does not start.
    fn refused(&self, providers: &Value) -> Result<String> {
        let flags = self.flags(providers)?;
        let (data_dir, log) = (self.dir.join("data"), self.dir.join("refused.log"));
        let mut arguments = vec!["apiserver", "--secure-port", "0", "--data-dir"];
        arguments.push(data_dir.to_str().context("the path is not UTF-8")?);
        arguments.extend(flags.iter().map(String::as_str));
        let mut process = Process::start(self.outer.binary()?, &arguments, &log)?;
        let status = process.ended(Duration::from_secs(30))?;
        ensure!(!status.success(), "it started: {}", process.printed()?);
        process.printed()
    }

    /// How often a text stands in the store's files.
    fn count(&self, text: &str) -> Result<usize> {
        match &self.etcd {
            Some(etcd) => count(&etcd.data_dir, text.as_bytes()),
            None => count(&self.dir.join("data/store"), text.as_bytes()),
        }
    }
}

impl Running {
    fn context<'a>(&'a self, bed: &'a Bed) -> Result<Context<'a>> {
        bed.outer.on(&self.cluster, "default")
    }

    fn stop(mut self) -> Result<()> {
        let (status, _) = self.server.process.signal("TERM")?;
        ensure!(status.success(), "it ended with {status}");
        Ok(())
    }
}

fn count(path: &Path, text: &[u8]) -> Result<usize> {
    if path.is_dir() {
        return fs::read_dir(path)?.map(|entry| count(&entry?.path(), text)).sum();
    }
    // Most of etcd's log is yet to be written.
    let bytes = fs::read(path)?;
    let written: Vec<&[u8]> = bytes.chunks(BLOCK.len()).filter(|block| **block != BLOCK[..block.len()]).collect();
    Ok(written.concat().windows(text.len()).filter(|window| *window == text).count())
}

/// A provider with keys: each is a name and the byte of which it consists.
fn provider(name: &str, keys: &[(&str, u8)]) -> Value {
    let key = |(name, byte): &(&str, u8)| json!({ "name": name, "secret": STANDARD.encode([*byte; 32]) });
    json!({ name: { "keys": keys.iter().map(key).collect::<Vec<Value>>() } })
}

fn create(cx: &Context, names: impl IntoIterator<Item = String>) -> Result<()> {
    for name in names {
        let secret = json!({ "metadata": { "name": name }, "stringData": { "key": NEEDLE } });
        let made = cx.post("/api/v1/namespaces/default/secrets", &secret)?;
        ensure!(made.status == 201, "{}", made.text);
    }
    Ok(())
}

fn names() -> impl Iterator<Item = String> {
    (0..SECRETS).map(|n| format!("sealed-{n}"))
}

/// All of them can be read, alone and in a list.
fn all_there(cx: &Context) -> Result<()> {
    let list = cx.read("/api/v1/secrets")?;
    ensure!(list.status == 200, "{}", list.text);
    let found = list.json()?["items"].as_array().map_or(0, Vec::len);
    ensure!(found == SECRETS, "{found} secrets");
    for name in names() {
        let secret = cx.read(&format!("/api/v1/namespaces/default/secrets/{name}"))?;
        ensure!(secret.status == 200 && secret.json()?["data"]["key"] == STANDARD.encode(NEEDLE), "{}", secret.text);
    }
    Ok(())
}

/// As upstream's documentation has it.
fn write_all_again(cx: &Context) -> Result<()> {
    let all = cx.kubectl("get secrets -A -o json")?;
    let replaced = cx.kubectl_reading("replace -f - -A", &all).or_else(|_| cx.kubectl_reading("replace -f -", &all))?;
    ensure!(replaced.lines().filter(|line| line.ends_with("replaced")).count() == SECRETS, "{replaced}");
    Ok(())
}

fn keys_are_replaced(bed: &Bed) -> Result<()> {
    let clear = json!([{ "identity": {} }]);
    let running = bed.start(&clear)?;
    let cx = running.context(bed)?;
    create(&cx, names())?;
    running.stop()?;
    let in_clear = bed.count(&STANDARD.encode(NEEDLE))?;
    ensure!(in_clear >= SECRETS, "nothing is encrypted yet");
    // Each provider in turn: in front of the one before, everything written again, the one before taken out.
    let mut before = json!({ "identity": {} });
    for (name, key, byte) in
        [("aescbc", "one", 1), ("aescbc", "two", 2), ("aesgcm", "three", 3), ("secretbox", "four", 4)]
    {
        let new = provider(name, &[(key, byte)]);
        let running = bed.start(&json!([new, before]))?;
        let cx = running.context(bed)?;
        all_there(&cx)?;
        write_all_again(&cx)?;
        running.stop()?;
        let prefix = format!("k8s:enc:{name}:v1:{key}:");
        ensure!(bed.count(&prefix)? >= SECRETS, "nothing is written with {prefix}");
        let running = bed.start(&json!([new]))?;
        all_there(&running.context(bed)?).with_context(|| format!("with {prefix} only"))?;
        running.stop()?;
        before = new;
    }
    ensure!(bed.count(&STANDARD.encode(NEEDLE))? <= in_clear, "something was written in clear again");
    Ok(())
}

fn without_its_key(bed: &Bed) -> Result<()> {
    let right = json!([provider("aesgcm", &[("one", 1)])]);
    let running = bed.start(&right)?;
    let cx = running.context(bed)?;
    create(&cx, names())?;
    let map = json!({ "metadata": { "name": "clear" }, "data": { "a": "b" } });
    ensure!(cx.post("/api/v1/namespaces/default/configmaps", &map)?.status == 201, "a config map");
    running.stop()?;
    ensure!(bed.count(&STANDARD.encode(NEEDLE))? == 0, "something stands in clear");
    for (wrong, why) in [
        (provider("aesgcm", &[("one", 2)]), "cipher: message authentication failed"),
        (provider("aesgcm", &[("two", 1)]), "no matching key was found for the provided AES transformer"),
        (provider("aescbc", &[("one", 1)]), "no matching prefix found"),
        (json!({ "identity": {} }), "no matching prefix found"),
    ] {
        let wrong = json!([wrong]);
        if bed.etcd.is_none() {
            let said = bed.refused(&wrong)?;
            ensure!(said.contains(why) && said.contains("/registry/secrets/default/sealed-"), "{said}");
            continue;
        }
        // As upstream's: what cannot be read is an error, and everything else goes on.
        let running = bed.start(&wrong)?;
        let cx = running.context(bed)?;
        let one = "/api/v1/namespaces/default/secrets/sealed-0";
        cx.read(one)?.refused(500, "InternalError", &[why])?;
        cx.read("/api/v1/secrets")?.refused(500, "InternalError", &["unable to transform key", why])?;
        let put = json!({ "metadata": { "name": "sealed-0" }, "stringData": { "key": "lost" } });
        ensure!(cx.put(one, &put)?.status == 500, "what cannot be read is not replaced");
        ensure!(cx.raw(http::Method::DELETE, one, &[], "")?.status == 500, "nor deleted");
        ensure!(cx.read("/api/v1/namespaces/default/configmaps/clear")?.status == 200, "others are there");
        running.stop()?;
    }
    let running = bed.start(&right)?;
    all_there(&running.context(bed)?)?;
    running.stop()
}

fn a_key_service(bed: &Bed) -> Result<()> {
    let socket = bed.dir.join("kms.sock");
    let mut service = KeyService::start(&socket, &bed.outer.settings.runtime)?;
    let endpoint = format!("unix://{}", socket.display());
    let kms = json!([{ "kms": { "apiVersion": "v2", "name": "test", "endpoint": endpoint, "timeout": "1s" } }]);
    let running = bed.start(&kms)?;
    let cx = running.context(bed)?;
    create(&cx, names())?;
    is_ready(&cx, true)?;
    ensure!(bed.count(&STANDARD.encode(NEEDLE))? == 0, "something stands in clear");
    ensure!(bed.count("k8s:enc:kms:v2:test:")? >= SECRETS, "nothing is encrypted");

    // Away for a while: what is known goes on, and it is said.
    service.go();
    until("the service to be missed", NOTICED, || Ok(is_ready(&cx, false).is_ok()))?;
    all_there(&cx).context("while the service is away")?;
    service.come()?;
    until("the service to be seen again", NOTICED, || Ok(is_ready(&cx, true).is_ok()))?;

    // Another key: what was written before is written again when it is replaced.
    service.renew("k2");
    until("the new key to be used", Duration::from_secs(90), || {
        let _ = is_ready(&cx, true);
        write_all_again(&cx)?;
        Ok(bed.count("\u{12}\u{2}k2\u{1a}")? >= SECRETS)
    })?;
    running.stop()?;

    // Away at the start.
    service.go();
    if bed.etcd.is_none() {
        let said = bed.refused(&kms)?;
        ensure!(said.contains("/registry/secrets/default/sealed-"), "{said}");
        service.come()?;
    }
    let running = bed.start(&kms)?;
    let cx = running.context(bed)?;
    if bed.etcd.is_some() {
        is_ready(&cx, false)?;
        let one = cx.read("/api/v1/namespaces/default/secrets/sealed-0")?;
        one.refused(500, "InternalError", &["got unexpected nil transformer"])?;
        service.come()?;
    }
    until("what could not be read to be read", NOTICED, || Ok(all_there(&cx).is_ok()))?;
    until("readiness", NOTICED, || Ok(is_ready(&cx, true).is_ok()))?;
    running.stop()
}

/// Whether `/readyz`, and with it `/healthz/kms-providers`, tells that the key service is well, or that it is not.
fn is_ready(cx: &Context, wanted: bool) -> Result<()> {
    let (ready, service) = (cx.read("/readyz")?, cx.read("/healthz/kms-providers")?);
    let live = cx.read("/livez")?;
    ensure!(live.status == 200, "a restart mends nothing: {}", live.text);
    match wanted {
        true => ensure!(ready.status == 200 && service.status == 200, "{} {}", ready.text, service.text),
        false => {
            ensure!(ready.status == 500 && ready.text.contains("[-]kms-providers failed"), "{}", ready.text);
            ensure!(service.status == 500 && service.text.contains("KMS Provider test"), "{}", service.text);
        }
    }
    Ok(())
}
