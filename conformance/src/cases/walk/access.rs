//! Who may do what.

use crate::case::{Case, Needs};
use crate::context::{Context, has};
use anyhow::{Result, ensure};
use serde_json::json;

pub const CASES: &[Case] = &[
    Case::new("walk::can_i", Needs::Cluster, can_i),
    Case::new("walk::whoami", Needs::Cluster, whoami),
    Case::new("walk::restricted_service_account", Needs::Cluster, restricted_service_account),
    Case::new("walk::token_of_a_service_account", Needs::Cluster, token_of_a_service_account),
    Case::new("walk::no_escalation", Needs::Cluster, no_escalation),
    Case::new("walk::default_roles", Needs::Cluster, default_roles),
];

fn can_i(cx: &Context) -> Result<()> {
    has(&cx.kubectl("auth can-i --list")?, &["Resources", "Non-Resource URLs", "Verbs", "*.*", "[*]"])?;
    ensure!(cx.kubectl("auth can-i create deployments")?.trim() == "yes");
    let (may, printed) = cx.kubectl_tries("auth can-i create pods --as=nobody-in-particular")?;
    ensure!(!may && printed.contains("no"), "{printed}");
    has(
        &cx.kubectl("auth can-i --list --as=nobody-in-particular")?,
        &["selfsubjectaccessreviews.authorization.k8s.io", "[/api/*]", "[get]"],
    )
}

fn whoami(cx: &Context) -> Result<()> {
    has(&cx.kubectl("auth whoami")?, &["ATTRIBUTE", "Username", "Groups", "system:authenticated"])?;
    let somebody = cx.kubectl("auth whoami --as=jane --as-group=developers -o jsonpath={.status.userInfo}")?;
    has(&somebody, &["\"username\":\"jane\"", "developers", "system:authenticated"])
}

/// A service account that may read pods, and no more.
fn reader(cx: &Context) -> Result<()> {
    cx.kubectl("create serviceaccount reader")?;
    cx.kubectl("create role pod-reader --verb=get,list,watch --resource=pods")?;
    cx.kubectl(&format!("create rolebinding read-pods --role=pod-reader --serviceaccount={}:reader", cx.namespace))?;
    let path = format!("auth can-i list pods --as=system:serviceaccount:{}:reader", cx.namespace);
    cx.until("the binding to count", || Ok(cx.kubectl_tries(&path)?.0))
}

fn restricted_service_account(cx: &Context) -> Result<()> {
    reader(cx)?;
    let namespace = &cx.namespace;
    let user = format!("system:serviceaccount:{namespace}:reader");
    let (may, printed) = cx.kubectl_tries(&format!("auth can-i delete pods --as={user}"))?;
    ensure!(!may && printed.contains("no"), "{printed}");
    cx.kubectl(&format!("get pods --as={user}"))?;
    let sentence = format!(
        "Error from server (Forbidden): secrets is forbidden: User \"{user}\" cannot list resource \"secrets\" in API group \"\" in the namespace \"{namespace}\""
    );
    let printed = cx.kubectl_fails(&format!("get secrets --as={user}"))?;
    ensure!(printed.trim() == sentence, "{printed}");
    let printed = cx.kubectl_fails(&format!("delete pod some --as={user}"))?;
    has(
        &printed,
        &[&format!(
            "pods \"some\" is forbidden: User \"{user}\" cannot delete resource \"pods\" in API group \"\" in the namespace \"{namespace}\""
        )],
    )?;
    let printed = cx.kubectl_fails(&format!("get deployments.apps -A --as={user}"))?;
    has(
        &printed,
        &[&format!(
            "deployments.apps is forbidden: User \"{user}\" cannot list resource \"deployments\" in API group \"apps\" at the cluster scope"
        )],
    )?;
    let rules = cx.kubectl(&format!("auth can-i --list --as={user}"))?;
    has(&rules, &["pods", "[get list watch]"])
}

fn token_of_a_service_account(cx: &Context) -> Result<()> {
    reader(cx)?;
    let token = cx.kubectl("create token reader --duration=15m")?;
    ensure!(token.trim().split('.').count() == 3, "not a JWT: {token}");
    let kubeconfig = cx.kubeconfig_with_token(token.trim())?;
    let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
    let user = cx.kubectl(&format!("{kubeconfig} auth whoami -o jsonpath={{.status.userInfo}}"))?;
    has(
        &user,
        &[&format!("system:serviceaccount:{}:reader", cx.namespace), "system:serviceaccounts", "system:authenticated"],
    )?;
    cx.kubectl(&format!("{kubeconfig} get pods"))?;
    has(&cx.kubectl_fails(&format!("{kubeconfig} get configmaps"))?, &["configmaps is forbidden"])?;
    // A token does not outlive its account.
    cx.kubectl("delete serviceaccount reader")?;
    cx.until("the token to be worthless", || {
        let (works, printed) = cx.kubectl_tries(&format!("{kubeconfig} get pods"))?;
        Ok(!works && printed.contains("Unauthorized"))
    })
}

fn no_escalation(cx: &Context) -> Result<()> {
    cx.kubectl("create role role-maker --verb=create,get --resource=roles")?;
    cx.kubectl("create rolebinding role-maker --role=role-maker --user=mallory")?;
    cx.until("the binding to count", || Ok(cx.kubectl_tries("auth can-i create roles --as=mallory")?.0))?;
    let printed = cx.kubectl_fails("create role more --verb=delete --resource=secrets --as=mallory")?;
    has(&printed, &["is attempting to grant RBAC permissions not currently held", "mallory"])
}

/// Upstream's roles for people.
fn default_roles(cx: &Context) -> Result<()> {
    for (role, who) in [("view", "victor"), ("edit", "eve"), ("admin", "ada")] {
        cx.kubectl(&format!("create rolebinding {role} --clusterrole={role} --user={who}"))?;
    }
    let may = |who: &str, what: &str| cx.kubectl_tries(&format!("auth can-i {what} --as={who}")).map(|answer| answer.0);
    cx.until("the bindings to count", || {
        Ok(may("ada", "create roles")? && may("victor", "get pods")? && may("eve", "get pods")?)
    })?;
    let expected = [
        ("victor", "list deployments", true),
        ("victor", "get secrets", false),
        ("victor", "create pods", false),
        ("eve", "create deployments", true),
        ("eve", "get secrets", true),
        ("eve", "create roles", false),
        ("ada", "create rolebindings", true),
        ("ada", "create nodes", false),
    ];
    for (who, what, wanted) in expected {
        ensure!(may(who, what)? == wanted, "{who} {what}: should be {wanted}");
    }
    let review = json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {"user": "victor",
        "resourceAttributes": {"namespace": cx.namespace, "verb": "get", "resource": "pods"}}});
    let answer = cx.post("/apis/authorization.k8s.io/v1/subjectaccessreviews", &review)?.json()?;
    ensure!(answer["status"]["allowed"] == true, "{answer}");
    has(
        answer["status"]["reason"].as_str().unwrap_or_default(),
        &["RBAC: allowed by RoleBinding", "ClusterRole \"view\" to User \"victor\""],
    )
}
