//! Expressions in CEL: read, and checked against what they may use, when the object that has them is written.
//!
//! `parse` makes a tree of the text, `check` finds its type. What there is to use is in tables: `declarations` has the
//! functions, `environment` the variables of each place that expressions stand in.

mod check;
mod declarations;
mod depth;
mod environment;
mod format;
mod macros;
mod parse;
mod problem;
mod types;
mod unify;
mod validators;

pub use declarations::scalar;
pub use environment::{Admission, Environment, admission, device, json_patch, patched_object};
use parking_lot::Mutex;
use problem::{Problem, Source};
use std::collections::BTreeSet;
use std::thread;
pub use types::{ANY, BOOL, DYN, NULL, STRING, Type};

/// An expression that can be evaluated.
#[derive(Debug, PartialEq)]
pub struct Compiled {
    /// The type of what it evaluates to.
    pub result: Type,
    variables: BTreeSet<String>,
}

impl Compiled {
    /// Whether it reads a variable of its environment.
    pub fn uses(&self, variable: &str) -> bool {
        self.variables.contains(variable)
    }
}

/// Compiles an expression, or says what is wrong with it, in the words of upstream's compiler.
pub fn compile(text: &str, environment: &Environment) -> Result<Compiled, String> {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = (text.len() > LONG).then(|| ALONE.lock());
    let found = thread::scope(|scope| {
        let compiler = thread::Builder::new().name(THREAD.to_owned()).stack_size(STACK);
        let running =
            compiler.spawn_scoped(scope, || compile_here(text, environment)).map_err(|why| why.to_string())?;
        // The parser is somebody else's. What it cannot take is no expression.
        running.join().unwrap_or_else(|_| {
            let why = vec![Problem::of_all(FAILED)];
            Err(Source::new(text).tell(why))
        })
    });
    found.map_err(|why| format!("compilation failed: {why}"))
}

/// Bytes of an expression from which on it is compiled alone: the parser takes up to a kilobyte of memory for a byte.
const LONG: usize = 4_096;
/// What is said where the parser broke off without a word.
pub const FAILED: &str = "unknown parse element encountered";
/// Words that name nothing.
const RESERVED: [&str; 21] = [
    "true",
    "false",
    "null",
    "in",
    "as",
    "break",
    "const",
    "continue",
    "else",
    "for",
    "function",
    "if",
    "import",
    "let",
    "loop",
    "package",
    "namespace",
    "return",
    "var",
    "void",
    "while",
];

/// Whether a word of the language cannot be a name.
pub fn is_reserved(word: &str) -> bool {
    RESERVED.contains(&word)
}

/// The thread that compiles: parser and checker recurse with each level of nesting.
const THREAD: &str = "cel";
/// Bytes of its stack, of which only those that are used take memory.
const STACK: usize = 128 << 20;

/// The same on the thread at hand, whose stack must be large enough.
pub fn compile_here(text: &str, environment: &Environment) -> Result<Compiled, String> {
    let source = Source::new(text);
    let tell = |problems| source.tell(problems);
    let parsed = parse::parse(text, &source, environment.macros()).map_err(tell)?;
    let checked = check::check(&parsed, &source, environment).map_err(tell)?;
    let problems = validators::validate(&parsed, &source, &checked);
    let result = checked.result();
    if problems.is_empty() { Ok(Compiled { result, variables: checked.variables }) } else { Err(tell(problems)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of all that can stand in something else, as deep as it is read: half of the stack is enough.
    #[test]
    fn the_deepest_expressions_fit_the_stack() {
        for (open, inner, close) in [
            ("(", "1", ")"),
            ("[", "1", "]"),
            ("{1: ", "1", "}"),
            ("object[", "1", "]"),
            ("dyn(", "1", ")"),
            ("object.all(x, ", "true", ")"),
            ("object.map(x, object.optMap(y, [", "1", "]))"),
            ("Object{a: ", "1", "}"),
            ("-(", "1", ")"),
            ("true ? 1 : ", "1", ""),
            ("", "1", " + 1"),
            ("", "object", ".a[0]"),
            ("1 + [dyn(", "1", ")][0]"),
        ] {
            let depth = open.matches(['(', '[', '{']).count().max(1);
            let text = open.repeat(249 / depth) + inner + &close.repeat(249 / depth);
            let environment = admission(Admission { params: true, authorizer: true }).with_patches();
            let compiler = thread::Builder::new().stack_size(STACK / 2);
            let found = compiler.spawn(move || compile_here(&text, &environment)).unwrap().join().unwrap();
            assert!(!found.is_err_and(|why| why.contains("recursion")), "{open}");
        }
    }
}
