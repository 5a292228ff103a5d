//! Symbolic links that stay in their tree.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

/// A symbolic link's target, for a link in a directory `depth` levels below the tree's root: relative, and never above
/// the root. An absolute target is one from the tree's root, as it would be if the tree were the root of a process, and
/// `..` at the root stays there, as it does for such a process.
///
/// A `..` after a name takes that name away. Where the name is a link to a directory elsewhere that is another place
/// than the one a process would come to; but only so does a link stay inside whatever the others are.
pub fn contained(target: &Path, depth: usize) -> PathBuf {
    let mut ups = if target.is_absolute() { depth } else { 0 };
    let mut names: Vec<&OsStr> = Vec::new();
    for part in target.components() {
        match part {
            Component::Normal(name) => names.push(name),
            Component::ParentDir if names.pop().is_none() => ups = (ups + 1).min(depth),
            Component::ParentDir | Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    let path: PathBuf = std::iter::repeat_n(OsStr::new(".."), ups).chain(names).collect();
    if path.as_os_str().is_empty() { PathBuf::from(".") } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_target_leads_out() {
        for (target, depth, expected) in [
            ("libc.so.6", 2, "libc.so.6"),
            ("../lib/x", 1, "../lib/x"),
            ("/usr/lib", 0, "usr/lib"),
            ("/etc/alternatives/awk", 2, "../../etc/alternatives/awk"),
            ("/", 3, "../../.."),
            ("/", 0, "."),
            (".", 1, "."),
            ("../../../../etc/passwd", 1, "../etc/passwd"),
            ("/../../etc/passwd", 1, "../etc/passwd"),
            ("up/../../etc/passwd", 1, "../etc/passwd"),
            ("a/../../../b", 2, "../../b"),
            ("..", 0, "."),
        ] {
            assert_eq!(contained(Path::new(target), depth), Path::new(expected), "{target}, {depth} below the root");
        }
    }
}
