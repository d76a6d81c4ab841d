//! Splits Rust text into tokens with line numbers; comments vanish, literals are opaque.

/// What a token is; the text of literals is never looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    Ident(&'a str),
    /// `::`
    PathSep,
    Punct(u8),
    /// A string, character, byte or number.
    Literal,
    Lifetime,
}

/// A token and the lines it spans, counted from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind<'a>,
    pub(crate) line: usize,
    pub(crate) last_line: usize,
}

impl Token<'_> {
    pub(crate) fn is(&self, ident: &str) -> bool {
        self.kind == Kind::Ident(ident)
    }

    pub(crate) fn is_punct(&self, punct: u8) -> bool {
        self.kind == Kind::Punct(punct)
    }
}

/// Tokens of `text`. Malformed input ends early rather than fail: the compiler judges syntax.
pub(crate) fn tokenize(text: &str) -> Vec<Token<'_>> {
    let bytes = text.as_bytes();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < bytes.len() {
        let start = at;
        let first_line = line;
        let kind = match bytes[at] {
            b if b.is_ascii_whitespace() => {
                at += 1;
                None
            }
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                while at < bytes.len() && bytes[at] != b'\n' {
                    at += 1;
                }
                None
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                at = block_comment_end(bytes, at);
                None
            }
            b'"' => {
                at = string_end(bytes, at + 1);
                Some(Kind::Literal)
            }
            b'\'' => {
                let (end, kind) = quote(text, at);
                at = end;
                Some(kind)
            }
            b':' if bytes.get(at + 1) == Some(&b':') => {
                at += 2;
                Some(Kind::PathSep)
            }
            b if b.is_ascii_digit() => {
                at += 1;
                while at < bytes.len()
                    && (is_ident(bytes[at])
                        || (bytes[at] == b'.' && bytes.get(at + 1).is_some_and(u8::is_ascii_digit)))
                {
                    at += 1;
                }
                Some(Kind::Literal)
            }
            b if is_ident(b) => {
                let (end, kind) = word(text, at);
                at = end;
                Some(kind)
            }
            b => {
                at += 1;
                Some(Kind::Punct(b))
            }
        };
        line += bytes[start..at].iter().filter(|&&b| b == b'\n').count();
        if let Some(kind) = kind {
            tokens.push(Token {
                kind,
                line: first_line,
                last_line: line,
            });
        }
    }
    tokens
}

/// Letters, digits, underscore and anything beyond ASCII.
fn is_ident(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// An identifier, or a literal with a prefix: `r"…"`, `br#"…"#`, `b'…'`, `c"…"`, `r#ident`.
fn word(text: &str, start: usize) -> (usize, Kind<'_>) {
    let bytes = text.as_bytes();
    let mut end = start;
    while end < bytes.len() && is_ident(bytes[end]) {
        end += 1;
    }
    let prefix = &text[start..end];
    let raw = matches!(prefix, "r" | "br" | "cr");
    match bytes.get(end) {
        Some(b'"') if raw => (raw_string_end(bytes, end, 0), Kind::Literal),
        Some(b'"') if matches!(prefix, "b" | "c") => (string_end(bytes, end + 1), Kind::Literal),
        Some(b'\'') if prefix == "b" => (quote(text, end).0, Kind::Literal),
        Some(b'#') if raw => {
            let hashes = bytes[end..].iter().take_while(|&&b| b == b'#').count();
            if bytes.get(end + hashes) == Some(&b'"') {
                let end = raw_string_end(bytes, end + hashes, hashes);
                return (end, Kind::Literal);
            }
            let name = end + 1;
            let mut end = name;
            while end < bytes.len() && is_ident(bytes[end]) {
                end += 1;
            }
            (end, Kind::Ident(&text[name..end]))
        }
        _ => (end, Kind::Ident(prefix)),
    }
}

/// The end of a character literal or a lifetime that starts at `start`.
fn quote(text: &str, start: usize) -> (usize, Kind<'_>) {
    let bytes = text.as_bytes();
    let mut chars = text[start + 1..].char_indices();
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), _) => {
            // Skip the escaped character itself, which may be a quote.
            let mut at = start + 3;
            while at < bytes.len() && bytes[at] != b'\'' {
                at += 1;
            }
            ((at + 1).min(bytes.len()), Kind::Literal)
        }
        (Some(_), Some((second, '\''))) => (start + 1 + second + 1, Kind::Literal),
        _ => {
            let mut at = start + 1;
            while at < bytes.len() && is_ident(bytes[at]) {
                at += 1;
            }
            (at, Kind::Lifetime)
        }
    }
}

/// The end of an ordinary string whose contents start at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The end of a raw string whose opening quote is at `quote`.
fn raw_string_end(bytes: &[u8], quote: usize, hashes: usize) -> usize {
    let mut at = quote + 1;
    while at < bytes.len() {
        let after = bytes.get(at + 1..at + 1 + hashes);
        if bytes[at] == b'"' && after.is_some_and(|tail| tail.iter().all(|&b| b == b'#')) {
            return at + 1 + hashes;
        }
        at += 1;
    }
    bytes.len()
}

/// Block comments nest.
fn block_comment_end(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start + 2, 1);
    while at < bytes.len() && depth > 0 {
        match &bytes[at..(at + 2).min(bytes.len())] {
            b"/*" => (at, depth) = (at + 2, depth + 1),
            b"*/" => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    at
}
