//! User names and passwords over HTTP Basic, from a file of hashed passwords. Upstream dropped its file, which held clear text.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::{PasswordHash, PasswordVerifier};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pki::{Digest, KeyedHash};
use tokio::sync::Semaphore;

use super::verified::Verified;
use super::{AuthnError, CredentialFileError, User, csv};

const INVALID: &str = "invalid username/password combination";
/// Hashing takes a core for a tenth of a second and up to `MAX_ARGON2_KIB` of memory.
const CONCURRENT_CHECKS: usize = 2;
const WAITING_CHECKS: usize = 64;
const VERIFIED_PASSWORDS: usize = 256;
const MAX_PASSWORD_BYTES: usize = 1024;
/// bcrypt reads no more: of a longer password, only this part would count.
const MAX_BCRYPT_PASSWORD_BYTES: usize = 72;

const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 10..=16;
/// OWASP's settings for argon2id (19 MiB and 2 passes, 12 MiB and 3, 7 MiB and 5) have these in common.
const MIN_ARGON2_KIB: u32 = 7 * 1024;
const MIN_ARGON2_KIB_PASSES: u64 = 35 * 1024;
const MAX_ARGON2_KIB: u32 = 128 * 1024;
const MAX_ARGON2_KIB_PASSES: u64 = 1024 * 1024;

/// The users of a password file.
pub struct Passwords {
    entries: Vec<Entry>,
    index: HashMap<String, usize>,
    hash: KeyedHash,
    /// Passwords that were right: kubectl sends its own with each of its many requests.
    verified: Verified<Arc<User>>,
    waiting: Semaphore,
    checking: Arc<Semaphore>,
}

struct Entry {
    password: Arc<Hash>,
    user: Arc<User>,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passwords").field("users", &self.entries.len()).finish_non_exhaustive()
    }
}

impl Passwords {
    /// Reads a CSV file: `hash,user,uid,"group1,group2"`, the groups being optional. A hash is bcrypt's (`$2a$`, `$2b$`, `$2y$`) or
    /// an argon2id PHC string, which has commas and must be quoted.
    pub fn load(path: &Path) -> Result<Passwords, CredentialFileError> {
        let text = CredentialFileError::read(path)?;
        Passwords::parse(&path.display().to_string(), &text, Hash::check_strength)
    }

    /// As [`Passwords::load`], of the file's text; `check` says which hashes are strong and cheap enough.
    pub(crate) fn parse(
        path: &str,
        text: &str,
        check: impl Fn(&Hash) -> Result<(), String>,
    ) -> Result<Passwords, CredentialFileError> {
        let records = csv::records(text).map_err(|error| CredentialFileError::new(path, error))?;
        let (mut entries, mut index) = (Vec::new(), HashMap::new());
        for record in records {
            let [hash, name, uid, rest @ ..] = record.as_slice() else {
                return Err(CredentialFileError::columns("password", path, record.len()));
            };
            let wrong = |reason: &str| CredentialFileError::new(path, format!("user {name:?}: {reason}"));
            let password =
                Hash::parse(hash).map_err(|reason| match hash.starts_with("$argon2") && record.len() > 4 {
                    true => wrong("put the argon2id hash, which has commas, in double quotes"),
                    false => wrong(&format!("{reason}; {}", how_to_hash(name))),
                })?;
            check(&password).map_err(|reason| wrong(&format!("{reason}; {}", how_to_hash(name))))?;
            if name.is_empty() || name.contains(':') {
                return Err(wrong("a user name is not empty and has no colon"));
            }
            if index.insert(name.clone(), entries.len()).is_some() {
                return Err(wrong("is in the file twice"));
            }
            let groups = super::split_groups(rest.first());
            let user = User { name: name.clone(), uid: uid.clone(), groups, ..User::default() }.authenticated();
            entries.push(Entry { password: Arc::new(password), user });
        }
        let hash = KeyedHash::new().map_err(|error| CredentialFileError::new(path, error))?;
        let (waiting, checking) = (Semaphore::new(WAITING_CHECKS), Arc::new(Semaphore::new(CONCURRENT_CHECKS)));
        Ok(Passwords { entries, index, hash, verified: Verified::new(VERIFIED_PASSWORDS), waiting, checking })
    }

    /// The user of an Authorization header, None when its scheme is not Basic.
    pub(super) async fn authenticate(&self, authorization: &str) -> Result<Option<Arc<User>>, AuthnError> {
        let Some((scheme, encoded)) = authorization.split_once(' ') else { return Ok(None) };
        if !scheme.eq_ignore_ascii_case("basic") {
            return Ok(None);
        }
        let decoded = STANDARD.decode(encoded.trim()).map_err(|_| AuthnError::refused(INVALID))?;
        let colon = decoded.iter().position(|byte| *byte == b':').ok_or_else(|| AuthnError::refused(INVALID))?;
        let (name, password) = (&decoded[..colon], &decoded[colon + 1..]);
        if password.len() > MAX_PASSWORD_BYTES {
            return Err(AuthnError::refused(INVALID));
        }
        let digest = self.hash.digest(&[name, password]);
        match self.verified.get(&digest) {
            Some(user) => Ok(Some(user)),
            None => self.check(name, password.to_vec(), digest).await.map(Some),
        }
    }

