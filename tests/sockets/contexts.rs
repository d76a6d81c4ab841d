//! Contexts: how many sockets they allow, and what their threads are called and where they run.

use sinew::{BindError, BuildError, ConnectError, Context, Pull, Push};

#[cfg(target_os = "linux")]
use {
    crate::support::{await_true, LONG},
    sinew::ThreadScheduling,
};

#[test]
fn a_context_makes_no_more_sockets_than_it_allows() {
    let context = Context::builder().max_sockets(2).build().unwrap();
    let pull = || Pull::builder().context(&context);
    let push = || Push::builder().context(&context);
    let first = pull().build().unwrap();
    let second = push().build().unwrap();
    for _ in 0..2 {
        let error = pull().build().unwrap_err();
        assert!(
            matches!(error, BuildError::TooManySockets { limit: 2 }),
            "{error}"
        );
    }
    let error = push().bind("inproc://never").unwrap_err();
    assert!(
        matches!(error, BuildError::TooManySockets { limit: 2 }),
        "{error}"
    );
    // Closed or dropped, each makes room for one.
    first.close();
    let third = pull().build().unwrap();
    assert!(pull().build().is_err());
    drop(second);
    let _fourth = push().build().unwrap();
    drop(third);
    // An option that cannot be is no socket either.
    assert!(matches!(
        pull().recv_hwm(0).build(),
        Err(BuildError::Option(_))
    ));
    let _fifth = pull().build().unwrap();
    // Other contexts count for themselves.
    let _elsewhere = Pull::new();
    let _elsewhere = Pull::builder().build().unwrap();
}

/// Without I/O threads there is inproc, and nothing else.
#[test]
fn a_context_without_threads_serves_inproc() {
    let context = Context::builder().io_threads(0).build().unwrap();
    let mut pull = Pull::builder().context(&context).build().unwrap();
    let mut push = Push::builder().context(&context).build().unwrap();
    for at in ["tcp://127.0.0.1:*", "ipc://*"] {
        let error = pull.bind(at).unwrap_err();
        assert!(
            matches!(error, BindError::NoIoThread { threads: 0, .. }),
            "{error}"
        );
    }
    let error = push.connect("tcp://127.0.0.1:9").unwrap_err();
    assert!(
        matches!(error, ConnectError::NoIoThread { threads: 0, .. }),
        "{error}"
    );
    pull.bind("inproc://no-threads").unwrap();
    push.connect("inproc://no-threads").unwrap();
    push.send("x").unwrap();
    assert_eq!(pull.recv().unwrap().as_bytes(), b"x");
    assert_eq!(push.close().unsent, 0);
}

/// Name and allowed cores of the threads whose name begins so.
#[cfg(target_os = "linux")]
fn threads(prefix: &str) -> Vec<(String, Vec<usize>)> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let mut found = Vec::new();
    for task in tasks.flatten() {
        // It may have ended meanwhile.
        let Ok(status) = std::fs::read_to_string(task.path().join("status")) else {
            continue;
        };
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.unwrap_or_default().trim().to_owned()
        };
        let name = field("Name:");
        if name.starts_with(prefix) {
            found.push((name, cores_of(&field("Cpus_allowed_list:"))));
        }
    }
    found.sort();
    found
}

#[cfg(target_os = "linux")]
#[test]
fn threads_have_the_names_and_cores_they_are_given() {
    // Core 0 may be closed to this process. With one core alone there is nothing to tell apart but the names.
    let own: Vec<usize> = threads_allowed().into_iter().take(2).collect();
    for pin in [false, true] {
        let prefix = if pin { "cores-pin" } else { "cores-set" };
        let context = Context::builder()
            .io_threads(2)
            .thread_name_prefix(prefix)
            .thread_cores(own.iter().copied())
            .pin_threads(pin)
            .build()
            .unwrap();
        let on_thread = |index: u32| {
            let builder = Pull::builder().context(&context).affinity(1 << index);
            builder.bind("tcp://127.0.0.1:*").unwrap()
        };
        let _sockets = [0, 1].map(on_thread);
        let expected = [0, 1].map(|index| {
            let cores = match pin {
                true => vec![own[index % own.len()]],
                false => own.clone(),
            };
            (format!("{prefix}/io/{index}"), cores)
        });
        await_true("both threads run there", || threads(prefix) == expected);
    }
}

#[cfg(target_os = "linux")]
fn threads_allowed() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    cores_of(list.unwrap_or_default().trim())
}

/// The numbers in a list as the system writes it: `0-3,8`.
#[cfg(target_os = "linux")]
fn cores_of(list: &str) -> Vec<usize> {
    let number = |text: &str| text.parse::<usize>().unwrap();
    let ranges = list.split(',').map(|range| match range.split_once('-') {
        Some((first, last)) => number(first)..=number(last),
        None => number(range)..=number(range),
    });
    ranges.flatten().collect()
}

/// Those that need no privilege; the others run or do not, as this process may.
#[cfg(target_os = "linux")]
#[test]
fn threads_are_scheduled_as_asked_for() {
    let all = [
        (ThreadScheduling::Batch, "sch-batch", Some("3")),
        (ThreadScheduling::Idle, "sch-idle", Some("5")),
        (ThreadScheduling::Other, "sch-other", Some("0")),
        (ThreadScheduling::RoundRobin { priority: 1 }, "sch-rr", None),
        (ThreadScheduling::Fifo { priority: 1 }, "sch-fifo", None),
    ];
    for (scheduling, prefix, expected) in all {
        let context = Context::builder()
            .io_threads(1)
            .thread_name_prefix(prefix)
            .thread_scheduling(scheduling)
            .build()
            .unwrap();
        let mut pull = Pull::builder()
            .context(&context)
            .bind("tcp://127.0.0.1:*")
            .unwrap();
        if let Some(expected) = expected {
            await_true("it is scheduled so", || policy(prefix) == expected);
        }
        // In any case it works.
        let endpoint = &pull.bound_endpoints()[0];
        let mut push = Push::builder().context(&context).connect(endpoint).unwrap();
        push.send("x").unwrap();
        assert_eq!(pull.recv_timeout(LONG).unwrap().as_bytes(), b"x");
    }
    let bad = Context::builder().thread_scheduling(ThreadScheduling::Fifo { priority: 0 });
    assert_eq!(bad.build().unwrap_err().option(), "thread_scheduling");
}

/// The scheduling policy of the thread whose name begins so, by its number in the system.
#[cfg(target_os = "linux")]
fn policy(prefix: &str) -> String {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    for task in tasks.flatten() {
        // It may have ended meanwhile.
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        if let Some((name, fields)) = stat.rsplit_once(')') {
            if name
                .split_once('(')
                .is_some_and(|(_, name)| name.starts_with(prefix))
            {
                // The 41st; the third is the first behind the name.
                return fields
                    .split_whitespace()
                    .nth(38)
                    .unwrap_or_default()
                    .to_owned();
            }
        }
    }
    String::new()
}
