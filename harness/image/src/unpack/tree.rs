//! A directory tree that nothing leads out of: every path is resolved by the kernel with the tree for its root.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmod, fchmodat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, linkat, symlinkat, syncfs, unlinkat};

use super::link;

/// How many directories may stand one in another. Who removes a tree holds a descriptor for each.
const DEEPEST: usize = 128;

/// The tree.
pub(super) struct Tree {
    root: OwnedFd,
}

/// What stands at a name.
#[derive(PartialEq)]
enum Found {
    Nothing,
    Directory,
    File,
    Other,
}

impl Tree {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        let root = nix::fcntl::open(directory, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(Self { root })
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(syncfs(&self.root)?)
    }

    /// A directory; one that is there stays, with this mode.
    pub(super) fn directory(&self, path: &Path, mode: u32) -> io::Result<()> {
        let (parent, name) = self.place(path)?;
        // Its owner has to get in, to write what is in it and to remove it.
        let mode = Mode::from_bits_truncate(mode | 0o700);
        if found(&parent, name)? == Found::Directory {
            return Ok(fchmodat(&parent, name, mode, FchmodatFlags::NoFollowSymlink).or_else(|errno| match errno {
                // Kernels before 6.6 can't; what the name is was looked up just now, and the tree is ours alone.
                Errno::EOPNOTSUPP | Errno::ENOSYS => fchmodat(&parent, name, mode, FchmodatFlags::FollowSymlink),
                errno => Err(errno),
            })?);
        }
        remove(&parent, name)?;
        self.room_below(&parent)?;
        mkdirat(&parent, name, Mode::S_IRWXU)?;
        let made = openat(&parent, name, OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())?;
        Ok(fchmod(made, mode)?)
    }

    /// A new file in place of whatever is there.
    pub(super) fn file(&self, path: &Path, mode: u32) -> io::Result<File> {
        let (parent, name) = self.place(path)?;
        remove(&parent, name)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let file = openat(&parent, name, flags, Mode::S_IRUSR | Mode::S_IWUSR)?;
        fchmod(&file, Mode::from_bits_truncate(mode))?;
        Ok(file.into())
    }

    /// A symbolic link in place of whatever is there.
    pub(super) fn symlink(&self, path: &Path, target: &Path) -> io::Result<()> {
        let (parent, name) = self.place(path)?;
        remove(&parent, name)?;
        let target = link::contained(target, self.depth(&parent)?);
        Ok(symlinkat(&target, &parent, name)?)
    }

    /// Another name for a file that is there.
    pub(super) fn hard_link(&self, path: &Path, target: &Path) -> io::Result<()> {
        let Some(target_name) = target.file_name() else { return Err(invalid("a hard link to the root")) };
        let target_parent = self.directory_of(target)?;
        // A link to a symbolic link would be read from another depth.
        if found(&target_parent, target_name)? != Found::File {
            return Err(invalid(format!("a hard link to {}, which is no file", target.display())));
        }
        let (parent, name) = self.place(path)?;
        if path == target {
            return Ok(());
        }
        remove(&parent, name)?;
        Ok(linkat(&target_parent, target_name, &parent, name, AtFlags::empty())?)
    }

    /// Removes what is there, with all below it.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        let Some(name) = path.file_name() else { return Ok(()) };
        match self.directory_of(path) {
            Ok(parent) => remove(&parent, name),
            // Gone already.
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes all that is in a directory but what is to be kept.
    pub(super) fn clear(&self, path: &Path, keep: &dyn Fn(&Path) -> bool) -> io::Result<()> {
        let directory = match self.resolve(path) {
            Ok(directory) => directory,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in fs::read_dir(by_fd(&directory))? {
            let name = entry?.file_name();
            let below = path.join(&name);
            match (keep(&below), found(&directory, &name)?) {
                (true, Found::Directory) => self.clear(&below, keep)?,
                (true, _) => {}
                (false, _) => remove(&directory, &name)?,
            }
        }
        Ok(())
    }

    /// The directory that a name is to be made in, made itself where it isn't there; and the name.
    fn place<'a>(&self, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
        let Some(name) = path.file_name() else { return Err(invalid("the root stays as it is")) };
        let parent = match self.directory_of(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => self.make_above(path)?,
            other => other?,
        };
        Ok((parent, name))
    }

    fn make_above(&self, path: &Path) -> io::Result<OwnedFd> {
        let above: Vec<_> = path.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
        for directory in above.into_iter().rev() {
            let Some(name) = directory.file_name() else { continue };
            match self.resolve(directory) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let parent = self.directory_of(directory)?;
                    self.room_below(&parent)?;
                    mkdirat(&parent, name, Mode::from_bits_truncate(0o755))?;
                }
                other => drop(other?),
            }
        }
        self.directory_of(path)
    }

    fn directory_of(&self, path: &Path) -> io::Result<OwnedFd> {
        self.resolve(path.parent().unwrap_or(Path::new("")))
    }

    /// A directory of the tree. Links on the way are followed as if the tree were the whole file system.
    fn resolve(&self, path: &Path) -> io::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS | ResolveFlag::RESOLVE_NO_XDEV);
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        Ok(openat2(&self.root, path, how)?)
    }

    /// Whether a directory may have another in it. Names alone don't tell: links lead down too.
    fn room_below(&self, directory: &OwnedFd) -> io::Result<()> {
        match self.depth(directory)? < DEEPEST {
            true => Ok(()),
            false => Err(invalid(format!("it is more than {DEEPEST} folders deep"))),
        }
    }

    /// How far below the root a directory of the tree really is, whatever links led there.
    fn depth(&self, directory: &OwnedFd) -> io::Result<usize> {
        let (root, directory) = (fs::read_link(by_fd(&self.root))?, fs::read_link(by_fd(directory))?);
        let below = directory.strip_prefix(&root).map_err(|_| invalid("the directory is not in the tree"))?;
        Ok(below.components().count())
    }
}

fn by_fd(directory: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()))
}

fn found(parent: &OwnedFd, name: &OsStr) -> io::Result<Found> {
    let of = |stat: FileStat| match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFDIR => Found::Directory,
        SFlag::S_IFREG => Found::File,
        _ => Found::Other,
    };
    match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(of(stat)),
        Err(Errno::ENOENT) => Ok(Found::Nothing),
        Err(errno) => Err(errno.into()),
    }
}

fn remove(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match found(parent, name)? {
        Found::Nothing => Ok(()),
        // Follows no link on its way down.
        Found::Directory => fs::remove_dir_all(by_fd(parent).join(name)),
        Found::File | Found::Other => Ok(unlinkat(parent, name, UnlinkatFlags::NoRemoveDir)?),
    }
}

fn invalid(reason: impl Into<String>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason.into())
}
