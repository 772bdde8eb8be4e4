//! What stands for more than it says: `has`, loops over lists and maps, and `cel.bind`.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr, operators};
use cel::parser::{Macro, MacroExprHelper, ParseError};

/// Begins what macros find wrong: its column counts bytes.
pub const MARK: &str = "macro: ";

/// The variable in which a loop collects its result; no expression can name it.
const RESULT: &str = "@result";
/// What that variable was called once: not to be named either.
const OLD_RESULT: &str = "__result__";
/// The variable of loops that make no round.
const UNUSED: &str = "#unused";

type Expansion = Result<Option<IdedExpr>, ParseError>;
type Expander = fn(&mut MacroExprHelper<'_>, IdedExpr, Vec<IdedExpr>) -> Expansion;

/// Function, numbers of arguments, and what is made of a call `x.function(..)`.
#[rustfmt::skip]
const LOOPS: &[(&str, &[usize], Expander)] = &[
    ("all", &[2, 3], |make, range, args| quantifier(make, range, args, Quantifier::All)),
    ("exists", &[2, 3], |make, range, args| quantifier(make, range, args, Quantifier::Exists)),
    ("existsOne", &[3], |make, range, args| quantifier(make, range, args, Quantifier::ExistsOne)),
    ("exists_one", &[2, 3], |make, range, args| quantifier(make, range, args, Quantifier::ExistsOne)),
    ("filter", &[2], filter),
    ("map", &[2, 3], map),
    ("optFlatMap", &[2], |make, target, args| optional(make, target, args, "optFlatMap")),
    ("optMap", &[2], |make, target, args| optional(make, target, args, "optMap")),
    ("sortBy", &[2], sort_by),
    ("transformList", &[3, 4], |make, range, args| transform(make, range, args, Into::List)),
    ("transformMap", &[3, 4], |make, range, args| transform(make, range, args, Into::Map)),
    ("transformMapEntry", &[3, 4], |make, range, args| transform(make, range, args, Into::Entries)),
];

/// The macros that all expressions may use.
pub fn usual() -> impl Iterator<Item = Macro> {
    let all =
        LOOPS.iter().flat_map(|(function, counts, expand)| counts.iter().map(move |count| (function, count, expand)));
    let loops = all.map(|(function, arguments, expand)| {
        Macro::receiver(*function, *arguments, move |make, target, args| match target.take() {
            Some(target) => expand(make, target, std::mem::take(args)),
            None => Ok(None),
        })
    });
    loops.chain([Macro::global(operators::HAS, 1, |make, _, args| has(make, args))])
}

/// `cel.bind(name, value, expression)`.
pub fn bind() -> Macro {
    Macro::receiver("bind", 3, |make, target, args| {
        if !target.as_ref().is_some_and(|target| matches!(&target.expr, Expr::Ident(name) if name == "cel")) {
            return Ok(None);
        }
        let [variable, value, result] = take(args);
        let name = name_of(make, &variable, "cel.bind() variable names must be simple identifiers")?;
        Ok(Some(bound(make, name, value, result)))
    })
}

fn take<const N: usize>(args: &mut Vec<IdedExpr>) -> [IdedExpr; N] {
    let mut taken = args.drain(..);
    std::array::from_fn(|_| taken.next().unwrap_or_default())
}

fn error(make: &MacroExprHelper<'_>, id: u64, why: &str) -> ParseError {
    make.new_error(id, format!("{MARK}{why}"))
}

fn has(make: &mut MacroExprHelper<'_>, args: &mut Vec<IdedExpr>) -> Expansion {
    let [argument] = take(args);
    match argument.expr {
        Expr::Select(mut select) => {
            select.test = true;
            Ok(Some(make.next_expr(Expr::Select(select))))
        }
        _ => Err(error(make, argument.id, "invalid argument to has() macro")),
    }
}

fn name_of(make: &MacroExprHelper<'_>, variable: &IdedExpr, why: &str) -> Result<String, ParseError> {
    match &variable.expr {
        Expr::Ident(name) => Ok(name.clone()),
        _ => Err(error(make, variable.id, why)),
    }
}

/// The names of a loop's variables: its first arguments.
fn variables(make: &MacroExprHelper<'_>, variables: &[IdedExpr]) -> Result<Vec<String>, ParseError> {
    let names: Result<Vec<String>, ParseError> =
        variables.iter().map(|variable| name_of(make, variable, "argument must be a simple name")).collect();
    let names = names?;
    if let ([first, second], [_, at]) = (&*names, variables)
        && first == second
    {
        return Err(error(make, at.id, &format!("duplicate variable name: {first}")));
    }
    for (name, at) in names.iter().zip(variables) {
        if name == RESULT || name == OLD_RESULT {
            return Err(error(make, at.id, "iteration variable overwrites accumulator variable"));
        }
    }
    Ok(names)
}

fn call(make: &mut MacroExprHelper<'_>, function: &str, args: Vec<IdedExpr>) -> IdedExpr {
    make.next_expr(Expr::Call(CallExpr { func_name: function.to_owned(), target: None, args }))
}

fn ident(make: &mut MacroExprHelper<'_>, name: &str) -> IdedExpr {
    make.next_expr(Expr::Ident(name.to_owned()))
}

fn boolean(make: &mut MacroExprHelper<'_>, value: bool) -> IdedExpr {
    make.next_expr(Expr::Literal(LiteralValue::Boolean(value.into())))
}

fn int(make: &mut MacroExprHelper<'_>, value: i64) -> IdedExpr {
    make.next_expr(Expr::Literal(LiteralValue::Int(value.into())))
}

fn list(make: &mut MacroExprHelper<'_>, elements: Vec<IdedExpr>) -> IdedExpr {
    make.next_expr(Expr::List(ListExpr::new(elements)))
}

/// What a loop begins with, how long it goes on, what it does in each round, and what comes out.
struct Loop {
    init: IdedExpr,
    condition: IdedExpr,
    step: IdedExpr,
    result: IdedExpr,
}

fn comprehension(make: &mut MacroExprHelper<'_>, range: IdedExpr, names: Vec<String>, body: Loop) -> IdedExpr {
    let mut names = names.into_iter();
    make.next_expr(Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range: range,
        iter_var: names.next().unwrap_or_default(),
        iter_var2: names.next(),
        accu_var: RESULT.to_owned(),
        accu_init: body.init,
        loop_cond: body.condition,
        loop_step: body.step,
        result: body.result,
    })))
}

