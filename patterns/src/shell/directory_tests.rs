//! The store in a directory: what is written is known by others, through deaths, races, rubbish and full disks.

use std::sync::Barrier;
use std::thread;

use sinew::Message;
use tempfile::TempDir;

use super::*;
use crate::common::{Fault, Status};

const REQUEST: u64 = 77;

fn limits() -> StoreLimits {
    StoreLimits::default()
}

fn store(limits: StoreLimits) -> (TempDir, DirectoryStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = DirectoryStore::open(directory.path(), limits).unwrap();
    (directory, store)
}

fn key(n: u8) -> MsgId {
    MsgId([n; 16])
}

fn reply(text: &str) -> Outcome {
    Ok(Message::from(text))
}

/// Makes a file older than it is.
fn age(path: &Path, by: Duration) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let at = file.metadata().unwrap().modified().unwrap();
    file.set_modified(at - by).unwrap();
}

fn names(path: &Path) -> Vec<String> {
    let names = fs::read_dir(path).unwrap();
    let mut names: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_life_and_the_next() {
    for synced in [false, true] {
        let (_directory, mut store) = store(limits());
        if synced {
            store = store.synced();
        }
        let now = Instant::now();
        let mut first = store.join().unwrap();
        let mut second = store.join().unwrap();
        for n in 0..3 {
            assert_eq!(first.begin(key(n), REQUEST, now).unwrap(), Begun::New);
            assert_eq!(first.begin(key(n), REQUEST, now).unwrap(), Begun::Busy);
            assert_eq!(second.begin(key(n), REQUEST, now).unwrap(), Begun::Busy);
            assert_eq!(second.begin(key(n), 78, now).unwrap(), Begun::Conflict);
        }
        let parts = Ok(Message::multipart(["", "two"]));
        first.end(key(0), REQUEST, &parts, now).unwrap();
        let fault = Err(Fault::failed("no luck"));
        first.end(key(1), REQUEST, &fault, now).unwrap();
        drop(first);
        let mut third = store.join().unwrap();
        for life in [&mut second, &mut third] {
            let known = |life: &mut Box<dyn DedupLife>, n| life.begin(key(n), REQUEST, now);
            assert_eq!(known(life, 0).unwrap(), Begun::Done(parts.clone()));
            assert_eq!(known(life, 1).unwrap(), Begun::Done(fault.clone()));
            assert_eq!(known(life, 2).unwrap(), Begun::InDoubt);
        }
        assert_eq!(third.begin(key(9), REQUEST, now).unwrap(), Begun::New);
        third.abandon(key(9)).unwrap();
        assert_eq!(second.begin(key(9), REQUEST, now).unwrap(), Begun::New);
        drop((second, third));
        assert!(names(&store.root.join(LIVES)).is_empty());
    }
}

/// Of several that begin with a key at once, one does.
#[test]
fn a_race_for_each_key_has_one_winner() {
    const LIVES: usize = 4;
    let (_directory, store) = store(limits());
    let start = Barrier::new(LIVES);
    let wins = thread::scope(|scope| {
        let racer = || {
            let mut life = store.join().unwrap();
            let mut wins = Vec::new();
            for n in 0..50 {
                start.wait();
                match life.begin(key(n), REQUEST, Instant::now()).unwrap() {
                    Begun::New => wins.push(n),
                    Begun::Busy => {}
                    other => panic!("{other:?}"),
                }
            }
            // Nobody's life ends while others still look.
            start.wait();
            wins
        };
        let racers: Vec<_> = (0..LIVES).map(|_| scope.spawn(racer)).collect();
        let wins = racers.into_iter().flat_map(|racer| racer.join().unwrap());
        let mut wins: Vec<u8> = wins.collect();
        wins.sort_unstable();
        wins
    });
    assert_eq!(wins, (0..50).collect::<Vec<u8>>());
}

/// The same for a key that is old, which has to be forgotten first: nobody forgets what has just been begun.
#[test]
fn a_race_for_an_old_key_has_one_winner() {
    const LIVES: usize = 4;
    let (_directory, store) = store(limits());
    for _ in 0..50 {
        let mut before = store.join().unwrap();
        let now = Instant::now();
        assert_eq!(before.begin(key(1), REQUEST, now).unwrap(), Begun::New);
        before.end(key(1), REQUEST, &reply("x"), now).unwrap();
        age(&store.key(key(1)), limits().age);
        let start = Barrier::new(LIVES);
        let wins: usize = thread::scope(|scope| {
            let racer = || {
                let mut life = store.join().unwrap();
                start.wait();
                let begun = life.begin(key(1), REQUEST, Instant::now());
                start.wait();
                match begun {
                    Ok(Begun::New) => 1,
                    // Another one was removing it.
                    Ok(Begun::Busy) | Err(StoreError::Locked { .. }) => 0,
                    other => panic!("{other:?}"),
                }
            };
            let racers: Vec<_> = (0..LIVES).map(|_| scope.spawn(racer)).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        assert!(wins <= 1, "{wins} have begun");
        remove(&store.key(key(1))).unwrap();
    }
}

#[test]
fn what_is_old_is_forgotten_unless_somebody_is_at_it() {
    let (_directory, store) = store(limits());
    let now = Instant::now();
    let mut gone = store.join().unwrap();
    let mut here = store.join().unwrap();
    assert_eq!(gone.begin(key(1), REQUEST, now).unwrap(), Begun::New);
    assert_eq!(gone.begin(key(2), REQUEST, now).unwrap(), Begun::New);
    gone.end(key(2), REQUEST, &reply("x"), now).unwrap();
    assert_eq!(here.begin(key(3), REQUEST, now).unwrap(), Begun::New);
    drop(gone);
    for n in 1..=3 {
        age(&store.key(key(n)), limits().age - Duration::from_secs(60));
    }
    let mut next = store.join().unwrap();
    let begin = |life: &mut Box<dyn DedupLife>, n| life.begin(key(n), REQUEST, now).unwrap();
    assert_eq!(begin(&mut next, 1), Begun::InDoubt, "not yet");
    for n in 1..=3 {
        age(&store.key(key(n)), Duration::from_secs(60));
    }
    assert_eq!(begin(&mut next, 3), Begun::Busy, "somebody is at it");
    assert_eq!(begin(&mut next, 1), Begun::New);
    // A new life tidies up: the second is gone, the other two are not.
    drop(store.join().unwrap());
    assert_eq!(names(&store.root.join(KEYS)), [hex(key(1)), hex(key(3))]);
}

#[test]
fn a_full_store_takes_nothing_new_and_knows_what_it_has() {
    let (_directory, store) = store(StoreLimits {
        keys: 3,
        reply: 10,
        ..limits()
    });
    let now = Instant::now();
    let mut life = store.join().unwrap();
    for n in 0..3 {
        assert_eq!(life.begin(key(n), REQUEST, now).unwrap(), Begun::New);
    }
    assert_eq!(life.begin(key(3), REQUEST, now).unwrap(), Begun::Full);
    life.end(key(0), REQUEST, &reply("x"), now).unwrap();
    assert_eq!(life.begin(key(3), REQUEST, now).unwrap(), Begun::Full);
    let done = Begun::Done(reply("x"));
    assert_eq!(life.begin(key(0), REQUEST, now).unwrap(), done);
    life.end(key(1), REQUEST, &reply("too long for it"), now)
        .unwrap();
    match life.begin(key(1), REQUEST, now).unwrap() {
        Begun::Done(Err(fault)) => assert_eq!(fault.status, Status::Conflict),
        other => panic!("{other:?}"),
    }
    // What is old makes room; it is looked for once a second.
    age(&store.key(key(0)), limits().age);
    assert_eq!(life.begin(key(3), REQUEST, now).unwrap(), Begun::Full);
    let later = now + BETWEEN_COUNTS;
    assert_eq!(life.begin(key(3), REQUEST, later).unwrap(), Begun::New);
    // Another server counts what is there.
    let mut other = store.join().unwrap();
    assert_eq!(other.begin(key(4), REQUEST, later).unwrap(), Begun::Full);
}

#[test]
fn a_store_is_full_in_octets() {
    let (_directory, store) = store(StoreLimits {
        bytes: 100,
        ..limits()
    });
    let now = Instant::now();
    let mut life = store.join().unwrap();
    assert_eq!(life.begin(key(0), REQUEST, now).unwrap(), Begun::New);
    let long = reply(&"x".repeat(100));
    life.end(key(0), REQUEST, &long, now).unwrap();
    assert_eq!(life.begin(key(1), REQUEST, now).unwrap(), Begun::Full);
    let mut other = store.join().unwrap();
    assert_eq!(other.begin(key(1), REQUEST, now).unwrap(), Begun::Full);
}

/// Rubbish under the name of a key says that somebody has begun it; other rubbish is left alone.
#[test]
fn rubbish_in_the_directory() {
    let (_directory, store) = store(limits());
    let keys = store.root.join(KEYS);
    let now = Instant::now();
    let whole = Record {
        fingerprint: REQUEST,
        state: State::Done(reply("x")),
    };
    let whole = whole.encode();
    let mut wrong = whole.clone();
    wrong[8] ^= 1;
    let long = vec![0; 1 << 20];
    let rubbish = [
        &b""[..],
        b"rubbish",
        &whole[..whole.len() - 1],
        &wrong,
        &long,
    ];
    for (n, octets) in (0..).zip(rubbish) {
        fs::write(keys.join(hex(key(n))), octets).unwrap();
    }
    fs::create_dir(keys.join(hex(key(9)))).unwrap();
    let strangers = ["README", "0123", &"g".repeat(32), &"A".repeat(32)];
    for name in strangers {
        fs::write(keys.join(name), "not ours").unwrap();
        fs::write(store.root.join(LIVES).join(name), "not ours").unwrap();
    }
    let mut life = store.join().unwrap();
    for n in (0..rubbish.len() as u8).chain([9]) {
        let begun = life.begin(key(n), REQUEST, now).unwrap();
        assert_eq!(begun, Begun::InDoubt, "{n}");
    }
    // What is old is forgotten, rubbish or not; strangers stay.
    age(&store.key(key(1)), limits().age);
    age(&keys.join("README"), limits().age);
    assert_eq!(life.begin(key(1), REQUEST, now).unwrap(), Begun::New);
    drop(life);
    drop(store.join().unwrap());
    for name in strangers {
        assert!(keys.join(name).exists() && store.root.join(LIVES).join(name).exists());
    }
}

/// What a process leaves that is killed while it writes.
#[test]
fn half_written_files_are_in_nobodys_way() {
    let (_directory, store) = store(limits());
    let lives = store.root.join(LIVES);
    let left = lives.join(hex(key(5))).with_extension(TEMPORARY);
    fs::write(&left, "half of").unwrap();
    // The file of its life has no lock any more.
    fs::write(store.life(key(5)), "").unwrap();
    let record = Record {
        fingerprint: REQUEST,
        state: State::Begun(key(5)),
    };
    fs::write(store.key(key(1)), record.encode()).unwrap();
    let mut life = store.join().unwrap();
    assert!(!store.life(key(5)).exists(), "nobody holds it");
    let begun = life.begin(key(1), REQUEST, Instant::now()).unwrap();
    assert_eq!(begun, Begun::InDoubt);
    assert!(left.exists());
    age(&left, limits().age);
    drop(store.join().unwrap());
    assert!(!left.exists());
}

#[test]
fn directories_that_cannot_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    // Beneath a file there is no room for anything.
    let error = DirectoryStore::open(file.join("store"), limits()).unwrap_err();
    assert!(error.to_string().contains("file/store/keys"), "{error}");

    let store = DirectoryStore::open(directory.path(), limits()).unwrap();
    let now = Instant::now();
    let mut life = store.join().unwrap();
    assert_eq!(life.begin(key(1), REQUEST, now).unwrap(), Begun::New);
    fs::remove_dir_all(store.root.join(LIVES)).unwrap();
    fs::write(store.root.join(LIVES), "in the way").unwrap();
    assert!(matches!(store.join(), Err(StoreError::Io { .. })));
    assert!(life.begin(key(2), REQUEST, now).is_err());
    assert!(!store.key(key(2)).exists(), "it was not begun");
    assert!(life.end(key(1), REQUEST, &reply("x"), now).is_err());
    // What is there can be read.
    assert_eq!(life.begin(key(1), REQUEST, now).unwrap(), Begun::Busy);
    fs::remove_dir_all(store.root.join(KEYS)).unwrap();
    fs::write(store.root.join(KEYS), "in the way").unwrap();
    assert!(life.begin(key(1), REQUEST, now).is_err());
}
