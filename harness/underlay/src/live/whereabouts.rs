//! Under which kernel, and in which pid namespace, this process is: what its numbers mean anything to.

use std::fs;
use std::io;

/// The running kernel's name for itself, another after each start (random(4)).
///
/// # Errors
/// /proc isn't there.
pub fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Where this process's number means this process: its kernel and its pid namespace, in a line. The first namespace has
/// the same number under each kernel.
///
/// # Errors
/// /proc isn't there, or is one that doesn't show this process.
pub fn numbering() -> io::Result<String> {
    let namespace = fs::read_link("/proc/self/ns/pid")?;
    Ok(format!("{} {}", boot()?, namespace.display()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_stays_where_it_is() {
        let here = super::numbering().expect("/proc is there");
        assert!(here.contains(" pid:[") && here.lines().count() == 1, "{here}");
        assert_eq!(super::numbering().ok(), Some(here));
    }
}
