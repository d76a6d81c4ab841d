//! The table of features (`docs/features.md`) names tests that exist.

use std::fs;
use std::path::Path;

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
