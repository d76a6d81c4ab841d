//! The command line, as data. What it means is in the modules that take it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Sockets of the ZeroMQ family from the shell: send, receive, forward, watch, measure, take apart.
///
/// Exit codes: 0 done, 1 failure, 2 usage, 3 timeout, 4 messages unsent when the linger time was over,
/// 130 and 143 after SIGINT and SIGTERM (which close sockets in order; a second one ends at once).
#[derive(Debug, Parser)]
#[command(name = "sinew", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// Write for scripts: messages, events, reports and errors as one JSON value per line.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send each message to everyone who subscribed to its beginning.
    Pub(SocketArgs),
    /// Receive messages that begin with --subscribe (default: all).
    Sub(SocketArgs),
    /// Send messages to peers in turn.
    Push(SocketArgs),
    /// Receive messages from all peers.
    Pull(SocketArgs),
    /// Send each message as a request, and print its reply.
    Req(SocketArgs),
    /// Print requests, and reply with --data, --file, lines of standard input, or --echo.
    Rep(SocketArgs),
    /// Send to peers in turn, and print what comes from all of them.
    Dealer(SocketArgs),
    /// The first frame is the routing id of the peer, both ways.
    Router(SocketArgs),
    /// Send to one peer, and print what it sends.
    Pair(SocketArgs),
    /// As pub; prints subscriptions (octet 1, or 0 for the end of one, and the topic).
    Xpub(SocketArgs),
    /// As sub, without a filter of its own; what is sent goes to publishers.
    Xsub(SocketArgs),
    /// As dealer, for single frames, to servers.
    Client(SocketArgs),
    /// The first frame is the number of the client, both ways; one alone goes to the only client.
    Server(SocketArgs),
    /// The first frame is the number of the peer, both ways; one alone goes to the only peer. What the peer at each
    /// --connect is called is told on standard error.
    Peer(SocketArgs),
    /// As pair, for single frames.
    Channel(SocketArgs),
    /// As push, for single frames.
    Scatter(SocketArgs),
    /// As pull, for single frames.
    Gather(SocketArgs),
    /// Send to everyone in --group (or in the group that the first frame names).
    Radio(SocketArgs),
    /// Receive what is sent to the groups given with --group; prints group and body.
    Dish(SocketArgs),
    /// Octets of plain connections; the first frame is the id of the connection, both ways.
    Stream(SocketArgs),
    /// Datagrams; the first frame is the address, both ways.
    Dgram(SocketArgs),
    /// Forward between two endpoints.
    Proxy(ProxyArgs),
    /// Give requests to the workers of services: a Majordomo broker (7/MDP, 18/MDP, 8/MMI).
    MdpBroker(BrokerArgs),
    /// Print what happens to the connections of a socket, and what its peers subscribe to.
    Monitor(MonitorArgs),
    /// Measure throughput or latency.
    Bench(BenchArgs),
    /// Decode the octets of a captured connection.
    Inspect(InspectArgs),
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Where a socket is.
#[derive(Debug, Args, Default)]
pub(crate) struct Places {
    /// Bind to this endpoint; repeatable.
    #[arg(short, long, value_name = "URL")]
    pub(crate) bind: Vec<String>,
    /// Connect to this endpoint; repeatable.
    #[arg(short, long, value_name = "URL")]
    pub(crate) connect: Vec<String>,
}

/// Options that every socket has.
#[derive(Debug, Args, Default)]
pub(crate) struct Tuning {
    /// What peers call this socket.
    #[arg(long, value_name = "TEXT")]
    pub(crate) routing_id: Option<String>,
    /// Messages queued per peer for sending. Default: 1000.
    #[arg(long, value_name = "N")]
    pub(crate) send_hwm: Option<u64>,
    /// Messages queued per peer and received. Default: 1000.
    #[arg(long, value_name = "N")]
    pub(crate) recv_hwm: Option<u64>,
    /// How long closing waits until everything is sent. Default: 30s, 0 for sub, xsub and dish.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) linger: Option<Duration>,
    /// Accept peers that speak ZMTP 2.0 and 1.0.
    #[arg(long)]
    pub(crate) legacy_peers: bool,
}

