//! The cache: trees by digest, each unpacked once, shared by all processes of a user.
//!
//! ```text
//! images/DIGEST/root/        a tree
//! images/DIGEST/image.json   what it is
//! names/…                    which digest an image's name stood for when it was pulled
//! pulling/DIGEST/            of one that is on its way: layers as far as they came, the tree as far as it is; or as far
//!                            as it is still there, of one that goes
//! locks/DIGEST               exclusive for who makes or removes it, shared for who uses it
//! ```
//!
//! A tree is made beside its place and then renamed, and renamed again before it is removed: one that has its name is
//! whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::Error;

/// A folder with trees.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// Held by who uses a tree, or makes it.
pub(crate) type Lock = Flock<File>;

/// What is known of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    /// What it was asked for as.
    pub(crate) what: String,
    /// Its files' bytes.
    pub(crate) bytes: u64,
    /// Its entries.
    pub(crate) entries: u64,
}

/// Something in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The image's digest.
    pub digest: String,
    /// What it was asked for as; of one that isn't whole nobody knows.
    pub what: Option<String>,
    /// How much room it takes, in bytes; of a whole tree its files' sizes, else what has come so far.
    pub bytes: u64,
    /// When it was unpacked.
    pub made: Option<SystemTime>,
    /// Whether it is whole.
    pub is_whole: bool,
}

/// What came of pruning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// What is gone.
    pub removed: Vec<Entry>,
    /// What some process uses or makes just now.
    pub in_use: Vec<Entry>,
}

/// What an image's name stood for.
#[derive(Serialize, Deserialize)]
struct Named {
    name: String,
    digest: String,
}

