//! IPC: Unix stream sockets, named by a path or, on Linux, by an abstract name.
//!
//! A path outlives the process that bound it. So a bind that meets a file asks whether anyone
//! listens there, by connecting: only a socket that refuses is dead and removed. And a listener
//! removes its file only if it is still the one it made (same device and inode), lest it take away
//! its successor's.
//!
//! What this does not promise: of two processes that replace the same dead file in the same moment,
//! one may remove what the other has bound but does not yet listen on. The loser is then
//! unreachable, not wrong; systems without a lock for names allow no better.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

use super::listener::{no_signal, AcceptFailure};
use super::{credentials, unsupported};
use crate::config::{IpcFilters, SocketConfig};
use crate::endpoint::{Endpoint, IpcAddress};

/// The file and the directory a listener made, removed with it.
#[derive(Debug, Default)]
pub(crate) struct SocketFile {
    file: Option<Made>,
    /// Removed after the file; made for `ipc://*` only.
    directory: Option<PathBuf>,
}

/// A file and which one it was.
#[derive(Debug)]
struct Made {
    path: PathBuf,
    device: u64,
    inode: u64,
}

/// Binds and listens; returns also what is to be removed, and the address really bound.
pub(super) fn bind(
    address: &IpcAddress,
    config: &SocketConfig,
) -> io::Result<(mio::net::UnixListener, SocketFile, IpcAddress)> {
    // Before the socket, so that an error on the way removes what was made.
    let mut made = SocketFile::default();
    let real = match address {
        IpcAddress::Any => {
            let directory = private_directory()?;
            let path = directory.join("socket");
            made.directory = Some(directory);
            // Through the grammar, which knows how long a path may be.
            let endpoint = Endpoint::ipc(&path)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            let path = endpoint.ipc_path().and_then(Path::to_str);
            IpcAddress::Path(path.unwrap_or_default().into())
        }
        other => other.clone(),
    };
    let socket = open()?;
    let name = socket_name(&real)?;
    match &real {
        IpcAddress::Path(path) => {
            bind_path(&socket, &name, Path::new(&**path))?;
            made.file = Some(Made::of(Path::new(&**path))?);
        }
        _ => socket.bind(&name)?,
    }
    socket.listen(i32::try_from(config.backlog).unwrap_or(i32::MAX))?;
    let listener = mio::net::UnixListener::from_std(socket.into());
    Ok((listener, made, real))
}

/// Takes the next waiting connection, if its process may connect.
pub(super) fn accept(
    listener: &mio::net::UnixListener,
    filters: &IpcFilters,
) -> Result<mio::net::UnixStream, AcceptFailure> {
    let (stream, _) = listener.accept().map_err(AcceptFailure::of_accept)?;
    credentials::admit(stream.as_fd(), filters).map_err(|peer| AcceptFailure::Filtered { peer })?;
    no_signal(&stream).map_err(AcceptFailure::Connection)?;
    Ok(stream)
}

/// Connects. Unix sockets connect at once or fail.
pub(super) fn connect(address: &IpcAddress) -> io::Result<mio::net::UnixStream> {
    let socket = open()?;
    socket.connect(&socket_name(address)?)?;
    Ok(mio::net::UnixStream::from_std(socket.into()))
}

fn open() -> io::Result<Socket> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    no_signal(&socket)?;
    Ok(socket)
}

fn socket_name(address: &IpcAddress) -> io::Result<SockAddr> {
    match address {
        IpcAddress::Path(path) => SockAddr::unix(&**path),
        IpcAddress::Abstract(name) if cfg!(any(target_os = "linux", target_os = "android")) => {
            // A leading zero is how the system tells these from paths.
            SockAddr::unix(format!("\0{name}"))
        }
        IpcAddress::Abstract(_) => Err(unsupported("an abstract ipc name on this system")),
        IpcAddress::Any => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "`ipc://*` is no address to connect to",
        )),
    }
}

/// Binds a path, removing a dead socket that is in the way.
fn bind_path(socket: &Socket, name: &SockAddr, path: &Path) -> io::Result<()> {
    match socket.bind(name) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
        done => return done,
    }
    let in_use = || io::Error::from(io::ErrorKind::AddrInUse);
    let met = fs::symlink_metadata(path).map_err(|_| in_use())?;
    if !met.file_type().is_socket() {
        return Err(in_use());
    }
    // Anything but a refusal (a full queue, a missing permission) may be a living listener.
    match open()?.connect(name) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
        _ => return Err(in_use()),
    }
    // Only what was tested is removed.
    let still = fs::symlink_metadata(path).map_err(|_| in_use())?;
    if (still.dev(), still.ino()) != (met.dev(), met.ino()) {
        return Err(in_use());
    }
    fs::remove_file(path)?;
    socket.bind(name)
}

/// A new directory that nobody else can enter.
fn private_directory() -> io::Result<PathBuf> {
    let parent = ["TMPDIR", "TEMPDIR", "TMP"]
        .into_iter()
        .filter_map(std::env::var_os)
        .map(PathBuf::from)
        .chain([PathBuf::from("/tmp")])
        .find(|path| path.is_dir())
        .unwrap_or_else(|| PathBuf::from("."));
    let mut last = None;
    for _ in 0..DIRECTORY_ATTEMPTS {
        // Keyed at random by the standard library: not to be guessed and squatted beforehand.
        let random = RandomState::new().build_hasher().finish();
        let path = parent.join(format!("sinew-{random:016x}"));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AlreadyExists.into()))
}

impl Made {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        // Absolute, for the program may change its directory meanwhile.
        let path = match std::env::current_dir() {
            Ok(current) => current.join(path),
            Err(_) => path.to_owned(),
        };
        Ok(Made {
            path,
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Nobody is left to hear of a failure, and what is left behind is harmless: the next bind
        // finds a dead socket.
        if let Some(made) = &self.file {
            if let Ok(now) = fs::symlink_metadata(&made.path) {
                if (now.dev(), now.ino()) == (made.device, made.inode) {
                    let _ = fs::remove_file(&made.path);
                }
            }
        }
        if let Some(directory) = &self.directory {
            let _ = fs::remove_dir(directory);
        }
    }
}

/// Two random 64-bit names in a row do not collide by chance.
const DIRECTORY_ATTEMPTS: u32 = 8;
