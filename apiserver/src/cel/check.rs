//! The types of an expression's parts, found from what it names and calls.

use super::declarations::Overload;
use super::environment::Environment;
use super::parse::Parsed;
use super::problem::{MAX_PROBLEMS, Problem, Source};
use super::types::{BOOL, DYN, ERROR, Family, Fields, INT, NULL, Object, Param, STRING, Simple, Type};
use super::unify::{Substitutions, most_general};
use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr, SelectExpr, StructExpr,
    operators,
};
use std::collections::{BTreeSet, HashMap};

/// Types are made of no more parts than this. Each `map(x, {x: x})` doubles what it is applied to.
const MAX_TYPE: usize = 4_096;

/// The types of all parts of an expression.
pub struct Checked {
    /// The variables of the environment that it reads.
    pub variables: BTreeSet<String>,
    types: HashMap<u64, Type>,
    root: u64,
}

impl Checked {
    /// The type of what it evaluates to.
    pub fn result(&self) -> Type {
        self.ty(self.root)
    }

    pub fn ty(&self, id: u64) -> Type {
        self.types.get(&id).cloned().unwrap_or(DYN)
    }
}

/// Finds the types, or what does not fit.
pub fn check(parsed: &Parsed, source: &Source<'_>, environment: &Environment) -> Result<Checked, Vec<Problem>> {
    let mut checker = Checker {
        parsed,
        source,
        environment,
        locals: Vec::new(),
        variables: BTreeSet::new(),
        types: HashMap::new(),
        known: Substitutions::default(),
        fresh: 0,
        problems: Vec::new(),
    };
    checker.expression(&parsed.expr);
    if !checker.problems.is_empty() {
        return Err(checker.problems);
    }
    let Checker { types, known, variables, .. } = checker;
    let types = types.into_iter().map(|(id, ty)| (id, known.apply(&ty, true))).collect();
    Ok(Checked { variables, types, root: parsed.expr.id })
}

