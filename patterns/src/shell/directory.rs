//! A store of keys in a directory, for the servers of one machine.
//!
//! ```text
//! keys/<key>        one record per key: begun (by which life), or how it ended
//! lives/<life>      one file per life, locked while it goes on
//! lives/<life>.tmp  a record that is being written
//! tidy              locked by who removes what is old
//! ```
//!
//! *Begun* is written to a file of its own, which is then given the name of the key by a hard link: one of several
//! links succeeds, and nobody sees half a record. *Done* takes its place by a rename. Records of lives that go on are
//! written by these alone; all others are only ever removed, by whoever holds the lock. The lock of a life goes when its
//! process goes, by whatever signal.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fs4::fs_std::FileExt;

use super::seed;
use crate::common::record::{Record, State, OVERHEAD};
use crate::common::{
    Begun, DedupLife, DedupStore, MsgId, Outcome, Random, StoreError, StoreLimits,
};

/// What the servers of one machine know of keys, in a directory of a local file system.
///
/// Any number of servers may use a directory at once, in one process or several. A process that is killed,
/// also in the midst of writing, loses nothing that was written before, and nobody carries a request out
/// that it had begun.
///
/// What this does not promise: that the machine may lose its power. Without [`synced`](Self::synced) the system
/// writes to the disk when it likes, and keys of the last half minute or so may be gone after that, and be
/// carried out again; a record that was half written is *in doubt*. Ages are told by the clock on the wall and the
/// times of the files: setting the clock forward forgets keys. The count of keys is taken anew after every eighth
/// of [`StoreLimits::keys`] new ones of a server, so several servers may together exceed the bounds by an eighth each.
/// On file systems of other machines locks may not work, and with them neither does this; on those without
/// hard links no server can join.
///
/// Replies are in it as they are, readable by whom the process lets read new files. Files that have no names of its
/// own are left alone.
///
/// ```
/// use std::sync::Arc;
/// use sinew::Context;
/// use sinew_patterns::common::StoreLimits;
/// use sinew_patterns::rpc::{Server, ServerConfig};
/// use sinew_patterns::DirectoryStore;
///
/// let directory = tempfile::tempdir()?;
/// let store = DirectoryStore::open(directory.path(), StoreLimits::default())?;
/// let (context, config) = (Context::default(), ServerConfig::default());
/// let server = Server::bind_with_store(&context, &["tcp://127.0.0.1:*"], config, Arc::new(store))?;
/// # drop(server);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct DirectoryStore {
    root: PathBuf,
    limits: StoreLimits,
    synced: bool,
}

impl DirectoryStore {
    /// A store in this directory, which is made if it is not there. All who share it should say the same limits.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(directory: impl Into<PathBuf>, limits: StoreLimits) -> Result<Self, StoreError> {
        let store = DirectoryStore {
            root: directory.into(),
            limits,
            synced: false,
        };
        for path in [store.root.join(KEYS), store.root.join(LIVES)] {
            fs::create_dir_all(&path).map_err(io("make the directory", &path))?;
        }
        Ok(store)
    }

    /// The same, but whatever is written is on the disk (`fsync`) before the request goes on. That costs two such
    /// writes per request with a key; with it, the loss of power is like that of the process, if the disk is honest.
    #[must_use]
    pub fn synced(self) -> Self {
        DirectoryStore {
            synced: true,
            ..self
        }
    }

    fn key(&self, key: MsgId) -> PathBuf {
        self.root.join(KEYS).join(hex(key))
    }

    fn life(&self, life: MsgId) -> PathBuf {
        self.root.join(LIVES).join(hex(life))
    }

    /// What is known of a key.
    fn look(&self, key: MsgId) -> Result<Option<Seen>, StoreError> {
        let path = self.key(key);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io("open", &path)(source)),
        };
        let meta = file.metadata().map_err(io("look at", &path))?;
        // One octet more than any record has: what is longer is none.
        let most = (self.limits.reply + OVERHEAD + REASON) as u64 + 1;
        let mut octets = Vec::with_capacity(meta.len().min(most) as usize);
        // A directory of this name, or a disk that fails: it is there, and says nothing.
        let read = file.take(most).read_to_end(&mut octets);
        let record = read.ok().and_then(|_| Record::decode(&octets).ok());
        let old = self.is_old(&meta);
        Ok(Some(Seen { record, old }))
    }

    fn is_old(&self, meta: &fs::Metadata) -> bool {
        // A file of the future is young.
        let age = meta.modified().ok().and_then(|at| at.elapsed().ok());
        age.is_some_and(|age| age >= self.limits.age)
    }

    /// Whether this life goes on: its file is there, and locked.
    fn goes_on(&self, life: MsgId) -> bool {
        match File::open(self.life(life)) {
            // Shared, so that several who look do not take each other for the life.
            Ok(file) => !matches!(FileExt::try_lock_shared(&file), Ok(true)),
            // Whoever cannot find out must not say that it is over.
            Err(error) => error.kind() != ErrorKind::NotFound,
        }
    }

    /// Whether a record is to be forgotten.
    fn is_over(&self, seen: &Seen) -> bool {
        let goes_on = match &seen.record {
            Some(Record {
                state: State::Begun(life),
                ..
            }) => self.goes_on(*life),
            _ => false,
        };
        seen.old && !goes_on
    }

    /// Removes the record of a key, if it is to be forgotten.
    fn forget(&self, key: MsgId) -> Result<(), StoreError> {
        let path = self.root.join(TIDY);
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).open(&path);
        let lock = lock.map_err(io("open", &path))?;
        // Never waits: whoever holds it may be frozen.
        if !FileExt::try_lock_exclusive(&lock).map_err(io("lock", &path))? {
            return Err(StoreError::Locked { path });
        }
        // It may be another one by now. Under the lock it stays what it is.
        if self.look(key)?.is_some_and(|seen| self.is_over(&seen)) {
            remove(&self.key(key))?;
        }
        Ok(())
    }

    /// Removes what is old; returns how many keys are left, and how many octets.
    fn tidy(&self) -> Result<(usize, usize), StoreError> {
        let lives = self.root.join(LIVES);
        for entry in entries(&lives)? {
            let name = entry.file_name();
            match name.to_str().and_then(from_hex) {
                Some(life) if !self.goes_on(life) => remove(&entry.path())?,
                Some(_) => {}
                // What a life that was killed has left of a record.
                None if has_extension(&entry.path(), TEMPORARY)
                    && entry.metadata().is_ok_and(|meta| self.is_old(&meta)) =>
                {
                    remove(&entry.path())?;
                }
                None => {}
            }
        }
        let (mut count, mut bytes) = (0, 0usize);
        for entry in entries(&self.root.join(KEYS))? {
            let Some(key) = entry.file_name().to_str().and_then(from_hex) else {
                continue;
            };
            // It may be gone by now.
            let Ok(meta) = entry.metadata() else {
                continue;
            };
            if self.is_old(&meta) && meta.is_file() {
                match self.forget(key) {
                    // Somebody else is at it.
                    Err(StoreError::Locked { .. }) => {}
                    other => other?,
                }
                if !entry.path().exists() {
                    continue;
                }
            }
            count += 1;
            bytes = bytes.saturating_add(meta.len() as usize);
        }
        Ok((count, bytes))
    }
}

