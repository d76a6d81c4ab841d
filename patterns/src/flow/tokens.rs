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

use std::collections::BTreeMap;
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
                let granted = n.min(bucket.level(now));
                let wanted = granted.max(1);
                Some(match bucket.try_take(now, wanted) {
                    Ok(()) => Message::multipart([
                        Frame::from("OK"),
                        Frame::from(wanted.min(n).to_be_bytes()),
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
    tokens: u32,
    /// When they are void.
    until: Option<Instant>,
    state: Asking,
    unreachable: bool,
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
            tokens: 0,
            until: None,
            state: Asking::No,
            unreachable: false,
        }
    }

    /// Takes tokens, all or none.
    ///
    /// # Errors
    /// If there are not so many here. More are asked for by [`poll_request`](Self::poll_request).
    pub fn try_take(&mut self, now: Instant, n: u32) -> Result<(), RetryAfter> {
        self.expire(now);
        if n <= self.tokens {
            self.tokens -= n;
            return Ok(());
        }
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

    /// A request to be sent, if one is due: less than half of a fetch is left.
    pub fn poll_request(&mut self, now: Instant) -> Option<Message> {
        self.expire(now);
        let lease = self.config.lease.max(1);
        let due = match self.state {
            Asking::No => true,
            Asking::Yes(_) => false,
            Asking::NotBefore(at) => now >= at,
        };
        if !due || self.tokens > lease / 2 {
            return None;
        }
        let n = lease - self.tokens.min(lease - 1);
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
        let frames = reply.frames();
        match (frames[0].as_slice(), &frames[1..]) {
            (b"OK", [granted, lease]) => {
                if let (Some(granted), Some(lease)) = (number(granted), number(lease)) {
                    // A server that grants more than was asked for does not make us richer.
                    self.tokens = self.tokens.saturating_add(granted.min(asked));
                    self.until = Some(now + Duration::from_millis(u64::from(lease)));
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
        let retry = self
            .config
            .retry
            .clamp(Duration::from_millis(1), crate::common::LONGEST);
        self.state = Asking::NotBefore(now + retry);
    }

    /// Tokens that are not needed any more, as a request that gives them back.
    pub fn give_back(&mut self, now: Instant) -> Option<Message> {
        self.expire(now);
        let n = std::mem::take(&mut self.tokens);
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
        self.tokens
    }

    fn expire(&mut self, now: Instant) {
        if self.until.is_some_and(|until| now >= until) {
            self.tokens = 0;
            self.until = None;
        }
    }
}

/// When to come back for a bucket that is not set: whoever starts a server sets its buckets about then.
const UNSET: Duration = Duration::from_millis(100);

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
