//! The table of readers. Each row says what real inputs look like, and reads any: `true` where it takes them. What a reader
//! promises of what it took (that it can be written and read again, that it is no larger than allowed) is asserted there.

use super::edit::nodes;
use super::inputs::*;
use crate::authn::{Authenticators, Passwords, StaticTokens};
use crate::cel;
use crate::decode::{self, Patch};
use crate::go_regexp::Pattern;
use crate::json_schema::formats;
use crate::kinds::certificate_signing_request as requests;
use crate::negotiate::{self, Format};
use crate::params::{self, DeleteOptions, FieldValidation, ListOptions};
use crate::registry::continue_token;
use crate::request::Warnings;
use crate::resources;
use crate::route::{Query, Route, percent_decode};
use crate::websocket::handshake::Handshake;
use api::codec::{self, Decoded, MAX_DEPTH};
use api::managed::{self, FieldSet, ResetFields, Writer};
use api::quantity::Quantity;
use api::schema::{Schema, TypeRef};
use api::selector::{FieldSelector, Selector};
use api::{Value, document, names, patch, time};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, Method, header};
use pki::service_account::Claims;
use pki::{LegacyClaims, Pki};
use rustls::pki_types::CertificateDer;
use serde_json::json;
use std::sync::LazyLock;

/// A reader of what clients send.
pub struct Reader {
    pub name: &'static str,
    /// Inputs as clients send them.
    pub inputs: fn() -> Vec<Vec<u8>>,
    /// Reads any input; whether it was taken.
    pub read: fn(&[u8]) -> bool,
}

/// A body in each format for the type that is sent.
macro_rules! bodies {
    ($($name:literal $object:ident),* $(,)?) => {
        [$(
            Reader { name: concat!("JSON of a ", $name), inputs: || vec![$object.into()], read: |bytes| body(bytes, Format::Json, $object) },
            Reader { name: concat!("YAML of a ", $name), inputs: || yamls($object), read: |bytes| body(bytes, Format::Yaml, $object) },
            Reader { name: concat!("protobuf of a ", $name), inputs: || vec![protobuf($object)], read: |bytes| body(bytes, Format::Protobuf, $object) },
        )*]
    };
}

/// Every reader.
pub fn readers() -> impl Iterator<Item = &'static Reader> {
    BODIES.iter().chain(OTHERS)
}

static BODIES: &[Reader] = &bodies![
    "Deployment" DEPLOYMENT,
    "Pod" POD,
    "Secret" SECRET,
    "CustomResourceDefinition" DEFINITION,
    "Event" EVENT,
];