impl DedupStore for DirectoryStore {
    fn join(&self) -> Result<Box<dyn DedupLife>, StoreError> {
        let mut random = Random::new(seed());
        // Two seeds, for one has 64 bits only.
        let id = MsgId::random(&mut random).0;
        let mut name = [0; 16];
        name[..8].copy_from_slice(&id[..8]);
        name[8..].copy_from_slice(&seed().to_be_bytes());
        let id = MsgId(name);
        let path = self.life(id);
        let fresh = path.with_extension(TEMPORARY);
        // It is locked before it has its name: who sees one that is not knows that its life is over.
        let file = create(&fresh)?;
        if !FileExt::try_lock_exclusive(&file).map_err(io("lock", &fresh))? {
            return Err(StoreError::Locked { path: fresh });
        }
        let linked = fs::hard_link(&fresh, &path).map_err(io("link", &path));
        remove(&fresh)?;
        linked?;
        let mut life = Life {
            store: self.clone(),
            id,
            _lock: file,
            count: 0,
            bytes: 0,
            since: 0,
            looked: None,
        };
        life.count()?;
        Ok(Box::new(life))
    }
}

/// A record as it was read.
struct Seen {
    /// `None`: it is none.
    record: Option<Record>,
    old: bool,
}

#[derive(Debug)]
struct Life {
    store: DirectoryStore,
    id: MsgId,
    /// Held as long as the life goes on.
    _lock: File,
    /// Keys and octets at the last count, and with those of this life that came since.
    count: usize,
    bytes: usize,
    since: usize,
    /// When it was counted because it was full.
    looked: Option<Instant>,
}

impl Life {
    fn count(&mut self) -> Result<(), StoreError> {
        (self.count, self.bytes) = self.store.tidy()?;
        self.since = 0;
        Ok(())
    }

    /// Whether there is room for another key.
    fn admits(&mut self, now: Instant) -> Result<bool, StoreError> {
        let limits = self.store.limits;
        if self.since >= (limits.keys / 8).max(1) {
            self.count()?;
        }
        if limits.admit(self.count, self.bytes) {
            return Ok(true);
        }
        // Others may have become old, which takes a while to find out.
        let soon = |at| now.saturating_duration_since(at) < BETWEEN_COUNTS;
        if self.looked.is_some_and(soon) {
            return Ok(false);
        }
        self.looked = Some(now);
        self.count()?;
        Ok(limits.admit(self.count, self.bytes))
    }

    /// Writes a record to a file that has no name yet that anyone looks for.
    fn write(&self, fingerprint: u64, state: State) -> Result<(PathBuf, usize), StoreError> {
        let octets = Record { fingerprint, state }.encode();
        let path = self.store.life(self.id).with_extension(TEMPORARY);
        let mut file = create(&path)?;
        let written = file
            .write_all(&octets)
            .and_then(|()| match self.store.synced {
                true => file.sync_all(),
                false => Ok(()),
            });
        written.map_err(io("write", &path))?;
        Ok((path, octets.len()))
    }

