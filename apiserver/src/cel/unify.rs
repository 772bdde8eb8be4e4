//! Whether a value of one type can stand where another is wanted, and what that says of type variables.

use super::types::{DYN, Family, Param, Simple, Type};
use std::collections::HashMap;

/// What is known of type variables.
#[derive(Default)]
pub struct Substitutions {
    known: HashMap<Param, Type>,
    /// What `known` had before each change, so that a failed attempt can be taken back.
    before: Vec<(Param, Option<Type>)>,
}

impl Substitutions {
    /// Whether `from` can stand for `to`; type variables are only bound if it can.
    pub fn assign(&mut self, from: &Type, to: &Type) -> bool {
        self.attempt(|known| known.is_assignable(from, to))
    }

    /// The same for each of a list.
    pub fn assign_all(&mut self, from: &[Type], to: &[Type]) -> bool {
        self.attempt(|known| known.are_assignable(from, to))
    }

    fn attempt(&mut self, try_it: impl FnOnce(&mut Substitutions) -> bool) -> bool {
        self.before.clear();
        let is_assignable = try_it(self);
        if !is_assignable {
            while let Some((param, before)) = self.before.pop() {
                match before {
                    Some(ty) => self.known.insert(param, ty),
                    None => self.known.remove(&param),
                };
            }
        }
        is_assignable
    }

    pub fn bind(&mut self, param: Param, ty: Type) {
        let before = self.known.insert(param, ty);
        self.before.push((param, before));
    }

    /// The type with its variables replaced; what is unknown stays, or becomes `dyn`.
    pub fn apply(&self, ty: &Type, unknown_is_dyn: bool) -> Type {
        match ty {
            Type::Param(param) => match self.known.get(param) {
                Some(known) => self.apply(known, unknown_is_dyn),
                None if unknown_is_dyn => DYN,
                None => ty.clone(),
            },
            Type::Of(family, params) if params.iter().any(has_params) => {
                Type::Of(*family, params.iter().map(|param| self.apply(param, unknown_is_dyn)).collect())
            }
            _ => ty.clone(),
        }
    }

    fn is_assignable(&mut self, from: &Type, to: &Type) -> bool {
        if let Type::Param(param) = to {
            match self.substitute(from, *param, to) {
                Fit::Yes => return true,
                Fit::NotAsKnown => return false,
                Fit::No => {}
            }
        }
        if let Type::Param(param) = from {
            return self.substitute(to, *param, from) == Fit::Yes;
        }
        if from.is_dyn_or_error() || to.is_dyn_or_error() {
            return true;
        }
        if is_null(from) || is_null(to) {
            return is_nullable(if is_null(from) { to } else { from });
        }
        match (from, to) {
            (Type::Of(Family::Type, _) | Type::Simple(Simple::Type), _) => {
                matches!(to, Type::Of(Family::Type, _) | Type::Simple(Simple::Type))
            }
            (Type::Of(family, params), Type::Of(other, others)) => {
                family == other && self.are_assignable(params, others)
            }
            _ => from == to,
        }
    }

    fn are_assignable(&mut self, from: &[Type], to: &[Type]) -> bool {
        from.len() == to.len() && from.iter().zip(to).all(|(from, to)| self.is_assignable(from, to))
    }

    /// Tries `ty` for the variable `param`, whose type is `as_type`.
    fn substitute(&mut self, ty: &Type, param: Param, as_type: &Type) -> Fit {
        if ty == as_type {
            return Fit::Yes;
        }
        let Some(known) = self.known.get(&param).cloned() else {
            if self.is_free_of(as_type, ty) {
                self.bind(param, ty.clone());
                return Fit::Yes;
            }
            return Fit::No;
        };
        if *ty == known {
            return Fit::Yes;
        }
        if !self.is_assignable(ty, &known) {
            return Fit::NotAsKnown;
        }
        let general = most_general(ty, &known);
        if self.is_free_of(as_type, &general) {
            self.bind(param, general);
        }
        Fit::Yes
    }

    /// Whether the variable does not occur in the type.
    fn is_free_of(&self, variable: &Type, within: &Type) -> bool {
        if variable == within {
            return false;
        }
        match within {
            Type::Param(param) => self.known.get(param).is_none_or(|known| self.is_free_of(variable, known)),
            _ => within.params().iter().all(|param| self.is_free_of(variable, param)),
        }
    }
}

#[derive(PartialEq)]
enum Fit {
    Yes,
    No,
    /// The variable is known to be something else.
    NotAsKnown,
}

fn is_null(ty: &Type) -> bool {
    *ty == Type::Simple(Simple::Null)
}

fn has_params(ty: &Type) -> bool {
    matches!(ty, Type::Param(_)) || ty.params().iter().any(has_params)
}

fn is_nullable(ty: &Type) -> bool {
    match ty {
        Type::Simple(simple) => matches!(simple, Simple::Duration | Simple::Timestamp | Simple::Null),
        Type::Of(family, _) => matches!(family, Family::Opaque(_)),
        Type::Object(_) => true,
        Type::Param(_) => false,
    }
}

/// The more general of two types that fit each other.
pub fn most_general(one: &Type, other: &Type) -> Type {
    if is_as_general(one, other) { one.clone() } else { other.clone() }
}

fn is_as_general(one: &Type, other: &Type) -> bool {
    if one.is_dyn() || matches!(one, Type::Param(_)) {
        return true;
    }
    if other.is_dyn() || matches!(other, Type::Param(_)) {
        return false;
    }
    match (one, other) {
        (Type::Of(Family::Type, _), Type::Of(Family::Type, _)) => true,
        (Type::Of(family, params), Type::Of(other, others)) => {
            family == other
                && params.len() == others.len()
                && params.iter().zip(others.iter()).all(|(one, other)| is_as_general(one, other))
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::{BOOL, INT, STRING};
    use super::*;

    #[test]
    fn variables_are_bound_only_by_what_fits() {
        let (a, b) = (Type::Param(Param::Fresh(0)), Type::Param(Param::Fresh(1)));
        let mut known = Substitutions::default();
        assert!(!known.assign_all(&[INT, STRING], &[a.clone(), a.clone()]));
        assert_eq!(known.apply(&a, false), a);
        assert!(known.assign(&Type::list(INT), &Type::list(a.clone())));
        assert_eq!(known.apply(&Type::map(a.clone(), b.clone()), true), Type::map(INT, DYN));
        assert!(!known.assign(&b, &Type::list(b.clone())), "a type is not part of itself");
        assert!(!known.assign(&BOOL, &a));
    }
}
