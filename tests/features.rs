//! The table of features (`docs/features.md`) names tests that exist, and links lead to files.

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn every_test_of_the_table_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(root.join("docs/features.md")).unwrap();
    let mut found = 0;
    for link in table.split("[`").skip(1) {
        let (name, rest) = link.split_once("`](../").expect("a link behind each name");
        let (path, _) = rest.split_once(')').expect("the end of a link");
        let (_, test) = name.rsplit_once("::").expect("a file and a test");
        let source = fs::read_to_string(root.join(path))
            .unwrap_or_else(|error| panic!("docs/features.md names {path}: {error}"));
        assert!(
            has_test(&source, test),
            "docs/features.md names {test}, which {path} has not"
        );
        found += 1;
    }
    assert!(found > 100, "only {found} links were found in the table");
}

/// Whether there is a function of this name, or it is the first argument of a macro, which makes it one. Other words
/// of the source do not count: a variable or a comment is no test.
fn has_test(source: &str, name: &str) -> bool {
    source.match_indices(name).any(|(at, _)| {
        let (before, after) = (&source[..at], &source[at + name.len()..]);
        let whole = !after.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        whole
            && (before.ends_with("fn ") && after.starts_with(['(', '<'])
                || before.trim_end().ends_with("!("))
    })
}

#[test]
fn only_functions_and_arguments_of_macros_are_tests() {
    let source =
        "one_way!(push_and_pull, Push);\nsends!(\n    sub,\n    Sub);\nfn peer() {}\n// router\nlet pair = dealer(stream);";
    for (name, expected) in [
        ("push_and_pull", true),
        ("peer", true),
        ("sub", true),
        ("push", false),
        ("pee", false),
        ("router", false),
        ("pair", false),
        ("dealer", false),
        ("stream", false),
    ] {
        assert_eq!(has_test(source, name), expected, "{name}");
    }
}

#[test]
fn links_of_the_pages_lead_to_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = Vec::new();
    for directory in ["", "docs", "patterns", "benches"] {
        pages.extend(files_of(&root.join(directory)));
    }
    for directory in ["examples", "patterns/examples"] {
        files_of(&root.join(directory))
            .iter()
            .for_each(|example| pages.extend(files_of(example)));
    }
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    assert!(pages.len() > 10, "only {} pages were found", pages.len());
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1) {
            let (link, _) = link.split_once(')').expect("the end of a link");
            let file = link.split('#').next().unwrap_or_default();
            let there = page.parent().unwrap().join(file);
            assert!(
                link.contains("://") || there.exists(),
                "{} links to {link}, which is not there",
                page.display()
            );
        }
    }
}

/// What is in a directory; nothing if it is none.
fn files_of(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    entries.map(|entry| entry.unwrap().path()).collect()
}