#[rustfmt::skip]
static OTHERS: &[Reader] = &[
    Reader { name: "JSON without a type", inputs: || texts(&[DEPLOYMENT, JSON_PATCH, STRATEGIC]), read: any_json },
    Reader { name: "YAML without a type", inputs: || texts(&[YAML, DEPLOYMENT]), read: any_yaml },
    Reader { name: "protobuf of the type that it says", inputs: || vec![protobuf(POD), protobuf(DEFINITION)], read: any_protobuf },
    Reader { name: "DeleteOptions in JSON", inputs: || texts(&[DELETE_OPTIONS]), read: |bytes| delete_options(bytes, Format::Json) },
    Reader { name: "DeleteOptions in YAML", inputs: || yamls(DELETE_OPTIONS), read: |bytes| delete_options(bytes, Format::Yaml) },
    Reader { name: "DeleteOptions in protobuf", inputs: || vec![protobuf(DELETE_OPTIONS)], read: |bytes| delete_options(bytes, Format::Protobuf) },
    Reader { name: "JSON patch", inputs: || texts(&[JSON_PATCH]), read: |bytes| patched(bytes, "application/json-patch+json") },
    Reader { name: "merge patch", inputs: || texts(&[STRATEGIC, DEPLOYMENT]), read: |bytes| patched(bytes, "application/merge-patch+json") },
    Reader { name: "strategic merge patch", inputs: || texts(&[STRATEGIC]), read: |bytes| patched(bytes, "application/strategic-merge-patch+json") },
    Reader { name: "server-side apply", inputs: || texts(&[APPLIED, YAML_APPLIED]), read: applied },
    Reader { name: "managedFields of an update", inputs: || texts(&[DEPLOYMENT]), read: updated },
    Reader { name: "FieldsV1", inputs: || texts(&[FIELDS]), read: fields },
    Reader { name: "label selector", inputs: || texts(&["a=b,c!=d,e in (x,y),f notin (z),!g,h,i>1", "in in (in,notin)"]), read: label_selector },
    Reader { name: "LabelSelector", inputs: || texts(&[LABEL_SELECTOR]), read: label_selector_object },
    Reader { name: "field selector", inputs: || texts(&["spec.nodeName=a\\,b,status.phase!=Running,a==\\="]), read: field_selector },
    Reader { name: "quantity", inputs: || texts(&["100m", "1.5Gi", "12e6", "-0.5", "+1E3", "9223372036854775807Ki", "0.000000001n"]), read: quantity },
    Reader { name: "time", inputs: || texts(&["2026-01-02T03:04:05.000006+01:00", "0001-01-01T00:00:00Z", "9999-12-30T21:59:59Z"]), read: timestamp },
    Reader { name: "duration", inputs: || texts(&["1h2m3.5s", "-15ms", "9223372036s", "1.5µs"]), read: duration },
    Reader { name: "names", inputs: || texts(&["web-0.example.com/a_b", "[::1]:80", "50%"]), read: all_names },
    Reader { name: "addresses", inputs: || texts(&["10.0.0.0/8", "fd00::/64", "::ffff:1.2.3.4", "010.1.2.3"]), read: addresses },
    Reader { name: "schedule", inputs: || texts(&["*/5 0-4,8 1 jan mon-fri", "@every 1h", "TZ=UTC 0 0 * * *"]), read: schedule },
    Reader { name: "expression", inputs: || texts(EXPRESSIONS), read: expression },
    Reader { name: "path", inputs: || texts(&["/api/v1/namespaces/a/pods/b/log", "/apis/apps/v1/watch/namespaces/a%2Fb/deployments/%2e%2e", "/openapi/v3"]), read: path },
    Reader { name: "query", inputs: || texts(&["labelSelector=a%3Db&fieldSelector=metadata.name%3Dx&limit=5&resourceVersion=7&resourceVersionMatch=Exact&timeoutSeconds=1&watch=1", "fieldManager=m&force=true&fieldValidation=Strict&dryRun=All", "gracePeriodSeconds=0&propagationPolicy=Orphan&pretty=1"]), read: query },
    Reader { name: "Accept", inputs: || texts(&["application/json;as=Table;v=v1;g=meta.k8s.io,application/vnd.kubernetes.protobuf;q=0.5,*/*", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"]), read: accept },
    Reader { name: "Content-Type", inputs: || texts(&["application/json; charset=utf-8", "application/vnd.kubernetes.protobuf;stream=watch"]), read: content_type },
    Reader { name: "User-Agent", inputs: || texts(&["kubectl/v1.36 (linux/amd64)", "\u{e9}\u{200b}/1"]), read: user_agent },
    Reader { name: "regular expression", inputs: || texts(PATTERNS), read: pattern },
    Reader { name: "text with a format", inputs: || texts(FORMATTED), read: formatted },
    Reader { name: "continue token", inputs: tokens, read: next_page },
    Reader { name: "JSON in a continue token", inputs: || texts(&[TOKEN]), read: |bytes| next_page(URL_SAFE_NO_PAD.encode(bytes).as_bytes()) },
    Reader { name: "Authorization", inputs: || texts(&["Bearer secret", "bearer  x"]), read: |bytes| authorization(bytes, header::AUTHORIZATION) },
    Reader { name: "token in a WebSocket's protocols", inputs: || texts(&["base64url.bearer.authorization.k8s.io.c2VjcmV0, v5.channel.k8s.io"]), read: |bytes| authorization(bytes, header::SEC_WEBSOCKET_PROTOCOL) },
    Reader { name: "Origin of a WebSocket", inputs: || texts(&["https://u:p@dashboard.example:8443/a%20b?c", "http://[::1%25eth0]:80", "file://"]), read: |bytes| handshake(bytes, header::ORIGIN) },
    Reader { name: "protocols of a WebSocket", inputs: || texts(&["v5.channel.k8s.io"]), read: |bytes| handshake(bytes, header::SEC_WEBSOCKET_PROTOCOL) },
    Reader { name: "service account token", inputs: service_account_tokens, read: service_account_token },
    Reader { name: "token file", inputs: || texts(&["t1,ann,1,\"dev,ops\"\r\n\n\"t\"\"2\",bob,2\n"]), read: token_file },
    Reader { name: "password file", inputs: || texts(&[PASSWORDS]), read: password_file },
    Reader { name: "certificate request in PEM", inputs: || vec![STANDARD.decode(REQUEST).unwrap()], read: |bytes| request(&STANDARD.encode(bytes)) },
    Reader { name: "certificate request in DER", inputs: || vec![der(&STANDARD.decode(REQUEST).unwrap())], read: |bytes| request(&STANDARD.encode(pem(bytes, "CERTIFICATE REQUEST"))) },
    Reader { name: "certificates in a status", inputs: || vec![PKI.ca_pem().into()], read: |bytes| requests::check_certificate(&STANDARD.encode(bytes)).is_ok() },
    Reader { name: "client certificate", inputs: || vec![der(PKI.ca_pem().as_bytes())], read: client_certificate },
    Reader { name: "stored object", inputs: || texts(&[DEPLOYMENT, EVENT]), read: stored },
];

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn parse(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

/// The type that an object says it is.
pub fn type_of(object: &str) -> TypeRef<'static> {
    let object = parse(object);
    let (group, version) = document::group_version(&object);
    Schema::of_kind(group, version, document::get_str(&object, "kind")).unwrap()
}

fn yamls(json: &str) -> Vec<Vec<u8>> {
    let mut yamls = vec![codec::yaml::encode(&parse(json)).into_bytes()];
    if json == DEPLOYMENT {
        yamls.push(YAML.into());
    }
    yamls
}

fn protobuf(json: &str) -> Vec<u8> {
    let ty = type_of(json);
    codec::protobuf::encode(&codec::json::decode(json.as_bytes(), ty).unwrap().value, ty)
}

/// `input`: the bytes that the value came of.
fn assert_bounded(value: &Value, input: usize) {
    assert!(codec::depth(value, MAX_DEPTH + 8) <= MAX_DEPTH + 1, "too deep");
    assert!(nodes(value) <= input + 8, "{} values of {input} bytes", nodes(value));
}

fn body(bytes: &[u8], format: Format, object: &'static str) -> bool {
    let ty = type_of(object);
    let Ok(decoded) = decode::decode(bytes, format, ty) else { return false };
    assert!(decoded.problems.len() <= 101);
    let _ = codec::strict_error(&decoded.problems);
    if format != Format::Yaml {
        // Aliases repeat what they stand for, within the reader's budget.
        assert_bounded(&decoded.value, 16 * bytes.len());
    }
    assert_stable(&decoded.value, ty);
    true
}

/// What was read is written and read again in every format, and stays as it is.
fn assert_stable(value: &Value, ty: TypeRef<'static>) {
    let again = |decoded: Result<Decoded, codec::DecodeError>, how: &str| {
        let decoded = decoded.unwrap_or_else(|why| panic!("{how}: {why} in {value}"));
        assert_eq!((&decoded.value, &decoded.problems[..]), (value, &[][..]), "{how}");
    };
    again(codec::json::decode(value.to_string().as_bytes(), ty), "JSON");
    again(codec::check(value.clone(), ty), "the tree");
    let mut filled = value.clone();
    api::schema::fill(&mut filled, ty);
    let bytes = codec::protobuf::encode(&filled, ty);
    let decoded = codec::protobuf::decode(&bytes, ty).unwrap_or_else(|why| panic!("protobuf: {why} in {value}"));
    assert_eq!(codec::protobuf::encode(&decoded.value, ty), bytes, "protobuf of {value}");
}

fn any_json(bytes: &[u8]) -> bool {
    assert!(codec::json::problems(bytes, |_| true).len() <= 100);
    let Ok(value) = codec::json::decode_any(bytes) else { return false };
    assert_bounded(&value, bytes.len());
    assert_eq!(codec::json::decode_any(value.to_string().as_bytes()).as_ref(), Ok(&value));
    for ty in [type_of(DEPLOYMENT), type_of(DEFINITION)] {
        for decoded in [codec::check(value.clone(), ty), codec::convert(value.clone(), ty)].into_iter().flatten() {
            assert_bounded(&decoded.value, bytes.len());
        }
    }
    true
}

fn any_yaml(bytes: &[u8]) -> bool {
    let _ = codec::yaml::problems(bytes);
    let Ok(value) = codec::yaml::decode_any(bytes) else { return false };
    let written = codec::yaml::encode(&value);
    assert_eq!(codec::yaml::decode_any(written.as_bytes()).as_ref(), Ok(&value), "{written}");
    true
}

fn any_protobuf(bytes: &[u8]) -> bool {
    let framed = [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
    let _ = codec::protobuf::events(&framed);
    let framed = [codec::protobuf::MAGIC, bytes].concat();
    codec::protobuf::decode_any(bytes).is_ok() | codec::protobuf::decode_any(&framed).is_ok()
}

fn delete_options(bytes: &[u8], format: Format) -> bool {
    let Ok(body) = decode::delete_options(bytes, format) else { return false };
    DeleteOptions::from_body(&body).is_ok()
}

fn patched(bytes: &[u8], media_type: &'static str) -> bool {
    let object = parse(DEPLOYMENT);
    let mut is_taken = false;
    for validation in [FieldValidation::Strict, FieldValidation::Ignore] {
        let patch = Patch::new(media_type, bytes, type_of(DEPLOYMENT), validation).unwrap();
        assert!(patch.problems().len() <= 100);
        if let Ok(patched) = patch.apply(&object) {
            is_taken = true;
            // Each operation of a JSON patch can copy the object once.
            let copies = if media_type.contains("json-patch") { bytes.len() / 8 + 1 } else { 1 };
            assert!(nodes(&patched) <= copies * (bytes.len() + DEPLOYMENT.len()));
            assert!(codec::depth(&patched, 3 * MAX_DEPTH) <= 2 * MAX_DEPTH);
            let _ = (codec::convert(patched.clone(), type_of(DEPLOYMENT)), codec::check(patched, type_of(DEPLOYMENT)));
        }
    }
    let _ = patch::strategic::shown(bytes);
    is_taken
}

pub fn writer() -> Writer<'static> {
    Writer { manager: "m", api_version: "apps/v1", subresource: "", now: time::parse("2026-02-03T04:05:06Z").unwrap() }
}

fn applied(bytes: &[u8]) -> bool {
    let Ok(applied) = decode::applied(bytes) else { return false };
    let (ty, live) = (type_of(DEPLOYMENT), parse(DEPLOYMENT));
    let mut is_taken = false;
    for live in [&live, &json!({})] {
        for force in [false, true] {
            let reset = managed::reset_fields("apps", "Deployment", "", true);
            let Ok(merged) = managed::apply(live, &applied, ty, &writer(), force, &reset) else { continue };
            assert!(nodes(&merged) <= 4 * (bytes.len() + DEPLOYMENT.len()));
            is_taken |= codec::convert(merged, ty).is_ok();
        }
    }
    is_taken
}

fn updated(bytes: &[u8]) -> bool {
    let Ok(decoded) = codec::json::decode(bytes, type_of(DEPLOYMENT)) else { return false };
    let old = parse(DEPLOYMENT);
    for old in [None, Some(&old)] {
        let mut object = decoded.value.clone();
        managed::update(&mut object, old, type_of(DEPLOYMENT), &writer(), &ResetFields::None);
        let mut errors = api::field::Errors::new();
        managed::validate_managed_fields(&object, &mut errors);
        let _ = managed::scale_managed_fields(&object, &["spec", "replicas"]);
        let _ = managed::scaled_managed_fields(
            &object,
            &old.cloned().unwrap_or_default(),
            "apps/v1",
            &["spec", "replicas"],
        );
        managed::keep_times(&mut object, &decoded.value);
        assert!(nodes(&object) <= 4 * (bytes.len() + DEPLOYMENT.len()));
    }
    true
}

fn fields(bytes: &[u8]) -> bool {
    let Ok(value) = codec::json::decode_any(bytes) else { return false };
    let Ok(set) = FieldSet::from_value(&value) else { return false };
    let written = set.to_value();
    assert_eq!(FieldSet::from_value(&written).as_ref(), Ok(&set));
    assert!(set.to_json().len() <= 8 * bytes.len() + 16);
    true
}

fn label_selector(bytes: &[u8]) -> bool {
    let Ok(selector) = Selector::parse(&text(bytes)) else { return false };
    let written = selector.to_string();
    assert_eq!(Selector::parse(&written).as_ref(), Ok(&selector), "{written}");
    let _ = (selector.matches(&api::Map::new()), selector.exact_value("a"));
    true
}

fn label_selector_object(bytes: &[u8]) -> bool {
    let Ok(value) = codec::json::decode_any(bytes) else { return false };
    let Ok(selector) = Selector::from_object(Some(&value)) else { return false };
    let _ = (selector.to_string(), selector.matches(&api::Map::new()));
    true
}

fn field_selector(bytes: &[u8]) -> bool {
    let Ok(selector) = FieldSelector::parse(&text(bytes)) else { return false };
    let written = FieldSelector::parse(&selector.to_string()).map(|again| again.to_string());
    assert_eq!(written, Ok(selector.to_string()));
    true
}

fn quantity(bytes: &[u8]) -> bool {
    let text = text(bytes);
    let Ok(canonical) = Quantity::canonical(&text) else {
        assert!(Quantity::parse(text.trim()).is_err());
        return false;
    };
    assert!(canonical.len() <= text.len() + 40);
    assert_eq!(Quantity::canonical(&canonical).as_deref(), Ok(&*canonical), "{text}");
    let (before, after) = (Quantity::parse(text.trim()).unwrap(), Quantity::parse(&canonical).unwrap());
    assert_eq!(before.nanos(), after.nanos(), "{text} as {canonical}");
    let _ = (before.value(), before.millis(), before.plus(after).minus(after));
    true
}

fn timestamp(bytes: &[u8]) -> bool {
    let text = text(bytes);
    let taken = [time::canonical(&text), time::canonical_micro(&text)];
    if let Ok(plain) = &taken[0] {
        assert_eq!(time::canonical(plain).as_ref(), Ok(plain));
    }
    if let Ok(micro) = &taken[1] {
        assert_eq!(time::canonical_micro(micro).as_ref(), Ok(micro));
    }
    taken.iter().any(Result::is_ok)
}

fn duration(bytes: &[u8]) -> bool {
    let Ok(span) = time::parse_duration(&text(bytes)) else { return false };
    let written = time::format_duration(span);
    assert_eq!(time::parse_duration(&written), Ok(span), "{written}");
    true
}

fn all_names(bytes: &[u8]) -> bool {
    let text = &*text(bytes);
    let checks = [
        names::dns1123_label,
        names::dns1123_subdomain,
        names::dns1123_subdomain_with_underscore,
        names::wildcard_dns1123_subdomain,
        names::dns1035_label,
        names::qualified_name,
        names::label_value,
        names::config_map_key,
        names::port_name,
        names::env_var_name,
        names::c_identifier,
        names::percent,
        names::http_header_name,
        names::path_segment,
        names::path_segment_prefix,
    ];
    // One sentence or a few, none of them with all of a long name in it.
    for found in checks.map(|check| check(text)) {
        assert!(found.len() <= 8 && found.iter().all(|why| why.len() <= 1000), "{found:?}");
    }
    let _ = (names::mask_trailing_dash(text), api::field::quote(text), api::field::quote_json(text));
    true
}

fn addresses(bytes: &[u8]) -> bool {
    let text = &*text(bytes);
    let _ = (names::ip(text), names::canonical_ip(text), names::cidr(text), names::canonical_cidr(text));
    if names::ip(text).is_empty() {
        assert!(text.parse::<std::net::IpAddr>().is_ok(), "{text}");
    }
    if names::cidr(text).is_empty() {
        assert!(text.parse::<ipnet::IpNet>().is_ok(), "{text}");
    }
    names::sloppy_ip(text).is_some() || names::cidr(text).is_empty()
}

fn schedule(bytes: &[u8]) -> bool {
    let mut errors = api::field::Errors::new();
    let job = json!({"spec": {"schedule": text(bytes), "timeZone": text(bytes)}});
    resources::builtin("batch", "cronjobs").rules.validate(&job, &mut errors);
    !errors.0.iter().any(|error| error.field == "spec.schedule")
}

/// What is read here, the crate that matches takes; how much it is, is known.
fn pattern(bytes: &[u8]) -> bool {
    let text = text(bytes);
    let Ok(pattern) = Pattern::parse(&text) else { return false };
    let _ = pattern.weight();
    pattern.compile().is_ok_and(|regex| {
        let _ = regex.is_match(bytes);
        true
    })
}

fn formatted(bytes: &[u8]) -> bool {
    let text = text(bytes);
    // All of them look at it.
    formats::names().filter(|format| formats::has(&text, format)).count() > 1
}

/// One that compiles does so with blanks around it, too.
fn expression(bytes: &[u8]) -> bool {
    let text = text(bytes);
    let environments =
        [cel::admission(cel::Admission { params: true, authorizer: true }).with_patches(), cel::device()];
    let types = environments.map(|environment| {
        let found = cel::compile(&text, &environment);
        match &found {
            Ok(_) => assert_eq!(cel::compile(&format!(" {text}\n"), &environment), found, "{text}"),
            Err(why) => assert!(!why.contains(cel::FAILED), "{text}"),
        }
        found
    });
    types.iter().any(Result::is_ok)
}

fn path(bytes: &[u8]) -> bool {
    let text = text(bytes);
    let query = Query::parse(text.split_once('?').map(|(_, query)| query));
    for method in [Method::GET, Method::POST, Method::DELETE] {
        let route = Route::parse(&method, &percent_decode(&text), &query);
        // A key is made of parts that hold no slash.
        for part in [&route.group, &route.version, &route.namespace, &route.resource, &route.subresource, &route.name] {
            assert!(!part.contains('/'), "{route:?}");
        }
        let _ = (resources::find(&route.group, &route.version, &route.resource), route.is_long_running());
    }
    true
}

fn query(bytes: &[u8]) -> bool {
    let query = Query::parse(Some(&text(bytes)));
    let mut is_taken = false;
    for is_watch in [false, true] {
        if let Ok(options) = ListOptions::parse(&query, is_watch) {
            is_taken = true;
            let _ = (
                params::revision(&options.resource_version),
                crate::selection::Selection::new(resources::builtin("", "pods"), &options),
            );
        }
    }
    let _ =
        (DeleteOptions::from_query(&query), params::patch_options(&query, true), params::patch_options(&query, false));
    let _ = params::field_validation(&query, "CreateOptions").map_err(|failure| failure.to_value());
    let _ = params::dry_run(query.all("dryRun"), "CreateOptions");
    is_taken
}

/// `None` for what HTTP does not let through.
fn headers(bytes: &[u8], name: header::HeaderName) -> Option<HeaderMap> {
    Some(HeaderMap::from_iter([(name, HeaderValue::from_bytes(bytes).ok()?)]))
}

fn accept(bytes: &[u8]) -> bool {
    let Some(headers) = headers(bytes, header::ACCEPT) else { return false };
    let query = Query::parse(None);
    let _ = (
        negotiate::produced(&headers, negotiate::MEDIA_TYPES),
        negotiate::output(&headers, &query, negotiate::Transforms::None),
    );
    negotiate::output(&headers, &query, negotiate::Transforms::All).is_ok() | negotiate::aggregated(&headers).is_some()
}

fn content_type(bytes: &[u8]) -> bool {
    let Some(headers) = headers(bytes, header::CONTENT_TYPE) else { return false };
    negotiate::input(&headers).is_ok() | negotiate::patch_type(&headers).is_ok()
}

fn user_agent(bytes: &[u8]) -> bool {
    let text = text(bytes);
    let name = managed::manager_name("", &text);
    assert!(name.len() <= managed::MANAGER_MAX && name.chars().all(api::field::is_printable));
    true
}

const PREFIX: &str = "/registry/pods/team-a/";
const TOKEN: &str = r#"{"v":"meta.k8s.io/v1","rv":7,"start":"web-0\u0000"}"#;

fn tokens() -> Vec<Vec<u8>> {
    vec![URL_SAFE_NO_PAD.encode(TOKEN).into(), continue_token::encode("/registry/pods/team-a/b", PREFIX, -1).into()]
}

/// A continue token names a key below the prefix that was authorized, or is refused.
fn next_page(bytes: &[u8]) -> bool {
    let Ok((start, revision)) = continue_token::decode(&text(bytes), PREFIX) else { return false };
    let below = start.strip_prefix(PREFIX).unwrap_or_else(|| panic!("{start:?} is not below {PREFIX}"));
    assert!(below.split('/').all(|part| !matches!(part, "" | "." | "..")), "{start:?}");
    let again = continue_token::encode(&start, PREFIX, revision.map_or(-1, |revision| revision as i64));
    assert_eq!(continue_token::decode(&again, PREFIX), Ok((start, revision)));
    true
}

static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().unwrap());

fn authorization(bytes: &[u8], name: header::HeaderName) -> bool {
    static AUTHENTICATORS: LazyLock<Authenticators> = LazyLock::new(|| {
        let mut tokens = StaticTokens::new().unwrap();
        tokens.insert("secret", crate::authn::User::anonymous());
        let passwords = Passwords::parse("f", PASSWORDS, |_| Ok(())).ok();
        Authenticators { passwords, tokens: Some(tokens), ..Authenticators::default() }
    });
    let Some(mut headers) = headers(bytes, name) else { return false };
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    let now = time::now();
    let user = RUNTIME.block_on(AUTHENTICATORS.authenticate(&headers, None, now, &Warnings::default()));
    crate::authn::remove_credentials(&mut headers);
    // What is let in had the one token that there is, and a refusal does not quote.
    match user {
        Ok(user) => user.is_none() || text(bytes).contains("secret") || text(bytes).contains("c2VjcmV0"),
        Err(_) => false,
    }
}

fn handshake(bytes: &[u8], name: header::HeaderName) -> bool {
    let Some(mut headers) = headers(bytes, name) else { return false };
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static("x"));
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.entry(header::ORIGIN).or_insert(HeaderValue::from_static("file://"));
    let Ok(handshake) = Handshake::read(&headers) else { return false };
    let taken = handshake.check_origin().and_then(|()| handshake.only_protocol());
    taken.is_ok_and(|protocol| handshake.accept(protocol).status() == 101)
}

static PKI: LazyLock<Pki> = LazyLock::new(|| Pki::in_memory(&pki::Options::new(time::now())).unwrap());

fn service_account_tokens() -> Vec<Vec<u8>> {
    let claims = json!({"iss": "i", "sub": "system:serviceaccount:a:b", "aud": "x", "exp": 1, "iat": 0, "nbf": 0});
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let head = json!({"alg": "ES256", "kid": PKI.service_accounts().key_id()});
    vec![format!("{}.{}.c2ln", encode(&head), encode(&claims)).into()]
}

fn service_account_token(bytes: &[u8]) -> bool {
    let text = text(bytes);
    let keys = PKI.service_accounts();
    assert!(keys.verify::<Claims>(&text).is_err() && keys.verify::<LegacyClaims>(&text).is_err(), "nobody signed this");
    pki::service_account::unverified_issuer(&text).is_some()
}

fn token_file(bytes: &[u8]) -> bool {
    StaticTokens::new().unwrap().parse("f", &text(bytes)).is_ok()
}

/// What `checked` hashes cost is bounded before they are computed.
fn password_file(bytes: &[u8]) -> bool {
    Passwords::parse("f", &text(bytes), |_| Ok(())).is_ok()
}

fn request(encoded: &str) -> bool {
    let _ = requests::check_request(encoded);
    requests::organizations(encoded).is_ok()
}

/// What the first block of PEM holds.
fn der(pem: &[u8]) -> Vec<u8> {
    let text = text(pem);
    let lines = text.lines().skip(1).take_while(|line| !line.starts_with('-'));
    STANDARD.decode(lines.collect::<String>()).unwrap()
}

fn pem(der: &[u8], label: &str) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

/// Nobody gets in with a certificate that was changed; of the CA's own, reading is what is tried.
fn client_certificate(bytes: &[u8]) -> bool {
    let chain = [CertificateDer::from(bytes.to_vec())];
    let verdict = PKI.clients().verify(&chain, time::now());
    assert!(verdict.is_err(), "a CA's certificate is nobody's");
    requests::check_certificate(&STANDARD.encode(pem(bytes, "CERTIFICATE"))).is_ok()
}

fn stored(bytes: &[u8]) -> bool {
    let _ = document::pick(bytes, &["metadata.name", "spec.replicas"]);
    let Ok(object) = resources::builtin("apps", "deployments").read(bytes) else { return false };
    let _ = (document::encode(&object), resources::builtin("apps", "deployments").to_stored(&object));
    let events = resources::find("events.k8s.io", "v1", "events").unwrap();
    let _ = events.read(bytes).map(|object| events.to_stored(&object));
    true
}
