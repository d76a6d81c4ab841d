//! The command `sinew`: what the library does, from a shell. See `README.md` beside this crate.
//!
//! Each command is a module. They use the library's public API only, print what they receive to standard output
//! and everything else to standard error, and end with one of the codes in `exit`.

mod args;
mod bench;
mod exit;
mod format;
mod forward;
mod input;
mod inspect;
mod interrupt;
mod mdp_broker;
mod report;
mod sockets;
mod talk;
mod watch;

use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Cli, Command, Kind};
use exit::Failure;
use report::Reporter;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return unparsed(&error),
    };
    let reporter = Reporter::new(cli.json);
    match run(&cli.command, &reporter) {
        Ok(()) => ExitCode::from(exit::OK),
        Err(failure) => {
            reporter.failure(&failure);
            ExitCode::from(failure.code())
        }
    }
}

/// Help and the like, or why the command line makes no sense.
fn unparsed(error: &clap::Error) -> ExitCode {
    let mut given = std::env::args_os().skip(1).take_while(|arg| arg != "--");
    let json = given.any(|arg| arg == "--json");
    if !error.use_stderr() {
        // What was asked for, to standard output.
        let printed = error.print().and_then(|()| std::io::stdout().flush());
        let Err(failure) = printed.map_err(|error| Failure::output(&error)) else {
            return ExitCode::from(exit::OK);
        };
        Reporter::new(json).failure(&failure);
        return ExitCode::from(failure.code());
    }
    if !json {
        error.exit();
    }
    let text = error.to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let failure = Failure::usage(text.trim_end());
    Reporter::new(true).failure(&failure);
    ExitCode::from(failure.code())
}

fn run(command: &Command, reporter: &Reporter) -> Result<(), Failure> {
    let (kind, args) = match command {
        Command::Pub(args) => (Kind::Pub, args),
        Command::Sub(args) => (Kind::Sub, args),
        Command::Push(args) => (Kind::Push, args),
        Command::Pull(args) => (Kind::Pull, args),
        Command::Req(args) => (Kind::Req, args),
        Command::Rep(args) => (Kind::Rep, args),
        Command::Dealer(args) => (Kind::Dealer, args),
        Command::Router(args) => (Kind::Router, args),
        Command::Pair(args) => (Kind::Pair, args),
        Command::Xpub(args) => (Kind::Xpub, args),
        Command::Xsub(args) => (Kind::Xsub, args),
        Command::Client(args) => (Kind::Client, args),
        Command::Server(args) => (Kind::Server, args),
        Command::Peer(args) => (Kind::Peer, args),
        Command::Channel(args) => (Kind::Channel, args),
        Command::Scatter(args) => (Kind::Scatter, args),
        Command::Gather(args) => (Kind::Gather, args),
        Command::Radio(args) => (Kind::Radio, args),
        Command::Dish(args) => (Kind::Dish, args),
        Command::Stream(args) => (Kind::Stream, args),
        Command::Dgram(args) => (Kind::Dgram, args),
        Command::Proxy(args) => return forward::run(args, reporter),
        Command::MdpBroker(args) => return mdp_broker::run(args, reporter),
        Command::Monitor(args) => return watch::run(args, reporter),
        Command::Bench(args) => return bench::run(args, reporter),
        Command::Inspect(args) => return inspect::run(args, reporter),
        Command::Completions { .. } if reporter.json => {
            return Err(Failure::usage(
                "completions are a script and no JSON, expected no --json",
            ));
        }
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "sinew", &mut script);
            let written = std::io::stdout().write_all(&script);
            return written.map_err(|error| Failure::output(&error));
        }
    };
    talk::run(kind, args, reporter)
}
