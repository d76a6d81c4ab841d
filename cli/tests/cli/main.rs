//! The command, run as a user runs it: against itself, libzmq and pyzmq, every format, every exit code.

mod alone;
mod formats;
mod inspect;
mod mdp_broker;
mod peers;
mod proxy;
mod support;