#[derive(PartialEq)]
enum Quantifier {
    All,
    Exists,
    ExistsOne,
}

fn quantifier(make: &mut MacroExprHelper<'_>, range: IdedExpr, mut args: Vec<IdedExpr>, kind: Quantifier) -> Expansion {
    let predicate = args.pop().unwrap_or_default();
    let names = variables(make, &args)?;
    let so_far = ident(make, RESULT);
    let body = match kind {
        Quantifier::All | Quantifier::Exists => {
            let is_all = kind == Quantifier::All;
            let init = boolean(make, is_all);
            let open = if is_all { so_far.clone() } else { call(make, operators::LOGICAL_NOT, vec![so_far.clone()]) };
            let condition = call(make, operators::NOT_STRICTLY_FALSE, vec![open]);
            let operator = if is_all { operators::LOGICAL_AND } else { operators::LOGICAL_OR };
            let step = call(make, operator, vec![so_far.clone(), predicate]);
            Loop { init, condition, step, result: so_far }
        }
        Quantifier::ExistsOne => {
            let one = int(make, 1);
            let more = call(make, operators::ADD, vec![so_far.clone(), one.clone()]);
            let step = call(make, operators::CONDITIONAL, vec![predicate, more, so_far.clone()]);
            let result = call(make, operators::EQUALS, vec![so_far, one]);
            Loop { init: int(make, 0), condition: boolean(make, true), step, result }
        }
    };
    Ok(Some(comprehension(make, range, names, body)))
}

/// A loop that adds to its result in each round, or in those of which `filter` is true.
fn collect(
    make: &mut MacroExprHelper<'_>,
    range: IdedExpr,
    names: Vec<String>,
    init: IdedExpr,
    more: IdedExpr,
    filter: Option<IdedExpr>,
) -> IdedExpr {
    let result = ident(make, RESULT);
    let step = match filter {
        Some(filter) => call(make, operators::CONDITIONAL, vec![filter, more, result.clone()]),
        None => more,
    };
    let condition = boolean(make, true);
    comprehension(make, range, names, Loop { init, condition, step, result })
}

