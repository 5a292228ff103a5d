//! From what a user named to a tree.

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use nix::fcntl::FlockArg;

use crate::cache::{self, About, Cache, Lock};
use crate::digest::{Digest, Hashing};
use crate::error::Error;
use crate::limits::Limits;
use crate::manifest::{Image, Layer};
use crate::source::{self, Source};
use crate::unpack::Unpacker;
use crate::wanted::{Origin, Wanted};

/// A tree to take a component from.
#[derive(Debug)]
pub struct Root {
    /// Where it is. In the cache, unless the user named a tree.
    pub dir: PathBuf,
    /// The image's digest, `sha256:…`; none of a tree that the user named.
    pub digest: Option<String>,
    /// What the user named.
    pub what: String,
    /// Keeps the tree from being pruned.
    _lock: Option<Lock>,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The registry is asked for this image.
    Asking(String),
    /// Another process is at it.
    Waiting(String),
    /// Bytes of a layer that are here.
    Layer {
        /// Which layer, from 1.
        number: usize,
        /// How many there are.
        of: usize,
        /// Bytes that are here, those included that an earlier attempt brought.
        done: u64,
        /// All of its bytes, where that is known.
        size: Option<u64>,
    },
    /// A layer is put into the tree.
    Unpacking {
        /// Which layer, from 1.
        number: usize,
        /// How many there are.
        of: usize,
    },
}

/// Gets what is wanted, from the cache if it is there. Waits for the network, and for another process that gets the same;
/// `tell` hears how far it is.
///
/// A registry is asked but once for a name: from then on the name stands for what it stood for, until the cache is
/// pruned. Name a digest to be sure.
///
/// # Errors
/// See [`Error`]; [`Error::is_missing`] tells what is merely not to be had.
pub fn obtain(wanted: &Wanted, cache: &Cache, tell: &mut dyn FnMut(&Event)) -> Result<Root, Error> {
    let what = wanted.origin.to_string();
    let source = match &wanted.origin {
        Origin::Tree(path) => return tree(path),
        Origin::File(path) => source::file(path)?,
        Origin::Registry(reference) => {
            let name = format!("{reference} {}", wanted.platform());
            if let Some(digest) = cache.known(&name)
                && let Some(root) = cached(cache, &digest, &what)?
            {
                return Ok(root);
            }
            tell(&Event::Asking(what.clone()));
            let source = source::registry(reference)?;
            let image = source.resolve(wanted)?;
            let root = unpacked(&*source, &image, wanted, cache, tell)?;
            cache.note(&name, &image.digest)?;
            return Ok(Root { what, ..root });
        }
    };
    let image = source.resolve(wanted)?;
    unpacked(&*source, &image, wanted, cache, tell)
}

fn tree(path: &Path) -> Result<Root, Error> {
    let wrong = |reason: &str| Error::NotAnImage { path: path.to_owned(), reason: reason.to_owned() };
    let dir = path.canonicalize().map_err(|error| wrong(&error.to_string()))?;
    if !dir.is_dir() {
        return Err(wrong("it is no folder"));
    }
    Ok(Root { dir, digest: None, what: path.display().to_string(), _lock: None })
}

/// The tree of this digest, if it is there, and kept there from now on.
fn cached(cache: &Cache, digest: &Digest, what: &str) -> Result<Option<Root>, Error> {
    if cache.tree(digest).is_none() {
        return Ok(None);
    }
    let lock = cache.lock(digest, FlockArg::LockShared)?;
    let root = |dir| Root { dir, digest: Some(digest.to_string()), what: what.to_owned(), _lock: Some(lock) };
    Ok(cache.tree(digest).map(root))
}

fn unpacked(
    source: &dyn Source,
    image: &Image,
    wanted: &Wanted,
    cache: &Cache,
    tell: &mut dyn FnMut(&Event),
) -> Result<Root, Error> {
    loop {
        // Between making it and holding it as a user somebody may prune it: then it is made again.
        if let Some(root) = cached(cache, &image.digest, &image.what)? {
            return Ok(root);
        }
        let _lock = match cache.try_lock(&image.digest, FlockArg::LockExclusiveNonblock)? {
            Some(lock) => lock,
            None => {
                tell(&Event::Waiting(image.what.clone()));
                cache.lock(&image.digest, FlockArg::LockExclusive)?
            }
        };
        if cache.tree(&image.digest).is_none() {
            make(source, image, wanted, cache, tell)?;
        }
    }
}