/// A socket with input and output.
#[derive(Debug, Args)]
pub(crate) struct SocketArgs {
    #[command(flatten)]
    pub(crate) places: Places,
    #[command(flatten)]
    pub(crate) tuning: Tuning,
    /// A message to send, in --format; repeatable. Default: lines of standard input.
    #[arg(short, long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) data: Vec<String>,
    /// A file with messages to send, in --format; repeatable; `-` is standard input.
    #[arg(short, long, value_name = "PATH")]
    pub(crate) file: Vec<PathBuf>,
    /// rep, and kinds that name their peers: send every message back to who sent it.
    #[arg(long, conflicts_with_all = ["data", "file"])]
    pub(crate) echo: bool,
    /// End after so many messages received (sent, for kinds that only send). What is sent is repeated as
    /// often as that takes, unless it is standard input.
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Wait so long between messages sent.
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    pub(crate) interval: Option<Duration>,
    /// Wait so long before the first message is sent.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) delay: Option<Duration>,
    /// The longest wait for a message, for room to send one, for --wait-peers, and at the end for what is
    /// unsent (unless --linger is given). Kinds that send and receive wait for input as long as there may be
    /// more. Default: for ever.
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
    /// Before anything is sent, wait for so many peers (subscribers, for pub and xpub).
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) wait_peers: usize,
    /// sub, xsub: a topic; repeatable.
    #[arg(short, long, value_name = "TOPIC")]
    pub(crate) subscribe: Vec<String>,
    /// radio: the group to send to. dish: a group to join; repeatable, and at least one is needed.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) group: Vec<String>,
    /// How messages are written, in input and output.
    #[arg(short = 'F', long, value_enum)]
    pub(crate) format: Option<Format>,
    /// How messages are written in the input only.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) input_format: Option<Format>,
    /// How messages are written in the output only.
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) output_format: Option<Format>,
    /// Frames in one line of input, for text, quoted and hex: split at the separator.
    #[arg(short, long)]
    pub(crate) multipart: bool,
    /// Between frames in text, quoted and hex. `\t` and the like are understood.
    #[arg(long, value_name = "TEXT", default_value = "\\t")]
    pub(crate) separator: String,
    /// Print the socket's events to standard error.
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// A line per message, octets as they are.
    Text,
    /// A line per message; what is not printable UTF-8 as \n, \t, \\ or \xNN.
    Quoted,
    /// A line of hexadecimal digits per message.
    Hex,
    /// A line per message: an array of frames, each a string, or {"hex": "…"} if it is no UTF-8. Input may be a
    /// string alone.
    Json,
    /// MessagePack, one value after the other: bin (or str) for one frame, an array of them for several.
    Msgpack,
    /// The whole input is one message; octets of output follow each other with nothing between.
    Raw,
}

#[derive(Debug, Args)]
pub(crate) struct ProxyArgs {
    /// The two sockets, front and back.
    #[arg(value_enum)]
    pub(crate) pair: ProxyPair,
    /// Bind the front; repeatable.
    #[arg(long, value_name = "URL")]
    pub(crate) front_bind: Vec<String>,
    /// Connect the front; repeatable.
    #[arg(long, value_name = "URL")]
    pub(crate) front_connect: Vec<String>,
    /// Bind the back; repeatable.
    #[arg(long, value_name = "URL")]
    pub(crate) back_bind: Vec<String>,
    /// Connect the back; repeatable.
    #[arg(long, value_name = "URL")]
    pub(crate) back_connect: Vec<String>,
    /// sub-pub: a topic that passes; repeatable. Default: all.
    #[arg(short, long, value_name = "TOPIC")]
    pub(crate) subscribe: Vec<String>,
    /// dish-radio: a group that passes; repeatable. At least one is needed.
    #[arg(short, long, value_name = "NAME")]
    pub(crate) group: Vec<String>,
    /// Publish a copy of everything there (PUB): subscribers that are slow miss some.
    #[arg(long, value_name = "URL")]
    pub(crate) capture_bind: Option<String>,
    /// Push a copy of everything there (PUSH): nothing is forwarded while it has no room.
    #[arg(long, value_name = "URL", conflicts_with = "capture_bind")]
    pub(crate) capture_connect: Option<String>,
    /// Take PAUSE, RESUME, TERMINATE and STATISTICS there (REP).
    #[arg(long, value_name = "URL")]
    pub(crate) control_bind: Option<String>,
    /// xsub-xpub, sub-pub: have publishers wait for slow subscribers.
    #[arg(long)]
    pub(crate) no_drop: bool,
    /// router-dealer, stream-dealer: have everybody wait for a client that does not read, instead of dropping what is
    /// for it. One such client stops all replies.
    #[arg(long)]
    pub(crate) wait_for_full_peers: bool,
    /// Print statistics to standard error this often, and at the end.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) statistics: Option<Duration>,
    #[command(flatten)]
    pub(crate) tuning: Tuning,
}

