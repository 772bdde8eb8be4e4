use super::chain::TOO_SHORT;
use super::*;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::fmt::Write;
use std::os::unix::fs::PermissionsExt;
use storage::{Codec, Place};

/// A key of 32 bytes, all alike.
fn secret(byte: u8) -> String {
    BASE64_STANDARD.encode([byte; 32])
}

const HEAD: &str = "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n";

/// A rule of a configuration; providers in YAML's flow style.
fn rule(resources: &str, providers: &[String]) -> String {
    let providers: String = providers.iter().map(|provider| format!("  - {provider}\n")).collect();
    format!("- resources: [{resources}]\n  providers:\n{providers}")
}

fn keyed(provider: &str, keys: &[(&str, u8)]) -> String {
    let keys: Vec<String> =
        keys.iter().map(|(name, key)| format!("{{name: {name}, secret: {}}}", secret(*key))).collect();
    format!("{provider}: {{keys: [{}]}}", keys.join(", "))
}

fn identity() -> String {
    "identity: {}".to_owned()
}

struct File(tempfile::TempDir);

impl File {
    fn new(text: &str) -> File {
        let file = File(tempfile::tempdir().unwrap());
        file.write(text);
        file
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("encryption.yaml")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
        std::fs::set_permissions(self.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

fn load(text: &str) -> Result<Arc<Encryption>, String> {
    Encryption::load(&File::new(text).path(), true)
}

fn with(providers: &[String]) -> Arc<Encryption> {
    load(&format!("{HEAD}{}", rule("secrets", providers))).unwrap()
}

const KEY: &str = "/registry/secrets/default/a";

fn seal(encryption: &Encryption, plain: &str) -> Bytes {
    encryption.seal(KEY.into(), plain.as_bytes()).unwrap().expect("it is sealed")
}

fn open(encryption: &Encryption, kept: &[u8]) -> Result<(String, bool), String> {
    let opened = encryption.open(KEY.into(), &Bytes::copy_from_slice(kept))?;
    Ok((String::from_utf8_lossy(&opened.value).into_owned(), opened.stale))
}

const ALL: [&str; 3] = ["aesgcm", "aescbc", "secretbox"];

#[test]
fn values_that_upstream_kept_are_read() {
    let encryption = load(include_str!("golden.yaml")).unwrap();
    let mut prefixes = Vec::new();
    for line in include_str!("golden.txt").lines().filter(|line| !line.starts_with('#')) {
        let (kept_at, kept) = line.split_once(' ').unwrap();
        let key = kept_at.replace("/clusters/one/", "/registry/");
        let place = Place { key: &key, kept_at };
        let kept = Bytes::from(BASE64_STANDARD.decode(kept).unwrap());
        let opened = encryption.open(place, &kept).unwrap_or_else(|error| panic!("{kept_at}: {error}"));
        assert!(opened.value.starts_with(b"k8s\0"), "{kept_at}: upstream's protobuf");
        assert!(!opened.stale, "{key}");
        let codec = Sealed::new(encryption.clone(), Arc::new(crate::Layout));
        let object: api::Value = serde_json::from_slice(&codec.open(place, &kept).unwrap().value).unwrap();
        assert_eq!(api::document::name(&object), key.rsplit('/').next().unwrap());
        let sealed = encryption.seal(place, &opened.value).unwrap().unwrap();
        let names = kept.split(|byte| *byte == b':').take(5).collect::<Vec<_>>().join(&b':');
        assert!(sealed.starts_with(&names) && sealed.len() == kept.len(), "{key}");
        prefixes.push(String::from_utf8(names).unwrap());
    }
    assert_eq!(prefixes.len(), 12);
}

#[test]
fn what_is_sealed_is_opened_and_never_the_same_twice() {
    for provider in ALL {
        let encryption = with(&[keyed(provider, &[("one", 1)])]);
        for length in [0, 1, 15, 16, 17, 1000] {
            let plain = "x".repeat(length);
            let (first, second) = (seal(&encryption, &plain), seal(&encryption, &plain));
            assert!(first.starts_with(format!("k8s:enc:{provider}:v1:one:").as_bytes()));
            assert_ne!(first, second, "{provider}");
            assert_eq!(open(&encryption, &first), Ok((plain, false)), "{provider} {length}");
        }
    }
}

#[test]
fn damaged_values_are_refused() {
    for provider in ["aesgcm", "secretbox"] {
        let encryption = with(&[keyed(provider, &[("one", 1)])]);
        let kept = seal(&encryption, "a secret of some length");
        for bit in 0..kept.len() * 8 {
            let mut damaged = kept.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&encryption, &damaged).is_err(), "{provider}: bit {bit}");
        }
        for end in 0..kept.len() {
            assert!(open(&encryption, &kept[..end]).is_err(), "{provider}: cut at {end}");
        }
    }
    // AES-CBC authenticates nothing; that what is cut off is missed is all it can tell.
    let encryption = with(&[keyed("aescbc", &[("one", 1)])]);
    let kept = seal(&encryption, "a secret of some length");
    for end in 0..kept.len() {
        assert!(open(&encryption, &kept[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn a_value_moved_to_another_key_is_refused() {
    let encryption = with(&[keyed("aesgcm", &[("one", 1)])]);
    let kept = seal(&encryption, "a secret");
    let elsewhere = Place { key: KEY, kept_at: "/clusters/one/secrets/default/a" };
    for place in ["/registry/secrets/default/b".into(), elsewhere] {
        let error = encryption.open(place, &kept).err();
        assert_eq!(error.as_deref(), Some("cipher: message authentication failed"), "{place:?}");
    }
    let there = encryption.seal(elsewhere, b"a secret").unwrap().unwrap();
    assert!(encryption.open(KEY.into(), &there).is_err() && encryption.open(elsewhere, &there).is_ok());
}

#[test]
fn errors_are_upstreams_and_name_the_key() {
    let written = with(&[keyed("aesgcm", &[("one", 1)])]);
    let kept = seal(&written, "a secret");
    let refused = |providers: &[String], kept: &[u8]| open(&with(providers), kept).unwrap_err();
    let again = "cipher: message authentication failed";
    assert_eq!(refused(&[keyed("aesgcm", &[("one", 2)])], &kept), again);
    assert_eq!(refused(&[keyed("aesgcm", &[("one", 2)]), keyed("aesgcm", &[("one", 3)])], &kept), again);
    let none = "no matching key was found for the provided AES transformer";
    assert_eq!(refused(&[keyed("aesgcm", &[("two", 1)])], &kept), none);
    assert_eq!(
        refused(&[keyed("aesgcm", &[("two", 1)]), keyed("aesgcm", &[("one", 2)])], &kept),
        format!("[{none}, {again}]")
    );
    assert_eq!(refused(&[keyed("aescbc", &[("one", 1)])], &kept), "no matching prefix found");
    assert_eq!(refused(&[identity()], &kept), "no matching prefix found");
    assert_eq!(refused(&[keyed("aesgcm", &[("one", 1)])], b"k8s:enc:aesgcm:v1:one:short"), TOO_SHORT);
    let clear = refused(&[keyed("aesgcm", &[("one", 1)])], b"{}");
    assert!(clear.starts_with("no matching prefix found"), "{clear}");
    let codec = Sealed::new(with(&[keyed("aesgcm", &[("one", 2)])]), Arc::new(crate::Layout));
    let error = codec.open(KEY.into(), &kept).err().unwrap();
    assert_eq!(error, again);
    // Of resources without a rule, too.
    let error = written.open("/registry/pods/default/a".into(), &kept).err();
    assert_eq!(error.as_deref(), Some("identity transformer tried to read encrypted data"));
}

#[test]
fn the_first_provider_writes_and_all_read() {
    let old = with(&[keyed("aescbc", &[("one", 1)])]);
    let kept = seal(&old, "a secret");
    // A key in front, a provider in front, identity in front.
    for front in [keyed("aescbc", &[("two", 2), ("one", 1)]), keyed("secretbox", &[("two", 2)]), identity()] {
        let new = with(&[front.clone(), keyed("aescbc", &[("one", 1)])]);
        assert_eq!(open(&new, &kept), Ok(("a secret".to_owned(), true)), "{front}");
    }
    let decrypting = with(&[identity(), keyed("aescbc", &[("one", 1)])]);
    assert!(decrypting.seal(KEY.into(), b"{}").unwrap().is_none() && !decrypting.seals(KEY));
    assert_eq!(open(&decrypting, b"{}"), Ok(("{}".to_owned(), false)));
    let encrypting = with(&[keyed("aescbc", &[("one", 1)]), identity()]);
    assert_eq!(open(&encrypting, b"{}"), Ok(("{}".to_owned(), true)));
}

#[test]
fn the_most_particular_rule_counts() {
    let text = [
        rule("secrets", &[keyed("aesgcm", &[("secrets", 1)])]),
        rule("'*.apps'", &[keyed("aesgcm", &[("apps", 2)])]),
        rule("events", &[identity()]),
        rule("'*.'", &[keyed("aesgcm", &[("core", 3)])]),
        rule("'*.*'", &[keyed("aesgcm", &[("all", 4)])]),
    ];
    let encryption = load(&format!("{HEAD}{}", text.concat())).unwrap();
    for (key, name) in [
        ("/registry/secrets/default/a", "secrets"),
        ("/registry/deployments/default/a", "apps"),
        ("/registry/configmaps/default/a", "core"),
        ("/registry/events/default/a", ""),
        ("/registry/roles/default/a", "all"),
        ("/registry/example.com/widgets/default/a", "all"),
    ] {
        let sealed = encryption.seal(key.into(), b"{}").unwrap().unwrap_or_default();
        let used = sealed.split(|byte| *byte == b':').nth(4).unwrap_or_default();
        assert_eq!(String::from_utf8_lossy(used), name, "{key}");
    }
}

#[test]
fn rules_for_the_same_resource_are_joined() {
    let rules = rule("secrets", &[keyed("aesgcm", &[("one", 1)])]) + &rule("secrets", &[identity()]);
    let encryption = load(&format!("{HEAD}{rules}")).unwrap();
    assert_eq!(open(&encryption, b"{}"), Ok(("{}".to_owned(), true)));
}

/// `errors.txt`: configurations that are wrong, and what is said of each.
#[test]
fn wrong_configurations_are_refused_in_upstreams_words() {
    let mut found = String::new();
    for case in include_str!("errors.txt").split("\n---\n") {
        let text: String = case.lines().filter(|line| !line.starts_with("#=")).fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "{line}");
            text
        });
        let file = File::new(&text);
        let error = Encryption::load(&file.path(), true).err().unwrap_or_else(|| panic!("{text} is accepted"));
        let error = error.replace(&*file.path().to_string_lossy(), "FILE").replace('\n', "\\n");
        let _ = write!(found, "{}#= {error}\n---\n", text.trim_end_matches('\n').to_owned() + "\n");
        assert!(!error.contains("MDEyMzQ1Njc4OWFiY2RlZg"), "{error}");
    }
    let wanted = include_str!("errors.txt");
    assert_eq!(found.trim_end_matches("---\n"), wanted, "what was found:\n{found}");
}

#[test]
fn files_that_are_missing_empty_or_too_large_are_refused() {
    let file = File::new("");
    let path = file.path().display().to_string();
    let error = || Encryption::load(&file.path(), false).err().unwrap();
    let before = "error while parsing file: error while loading file: ";
    assert_eq!(error(), format!("{before}encryption provider configuration file \"{path}\" is empty"));
    file.write(&" ".repeat(2 << 20));
    assert!(error().ends_with("is larger than 1048576 bytes"));
    std::fs::remove_file(file.path()).unwrap();
    let missing = format!(
        "{before}error reading encryption provider configuration file \"{path}\": open {path}: no such file or directory"
    );
    assert_eq!(error(), missing);
}

#[test]
fn a_reload_makes_what_was_written_before_outdated() {
    let one = format!("{HEAD}{}", rule("secrets", &[keyed("aesgcm", &[("one", 1)])]));
    let two = format!("{HEAD}{}", rule("secrets", &[keyed("aesgcm", &[("two", 2), ("one", 1)])]));
    let file = File::new(&one);
    let encryption = Encryption::load(&file.path(), true).unwrap();
    let kept = seal(&encryption, "a secret");
    assert_eq!(encryption.reload(10), Ok(false), "nothing has changed");
    assert!(!encryption.is_outdated(KEY, 10));
    file.write("resources: 1");
    assert!(encryption.reload(11).is_err());
    assert_eq!(open(&encryption, &kept), Ok(("a secret".to_owned(), false)), "the one before stays in force");
    file.write(&two);
    assert_eq!(encryption.reload(12), Ok(true));
    assert_eq!(open(&encryption, &kept), Ok(("a secret".to_owned(), true)));
    assert!(encryption.is_outdated(KEY, 12) && !encryption.is_outdated(KEY, 13));
    assert!(!encryption.is_outdated("/registry/configmaps/default/a", 12), "of them nothing has changed");
}
