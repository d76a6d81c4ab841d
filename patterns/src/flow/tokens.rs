//! One token bucket for many processes: a server that grants tokens, and clients that fetch some ahead.
//!
//! ```text
//! ["TAKE"][bucket][n u32]   →   ["OK"][granted u32][lease in ms u32]   or   ["NO"][retry in ms u32]
//! ["GIVE"][bucket][n u32]   →   ["OK"]
//! ```
//!
//! These are the bodies of plain requests and replies, so any REQ and REP will carry them. Tokens that were
//! granted are void when the lease is over. A server starts with empty buckets: after a restart it mints
//! nothing that was granted before.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use sinew::{Frame, Message};
use thiserror::Error;

use super::{Bucket, RetryAfter};

/// The server: a function from requests to replies.
///
/// ```
/// use std::time::{Duration, Instant};
/// use sinew_patterns::flow::{TokenPurse, TokenConfig, TokenMint};
///
/// let now = Instant::now();
/// let mut server = TokenMint::new(Duration::from_secs(1));
/// server.set_bucket("api", 100.0, 10, now);
/// let mut client = TokenPurse::new("api", TokenConfig::default());
/// let later = now + Duration::from_millis(50);
/// assert!(client.try_take(later, 1).is_err());
/// let request = client.poll_request(later).unwrap();
/// client.handle_reply(later, &server.handle_request(later, &request))?;
/// assert!(client.try_take(later, 1).is_ok());
/// # Ok::<(), sinew_patterns::flow::TokenError>(())
/// ```
#[derive(Debug)]
pub struct TokenMint {
    lease: Duration,
    buckets: BTreeMap<Vec<u8>, Bucket>,
    malformed: u64,
    unknown: u64,
}

impl TokenMint {
    /// A server whose grants are good for so long, at most about 49 days.
    #[must_use]
    pub fn new(lease: Duration) -> Self {
        TokenMint {
            lease,
            buckets: BTreeMap::new(),
            malformed: 0,
            unknown: 0,
        }
    }

    /// A bucket of this name, empty at first: see [`Bucket::new`] for rate and burst. Requests for other
    /// names are refused, and told to come back in 100 ms, for the bucket may be set by then.
    pub fn set_bucket(&mut self, name: impl AsRef<[u8]>, rate: f64, burst: u32, now: Instant) {
        let mut bucket = Bucket::new(rate, burst, now);
        // Taking all of a full bucket always succeeds.
        let _ = bucket.try_take(now, bucket.level(now));
        self.buckets.insert(name.as_ref().to_vec(), bucket);
    }

    /// The reply to a request. Whatever is not a request is told never to come back.
    pub fn handle_request(&mut self, now: Instant, request: &Message) -> Message {
        match self.answer(now, request) {
            Some(reply) => reply,
            None => {
                self.malformed += 1;
                refusal(Duration::MAX)
            }
        }
    }

    /// The reply to a request that there is no room for: to come back in 100 ms.
    pub(super) fn busy() -> Message {
        refusal(BUSY)
    }

    /// Requests that were none.
    #[must_use]
    pub fn malformed(&self) -> u64 {
        self.malformed
    }

    /// Requests for buckets that were not set.
    #[must_use]
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    fn answer(&mut self, now: Instant, request: &Message) -> Option<Message> {
        let [verb, name, n] = request.frames() else {
            return None;
        };
        let n = number(n)?;
        let verb = verb.as_slice();
        if !matches!(verb, b"TAKE" | b"GIVE") {
            return None;
        }
        let Some(bucket) = self.buckets.get_mut(name.as_slice()) else {
            self.unknown += 1;
            return Some(refusal(UNSET));
        };
        match verb {
            b"TAKE" => {
                // Whoever asks for one and there is none is told when there will be; none at all are always there.
                let granted = bucket.level(now).max(1).min(n);
                Some(match bucket.try_take(now, granted) {
                    Ok(()) => Message::multipart([
                        Frame::from("OK"),
                        Frame::from(granted.to_be_bytes()),
                        Frame::from(millis(self.lease).to_be_bytes()),
                    ]),
                    Err(RetryAfter(wait)) => refusal(wait),
                })
            }
            _ => {
                bucket.give(n);
                Some(Message::from("OK"))
            }
        }
    }
}

/// What a client does when the server does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Unreachable {
    /// It grants everything: rather too much than nothing.
    Open,
    /// It grants nothing but what it has: rather nothing than too much.
    #[default]
    Closed,
}

