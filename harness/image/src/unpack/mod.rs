//! Layers to a tree, bounded.
//!
//! What an archive says is not believed. Every path is resolved by the kernel with the tree for its root
//! (openat2(2), `RESOLVE_IN_ROOT`), names with `..` and absolute ones are refused, and a symbolic link is written so that
//! it can't lead out of the tree, whether it is followed from within or from outside ([`link::contained`]). Devices,
//! sockets and pipes are left out; set-user-ID and set-group-ID bits, owners and extended attributes are not taken over.
//! Sizes and entries are counted while they are read, not by what headers say, and there is a limit to the depth.
//!
//! Layers, whiteouts: OCI image specification 1.1, layer.md.

pub(crate) mod archive;
pub mod link;
mod tree;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use crate::error::Error;
use crate::limits::Limits;

use archive::{Kind, Members};
use tree::Tree;

/// Marks a name that a layer removes.
const WHITEOUT: &[u8] = b".wh.";
/// Marks a directory of which a layer removes all that was there.
const OPAQUE: &[u8] = b".wh..wh..opq";
/// The kernel's PATH_MAX.
const LONGEST_PATH: usize = 4096;

/// Unpacks layers one on the other.
pub(crate) struct Unpacker {
    tree: Tree,
    limits: Limits,
    entries: u64,
    bytes: u64,
}

impl Unpacker {
    /// Into an empty directory.
    pub(crate) fn into(directory: &Path, limits: Limits) -> Result<Self, Error> {
        let tree = Tree::open(directory).map_err(Error::cache(directory))?;
        Ok(Self { tree, limits, entries: 0, bytes: 0 })
    }

    /// Puts a layer, a tar archive without compression, on what is there.
    pub(crate) fn layer(&mut self, what: &str, archive: impl Read) -> Result<(), Error> {
        let mut written = Written::default();
        let mut archive = tar::Archive::new(archive);
        let mut members = Members::of(what, &mut archive)?;
        while let Some(mut member) = members.next()? {
            self.entries += 1;
            if self.entries > self.limits.entries {
                let limit = format!("{} entries", self.limits.entries);
                return Err(Error::TooMuch { what: what.to_owned(), limit });
            }
            let path = inside(what, &member.path)?;
            // The root itself.
            let Some(name) = path.file_name() else { continue };
            let failed = |error: std::io::Error| refused(what, &path, error);
            if let Some(removed) = name.as_bytes().strip_prefix(WHITEOUT) {
                let parent = path.parent().unwrap_or(Path::new(""));
                if name.as_bytes() == OPAQUE {
                    self.tree.clear(parent, &|path| written.0.contains(path)).map_err(failed)?;
                } else if !removed.starts_with(WHITEOUT) {
                    let removed = inside(what, &parent.join(OsStr::from_bytes(removed)))?;
                    if !written.0.contains(&removed) {
                        self.tree.remove(&removed).map_err(failed)?;
                    }
                }
                continue;
            }
            match &member.kind {
                Kind::Directory => self.tree.directory(&path, member.mode).map_err(failed)?,
                Kind::File => {
                    let file = self.tree.file(&path, member.mode).map_err(failed)?;
                    self.bytes += member.copy_to(file, self.limits.unpacked - self.bytes, &self.limits)?;
                }
                Kind::Symlink(target) => self.tree.symlink(&path, target).map_err(failed)?,
                Kind::HardLink(target) => {
                    let target = inside(what, target)?;
                    self.tree.hard_link(&path, &target).map_err(failed)?;
                }
                Kind::Special => continue,
            }
            written.note(path);
        }
        Ok(())
    }

    /// Bytes and entries so far, those included that later layers removed.
    pub(crate) fn size(&self) -> (u64, u64) {
        (self.bytes, self.entries)
    }

    /// Waits until it is all on disk: a tree that was given its name stays whole, whatever happens to the machine.
    pub(crate) fn sync(&self) -> std::io::Result<()> {
        self.tree.sync()
    }
}

/// What the layer at hand wrote, so that its own whiteouts don't remove it.
#[derive(Default)]
struct Written(HashSet<PathBuf>);

impl Written {
    fn note(&mut self, path: PathBuf) {
        // Directories above it may have no entry of their own.
        for above in path.ancestors().skip(1) {
            if above.as_os_str().is_empty() || !self.0.insert(above.to_owned()) {
                break;
            }
        }
        self.0.insert(path);
    }
}

/// An entry's name as a path below the root.
fn inside(what: &str, path: &Path) -> Result<PathBuf, Error> {
    if path.as_os_str().len() > LONGEST_PATH {
        return Err(Error::hostile(what, path, format!("the name is longer than {LONGEST_PATH} bytes")));
    }
    let mut below = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => below.push(name),
            Component::CurDir => {}
            Component::ParentDir => return Err(Error::hostile(what, path, "the name leads out by `..`")),
            Component::RootDir | Component::Prefix(_) => {
                return Err(Error::hostile(what, path, "the name is absolute"));
            }
        }
    }
    Ok(below)
}

/// What the kernel says to an entry. Where it is the disk's fault rather than the entry's, the cache's.
fn refused(what: &str, path: &Path, error: std::io::Error) -> Error {
    use std::io::ErrorKind as Kind;
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded | Kind::PermissionDenied | Kind::ReadOnlyFilesystem => {
            Error::Cache { path: path.to_owned(), source: error }
        }
        _ => Error::hostile(what, path, error.to_string()),
    }
}