fn append(make: &mut MacroExprHelper<'_>, element: IdedExpr) -> IdedExpr {
    let (result, element) = (ident(make, RESULT), list(make, vec![element]));
    call(make, operators::ADD, vec![result, element])
}

/// `x.map(name, value)`, `x.map(name, filter, value)`.
fn map(make: &mut MacroExprHelper<'_>, range: IdedExpr, mut args: Vec<IdedExpr>) -> Expansion {
    let value = args.pop().unwrap_or_default();
    let filter = if args.len() > 1 { args.pop() } else { None };
    let names = variables(make, &args)?;
    let (init, more) = (list(make, Vec::new()), append(make, value));
    Ok(Some(collect(make, range, names, init, more, filter)))
}

fn filter(make: &mut MacroExprHelper<'_>, range: IdedExpr, args: Vec<IdedExpr>) -> Expansion {
    let names = variables(make, &args[..args.len().min(1)])?;
    let mut args = args.into_iter();
    let (element, filter) = (args.next().unwrap_or_default(), args.next());
    let (init, more) = (list(make, Vec::new()), append(make, element));
    Ok(Some(collect(make, range, names, init, more, filter)))
}

enum Into {
    List,
    Map,
    Entries,
}

/// Loops with two variables, index or key and value, that make a list or a map.
fn transform(make: &mut MacroExprHelper<'_>, range: IdedExpr, mut args: Vec<IdedExpr>, into: Into) -> Expansion {
    const INSERT: &str = "cel.@mapInsert";
    let value = args.pop().unwrap_or_default();
    let filter = if args.len() > 2 { args.pop() } else { None };
    let names = variables(make, &args)?;
    let init = match into {
        Into::List => list(make, Vec::new()),
        Into::Map | Into::Entries => make.next_expr(Expr::Map(MapExpr::default())),
    };
    let more = match into {
        Into::List => append(make, value),
        Into::Map => {
            let key = names.first().map(|name| ident(make, name)).unwrap_or_default();
            let result = ident(make, RESULT);
            call(make, INSERT, vec![result, key, value])
        }
        Into::Entries => {
            let result = ident(make, RESULT);
            call(make, INSERT, vec![result, value])
        }
    };
    Ok(Some(collect(make, range, names, init, more, filter)))
}

/// An expression in which `name` stands for a value: a loop without rounds that begins with the value.
fn bound(make: &mut MacroExprHelper<'_>, name: String, value: IdedExpr, result: IdedExpr) -> IdedExpr {
    let range = list(make, Vec::new());
    let (condition, step) = (boolean(make, false), ident(make, &name));
    make.next_expr(Expr::Comprehension(Box::new(ComprehensionExpr {
        iter_range: range,
        iter_var: UNUSED.to_owned(),
        iter_var2: None,
        accu_var: name,
        accu_init: value,
        loop_cond: condition,
        loop_step: step,
        result,
    })))
}

/// `x.optMap(name, expression)` stays a call of that function with the target first. Written out it would have its target twice,
/// and a chain of them would double with every link.
fn optional(make: &mut MacroExprHelper<'_>, target: IdedExpr, args: Vec<IdedExpr>, function: &str) -> Expansion {
    if let Some(variable) = args.first() {
        name_of(make, variable, &format!("{function}() variable name must be a simple identifier"))?;
    }
    let args = std::iter::once(target).chain(args).collect();
    Ok(Some(call(make, function, args)))
}

/// `x.sortBy(name, key)`: the list is sorted by the keys that are made of it.
fn sort_by(make: &mut MacroExprHelper<'_>, target: IdedExpr, args: Vec<IdedExpr>) -> Expansion {
    const INPUT: &str = "@__sortBy_input__";
    if !matches!(target.expr, Expr::List(_) | Expr::Select(_) | Expr::Ident(_) | Expr::Comprehension(_) | Expr::Call(_))
    {
        const WHY: &str = "sortBy can only be applied to a list, identifier, comprehension, call or select expression";
        return Err(error(make, target.id, WHY));
    }
    let input = ident(make, INPUT);
    let Some(keys) = map(make, input.clone(), args)? else { return Ok(None) };
    let sorted = make.next_expr(Expr::Call(CallExpr {
        func_name: "@sortByAssociatedKeys".to_owned(),
        target: Some(Box::new(input)),
        args: vec![keys],
    }));
    Ok(Some(bound(make, INPUT.to_owned(), target, sorted)))
}
