//! A certificate authority: its key, its certificate, and the certificates it signs.

use std::collections::BTreeSet;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use time::OffsetDateTime;

use crate::certificate::{self, CertifiedKey, DAY, LEAF_DAYS, Subject, Usage};
use crate::{Error, Result};

const CA_DAYS: i64 = 10 * 365;
/// Certificates start a little in the past, for peers whose clocks are behind.
const BACKDATE_SECONDS: i64 = 5 * 60;
/// The OID of O. rcgen keeps one value a name type, and takes this spelling for another type: so two organizations fit.
const ORGANIZATION_OID: &[u64] = &[2, 5, 4, 10];

/// A certificate authority that can sign.
pub(crate) struct Authority {
    cert_pem: String,
    key_identifier: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A self-signed certificate of 10 years over the key.
    pub(crate) fn create(common_name: &str, key_pem: &str, now: Timestamp) -> Result<Authority> {
        let mut params = params(common_name, &[], CA_DAYS, now)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::KeyCertSign];
        let cert_pem = params.self_signed(&KeyPair::from_pem(key_pem)?)?.pem();
        Authority::load(&cert_pem, key_pem, now)
    }

    /// An authority from its PEM files. The key must be the certificate's, the certificate a CA's and not expired.
    pub(crate) fn load(cert_pem: &str, key_pem: &str, now: Timestamp) -> Result<Authority> {
        let key = KeyPair::from_pem(key_pem)?;
        let chain = certificate::certificates(cert_pem)?;
        let parsed = certificate::parse(&chain[0])?;
        if parsed.public_key().raw != key.subject_public_key_info() {
            return Err(Error::Authority("the certificate belongs to another key".into()));
        }
        if !parsed.is_ca() {
            return Err(Error::Authority("the certificate is not a CA's".into()));
        }
        if parsed.validity().not_after.timestamp() <= now.as_second() {
            return Err(Error::Authority(format!("the certificate has expired ({})", parsed.validity().not_after)));
        }
        Ok(Authority {
            cert_pem: cert_pem.to_owned(),
            key_identifier: certificate::key_identifiers(&parsed).subject.to_vec(),
            issuer: Issuer::from_ca_cert_der(&chain[0], key)?,
        })
    }

    pub(crate) fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    pub(crate) fn key_identifier(&self) -> &[u8] {
        &self.key_identifier
    }

    /// A new key and its certificate of one year.
    pub(crate) fn issue(&self, subject: &Subject<'_>, now: Timestamp) -> Result<CertifiedKey> {
        let key = KeyPair::generate()?;
        let mut params = params(subject.common_name, subject.organizations, LEAF_DAYS, now)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match subject.usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.subject_alt_names = subject.subject_alt_names()?;
        let cert_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(CertifiedKey { cert_pem, key_pem: key.serialize_pem() })
    }

    /// [`Authority::issue`] for a client without alternative names.
    pub(crate) fn issue_client(
        &self,
        common_name: &str,
        organizations: &[&str],
        now: Timestamp,
    ) -> Result<CertifiedKey> {
        self.issue(&Subject { common_name, organizations, usage: Usage::Client, names: BTreeSet::new() }, now)
    }
}

fn params(common_name: &str, organizations: &[&str], days: i64, now: Timestamp) -> Result<CertificateParams> {
    let mut name = DistinguishedName::new();
    match organizations {
        [] => {}
        [one] => name.push(DnType::OrganizationName, *one),
        [one, two] => {
            name.push(DnType::OrganizationName, *one);
            name.push(DnType::CustomDnType(ORGANIZATION_OID.to_vec()), *two);
        }
        more => return Err(Error::Organizations(more.len())),
    }
    name.push(DnType::CommonName, common_name);
    let mut params = CertificateParams::default();
    params.distinguished_name = name;
    params.not_before = date(now.as_second() - BACKDATE_SECONDS)?;
    params.not_after = date(now.as_second() + days * DAY)?;
    Ok(params)
}

fn date(unix_seconds: i64) -> Result<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(unix_seconds).map_err(|_| Error::Authority("the clock is out of range".into()))
}
