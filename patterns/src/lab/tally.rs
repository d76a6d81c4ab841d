//! What becomes of calls under one kind of trouble: the figures of `docs/loss-table.md`.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use sinew::Message;

use super::{number, Fault, NodeId, Sim};
use crate::common::{CallError, Idem};

/// One kind of trouble, again and again for six seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    Nothing,
    Kill,
    Freeze,
    Partition,
    OneWay,
    Reset,
    Slow,
    Replay,
    Malformed,
    Overload,
}

impl Trouble {
    pub(crate) const ALL: [(Trouble, &'static str); 10] = [
        (Trouble::Nothing, "none"),
        (Trouble::Kill, "killed, and back after 300 ms"),
        (Trouble::Freeze, "frozen for 600 ms"),
        (Trouble::Partition, "cut off for 600 ms"),
        (Trouble::OneWay, "its replies held back for 600 ms"),
        (Trouble::Reset, "its connections broken"),
        (Trouble::Slow, "its messages 400 ms late for 500 ms"),
        (Trouble::Replay, "an old message repeated to it"),
        (Trouble::Malformed, "rubbish from a stranger"),
        (Trouble::Overload, "asked 20 times as often"),
    ];

    /// The mean pause of those who ask.
    pub(crate) fn pause(self, usual: Duration) -> Duration {
        match self {
            Trouble::Overload => usual / 20,
            _ => usual,
        }
    }

    /// How many calls are made: enough to be too many.
    pub(crate) fn calls(self, usual: u64) -> u64 {
        match self {
            Trouble::Overload => usual * 5,
            _ => usual,
        }
    }

    /// Whether somebody sends what is not his to send.
    fn is_hostile(self) -> bool {
        matches!(self, Trouble::Replay | Trouble::Malformed)
    }

    /// Befalls these nodes in turn.
    pub(crate) fn befall(self, sim: &mut Sim, victims: &[NodeId]) {
        for turn in 0..10usize {
            let node = victims[turn % victims.len()];
            let at = Duration::from_millis(100 + 600 * turn as u64);
            let later = |ms| at + Duration::from_millis(ms);
            match self {
                Trouble::Nothing | Trouble::Overload => {}
                Trouble::Kill => {
                    sim.fault_at(at, Fault::Kill(node));
                    sim.fault_at(later(300), Fault::Restart(node));
                }
                Trouble::Freeze => {
                    sim.fault_at(at, Fault::Freeze(node));
                    sim.fault_at(later(600), Fault::Thaw(node));
                }
                Trouble::Partition => {
                    sim.fault_at(at, Fault::Deafen(node));
                    sim.fault_at(at, Fault::Mute(node));
                    sim.fault_at(later(600), Fault::Heal(node));
                }
                Trouble::OneWay => {
                    sim.fault_at(at, Fault::Mute(node));
                    sim.fault_at(later(600), Fault::Heal(node));
                }
                Trouble::Reset => sim.fault_at(at, Fault::Reset(node)),
                Trouble::Slow => {
                    sim.fault_at(at, Fault::Slow(node, 400));
                    sim.fault_at(later(500), Fault::Slow(node, 0));
                }
                Trouble::Replay => sim.fault_at(at, Fault::Replay(node)),
                Trouble::Malformed => sim.fault_at(at, Fault::Rubbish(node)),
            }
        }
    }
}

/// How calls of one kind fared.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    calls: u64,
    replies: u64,
    /// They ended with an error that says that nothing was done.
    declined: u64,
    /// They ended with an error that says that it may have been done.
    unknown: u64,
    /// They were carried out more than once.
    again: u64,
}

