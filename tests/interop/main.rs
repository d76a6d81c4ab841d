//! Real peers: libzmq (the crate `zmq`, in this process) and pyzmq (a process of its own), against
//! every kind of socket, binding and connecting, over tcp and ipc.
//!
//! Every message is checked octet for octet and in order by whoever receives it, and both ends of
//! each exchange must come to the same checksum. How many messages is written beside each group of
//! tests. `restart.rs` takes peers away in the middle.
//!
//! pyzmq comes with `tests/support/python-env`, which is to be run once before.

mod brokers;
mod datagrams;
mod dialog;
mod exchange;
mod legacy;
mod libzmq;
mod octets;
mod peer;
mod pyzmq;
mod restart;
mod together;
mod traffic;
#[cfg(feature = "ws")]
mod websocket;
