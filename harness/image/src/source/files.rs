//! The files of an image on disk, in a folder or in a tar archive, by name.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use nix::fcntl::OFlag;

use crate::error::Error;
use crate::unpack::archive::{Kind, Members};
use crate::unpack::link;

/// An image has a few files a layer.
const MOST_MEMBERS: usize = 10_000;

/// The files.
pub(super) struct Files {
    pub(super) path: PathBuf,
    kind: Kept,
}

enum Kept {
    Folder,
    Archive { file: File, members: HashMap<PathBuf, Place> },
}

/// Where a member of an archive is.
enum Place {
    At {
        offset: u64,
        size: u64,
    },
    /// Where this one is. `docker save` wrote such links for layers that are the same, before version 25.
    Same(PathBuf),
}

impl Files {
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let wrong = |reason: String| Error::NotAnImage { path: path.to_owned(), reason };
        let mut file = File::open(path).map_err(|error| wrong(error.to_string()))?;
        let about = file.metadata().map_err(|error| wrong(error.to_string()))?;
        let kind = if about.is_dir() {
            Kept::Folder
        } else if about.is_file() {
            let members = index(path, &mut file)?;
            Kept::Archive { file, members }
        } else {
            return Err(wrong("it is neither a file nor a folder".to_owned()));
        };
        Ok(Self { path: path.to_owned(), kind })
    }

    pub(super) fn what(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        match &self.kind {
            Kept::Folder => self.path.join(name).is_file(),
            Kept::Archive { members, .. } => members.contains_key(Path::new(name)),
        }
    }

    /// A file to be read, and its size.
    pub(super) fn read(&self, name: &str) -> Result<(Box<dyn Read + '_>, u64), Error> {
        let missing = || Error::corrupt(&self.what(), format!("{name} is missing in it"));
        match &self.kind {
            Kept::Folder => {
                let failed = |error: io::Error| Error::corrupt(&self.what(), format!("{name}: {error}"));
                // What `docker save` writes names its files itself.
                if !Path::new(name).components().all(|part| matches!(part, Component::Normal(_))) {
                    return Err(failed(io::Error::other("the name leads out of the folder")));
                }
                // A pipe would have it wait for somebody to write, and a device may have no end.
                let mut how = OpenOptions::new();
                how.read(true).custom_flags(OFlag::O_NONBLOCK.bits());
                let file = how.open(self.path.join(name)).map_err(failed)?;
                let about = file.metadata().map_err(failed)?;
                if !about.is_file() {
                    return Err(failed(io::Error::other("it is no file")));
                }
                Ok((Box::new(file), about.len()))
            }
            Kept::Archive { file, members } => {
                let place = match members.get(Path::new(name)) {
                    Some(Place::Same(other)) => members.get(other),
                    place => place,
                };
                let Some(Place::At { offset, size }) = place else { return Err(missing()) };
                Ok((Box::new(Section { file, at: *offset, left: *size }), *size))
            }
        }
    }

    /// A small file's content.
    pub(super) fn document(&self, name: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let (reader, size) = self.read(name)?;
        if size > limit {
            let what = format!("{} in {}", name, self.what());
            return Err(Error::TooMuch { what, limit: format!("{limit} bytes") });
        }
        let mut bytes = Vec::new();
        let read = reader.take(limit).read_to_end(&mut bytes);
        read.map_err(|error| Error::corrupt(&self.what(), format!("{name}: {error}")))?;
        Ok(bytes)
    }
}

fn index(path: &Path, file: &mut File) -> Result<HashMap<PathBuf, Place>, Error> {
    let what = path.display().to_string();
    let wrong = |reason: &str| Error::NotAnImage { path: path.to_owned(), reason: reason.to_owned() };
    let mut magic = [0; 2];
    if file.read_at(&mut magic, 0).is_ok() && magic == [0x1f, 0x8b] {
        return Err(wrong("it is compressed: gunzip it first"));
    }
    let mut archive = tar::Archive::new(&*file);
    let entries = archive.entries_with_seek().map_err(|error| wrong(&error.to_string()))?;
    let mut members = Members::new(&what, entries);
    let mut places = HashMap::new();
    loop {
        let member = match members.next() {
            Ok(Some(member)) => member,
            Ok(None) => return Ok(places),
            Err(error) if places.is_empty() => return Err(wrong(&format!("it is no tar archive: {error}"))),
            Err(error) => return Err(error),
        };
        let name: PathBuf = member.path.components().filter(|part| *part != Component::CurDir).collect();
        let place = match &member.kind {
            Kind::File => {
                let (offset, size) = member.place();
                Place::At { offset, size }
            }
            Kind::Symlink(target) => {
                let folder = name.parent().unwrap_or(Path::new(""));
                Place::Same(link::contained(&folder.join(target), 0))
            }
            Kind::Directory | Kind::HardLink(_) | Kind::Special => continue,
        };
        places.insert(name, place);
        if places.len() > MOST_MEMBERS {
            return Err(wrong(&format!("it has more than {MOST_MEMBERS} files")));
        }
    }
}

/// A part of a file.
struct Section<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut buffer[..most], self.at)?;
        self.at += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}
