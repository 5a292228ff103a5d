//! Files out of folders and archives, one after the other, within bounds: nothing is written anywhere, names are only
//! ever names, and what unpacks to more than a cluster's outputs can be is refused.

use std::io::{self, Cursor, Read, Seek, Take};

use flate2::read::MultiGzDecoder;
use topology::source::Diagnostic;

use crate::layout::{self, Content};

/// The most entries of all archives together.
pub const MAX_ENTRIES: usize = 200_000;
/// The largest file that is read, in bytes: 5000 nodes as `kubectl` prints them.
pub const MAX_FILE: u64 = 64 << 20;
/// The most that is unpacked in all, in bytes, what is skipped in a compressed archive included.
pub const MAX_UNPACKED: u64 = 4 << 30;
/// The most that is kept in all, in bytes.
pub const MAX_KEPT: u64 = 512 << 20;

/// A file with something of use in it.
#[derive(Debug)]
pub(crate) struct Item {
    /// Its path, those of the archives it is in before it.
    pub(crate) path: String,
    /// What it is by its name.
    pub(crate) content: Content,
    /// What is in it.
    pub(crate) bytes: Vec<u8>,
}

/// The files of use that were found, and what couldn't be read.
#[derive(Debug)]
pub struct Files {
    pub(crate) items: Vec<Item>,
    pub(crate) problems: Vec<Diagnostic>,
    entries: usize,
    /// How much more may be unpacked.
    left: u64,
    kept: u64,
}

impl Default for Files {
    fn default() -> Self {
        Self { items: Vec::new(), problems: Vec::new(), entries: 0, left: MAX_UNPACKED, kept: 0 }
    }
}

/// Why no more is read.
#[derive(Debug)]
struct Full;

/// What a stream is by its first bytes.
enum Magic {
    Zip,
    Gzip,
    Tar,
    Other,
}

/// What a member of a tar archive says of the one behind it.
enum Extension {
    /// Nothing: it is a member itself.
    None,
    /// Its name.
    Name(Vec<u8>),
    /// What is of no use here.
    Other,
}

/// The longest name that a tar archive's extensions may give, with what else stands beside it.
const MAX_EXTENSION: u64 = 1 << 20;

