//! Static bearer tokens (`--token-auth-file`), and those the server makes for itself.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use pki::{Digest, KeyedHash};

use super::{CredentialFileError, User, csv};

/// Bearer tokens with their users. Tokens are held as keyed digests, which also makes their comparison constant in time.
pub struct StaticTokens {
    hash: KeyedHash,
    users: HashMap<Digest, Arc<User>>,
}

impl fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticTokens").field("count", &self.users.len()).finish_non_exhaustive()
    }
}

impl StaticTokens {
    pub fn new() -> Result<StaticTokens, pki::Error> {
        Ok(StaticTokens { hash: KeyedHash::new()?, users: HashMap::new() })
    }

    /// Adds a token; false when it was there (then the user is replaced).
    pub fn insert(&mut self, token: &str, user: Arc<User>) -> bool {
        self.users.insert(self.hash.digest(&[token.as_bytes()]), user).is_none()
    }

    /// Adds the tokens of a CSV file: `token,user,uid,"group1,group2"`, the groups being optional.
    pub fn load(&mut self, path: &Path) -> Result<(), CredentialFileError> {
        let text = CredentialFileError::read(path)?;
        self.parse(&path.display().to_string(), &text)
    }

    /// As [`StaticTokens::load`], of the file's text.
    pub(crate) fn parse(&mut self, path: &str, text: &str) -> Result<(), CredentialFileError> {
        let records = csv::records(text).map_err(|error| CredentialFileError::new(path, error))?;
        for (index, record) in records.iter().enumerate() {
            let [token, name, uid, rest @ ..] = record.as_slice() else {
                return Err(CredentialFileError::columns("token", path, record.len()));
            };
            let number = index + 1;
            if token.is_empty() {
                tracing::warn!("empty token has been found in token file '{path}', record number '{number}'");
                continue;
            }
            let user = User {
                name: name.clone(),
                uid: uid.clone(),
                groups: super::split_groups(rest.first()),
                ..User::default()
            };
            if !self.insert(token, user.authenticated()) {
                tracing::warn!("duplicate token has been found in token file '{path}', record number '{number}'");
            }
        }
        Ok(())
    }

    pub(super) fn user(&self, token: &str) -> Option<Arc<User>> {
        self.users.get(&self.hash.digest(&[token.as_bytes()])).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams_csv_gives_users_and_groups() {
        let mut tokens = StaticTokens::new().unwrap();
        let text = "t1,ann,1,\"dev,ops\",ignored\nt2,bob,2\n,empty,3\nt1,ann2,4,dev\n";
        tokens.parse("tokens.csv", text).unwrap();
        let ann = tokens.user("t1").unwrap();
        assert_eq!((ann.name.as_str(), ann.uid.as_str()), ("ann2", "4"), "the last of two wins");
        assert_eq!(ann.groups, ["dev", "system:authenticated"]);
        assert_eq!(tokens.user("t2").unwrap().groups, ["system:authenticated"]);
        assert_eq!(tokens.user(""), None);
        assert_eq!(tokens.user("t"), None);
        assert!(!format!("{tokens:?}").contains("t1"));
    }

    #[test]
    fn errors_name_the_file_and_not_the_token() {
        let parse = |text: &str| StaticTokens::new().unwrap().parse("f.csv", text).unwrap_err().to_string();
        let wanted = "token file 'f.csv' must have at least 3 columns (token, user name, user uid), found 2";
        assert_eq!(parse("hunter2,ann"), wanted);
        assert_eq!(parse("hunter2,a\"b,1"), "f.csv: parse error on line 1, column 10: bare \" in non-quoted field");
        let error = StaticTokens::new().unwrap().load(Path::new("/nonexistent/t.csv")).unwrap_err().to_string();
        assert!(error.starts_with("/nonexistent/t.csv: "), "{error}");
    }
}
