//! Numbers that no two probes share, for [`Mark::Payload`](crate::mark::Mark::Payload).

use std::sync::atomic::{AtomicU32, Ordering};

/// A number that no other probe of this process has had, nor one of another process on this host that runs at the same
/// time: the process id above, a counter below.
pub(crate) fn fresh() -> u64 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    (u64::from(std::process::id()) << 32) | u64::from(NEXT.fetch_add(1, Ordering::Relaxed))
}