fn extension(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Extension> {
    let kind = entry.header().entry_type();
    if kind.is_gnu_longlink() || kind.is_pax_global_extensions() {
        return Ok(Extension::Other);
    }
    if !kind.is_gnu_longname() && !kind.is_pax_local_extensions() {
        return Ok(Extension::None);
    }
    if entry.size() > MAX_EXTENSION {
        return Err(io::Error::other(format!("a name of {} bytes", entry.size())));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes)?;
    if kind.is_gnu_longname() {
        // A zero ends it.
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        bytes.truncate(end);
        return Ok(Extension::Name(bytes));
    }
    let mut said = Extension::Other;
    // What isn't understood, attributes of a desktop's for one, says nothing of names.
    for record in tar::PaxExtensions::new(&bytes).flatten() {
        match record.key_bytes() {
            b"path" => said = Extension::Name(record.value_bytes().to_vec()),
            // Of files that are larger than a header can say: other readers would see other members.
            b"size" => return Err(io::Error::other("a file of a size that no header holds")),
            _ => {}
        }
    }
    Ok(said)
}

/// As many bytes as tell a tar from other files.
const HEAD: usize = 262;

fn magic(head: &[u8]) -> Magic {
    match head {
        [b'P', b'K', 3, 4, ..] | [b'P', b'K', 5, 6, ..] => Magic::Zip,
        [0x1f, 0x8b, ..] => Magic::Gzip,
        _ if head.get(257..262) == Some(b"ustar") => Magic::Tar,
        _ => Magic::Other,
    }
}

impl Files {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a file of a folder, or one that was named: an archive is looked through, of others those are read that
    /// may hold something of use. `named`: somebody asked for this one, whatever it is called.
    pub fn add(&mut self, path: &str, named: bool, mut file: impl Read + Seek) {
        let mut head = Vec::new();
        let begun = file.by_ref().take(HEAD as u64).read_to_end(&mut head).and_then(|_| file.rewind());
        if let Err(error) = begun {
            return self.problem(path, format!("the file can't be read: {error}"), None);
        }
        // When nothing more is taken, that was said.
        let _ = match magic(&head) {
            Magic::Zip => self.zip(path, file),
            Magic::Gzip => self.gzip(path, file),
            Magic::Tar => self.tar(path, file),
            Magic::Other => match layout::content(path).or(named.then_some(Content::Any)) {
                Some(Content::Archive) => {
                    self.problem(path, "neither a tar archive nor a compressed one".to_owned(), None);
                    Ok(())
                }
                Some(content) => self.keep(path, content, file),
                None => Ok(()),
            },
        };
    }

    /// A path that can't be read.
    pub fn unreadable(&mut self, path: &str, error: &io::Error) {
        self.problem(path, format!("it can't be read: {error}"), None);
    }

    fn problem(&mut self, path: &str, message: String, help: Option<&str>) {
        let mut problem = Diagnostic::of_file(path, message);
        if let Some(help) = help {
            problem.help(help);
        }
        self.problems.push(problem);
    }

    fn zip(&mut self, path: &str, file: impl Read + Seek) -> Result<(), Full> {
        let mut archive = match zip::ZipArchive::new(file) {
            Ok(archive) => archive,
            Err(error) => {
                self.problem(path, format!("the zip archive can't be read: {error}"), Some("was it copied whole?"));
                return Ok(());
            }
        };
        for index in 0..archive.len() {
            self.count_entry(path)?;
            let name = match archive.by_index_raw(index) {
                Ok(entry) if entry.is_file() => String::from_utf8_lossy(entry.name_raw()).into_owned(),
                Ok(_) => continue,
                Err(error) => {
                    self.problem(path, format!("entry {index} can't be read: {error}"), None);
                    continue;
                }
            };
            let Some(content) = layout::content(&name) else { continue };
            let inner = format!("{path}/{name}");
            match archive.by_index(index) {
                Ok(entry) if content == Content::Archive => self.nested(&inner, entry)?,
                Ok(entry) => self.bounded(path, entry, |files, entry| files.keep(&inner, content, entry))?,
                Err(error) => self.problem(&inner, format!("it can't be unpacked: {error}"), None),
            }
        }
        Ok(())
    }

    /// A bugtool's archive in another one. What is in there is read, and no archive in it.
    fn nested(&mut self, path: &str, mut stream: impl Read) -> Result<(), Full> {
        let mut head = [0; 2];
        if let Err(error) = stream.read_exact(&mut head) {
            self.problem(path, format!("it can't be unpacked: {error}"), None);
            return Ok(());
        }
        let whole = Cursor::new(head).chain(stream);
        if head == [0x1f, 0x8b] { self.tar(path, MultiGzDecoder::new(whole)) } else { self.tar(path, whole) }
    }

    /// A compressed file: a tar archive, or a single file.
    fn gzip(&mut self, path: &str, file: impl Read) -> Result<(), Full> {
        let mut stream = MultiGzDecoder::new(file);
        let mut head = Vec::new();
        if let Err(error) = stream.by_ref().take(HEAD as u64).read_to_end(&mut head) {
            self.problem(path, format!("it can't be unpacked: {error}"), Some("was it copied whole?"));
            return Ok(());
        }
        let kind = magic(&head);
        let whole = Cursor::new(head).chain(stream);
        match kind {
            Magic::Tar => self.tar(path, whole),
            Magic::Other => self.bounded(path, whole, |files, whole| files.keep(path, Content::Any, whole)),
            Magic::Zip | Magic::Gzip => {
                self.problem(path, "an archive that is compressed once more".to_owned(), Some("unpack it once"));
                Ok(())
            }
        }
    }

    fn tar(&mut self, path: &str, stream: impl Read) -> Result<(), Full> {
        // What is skipped is unpacked too, so that the bound is on the stream.
        self.bounded(path, stream, |files, stream| {
            let mut archive = tar::Archive::new(stream);
            match archive.entries() {
                Ok(entries) => files.members(path, entries),
                Err(error) => {
                    files.problem(path, format!("the tar archive can't be read: {error}"), None);
                    Ok(())
                }
            }
        })
    }

    fn members<R: Read>(&mut self, path: &str, entries: tar::Entries<'_, R>) -> Result<(), Full> {
        let mut long = None;
        // Raw: long names are read here, since the tar crate reads them into memory whatever their size.
        for entry in entries.raw(true) {
            let mut entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    self.problem(path, format!("the tar archive ends early or is damaged: {error}"), None);
                    break;
                }
            };
            match extension(&mut entry) {
                Ok(Extension::None) => {}
                Ok(Extension::Other) => continue,
                Ok(Extension::Name(name)) => {
                    long = Some(name);
                    continue;
                }
                Err(error) => {
                    self.problem(path, format!("{error}: the rest of the tar archive is not read"), None);
                    break;
                }
            }
            self.count_entry(path)?;
            let name = long.take().unwrap_or_else(|| entry.header().path_bytes().into_owned());
            // Links point nowhere here: only files count.
            if !entry.header().entry_type().is_file() {
                continue;
            }
            let inner = format!("{path}/{}", String::from_utf8_lossy(&name));
            match layout::content(&inner) {
                Some(Content::Archive) => {
                    self.problem(&inner, "an archive in an archive in an archive is not read".to_owned(), None);
                }
                Some(content) => self.keep(&inner, content, entry)?,
                None => {}
            }
        }
        Ok(())
    }

    /// Has `read` a stream, of which it gets as much as may still be unpacked in all.
    fn bounded<R: Read>(
        &mut self,
        path: &str,
        stream: R,
        read: impl FnOnce(&mut Self, &mut Take<R>) -> Result<(), Full>,
    ) -> Result<(), Full> {
        let mut bounded = stream.take(self.left);
        let outcome = read(self, &mut bounded);
        self.left = bounded.limit();
        if self.left == 0 {
            self.problem(path, format!("it unpacks to more than {} GiB in all", MAX_UNPACKED >> 30), None);
            return Err(Full);
        }
        outcome
    }

    fn count_entry(&mut self, path: &str) -> Result<(), Full> {
        self.entries += 1;
        if self.entries <= MAX_ENTRIES {
            return Ok(());
        }
        if self.entries == MAX_ENTRIES + 1 {
            self.problem(path, format!("there are more than {MAX_ENTRIES} entries: the rest is not read"), None);
        }
        Err(Full)
    }

    fn keep(&mut self, path: &str, content: Content, stream: impl Read) -> Result<(), Full> {
        let mut bytes = Vec::new();
        // One byte more than the limit tells what is too large, whatever its header says.
        match stream.take(MAX_FILE + 1).read_to_end(&mut bytes) {
            Err(error) => self.problem(path, format!("it can't be read whole: {error}"), Some("was it copied whole?")),
            Ok(_) if bytes.len() as u64 > MAX_FILE => {
                self.problem(path, format!("it is larger than {} MiB, and was not read", MAX_FILE >> 20), None);
            }
            Ok(_) if self.kept + bytes.len() as u64 > MAX_KEPT => {
                let message = format!("with it there are more than {} MiB: the rest is not read", MAX_KEPT >> 20);
                self.problem(path, message, None);
                return Err(Full);
            }
            Ok(_) => {
                self.kept += bytes.len() as u64;
                self.items.push(Item { path: path.to_owned(), content, bytes });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use zip::write::SimpleFileOptions;

    use super::*;

    fn problems(files: &Files) -> Vec<String> {
        files.problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_a_zip_unpacks_to_is_counted() {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        for number in 0..8 {
            writer.start_file(format!("{number}.json"), SimpleFileOptions::default()).expect("a zip in memory");
            writer.write_all(" ".repeat(1 << 20).as_bytes()).expect("a zip in memory");
        }
        let archive = writer.finish().expect("a zip in memory").into_inner();
        let mut files = Files { left: 5 << 19, ..Files::new() };
        files.add("dump.zip", true, Cursor::new(&archive));
        assert_eq!(files.left, 0, "as much as may be was unpacked");
        assert!(files.items.len() <= 3, "the rest was not read: {}", files.items.len());
        assert!(problems(&files).iter().any(|problem| problem.contains("unpacks to more")), "{:?}", problems(&files));
    }
}
