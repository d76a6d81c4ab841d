//! One source file: its place in the module tree, and which of its lines only tests see.

use super::tokens::{tokenize, Kind, Token};

/// A file, read once; rules work on `tokens()`.
pub(crate) struct Source {
    /// Relative to the root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// The file as a whole is compiled for tests only.
    pub(crate) test_file: bool,
    /// First and last line of each item under `#[cfg(test)]`.
    test_lines: Vec<(usize, usize)>,
    /// First line of a `#[cfg(test)] mod … { … }` that ends the file.
    pub(crate) trailing_tests: Option<usize>,
    /// Modules declared `#[cfg(test)] mod name;`.
    test_modules: Vec<String>,
}

impl Source {
    pub(crate) fn parse(path: String, text: String) -> Source {
        let mut source = Source {
            test_file: path.starts_with("tests/") || path.starts_with("patterns/tests/"),
            path,
            text,
            test_lines: Vec::new(),
            trailing_tests: None,
            test_modules: Vec::new(),
        };
        let tokens = tokenize(&source.text);
        let (mut lines, mut modules, mut trailing) = (Vec::new(), Vec::new(), None);
        let mut at = 0;
        while at < tokens.len() {
            let Some(gate_end) = test_gate(&tokens, at) else {
                at += 1;
                continue;
            };
            let item = skip_attributes(&tokens, gate_end);
            let end = item_end(&tokens, item);
            lines.push((tokens[at].line, tokens[end - 1].last_line));
            if let Some(module) = declared_module(&tokens[item..end]) {
                if tokens[end - 1].is_punct(b';') {
                    modules.push(module.to_owned());
                } else if end == tokens.len() {
                    trailing = Some(tokens[at].line);
                }
            }
            at = end;
        }
        source.test_lines = lines;
        source.trailing_tests = trailing;
        source.test_modules = modules;
        source
    }

    pub(crate) fn tokens(&self) -> Vec<Token<'_>> {
        tokenize(&self.text)
    }

    /// Only tests see this line.
    pub(crate) fn is_test(&self, line: usize) -> bool {
        let within = |&(first, last): &(usize, usize)| (first..=last).contains(&line);
        self.test_file || self.test_lines.iter().any(within)
    }

    /// The module path of a file under `src/`: `src/a/mod.rs` and `src/a.rs` are `["a"]`.
    pub(crate) fn module_path(&self) -> Option<Vec<&str>> {
        let path = self.path.strip_prefix("src/")?.strip_suffix(".rs")?;
        let mut parts: Vec<&str> = path.split('/').collect();
        if matches!(parts.last(), Some(&("mod" | "lib"))) {
            parts.pop();
        }
        Some(parts)
    }
}

/// Files that a `#[cfg(test)] mod name;` elsewhere brings in are test code throughout, and so are
/// the files below them.
pub(crate) fn mark_test_files(files: &mut [Source]) {
    let mut gated: Vec<Vec<String>> = Vec::new();
    for file in files.iter() {
        let Some(parent) = file.module_path() else {
            continue;
        };
        for module in &file.test_modules {
            let mut path: Vec<String> = parent.iter().map(|&part| part.to_owned()).collect();
            path.push(module.clone());
            gated.push(path);
        }
    }
    for file in files {
        let below = file.module_path().is_some_and(|path| {
            gated
                .iter()
                .any(|gate| path.len() >= gate.len() && gate.iter().eq(&path[..gate.len()]))
        });
        file.test_file |= below;
    }
}

/// The end of an attribute at `at` that keeps its item to tests: `cfg(test)` or `cfg(all(test, …))`.
fn test_gate(tokens: &[Token<'_>], at: usize) -> Option<usize> {
    if !tokens[at].is_punct(b'#') || !tokens.get(at + 1)?.is_punct(b'[') {
        return None;
    }
    let end = group_end(tokens, at + 1);
    let inner = &tokens[at + 2..end - 1];
    if !inner.first()?.is("cfg") {
        return None;
    }
    let only = inner.get(2)?.is("test");
    let among_all = inner.get(2)?.is("all")
        && inner.iter().enumerate().any(|(index, token)| {
            // Directly within `all(…)`: preceded by its parenthesis or a comma.
            token.is("test")
                && (index == 4 || inner[index - 1].is_punct(b','))
                && depth_of(&inner[..index]) == 2
        });
    (only || among_all).then_some(end)
}

fn depth_of(tokens: &[Token<'_>]) -> usize {
    let count = |punct| tokens.iter().filter(|token| token.is_punct(punct)).count();
    count(b'(') - count(b')').min(count(b'('))
}

fn skip_attributes(tokens: &[Token<'_>], mut at: usize) -> usize {
    while at + 1 < tokens.len() && tokens[at].is_punct(b'#') && tokens[at + 1].is_punct(b'[') {
        at = group_end(tokens, at + 1);
    }
    at
}

/// The end of the bracketed group that opens at `open`.
fn group_end(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.kind {
            Kind::Punct(b'(' | b'[' | b'{') => depth += 1,
            Kind::Punct(b')' | b']' | b'}') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return index + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

/// The end of the item, statement or field at `start`: its body, or its `;` or `,`.
fn item_end(tokens: &[Token<'_>], start: usize) -> usize {
    // A brace is not the end of these.
    let until_semicolon = tokens[start..]
        .iter()
        .map_while(|token| match token.kind {
            Kind::Ident(word) => Some(word),
            _ => None,
        })
        .take(3)
        .collect::<Vec<_>>();
    let until_semicolon = match until_semicolon.as_slice() {
        ["const", "fn", ..] | ["pub", "const", "fn"] => false,
        words => words
            .iter()
            .take_while(|word| **word != "fn" && **word != "mod")
            .any(|word| matches!(*word, "use" | "const" | "static" | "type" | "let")),
    };
    let mut at = start;
    while at < tokens.len() {
        match tokens[at].kind {
            Kind::Punct(b'{') if !until_semicolon => return group_end(tokens, at),
            Kind::Punct(b'(' | b'[' | b'{') => at = group_end(tokens, at),
            Kind::Punct(b';' | b',') => return at + 1,
            Kind::Punct(b')' | b']' | b'}') => return at.max(start + 1),
            _ => at += 1,
        }
    }
    tokens.len()
}

/// The name in `mod name` or `pub(crate) mod name`.
fn declared_module<'a>(item: &[Token<'a>]) -> Option<&'a str> {
    let at = item
        .iter()
        .take_while(|token| !token.is_punct(b'{'))
        .position(|token| token.is("mod"))?;
    match item.get(at + 1)?.kind {
        Kind::Ident(name) => Some(name),
        _ => None,
    }
}
