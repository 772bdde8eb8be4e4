//! Kubeconfig files (<https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/>).

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::files::{Durability, write_atomically};
use crate::{CertifiedKey, Result};

/// How the kubeconfig's user proves who it is.
pub enum Auth<'a> {
    ClientCertificate(&'a CertifiedKey),
    Token(&'a str),
}

/// One cluster, one user and the context that joins them.
pub struct Kubeconfig<'a> {
    /// `https://host:port`
    pub server: &'a str,
    /// The CA that signed the server's certificate.
    pub ca_pem: &'a str,
    pub cluster: &'a str,
    pub context: &'a str,
    pub user: &'a str,
    pub auth: Auth<'a>,
}

impl Kubeconfig<'_> {
    /// The file's YAML, certificates and keys embedded.
    pub fn to_yaml(&self) -> String {
        // A JSON string is a YAML scalar, whatever is in it.
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let (cluster, context, user) = (quoted(self.cluster), quoted(self.context), quoted(self.user));
        let auth = match self.auth {
            Auth::Token(token) => format!("    token: {}\n", quoted(token)),
            Auth::ClientCertificate(certified) => format!(
                "    client-certificate-data: {}\n    client-key-data: {}\n",
                STANDARD.encode(&certified.cert_pem),
                STANDARD.encode(&certified.key_pem)
            ),
        };
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: {cluster}\n  cluster:\n    \
             certificate-authority-data: {ca}\n    server: {server}\ncontexts:\n- name: {context}\n  context:\n    \
             cluster: {cluster}\n    user: {user}\ncurrent-context: {context}\npreferences: {{}}\nusers:\n- name: {user}\n  \
             user:\n{auth}",
            ca = STANDARD.encode(self.ca_pem),
            server = quoted(self.server),
        )
    }

    /// Writes the file for its owner alone (mode 0600), whole or not at all.
    pub fn write(&self, path: &Path) -> Result<()> {
        write_atomically(path, &self.to_yaml(), Durability::Process)
    }
}
