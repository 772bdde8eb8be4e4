//! Encryption at rest: what stands in the data directory, and how keys are replaced.

use crate::client::{Client, version};
use crate::{Space, bare, config_map};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use coracle::{Cluster, StoreKind};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const NEEDLE: &str = "a needle in the haystack";
const NEEDLE_BASE64: &str = "YSBuZWVkbGUgaW4gdGhlIGhheXN0YWNr";

/// An EncryptionConfiguration for Secrets; a provider is its name and its keys, each of them a name and a byte.
fn configuration(dir: &Path, providers: &[(&str, &[(&str, u8)])]) -> PathBuf {
    let provider = |(provider, keys): &(&str, &[(&str, u8)])| {
        if *provider == "identity" {
            return json!({ "identity": {} });
        }
        let key = |(name, byte): &(&str, u8)| json!({ "name": name, "secret": BASE64_STANDARD.encode([*byte; 32]) });
        json!({ *provider: { "keys": keys.iter().map(key).collect::<Vec<Value>>() } })
    };
    let providers: Vec<Value> = providers.iter().map(provider).collect();
    let configuration = json!({
        "kind": "EncryptionConfiguration", "apiVersion": "apiserver.config.k8s.io/v1",
        "resources": [{ "resources": ["secrets"], "providers": providers }],
    });
    let (file, temporary) = (dir.join("encryption.json"), dir.join("encryption.new"));
    std::fs::write(&temporary, configuration.to_string()).unwrap();
    std::fs::rename(&temporary, &file).unwrap();
    file
}

async fn try_start(dir: &Path, file: Option<PathBuf>) -> anyhow::Result<Cluster> {
    let mut builder = bare().data_dir(dir.join("data")).store(StoreKind::embedded());
    builder.options.encryption_provider_config_automatic_reload = file.is_some();
    builder.options.encryption_provider_config = file;
    builder.start().await
}

async fn start(dir: &Path, providers: &[(&str, &[(&str, u8)])]) -> (Cluster, Client) {
    let cluster = try_start(dir, Some(configuration(dir, providers))).await.expect("a cluster");
    let client = Client::new(cluster.client().unwrap());
    (cluster, client)
}

fn secret(name: &str) -> Value {
    json!({ "metadata": { "name": name }, "stringData": { "key": NEEDLE } })
}

/// How often a text stands in the files of the store.
fn count(dir: &Path, text: &str) -> usize {
    let files =
        std::fs::read_dir(dir.join("data/store")).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    files.map(|bytes| bytes.windows(text.len()).filter(|window| *window == text.as_bytes()).count()).sum()
}

/// Replaces an object by itself; gives its resource version then.
async fn rewrite(client: &Client, path: &str) -> String {
    let object = client.get(path).await.ok();
    version(&client.put(path, &object).await.ok()).to_owned()
}

#[test]
fn secrets_stand_in_no_file_in_clear() {
    crate::run(async {
        for provider in ["aesgcm", "aescbc", "secretbox"] {
            let dir = tempfile::tempdir().unwrap();
            let (cluster, _) = start(dir.path(), &[(provider, &[("one", 1)])]).await;
            let space = Space::new(&cluster, "sealed").await;
            let made = space.create(&space.core("secrets"), secret("a")).await;
            space.create(&space.core("configmaps"), config_map("b", json!({ "n": "in clear" }))).await;
            cluster.stop().await;
            assert_eq!(count(dir.path(), NEEDLE_BASE64), 0, "{provider}");
            assert_eq!(count(dir.path(), &format!("k8s:enc:{provider}:v1:one:")), 1, "{provider}");
            assert_eq!(count(dir.path(), "in clear"), 1, "of other resources nothing was said");

            let (cluster, client) = start(dir.path(), &[(provider, &[("one", 1)])]).await;
            assert_eq!(client.get(&space.core("secrets/a")).await.ok(), made, "{provider}");
            cluster.stop().await;
        }
    });
}

#[test]
fn a_key_in_front_is_written_with_and_a_provider_behind_is_read_with() {
    crate::run(async {
        let dir = tempfile::tempdir().unwrap();
        let (cluster, _) = start(dir.path(), &[("identity", &[])]).await;
        let space = Space::new(&cluster, "rotation").await;
        space.create(&space.core("secrets"), secret("a")).await;
        let path = space.core("secrets/a");
        cluster.stop().await;
        assert_eq!(count(dir.path(), NEEDLE_BASE64), 1);

        // Encrypting, another key, decrypting: each is done by writing the same object again, once.
        for providers in [
            &[("aescbc", &[("one", 1)][..]), ("identity", &[])][..],
            &[("aescbc", &[("two", 2), ("one", 1)]), ("identity", &[])],
            &[("identity", &[]), ("aescbc", &[("two", 2), ("one", 1)])],
        ] {
            let (cluster, client) = start(dir.path(), providers).await;
            let before = version(&client.get(&path).await.ok()).to_owned();
            let after = rewrite(&client, &path).await;
            assert_ne!(before, after, "it is written although nothing has changed");
            assert_eq!(rewrite(&client, &path).await, after, "and then no more");
            cluster.stop().await;
        }
        assert_eq!(count(dir.path(), "k8s:enc:aescbc:v1:one:"), 1);
        assert_eq!(count(dir.path(), "k8s:enc:aescbc:v1:two:"), 1);
        assert_eq!(count(dir.path(), NEEDLE_BASE64), 2, "before and after");
    });
}