/// Options of a client of a token server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenConfig {
    /// How many tokens are fetched at once; 0 counts as 1. Default: 10.
    pub lease: u32,
    /// What happens when the server does not answer.
    pub on_unreachable: Unreachable,
    /// When to ask again after that. Default: 100 ms.
    pub retry: Duration,
    /// How long the server may take to answer before it counts as unreachable. Default: 1 s.
    pub timeout: Duration,
}

impl Default for TokenConfig {
    fn default() -> Self {
        TokenConfig {
            lease: 10,
            on_unreachable: Unreachable::Closed,
            retry: Duration::from_millis(100),
            timeout: Duration::from_secs(1),
        }
    }
}

/// A message that is no reply of a token server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("neither OK with two numbers nor NO with one, or nothing was asked")]
pub struct TokenError;

/// A client of one bucket.
#[derive(Debug)]
pub struct TokenPurse {
    bucket: Frame,
    config: TokenConfig,
    /// Those that end first are first, and taken first. None is empty.
    batches: VecDeque<Batch>,
    /// The most that was wanted in vain since the last reply.
    wanted: u32,
    state: Asking,
    unreachable: bool,
}

/// Tokens that were granted together.
#[derive(Debug)]
struct Batch {
    tokens: u32,
    /// When they are void.
    until: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    No,
    /// How many, in the request that is on its way.
    Yes(u32),
    /// Not before then.
    NotBefore(Instant),
}

impl TokenPurse {
    /// A client without tokens.
    #[must_use]
    pub fn new(bucket: impl Into<Frame>, config: TokenConfig) -> Self {
        TokenPurse {
            bucket: bucket.into(),
            config,
            batches: VecDeque::new(),
            wanted: 0,
            state: Asking::No,
            unreachable: false,
        }
    }

    /// Takes tokens, all or none.
    ///
    /// # Errors
    /// If there are not so many here. More are asked for by [`poll_request`](Self::poll_request), at most
    /// [`TokenConfig::lease`].
    pub fn try_take(&mut self, now: Instant, n: u32) -> Result<(), RetryAfter> {
        self.expire(now);
        if n <= self.tokens() {
            self.spend(n);
            return Ok(());
        }
        self.wanted = self.wanted.max(n);
        if self.unreachable && self.config.on_unreachable == Unreachable::Open {
            return Ok(());
        }
        let wait = match self.state {
            Asking::NotBefore(at) => at.saturating_duration_since(now),
            _ => Duration::ZERO,
        };
        // A reply takes at least a moment.
        Err(RetryAfter(wait.max(Duration::from_millis(1))))
    }

    /// A request to be sent, if one is due: half of a fetch is left or less, or fewer than somebody wanted since the last
    /// reply.
    pub fn poll_request(&mut self, now: Instant) -> Option<Message> {
        self.expire(now);
        let lease = self.config.lease.max(1);
        let due = match self.state {
            Asking::No => true,
            Asking::Yes(_) => false,
            Asking::NotBefore(at) => now >= at,
        };
        let tokens = self.tokens();
        // More than a fetch never are here, whoever wants them.
        let few = tokens <= lease / 2 || tokens < self.wanted.min(lease);
        if !due || !few {
            return None;
        }
        let n = lease - tokens.min(lease - 1);
        self.state = Asking::Yes(n);
        Some(Message::multipart([
            Frame::from("TAKE"),
            self.bucket.clone(),
            Frame::from(n.to_be_bytes()),
        ]))
    }

    /// The reply to it came. A refusal is obeyed for 10 s at most, since the bucket may be another by then.
    ///
    /// # Errors
    /// If it is none. Then the server counts as unreachable.
    pub fn handle_reply(&mut self, now: Instant, reply: &Message) -> Result<(), TokenError> {
        let Asking::Yes(asked) = self.state else {
            return Err(TokenError);
        };
        self.wanted = 0;
        let frames = reply.frames();
        match (frames[0].as_slice(), &frames[1..]) {
            (b"OK", [granted, lease]) => {
                if let (Some(granted), Some(lease)) = (number(granted), number(lease)) {
                    // A server that grants more than was asked for does not make us richer.
                    let until = now + Duration::from_millis(u64::from(lease));
                    self.add(granted.min(asked), until);
                    self.state = Asking::No;
                    self.unreachable = false;
                    return Ok(());
                }
            }
            (b"NO", [retry]) => {
                if let Some(retry) = number(retry) {
                    let retry = Duration::from_millis(u64::from(retry)).min(LONGEST_REFUSAL);
                    self.state = Asking::NotBefore(now + retry);
                    self.unreachable = false;
                    return Ok(());
                }
            }
            _ => {}
        }
        self.handle_unreachable(now);
        Err(TokenError)
    }