struct Checker<'a> {
    parsed: &'a Parsed,
    source: &'a Source<'a>,
    environment: &'a Environment,
    /// The variables of the loops around, the inner ones last.
    locals: Vec<(String, Type)>,
    variables: BTreeSet<String>,
    types: HashMap<u64, Type>,
    known: Substitutions,
    fresh: u32,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    /// The type of an expression; its variables may yet become known.
    fn expression(&mut self, expr: &IdedExpr) -> Type {
        let found = match &expr.expr {
            Expr::Literal(literal) => literal_type(literal),
            Expr::Ident(name) => self.name(expr.id, name),
            Expr::Select(select) => self.select(expr.id, select),
            Expr::Call(call) => self.call(expr.id, call),
            Expr::List(list) => self.list(list),
            Expr::Map(map) => self.map(map),
            Expr::Struct(object) => self.object(expr.id, object),
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Unspecified => ERROR,
        };
        let found = if found.size(MAX_TYPE) < MAX_TYPE { found } else { self.too_large(expr.id) };
        self.types.insert(expr.id, found.clone());
        found
    }

    fn too_large(&mut self, id: u64) -> Type {
        self.problem(id, format!("type has more than {MAX_TYPE} parts"));
        ERROR
    }

    fn problem(&mut self, id: u64, message: String) {
        let at = self.source.place(self.parsed.offset(id));
        // One more than is told, so that it is known that there are more.
        if self.problems.len() <= MAX_PROBLEMS {
            self.problems.push(Problem::new(at, message));
        }
    }

    fn mismatch(&mut self, id: u64, expected: &Type, actual: &Type) {
        self.problem(id, format!("expected type '{expected}' but found '{actual}'"));
    }

    fn undeclared(&mut self, id: u64, name: &str) -> Type {
        self.problem(id, format!("undeclared reference to '{name}' (in container '')"));
        ERROR
    }

    fn fresh(&mut self) -> Type {
        self.fresh += 1;
        Type::Param(Param::Fresh(self.fresh - 1))
    }

    fn local(&self, name: &str) -> Option<&Type> {
        self.locals.iter().rev().find(|(local, _)| local == name).map(|(_, ty)| ty)
    }

    fn name(&mut self, id: u64, name: &str) -> Type {
        if let Some(ty) = self.local(name) {
            return ty.clone();
        }
        let global = name.trim_start_matches('.');
        match self.environment.ident(global) {
            Some(ty) => {
                self.variables.insert(global.to_owned());
                ty
            }
            None => self.undeclared(id, name),
        }
    }

    fn select(&mut self, id: u64, select: &SelectExpr) -> Type {
        // The whole may be one name with dots.
        if !select.test
            && let Some(names) = qualified_name(&select.operand)
            && self.local(names.split('.').next().unwrap_or_default()).is_none()
            && let Some(ty) = self.environment.ident(&format!("{}.{}", names.trim_start_matches('.'), select.field))
        {
            return ty;
        }
        let field = self.field(id, &select.operand, &select.field, false);
        if select.test { BOOL } else { self.known.apply(&field, false) }
    }

    /// The type of a field of an operand; optional if the operand is, or if it is selected so.
    fn field(&mut self, id: u64, operand: &IdedExpr, name: &str, is_optional: bool) -> Type {
        let operand = self.expression(operand);
        let operand = self.known.apply(&operand, false);
        let target = operand.optional_value().unwrap_or(&operand);
        let field = match target {
            Type::Of(Family::Map, params) => params.get(1).cloned().unwrap_or(DYN),
            Type::Object(object) => self.declared_field(id, object, name),
            Type::Param(_) => {
                self.known.assign(&DYN, target);
                DYN
            }
            _ => {
                if !target.is_dyn_or_error() {
                    self.problem(id, format!("type '{target}' does not support field selection"));
                }
                DYN
            }
        };
        if is_optional || operand.optional_value().is_some() { Type::optional(field) } else { field }
    }

    fn declared_field(&mut self, id: u64, object: &Object, name: &str) -> Type {
        let why = match &object.fields {
            Fields::All => return DYN,
            Fields::These(fields) => match field_of(fields, name) {
                Some(ty) => return ty.clone(),
                None => format!("undefined field '{name}'"),
            },
            Fields::Hidden => format!("unexpected failed resolution of '{}'", object.name),
        };
        self.problem(id, why);
        ERROR
    }

    fn call(&mut self, id: u64, call: &CallExpr) -> Type {
        let name = call.func_name.trim_start_matches('.');
        match (name, &*call.args, &call.target) {
            (operators::OPT_SELECT, [operand, field], None) => {
                let Expr::Literal(LiteralValue::String(text)) = &field.expr else { return ERROR };
                let field = self.field(id, operand, text.inner(), true);
                return self.known.apply(&field, false);
            }
            ("optMap" | "optFlatMap", [target, variable, value], None) => {
                return self.optional_map(id, [target, variable, value], name == "optMap");
            }
            _ => {}
        }
        let args: Vec<Type> = call.args.iter().map(|arg| self.expression(arg)).collect();
        let Some(target) = &call.target else {
            return match self.environment.overloads(name) {
                Some(overloads) => self.resolve(id, name, overloads, args, Some(&call.args), false),
                None => self.undeclared(id, &call.func_name),
            };
        };
        // What looks like a target may be the first part of the function's name.
        if let Some(prefix) = qualified_name(target) {
            let qualified = format!("{}.{name}", prefix.trim_start_matches('.'));
            if let Some(overloads) = self.environment.overloads(&qualified) {
                return self.resolve(id, &qualified, overloads, args, Some(&call.args), false);
            }
        }
        let target = self.expression(target);
        match self.environment.overloads(name) {
            Some(overloads) => {
                let args = std::iter::once(target).chain(args).collect();
                self.resolve(id, name, overloads, args, None, true)
            }
            None => self.undeclared(id, name),
        }
    }

    /// The type of a call: of the overloads that fit, or `dyn` where they differ.
    fn resolve(
        &mut self,
        id: u64,
        name: &str,
        overloads: &[Overload],
        args: Vec<Type>,
        exprs: Option<&[IdedExpr]>,
        is_member: bool,
    ) -> Type {
        if let (operators::LOGICAL_AND | operators::LOGICAL_OR, Some(exprs)) = (name, exprs) {
            return self.logical(&args, exprs);
        }
        let mut result: Option<Type> = None;
        for overload in overloads.iter().filter(|overload| overload.is_member == is_member) {
            let mut letters = Substitutions::default();
            for letter in &overload.params {
                let fresh = self.fresh();
                letters.bind(Param::Declared(*letter), fresh);
            }
            let wanted: Vec<Type> = overload.args.iter().map(|arg| letters.apply(arg, false)).collect();
            if !self.known.assign_all(&args, &wanted) {
                continue;
            }
            let given = self.known.apply(&letters.apply(&overload.result, false), false);
            result = Some(match result {
                Some(before) if !before.is_dyn() && before != given => DYN,
                Some(before) => before,
                None => given,
            });
        }
        result.unwrap_or_else(|| {
            let args: Vec<String> = args.iter().map(|arg| self.known.apply(arg, true).to_string()).collect();
            let signature = match args.split_first() {
                Some((target, args)) if is_member => format!("{target}.({})", args.join(", ")),
                _ => format!("({})", args.join(", ")),
            };
            self.problem(id, format!("found no matching overload for '{name}' applied to '{signature}'"));
            ERROR
        })
    }

    fn logical(&mut self, args: &[Type], exprs: &[IdedExpr]) -> Type {
        let mut result = BOOL;
        for (arg, expr) in args.iter().zip(exprs) {
            if !self.known.assign(arg, &BOOL) {
                self.mismatch(expr.id, &BOOL, arg);
                result = ERROR;
            }
        }
        result
    }

    /// `target.optMap(variable, value)`. What it stands for asks its target twice, and so its problems are told twice.
    fn optional_map(&mut self, id: u64, [target, variable, value]: [&IdedExpr; 3], wraps: bool) -> Type {
        let before = self.problems.len();
        let target = self.expression(target);
        self.problems.extend_from_within(before..);
        self.problems.truncate(MAX_PROBLEMS + 1);
        let (Some(has_value), Some(value_of)) =
            (self.environment.overloads("hasValue"), self.environment.overloads("value"))
        else {
            return ERROR;
        };
        let condition = self.resolve(id, "hasValue", has_value, vec![target.clone()], None, true);
        let held = self.resolve(id, "value", value_of, vec![target], None, true);
        let Expr::Ident(name) = &variable.expr else { return ERROR };
        self.locals.push((name.clone(), held));
        let mapped = self.expression(value);
        self.locals.pop();
        let mapped = if wraps { Type::optional(mapped) } else { mapped };
        let none = Type::optional(self.fresh());
        let args = vec![condition, mapped, none];
        let overloads = self.environment.overloads(operators::CONDITIONAL).unwrap_or_default();
        self.resolve(id, operators::CONDITIONAL, overloads, args, None, false)
    }

    fn list(&mut self, list: &ListExpr) -> Type {
        let mut of: Option<Type> = None;
        for (i, element) in list.elements.iter().enumerate() {
            let ty = self.expression(element);
            let ty = self.unwrap(element.id, ty, list.optional_indices.contains(&i));
            of = Some(self.join(of, ty));
        }
        Type::list(of.unwrap_or_else(|| self.fresh()))
    }

    fn map(&mut self, map: &MapExpr) -> Type {
        let (mut keys, mut values): (Option<Type>, Option<Type>) = (None, None);
        for entry in &map.entries {
            let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
            let key = self.expression(&entry.key);
            keys = Some(self.join(keys, key));
            let value = self.expression(&entry.value);
            let value = self.unwrap(entry.value.id, value, entry.optional);
            values = Some(self.join(values, value));
        }
        let keys = keys.unwrap_or_else(|| self.fresh());
        Type::map(keys, values.unwrap_or_else(|| self.fresh()))
    }

    /// The type of what is put somewhere only if it has a value.
    fn unwrap(&mut self, id: u64, ty: Type, is_optional: bool) -> Type {
        if !is_optional {
            return ty;
        }
        if let Some(value) = ty.optional_value() {
            return value.clone();
        }
        if !ty.is_dyn() {
            self.mismatch(id, &Type::optional(ty.clone()), &ty);
        }
        ty
    }

    /// The one type of things in a list or a map. That there are several is looked for afterwards.
    fn join(&mut self, before: Option<Type>, ty: Type) -> Type {
        match before {
            None => ty,
            Some(before) if self.known.assign(&before, &ty) => most_general(&before, &ty),
            Some(_) => DYN,
        }
    }

    fn object(&mut self, id: u64, object: &StructExpr) -> Type {
        let name = object.type_name.trim_start_matches('.');
        let Some(mut ty) = self.environment.type_named(name) else { return self.undeclared(id, &object.type_name) };
        if !is_message(&ty) {
            self.problem(id, format!("'{ty}' is not a message type"));
            ty = ERROR;
        }
        for entry in &object.entries {
            let EntryExpr::StructField(field) = &entry.expr else { continue };
            let value = self.expression(&field.value);
            let wanted = match &ty {
                Type::Object(object) => self.declared_field(entry.id, object, &field.field),
                _ => DYN,
            };
            let value = self.unwrap(field.value.id, value, field.optional);
            if !self.known.assign(&wanted, &value) {
                let name = &field.field;
                let message = format!("expected type of field '{name}' is '{wanted}' but provided type is '{value}'");
                self.problem(entry.id, message);
            }
        }
        ty
    }

    fn comprehension(&mut self, comprehension: &ComprehensionExpr) -> Type {
        let range = self.expression(&comprehension.iter_range);
        let so_far = self.expression(&comprehension.accu_init);
        let range = self.known.apply(&range, false);
        let has_two = comprehension.iter_var2.is_some();
        let (first, second) = match &range {
            Type::Of(Family::List, params) => {
                let of = params.first().cloned().unwrap_or(DYN);
                if has_two { (INT, of) } else { (of, DYN) }
            }
            Type::Of(Family::Map, params) => {
                (params.first().cloned().unwrap_or(DYN), params.get(1).cloned().unwrap_or(DYN))
            }
            Type::Simple(Simple::Dyn | Simple::Error) | Type::Param(_) => {
                self.known.assign(&DYN, &range);
                (DYN, DYN)
            }
            _ => {
                let message = format!(
                    "expression of type '{range}' cannot be range of a comprehension (must be list, map, or dynamic)"
                );
                self.problem(comprehension.iter_range.id, message);
                (ERROR, ERROR)
            }
        };
        let outside = self.locals.len();
        self.locals.push((comprehension.accu_var.clone(), so_far.clone()));
        self.locals.push((comprehension.iter_var.clone(), first));
        self.locals.extend(comprehension.iter_var2.clone().map(|name| (name, second)));
        for (part, wanted) in [(&comprehension.loop_cond, &BOOL), (&comprehension.loop_step, &so_far)] {
            let ty = self.expression(part);
            if !self.known.assign(wanted, &ty) {
                self.mismatch(part.id, wanted, &ty);
            }
        }
        self.locals.truncate(outside + 1);
        let result = self.expression(&comprehension.result);
        self.locals.truncate(outside);
        self.known.apply(&result, false)
    }
}

