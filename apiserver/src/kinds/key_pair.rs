//! What is wrong with a certificate and a private key, in the words of Go's `tls.X509KeyPair`.

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;

/// The first thing that is wrong; `None` where the two fit. Both are PEM.
pub fn problem(certificate: &[u8], key: &[u8]) -> Option<String> {
    judge(certificate, key).err()
}

fn judge(certificate: &[u8], key: &[u8]) -> Result<(), String> {
    let certificate = find_certificate(certificate)?;
    let key = find_key(key)?;
    let (_, certificate) =
        X509Certificate::from_der(&certificate).map_err(|_| "x509: malformed certificate".to_owned())?;
    let signing = any_supported_type(&private_key(key)).ok();
    let own = signing.as_ref().and_then(|key| key.public_key()).ok_or("tls: failed to parse private key")?;
    let (_, own) = SubjectPublicKeyInfo::from_der(&own).map_err(|_| "tls: failed to parse private key")?;
    let other = certificate.public_key();
    if own.algorithm.algorithm != other.algorithm.algorithm {
        return Err("tls: private key type does not match public key type".to_owned());
    }
    if own.algorithm.parameters != other.algorithm.parameters || own.subject_public_key != other.subject_public_key {
        return Err("tls: private key does not match public key".to_owned());
    }
    Ok(())
}

/// The blocks of a PEM text: what each is, and what it holds.
fn blocks(text: &[u8]) -> impl Iterator<Item = (String, Vec<u8>)> {
    Pem::iter_from_buffer(text).map_while(Result::ok).map(|block| (block.label, block.contents))
}

fn find_certificate(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut skipped = Vec::new();
    for (label, contents) in blocks(text) {
        if label == "CERTIFICATE" {
            return Ok(contents);
        }
        skipped.push(label);
    }
    Err(match &skipped[..] {
        [] => "tls: failed to find any PEM data in certificate input".to_owned(),
        [one] if one.ends_with("PRIVATE KEY") => {
            "tls: failed to find certificate PEM data in certificate input, but did \
             find a private key; PEM inputs may have been switched"
                .to_owned()
        }
        all => format!(
            "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the \
             following types: [{}]",
            all.join(" ")
        ),
    })
}

fn find_key(text: &[u8]) -> Result<(String, Vec<u8>), String> {
    let mut skipped = Vec::new();
    for (label, contents) in blocks(text) {
        if label == "PRIVATE KEY" || label.ends_with(" PRIVATE KEY") {
            return Ok((label, contents));
        }
        skipped.push(label);
    }
    Err(match &skipped[..] {
        [] => "tls: failed to find any PEM data in key input".to_owned(),
        [one] if one == "CERTIFICATE" => {
            "tls: found a certificate rather than a key in the PEM for the private key".to_owned()
        }
        all => format!(
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of \
             the following types: [{}]",
            all.join(" ")
        ),
    })
}

fn private_key((label, contents): (String, Vec<u8>)) -> PrivateKeyDer<'static> {
    match label.as_str() {
        "RSA PRIVATE KEY" => PrivatePkcs1KeyDer::from(contents).into(),
        "EC PRIVATE KEY" => PrivateSec1KeyDer::from(contents).into(),
        _ => PrivatePkcs8KeyDer::from(contents).into(),
    }
}
