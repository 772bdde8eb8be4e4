//! What expressions can name, for each place that they stand in.

use super::declarations::{self, Functions, Overload, named};
use super::parse::Macros;
use super::types::{BOOL, DYN, Fields, INT, STRING, Simple, Type};
use std::collections::BTreeMap;

/// Variables, and what there is besides the usual functions and macros.
#[derive(Clone)]
pub struct Environment {
    variables: BTreeMap<String, Type>,
    extra: Extra,
}

#[derive(Clone, Copy, PartialEq)]
enum Extra {
    None,
    /// `cel.bind`.
    Bind,
    /// Objects and JSON patches can be made.
    Patches,
}

impl Environment {
    pub fn new<N: Into<String>>(variables: impl IntoIterator<Item = (N, Type)>) -> Environment {
        let variables = variables.into_iter().map(|(name, ty)| (name.into(), ty)).collect();
        Environment { variables, extra: Extra::None }
    }

    /// With one variable more, or one of another type.
    pub fn with(mut self, name: impl Into<String>, ty: Type) -> Environment {
        self.variables.insert(name.into(), ty);
        self
    }

    /// In which objects and patches can be made, as mutations are.
    pub fn with_patches(self) -> Environment {
        Environment { extra: Extra::Patches, ..self }
    }

    pub fn macros(&self) -> Macros {
        if self.extra == Extra::Bind { Macros::WithBind } else { Macros::Usual }
    }

    /// What a name stands for that is no variable of a loop: a variable, or a type.
    pub fn ident(&self, name: &str) -> Option<Type> {
        self.variables.get(name).cloned().or_else(|| self.type_named(name).map(Type::type_of))
    }

    /// The type of a name.
    pub fn type_named(&self, name: &str) -> Option<Type> {
        let patch = || if self.extra == Extra::Patches { patch_type(name) } else { None };
        let declared = || self.variables.values().find_map(|ty| object_named(ty, name));
        named(name).or_else(patch).or_else(declared)
    }

    /// The ways to call a function.
    pub fn overloads(&self, function: &str) -> Option<&'static [Overload]> {
        let extra = |functions: &'static Functions| functions.get(function).filter(|_| self.extra == Extra::Patches);
        let found = declarations::BASE.get(function).or_else(|| extra(&declarations::JSON_PATCH));
        found.map(Vec::as_slice)
    }
}

/// Types of patches: `JSONPatch`, and `Object` with any path after it.
fn patch_type(name: &str) -> Option<Type> {
    let fields = [("from", STRING), ("op", STRING), ("path", STRING), ("value", DYN)];
    match name {
        "JSONPatch" => Some(Type::object(name, fields)),
        "Object" => Some(Type::any_fields(name)),
        _ if name.starts_with("Object.") => Some(Type::any_fields(name)),
        _ => None,
    }
}

/// What mutations by JSON patch evaluate to.
pub fn json_patch() -> Type {
    Type::list(Type::any_fields("JSONPatch"))
}

/// What mutations by applied configuration evaluate to.
pub fn patched_object() -> Type {
    Type::any_fields("Object")
}

/// The object type of a name within a type. Those without fields cannot be named.
fn object_named(ty: &Type, name: &str) -> Option<Type> {
    let Type::Object(object) = ty else { return ty.params().iter().find_map(|ty| object_named(ty, name)) };
    match &object.fields {
        Fields::These(_) if object.name == name => Some(ty.clone()),
        Fields::These(fields) => fields.values().find_map(|ty| object_named(ty, name)),
        Fields::All | Fields::Hidden => None,
    }
}

/// Which of the variables of admission an expression has.
#[derive(Clone, Copy)]
pub struct Admission {
    pub params: bool,
    pub authorizer: bool,
}

/// Of expressions that look at a request before it is admitted.
pub fn admission(has: Admission) -> Environment {
    let always =
        [("object", DYN), ("oldObject", DYN), ("namespaceObject", namespace_type()), ("request", request_type())];
    let params = has.params.then_some(("params", DYN));
    let check = |name| Type::without_fields(format!("kubernetes.authorization.{name}"));
    let authorizer = [("authorizer", check("Authorizer")), ("authorizer.requestResource", check("ResourceCheck"))];
    let authorizer = authorizer.into_iter().filter(|_| has.authorizer);
    Environment::new(always.into_iter().chain(params).chain(authorizer))
}

/// Of expressions that select devices.
pub fn device() -> Environment {
    let quantity = Type::without_fields("kubernetes.Quantity");
    let by_domain = |of| Type::map(STRING, Type::map(STRING, of));
    let device = Type::object(
        "kubernetes.DRADevice",
        [
            ("allowMultipleAllocations", BOOL),
            ("attributes", by_domain(super::types::ANY)),
            ("capacity", by_domain(quantity)),
            ("driver", STRING),
        ],
    );
    Environment { extra: Extra::Bind, ..Environment::new([("device", device)]) }
}

fn strings<const N: usize>(names: [&'static str; N]) -> impl Iterator<Item = (&'static str, Type)> {
    names.into_iter().map(|name| (name, STRING))
}

fn request_type() -> Type {
    let kind = Type::object("kubernetes.GroupVersionKind", strings(["group", "version", "kind"]));
    let resource = Type::object("kubernetes.GroupVersionResource", strings(["group", "version", "resource"]));
    let groups = ("groups", Type::list(STRING));
    let extra = ("extra", Type::map(STRING, Type::list(STRING)));
    let user = Type::object("kubernetes.UserInfo", strings(["username", "uid"]).chain([groups, extra]));
    let rest = [
        ("kind", kind.clone()),
        ("resource", resource.clone()),
        ("requestKind", kind),
        ("requestResource", resource),
        ("userInfo", user),
        ("dryRun", BOOL),
        ("options", DYN),
    ];
    let texts = strings(["subResource", "requestSubResource", "name", "namespace", "operation"]);
    Type::object("kubernetes.AdmissionRequest", texts.chain(rest))
}

fn namespace_type() -> Type {
    let time = || Type::Simple(Simple::Timestamp);
    let labels = || Type::map(STRING, STRING);
    let spec = Type::object("kubernetes.NamespaceSpec", [("finalizers", Type::list(STRING))]);
    let condition = strings(["status", "type", "message", "reason"]).chain([("lastTransitionTime", time())]);
    let condition = Type::object("kubernetes.NamespaceCondition", condition);
    let status = [("conditions", Type::list(condition)), ("phase", STRING)];
    let rest = [
        ("labels", labels()),
        ("annotations", labels()),
        ("creationTimestamp", time()),
        ("deletionTimestamp", time()),
        ("deletionGracePeriodSeconds", INT),
        ("generation", INT),
        ("finalizers", Type::list(STRING)),
    ];
    let texts = strings(["name", "generateName", "namespace", "UID", "resourceVersion"]);
    let metadata = Type::object("kubernetes.NamespaceMetadata", texts.chain(rest));
    Type::object(
        "kubernetes.Namespace",
        [("metadata", metadata), ("spec", spec), ("status", Type::object("kubernetes.NamespaceStatus", status))],
    )
}