fn literal_type(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => BOOL,
        LiteralValue::Bytes(_) => Type::Simple(Simple::Bytes),
        LiteralValue::Double(_) => Type::Simple(Simple::Double),
        LiteralValue::Int(_) => INT,
        LiteralValue::Null => NULL,
        LiteralValue::String(_) => STRING,
        LiteralValue::UInt(_) => Type::Simple(Simple::Uint),
    }
}

/// `a.b.c`, if the expression is that and nothing else.
fn qualified_name(expr: &IdedExpr) -> Option<String> {
    let (mut fields, mut expr) = (Vec::new(), expr);
    loop {
        match &expr.expr {
            Expr::Ident(name) => {
                fields.push(&**name);
                fields.reverse();
                return Some(fields.join("."));
            }
            Expr::Select(select) if !select.test => {
                fields.push(&*select.field);
                expr = &select.operand;
            }
            _ => return None,
        }
    }
}

/// Fields whose names are words of the language are declared with underscores around them.
fn field_of<'a>(fields: &'a std::collections::BTreeMap<String, Type>, name: &str) -> Option<&'a Type> {
    fields.get(name).or_else(|| fields.get(&format!("__{name}__")))
}

/// Whether values of the type can be made with `name{..}`.
fn is_message(ty: &Type) -> bool {
    match ty {
        Type::Object(_) | Type::Of(Family::Map | Family::List, _) => true,
        Type::Simple(simple) => {
            matches!(simple, Simple::Any | Simple::Duration | Simple::Dyn | Simple::Null | Simple::Timestamp)
        }
        _ => false,
    }
}
