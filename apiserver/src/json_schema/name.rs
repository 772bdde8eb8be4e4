//! Where a value is inside the one that is checked, as OpenAPI's own validation writes it: `a.b[0]`, but `.a` where a map or a
//! missing field comes first.

use std::fmt;

/// A place, which borrows the place around it.
#[derive(Clone, Copy)]
pub enum Name<'a> {
    /// The whole value.
    Whole,
    /// A field that the schema has.
    Field(&'a Name<'a>, &'a str),
    /// A key of a map, or a field that is not there.
    Key(&'a Name<'a>, &'a str),
    Index(&'a Name<'a>, usize),
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Name::Whole => Ok(()),
            Name::Field(Name::Whole, field) => f.write_str(field),
            Name::Field(around, name) | Name::Key(around, name) => write!(f, "{around}.{name}"),
            Name::Index(around, index) => write!(f, "{around}[{index}]"),
        }
    }
}
