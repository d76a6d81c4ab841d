//! Checks the sources, as text, against the layer table and the rules that the compiler cannot see.
//!
//! The table is [`LAYERS`]; the rules are in `support/architecture/rules.rs`, with tests that feed each
//! of them a source that breaks it. A failure names file, line and rule. Nothing here looks at
//! behaviour.

#[path = "support/architecture/mod.rs"]
mod architecture;

use std::path::Path;

use architecture::table::{Layer, LAYERS};
use architecture::{check_tree, Tree};

#[test]
fn the_sources_keep_to_the_rules() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let tree = Tree::read(root).expect("the package's own sources are readable");
    assert!(
        tree.files.iter().any(|file| file.path == "src/lib.rs"),
        "the sources were not found under {}",
        root.display()
    );
    let violations = check_tree(&tree);
    assert!(
        violations.is_empty(),
        "{} violation(s):\n{}",
        violations.len(),
        violations
            .iter()
            .map(|violation| format!("  {violation}\n"))
            .collect::<String>()
    );
}

#[test]
fn rows_of_the_table_list_only_rows_above() {
    for (
        index,
        Layer {
            module, imports, ..
        },
    ) in LAYERS.iter().enumerate()
    {
        for import in *imports {
            assert!(
                LAYERS[..index].iter().any(|above| above.module == *import),
                "row `{module}` lists `{import}`, which is not above it"
            );
        }
    }
}
