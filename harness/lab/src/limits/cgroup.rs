//! The limits of the cgroups that this process is in: Kubernetes, docker and systemd set them.

use std::fs;
use std::path::{Path, PathBuf};

/// Where cgroup hierarchies are mounted (cgroups(7)).
const MOUNTED: &str = "/sys/fs/cgroup";

/// What a controller limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limited {
    /// The controller's name in /proc/self/cgroup, of version 1.
    controller: &'static str,
    /// The file of version 2.
    file: &'static str,
    /// The file of version 1.
    file_v1: &'static str,
}

/// Bytes of memory, the kernel's for the group's namespaces among them.
pub(super) const MEMORY: Limited =
    Limited { controller: "memory", file: "memory.max", file_v1: "memory.limit_in_bytes" };
/// Processes and threads.
pub(super) const PROCESSES: Limited = Limited { controller: "pids", file: "pids.max", file_v1: "pids.max" };

/// The lowest limit that holds for this process, with the file that sets it; none where none is set.
pub(super) fn lowest(limited: Limited) -> Option<(u64, PathBuf)> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let set = files(limited, &groups).into_iter().filter_map(|file| {
        // "max" in version 2; version 1 says so by a number that no host has.
        let value: u64 = fs::read_to_string(&file).ok()?.trim().parse().ok()?;
        (value < 1 << 60).then_some((value, file))
    });
    set.min()
}

/// The files that may hold it: of the process's group and of all those above. A container may see its own group as the
/// topmost, while its name is still the host's: then only the last of them is there.
fn files(limited: Limited, groups: &str) -> Vec<PathBuf> {
    let of_line = |line: &str| -> Option<Vec<PathBuf>> {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let (roots, file) = if controllers.is_empty() {
            (vec![PathBuf::from(MOUNTED), Path::new(MOUNTED).join("unified")], limited.file)
        } else if controllers.split(',').any(|controller| controller == limited.controller) {
            (vec![Path::new(MOUNTED).join(controllers), Path::new(MOUNTED).join(limited.controller)], limited.file_v1)
        } else {
            return None;
        };
        let groups: Vec<&Path> = Path::new(path.trim_start_matches('/')).ancestors().collect();
        Some(roots.iter().flat_map(|root| groups.iter().map(move |group| root.join(group).join(file))).collect())
    };
    groups.lines().filter_map(of_line).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_both_versions_and_those_above_them() {
        let named = |limited, groups| -> Vec<_> {
            files(limited, groups).into_iter().map(|file| file.to_string_lossy().into_owned()).collect()
        };
        assert_eq!(
            named(MEMORY, "0::/kubepods/pod1\n")[..3],
            [
                "/sys/fs/cgroup/kubepods/pod1/memory.max",
                "/sys/fs/cgroup/kubepods/memory.max",
                "/sys/fs/cgroup/memory.max"
            ]
        );
        assert_eq!(
            named(PROCESSES, "8:pids:/docker/1\n4:memory:/\n")[..3],
            [
                "/sys/fs/cgroup/pids/docker/1/pids.max",
                "/sys/fs/cgroup/pids/docker/pids.max",
                "/sys/fs/cgroup/pids/pids.max"
            ]
        );
        assert!(named(MEMORY, "1:cpu,cpuacct:/a\n").is_empty());
    }
}
