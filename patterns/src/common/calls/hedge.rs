//! Hedging: a call that the first server has not answered for a while is asked of a second one, too, and the first reply
//! counts (Dean and Barroso, "The Tail at Scale", 2013). A server that is slow for a moment then costs its callers that
//! while, and not a time-out.
//!
//! | state | event | next |
//! | --- | --- | --- |
//! | Sent, for `hedge_after` | another server has room, and the retry budget allows | Sent to both, attempt + 1 |
//! | Sent to both | a reply, or a part of one, of either | over, or Sent to that one; the other is told to stop |
//! | Sent to both | one declines, or its connection is lost | Sent to the other |
//! | Sent to both | the second attempt's timer, retry allowed | Pausing |
//!
//! It is a retry that does not wait for the first attempt to fail: only for calls that may be asked twice, once per call,
//! and within half of the budget, so that servers which are all slow are not asked for twice as much, and retries are left
//! for calls that fail.

use std::time::{Duration, Instant};

use super::{Answer, CallId, Calls, State};
use crate::common::{Bucket, Idem, Port};

impl<T> Calls<T> {
    /// When a call that was sent now is to be hedged, if it is its first attempt and may have others.
    pub(super) fn plan_hedge(&mut self, now: Instant, id: CallId) -> Option<Instant> {
        let after = self.policy.hedge_after?.max(SHORTEST);
        let call = self.calls.get_mut(id.0)?;
        let may = call.attempts == 1
            && call.options.idem != Idem::Once
            && self.breakers.len() > 1
            && after < self.policy.step();
        call.hedge_at = may.then_some(now + after);
        call.hedge_at
    }

    /// Whether the timer that has just come is that of hedging.
    pub(super) fn hedge_is_due(&self, now: Instant, id: CallId) -> bool {
        let call = self.calls.get(id.0);
        call.and_then(|call| call.hedge_at)
            .is_some_and(|at| now >= at)
    }

    /// Asks another server, too, if there is one with room and the budget allows it. Both have the time of an attempt from
    /// now on.
    pub(super) fn hedge(&mut self, now: Instant, id: CallId, port: Port) {
        let Some(call) = self.calls.get_mut(id.0) else {
            return;
        };
        let at = call.hedge_at.take().unwrap_or(now);
        let server = self.routes.get(&port).map(|route| route.server);
        let other = self.choose_from(now, None, |route| Some(route.server) != server);
        match other {
            Some(other) if self.may_ask_again(id, Bucket::take_spare) => {
                if let Some(call) = self.calls.get_mut(id.0) {
                    call.hedge = Some(other);
                }
                self.counters.hedges += 1;
                self.transmit(now, id, other);
                self.set_step(id, now + self.policy.step());
            }
            _ => {
                let after = self.policy.hedge_after.unwrap_or_default().max(SHORTEST);
                self.set_step(id, at + self.policy.step().saturating_sub(after));
            }
        }
    }

    /// One of two that were asked is out of it: the other goes on. False if there were not two.
    pub(super) fn other_of_two(&mut self, port: Port, id: CallId) -> bool {
        let Some(call) = self.calls.get_mut(id.0) else {
            return false;
        };
        let Some(hedge) = call.hedge else {
            return false;
        };
        if hedge != port {
            if call.state != State::Sent(port) {
                return false;
            }
            call.state = State::Sent(hedge);
            call.blamed = false;
        }
        call.hedge = None;
        true
    }

    /// One of two that were asked has not begun with it.
    pub(super) fn one_declines(&mut self, now: Instant, port: Port, id: CallId, answer: &Answer) {
        let server = self.routes.get(&port).map_or(0, |route| route.server);
        match answer {
            Answer::Unavailable(_) => self.breakers[server].failure(now, &mut self.random),
            _ => self.breakers[server].success(),
        }
        self.counters.rejected += u64::from(matches!(answer, Answer::Rejected(_)));
        self.answered(port, id);
        self.other_of_two(port, id);
    }

    /// Both attempts have taken too long.
    pub(super) fn leave_hedge(&mut self, now: Instant, id: CallId) {
        let hedge = self.calls.get_mut(id.0).and_then(|call| call.hedge.take());
        if let Some(hedge) = hedge {
            self.leave(now, hedge, id);
        }
    }

    /// Tells whoever still has a call that is over.
    pub(super) fn cancel(&mut self, now: Instant, port: Port, id: CallId, deadline: Instant) {
        let has = |route: &super::Route| route.in_flight.contains(id.0);
        if self.routes.get(&port).is_some_and(has) {
            self.cancels.push_back((port, id, deadline));
            self.leave(now, port, id);
        }
    }
}

