//! Generators and checks of the repository. `cargo run -p xtask -- schema [--check]`.

mod schema;

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["schema"] => schema::write(),
        ["schema", "--check"] => schema::check(),
        _ => bail!("usage: cargo run -p xtask -- schema [--check]"),
    }
}