    async fn check(&self, name: &[u8], password: Vec<u8>, digest: Digest) -> Result<Arc<User>, AuthnError> {
        let _waiting = self.waiting.try_acquire().map_err(|_| AuthnError::Overloaded)?;
        let permit = self.checking.clone().acquire_owned().await.map_err(|_| AuthnError::Overloaded)?;
        // Another request may have had the same password checked while this one waited.
        if let Some(user) = self.verified.get(&digest) {
            return Ok(user);
        }
        let known = std::str::from_utf8(name).ok().and_then(|name| self.index.get(name)).copied();
        let Some(entry) = self.entries.get(known.unwrap_or_else(|| self.decoy(name))) else {
            return Err(AuthnError::refused(INVALID));
        };
        let hash = entry.password.clone();
        let checked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            hash.verify(&password)
        });
        let right = checked.await.unwrap_or(false);
        match known {
            Some(_) if right => {
                self.verified.insert(digest, entry.user.clone());
                Ok(entry.user.clone())
            }
            _ => Err(AuthnError::refused(INVALID)),
        }
    }

    /// Somebody else's hash, to take as long over an unknown user as over a known one, and always the same for the same name.
    fn decoy(&self, name: &[u8]) -> usize {
        usize::from(self.hash.digest(&[name])[0]) % self.entries.len().max(1)
    }
}

/// What somebody is told who must make a hash.
fn how_to_hash(name: &str) -> String {
    format!(
        "the first column holds a bcrypt or argon2id hash, never the password: make one with `htpasswd -nBC 12 {name}` \
         (Debian package apache2-utils) and take what follows the colon"
    )
}

/// A stored password hash.
pub(crate) enum Hash {
    Bcrypt { hash: String, cost: u32 },
    Argon2id(String),
}

impl Hash {
    /// Errors say what is wrong, never what was read: it may be a password.
    fn parse(text: &str) -> Result<Hash, String> {
        if ["$2a$", "$2b$", "$2y$"].iter().any(|prefix| text.starts_with(prefix)) {
            let parts: bcrypt::HashParts = text.parse().map_err(|_| "malformed bcrypt hash".to_owned())?;
            return Ok(Hash::Bcrypt { hash: text.to_owned(), cost: parts.get_cost() });
        }
        if text.starts_with("$argon2id$") {
            let parsed = PasswordHash::new(text).map_err(|error| format!("malformed argon2id hash: {error}"))?;
            argon2::Params::try_from(&parsed).map_err(|error| format!("malformed argon2id hash: {error}"))?;
            if parsed.salt.is_none() || parsed.hash.is_none() {
                return Err("malformed argon2id hash: salt or hash is missing".into());
            }
            return Ok(Hash::Argon2id(text.to_owned()));
        }
        Err("not a bcrypt or argon2id hash".into())
    }

    /// Neither so cheap that a stolen file is soon read, nor so dear that a few requests take the machine.
    fn check_strength(&self) -> Result<(), String> {
        match self {
            Hash::Bcrypt { cost, .. } if !BCRYPT_COSTS.contains(cost) => {
                Err(format!("bcrypt's cost must be {} to {}, not {cost}", BCRYPT_COSTS.start(), BCRYPT_COSTS.end()))
            }
            Hash::Bcrypt { .. } => Ok(()),
            Hash::Argon2id(text) => {
                let parsed = PasswordHash::new(text).map_err(|error| error.to_string())?;
                let params = argon2::Params::try_from(&parsed).map_err(|error| error.to_string())?;
                let (memory, passes) = (params.m_cost(), params.t_cost());
                let work = u64::from(memory) * u64::from(passes);
                let weak = memory < MIN_ARGON2_KIB || work < MIN_ARGON2_KIB_PASSES;
                let dear = memory > MAX_ARGON2_KIB || work > MAX_ARGON2_KIB_PASSES;
                let named = format!("m={memory} t={passes}");
                match () {
                    () if weak => Err(format!("argon2id with {named} is too weak: use at least m=19456 t=2")),
                    () if dear => Err(format!("argon2id with {named} is too dear: use at most m={MAX_ARGON2_KIB} t=8")),
                    () => Ok(()),
                }
            }
        }
    }

