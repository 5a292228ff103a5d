//! How many files the process may have open. A lab needs some hundred: a namespace, a netlink socket and a capture for
//! each machine, and the sockets of all that answers.

use std::error::Error;
use std::io;

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit of open files as far as the process may on its own: from the soft limit, often 1024 for the sake of
/// programs that use select(2), to the hard one. Where that is refused, the soft limit stays.
pub fn raise() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// What to say beside an error whose cause is that limit; none where it is another.
pub fn hint(error: &(dyn Error + 'static)) -> Option<String> {
    let mut causes = std::iter::successors(Some(error), |error| (*error).source());
    let full = causes.any(|cause| {
        let errno = cause.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error);
        errno.map(Errno::from_raw) == Some(Errno::EMFILE)
    });
    let (limit, _) = getrlimit(Resource::RLIMIT_NOFILE).ok().filter(|_| full)?;
    Some(format!(
        "this process may have {limit} files open at once (RLIMIT_NOFILE); remedy: ulimit -n 4096, or fewer cases at a \
         time: --jobs 1"
    ))
}