/// Makes the tree. What a process left behind that was killed at it is used as far as layers go, and else removed.
fn make(
    source: &dyn Source,
    image: &Image,
    wanted: &Wanted,
    cache: &Cache,
    tell: &mut dyn FnMut(&Event),
) -> Result<(), Error> {
    let scratch = cache.pulling(&image.digest);
    let made = scratch.join("image");
    let root = made.join("root");
    cache::remove(&made)?;
    cache::make(&root)?;
    let done = layers(source, image, wanted, &scratch, &root, tell);
    if done.is_err() {
        cache::remove(&made)?;
    }
    let about = done?;
    cache.put(&image.digest, &made, &about)?;
    cache::remove(&scratch)
}

fn layers(
    source: &dyn Source,
    image: &Image,
    wanted: &Wanted,
    scratch: &Path,
    root: &Path,
    tell: &mut dyn FnMut(&Event),
) -> Result<About, Error> {
    let limits = &wanted.limits;
    let mut unpacker = Unpacker::into(root, *limits)?;
    // Of all layers, unpacked: headers and padding come on top of what files hold.
    let mut left = limits.unpacked.saturating_add(limits.entries.saturating_mul(2048));
    let of = image.layers.len();
    for (layer, number) in image.layers.iter().zip(1..) {
        let what = format!("layer {number} of {}", image.what);
        let mut counter = |done, size| tell(&Event::Layer { number, of, done, size });
        let bytes = source.layer(layer, wanted, scratch, &mut counter)?;
        tell(&Event::Unpacking { number, of });
        unpack(&mut unpacker, &what, layer, bytes, limits, &mut left)?;
    }
    unpacker.sync().map_err(Error::cache(root))?;
    let (bytes, entries) = unpacker.size();
    Ok(About { what: image.what.clone(), bytes, entries })
}

/// Unpacks a layer: `left` bytes of it at most, which are fewer afterwards.
fn unpack(
    unpacker: &mut Unpacker,
    what: &str,
    layer: &Layer,
    bytes: Box<dyn Read + '_>,
    limits: &Limits,
    left: &mut u64,
) -> Result<(), Error> {
    // What nobody says a digest of is in a file of `docker save`, where it is not compressed.
    let transfer = if layer.digest.is_some() { limits.layer } else { *left };
    // One byte more than may be tells what is too large. What no file gets is read too, and bounded by nothing else.
    let bytes = Hashing::new(bytes.take(transfer.saturating_add(1)));
    let mut transferred = BufReader::with_capacity(1 << 16, bytes);
    let magic = std::io::BufRead::fill_buf(&mut transferred).map_err(|error| Error::corrupt(what, error))?;
    // What it is called is not asked: `docker save` doesn't say.
    let plain: Box<dyn Read + '_> = match magic {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(&mut transferred)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            return Err(Error::Unsupported { what: what.to_owned(), kind: "zstd compression".to_owned() });
        }
        _ => Box::new(&mut transferred),
    };
    let mut plain = Hashing::new(plain.take(left.saturating_add(1)));
    let put = unpacker.layer(what, &mut plain).and_then(|()| {
        // What follows the archive's end is of the layer's digest.
        io::copy(&mut plain, &mut io::sink()).map_err(|error| Error::corrupt(what, error))
    });
    let unpacked = plain.count;
    let found = plain.finish(unpacked).map_err(|error| Error::corrupt(what, error));
    let too_much = |limit: u64, how: &str| {
        let limit = format!("{} MiB {how}", limit >> 20);
        Err(Error::TooMuch { what: what.to_owned(), limit })
    };
    // First of all: what is missing then isn't the layer's fault.
    if unpacked > *left {
        return too_much(limits.unpacked, "unpacked");
    }
    if transferred.get_ref().count > transfer {
        return too_much(transfer, "transferred");
    }
    put?;
    *left -= unpacked;
    let found = found?;
    if found != layer.diff_id {
        return Err(Error::mismatch(&format!("{what}, unpacked,"), &layer.diff_id, &found));
    }
    if let Some(expected) = &layer.digest {
        let found = transferred.into_inner().finish(limits.layer).map_err(|error| Error::corrupt(what, error))?;
        if found != *expected {
            return Err(Error::mismatch(what, expected, &found));
        }
    }
    Ok(())
}
