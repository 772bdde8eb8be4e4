//! IP addresses and CIDRs in fields, as strictly as Kubernetes v1.36 takes them.

use super::path::{Path, invalid_each};
use api::field::Errors;
use api::names;
use ipnet::IpNet;
use std::net::IpAddr;

/// Checks an address; gives it when it is one.
pub fn validate_ip(errors: &mut Errors, path: &Path, value: &str) -> Option<IpAddr> {
    let messages = names::ip(value);
    let ip = value.parse().ok().filter(|_| messages.is_empty());
    invalid_each(errors, path, value, messages);
    ip
}

/// Checks a CIDR; gives it when it is one.
pub fn validate_cidr(errors: &mut Errors, path: &Path, value: &str) -> Option<IpNet> {
    let messages = names::cidr(value);
    let net = value.parse().ok().filter(|_| messages.is_empty());
    invalid_each(errors, path, value, messages);
    net
}

/// Checks an address that endpoints and external IPs may have: not a special one.
pub fn validate_endpoint_ip(errors: &mut Errors, path: &Path, value: &str) {
    let Some(ip) = names::sloppy_ip(value) else {
        return errors.invalid(path, value, "must be a valid IP address");
    };
    let (link_local, multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(ip) => (ip.is_unicast_link_local(), ip.segments()[0] & 0xff0f == 0xff02),
    };
    if ip.is_unspecified() {
        errors.invalid(path, value, format!("may not be unspecified ({value})"));
    }
    if ip.is_loopback() {
        errors.invalid(path, value, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
    }
    if link_local {
        errors.invalid(path, value, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
    }
    if multicast {
        errors.invalid(path, value, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
    }
}

/// What to warn of about an address that is not written as it should be.
pub fn ip_warning(path: &Path, value: &str) -> Option<String> {
    let ip = names::sloppy_ip(value)?;
    match value.parse::<IpAddr>() {
        Ok(IpAddr::V6(six)) if six.to_ipv4_mapped().is_none() => {
            let canonical = six.to_string();
            let why = format!("{path}: IPv6 address {value:?} should be in RFC 5952 canonical format ({canonical:?})");
            (canonical != value).then_some(why)
        }
        Ok(IpAddr::V4(_)) => None,
        _ => {
            let canonical = ip.to_canonical().to_string();
            Some(format!("{path}: non-standard IP address {value:?} is invalid: use {canonical:?}"))
        }
    }
}

/// What to warn of about a network that is not written as it should be.
pub fn cidr_warning(path: &Path, value: &str) -> Option<String> {
    let net = value.parse::<IpNet>().ok().filter(|net| net.addr().is_ipv6())?;
    let canonical = net.to_string();
    let why = format!("{path}: IPv6 CIDR value {value:?} should be in RFC 5952 canonical format ({canonical:?})");
    (canonical != value).then_some(why)
}

/// Two networks or addresses of different families, or a single one.
pub fn is_single_or_dual(families: impl IntoIterator<Item = bool>) -> bool {
    let families: Vec<bool> = families.into_iter().collect();
    matches!(families[..], [] | [_]) || matches!(families[..], [a, b] if a != b)
}
