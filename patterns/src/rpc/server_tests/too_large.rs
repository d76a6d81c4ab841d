//! Replies that are larger than the socket sends.

use super::*;

impl Bench {
    /// The next message is larger than the socket sends.
    fn too_large(&mut self) {
        let transmit = self.server.poll_transmit().expect("something is sent");
        self.server.handle_too_large(self.now, transmit, 11, 10);
    }

    fn is_told(&mut self, parts: Option<u32>) {
        let ext = self.declined("c", Status::Failed);
        assert_eq!((ext.op, ext.part), (Op::Final, parts));
        assert_eq!(self.server.poll_transmit(), None);
    }
}

#[test]
fn a_client_is_told_at_once_that_a_reply_is_too_large() {
    let mut bench = Bench::new(config());
    bench.sends("c", "1", call(), "x");
    let id = bench.starts().unwrap().id;
    bench.server.handle_reply(bench.now, id, "huge".into());
    bench.too_large();
    bench.is_told(None);
    // Behind parts.
    bench.sends("c", "2", call(), "x");
    let id = bench.starts().unwrap().id;
    assert!(bench.server.handle_partial(id, &"part".into()));
    assert!(bench.reply().is_some());
    bench.server.handle_reply(bench.now, id, "huge".into());
    bench.too_large();
    bench.is_told(Some(1));
    // One of the parts.
    bench.sends("c", "3", call(), "x");
    let id = bench.starts().unwrap().id;
    assert!(bench.server.handle_partial(id, &"huge".into()));
    bench.too_large();
    bench.is_told(None);
    assert!(!bench.server.is_wanted(id));
    bench.server.handle_reply(bench.now, id, "end".into());
    assert_eq!(bench.reply(), None);
}

#[test]
fn a_kept_reply_that_is_too_large_is_so_for_everybody() {
    let mut bench = Bench::new(config());
    bench.sends("c", "1", keyed(1, 1), "x");
    let id = bench.starts().unwrap().id;
    bench.server.handle_reply(bench.now, id, "huge".into());
    bench.too_large();
    bench.is_told(None);
    bench.sends("c", "2", keyed(1, 2), "x");
    bench.too_large();
    bench.is_told(None);
    assert!(bench.starts().is_none(), "it is carried out once");
}

/// There is no word for it without the header, and nothing is tried for ever.
#[test]
fn others_hear_nothing() {
    let mut bench = Bench::new(config());
    bench.sends("c", "1", None, "x");
    let id = bench.starts().unwrap().id;
    bench.server.handle_reply(bench.now, id, "huge".into());
    bench.too_large();
    assert_eq!(bench.reply(), None);
    bench.sends("c", "2", call(), "x");
    let id = bench.starts().unwrap().id;
    bench.server.handle_reply(bench.now, id, "".into());
    bench.too_large();
    assert_eq!(bench.reply(), None);
    assert_eq!(bench.server.counters().undeliverable, 2);
}
