//! The server's side of TLS: which certificate it shows, and that it asks for a client's without judging it.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};

use crate::{CertifiedKey, Result};

/// The one crypto provider of the process (aws-lc-rs), installed as rustls' default on first use.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    PROVIDER
        .get_or_init(|| {
            // Err means that somebody installed one before: then that is the one.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
            CryptoProvider::get_default()
                .cloned()
                .unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        })
        .clone()
}

/// A server for HTTP/2 and HTTP/1.1 that asks for a client certificate and takes any or none: only possession of its key is
/// proven by the handshake. Whoever reads `peer_certificates` must verify the chain ([`crate::ClientVerifier`]), on a resumed
/// session too. `hints` names the CAs whose certificates clients should send.
pub fn server_config(serving: &CertifiedKey, hints: Vec<DistinguishedName>) -> Result<Arc<ServerConfig>> {
    let provider = provider();
    let verifier = RequestClientCertificate { hints, algorithms: provider.signature_verification_algorithms };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_single_cert(serving.chain()?, serving.private_key()?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Leaves trust to authentication: a server that aborts the handshake on an unknown CA cannot answer 401, as upstream does.
#[derive(Debug)]
struct RequestClientCertificate {
    hints: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for RequestClientCertificate {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection};

    use super::*;
    use crate::{Options, Pki};

    fn client_config(pki: &Pki, auth: Option<(&CertifiedKey, &CertifiedKey)>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(crate::certificate::certificates(pki.ca_pem()).unwrap());
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match auth {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                // with_client_auth_cert refuses a foreign key, an attacker would not.
                let key = provider().key_provider.load_private_key(key.private_key().unwrap()).unwrap();
                let certified = rustls::sign::CertifiedKey::new(certificate.chain().unwrap(), key);
                builder.with_client_cert_resolver(Arc::new(Always(Arc::new(certified))))
            }
        })
    }

    #[derive(Debug)]
    struct Always(Arc<rustls::sign::CertifiedKey>);

    impl rustls::client::ResolvesClientCert for Always {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<rustls::sign::CertifiedKey>> {
            Some(self.0.clone())
        }

        fn has_certs(&self) -> bool {
            true
        }
    }

    fn handshake(
        server: &Arc<ServerConfig>,
        client: &Arc<ClientConfig>,
        name: &str,
    ) -> Result<(ServerConnection, ClientConnection), rustls::Error> {
        let mut server = ServerConnection::new(server.clone())?;
        let mut client = ClientConnection::new(client.clone(), name.to_owned().try_into().unwrap())?;
        for _ in 0..8 {
            let mut bytes = Vec::new();
            client.write_tls(&mut bytes).unwrap();
            let mut unread = bytes.as_slice();
            while !unread.is_empty() {
                server.read_tls(&mut unread).unwrap();
                server.process_new_packets()?;
            }
            let mut bytes = Vec::new();
            server.write_tls(&mut bytes).unwrap();
            let mut unread = bytes.as_slice();
            while !unread.is_empty() {
                client.read_tls(&mut unread).unwrap();
                client.process_new_packets()?;
            }
        }
        assert!(!server.is_handshaking() && !client.is_handshaking());
        Ok((server, client))
    }

    fn pki() -> Pki {
        Pki::in_memory(&Options::new(jiff::Timestamp::now())).unwrap()
    }

    #[test]
    fn the_server_answers_to_its_names_with_and_without_a_client_certificate() {
        let (pki, now) = (pki(), jiff::Timestamp::now());
        let server = pki.server_config().unwrap();
        for name in ["localhost", "127.0.0.1", "::1", "kubernetes.default.svc", "10.96.0.1"] {
            let (server, _) = handshake(&server, &client_config(&pki, None), name).unwrap();
            assert!(server.peer_certificates().is_none());
        }
        let alice = pki.issue_client("alice", &["dev", "ops"], now).unwrap();
        let (server, _) = handshake(&server, &client_config(&pki, Some((&alice, &alice))), "localhost").unwrap();
        let identity = pki.verify_client(server.peer_certificates().unwrap(), now).unwrap();
        assert_eq!((identity.user.as_str(), identity.groups), ("alice", vec!["dev".into(), "ops".into()]));
    }

    #[test]
    fn an_untrusted_certificate_passes_the_handshake_and_fails_verification() {
        let (ours, theirs) = (pki(), pki());
        let mallory = theirs.issue_client("mallory", &["system:masters"], jiff::Timestamp::now()).unwrap();
        let client = client_config(&ours, Some((&mallory, &mallory)));
        let (server, _) = handshake(&ours.server_config().unwrap(), &client, "localhost").unwrap();
        let error = ours.verify_client(server.peer_certificates().unwrap(), jiff::Timestamp::now()).unwrap_err();
        assert!(error.to_string().ends_with("x509: certificate signed by unknown authority"), "{error}");
    }

    #[test]
    fn a_certificate_without_its_key_fails_the_handshake() {
        let pki = pki();
        let now = jiff::Timestamp::now();
        let (admin, other) = (pki.issue_client("a", &[], now).unwrap(), pki.issue_client("b", &[], now).unwrap());
        let client = client_config(&pki, Some((&admin, &other)));
        assert!(handshake(&pki.server_config().unwrap(), &client, "localhost").is_err());
    }

    #[test]
    fn a_resumed_session_still_shows_the_certificate_to_verify() {
        let (ours, theirs) = (pki(), pki());
        let mallory = theirs.issue_client("mallory", &[], jiff::Timestamp::now()).unwrap();
        let server = ours.server_config().unwrap();
        let client = client_config(&ours, Some((&mallory, &mallory)));
        handshake(&server, &client, "localhost").unwrap();
        let (resumed, _) = handshake(&server, &client, "localhost").unwrap();
        assert_eq!(resumed.handshake_kind(), Some(HandshakeKind::Resumed));
        assert!(ours.verify_client(resumed.peer_certificates().unwrap(), jiff::Timestamp::now()).is_err());
    }
}
