//! How the binary is linked.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    // Functions that came out alike are kept once. Only LLD can do that, which Rust links with on this target.
    if std::env::var("TARGET").as_deref() == Ok("x86_64-unknown-linux-gnu") {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
}