impl Cache {
    /// Where this user's is: `$UNDERLAY_CACHE`, `$XDG_CACHE_HOME/underlay` or `~/.cache/underlay`.
    ///
    /// # Errors
    /// Nobody says where.
    pub fn of_user() -> Result<Self, Error> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        // Relative paths are to be ignored (XDG base directory specification 0.8).
        let base =
            || set("XDG_CACHE_HOME").filter(|path| path.is_absolute()).or_else(|| Some(set("HOME")?.join(".cache")));
        let root = set("UNDERLAY_CACHE").or_else(|| Some(base()?.join("underlay"))).ok_or(Error::NoCache)?;
        Ok(Self::at(root))
    }

    /// In this folder, which is made when something is put into it.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// All that is in it: trees, then what is on its way.
    ///
    /// # Errors
    /// It can't be read.
    pub fn entries(&self) -> Result<Vec<Entry>, Error> {
        let whole = self.names_in("images")?.into_iter().map(|digest| self.whole(&digest));
        let partial = self.names_in("pulling")?.into_iter().map(|digest| self.partial(&digest));
        Ok(whole.chain(partial).collect())
    }

    /// Removes all that no process uses.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn prune(&self) -> Result<Pruned, Error> {
        let mut pruned = Pruned::default();
        for entry in self.entries()? {
            let Ok(digest) = entry.digest.parse::<Digest>() else { continue };
            let Some(_lock) = self.try_lock(&digest, FlockArg::LockExclusiveNonblock)? else {
                pruned.in_use.push(entry);
                continue;
            };
            if entry.is_whole {
                self.set_aside(&digest)?;
            }
            remove(&self.pulling(&digest))?;
            pruned.removed.push(entry);
        }
        let names = self.root.join("names");
        for name in self.names_in("names")? {
            let path = names.join(name);
            if self.named(&path).is_none_or(|digest| !self.image(&digest).exists()) {
                fs::remove_file(&path).or_else(ignore_missing).map_err(Error::cache(&path))?;
            }
        }
        Ok(pruned)
    }

    /// Takes a tree's name away: half of one that is being removed must not count as whole, whoever ends the removal.
    fn set_aside(&self, digest: &Digest) -> Result<(), Error> {
        let (image, gone) = (self.image(digest), self.pulling(digest).join("gone"));
        remove(&gone)?;
        make(&self.pulling(digest))?;
        fs::rename(&image, &gone).or_else(ignore_missing).map_err(Error::cache(&image))
    }

    fn whole(&self, hex: &str) -> Entry {
        let folder = self.root.join("images").join(hex);
        let about = fs::read(folder.join("image.json")).ok();
        let about = about.and_then(|text| serde_json::from_slice::<About>(&text).ok());
        let made = fs::metadata(folder.join("image.json")).and_then(|about| about.modified()).ok();
        let (what, bytes) = about.map_or((None, 0), |about| (Some(about.what), about.bytes));
        Entry { digest: format!("sha256:{hex}"), what, bytes, made, is_whole: true }
    }

    fn partial(&self, hex: &str) -> Entry {
        let files = fs::read_dir(self.root.join("pulling").join(hex)).into_iter().flatten();
        let bytes = files.filter_map(|file| file.ok()?.metadata().ok()).filter(|about| about.is_file());
        let bytes = bytes.map(|about| about.len()).sum();
        Entry { digest: format!("sha256:{hex}"), what: None, bytes, made: None, is_whole: false }
    }

    fn names_in(&self, folder: &str) -> Result<Vec<String>, Error> {
        let path = self.root.join(folder);
        let listed = match fs::read_dir(&path) {
            Ok(listed) => listed,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Error::cache(path)(error)),
        };
        let mut names = Vec::new();
        for entry in listed {
            names.push(entry.map_err(Error::cache(&path))?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn image(&self, digest: &Digest) -> PathBuf {
        self.root.join("images").join(digest.hex())
    }

    /// The folder of an image that is on its way.
    pub(crate) fn pulling(&self, digest: &Digest) -> PathBuf {
        self.root.join("pulling").join(digest.hex())
    }

    /// A tree, if it is there and whole.
    pub(crate) fn tree(&self, digest: &Digest) -> Option<PathBuf> {
        Some(self.image(digest).join("root")).filter(|tree| tree.is_dir())
    }

    /// Gives a tree its place. `made` is a folder of the cache that holds nothing but `root`.
    pub(crate) fn put(&self, digest: &Digest, made: &Path, about: &About) -> Result<(), Error> {
        let (image, text) = (self.image(digest), made.join("image.json"));
        let json = serde_json::to_vec_pretty(about).map_err(|error| Error::cache(&text)(error.into()))?;
        fs::write(&text, json).map_err(Error::cache(&text))?;
        remove(&image)?;
        make(&self.root.join("images"))?;
        fs::rename(made, &image).map_err(Error::cache(&image))
    }

    /// What a name stood for when it was pulled, if the tree is still there.
    pub(crate) fn known(&self, name: &str) -> Option<Digest> {
        self.named(&self.name_file(name)).filter(|digest| self.tree(digest).is_some())
    }

    /// Notes what a name stands for.
    pub(crate) fn note(&self, name: &str, digest: &Digest) -> Result<(), Error> {
        let (folder, path) = (self.root.join("names"), self.name_file(name));
        make(&folder)?;
        let named = Named { name: name.to_owned(), digest: digest.to_string() };
        let text = serde_json::to_vec_pretty(&named).map_err(|error| Error::cache(&path)(error.into()))?;
        // Beside, then renamed: who reads it sees one name or the other.
        let beside = folder.join(format!(".{}.{}", Digest::of(name.as_bytes()).hex(), std::process::id()));
        let write = || {
            File::create(&beside)?.write_all(&text)?;
            fs::rename(&beside, &path)
        };
        write().map_err(Error::cache(&path))
    }

    fn name_file(&self, name: &str) -> PathBuf {
        self.root.join("names").join(Digest::of(name.as_bytes()).hex())
    }

    fn named(&self, file: &Path) -> Option<Digest> {
        serde_json::from_slice::<Named>(&fs::read(file).ok()?).ok()?.digest.parse().ok()
    }

    /// A lock, unless somebody else's stands against it.
    pub(crate) fn try_lock(&self, digest: &Digest, kind: FlockArg) -> Result<Option<Lock>, Error> {
        let (path, file) = self.lock_file(digest)?;
        match Flock::lock(file, kind) {
            Ok(lock) => Ok(Some(lock)),
            Err((_, Errno::EWOULDBLOCK)) => Ok(None),
            Err((_, errno)) => Err(Error::cache(path)(errno.into())),
        }
    }

    /// A lock, once nobody's stands against it.
    pub(crate) fn lock(&self, digest: &Digest, kind: FlockArg) -> Result<Lock, Error> {
        let (path, mut file) = self.lock_file(digest)?;
        loop {
            match Flock::lock(file, kind) {
                Ok(lock) => return Ok(lock),
                Err((again, Errno::EINTR)) => file = again,
                Err((_, errno)) => return Err(Error::cache(path)(errno.into())),
            }
        }
    }

    fn lock_file(&self, digest: &Digest) -> Result<(PathBuf, File), Error> {
        let folder = self.root.join("locks");
        make(&folder)?;
        let path = folder.join(digest.hex());
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(Error::cache(&path))?;
        Ok((path, file))
    }
}

/// Makes a folder of the cache, and those above it.
pub(crate) fn make(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(Error::cache(folder))
}

/// Removes a folder of the cache, if it is there.
pub(crate) fn remove(folder: &Path) -> Result<(), Error> {
    fs::remove_dir_all(folder).or_else(ignore_missing).map_err(Error::cache(folder))
}

fn ignore_missing(error: io::Error) -> io::Result<()> {
    if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
