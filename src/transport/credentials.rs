//! Who is at the other end of an ipc connection, as the kernel knows it.
//!
//! The kernel notes process, user and groups when a peer connects (or, for the connecting side, when the
//! peer began to listen); a peer cannot forge them. Linux only: elsewhere nobody is known, and whoever
//! asks has to refuse.
//!
//! Neither `std` nor `socket2` can ask for this, so two system calls are made here.

use std::io;
use std::os::fd::BorrowedFd;

use crate::config::IpcFilters;

/// A process, its user and its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) pid: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Credentials {
    /// `:uid:gid:pid`, the form of a peer address over ipc.
    pub(super) fn label(&self) -> String {
        format!(":{}:{}:{}", self.uid, self.gid, self.pid)
    }
}

/// Whether the filters let this peer in, and if they do not, who it is. Without credentials nobody is let
/// in, unless there are no filters.
pub(super) fn admit(peer: BorrowedFd<'_>, filters: &IpcFilters) -> Result<(), String> {
    if filters.is_empty() {
        return Ok(());
    }
    let Ok(known) = of_peer(peer) else {
        return Err(String::new());
    };
    let named = filters.pids.contains(&known.pid)
        || filters.uids.contains(&known.uid)
        || filters.gids.contains(&known.gid);
    // Asked for last: the list may be long.
    let supplementary = || {
        let groups = groups_of_peer(peer).unwrap_or_default();
        filters.gids.iter().any(|gid| groups.contains(gid))
    };
    if named || (!filters.gids.is_empty() && supplementary()) {
        Ok(())
    } else {
        Err(known.label())
    }
}

/// The process at the other end.
///
/// # Errors
/// If the system does not tell.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code, reason = "neither std nor socket2 can ask for it")]
pub(super) fn of_peer(peer: BorrowedFd<'_>) -> io::Result<Credentials> {
    use std::os::fd::AsRawFd;

    let mut found = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let size = std::mem::size_of::<libc::ucred>() as libc::socklen_t;
    let mut length = size;
    // SAFETY: the descriptor is open, as it is borrowed; the kernel writes at most `length` octets to
    // `found`, which is exactly that large and valid for any octets, and the length written to `length`.
    let result = unsafe {
        libc::getsockopt(
            peer.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            std::ptr::from_mut(&mut found).cast(),
            &mut length,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    // The kernel says -1 of a socket without a peer, and 0 of a process outside our name space.
    match u32::try_from(found.pid) {
        Ok(pid) if length == size && found.uid != u32::MAX => Ok(Credentials {
            pid,
            uid: found.uid,
            gid: found.gid,
        }),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

/// The supplementary groups of the process at the other end.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code, reason = "neither std nor socket2 can ask for it")]
fn groups_of_peer(peer: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    use std::os::fd::AsRawFd;

    let mut groups: Vec<libc::gid_t> = vec![0; FEW_GROUPS];
    loop {
        let mut length = libc::socklen_t::try_from(std::mem::size_of_val(groups.as_slice()))
            .map_err(|_| io::ErrorKind::OutOfMemory)?;
        // SAFETY: the descriptor is open, as it is borrowed; the kernel writes at most `length` octets to
        // `groups`, which is exactly that large and valid for any octets, and the length it has (or
        // needs) to `length`.
        let result = unsafe {
            libc::getsockopt(
                peer.as_raw_fd(),
                libc::SOL_SOCKET,
                SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &mut length,
            )
        };
        let count = length as usize / std::mem::size_of::<libc::gid_t>();
        if result == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE)
            || count <= groups.len()
            || count > MANY_GROUPS
        {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn of_peer(_peer: BorrowedFd<'_>) -> io::Result<Credentials> {
    Err(super::unsupported("asking who is at the other end"))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn groups_of_peer(_peer: BorrowedFd<'_>) -> io::Result<Vec<u32>> {
    Err(super::unsupported("asking who is at the other end"))
}

/// Linux 4.13; not in `libc`. The architectures that number socket options otherwise do it here too.
#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    not(any(target_arch = "sparc", target_arch = "sparc64"))
))]
const SO_PEERGROUPS: libc::c_int = 59;
#[cfg(all(
    any(target_os = "linux", target_os = "android"),
    any(target_arch = "sparc", target_arch = "sparc64")
))]
const SO_PEERGROUPS: libc::c_int = 0x003d;

/// Enough for nearly everyone.
#[cfg(any(target_os = "linux", target_os = "android"))]
const FEW_GROUPS: usize = 32;

/// `NGROUPS_MAX` of Linux.
#[cfg(any(target_os = "linux", target_os = "android"))]
const MANY_GROUPS: usize = 65_536;

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixStream;

    use super::{admit, groups_of_peer, of_peer};
    use crate::config::IpcFilters;

    /// What the kernel says of this process elsewhere: uid, gid, supplementary groups.
    fn own() -> (u32, u32, Vec<u32>) {
        let process = std::fs::metadata("/proc/self").unwrap();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let groups = status.lines().find_map(|line| line.strip_prefix("Groups:"));
        let groups = groups.unwrap().split_whitespace();
        let groups = groups.map(|gid| gid.parse().unwrap()).collect();
        (process.uid(), process.gid(), groups)
    }

    #[test]
    fn the_kernel_names_the_peer() {
        let (peer, _other) = UnixStream::pair().unwrap();
        let (uid, gid, mut groups) = own();
        let found = of_peer(peer.as_fd()).unwrap();
        assert_eq!((found.uid, found.gid), (uid, gid));
        assert_eq!(found.pid, std::process::id());
        assert_eq!(found.label(), format!(":{uid}:{gid}:{}", found.pid));
        let mut known = groups_of_peer(peer.as_fd()).unwrap();
        groups.sort_unstable();
        known.sort_unstable();
        assert_eq!(known, groups);
    }

    #[test]
    fn one_match_is_enough_and_none_is_not() {
        let (peer, _other) = UnixStream::pair().unwrap();
        let (uid, gid, groups) = own();
        let pid = std::process::id();
        let filters = |pids: &[u32], uids: &[u32], gids: &[u32]| IpcFilters {
            pids: pids.to_vec(),
            uids: uids.to_vec(),
            gids: gids.to_vec(),
        };
        let another = uid ^ 1;
        let stranger = (1..).find(|g| *g != gid && !groups.contains(g)).unwrap();
        let mut good = vec![
            filters(&[], &[], &[]),
            filters(&[pid], &[], &[]),
            filters(&[1, pid], &[another], &[stranger]),
            filters(&[], &[uid], &[]),
            filters(&[], &[another], &[stranger, gid]),
        ];
        good.extend(groups.iter().map(|group| filters(&[], &[], &[*group])));
        for filters in good {
            assert_eq!(admit(peer.as_fd(), &filters), Ok(()), "{filters:?}");
        }
        for filters in [
            filters(&[pid ^ 1], &[], &[]),
            filters(&[], &[another], &[]),
            filters(&[pid ^ 1], &[another], &[stranger]),
        ] {
            let refused = admit(peer.as_fd(), &filters).unwrap_err();
            assert_eq!(refused, format!(":{uid}:{gid}:{pid}"), "{filters:?}");
        }
    }

    #[test]
    fn who_cannot_be_asked_is_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let filters = IpcFilters {
            uids: vec![own().0],
            ..IpcFilters::default()
        };
        assert_eq!(admit(file.as_fd(), &filters), Err(String::new()));
        assert_eq!(admit(file.as_fd(), &IpcFilters::default()), Ok(()));
    }
}