    /// No reply came.
    pub fn handle_unreachable(&mut self, now: Instant) {
        self.unreachable = true;
        self.wanted = 0;
        let retry = self
            .config
            .retry
            .clamp(Duration::from_millis(1), crate::common::LONGEST);
        self.state = Asking::NotBefore(now + retry);
    }

    /// Tokens that are not needed any more, as a request that gives them back.
    pub fn give_back(&mut self, now: Instant) -> Option<Message> {
        self.expire(now);
        let n = self.tokens();
        self.batches.clear();
        (n > 0).then(|| {
            Message::multipart([
                Frame::from("GIVE"),
                self.bucket.clone(),
                Frame::from(n.to_be_bytes()),
            ])
        })
    }

    /// Tokens here.
    #[must_use]
    pub fn tokens(&self) -> u32 {
        let tokens = self.batches.iter().map(|batch| batch.tokens);
        tokens.fold(0, u32::saturating_add)
    }

    /// When there may be more to ask for than now, if no reply is awaited.
    pub(super) fn asks_at(&self, now: Instant) -> Option<Instant> {
        match self.state {
            Asking::Yes(_) => None,
            Asking::NotBefore(at) if at > now => Some(at),
            // There are enough for whom a fetch is enough.
            _ => self.batches.front().map(|first| first.until),
        }
    }

    fn add(&mut self, tokens: u32, until: Instant) {
        if tokens == 0 {
            return;
        }
        // At the end, as long as the server does not change its lease.
        let place = self.batches.partition_point(|batch| batch.until <= until);
        self.batches.insert(place, Batch { tokens, until });
        if self.batches.len() > BATCHES {
            // Rather too early than too late.
            if let Some(last) = self.batches.pop_back() {
                if let Some(before) = self.batches.back_mut() {
                    before.tokens = before.tokens.saturating_add(last.tokens);
                }
            }
        }
    }

    /// There are so many.
    fn spend(&mut self, mut n: u32) {
        while let Some(first) = self.batches.front_mut() {
            if first.tokens > n {
                first.tokens -= n;
                return;
            }
            n -= first.tokens;
            self.batches.pop_front();
        }
    }

    fn expire(&mut self, now: Instant) {
        while self.batches.front().is_some_and(|first| now >= first.until) {
            self.batches.pop_front();
        }
    }
}

/// Times at which tokens end that are told apart; with more of them, those of the last two end together, at the earlier time.
/// A server that has any tokens to speak of is asked for half a fetch at once, which makes two or three.
const BATCHES: usize = 32;

/// When to come back for a bucket that is not set: whoever starts a server sets its buckets about then.
const UNSET: Duration = Duration::from_millis(100);

/// When whoever found the queue full is to come back: by then it was served many times over.
const BUSY: Duration = Duration::from_millis(100);

/// The longest refusal a client obeys: asking once in so long is no load, and a bucket that was set anew, or a server
/// of another rate, is found in that time.
const LONGEST_REFUSAL: Duration = Duration::from_secs(10);

fn number(frame: &Frame) -> Option<u32> {
    Some(u32::from_be_bytes(frame.as_slice().try_into().ok()?))
}

/// Rounded up, lest whoever comes back is too early.
fn millis(span: Duration) -> u32 {
    let millis = span.as_nanos().div_ceil(1_000_000);
    u32::try_from(millis).unwrap_or(u32::MAX)
}

fn refusal(wait: Duration) -> Message {
    Message::multipart([Frame::from("NO"), Frame::from(millis(wait).to_be_bytes())])
}

