//! A certificate and its key as PEM, and what a certificate on disk must have to be used again.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use jiff::Timestamp;
use rcgen::{KeyPair, PublicKeyData, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};

use crate::ca::Authority;
use crate::{Error, Result};

pub(crate) const DAY: i64 = 24 * 60 * 60;
pub(crate) const LEAF_DAYS: i64 = 365;
/// A certificate with fewer days left is replaced when the server starts.
pub(crate) const RENEW_DAYS: i64 = 90;

/// A certificate (with its intermediates, if any) and its private key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct CertifiedKey {
    pub cert_pem: String,
    pub key_pem: String,
}

impl fmt::Debug for CertifiedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertifiedKey").field("cert_pem", &self.cert_pem).finish_non_exhaustive()
    }
}

impl CertifiedKey {
    /// The certificate and its intermediates, as a TLS peer sends them.
    pub fn chain(&self) -> Result<Vec<CertificateDer<'static>>> {
        certificates(&self.cert_pem)
    }

    /// The private key as rustls takes it.
    pub fn private_key(&self) -> Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).map_err(|error| Error::Pem(error.to_string()))
    }
}

/// All certificates of a PEM text; an error when there is none.
pub(crate) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| Error::Pem(error.to_string()))?;
    if found.is_empty() { Err(Error::Pem("no certificate found".into())) } else { Ok(found) }
}

pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>> {
    x509_parser::parse_x509_certificate(der)
        .map(|(_, certificate)| certificate)
        .map_err(|error| Error::Pem(format!("certificate cannot be read: {error}")))
}

/// A name a serving certificate answers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubjectName {
    Dns(String),
    Ip(IpAddr),
}

impl FromStr for SubjectName {
    type Err = Error;

    /// An IP address, or a DNS name (a leading `*.` is allowed); DNS names are lowered.
    fn from_str(text: &str) -> Result<SubjectName> {
        if let Ok(ip) = text.parse() {
            return Ok(SubjectName::Ip(ip));
        }
        let name = text.to_ascii_lowercase();
        let label_is_valid = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let valid = name.len() <= 253 && name.strip_prefix("*.").unwrap_or(&name).split('.').all(label_is_valid);
        if valid { Ok(SubjectName::Dns(name)) } else { Err(Error::SubjectName(text.into())) }
    }
}

/// Who a certificate is for, and what it may be used for.
pub(crate) struct Subject<'a> {
    pub common_name: &'a str,
    pub organizations: &'a [&'a str],
    pub usage: Usage,
    pub names: BTreeSet<SubjectName>,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Usage {
    Server,
    Client,
}

impl Subject<'_> {
    pub(crate) fn subject_alt_names(&self) -> Result<Vec<SanType>> {
        let one = |name: &SubjectName| {
            Ok(match name {
                SubjectName::Dns(name) => SanType::DnsName(name.as_str().try_into()?),
                SubjectName::Ip(ip) => SanType::IpAddress(*ip),
            })
        };
        self.names.iter().map(one).collect()
    }

    /// Whether a certificate found on disk still serves: made by this authority for this subject, all names covered, its own
    /// key, and time left.
    pub(crate) fn is_served_by(&self, found: &CertifiedKey, issuer: &Authority, now: Timestamp) -> bool {
        let Ok(chain) = found.chain() else { return false };
        let (Ok(certificate), Ok(key)) = (parse(&chain[0]), KeyPair::from_pem(&found.key_pem)) else { return false };
        let (common_name, organizations) = (common_name(&certificate), organizations(&certificate));
        certificate.validity().not_after.timestamp() - now.as_second() >= RENEW_DAYS * DAY
            && certificate.public_key().raw == key.subject_public_key_info()
            && key_identifiers(&certificate).authority == issuer.key_identifier()
            && common_name == Ok(Some(self.common_name))
            && organizations.is_ok_and(|found| found == self.organizations)
            && subject_names(&certificate).is_superset(&self.names)
    }
}

/// The last CN of the subject, as upstream takes it; Err when it is no text.
pub(crate) fn common_name<'a>(certificate: &'a X509Certificate<'_>) -> Result<Option<&'a str>, ()> {
    certificate.subject().iter_common_name().last().map(|value| value.as_str().map_err(drop)).transpose()
}

/// Every O of the subject in order; Err when one is no text.
pub(crate) fn organizations<'a>(certificate: &'a X509Certificate<'_>) -> Result<Vec<&'a str>, ()> {
    certificate.subject().iter_organization().map(|value| value.as_str().map_err(drop)).collect()
}

pub(crate) fn subject_names(certificate: &X509Certificate<'_>) -> BTreeSet<SubjectName> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return BTreeSet::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => Some(SubjectName::Dns((*name).to_owned())),
        GeneralName::IPAddress(octets) => <[u8; 4]>::try_from(*octets)
            .map(|octets| Ipv4Addr::from(octets).into())
            .or_else(|_| <[u8; 16]>::try_from(*octets).map(|octets| Ipv6Addr::from(octets).into()))
            .map(SubjectName::Ip)
            .ok(),
        _ => None,
    };
    extension.value.general_names.iter().filter_map(name).collect()
}

/// The subject and authority key identifiers, empty where the certificate has none.
#[derive(Default)]
pub(crate) struct KeyIdentifiers<'a> {
    pub subject: &'a [u8],
    pub authority: &'a [u8],
}

pub(crate) fn key_identifiers<'a>(certificate: &'a X509Certificate<'_>) -> KeyIdentifiers<'a> {
    let mut found = KeyIdentifiers::default();
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => found.subject = id.0,
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                found.authority = id.key_identifier.as_ref().map(|id| id.0).unwrap_or_default()
            }
            _ => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subject_names_are_addresses_or_dns_names() {
        for (text, wanted) in [
            ("10.0.0.1", Some(SubjectName::Ip([10, 0, 0, 1].into()))),
            ("::1", Some(SubjectName::Ip(Ipv6Addr::LOCALHOST.into()))),
            ("Box-1.Example.com", Some(SubjectName::Dns("box-1.example.com".into()))),
            ("*.example.com", Some(SubjectName::Dns("*.example.com".into()))),
            ("", None),
            ("a b", None),
            ("-a", None),
            ("a..b", None),
            ("https://x", None),
        ] {
            assert_eq!(text.parse().ok(), wanted, "{text}");
        }
    }

    #[test]
    fn a_private_key_does_not_show_in_debug_output() {
        let shown = format!("{:?}", CertifiedKey { cert_pem: "C".into(), key_pem: "hunter2".into() });
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