    /// The directory knows of the new name.
    fn sync(&self) -> Result<(), StoreError> {
        // Elsewhere a directory cannot be opened, and names are as durable as the system makes them.
        if self.store.synced && cfg!(unix) {
            let path = self.store.root.join(KEYS);
            let synced = File::open(&path).and_then(|directory| directory.sync_all());
            synced.map_err(io("sync", &path))?;
        }
        Ok(())
    }
}

impl DedupLife for Life {
    fn begin(&mut self, key: MsgId, fingerprint: u64, now: Instant) -> Result<Begun, StoreError> {
        let path = self.store.key(key);
        for _ in 0..TRIES {
            if let Some(seen) = self.store.look(key)? {
                if self.store.is_over(&seen) {
                    self.store.forget(key)?;
                    continue;
                }
                return Ok(match seen.record {
                    // Somebody has begun it, and more is not known.
                    None => Begun::InDoubt,
                    Some(record) if record.fingerprint != fingerprint => Begun::Conflict,
                    Some(record) => match record.state {
                        State::Done(outcome) => Begun::Done(outcome),
                        State::Begun(life) if life == self.id => Begun::Busy,
                        State::Begun(life) if self.store.goes_on(life) => Begun::Busy,
                        // Its last deed may have been to write down how it ended.
                        State::Begun(_) => match self.store.look(key)?.and_then(|s| s.record) {
                            Some(Record {
                                state: State::Done(outcome),
                                ..
                            }) => Begun::Done(outcome),
                            _ => Begun::InDoubt,
                        },
                    },
                });
            }
            if !self.admits(now)? {
                return Ok(Begun::Full);
            }
            let (fresh, bytes) = self.write(fingerprint, State::Begun(self.id))?;
            let linked = fs::hard_link(&fresh, &path);
            remove(&fresh)?;
            match linked {
                Ok(()) => {
                    self.sync()?;
                    self.count += 1;
                    self.since += 1;
                    self.bytes = self.bytes.saturating_add(bytes);
                    return Ok(Begun::New);
                }
                // Somebody was faster: it is looked at again.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(source) => return Err(io("link", &path)(source)),
            }
        }
        Err(StoreError::Locked { path })
    }

    fn end(
        &mut self,
        key: MsgId,
        fingerprint: u64,
        outcome: &Outcome,
        _: Instant,
    ) -> Result<(), StoreError> {
        let kept = self.store.limits.kept(outcome);
        let (fresh, bytes) = self.write(fingerprint, State::Done(kept))?;
        let path = self.store.key(key);
        fs::rename(&fresh, &path).map_err(io("rename", &path))?;
        self.bytes = self.bytes.saturating_add(bytes);
        self.sync()
    }

    fn abandon(&mut self, key: MsgId) -> Result<(), StoreError> {
        remove(&self.store.key(key))?;
        self.count = self.count.saturating_sub(1);
        self.sync()
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // If it stays, it stays without a lock, and is removed later.
        let _ = fs::remove_file(self.store.life(self.id));
    }
}

/// A new file. What a write that failed has left is removed first, never written over: it may have another name, too.
fn create(path: &Path) -> Result<File, StoreError> {
    let create = || OpenOptions::new().write(true).create_new(true).open(path);
    let created = match create() {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            remove(path)?;
            create()
        }
        other => other,
    };
    created.map_err(io("create", path))
}

/// It is gone, whoever did it.
fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io("remove", path)(error)),
        _ => Ok(()),
    }
}

fn entries(path: &Path) -> Result<impl Iterator<Item = fs::DirEntry>, StoreError> {
    let entries = fs::read_dir(path).map_err(io("read the directory", path))?;
    Ok(entries.filter_map(Result::ok))
}

fn io<'a>(doing: &'static str, path: &'a Path) -> impl FnOnce(std::io::Error) -> StoreError + 'a {
    move |source| StoreError::Io {
        doing,
        path: path.to_owned(),
        source,
    }
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|other| other == extension)
}

fn hex(id: MsgId) -> String {
    use std::fmt::Write;
    id.0.iter().fold(String::new(), |mut text, octet| {
        // Writing to a string does not fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}

/// Only what [`hex`] writes.
fn from_hex(text: &str) -> Option<MsgId> {
    let mut octets = [0; 16];
    if text.len() != 32 || !text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    for (octet, digits) in octets.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(digits).ok()?;
        *octet = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(MsgId(octets))
}

const KEYS: &str = "keys";
const LIVES: &str = "lives";
const TIDY: &str = "tidy";
const TEMPORARY: &str = "tmp";

/// Each try that fails means that another process has done something with the key in between.
const TRIES: u32 = 8;

/// A full store is counted no more often.
const BETWEEN_COUNTS: Duration = Duration::from_secs(1);

/// Octets of the longest reason that a record has beyond the limit of replies: that a reply was not kept.
const REASON: usize = 256;

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
