//! Finds the paths that a file names: `use` declarations, and paths in the middle of code.

use super::tokens::{Kind, Token};

/// A path as written, and how many inline `mod … { }` blocks stand around it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Import<'a> {
    pub(crate) path: Vec<&'a str>,
    pub(crate) line: usize,
    /// Names of the inline modules around it, outermost first.
    pub(crate) inside: Vec<&'a str>,
}

/// Every path of two segments or more, and every `use`, of whatever length.
pub(crate) fn paths<'a>(tokens: &[Token<'a>]) -> Vec<Import<'a>> {
    let mut found = Vec::new();
    // Inline modules: name, and the brace depth inside them.
    let mut modules: Vec<(&str, usize)> = Vec::new();
    let mut depth = 0;
    let mut at = 0;
    while at < tokens.len() {
        let inside = |modules: &[(&'a str, usize)]| modules.iter().map(|m| m.0).collect::<Vec<_>>();
        let next = tokens.get(at + 1).map(|token| token.kind);
        match tokens[at].kind {
            Kind::Punct(b'{') => depth += 1,
            Kind::Punct(b'}') => {
                depth = depth.max(1) - 1;
                while modules.last().is_some_and(|module| module.1 > depth) {
                    modules.pop();
                }
            }
            Kind::Ident("mod") => {
                if let (Some(Kind::Ident(name)), Some(open)) = (next, tokens.get(at + 2)) {
                    if open.is_punct(b'{') {
                        modules.push((name, depth + 1));
                    }
                }
            }
            // `impl Trait + use<'a>` captures lifetimes and imports nothing.
            Kind::Ident("use") if next != Some(Kind::Punct(b'<')) => {
                let mut leaves = Vec::new();
                at = use_tree(tokens, at + 1, &mut Vec::new(), &mut leaves);
                found.extend(leaves.into_iter().map(|(path, line)| Import {
                    path,
                    line,
                    inside: inside(&modules),
                }));
                continue;
            }
            Kind::Ident("extern")
                if next == Some(Kind::Ident("crate")) && at + 2 < tokens.len() =>
            {
                if let Kind::Ident(name) = tokens[at + 2].kind {
                    found.push(Import {
                        path: vec![name],
                        line: tokens[at].line,
                        inside: inside(&modules),
                    });
                }
                at += 3;
                continue;
            }
            Kind::Ident(first) if next == Some(Kind::PathSep) => {
                let line = tokens[at].line;
                // `<T as Trait>::name::…` and the like continue a path that began elsewhere.
                let continues = at >= 2
                    && tokens[at - 1].kind == Kind::PathSep
                    && (tokens[at - 2].is_punct(b'>')
                        || matches!(tokens[at - 2].kind, Kind::Ident(word) if !is_keyword(word)));
                let mut path = vec![first];
                at += 1;
                while let (Some(Kind::PathSep), Some(Kind::Ident(word))) = (
                    tokens.get(at).map(|token| token.kind),
                    tokens.get(at + 1).map(|token| token.kind),
                ) {
                    path.push(word);
                    at += 2;
                }
                if !continues {
                    found.push(Import {
                        path,
                        line,
                        inside: inside(&modules),
                    });
                }
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// Keywords that can stand before a path that starts with `::`.
fn is_keyword(word: &str) -> bool {
    matches!(
        word,
        "as" | "dyn" | "else" | "for" | "if" | "impl" | "in" | "match" | "mut" | "return" | "where"
    )
}

/// Collects the leaves of the use tree at `at` and returns what follows it (past its `;`).
fn use_tree<'a>(
    tokens: &[Token<'a>],
    mut at: usize,
    prefix: &mut Vec<&'a str>,
    leaves: &mut Vec<(Vec<&'a str>, usize)>,
) -> usize {
    let depth = prefix.len();
    let mut line = tokens.get(at).map_or(0, |token| token.line);
    while let Some(token) = tokens.get(at) {
        match token.kind {
            Kind::PathSep => at += 1,
            Kind::Ident("as") => at += 2,
            Kind::Ident(word) => {
                line = token.line;
                prefix.push(word);
                at += 1;
            }
            Kind::Punct(b'*') => {
                prefix.push("*");
                at += 1;
            }
            Kind::Punct(b'{') => {
                at += 1;
                while tokens
                    .get(at)
                    .is_some_and(|token| !token.is_punct(b'}') && !token.is_punct(b';'))
                {
                    at = use_tree(tokens, at, prefix, leaves);
                    if tokens.get(at).is_some_and(|token| token.is_punct(b',')) {
                        at += 1;
                    }
                }
                at += 1;
                prefix.truncate(depth);
                return at;
            }
            _ => break,
        }
    }
    if prefix.len() > depth {
        leaves.push((prefix.clone(), line));
    } else if tokens.get(at).is_some() {
        // Not a use tree at all (a macro fragment): step over it, so that the caller advances.
        at += 1;
    }
    prefix.truncate(depth);
    at
}
