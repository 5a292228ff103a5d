//! What the process may have: open files, processes and threads, memory. A lab needs some hundred files: a namespace, a
//! netlink socket and a capture for each machine, and the sockets of all that answers.

mod cgroup;
mod promised;

use std::error::Error;
use std::hint::black_box;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::thread;

use nix::errno::Errno;
use nix::libc::RLIM_INFINITY;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The memory that has to be there, in bytes: a dozen cases at a time take 80 MiB.
const MEMORY: u64 = 128 << 20;
/// The addresses that have to be free, in bytes: the allocator sets some aside for each thread, 1 GiB in all where it may.
const ADDRESSES: usize = 512 << 20;

/// There is too little of it here.
#[derive(Debug, thiserror::Error)]
enum Short {
    #[error("no more processes or threads can be started: {0}")]
    Threads(io::Error),
    #[error("labs take {} MiB of memory and {} MiB of addresses", MEMORY >> 20, ADDRESSES >> 20)]
    Memory,
}

/// Raises the limit of open files as far as the process may on its own: from the soft limit, often 1024 for the sake of
/// programs that use select(2), to the hard one. Where that is refused, the soft limit stays.
pub fn raise() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Whether the process may have as many threads more, and the files they take. Later a lack would be a panic, or a wait
/// for a thread that never comes.
///
/// # Errors
/// It may not; [`hint`] tells which limit that is.
pub fn room(threads: usize) -> io::Result<()> {
    // tokio panics where there is no room for its own pair for signals (tokio 1.54, signal/unix.rs), which comes after
    // a poll and its waker.
    let pairs: [_; 3] = std::array::from_fn(|_| UnixStream::pair());
    pairs.into_iter().collect::<io::Result<Vec<_>>>()?;
    let gate = Mutex::new(());
    thread::scope(|scope| {
        // None ends before all are there.
        let closed = gate.lock();
        let pass = || drop(gate.lock().unwrap_or_else(PoisonError::into_inner));
        let mut started = Vec::new();
        let refused = (0..threads).find_map(|_| match thread::Builder::new().spawn_scoped(scope, pass) {
            Ok(thread) => {
                started.push(thread);
                None
            }
            Err(error) => Some(error),
        });
        drop(closed);
        // The scope itself waits for their work alone; to the kernel they count until they are joined.
        started.into_iter().for_each(|thread| drop(thread.join()));
        refused.map_or(Ok(()), |error| Err(no_more_threads(error)))
    })
}

/// Whether the process may take the memory that labs take. Later a lack would be an abort.
///
/// # Errors
/// It may not; [`hint`] tells which limit that is.
pub fn memory() -> io::Result<()> {
    // Addresses are free but where they are limited; asking for them takes of what the kernel promises, too.
    let mut addresses: Vec<u8> = Vec::new();
    let few = set(Resource::RLIMIT_AS).is_some() && black_box(&mut addresses).try_reserve_exact(ADDRESSES).is_err();
    let least = [memory_of_group(), promised::left()].into_iter().flatten().min();
    match few || least.is_some_and(|bytes| bytes < MEMORY) {
        true => Err(io::Error::other(Short::Memory)),
        false => Ok(()),
    }
}

/// That a process or thread couldn't be started, so that [`hint`] knows.
pub(crate) fn no_more_threads(error: io::Error) -> io::Error {
    io::Error::other(Short::Threads(error))
}

/// Bytes of memory that this process's cgroups may take; none without such a limit.
pub(crate) fn memory_of_group() -> Option<u64> {
    cgroup::lowest(cgroup::MEMORY).map(|(bytes, _)| bytes)
}

/// What to say beside an error whose cause is a limit; none where it is something else.
pub fn hint(error: &(dyn Error + 'static)) -> Option<String> {
    std::iter::successors(Some(error), |error| (*error).source()).find_map(|cause| {
        let cause = cause.downcast_ref::<io::Error>()?;
        match (
            cause.get_ref().and_then(|inner| inner.downcast_ref::<Short>()),
            cause.raw_os_error().map(Errno::from_raw),
        ) {
            (Some(Short::Threads(_)), _) => threads(),
            (Some(Short::Memory), _) | (_, Some(Errno::ENOMEM)) => too_little_memory(),
            (_, Some(Errno::EMFILE)) => files(),
            _ => None,
        }
    })
}

fn files() -> Option<String> {
    Some(format!(
        "this process may have {} files open at once (RLIMIT_NOFILE); remedy: ulimit -n 4096, or fewer cases at a time: \
         --jobs 1",
        set(Resource::RLIMIT_NOFILE)?
    ))
}

fn threads() -> Option<String> {
    let user = set(Resource::RLIMIT_NPROC).map(|count| {
        format!("this user may have {count} processes and threads at once (RLIMIT_NPROC; remedy: ulimit -u 4096)")
    });
    let group = cgroup::lowest(cgroup::PROCESSES)
        .map(|(count, file)| format!("this cgroup may have {count} of them ({}; remedy: raise it)", file.display()));
    // Each has a stack.
    told([user, group, address_space(), promised::hint()])
}

fn too_little_memory() -> Option<String> {
    let group = cgroup::lowest(cgroup::MEMORY).map(|(bytes, file)| {
        format!("this cgroup may take {} MiB ({}; remedy: raise it)", bytes >> 20, file.display())
    });
    told([address_space(), group, promised::hint()])
}

fn address_space() -> Option<String> {
    let bytes = set(Resource::RLIMIT_AS)?;
    Some(format!("this process may take {} MiB of addresses (RLIMIT_AS; remedy: ulimit -v unlimited)", bytes >> 20))
}

fn told<const N: usize>(limits: [Option<String>; N]) -> Option<String> {
    let limits: Vec<_> = limits.into_iter().flatten().collect();
    match &limits[..] {
        [] => None,
        [limit] => Some(limit.clone()),
        several => Some(format!("one of these is too low: {}", several.join("; "))),
    }
}

/// A soft limit, where there is one.
fn set(resource: Resource) -> Option<u64> {
    getrlimit(resource).ok().map(|(soft, _)| soft).filter(|soft| *soft != RLIM_INFINITY)
}
