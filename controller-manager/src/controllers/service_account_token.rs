//! Secrets of the type `kubernetes.io/service-account-token` get the token of the service account that they name, and go with it
//! (upstream's `tokens_controller`).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use component::Meta;
use component::resource::{SECRETS, SERVICE_ACCOUNTS};
use pki::LegacyClaims;
use serde_json::{Map, Value, json};

use crate::informers::{ACCOUNT, Informers, SECRET};
use crate::kinds::TokenSecret;
use crate::plan::{Action, Answer, Plan, Query};
use crate::queue::{Item, Queue};
use crate::runtime::View;

const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

pub fn watch(informers: &Informers, queue: &Queue) {
    let each = queue.clone();
    informers.token_secrets.subscribe(move |delta| each.add(Item::of(SECRETS, &delta.object().metadata)));
    let (wake, secrets) = (queue.clone(), informers.stores().token_secrets.clone());
    informers.service_accounts.subscribe(move |delta| {
        let account = &delta.object().metadata;
        for secret in secrets.by(ACCOUNT, &format!("{}/{}", account.namespace, account.name)) {
            wake.add(Item::of(SECRETS, &secret.metadata));
        }
    });
}

pub fn reconcile(view: &View<'_>, item: &Item) -> Plan {
    if view.options.service_account_keys.is_none() {
        return Plan::none();
    }
    let Some(secret) = view.stores.token_secrets.get(item.namespace(), item.name()) else {
        return forget(view, item);
    };
    let mut plan = Plan::none();
    match account_of(view, &secret.metadata) {
        Account::Uid(uid) => complete(view, &secret, &uid, &mut plan),
        Account::Gone => plan.act(Action::delete(SECRETS, &secret.metadata)),
        Account::Ask(query) => plan.ask.push(query),
        Account::Unknown(why) => plan.retry = Some(why),
        Account::Unnamed => {}
    }
    plan
}

/// What is known of the account that a Secret is for.
enum Account {
    Uid(String),
    Gone,
    Ask(Query),
    /// The server could not be asked, for this reason.
    Unknown(String),
    Unnamed,
}

/// The account that a Secret names; one of another uid than the Secret says is not meant.
fn account_of(view: &View<'_>, secret: &Meta) -> Account {
    let name = secret.annotations.get(ACCOUNT_NAME).unwrap_or_default();
    if name.is_empty() {
        return Account::Unnamed;
    }
    let said = secret.annotations.get(ACCOUNT_UID).unwrap_or_default();
    let is_meant = |account: &Meta| said.is_empty() || account.uid == said;
    if let Some(account) = view.stores.service_accounts.get(&secret.namespace, name)
        && is_meant(&account.metadata)
    {
        return Account::Uid(account.metadata.uid.clone());
    }
    // A deletion must not rest on what has not come through the watch yet.
    let query = Query::Get(SERVICE_ACCOUNTS, secret.namespace.clone(), name.to_owned());
    match view.answers.get(&query) {
        Some(Answer::Found(found)) => match found.first().filter(|found| is_meant(found)) {
            Some(account) => Account::Uid(account.uid.clone()),
            None => Account::Gone,
        },
        Some(Answer::Failed(why)) => Account::Unknown(why.clone()),
        _ => Account::Ask(query),
    }
}

/// Gives a Secret what it lacks.
fn complete(view: &View<'_>, secret: &TokenSecret, uid: &str, plan: &mut Plan) {
    let (meta, has) = (&secret.metadata, &secret.data);
    let account = meta.annotations.get(ACCOUNT_NAME).unwrap_or_default();
    let mut data = Map::new();
    let root_ca = STANDARD.encode(&view.options.root_ca);
    if !root_ca.is_empty() && has.root_ca != root_ca {
        data.insert("ca.crt".to_owned(), root_ca.into());
    }
    if !has.has_namespace {
        data.insert("namespace".to_owned(), STANDARD.encode(&meta.namespace).into());
    }
    let token = (!has.has_token).then(|| LegacyClaims::new(&meta.namespace, &meta.name, (account, uid)));
    if !data.is_empty() || token.is_some() {
        let annotations = json!({ ACCOUNT_NAME: account, ACCOUNT_UID: uid });
        let body = json!({ "metadata": { "annotations": annotations }, "data": data });
        plan.act(Action::amend(SECRETS, meta, body, token));
    }
}

/// Strikes a Secret that is gone off the lists of accounts.
fn forget(view: &View<'_>, item: &Item) -> Plan {
    let accounts = view.stores.service_accounts.by(SECRET, &format!("{}/{}", item.namespace(), item.name()));
    let query = |account: &Meta| Query::Read(SERVICE_ACCOUNTS, account.namespace.clone(), account.name.clone());
    let asked: Vec<Query> = accounts.iter().map(|account| query(&account.metadata)).collect();
    if asked.iter().any(|query| !view.answers.contains_key(query)) {
        return Plan::ask(asked);
    }
    let mut plan = Plan::none();
    for account in accounts {
        match view.answers.get(&query(&account.metadata)) {
            Some(Answer::Object(Some(found))) => {
                let mut found = (**found).clone();
                if strike(&mut found, item.name()) {
                    plan.act(Action::update(SERVICE_ACCOUNTS, &account.metadata, "", found));
                }
            }
            Some(Answer::Failed(why)) => plan.retry = Some(why.clone()),
            _ => {}
        }
    }
    plan
}