/// Less would be two requests for each call.
const SHORTEST: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests {
    use sinew::Message;

    use super::super::{Bounds, CallEvent, Choice};
    use super::*;
    use crate::common::{CallError, CallOptions, Fault, Random, RetryBudget, RetryPolicy};

    const AFTER: Duration = Duration::from_millis(50);
    const STEP: Duration = Duration::from_millis(200);
    const BOUNDS: Bounds = Bounds {
        calls: 100,
        bytes: 1000,
        unread: 10,
    };

    fn policy() -> RetryPolicy {
        RetryPolicy {
            attempt_timeout: STEP,
            hedge_after: Some(AFTER),
            ..RetryPolicy::default()
        }
    }

    /// A client of so many servers, what time it is, and what it has to say.
    struct Bench {
        calls: Calls<()>,
        now: Instant,
    }

    impl Bench {
        fn new(policy: RetryPolicy, servers: u32) -> Self {
            let mut calls = Calls::new(policy, BOUNDS, Choice::Sticky, Random::new(7));
            let now = Instant::now();
            for server in 0..servers {
                calls.add_route(Port(server), server as usize, 10, false);
                calls.handle_up(now, Port(server));
            }
            Bench { calls, now }
        }

        fn call(&mut self, idem: Idem) -> CallId {
            let options = CallOptions {
                idem,
                ..CallOptions::default()
            };
            let call = self.calls.begin(self.now, (), 0, options).unwrap();
            self.expect_sent(0, 1);
            call
        }

        /// A call that both servers have.
        fn hedged(&mut self) -> CallId {
            let call = self.call(Idem::Safe);
            self.pass(AFTER);
            self.expect_sent(1, 2);
            call
        }

        /// Who is told next that a call was given up.
        fn told(&mut self) -> Option<(Port, CallId)> {
            let (port, call, _) = self.calls.poll_cancel()?;
            Some((port, call))
        }

        fn pass(&mut self, span: Duration) {
            self.now += span;
            self.calls.handle_timeout(self.now);
        }

        fn answer(&mut self, port: u32, call: CallId, answer: Answer) {
            (self.calls).handle_answer(self.now, Port(port), call, answer);
        }

        fn expect_sent(&mut self, port: u32, attempt: u32) {
            let sent = self.calls.poll_dispatch().expect("it is sent");
            assert_eq!((sent.port, sent.attempt), (Port(port), attempt));
        }

        fn expect_nothing_sent(&mut self) {
            assert!(self.calls.poll_dispatch().is_none());
        }

        fn expect_reply(&mut self, call: CallId, reply: &str) {
            let done = CallEvent::Done {
                call,
                result: Ok(reply.into()),
            };
            assert_eq!(self.calls.poll_event(), Some(done));
            assert!(self.calls.routes.values().all(|r| r.in_flight.is_empty()));
            assert_eq!(self.calls.poll_timeout(), None);
        }
    }

    fn reply(text: &str) -> Answer {
        Answer::Final(Message::from(text), None)
    }

    #[test]
    fn the_first_reply_counts_and_the_other_server_is_told() {
        for (replies, other) in [(0, 1), (1, 0)] {
            let mut bench = Bench::new(policy(), 3);
            let call = bench.call(Idem::Safe);
            bench.pass(AFTER - Duration::from_millis(1));
            bench.expect_nothing_sent();
            bench.pass(Duration::from_millis(1));
            bench.expect_sent(1, 2);
            bench.expect_nothing_sent();
            bench.answer(replies, call, reply("first"));
            bench.expect_reply(call, "first");
            assert_eq!(bench.told(), Some((Port(other), call)));
            assert_eq!(bench.told(), None);
            bench.answer(other, call, reply("second"));
            let counters = bench.calls.counters();
            assert_eq!((counters.hedges, counters.retries), (1, 1));
            assert_eq!((counters.attempts, counters.stale_replies), (2, 1));
            // The next call begins with the one that replied.
            assert_eq!(bench.calls.preferred, replies as usize);
        }
    }

    #[test]
    fn a_reply_in_time_is_not_hedged() {
        let mut bench = Bench::new(policy(), 2);
        let call = bench.call(Idem::Safe);
        bench.answer(0, call, reply("in time"));
        bench.expect_reply(call, "in time");
        bench.pass(STEP);
        bench.expect_nothing_sent();
    }

    #[test]
    fn what_may_be_sent_once_is() {
        let mut bench = Bench::new(policy(), 2);
        bench.call(Idem::Once);
        bench.pass(AFTER);
        bench.pass(STEP);
        bench.expect_nothing_sent();
        assert_eq!(bench.calls.counters().attempts, 1);
    }

    #[test]
    fn nobody_else_to_ask() {
        // One server; or another that is not connected; or one that has no room.
        for servers in [1, 2] {
            let mut bench = Bench::new(policy(), servers);
            bench.calls.handle_down(bench.now, Port(1));
            bench.call(Idem::Safe);
            bench.pass(AFTER);
            bench.expect_nothing_sent();
            // The attempt has all of its time.
            bench.pass(STEP - AFTER - Duration::from_millis(1));
            assert_eq!(bench.calls.counters().hedges, 0);
            let next = bench.calls.poll_timeout();
            assert_eq!(next, Some(bench.now + Duration::from_millis(1)));
        }
    }

    #[test]
    fn hedges_are_within_the_budget() {
        let budget = RetryBudget {
            ratio_percent: 10,
            burst: 2,
        };
        let mut bench = Bench::new(
            RetryPolicy {
                budget: Some(budget),
                ..policy()
            },
            2,
        );
        for _ in 0..50 {
            let options = CallOptions::default();
            bench.calls.begin(bench.now, (), 0, options).unwrap();
            while let Some(sent) = bench.calls.poll_dispatch() {
                assert_eq!(sent.attempt, 1);
            }
            bench.pass(AFTER);
            // Servers that are slow all the time.
            while let Some(sent) = bench.calls.poll_dispatch() {
                assert_eq!(sent.attempt, 2);
            }
            for id in bench.calls.calls.ids() {
                bench.answer(0, CallId(id), reply("late"));
            }
        }
        let counters = bench.calls.counters();
        assert_eq!(counters.replies, 50);
        let most = 2 + 50 * 10 / 100;
        assert!((5..=most).contains(&counters.hedges), "{counters:?}");
        assert!(counters.over_budget > 0);
    }

    #[test]
    fn one_that_declines_leaves_it_to_the_other() {
        let not_begun = || {
            [
                Answer::Rejected(Fault::failed("not now")),
                Answer::Unavailable(Fault::failed("not here")),
                Answer::Expired,
                Answer::NoService,
            ]
        };
        for (declines, other) in [(0, 1), (1, 0)] {
            for answer in not_begun() {
                let mut bench = Bench::new(policy(), 2);
                let call = bench.hedged();
                bench.answer(declines, call, answer);
                assert_eq!(bench.calls.poll_event(), None);
                bench.expect_nothing_sent();
                bench.answer(other, call, reply("a reply"));
                bench.expect_reply(call, "a reply");
                assert_eq!(bench.told(), None);
            }
        }
        // Both do: then it is as if there had been one.
        let mut bench = Bench::new(policy(), 2);
        let call = bench.hedged();
        bench.answer(1, call, Answer::Expired);
        bench.answer(0, call, Answer::Expired);
        let Some(CallEvent::Done { result, .. }) = bench.calls.poll_event() else {
            panic!("it is over");
        };
        let error = CallError::TimedOut {
            attempts: 2,
            maybe_executed: true,
        };
        assert_eq!(result, Err(error));
    }

    #[test]
    fn one_that_is_lost_leaves_it_to_the_other() {
        for (lost, other) in [(0, 1), (1, 0)] {
            let mut bench = Bench::new(policy(), 2);
            let call = bench.hedged();
            bench.calls.handle_down(bench.now, Port(lost));
            assert_eq!(bench.calls.poll_event(), None);
            bench.expect_nothing_sent();
            bench.answer(other, call, reply("a reply"));
            bench.expect_reply(call, "a reply");
        }
    }

    #[test]
    fn parts_are_of_the_server_that_began_to_reply() {
        for (replies, other) in [(0, 1), (1, 0)] {
            let mut bench = Bench::new(policy(), 2);
            let call = bench.hedged();
            let part = |text: &str, number| Answer::Partial(Message::from(text), Some(number));
            bench.answer(replies, call, part("a", 0));
            assert_eq!(bench.told(), Some((Port(other), call)));
            bench.answer(other, call, part("another's", 0));
            bench.answer(other, call, reply("another's"));
            bench.answer(replies, call, part("b", 1));
            bench.answer(replies, call, Answer::Final("c".into(), Some(2)));
            for text in ["a", "b"] {
                let message = text.into();
                let part = CallEvent::Partial { call, message };
                assert_eq!(bench.calls.poll_event(), Some(part));
            }
            bench.expect_reply(call, "c");
            assert_eq!(bench.calls.counters().stale_replies, 2);
        }
    }

    #[test]
    fn neither_replies() {
        let mut bench = Bench::new(policy(), 2);
        let call = bench.hedged();
        bench.pass(STEP);
        assert_eq!(bench.calls.routes[&Port(1)].in_flight.len(), 0);
        // A retry as any, and a late reply of either is welcome.
        bench.pass(policy().backoff.max);
        bench.expect_sent(1, 3);
        bench.answer(0, call, reply("late"));
        bench.expect_reply(call, "late");
        // The caller gives up: both are told.
        let mut bench = Bench::new(policy(), 2);
        let call = bench.hedged();
        bench.calls.handle_cancel(bench.now, call);
        let told = [bench.told(), bench.told()];
        assert_eq!(told, [Some((Port(0), call)), Some((Port(1), call))]);
    }

    #[test]
    fn a_socket_that_does_not_take_the_second_request() {
        let mut bench = Bench::new(policy(), 2);
        let call = bench.hedged();
        bench.calls.handle_refused(bench.now, Port(1), call);
        let counters = bench.calls.counters();
        assert_eq!((counters.attempts, counters.hedges), (1, 0));
        assert_eq!(counters.retries, 0);
        bench.answer(0, call, reply("a reply"));
        bench.expect_reply(call, "a reply");
        assert_eq!(bench.told(), None);
    }
}