    fn verify(&self, password: &[u8]) -> bool {
        match self {
            Hash::Bcrypt { hash, .. } => {
                let right = bcrypt::verify(password, hash).unwrap_or(false);
                right && password.len() <= MAX_BCRYPT_PASSWORD_BYTES
            }
            Hash::Argon2id(hash) => {
                PasswordHash::new(hash).is_ok_and(|parsed| Argon2::default().verify_password(password, &parsed).is_ok())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::{PasswordHasher, SaltString};

    use super::*;

    fn bcrypt_hash(password: &str) -> String {
        bcrypt::hash_with_salt(password, 4, [7; 16]).unwrap().format_for_version(bcrypt::Version::TwoY)
    }

    fn argon2id_hash(password: &str) -> String {
        let params = argon2::Params::new(64, 1, 1, None).unwrap();
        let argon2 = Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let salt = SaltString::encode_b64(b"saltsaltsalt").unwrap();
        argon2.hash_password(password.as_bytes(), &salt).unwrap().to_string()
    }

    fn passwords() -> Passwords {
        let (ann, bob) = (bcrypt_hash("s3cret"), argon2id_hash("pa:ss"));
        let text = format!("{ann},ann,1,\"dev,ops\"\n\"{bob}\",bob,2\n");
        Passwords::parse("p.csv", &text, |_| Ok(())).unwrap()
    }

    fn basic(credentials: &str) -> String {
        format!("Basic {}", STANDARD.encode(credentials))
    }

    #[tokio::test]
    async fn the_right_password_gives_the_user_and_a_wrong_one_nothing() {
        let passwords = passwords();
        for _ in 0..2 {
            let ann = passwords.authenticate(&basic("ann:s3cret")).await.unwrap().unwrap();
            assert_eq!((ann.name.as_str(), ann.uid.as_str()), ("ann", "1"));
            assert_eq!(ann.groups, ["dev", "ops", "system:authenticated"]);
        }
        assert_eq!(passwords.authenticate(&basic("bob:pa:ss")).await.unwrap().unwrap().name, "bob");
        for wrong in ["ann:pa:ss", "ann:", "bob:s3cret", "eve:s3cret", ":s3cret", "ann", ""] {
            let error = passwords.authenticate(&basic(wrong)).await.unwrap_err();
            assert_eq!(error, AuthnError::refused(INVALID), "{wrong}");
        }
        assert_eq!(passwords.authenticate("Basic %%%").await, Err(AuthnError::refused(INVALID)));
        assert_eq!(passwords.authenticate("Bearer abc").await, Ok(None));
    }

    #[tokio::test]
    async fn a_password_longer_than_bcrypt_reads_is_refused() {
        let stored = "x".repeat(72);
        let passwords = Passwords::parse("p", &format!("{},ann,1", bcrypt_hash(&stored)), |_| Ok(())).unwrap();
        assert!(passwords.authenticate(&basic(&format!("ann:{stored}"))).await.is_ok());
        assert!(passwords.authenticate(&basic(&format!("ann:{stored}y"))).await.is_err());
    }

    #[tokio::test]
    async fn a_flood_of_checks_is_answered_rather_than_queued() {
        let passwords = passwords();
        let _all = passwords.waiting.acquire_many(WAITING_CHECKS as u32).await.unwrap();
        assert_eq!(passwords.authenticate(&basic("ann:s3cret")).await, Err(AuthnError::Overloaded));
    }

    #[test]
    fn clear_text_and_weak_hashes_are_refused_without_being_shown() {
        let error = |text: &str| Passwords::parse("p.csv", text, Hash::check_strength).unwrap_err().to_string();
        for clear in ["hunter2,ann,1", "{SHA}hunter2,ann,1", "$1$hunter2,ann,1", "$2x$10$hunter2,ann,1"] {
            let error = error(clear);
            assert!(error.starts_with("p.csv: user \"ann\": not a bcrypt or argon2id hash; "), "{error}");
            assert!(error.contains("`htpasswd -nBC 12 ann`") && !error.contains("hunter2"), "{error}");
        }
        assert!(error("$2y$hunter2,ann,1").contains("malformed bcrypt hash"));
        assert!(error(&format!("{},ann,1", bcrypt_hash("x"))).contains("bcrypt's cost must be 10 to 16, not 4"));
        assert!(error(&format!("\"{}\",ann,1", argon2id_hash("x"))).contains("m=64 t=1 is too weak"));
        assert!(error(&format!("{},ann,1", argon2id_hash("x"))).contains("in double quotes"));
        let good = bcrypt_hash("x").replacen("$04$", "$12$", 1);
        assert!(error(&format!("{good},ann,1\n{good},ann,2")).contains("twice"));
        let wanted = "password file 'p.csv' must have at least 3 columns (password, user name, user uid), found 1";
        assert_eq!(error("hunter2"), wanted);
    }

    #[test]
    fn owasps_settings_are_strong_enough() {
        for (memory, passes) in [(19456, 2), (12288, 3), (9216, 4), (7168, 5), (47104, 1), (65536, 3)] {
            let hash = argon2id_hash("x").replace("m=64,t=1", &format!("m={memory},t={passes}"));
            assert_eq!(Hash::parse(&hash).unwrap().check_strength(), Ok(()), "m={memory} t={passes}");
        }
        let dear = argon2id_hash("x").replace("m=64", "m=1048576");
        assert!(Hash::parse(&dear).unwrap().check_strength().unwrap_err().contains("too dear"));
    }
}
