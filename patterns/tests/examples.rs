//! The examples of this package, run as a stranger runs them; those with `--chaos` also with it.
//! `EXAMPLE_SCHEDULES=50` puts them through as many schedules of disaster.

#[allow(dead_code, reason = "shared with the tests of the core's examples")]
#[path = "../../tests/support/examples.rs"]
mod examples;
#[allow(dead_code, reason = "shared with other tests")]
#[path = "../../tests/support/process.rs"]
mod process;

use std::path::Path;

use examples::Example;

#[test]
fn every_example_prints_what_its_readme_says() {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let index = package.join("../docs/examples.md");
    let longer = [
        "lazy_pirate",
        "majordomo",
        "majordomo_interop",
        "token_bucket",
    ];
    Example::check_all(package, &index, &longer);
}
