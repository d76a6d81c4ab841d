//! Replies that are larger than the socket sends.

use super::*;

impl Bench {
    /// The next message is larger than the socket sends.
    fn too_large(&mut self) {
        let transmit = self.worker.poll_transmit().expect("something is sent");
        self.worker.handle_too_large(self.now, transmit, 11, 10);
    }

    /// A worker that has a request of client "c".
    fn asked(ext: Ext<'_>) -> (Self, WorkerRequestId) {
        let mut bench = Bench::new(with_ext(), 2);
        bench.up();
        bench.sent().expect("READY");
        bench.ext_request("c", ext);
        let id = bench.given();
        (bench, id)
    }
}

#[test]
fn a_reply_that_is_too_large_is_a_fault_and_the_connection_stays() {
    let (mut bench, id) = Bench::asked(Ext {
        id: Some(MsgId([1; 16])),
        ..Ext::default()
    });
    bench.reply(id, "huge");
    bench.too_large();
    let (ext, body) = bench.ext_reply();
    assert_eq!((ext.op, ext.status), (Op::Final, Some(Status::Failed)));
    assert_eq!((ext.id, ext.part), (Some(MsgId([1; 16])), None));
    let why = "the reply has 11 octets, and its socket sends 10";
    assert_eq!(ext.reason.as_deref(), Some(why));
    assert!(body.is_empty());
    bench.expect_nothing();
    // And behind parts.
    bench.ext_request("d", Ext::default());
    let id = bench.given();
    assert!(bench.worker.handle_partial(bench.now, id, "part".into()));
    bench.sent().expect("the part");
    bench.reply(id, "huge");
    bench.too_large();
    let (ext, _) = bench.ext_reply();
    assert_eq!((ext.part, ext.status), (Some(1), Some(Status::Failed)));
    bench.expect_nothing();
    assert_eq!(bench.worker.counters().undeliverable, 2);
}

/// 7/MDP has no other word for it.
#[test]
fn where_there_is_no_word_for_it_the_reply_is_empty() {
    for config in [config(), with_ext()] {
        let mut bench = Bench::new(config, 2);
        bench.up();
        bench.sent().expect("READY");
        bench.request("c");
        let id = bench.given();
        // Of a broker that speaks the extension header, this takes a header to be told from one.
        let body = Message::multipart([Ext::default().encode().unwrap(), "huge".into()]);
        bench.worker.handle_reply(bench.now, id, body);
        bench.too_large();
        bench.expect_reply("c", "");
        bench.expect_nothing();
    }
}

/// Of a part the handler hears, and its client in the end.
#[test]
fn a_part_that_is_too_large_ends_its_request() {
    let (mut bench, id) = Bench::asked(Ext::default());
    assert!(bench.worker.handle_partial(bench.now, id, "huge".into()));
    bench.too_large();
    assert!(!bench.worker.is_wanted(id));
    bench.reply(id, "end");
    assert_eq!(bench.ext_reply().0.status, Some(Status::Failed));
    bench.expect_nothing();
}

/// What cannot be made smaller would be tried for ever.
#[test]
fn what_is_too_large_without_a_body_is_no_connection_to_keep() {
    let (mut bench, id) = Bench::asked(Ext::default());
    bench.reply(id, "");
    bench.too_large();
    bench.expect_reconnect(1);
}
