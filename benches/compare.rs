//! `cargo bench --bench compare`: runs the programme in `benches/compare/`, which is a package of its
//! own.
//!
//! It depends on the crates that Sinew is compared with. Were they dev-dependencies here, every
//! `cargo test` would compile them; so they belong to a workspace member that is not a default one, and
//! this target only passes the arguments on.

use std::env;
use std::process::{exit, Command};

fn main() {
    let mut args: Vec<_> = env::args_os().skip(1).collect();
    let Some(mark) = args.iter().position(|arg| arg == "--bench") else {
        // `cargo test --benches` runs this, too; a benchmark is never a test.
        return;
    };
    args.remove(mark);
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--quiet", "--profile", "bench"])
        .args(["--package", "sinew-compare", "--"])
        .args(args)
        .status();
    match status {
        Ok(status) => exit(status.code().unwrap_or(1)),
        Err(error) => {
            eprintln!("cargo cannot be run: {error}");
            exit(1)
        }
    }
}
