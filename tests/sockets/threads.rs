//! What may go to another thread, and what may be used by several: as the documentation says, and as tasks of
//! executors with many threads need it.

use sinew::{
    Channel, Client, Context, Dealer, Dgram, Dish, EventFd, Gather, Monitor, Pair, Peer,
    PendingRequest, Poller, Pub, Pull, Push, Radio, RecvPart, Rep, Req, Requester, Router, Scatter,
    SendPart, Server, Shared, Stream, Sub, XPub, XSub,
};

fn is_send<T: Send + 'static>() {}
fn is_shared<T: Send + Sync + Clone + 'static>() {}
fn is_shareable<T: sinew::Shareable>() {}
fn may_move<T: Send>(_: &T) {}

#[test]
fn sockets_and_what_is_made_of_them_go_to_other_threads() {
    macro_rules! each {
        ($($kind:ident),+) => {$(
            is_send::<$kind>();
            is_shared::<Shared<$kind>>();
            is_shareable::<$kind>();
            #[cfg(feature = "futures")]
            is_send::<sinew::Messages<$kind>>();
        )+};
    }
    each!(
        Channel, Client, Dealer, Dgram, Dish, Gather, Pair, Peer, Pub, Pull, Push, Radio, Router,
        Scatter, Server, Stream, Sub, XPub, XSub
    );
    is_send::<Req>();
    is_send::<Rep>();
    macro_rules! parts {
        ($($kind:ident),+) => {$(
            is_send::<SendPart<$kind>>();
            is_send::<RecvPart<$kind>>();
            is_shared::<Shared<SendPart<$kind>>>();
            is_shared::<Shared<RecvPart<$kind>>>();
            is_shareable::<RecvPart<$kind>>();
        )+};
    }
    parts!(Channel, Client, Dealer, Pair, Peer, Router, Server, Stream, XPub, XSub);
    is_shared::<Requester>();
    is_shared::<Context>();
    is_send::<PendingRequest>();
    is_send::<Monitor>();
    is_send::<Poller>();
    is_send::<EventFd>();
}

#[test]
fn futures_go_to_other_threads() {
    let (mut pull, mut push) = (Pull::new(), Push::new());
    may_move(&pull.recv_async());
    may_move(&pull.wait_for_peers_async(1));
    may_move(&push.send_async("message"));
    may_move(&push.close_async());
    let mut router = Router::new();
    may_move(&router.recv_from_async());
    may_move(&router.send_to_async("peer", "message"));
    let mut publisher = Pub::new();
    may_move(&publisher.send_batch_async(&["message"]));
    let shared = Shared::new(Dealer::new());
    may_move(&shared.recv_async());
    may_move(&shared.send_async("message"));
    let requester = Requester::new();
    may_move(&requester.request_async("message"));
}
