//! The layer table, as data: which module of `src/` may import which, and which third parties.

/// One row. A module may import itself and what its row lists.
pub(crate) struct Layer {
    pub(crate) module: &'static str,
    /// Modules of this crate.
    pub(crate) imports: &'static [&'static str],
    /// Crates, as written in paths. `std` is free to all.
    pub(crate) third_party: &'static [&'static str],
}

const fn row(
    module: &'static str,
    imports: &'static [&'static str],
    third_party: &'static [&'static str],
) -> Layer {
    Layer {
        module,
        imports,
        third_party,
    }
}

/// Rows list only rows above themselves. `lib.rs` assembles the layers and has no row.
pub(crate) const LAYERS: &[Layer] = &[
    // The only door to atomics (std, or loom in models); libc for the asymmetric barrier.
    row("sync", &[], &["crossbeam_queue", "loom", "libc"]),
    row("frame", &[], &["bytes", "thiserror"]),
    row("socket_type", &[], &["bytes", "thiserror"]),
    // A message may carry what is known of its sender, the type of its socket for one.
    row(
        "message",
        &["frame", "socket_type"],
        &["bytes", "thiserror"],
    ),
    row("endpoint", &[], &["bytes", "thiserror"]),
    row("proto", &["message", "frame", "socket_type"], PROTO_CRATES),
    row("routing", &["message"], &["slab"]),
    row("pipe", &["sync", "message", "frame"], &["bytes"]),
    // What sync can ask of the system for a thread is an option.
    row(
        "config",
        &["sync", "message", "endpoint", "socket_type"],
        &["bytes", "thiserror"],
    ),
    // libc where the platform call needs it; thiserror for what a proxy answers.
    row(
        "transport",
        &["endpoint", "config"],
        &["mio", "socket2", "libc", "thiserror"],
    ),
    // All above but routing. Errors are raised where they arise, hence thiserror.
    row(
        "io",
        &[
            "sync",
            "frame",
            "message",
            "endpoint",
            "socket_type",
            "proto",
            "pipe",
            "config",
            "transport",
        ],
        &["mio", "slab", "bytes", "thiserror", "tracing"],
    ),
    // Aggregates the errors of all above; nothing above imports it.
    row(
        "error",
        &[
            "sync",
            "frame",
            "message",
            "endpoint",
            "socket_type",
            "proto",
            "routing",
            "pipe",
            "config",
            "transport",
            "io",
        ],
        &["thiserror"],
    ),
    row(
        "context",
        &["sync", "endpoint", "config", "io", "error"],
        &[],
    ),
    // All but proto and transport.
    row(
        "socket",
        &[
            "sync",
            "frame",
            "message",
            "endpoint",
            "socket_type",
            "routing",
            "pipe",
            "config",
            "io",
            "error",
            "context",
        ],
        &["bytes", "futures_core", "futures_sink", "metrics"],
    ),
    // Forwards between sockets through what `socket` offers for it alone; waits for the events of several.
    row(
        "proxy",
        &["sync", "message", "socket_type", "io", "error", "socket"],
        &[],
    ),
    // Re-exports, under `cfg(fuzzing)`, of fuzz bodies that live beside the code they test.
    row(
        "fuzz",
        &["sync", "frame", "message", "endpoint", "proto"],
        &[],
    ),
];

/// bytes and thiserror, what the upgrade to WebSocket needs, and the RustCrypto and dalek crates that the
/// CURVE mechanism is made of.
const PROTO_CRATES: &[&str] = &[
    "bytes",
    "thiserror",
    "base64",
    "sha1",
    "aead",
    "crypto_box",
    "crypto_secretbox",
    "curve25519_dalek",
    "getrandom",
    "poly1305",
    "rand_core",
    "salsa20",
    "subtle",
    "x25519_dalek",
    "xsalsa20poly1305",
    "zeroize",
];

/// Where `unsafe` may be written; an entry that ends in `/` stands for all files below.
pub(crate) const UNSAFE_ALLOWED: &[&str] = &[
    "src/pipe/",
    "src/sync/barrier.rs",
    "src/sync/affinity.rs",
    "src/transport/credentials.rs",
];

/// The one file of `src/` that reads the clock.
pub(crate) const CLOCK: &str = "src/sync/clock.rs";

/// The most lines of code in a file: not blank, not comments, not a trailing `mod tests`.
pub(crate) const MAX_CODE_LINES: usize = 800;

/// What of `std::sync` the layers with threads may use as it is: a count of references, what is written once,
/// and errors of locks, which loom has from there, too.
pub(crate) const SHARED_FREELY: &[&str] =
    &["Arc", "Weak", "OnceLock", "TryLockError", "PoisonError"];