/// Which sockets a proxy is between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProxyPair {
    /// Requests to many workers.
    RouterDealer,
    /// Publish-subscribe, with subscriptions.
    XsubXpub,
    /// A pipeline.
    PullPush,
    /// Publish-subscribe, filtered here.
    SubPub,
    /// Both ways, in turn.
    DealerDealer,
    /// One peer on either side.
    PairPair,
    /// A pipeline of single frames.
    GatherScatter,
    /// One peer on either side, single frames.
    ChannelChannel,
    /// Groups.
    DishRadio,
    /// Plain connections in front of ZeroMQ sockets.
    StreamDealer,
}

#[derive(Debug, Args)]
pub(crate) struct BrokerArgs {
    /// Bind to this endpoint, for clients and workers; repeatable.
    #[arg(short, long, value_name = "URL", required = true)]
    pub(crate) bind: Vec<String>,
    /// Write the endpoints it is bound to, with real ports, into this file, a line each, as soon as it serves.
    #[arg(long, value_name = "PATH")]
    pub(crate) ready_file: Option<PathBuf>,
    /// Send heartbeats to workers, and expect theirs, this often.
    #[arg(long, value_name = "TIME", value_parser = some_time, default_value = "2500ms")]
    pub(crate) heartbeat: Duration,
    /// So many heartbeats of a worker may be missing.
    #[arg(long, value_parser = one_or_more::<u32>, value_name = "N", default_value_t = 3)]
    pub(crate) liveness: u32,
    /// Requests that wait for the workers of one service.
    #[arg(long, value_parser = one_or_more::<usize>, value_name = "N", default_value_t = 1000)]
    pub(crate) queue: usize,
    /// Octets of them.
    #[arg(long, value_parser = one_or_more::<usize>, value_name = "OCTETS", default_value_t = 64 << 20)]
    pub(crate) queue_bytes: usize,
    /// Requests of one client among them.
    #[arg(long, value_parser = one_or_more::<usize>, value_name = "N", default_value_t = 250)]
    pub(crate) queue_per_client: usize,
    /// What becomes of a request that does not fit.
    #[arg(long, value_enum, default_value_t = WhenFull::Reject)]
    pub(crate) on_full: WhenFull,
    /// How long a request waits for a worker at most.
    #[arg(long, value_name = "TIME", value_parser = some_time, default_value = "60s")]
    pub(crate) ttl: Duration,
    /// The same while its service has no worker at all. With 0 it is declined at once.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10s")]
    pub(crate) unregistered_ttl: Duration,
    /// To how many workers a request is given, one after the other, if they are lost with it.
    #[arg(long, value_parser = one_or_more::<u32>, value_name = "N", default_value_t = 3)]
    pub(crate) max_deliveries: u32,
    /// Services at most.
    #[arg(long, value_parser = one_or_more::<usize>, value_name = "N", default_value_t = 1024)]
    pub(crate) max_services: usize,
    /// Workers at most; each request that one takes at once counts.
    #[arg(long, value_parser = one_or_more::<usize>, value_name = "N", default_value_t = 10_000)]
    pub(crate) max_workers: usize,
    /// Requests that one worker is given at once, whatever it asks for.
    #[arg(long, value_parser = one_or_more::<usize>, value_name = "N", default_value_t = 256)]
    pub(crate) max_slots: usize,
    /// Clients that wait for something, at most.
    #[arg(long, value_parser = one_or_more::<usize>, value_name = "N", default_value_t = 10_000)]
    pub(crate) max_clients: usize,
    /// Octets of all requests together.
    #[arg(long, value_parser = one_or_more::<usize>, value_name = "OCTETS", default_value_t = 256 << 20)]
    pub(crate) max_bytes: usize,
    /// Keep no replies: requests with an idempotence key are declined.
    #[arg(long, conflicts_with_all = ["cache_entries", "cache_bytes", "cache_age"])]
    pub(crate) no_cache: bool,
    /// Replies kept for requests with an idempotence key.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) cache_entries: usize,
    /// Octets of them.
    #[arg(long, value_name = "OCTETS", default_value_t = 16 << 20)]
    pub(crate) cache_bytes: usize,
    /// How long they are kept.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10m")]
    pub(crate) cache_age: Duration,
    /// Print counters and services to standard error this often. They are printed at SIGUSR1 and at the end, too.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) statistics: Option<Duration>,
    /// After the first signal, end within this time. Until a second before, or a quarter of it, what workers have is waited
    /// for.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    pub(crate) drain: Duration,
}

/// What becomes of a request for which a queue has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WhenFull {
    /// It is declined; who speaks the extension header is told when to come again.
    Reject,
    /// The oldest of the same client, or else of any, is declined for it.
    DropOldest,
    /// It is dropped without a word.
    DropNewest,
}

