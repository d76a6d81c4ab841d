//! A small reader of Rust sources and the rules it checks; see `tests/architecture.rs`.
//!
//! It works on tokens, so that comments and strings never count as code, but it knows no types and
//! expands no macros: an import hidden in a macro's output is out of its sight.

pub(crate) mod imports;
pub(crate) mod rules;
pub(crate) mod source;
pub(crate) mod table;
pub(crate) mod tokens;

mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use source::Source;

/// Everything that is checked: sources, and the names of the crates they could import.
pub(crate) struct Tree {
    pub(crate) files: Vec<Source>,
    /// Dependencies of any kind, as they are written in paths (`crossbeam_queue`).
    pub(crate) crates: BTreeSet<String>,
}

/// One breach of one rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) rule: &'static str,
    pub(crate) detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Violation {
            path,
            line,
            rule,
            detail,
        } = self;
        write!(f, "{path}:{line}: [{rule}] {detail}")
    }
}

/// Where Rust sources live; directories that do not exist (yet) are skipped.
const ROOTS: [&str; 8] = [
    "src",
    "tests",
    "examples",
    "benches",
    "fuzz/fuzz_targets",
    "patterns/src",
    "patterns/tests",
    "patterns/examples",
];

impl Tree {
    pub(crate) fn read(root: &Path) -> io::Result<Tree> {
        let mut files = Vec::new();
        for dir in ROOTS {
            if root.join(dir).is_dir() {
                walk(root, &root.join(dir), &mut files)?;
            }
        }
        files.sort_by(|a, b| a.0.cmp(&b.0));
        let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
        Ok(Tree::new(&manifest, files))
    }

    /// A tree of `(path, text)` pairs; paths are relative to the root and use `/`.
    pub(crate) fn new(manifest: &str, files: Vec<(String, String)>) -> Tree {
        let mut files: Vec<Source> = files
            .into_iter()
            .map(|(path, text)| Source::parse(path, text))
            .collect();
        source::mark_test_files(&mut files);
        Tree {
            files,
            crates: dependency_names(manifest),
        }
    }
}

/// Applies every rule to every file, in order of files.
pub(crate) fn check_tree(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in &tree.files {
        rules::header(file, &mut found);
        rules::length(file, &mut found);
        rules::unsafe_code(file, &mut found);
        rules::clock(file, &mut found);
        rules::primitives(file, &mut found);
        rules::waiting(file, &mut found);
        rules::layers(file, &tree.crates, &mut found);
    }
    found
}

fn walk(root: &Path, dir: &Path, files: &mut Vec<(String, String)>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            walk(root, &path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative = path.strip_prefix(root).unwrap_or(&path);
            let name: Vec<_> = relative
                .iter()
                .map(|part| part.to_string_lossy().into_owned())
                .collect();
            files.push((name.join("/"), fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

/// The keys of every `dependencies` section of a manifest: enough TOML for this project's own.
fn dependency_names(manifest: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            let section = section.trim_end_matches(']');
            inside = section.ends_with("dependencies");
            if let Some((head, name)) = section.rsplit_once('.') {
                if head.ends_with("dependencies") {
                    names.insert(name.replace('-', "_"));
                }
            }
        } else if inside {
            if let Some((key, _)) = line.split_once('=') {
                let key = key.trim().split('.').next().unwrap_or_default();
                names.insert(key.replace('-', "_"));
            }
        }
    }
    names
}
