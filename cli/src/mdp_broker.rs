//! `sinew mdp-broker`: a Majordomo broker as a process, until it is told to stop.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{channel, RecvTimeoutError};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use serde_json::{json, Map, Value};
use signal_hook::consts::SIGUSR1;
use signal_hook::iterator::Signals;
use sinew::{Context, Endpoint};
use sinew_patterns::common::{CacheConfig, Heartbeat, Limits, OnFull};
use sinew_patterns::mdp::{
    Broker, BrokerConfig, BrokerCounters, BrokerEngine, BrokerEvent, BrokerHandle, BrokerLimits,
    DeadReason, Lease, ServicePolicy, ServiceStats,
};

use crate::args::{BrokerArgs, WhenFull};
use crate::exit::Failure;
use crate::format::json_frame;
use crate::interrupt::{handle_first, writing};
use crate::report::Reporter;
use crate::sockets::Placed;

pub(crate) fn run(args: &BrokerArgs, reporter: &Reporter) -> Result<(), Failure> {
    let endpoints = (args.bind.iter())
        .map(|at| at.parse::<Endpoint>().map_err(Failure::usage))
        .collect::<Result<Vec<_>, _>>()?;
    let engine = BrokerEngine::new(config(args));
    let unfinished = Arc::new(AtomicU64::new(0));
    let broker = Broker::bind_with(&Context::default(), &endpoints, engine, {
        let unfinished = Arc::clone(&unfinished);
        move |event| {
            let over = |reason| reason == DeadReason::Ended;
            if matches!(event, BrokerEvent::Dead { reason, .. } if over(reason)) {
                unfinished.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
    .map_err(Failure::new)?;
    let handle = broker.handle();
    let (tell, signals) = channel();
    handle_first({
        let handle = handle.clone();
        move |signal| {
            // Whoever is to be told may be done.
            let _ = tell.send(signal);
            handle.drain();
        }
    })
    .map_err(Failure::new)?;
    tell_when_asked(&handle, reporter).map_err(Failure::new)?;
    // All is in place, signals too, when somebody reads that.
    if let Some(path) = &args.ready_file {
        write_ready(path, broker.endpoints())
            .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    }
    for endpoint in broker.endpoints() {
        reporter.placed(&Placed::Bound(endpoint));
    }
    let (end, ended) = channel::<()>();
    let regular = args.statistics.map(|every| {
        let (handle, reporter) = (handle.clone(), reporter.aside());
        thread::spawn(move || {
            while ended.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                tell_statistics(&handle, &reporter);
            }
        })
    });
    broker.run();
    drop(end);
    if let Some(thread) = regular {
        // It prints and does nothing else that could fail.
        let _ = writing(|| thread.join());
    }
    tell_statistics(&handle, reporter);
    // The broker's thread has ended.
    let left = unfinished.load(Ordering::Relaxed);
    if left > 0 {
        reporter.note(&json!({ "unfinished": left }), || {
            format!("{left} requests were with workers when the time was over")
        });
    }
    let signal = signals.try_recv();
    signal.map_or(Ok(()), |signal| Err(Failure::Interrupted(signal)))
}

fn config(args: &BrokerArgs) -> BrokerConfig {
    let heartbeat = Heartbeat {
        interval: args.heartbeat,
        liveness: args.liveness,
        ..Heartbeat::default()
    };
    BrokerConfig {
        heartbeat,
        policy: ServicePolicy {
            queue: Limits {
                messages: args.queue,
                bytes: args.queue_bytes,
                per_flow: args.queue_per_client,
                on_full: match args.on_full {
                    WhenFull::Reject => OnFull::Reject,
                    WhenFull::DropOldest => OnFull::DropOldest,
                    WhenFull::DropNewest => OnFull::DropNewest,
                },
            },
            ttl: args.ttl,
            unregistered_ttl: args.unregistered_ttl,
            max_deliveries: args.max_deliveries,
            lease: Lease::WhileHeartbeating(heartbeat.patience()),
            ..ServicePolicy::default()
        },
        limits: BrokerLimits {
            services: args.max_services,
            workers: args.max_workers,
            slots: args.max_slots,
            clients: args.max_clients,
            bytes: args.max_bytes,
            ..BrokerLimits::default()
        },
        cache: (!args.no_cache).then_some(CacheConfig {
            entries: args.cache_entries,
            bytes: args.cache_bytes,
            age: args.cache_age,
        }),
        linger: args.drain,
    }
}

/// Whoever sees the file sees all of it.
fn write_ready(path: &Path, endpoints: &[Endpoint]) -> std::io::Result<()> {
    let lines: String = endpoints.iter().map(|at| format!("{at}\n")).collect();
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    fs::write(&beside, lines)?;
    fs::rename(&beside, path).inspect_err(|_| {
        // Nobody asked for that one.
        let _ = fs::remove_file(&beside);
    })
}

/// Prints statistics at each SIGUSR1 from now on.
fn tell_when_asked(handle: &BrokerHandle, reporter: &Reporter) -> std::io::Result<()> {
    let mut signals = Signals::new([SIGUSR1])?;
    let (handle, reporter) = (handle.clone(), reporter.aside());
    thread::spawn(move || {
        for _ in signals.forever() {
            tell_statistics(&handle, &reporter);
        }
    });
    Ok(())
}

fn services(handle: &BrokerHandle) -> Vec<(Vec<u8>, ServiceStats)> {
    let names = handle.services().into_iter();
    names
        .filter_map(|name| handle.service(&name).map(|stats| (name, stats)))
        .collect()
}

fn tell_statistics(handle: &BrokerHandle, reporter: &Reporter) {
    let counters = counted(&handle.counters());
    let services = services(handle);
    let now = Instant::now();
    let waits = |stats: &ServiceStats| {
        let oldest = stats.oldest?;
        Some(now.saturating_duration_since(oldest).as_secs_f64())
    };
    let each = services.iter().map(|(name, stats)| {
        json!({
            "service": json_frame(name),
            "ready": stats.ready,
            "ready_octets": stats.ready_bytes,
            "held": stats.held,
            "oldest": waits(stats),
            "in_flight": stats.in_flight,
            "workers": stats.workers,
            "replies": stats.replies,
        })
    });
    let value = json!({
        "counters": counters.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect::<Map<String, Value>>(),
        "services": each.collect::<Vec<_>>(),
    });
    reporter.note(&value, || {
        let mut text: Vec<String> = (counters.iter())
            .filter(|(name, count)| *count > 0 || matches!(*name, "requests" | "replies"))
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        text.extend(services.iter().map(|(name, stats)| {
            let oldest = waits(stats).map_or_else(String::new, |s| format!(" for up to {s:.1} s"));
            format!(
                "{}: {} ready{oldest}, {} in flight, {} workers",
                json_frame(name),
                stats.ready,
                stats.in_flight,
                stats.workers
            )
        }));
        text.join("; ")
    });
}

fn counted(counters: &BrokerCounters) -> Vec<(&'static str, u64)> {
    macro_rules! fields {
        ($($field:ident)*) => { vec![$((stringify!($field), counters.$field)),*] };
    }
    fields!(
        requests dispatched replies redelivered dead expired early rejected dups cancelled recalled denied
        stale_replies silent undeliverable malformed disconnected banned leases_ended workers_expired
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::args::{Cli, Command};

    fn given(options: &str) -> BrokerConfig {
        let line = format!("sinew mdp-broker -b ipc://* {options}");
        match Cli::try_parse_from(line.split_whitespace())
            .unwrap()
            .command
        {
            Command::MdpBroker(args) => config(&args),
            other => panic!("{other:?}"),
        }
    }

    /// Nothing is other than with the library, but that replies to requests with a key are kept.
    #[test]
    fn defaults_are_those_of_the_library() {
        let library = BrokerConfig {
            cache: Some(CacheConfig::default()),
            ..BrokerConfig::default()
        };
        assert_eq!(given(""), library);
    }

    #[test]
    fn every_option_has_its_effect() {
        let config = given(
            "--heartbeat 1s --liveness 2 --queue 3 --queue-bytes 4 --queue-per-client 5 --on-full drop-oldest --ttl 6s \
             --unregistered-ttl 7s --max-deliveries 8 --max-services 9 --max-workers 10 --max-slots 11 --max-clients 12 \
             --max-bytes 13 --no-cache --drain 14s",
        );
        assert_eq!(config.heartbeat.patience(), Duration::from_secs(2));
        let ServicePolicy {
            queue,
            ttl,
            unregistered_ttl,
            max_deliveries,
            lease,
            ..
        } = config.policy;
        assert_eq!((queue.messages, queue.bytes, queue.per_flow), (3, 4, 5));
        assert_eq!(queue.on_full, OnFull::DropOldest);
        assert_eq!((ttl.as_secs(), unregistered_ttl.as_secs()), (6, 7));
        assert_eq!(max_deliveries, 8);
        assert_eq!(lease, Lease::WhileHeartbeating(Duration::from_secs(2)));
        let limits = config.limits;
        assert_eq!((limits.services, limits.workers, limits.slots), (9, 10, 11));
        assert_eq!((limits.clients, limits.bytes), (12, 13));
        assert_eq!((config.cache, config.linger.as_secs()), (None, 14));
        let cache = given("--cache-entries 1 --cache-bytes 2 --cache-age 3s")
            .cache
            .unwrap();
        assert_eq!((cache.entries, cache.bytes, cache.age.as_secs()), (1, 2, 3));
        assert_eq!(
            given("--on-full drop-newest").policy.queue.on_full,
            OnFull::DropNewest
        );
    }

    /// A broker with any of these would answer nothing.
    #[test]
    fn bounds_of_none_are_refused() {
        for option in [
            "liveness",
            "queue",
            "queue-bytes",
            "queue-per-client",
            "max-deliveries",
            "max-services",
            "max-workers",
            "max-slots",
            "max-clients",
            "max-bytes",
        ] {
            for text in ["0", "-1", "few"] {
                let option = format!("--{option}={text}");
                let given = [
                    "sinew",
                    "mdp-broker",
                    "--bind",
                    "tcp://127.0.0.1:*",
                    &option,
                ];
                let error = Cli::try_parse_from(given).unwrap_err().to_string();
                let wanted = format!("`{text}` is no number of 1 or more");
                assert!(error.contains(&wanted), "{option}: {error}");
            }
        }
    }
}
