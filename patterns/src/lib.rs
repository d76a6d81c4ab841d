//! Reliable messaging patterns built on the public API of `sinew`.
