//! Who a client certificate speaks for.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, DistinguishedName, RootCertStore};
use x509_parser::certificate::X509Certificate;
use x509_parser::der_parser::{Oid, oid};

use crate::{Error, Result, certificate};

/// The subject attribute that carries a user's UID (upstream's feature `AllowParsingUserUIDFromCertAuth`).
const UID_OID: Oid<'static> = oid!(1.3.6.1.4.1.57683.2);

/// The identity in a verified client certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The subject's CN; may be empty.
    pub user: String,
    /// The subject's O values, in order.
    pub groups: Vec<String>,
    /// The subject's UID attribute, empty when it has none.
    pub uid: String,
    /// SHA-256 of the certificate, lower-case hex.
    pub fingerprint: String,
    pub not_before: Timestamp,
    /// When the identity ends: the earliest end in the chain that was presented.
    pub not_after: Timestamp,
}

impl ClientIdentity {
    /// Whether the certificate is valid at a later moment than the one it was verified at.
    pub fn check_validity(&self, now: Timestamp) -> Result<(), ClientCertificateError> {
        let (not_before, not_after) = (self.not_before, self.not_after);
        match () {
            () if now < not_before => Err(ClientCertificateError(not_valid(now, "before", not_before))),
            () if now > not_after => Err(ClientCertificateError(not_valid(now, "after", not_after))),
            () => Ok(()),
        }
    }
}

/// Why a client certificate was refused, in upstream's words. Safe to log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ClientCertificateError(String);

/// Verifies client certificates against a set of CAs.
#[derive(Clone, Debug)]
pub struct ClientVerifier {
    roots: Arc<dyn ClientCertVerifier>,
    not_after: Timestamp,
}

impl ClientVerifier {
    /// Trusts the certificates of a PEM bundle.
    pub fn new(ca_pem: &str) -> Result<ClientVerifier> {
        let mut store = RootCertStore::empty();
        let mut not_after = i64::MIN;
        for root in certificate::certificates(ca_pem)? {
            not_after = not_after.max(certificate::parse(&root)?.validity().not_after.timestamp());
            store.add(root)?;
        }
        let roots = WebPkiClientVerifier::builder_with_provider(store.into(), crate::provider())
            .build()
            .map_err(|error| Error::Authority(error.to_string()))?;
        Ok(ClientVerifier { roots, not_after: timestamp(not_after) })
    }

    /// The subjects of the trusted CAs, which a server tells its clients.
    pub fn subjects(&self) -> &[DistinguishedName] {
        self.roots.root_hint_subjects()
    }

    /// Verifies a chain as presented in the handshake (leaf first): signatures up to a trusted CA, validity at `now`, and the
    /// extended key usage clientAuth.
    pub fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<ClientIdentity, ClientCertificateError> {
        let refuse = |reason: &str| ClientCertificateError(reason.to_owned());
        let (leaf, intermediates) = chain.split_first().ok_or_else(|| refuse("no certificate was presented"))?;
        let parsed = certificate::parse(leaf).map_err(|error| refuse(&error.to_string()))?;
        let failed = |reason: String| {
            ClientCertificateError(format!("verifying certificate {} failed: {reason}", describe(&parsed)))
        };
        let at = UnixTime::since_unix_epoch(Duration::from_secs(now.as_second().try_into().unwrap_or(0)));
        self.roots.verify_client_cert(leaf, intermediates, at).map_err(|error| failed(reason(&error, &parsed, now)))?;
        if now > self.not_after {
            return Err(failed(not_valid(now, "after", self.not_after)));
        }
        let identity = identity(leaf, &parsed).map_err(|()| failed("x509: the subject is not text".into()))?;
        // An intermediate that has expired already took no part in the verification.
        let ends = intermediates.iter().filter_map(|der| certificate::parse(der).ok());
        let ends = ends.map(|parsed| timestamp(parsed.validity().not_after.timestamp())).filter(|end| *end > now);
        let not_after = ends.chain([self.not_after]).fold(identity.not_after, Timestamp::min);
        Ok(ClientIdentity { not_after, ..identity })
    }
}

fn identity(leaf: &[u8], parsed: &X509Certificate<'_>) -> Result<ClientIdentity, ()> {
    let mut uids = parsed.subject().iter_by_oid(&UID_OID).map(|value| value.as_str().map_err(drop));
    let uid = uids.next().transpose()?.unwrap_or_default();
    if uids.next().is_some() {
        return Err(());
    }
    let mut fingerprint = String::with_capacity(64);
    for byte in digest(&SHA256, leaf).as_ref() {
        let _ = write!(fingerprint, "{byte:02x}");
    }
    Ok(ClientIdentity {
        user: certificate::common_name(parsed)?.unwrap_or_default().to_owned(),
        groups: certificate::organizations(parsed)?.into_iter().map(str::to_owned).collect(),
        uid: uid.to_owned(),
        fingerprint,
        not_before: timestamp(parsed.validity().not_before.timestamp()),
        not_after: timestamp(parsed.validity().not_after.timestamp()),
    })
}

fn timestamp(unix_seconds: i64) -> Timestamp {
    Timestamp::from_second(unix_seconds).unwrap_or(if unix_seconds < 0 { Timestamp::MIN } else { Timestamp::MAX })
}

fn not_valid(now: Timestamp, side: &str, bound: Timestamp) -> String {
    format!("x509: certificate has expired or is not yet valid: current time {now:.0} is {side} {bound}")
}

fn reason(error: &rustls::Error, parsed: &X509Certificate<'_>, now: Timestamp) -> String {
    let rustls::Error::InvalidCertificate(error) = error else { return error.to_string() };
    let validity = parsed.validity();
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            not_valid(now, "after", timestamp(validity.not_after.timestamp()))
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            not_valid(now, "before", timestamp(validity.not_before.timestamp()))
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "x509: certificate signed by unknown authority".into()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "x509: certificate specifies an incompatible key usage".into()
        }
        other => format!("x509: {other}"),
    }
}

/// Serial number and key identifiers, to find the certificate by.
fn describe(parsed: &X509Certificate<'_>) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":");
    let ids = certificate::key_identifiers(parsed);
    format!("SN={}, SKID={}, AKID={}", parsed.tbs_certificate.serial, hex(ids.subject), hex(ids.authority))
}