#[test]
fn an_old_key_may_be_taken_out_when_everything_was_written_again() {
    crate::run(async {
        let dir = tempfile::tempdir().unwrap();
        let cluster = try_start(dir.path(), None).await.unwrap();
        let space = Space::new(&cluster, "old-keys").await;
        space.create(&space.core("secrets"), secret("a")).await;
        let path = space.core("secrets/a");
        cluster.stop().await;
        for (with, without) in [
            (&[("aesgcm", &[("one", 1)][..]), ("identity", &[])][..], &[("aesgcm", &[("one", 1)][..])][..]),
            (&[("secretbox", &[("two", 2)]), ("aesgcm", &[("one", 1)])], &[("secretbox", &[("two", 2)])]),
        ] {
            let refused = try_start(dir.path(), Some(configuration(dir.path(), without))).await.err().unwrap();
            assert!(format!("{refused:#}").contains("/registry/secrets/old-keys/a"), "too early: {refused:#}");
            let (cluster, client) = start(dir.path(), with).await;
            rewrite(&client, &path).await;
            cluster.stop().await;
            let (cluster, client) = start(dir.path(), without).await;
            assert_eq!(client.get(&path).await.ok()["data"]["key"], NEEDLE_BASE64);
            cluster.stop().await;
        }
    });
}

#[test]
fn without_its_key_the_store_is_not_opened() {
    crate::run(async {
        let dir = tempfile::tempdir().unwrap();
        let (cluster, _) = start(dir.path(), &[("aesgcm", &[("one", 1)])]).await;
        let space = Space::new(&cluster, "lost").await;
        space.create(&space.core("secrets"), secret("a")).await;
        cluster.stop().await;
        let refused = |file| async { format!("{:#}", try_start(dir.path(), file).await.err().expect("it is refused")) };
        for (providers, why) in [
            (&[("aesgcm", &[("one", 2)][..])][..], "cipher: message authentication failed"),
            (&[("aesgcm", &[("two", 1)])], "no matching key was found for the provided AES transformer"),
            (&[("identity", &[])], "no matching prefix found"),
        ] {
            let error = refused(Some(configuration(dir.path(), providers))).await;
            assert!(error.contains(why) && error.contains("/registry/secrets/lost/a"), "{error}");
        }
        let error = refused(None).await;
        assert!(error.contains("/registry/secrets/lost/a") && error.contains("encrypted"), "{error}");
        // Nothing was changed by all that.
        let (cluster, client) = start(dir.path(), &[("aesgcm", &[("one", 1)])]).await;
        client.get(&space.core("secrets/a")).await.ok();
        cluster.stop().await;
    });
}

#[test]
fn values_in_clear_are_refused_unless_identity_may_read_them() {
    crate::run(async {
        let dir = tempfile::tempdir().unwrap();
        let cluster = try_start(dir.path(), None).await.unwrap();
        let space = Space::new(&cluster, "clear").await;
        space.create(&space.core("secrets"), secret("a")).await;
        cluster.stop().await;
        let file = configuration(dir.path(), &[("aesgcm", &[("one", 1)])]);
        let error = format!("{:#}", try_start(dir.path(), Some(file)).await.err().expect("it is refused"));
        assert!(error.contains("no matching prefix found") && error.contains("/registry/secrets/clear/a"), "{error}");
    });
}

#[test]
fn a_changed_file_is_taken_into_use_at_once() {
    crate::run(async {
        let dir = tempfile::tempdir().unwrap();
        let (cluster, client) = start(dir.path(), &[("aesgcm", &[("one", 1)])]).await;
        let space = Space::new(&cluster, "reload").await;
        space.create(&space.core("secrets"), secret("a")).await;
        let path = space.core("secrets/a");
        let before = version(&client.get(&path).await.ok()).to_owned();
        assert_eq!(rewrite(&client, &path).await, before);
        configuration(dir.path(), &[("secretbox", &[("two", 2)]), ("aesgcm", &[("one", 1)])]);
        // The first write with the new key is the first that changes the version.
        while rewrite(&client, &path).await == before {}
        let metrics = client.get("/metrics").await.text;
        let reloads = "apiserver_encryption_config_controller_automatic_reloads_total{status=\"success\"} 1";
        assert!(metrics.contains(reloads), "{metrics}");
        cluster.stop().await;
        assert_eq!(count(dir.path(), "k8s:enc:secretbox:v1:two:"), 1);
    });
}