/// Fuzz body: whatever comes, a server answers, and a client has no more than it asked for.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz_tokens(data: &[u8], now: Instant) {
    let message = crate::common::frames_of(data);
    let mut server = TokenMint::new(Duration::from_secs(1));
    server.set_bucket("b", 10.0, 5, now);
    let reply = server.handle_request(now + Duration::from_secs(9), &message);
    assert!(reply.frame_count() <= 3);
    let mut client = TokenPurse::new("b", TokenConfig::default());
    let request = client.poll_request(now);
    assert!(request.is_some());
    let _ = client.handle_reply(now, &message);
    assert!(client.tokens() <= TokenConfig::default().lease);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::common::fuzz::{cases, mutated};
    use crate::common::Random;

    fn ask(client: &mut TokenPurse, server: &mut TokenMint, now: Instant) {
        if let Some(request) = client.poll_request(now) {
            let reply = server.handle_request(now, &request);
            client.handle_reply(now, &reply).unwrap();
        }
    }

    /// Several clients together stay within the rate, also over a restart of the server (FLW-03).
    #[test]
    fn clients_share_one_bucket() {
        let start = Instant::now();
        let new = |now| {
            let mut server = TokenMint::new(Duration::from_secs(1));
            server.set_bucket("b", 100.0, 20, now);
            server
        };
        let mut server = new(start);
        let mut clients: Vec<_> = (0..5)
            .map(|_| TokenPurse::new("b", TokenConfig::default()))
            .collect();
        let mut random = Random::new(1);
        let mut taken = 0;
        let mut now = start;
        while now < start + Duration::from_secs(20) {
            now += random.up_to(Duration::from_millis(3));
            if random.below(1000) == 0 {
                server = new(now);
            }
            let client = &mut clients[random.below(5) as usize];
            ask(client, &mut server, now);
            taken += u32::from(client.try_take(now, 1).is_ok());
        }
        assert!(taken <= 2000 + 20, "{taken}");
        assert!(
            taken >= 1700,
            "restarts lose what was in the bucket, and no more: {taken}"
        );
    }

    #[test]
    fn leases_end_and_tokens_go_back() {
        let now = Instant::now();
        let mut server = TokenMint::new(Duration::from_secs(1));
        server.set_bucket("b", 10.0, 10, now);
        let now = now + Duration::from_secs(1);
        let mut client = TokenPurse::new("b", TokenConfig::default());
        ask(&mut client, &mut server, now);
        assert_eq!(client.tokens(), 10);
        client.try_take(now, 4).unwrap();
        let give = client.give_back(now).unwrap();
        assert_eq!(server.handle_request(now, &give), Message::from("OK"));
        ask(&mut client, &mut server, now);
        assert_eq!(client.tokens(), 6);
        let late = now + Duration::from_secs(1);
        assert!(client.try_take(late, 1).is_err());
        assert_eq!(client.give_back(late), None);
    }

    /// Tokens that came later do not make those before them last longer, nor the other way round.
    #[test]
    fn each_token_ends_in_its_time() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let config = TokenConfig::default();
        let mut client = TokenPurse::new("b", config);
        let grant = |client: &mut TokenPurse, now, tokens: u32, millis: u32| {
            assert!(client.poll_request(now).is_some());
            let granted = [tokens, millis].map(|number| Frame::from(number.to_be_bytes()));
            let reply = std::iter::once(Frame::from("OK")).chain(granted);
            client
                .handle_reply(now, &Message::multipart(reply))
                .unwrap();
        };
        grant(&mut client, start, 5, 1000);
        let later = start + second / 2;
        grant(&mut client, later, 4, 1000);
        assert_eq!(client.tokens(), 9);
        // What ends first goes first.
        client.try_take(later, 2).unwrap();
        assert!(client.try_take(start + second, 5).is_err());
        assert_eq!(client.tokens(), 4);
        // A server with another lease now.
        grant(&mut client, start + second, 3, 100);
        assert_eq!(client.tokens(), 7);
        assert!(client.try_take(start + second + second / 10, 5).is_err());
        assert_eq!(client.tokens(), 4);
        assert!(client.try_take(later + second, 1).is_err());
        assert_eq!(
            (client.tokens(), client.give_back(later + second)),
            (0, None)
        );

        // However many grants there are, they take bounded memory, and nothing lasts longer.
        let config = TokenConfig {
            lease: 1000,
            ..config
        };
        let mut client = TokenPurse::new("b", config);
        for millis in 0..100 {
            grant(&mut client, start + Duration::from_millis(millis), 1, 1000);
        }
        assert_eq!((client.tokens(), client.batches.len()), (100, BATCHES));
        assert!(client
            .try_take(start + second + Duration::from_millis(50), 100)
            .is_err());
        assert!(client.tokens() <= 50);
    }

    /// More than half of a fetch, and all of it: they are fetched, and not only asked about.
    #[test]
    fn whoever_wants_more_than_is_left_gets_it() {
        for wanted in 6..=10 {
            let start = Instant::now();
            let mut server = TokenMint::new(Duration::from_secs(60));
            server.set_bucket("b", 1.0, 100, start);
            let now = start + Duration::from_secs(100);
            let mut client = TokenPurse::new("b", TokenConfig::default());
            ask(&mut client, &mut server, now);
            client.try_take(now, 4).unwrap();
            if wanted == 6 {
                assert!(client.poll_request(now).is_none(), "nobody wants more");
                client.try_take(now, wanted).unwrap();
                continue;
            }
            assert!(client.try_take(now, wanted).is_err());
            ask(&mut client, &mut server, now);
            assert_eq!(client.tokens(), 10);
            client.try_take(now, wanted).unwrap();
        }
        // More than a fetch never are here, and are not asked for again and again.
        let now = Instant::now();
        let mut server = TokenMint::new(Duration::from_secs(60));
        server.set_bucket("b", 1.0, 100, now);
        let now = now + Duration::from_secs(100);
        let mut client = TokenPurse::new("b", TokenConfig::default());
        ask(&mut client, &mut server, now);
        for _ in 0..2 {
            assert!(client.try_take(now, 11).is_err());
            assert!(client.poll_request(now).is_none());
            let ends = now + Duration::from_secs(60);
            assert_eq!(client.asks_at(now), Some(ends), "and not before that");
            // Nor after a refusal that is over.
            client.state = Asking::NotBefore(now);
        }
    }

    /// Also for nothing, which costs nothing.
    #[test]
    fn what_is_granted_is_what_is_taken() {
        let start = Instant::now();
        let mut server = TokenMint::new(Duration::from_secs(1));
        server.set_bucket("b", 1.0, 3, start);
        let now = start + Duration::from_secs(9);
        let mut take = |n: u32| {
            let request = Message::multipart([&b"TAKE"[..], b"b", &n.to_be_bytes()]);
            let reply = server.handle_request(now, &request);
            let granted = number(&reply.frames()[1]).unwrap();
            (reply.frames()[0].to_vec(), granted)
        };
        for _ in 0..5 {
            assert_eq!(take(0), (b"OK".to_vec(), 0));
        }
        assert_eq!(take(2), (b"OK".to_vec(), 2));
        assert_eq!(take(2), (b"OK".to_vec(), 1), "as many as there are");
        assert_eq!(take(2), (b"NO".to_vec(), 1000));
    }

    #[test]
    fn an_unreachable_server() {
        let now = Instant::now();
        for (on_unreachable, open) in [(Unreachable::Open, true), (Unreachable::Closed, false)] {
            let config = TokenConfig {
                on_unreachable,
                ..TokenConfig::default()
            };
            let mut client = TokenPurse::new("b", config);
            assert!(client.poll_request(now).is_some());
            assert!(client.poll_request(now).is_none(), "one request at a time");
            client.handle_unreachable(now);
            assert_eq!(client.try_take(now, 1).is_ok(), open);
            assert!(client.poll_request(now).is_none());
            assert!(client.poll_request(now + config.retry).is_some());
            let refused = refusal(Duration::from_millis(7));
            client.handle_reply(now, &refused).unwrap();
            assert_eq!(
                client.try_take(now, 1),
                Err(RetryAfter(Duration::from_millis(7)))
            );
        }
    }

    /// A client that comes before its bucket is set is not shut out.
    #[test]
    fn a_bucket_that_is_not_set_yet() {
        let now = Instant::now();
        let mut server = TokenMint::new(Duration::from_secs(1));
        let mut client = TokenPurse::new("b", TokenConfig::default());
        ask(&mut client, &mut server, now);
        assert_eq!((server.unknown(), server.malformed()), (1, 0));
        assert_eq!(client.try_take(now, 1), Err(RetryAfter(UNSET)));
        server.set_bucket("b", 100.0, 10, now);
        ask(&mut client, &mut server, now + UNSET);
        assert_eq!(client.try_take(now + UNSET, 1), Ok(()));
    }

    /// No server can shut a client out for 49 days.
    #[test]
    fn a_refusal_is_obeyed_for_so_long() {
        let now = Instant::now();
        let mut client = TokenPurse::new("b", TokenConfig::default());
        assert!(client.poll_request(now).is_some());
        client.handle_reply(now, &refusal(Duration::MAX)).unwrap();
        assert!(client.poll_request(now).is_none());
        assert!(client.poll_request(now + LONGEST_REFUSAL).is_some());
    }

    #[test]
    fn random_messages() {
        let now = Instant::now();
        let samples: [&[u8]; 4] = [
            b"\x04TAKE\x01b\x04\0\0\0\x05",
            b"\x04GIVE\x01b\x04\xff\xff\xff\xff",
            b"\x02OK\x04\0\0\0\x05\x04\0\0\x03\xe8",
            b"\x02NO\x04\0\0\0\x05",
        ];
        let mut random = Random::new(8);
        for _ in 0..cases() {
            fuzz_tokens(
                &mutated(samples[random.below(4) as usize], &mut random),
                now,
            );
        }
    }
}
