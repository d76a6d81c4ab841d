//! The examples of a package: each is a directory with a README, is on the index page, and ends with the line
//! that its README ends with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::Running;

/// The most lines of code, without comments and empty lines, of an example whose README is to be understood in
/// a minute.
const SHORT: usize = 60;

/// An example: one directory below `examples/`.
pub(crate) struct Example {
    name: String,
    directory: PathBuf,
}

impl Example {
    /// All examples of the package whose root this is.
    pub(crate) fn all(package: &Path) -> Vec<Example> {
        let entries = fs::read_dir(package.join("examples")).expect("the package has examples");
        let directories = entries.map(|entry| entry.expect("it is readable").path());
        let mut all: Vec<Example> = directories
            .filter(|directory| directory.join("main.rs").exists())
            .map(|directory| Example {
                name: directory
                    .file_name()
                    .expect("it has a name")
                    .to_string_lossy()
                    .into(),
                directory,
            })
            .collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        assert!(!all.is_empty(), "no examples in {}", package.display());
        all
    }

    /// What the README and the index page say agrees with what the example prints.
    pub(crate) fn check(&self, index: &str) {
        let name = &self.name;
        assert!(
            index.contains(&format!("examples/{name}/README.md")),
            "docs/examples.md does not name {name}"
        );
        let readme = self.directory.join("README.md");
        let readme = fs::read_to_string(readme).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            readme.lines().count() <= 40,
            "{name}: README of more than 40 lines"
        );
        let blocks: Vec<&str> = readme.split("```text\n").skip(1).collect();
        assert!(
            blocks.len() >= 2,
            "{name}: README without a diagram, or an output"
        );
        let output = blocks.last().and_then(|block| block.split("\n```").next());
        let promised = output.and_then(|output| output.lines().last());

        let usage = run(name, &["--help"]);
        assert!(usage[0].starts_with(&format!("usage: {name}")), "{usage:?}");
        let mut runs = vec![run(name, &[])];
        if usage.iter().any(|line| line.contains("--chaos")) {
            runs.push(run(name, &["--chaos"]));
        }
        for output in runs {
            let last = output.last().map(String::as_str);
            if last.is_some_and(|line| line.starts_with("skipped: ")) {
                eprintln!("{name}: {}", last.unwrap_or_default());
            } else {
                assert_eq!(
                    last, promised,
                    "{name}: README and output differ: {output:#?}"
                );
            }
        }
    }

    /// Examples not named are short.
    pub(crate) fn check_length(&self, longer: &[&str]) {
        let source = fs::read_to_string(self.directory.join("main.rs")).expect("it has been found");
        let code = source
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("//"));
        let (lines, name) = (code.count(), &self.name);
        assert_eq!(
            lines > SHORT,
            longer.contains(&name.as_str()),
            "{name}: {lines} lines of code, {SHORT} are short"
        );
    }
}

/// A running example.
pub(crate) fn example(name: &str, args: &[&str]) -> Running {
    let path = directory().join(name);
    assert!(
        path.exists(),
        "{} is missing: `cargo build --examples` builds it (`cargo test` does, too)",
        path.display()
    );
    Running::start(Command::new(path).args(args))
}

fn run(name: &str, args: &[&str]) -> Vec<String> {
    example(name, args).finish()
}

/// Cargo puts examples beside the directory of the test programmes.
fn directory() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this programme is known");
    let profile = test.parent().and_then(Path::parent);
    profile
        .expect("it is in target/<profile>/deps")
        .join("examples")
}