/// How all calls fared, by kind.
#[derive(Debug, Default)]
pub(crate) struct Tallies(BTreeMap<&'static str, Tally>);

impl Tallies {
    /// A call has ended so, and was carried out so often.
    pub(crate) fn note(
        &mut self,
        idem: Idem,
        result: &Result<Message, CallError>,
        carried_out: u32,
    ) {
        let kind = match idem {
            Idem::Safe => "`Safe`",
            Idem::Key(_) => "`Key`",
            Idem::Once => "`Once`",
        };
        let tally = self.0.entry(kind).or_default();
        tally.calls += 1;
        tally.again += u64::from(carried_out > 1);
        match result {
            Ok(_) => {
                assert!(carried_out > 0, "a reply to what nobody did");
                tally.replies += 1;
            }
            Err(error) if error.maybe_executed() => tally.unknown += 1,
            Err(error) => {
                assert_eq!(carried_out, 0, "{error} says that it was not done");
                tally.declined += 1;
            }
        }
    }

    /// So many were asked for, or sent; so many were replied to, or came; so many were declined, or given back; and
    /// so many were carried out again. What became of the others is not known.
    pub(crate) fn note_counts(
        &mut self,
        kind: &'static str,
        calls: u64,
        replies: u64,
        declined: u64,
        again: u64,
    ) {
        let tally = self.0.entry(kind).or_default();
        assert!(replies + declined <= calls, "each ends once or not at all");
        tally.calls += calls;
        tally.replies += replies;
        tally.declined += declined;
        tally.unknown += calls - replies - declined;
        tally.again += again;
    }

    /// What must be so whatever the trouble, and what with none.
    fn check(&self, pattern: &str, trouble: Trouble) {
        for (kind, tally) in &self.0 {
            let ended = tally.replies + tally.declined + tally.unknown;
            assert_eq!(tally.calls, ended, "{kind}: each ends once");
            if trouble == Trouble::Nothing {
                assert_eq!((tally.replies, tally.again), (tally.calls, 0), "{kind}");
            }
            // 7/MDP has no word for it.
            let told = !pattern.contains("7/MDP");
            if *kind == "`Once`" && told && !trouble.is_hostile() {
                assert_eq!(tally.again, 0, "{pattern}: {trouble:?}");
            }
        }
    }

    fn rows(&self, pattern: &str, trouble: &str) -> String {
        self.0.iter().fold(String::new(), |mut rows, (kind, t)| {
            // Writing to a string does not fail.
            let _ = writeln!(
                rows,
                "| {pattern} | {trouble} | {kind} | {} | {} | {} | {} | {} |",
                t.calls, t.replies, t.declined, t.unknown, t.again
            );
            rows
        })
    }
}

/// Runs some seeds of each trouble and checks what must be so; with `PATTERNS_LOSS_TABLE`, as many as that says,
/// and returns the rows of the table.
pub(crate) fn rows(pattern: &str, run: impl Fn(u64, Trouble, &mut Tallies)) -> String {
    let seeds = number("PATTERNS_LOSS_TABLE").unwrap_or(4);
    let mut table = String::new();
    for (trouble, name) in Trouble::ALL {
        let mut tallies = Tallies::default();
        for seed in 0..seeds {
            run(seed, trouble, &mut tallies);
        }
        tallies.check(pattern, trouble);
        table += &tallies.rows(pattern, name);
    }
    table
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// What is lost, and what is done twice, as the table has it. See the head of the table for how to write it.
    #[test]
    fn loss_table() {
        let mut table = crate::rpc::loss_rows();
        table += &crate::mdp::loss_rows();
        table += &crate::flow::loss_rows();
        let Some(seeds) = number("PATTERNS_LOSS_TABLE") else {
            return;
        };
        let text = HEAD.replace("SEEDS", &seeds.to_string()) + &table;
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/loss-table.md");
        fs::write(path, text).unwrap();
    }

    const HEAD: &str = "# What is lost, and what is done twice

Measured in the fault laboratory of `sinew-patterns` (`patterns/src/lab`), in virtual time, with the first SEEDS seeds of
each row. Written by

```sh
PATTERNS_LOSS_TABLE=SEEDS cargo test --release -p sinew-patterns --lib loss_table
```

The same seeds make the same figures. Each row is one kind of trouble, ten times in six seconds, in turn to each
of those it is about: two servers of `rpc`, four workers or the one broker of `mdp`, all of which speak the
extension header unless the row says otherwise: *plain REP* is two servers that carry out one request after the other and
send its envelope back; *all 7/MDP* is clients, workers and a broker that have nothing but that. Rubbish is a message of
somebody's, changed at random, that a stranger sends. *Asked 20 times as often* is five times as many calls as well,
more than can be carried out. The one broker and the one token server, which are frozen or cut off ten times for 600 ms, are so for
all six seconds, but for a moment in between. Calls have deadlines of 4 to 12 s.

In short: every call ends, and with its own reply or an error. The error says whether something may have been done. A
call that is `Safe` is made again until there is a reply or no time left, and may be carried out more than once. One with
`Once` is sent once: what is lost on the way is *unknown*. One with a `Key` is carried out once as long as somebody knows
the key: the server, the broker, or a store that servers share. Who is overloaded says so, and *not done* is what it says.

*Reply*: the call ended with its reply. *Not done*: it ended with an error that says that nothing was done; that
is checked for each of them. *Unknown*: it ended with an error that says that it may have been done. Nothing else
happens: a call without an end, or with another one's reply, fails the test. *Done again*: how many of all
calls, of whatever end, were carried out more than once.

A key holds at the server or broker that knows it, or with the store of its servers, and a request with `Once` is sent
once; neither is more than that.
`rpc`: a server that is killed, frozen, cut off (one direction is enough), or loses its connections seems dead, and the
other one is asked, which knows nothing of the key; one that was killed has forgotten it. A repeated request with a key
gets the reply that was kept; any other is one more request to the server, with `Once` too. Servers *with a store* share
one, which survives them: no key is done again, which is checked. What a server had begun that was killed is *unknown*;
what one is at that is frozen, or cut off, the other one waits for. `mdp`: the broker keeps the
reply of a key, workers keep nothing. A worker that seems dead before the broker has its reply loses the request to
another one, unless it may be done only once: then it ends as *unknown*. The same happens when it is the broker that is
frozen, cut off, or loses its connections, since its workers are then lost to it; one that was killed has forgotten its
keys, and clients ask again.
A request repeated to a worker is done again, whatever it says of itself; one repeated to the broker only if it has no
key. Any other frame that is repeated, such as one with which a worker comes, goes or replies, may cost it its place,
and so its request. Bare 7/MDP has no word for `Once`, so that its broker gives such a request to another worker as it
does any other; and none for which request a reply is to, so that one that is repeated is taken for that to the next
request of the client: what is repeated is not tried there.
A stranger's rubbish may be what it was made of, a request, and is carried out then. A worker listens to its broker alone,
so nobody tries it there.

`flow`'s credit is for messages that go one way: *reply* is those that came, each once and in order, which is checked
for each; *not done* those that were given back, for there was no connection; *unknown* those that were lost with a
connection, or with the receiver. What a stranger sends to a receiver is not tried.

The token server of `flow` has three clients, who want half of what it mints, each token within half a second, and
fetch ten ahead: *reply* is a token taken; *not done* a take that was refused, since none came in time; *done again* a
take without a token, which is what `Open` means when the server cannot be reached. With `Closed` there is none. In
no case are more tokens taken than rate and burst allow. `flow`'s gate lets in two at a time, and it is its four clients
that are in trouble: *reply* is their request done, *not done* one that was turned away, or not sent; *unknown* one whose
client was killed, or lost its connection or its patience. When all is over every permit has come back, which is checked.

| pattern | trouble | calls | number | reply | not done | unknown | done again |
| --- | --- | --- | --- | --- | --- | --- | --- |
";
}