/// Takes a Secret's name out of an account's list; whether it was there.
fn strike(account: &mut Value, name: &str) -> bool {
    let Some(listed) = account.get_mut("secrets").and_then(Value::as_array_mut) else { return false };
    let before = listed.len();
    listed.retain(|reference| reference["name"] != name);
    listed.len() < before
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::World;

    /// A world with the account `web`, whose uid is given, and a controller that has a key.
    fn world(uid: &str) -> World {
        let mut world = World::new();
        world.options.root_ca = "PEM".to_owned();
        let pki = pki::Pki::in_memory(&pki::Options::new(world.now)).unwrap();
        world.options.service_account_keys = Some(pki.service_accounts());
        put_account(&mut world, uid);
        world
    }

    fn put_account(world: &mut World, uid: &str) {
        world.put(SERVICE_ACCOUNTS, json!({ "metadata": { "namespace": "n", "name": "web", "uid": uid } }));
    }

    fn put_secret(world: &mut World, annotations: Value, data: Value) -> Item {
        let metadata = json!({ "namespace": "n", "name": "s", "annotations": annotations });
        world.put(SECRETS, json!({ "metadata": metadata, "data": data }));
        Item::new(SECRETS, "n", "s")
    }

    #[test]
    fn a_secret_gets_token_certificate_namespace_and_the_uid() {
        let mut world = world("u1");
        let item = put_secret(&mut world, json!({ ACCOUNT_NAME: "web" }), json!({ "more": "eA==" }));
        assert_eq!(world.reconcile(reconcile, &item), 1);
        let wanted = json!({
            "token": "for system:serviceaccount:n:web", "ca.crt": "UEVN", "namespace": "bg==", "more": "eA==",
        });
        let secret = world.get(SECRETS, "n", "s").unwrap();
        assert_eq!(secret["data"], wanted);
        assert_eq!(secret["metadata"]["annotations"], json!({ ACCOUNT_NAME: "web", ACCOUNT_UID: "u1" }));
        assert_eq!(world.reconcile(reconcile, &item), 0);
        world.change(SECRETS, "n", "s", json!({ "data": { "ca.crt": "b2xk" } }));
        world.reconcile(reconcile, &item);
        assert_eq!(world.get(SECRETS, "n", "s").unwrap()["data"], wanted, "a certificate that is outdated is replaced");
    }

    #[test]
    fn the_token_is_for_this_secret_and_this_account_and_in_no_plan() {
        let mut world = world("u1");
        let item = put_secret(&mut world, json!({ ACCOUNT_NAME: "web" }), json!({}));
        let plan = world.plan(reconcile, &item);
        let [Action::Amend { token: Some(claims), body, .. }] = plan.actions()[..] else {
            panic!("{:?}", plan.actions())
        };
        assert_eq!(**claims, LegacyClaims::new("n", "s", ("web", "u1")));
        assert_eq!(body["data"], json!({ "ca.crt": "UEVN", "namespace": "bg==" }));
    }

    #[test]
    fn a_secret_goes_with_its_account() {
        for (uid, said, stays) in [("u1", "", true), ("u1", "u1", true), ("u2", "u1", false)] {
            let mut world = world(uid);
            let annotations = json!({ ACCOUNT_NAME: "web", ACCOUNT_UID: said });
            let item = put_secret(&mut world, annotations, json!({ "token": "x" }));
            world.reconcile(reconcile, &item);
            assert_eq!(world.get(SECRETS, "n", "s").is_some(), stays, "{uid} {said}");
        }
        let mut world = world("u1");
        let item = put_secret(&mut world, json!({ ACCOUNT_NAME: "gone" }), json!({}));
        world.reconcile(reconcile, &item);
        assert!(world.get(SECRETS, "n", "s").is_none());
    }

    #[test]
    fn an_account_that_the_watch_has_not_brought_yet_counts() {
        let mut world = world("u1");
        world.delete(SERVICE_ACCOUNTS, "n", "web", None);
        let stale = std::mem::take(&mut world.stores);
        put_account(&mut world, "u1");
        world.stores = stale;
        let item = put_secret(&mut world, json!({ ACCOUNT_NAME: "web" }), json!({}));
        world.reconcile(reconcile, &item);
        assert_eq!(world.get(SECRETS, "n", "s").unwrap()["metadata"]["annotations"][ACCOUNT_UID], "u1");
    }

    #[test]
    fn a_secret_that_is_gone_is_struck_off_its_accounts_list() {
        let mut world = world("u1");
        world.change(SERVICE_ACCOUNTS, "n", "web", json!({ "secrets": [{ "name": "s" }, { "name": "other" }] }));
        let plan = world.plan(reconcile, &Item::new(SECRETS, "n", "s"));
        let [Action::Update { body, name, .. }] = plan.actions()[..] else { panic!("{:?}", plan.actions()) };
        assert_eq!((name.as_str(), &body["secrets"]), ("web", &json!([{ "name": "other" }])));
        assert!(body["metadata"]["resourceVersion"].is_string(), "nobody else's change is undone");
        assert!(world.plan(reconcile, &Item::new(SECRETS, "n", "unlisted")).actions().is_empty());
    }

    #[test]
    fn without_a_key_nothing_is_done() {
        let mut world = world("u1");
        world.options.service_account_keys = None;
        let item = put_secret(&mut world, json!({ ACCOUNT_NAME: "gone" }), json!({}));
        assert_eq!(world.reconcile(reconcile, &item), 0);
    }
}
