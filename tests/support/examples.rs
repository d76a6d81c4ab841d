//! The examples of a package: each is a directory with a README, is on the index page, and ends with the line
//! that its README ends with.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::process::Running;

/// The most lines of code, without comments and empty lines, of an example whose README is to be understood in
/// a minute.
const SHORT: usize = 60;

/// The same of the others.
const LONG: usize = 300;

/// An example: one directory below `examples/`.
pub(crate) struct Example {
    name: String,
    directory: PathBuf,
}

impl Example {
    /// Runs all examples of the package whose root this is, and compares them with their READMEs and the index
    /// page. Those not named in `longer` are short, and those that are, are not.
    pub(crate) fn check_all(package: &Path, index: &Path, longer: &[&str]) {
        let index = fs::read_to_string(index).expect("there is an index page");
        let entries = fs::read_dir(package.join("examples")).expect("the package has examples");
        let mut checked = 0;
        for entry in entries {
            let directory = entry.expect("it is readable").path();
            if directory.join("main.rs").exists() {
                let name = directory.file_name().expect("it has a name");
                let name = name.to_string_lossy().into_owned();
                let longer = longer.contains(&&*name);
                Example { name, directory }.check(&index, longer);
                checked += 1;
            }
        }
        assert!(checked > 0, "no examples in {}", package.display());
    }

    fn check(&self, index: &str, longer: bool) {
        let name = &self.name;
        let link = format!("examples/{name}/README.md");
        assert!(index.contains(&link), "no {link} in the index");
        let readme = self.readme();
        let lines = readme.lines().count();
        assert!(lines <= 40, "{name}: README of {lines} lines");
        assert!(
            readme.matches("```text\n").count() >= 2,
            "{name}: README without a diagram, or an output"
        );
        let lines = self.lines_of_code();
        assert_eq!(lines > SHORT, longer, "{name}: {lines} lines of code");
        assert!(lines <= LONG, "{name}: {lines} lines of code");
        let options = self.options();
        self.check_misuse("--no-such-option", "x");
        for (option, metavar) in &options {
            // One without a value.
            let Some(metavar) = metavar else { continue };
            if metavar == "N" {
                self.check_misuse(option, "word");
                // A seed may be any number.
                if option != "--seed" {
                    self.check_misuse(option, "0");
                }
            }
        }
        self.check_output(&[]);
        if self.has_chaos() {
            for seed in 0..schedules() {
                self.check_output(&["--chaos", "--seed", &seed.to_string()]);
            }
        }
    }

    fn has_chaos(&self) -> bool {
        let usage = example(&self.name, &["--help"]).finish();
        let begin = format!("usage: {}", self.name);
        assert!(usage[0].starts_with(&begin), "{usage:?}");
        usage.iter().any(|line| line.contains("--chaos"))
    }

    /// The options that its usage names, and what it calls their values.
    fn options(&self) -> Vec<(String, Option<String>)> {
        let usage = example(&self.name, &["--help"]).finish();
        let options = usage[0].split('[').skip(1).filter_map(|rest| {
            let option = rest.split(']').next()?;
            let (name, value) = option
                .split_once(' ')
                .map_or((option, None), |(name, value)| (name, Some(value)));
            name.starts_with("--")
                .then(|| (name.to_owned(), value.map(str::to_owned)))
        });
        options.collect()
    }

    /// It does not begin with that, and says in plain words what is wrong.
    fn check_misuse(&self, option: &str, value: &str) {
        let name = &self.name;
        let (code, said) = misused(name, &[option, value]);
        assert_ne!(code, Some(0), "{name} {option} {value}");
        let plain = said.contains(option) && said.contains("see --help") && !said.contains('{');
        assert!(plain, "{name} {option} {value}: {said}");
    }

    fn readme(&self) -> String {
        let path = self.directory.join("README.md");
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    fn check_output(&self, args: &[&str]) {
        let (name, readme) = (&self.name, self.readme());
        let block = readme.split("```text\n").last();
        let block = block.and_then(|block| block.split("\n```").next());
        let promised = block.and_then(|block| block.lines().last());
        let output = example(name, args).finish();
        let last = output.last().map(String::as_str);
        match last.filter(|line| line.starts_with("skipped: ")) {
            Some(why) => eprintln!("{name}: {why}"),
            None => assert_eq!(last, promised, "{name} {args:?}: {output:#?}"),
        }
    }

    fn lines_of_code(&self) -> usize {
        let source = fs::read_to_string(self.directory.join("main.rs")).expect("it has been found");
        let lines = source.lines().map(str::trim);
        let code = lines.filter(|line| !line.is_empty() && !line.starts_with("//"));
        code.count()
    }
}

/// How many schedules of disaster an example is put through: `EXAMPLE_SCHEDULES`, or one.
fn schedules() -> u64 {
    let given = std::env::var("EXAMPLE_SCHEDULES").ok();
    given.map_or(1, |text| {
        text.parse().expect("EXAMPLE_SCHEDULES is a number")
    })
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

/// How an example ends that was given what makes no sense, and what it says on standard error.
pub(crate) fn misused(name: &str, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(directory().join(name));
    let mut child = command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    let mut said = String::new();
    let mut error = child.stderr.take().expect("it is piped");
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        // What cannot be read says nothing.
        let _ = error.read_to_string(&mut said);
        let _ = tell.send(said);
    });
    let said = told.recv_timeout(WATCHDOG);
    let said = said.unwrap_or_else(|_| {
        let _ = child.kill();
        let _ = child.wait();
        panic!("{name} {args:?}: does not end");
    });
    (child.wait().expect("it is our child").code(), said)
}

/// Reached only if something hangs.
const WATCHDOG: Duration = Duration::from_secs(60);

/// Cargo puts examples beside the directory of the test programmes.
fn directory() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this programme is known");
    let profile = test.parent().and_then(Path::parent);
    profile
        .expect("it is in target/<profile>/deps")
        .join("examples")
}
