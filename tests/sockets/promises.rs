//! What the types promise to whoever builds on them, checked by the compiler.

use std::error::Error;
use std::fmt::Debug;

use sinew::{
    BindError, BuildError, ConnectError, Context, DisconnectReason, Endpoint, EndpointError, Frame,
    InvalidRoutingId, Message, Monitor, OptionError, Pub, Pull, Push, RecvError, Rep, Req,
    RequestError, SendError, SendFailure, SocketBuilder, SocketEvent, Sub, UnknownEndpoint,
    WaitTimeout,
};

fn can_be_sent<T: Send + Debug + 'static>() {}
fn can_be_shared<T: Send + Sync + Clone + Debug + 'static>() {}
fn can_be_boxed<T: Error + Send + Sync + 'static>() {}

#[test]
fn sockets_move_between_threads() {
    can_be_sent::<Push>();
    can_be_sent::<Pull>();
    can_be_sent::<Pub>();
    can_be_sent::<Sub>();
    can_be_sent::<Req>();
    can_be_sent::<Rep>();
    can_be_sent::<Monitor>();
    can_be_sent::<SocketBuilder<Push>>();
}

#[test]
fn values_are_shared_between_threads() {
    can_be_shared::<Context>();
    can_be_shared::<Message>();
    can_be_shared::<Frame>();
    can_be_shared::<Endpoint>();
    can_be_shared::<SocketEvent>();
}

#[test]
fn errors_pass_through_a_question_mark() {
    can_be_boxed::<BindError>();
    can_be_boxed::<BuildError>();
    can_be_boxed::<ConnectError>();
    can_be_boxed::<DisconnectReason>();
    can_be_boxed::<EndpointError>();
    can_be_boxed::<InvalidRoutingId>();
    can_be_boxed::<OptionError>();
    can_be_boxed::<RecvError>();
    can_be_boxed::<RequestError>();
    can_be_boxed::<SendError>();
    can_be_boxed::<SendFailure>();
    can_be_boxed::<UnknownEndpoint>();
    can_be_boxed::<WaitTimeout>();
}