#[derive(Debug, Args)]
pub(crate) struct MonitorArgs {
    /// The type of the socket: `pull`, `dealer` …
    #[arg(value_enum)]
    pub(crate) kind: Kind,
    #[command(flatten)]
    pub(crate) places: Places,
    #[command(flatten)]
    pub(crate) tuning: Tuning,
    /// End after so many events.
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// The longest wait for an event. Default: for ever.
    #[arg(short, long, value_name = "TIME", value_parser = duration)]
    pub(crate) timeout: Option<Duration>,
}

/// The types of sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "named as in the field")]
pub(crate) enum Kind {
    Pub,
    Sub,
    Push,
    Pull,
    Req,
    Rep,
    Dealer,
    Router,
    Pair,
    Xpub,
    Xsub,
    Client,
    Server,
    Peer,
    Channel,
    Scatter,
    Gather,
    Radio,
    Dish,
    Stream,
    Dgram,
}

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// What to measure.
    #[arg(value_enum)]
    pub(crate) work: BenchWork,
    #[command(flatten)]
    pub(crate) places: Places,
    /// Which side this is. Default: both, in this process. The other side of a `send` may be any PULL, of a
    /// `receive` any PUSH, of an `ask` any REP that echoes, of an `answer` any REQ.
    #[arg(long, value_enum, default_value_t = BenchRole::Both)]
    pub(crate) role: BenchRole,
    /// Octets per message.
    #[arg(short, long, value_name = "OCTETS", default_value_t = 64)]
    pub(crate) size: usize,
    /// Messages, or round trips. Default: as many as fit into --duration; a sender that pauses for a second has
    /// ended then. Up to 100 round trips more come first, to warm up, and are not counted: who answers takes part in
    /// them.
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// How long to measure.
    #[arg(short, long, value_name = "TIME", value_parser = duration, default_value = "3s")]
    pub(crate) duration: Duration,
    /// The longest wait for a peer or a message.
    #[arg(short, long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    pub(crate) timeout: Duration,
    /// Print the whole histogram of latencies.
    #[arg(long)]
    pub(crate) histogram: bool,
    #[command(flatten)]
    pub(crate) tuning: Tuning,
}

/// What `bench` measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchWork {
    /// PUSH to PULL, one way.
    Throughput,
    /// REQ and REP, round trips.
    Latency,
}

/// The side of a measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchRole {
    /// Both, in this process.
    Both,
    /// Sends (throughput).
    Send,
    /// Receives and measures (throughput).
    Receive,
    /// Asks and measures (latency).
    Ask,
    /// Answers (latency).
    Answer,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// What one side sent; `-` is standard input, the default.
    pub(crate) file: Option<PathBuf>,
    /// What the other side sent.
    pub(crate) other: Option<PathBuf>,
    /// The input is hexadecimal digits. Lines that begin with `>` are of one side, with `<` of the other.
    #[arg(long)]
    pub(crate) hex: bool,
    /// Octets of a body that are shown.
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub(crate) preview: usize,
}

/// `500ms`, `2s`, `1m`, `10us`, or seconds without a unit, also `0.5`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| c.is_ascii_alphabetic() || c == 'µ');
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let scale = match unit.trim() {
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => {
            return Err(format!(
                "`{unit}` is no unit of time, expected us, ms, s, m or h"
            ))
        }
    };
    let number = number.trim();
    let value: f64 = number
        .parse()
        .map_err(|_| format!("`{number}` is no number, expected a time such as 500ms or 2s"))?;
    Duration::try_from_secs_f64(value * scale)
        .map_err(|_| format!("`{text}` is out of range, expected a time such as 500ms or 2s"))
}

/// A time without which nothing would be done.
fn some_time(text: &str) -> Result<Duration, String> {
    let time = duration(text)?;
    match time.is_zero() {
        true => Err(format!("`{text}` is no time, expected more than 0")),
        false => Ok(time),
    }
}

/// A number of what nothing works without.
fn one_or_more<N: std::str::FromStr + Default + PartialEq>(text: &str) -> Result<N, String> {
    let number = text.parse::<N>().ok();
    number
        .filter(|number| *number != N::default())
        .ok_or_else(|| format!("`{text}` is no number of 1 or more"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_time_is_refused_where_it_makes_no_sense() {
        assert_eq!(some_time("1us"), Ok(Duration::from_micros(1)));
        for wrong in ["0", "0s", "1e-12s", "-1s", "x"] {
            assert!(some_time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_have_units() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("2 s"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("10us"), Ok(Duration::from_micros(10)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["", "ms", "-1s", "1 week", "1e999"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
