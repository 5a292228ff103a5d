//! Memory that the kernel promises: with `vm.overcommit_memory` 2 no more of it than it can keep (Linux,
//! Documentation/mm/overcommit-accounting.rst).

use std::fs;

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
    (mode.trim() == "2").then(|| limit_and_promised(&fs::read_to_string("/proc/meminfo").ok()?))?
}

fn limit_and_promised(meminfo: &str) -> Option<(u64, u64)> {
    let bytes = |name: &str| -> Option<u64> {
        let value = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(value.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()? << 10)
    };
    Some((bytes("CommitLimit")?, bytes("Committed_AS")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        let meminfo = "MemTotal:       24689764 kB\nCommitLimit:    12344880 kB\nCommitted_AS:    2217192 kB\n";
        assert_eq!(limit_and_promised(meminfo), Some((12_344_880 << 10, 2_217_192 << 10)));
        assert_eq!(limit_and_promised("MemTotal: 1 kB\n"), None);
        assert!(limit_and_promised(&fs::read_to_string("/proc/meminfo").unwrap()).is_some());
    }
}
