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
        // A test, or an argument of the macro that makes it one.
        let there = source
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|word| word == test);
        assert!(there, "docs/features.md names {test}, which {path} has not");
        found += 1;
    }
    assert!(found > 100, "only {found} links were found in the table");
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
