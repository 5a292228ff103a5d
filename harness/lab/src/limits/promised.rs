//! Memory that the kernel promises: with `vm.overcommit_memory` 2 no more of it than it can keep (Linux,
//! Documentation/mm/overcommit-accounting.rst).

use std::fs;

use crate::host::memory;

/// Bytes that may still be promised; none where the kernel promises what is asked for.
pub(super) fn left() -> Option<u64> {
    let (limit, promised) = strictly()?;
    Some(limit.saturating_sub(promised))
}

/// What to say where there is such a limit.
pub(super) fn hint() -> Option<String> {
    let (limit, promised) = strictly()?;
    Some(format!(
        "this kernel promises {} MiB of memory in all and has promised {} MiB of them (vm.overcommit_memory is 2; \
         CommitLimit and Committed_AS in /proc/meminfo; remedy: sysctl vm.overcommit_memory=0, or a higher \
         vm.overcommit_ratio)",
        limit >> 20,
        promised >> 20
    ))
}

/// CommitLimit and Committed_AS in bytes, where the limit holds.
fn strictly() -> Option<(u64, u64)> {
    let mode = fs::read_to_string("/proc/sys/vm/overcommit_memory").ok()?;
    (mode.trim() == "2").then(|| Some((memory("CommitLimit")?, memory("Committed_AS")?)))?
}
