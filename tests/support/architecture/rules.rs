//! The rules, one function each: what breaks them is appended to `found`.

use std::collections::BTreeSet;

use super::imports::{paths, Import};
use super::source::Source;
use super::table::{Layer, CLOCK, LAYERS, MAX_CODE_LINES, SHARED_FREELY, UNSAFE_ALLOWED};
use super::tokens::{Kind, Token};
use super::Violation;

/// Every file opens with `//!`.
pub(crate) fn header(file: &Source, found: &mut Vec<Violation>) {
    let first = file.text.lines().find(|line| !line.trim().is_empty());
    if !first.is_some_and(|line| line.starts_with("//!")) {
        report(
            file,
            1,
            "header",
            "the file does not open with `//!`".into(),
            found,
        );
    }
}

/// No file is long.
pub(crate) fn length(file: &Source, found: &mut Vec<Violation>) {
    let end = file.trailing_tests.unwrap_or(usize::MAX);
    let lines: BTreeSet<usize> = file
        .tokens()
        .iter()
        .flat_map(|token| token.line..=token.last_line)
        .filter(|line| *line < end)
        .collect();
    if lines.len() > MAX_CODE_LINES {
        let line = *lines
            .iter()
            .nth(MAX_CODE_LINES)
            .expect("more lines than the limit");
        let detail = format!(
            "{} lines of code, at most {MAX_CODE_LINES} are allowed",
            lines.len()
        );
        report(file, line, "length", detail, found);
    }
}

/// `unsafe` only where the table allows it. Tests and benches may call the platform.
pub(crate) fn unsafe_code(file: &Source, found: &mut Vec<Violation>) {
    let library = file.path.starts_with("src/") || file.path.starts_with("patterns/src/");
    let allowed = UNSAFE_ALLOWED
        .iter()
        .any(|place| file.path == *place || (place.ends_with('/') && file.path.starts_with(place)));
    if !library || allowed {
        return;
    }
    for token in file.tokens() {
        if token.is("unsafe") {
            let detail = format!("`unsafe` is allowed only in {}", UNSAFE_ALLOWED.join(", "));
            report(file, token.line, "unsafe", detail, found);
        }
    }
}

/// One file reads the clock. Test code may, as the origin of a virtual clock or for a watchdog.
pub(crate) fn clock(file: &Source, found: &mut Vec<Violation>) {
    if !file.path.starts_with("src/") || file.path == CLOCK {
        return;
    }
    for window in file.tokens().windows(3) {
        if let [Token {
            kind: Kind::Ident(source @ ("Instant" | "SystemTime")),
            line,
            ..
        }, Token {
            kind: Kind::PathSep,
            ..
        }, Token {
            kind: Kind::Ident("now"),
            ..
        }] = window
        {
            if !file.is_test(*line) {
                let detail = format!("`{source}::now` outside {CLOCK}");
                report(file, *line, "clock", detail, found);
            }
        }
    }
}

/// What threads share, the layers with threads take from `sync`: loom models and the count of cache lines that
/// move see nothing else.
pub(crate) fn primitives(file: &Source, found: &mut Vec<Violation>) {
    if !["src/io/", "src/socket/"]
        .iter()
        .any(|layer| file.path.starts_with(layer))
    {
        return;
    }
    let tokens = file.tokens();
    for import in paths(&tokens) {
        let ["std" | "core", "sync", what, ..] = import.path[..] else {
            continue;
        };
        if !SHARED_FREELY.contains(&what) && !file.is_test(import.line) {
            let detail = format!("`std::sync::{what}`, take it from `crate::sync`");
            report(file, import.line, "primitives", detail, found);
        }
    }
}

/// Tests wait for events; they do not sleep and hope. `sinew::sleep_until` is a thing to be tested.
pub(crate) fn waiting(file: &Source, found: &mut Vec<Violation>) {
    let tokens = file.tokens();
    for (index, token) in tokens.iter().enumerate() {
        let Kind::Ident("sleep" | "sleep_ms" | "sleep_until") = token.kind else {
            continue;
        };
        let called = tokens
            .get(index + 1)
            .is_some_and(|next| next.is_punct(b'('));
        let of_path = index > 0 && tokens[index - 1].kind == Kind::PathSep;
        // That of this crate is tested, too, and is a time to race others with.
        let own = of_path
            && index > 1
            && token.kind == Kind::Ident("sleep_until")
            && tokens[index - 2].kind == Kind::Ident("sinew");
        if (called || of_path) && !own && file.is_test(token.line) {
            report(
                file,
                token.line,
                "sleep",
                "a test sleeps; wait for an event".into(),
                found,
            );
        }
    }
}

/// A module of `src/` imports itself and what its row lists, and the third parties of its row.
pub(crate) fn layers(file: &Source, crates: &BTreeSet<String>, found: &mut Vec<Violation>) {
    let Some(module_path) = file.module_path() else {
        return;
    };
    let Some(&module) = module_path.first() else {
        return; // lib.rs assembles the layers.
    };
    let Some(layer) = LAYERS.iter().find(|layer| layer.module == module) else {
        let detail = format!("module `{module}` has no row in the layer table");
        report(file, 1, "layer", detail, found);
        return;
    };
    let tokens = file.tokens();
    for import in paths(&tokens) {
        let breach = match target(&module_path, &import) {
            Some(Target::Root) => Some(format!(
                "`{}` imports through the crate root; name the module",
                import.path.join("::")
            )),
            Some(Target::Module(name)) => own(layer, name),
            None => third_party(layer, &import, crates, file.is_test(import.line)),
        };
        if let Some(detail) = breach {
            report(file, import.line, "layer", detail, found);
        }
    }
}

/// What a path that is relative to this crate leads to.
enum Target<'a> {
    Module(&'a str),
    /// An item, a macro or a glob of `lib.rs` itself.
    Root,
}

/// `None` for a path that does not start at `crate`, `self` or `super`.
fn target<'a>(file: &[&'a str], import: &Import<'a>) -> Option<Target<'a>> {
    let mut rest = import.path.as_slice();
    let mut here: Vec<&str> = file.iter().chain(&import.inside).copied().collect();
    match *rest.first()? {
        "crate" => here.clear(),
        "self" | "super" => {}
        _ => return None,
    }
    while let Some((&step @ ("crate" | "self" | "super"), tail)) = rest.split_first() {
        if step == "super" {
            here.pop();
        }
        rest = tail;
    }
    // In the root, the next segment decides; anywhere else, the module we stand in does.
    Some(match here.first().or(rest.first()) {
        Some(name) if here.is_empty() && !LAYERS.iter().any(|row| row.module == *name) => {
            Target::Root
        }
        Some(name) => Target::Module(name),
        None => Target::Root,
    })
}

fn own(layer: &Layer, name: &str) -> Option<String> {
    let allowed = name == layer.module || layer.imports.contains(&name);
    (!allowed).then(|| format!("`{}` may not import `{name}`", layer.module))
}

fn third_party(
    layer: &Layer,
    import: &Import<'_>,
    crates: &BTreeSet<String>,
    test: bool,
) -> Option<String> {
    let name = *import.path.first()?;
    let allowed = test || !crates.contains(name) || layer.third_party.contains(&name);
    (!allowed).then(|| format!("`{}` may not import the crate `{name}`", layer.module))
}

fn report(
    file: &Source,
    line: usize,
    rule: &'static str,
    detail: String,
    found: &mut Vec<Violation>,
) {
    let violation = Violation {
        path: file.path.clone(),
        line,
        rule,
        detail,
    };
    if found.last() != Some(&violation) {
        found.push(violation);
    }
}
