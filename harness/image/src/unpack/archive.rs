//! An archive's members, one after the other: what is to be made of each, with names of any length.
//!
//! Long names are read here and not by the tar crate, which reads them into memory whatever their size.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use tar::{Archive, Entries, Entry, EntryType, PaxExtensions};

use crate::error::Error;
use crate::limits::Limits;

/// The longest header extension: some names of PATH_MAX and attributes.
const LONGEST_EXTENSION: u64 = 1 << 20;

/// What is to be made of a member.
pub(crate) enum Kind {
    Directory,
    File,
    Symlink(PathBuf),
    HardLink(PathBuf),
    /// A device, a pipe or a socket, or nothing that is known.
    Special,
}

/// A member.
pub(crate) struct Member<'a, R: Read> {
    what: &'a str,
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    /// Permissions, the sticky bit, and no others. Its owner may always read and write it.
    pub(crate) mode: u32,
    entry: Entry<'a, R>,
}

/// All of them, in order.
pub(crate) struct Members<'a, R: Read> {
    what: &'a str,
    entries: Entries<'a, R>,
}

/// What extensions say of the member that follows.
#[derive(Default)]
struct Extended {
    path: Option<PathBuf>,
    link: Option<PathBuf>,
}

impl<'a, R: Read> Members<'a, R> {
    pub(crate) fn of(what: &'a str, archive: &'a mut Archive<R>) -> Result<Self, Error> {
        Ok(Self::new(what, archive.entries().map_err(|error| Error::corrupt(what, error))?))
    }

    /// Of an archive that is read in a way of the caller's.
    pub(crate) fn new(what: &'a str, entries: Entries<'a, R>) -> Self {
        Self { what, entries: entries.raw(true) }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Member<'a, R>>, Error> {
        let mut extended = Extended::default();
        let what = self.what;
        loop {
            let Some(entry) = self.entries.next() else { return Ok(None) };
            let mut entry = entry.map_err(|error| Error::corrupt(what, error))?;
            match entry.header().entry_type() {
                EntryType::GNULongName => extended.path = Some(name(self.extension(&mut entry)?)),
                EntryType::GNULongLink => extended.link = Some(name(self.extension(&mut entry)?)),
                EntryType::XHeader => self.pax(&mut entry, &mut extended)?,
                EntryType::XGlobalHeader => {}
                _ => return self.member(entry, extended).map(Some),
            }
        }
    }

    fn extension(&self, entry: &mut Entry<'a, R>) -> Result<Vec<u8>, Error> {
        if entry.size() > LONGEST_EXTENSION {
            let limit = format!("{LONGEST_EXTENSION} bytes in a header");
            return Err(Error::TooMuch { what: self.what.to_owned(), limit });
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|error| Error::corrupt(self.what, error))?;
        Ok(bytes)
    }

    fn pax(&self, entry: &mut Entry<'a, R>, extended: &mut Extended) -> Result<(), Error> {
        let bytes = self.extension(entry)?;
        for record in PaxExtensions::new(&bytes) {
            let record = record.map_err(|error| Error::corrupt(self.what, error))?;
            match record.key_bytes() {
                b"path" => extended.path = Some(name(record.value_bytes().to_vec())),
                b"linkpath" => extended.link = Some(name(record.value_bytes().to_vec())),
                // Sizes that don't fit into a header, and holes: other readers would see other members.
                key if key == b"size" || key.starts_with(b"GNU.sparse.") => return Err(self.sparse()),
                _ => {}
            }
        }
        Ok(())
    }

    fn sparse(&self) -> Error {
        Error::Unsupported { what: self.what.to_owned(), kind: "an archive with sparse or huge files".to_owned() }
    }

    fn member(&self, entry: Entry<'a, R>, extended: Extended) -> Result<Member<'a, R>, Error> {
        let header = entry.header();
        let path = extended.path.unwrap_or_else(|| name(header.path_bytes().into_owned()));
        let target = || {
            let link = extended.link.or_else(|| Some(name(header.link_name_bytes()?.into_owned())));
            let link = link.filter(|link| !link.as_os_str().is_empty());
            link.ok_or_else(|| Error::hostile(self.what, &path, "a link without a target"))
        };
        let kind = match header.entry_type() {
            EntryType::Directory => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => Kind::File,
            EntryType::Symlink => Kind::Symlink(target()?),
            EntryType::Link => Kind::HardLink(target()?),
            EntryType::GNUSparse => return Err(self.sparse()),
            _ => Kind::Special,
        };
        let mode = header.mode().map_err(|error| Error::corrupt(self.what, error))? & 0o1777 | 0o600;
        Ok(Member { what: self.what, path, kind, mode, entry })
    }
}

impl<R: Read> Member<'_, R> {
    /// Where its content is in the archive, and how many bytes it has.
    pub(crate) fn place(&self) -> (u64, u64) {
        (self.entry.raw_file_position(), self.entry.size())
    }

    /// Writes its content, `left` bytes at most. Returns how many it has.
    pub(crate) fn copy_to(&mut self, mut file: File, left: u64, limits: &Limits) -> Result<u64, Error> {
        if self.entry.size() > left {
            let limit = format!("{} MiB unpacked", limits.unpacked >> 20);
            return Err(Error::TooMuch { what: self.what.to_owned(), limit });
        }
        let size = self.entry.size();
        let mut reading = Reading { inner: &mut self.entry, failed: false };
        match io::copy(&mut reading, &mut file) {
            Ok(copied) if copied == size => Ok(copied),
            Ok(_) => Err(Error::corrupt(self.what, format!("it ends within {}", self.path.display()))),
            Err(error) if reading.failed => Err(Error::corrupt(self.what, error)),
            Err(error) => Err(super::refused(self.what, &self.path, error)),
        }
    }
}

/// Tells whose fault an error of a copy is.
struct Reading<R> {
    inner: R,
    failed: bool,
}

impl<R: Read> Read for Reading<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer);
        self.failed = read.is_err();
        read
    }
}

/// A name without the zero that may end it.
fn name(mut bytes: Vec<u8>) -> PathBuf {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    PathBuf::from(OsString::from_vec(bytes))
}
