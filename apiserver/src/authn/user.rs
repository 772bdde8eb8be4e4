//! Who a request is from.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde::Serialize;

pub const ANONYMOUS: &str = "system:anonymous";
pub const AUTHENTICATED_GROUP: &str = "system:authenticated";
pub const UNAUTHENTICATED_GROUP: &str = "system:unauthenticated";
/// The members of this group may do everything.
pub const PRIVILEGED_GROUP: &str = "system:masters";
/// The extra key that names the credential used: a certificate's fingerprint, or a token's id.
pub const CREDENTIAL_ID_KEY: &str = "authentication.kubernetes.io/credential-id";

/// A user, in the shape of `authentication.k8s.io/v1` UserInfo. Extra keys are lower case.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct User {
    #[serde(rename = "username")]
    pub name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// The user of a request without credentials.
    pub fn anonymous() -> Arc<User> {
        static USER: LazyLock<Arc<User>> = LazyLock::new(|| {
            Arc::new(User { name: ANONYMOUS.into(), groups: vec![UNAUTHENTICATED_GROUP.into()], ..User::default() })
        });
        USER.clone()
    }

    /// A service account, in its groups.
    pub fn service_account(namespace: &str, name: &str, uid: &str) -> User {
        User {
            name: format!("system:serviceaccount:{namespace}:{name}"),
            uid: uid.to_owned(),
            groups: vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")],
            ..User::default()
        }
    }

    /// Adds the group `system:authenticated`, unless the user is anonymous or the groups say already which of the two it is.
    pub fn authenticated(mut self) -> Arc<User> {
        let decided = |group: &String| group == AUTHENTICATED_GROUP || group == UNAUTHENTICATED_GROUP;
        if self.name != ANONYMOUS && !self.groups.iter().any(decided) {
            self.groups.push(AUTHENTICATED_GROUP.into());
        }
        Arc::new(self)
    }

    /// Whether the user counts as not authenticated.
    pub fn is_anonymous(&self) -> bool {
        self.name == ANONYMOUS || self.groups.iter().any(|group| group == UNAUTHENTICATED_GROUP)
    }
}
