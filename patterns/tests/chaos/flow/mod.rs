//! Tokens, gates and credit between processes that are killed, frozen and restarted.

mod credit;
mod gate;
pub(crate) mod roles;
mod tokens;
