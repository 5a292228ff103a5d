//! Manifests and configurations: which layers make an image, for which machine.

use oci_client::config::ConfigFile;
use oci_client::manifest::{OciDescriptor, OciImageIndex, OciImageManifest};
use serde_json::Value;

use crate::digest::Digest;
use crate::error::Error;
use crate::wanted::Wanted;

/// How many indices may stand one in another: a layout's own, and the image's.
const DEPTH: usize = 4;

/// An image, of which every part is known and none is fetched but documents.
#[derive(Debug)]
pub(crate) struct Image {
    /// What it is called in messages.
    pub(crate) what: String,
    /// Of its manifest; where there is none (`docker save`), of its configuration.
    pub(crate) digest: Digest,
    /// From the lowest.
    pub(crate) layers: Vec<Layer>,
}

/// A layer of an image.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    /// Where its source keeps it.
    pub(crate) key: String,
    /// Of the bytes that are transferred; where nobody says, only of those unpacked.
    pub(crate) digest: Option<Digest>,
    /// How many they are, where somebody says.
    pub(crate) size: Option<u64>,
    /// Of the archive without compression.
    pub(crate) diff_id: Digest,
}

/// Finds documents and blobs of an image by digest.
pub(crate) trait Documents {
    /// The manifest or index of this digest, verified.
    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, Error>;
    /// A blob small enough to be held in memory, verified.
    fn document(&self, descriptor: &OciDescriptor) -> Result<Vec<u8>, Error>;
}

/// Follows indices from `bytes`, the top document, down to the image for the wanted machine.
pub(crate) fn resolve(what: &str, bytes: Vec<u8>, documents: &dyn Documents, wanted: &Wanted) -> Result<Image, Error> {
    let mut bytes = bytes;
    for _ in 0..DEPTH {
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| corrupt(what, "manifest", error))?;
        if value.get("manifests").is_none() {
            return image(what, &bytes, documents, wanted);
        }
        let index: OciImageIndex = serde_json::from_value(value).map_err(|error| corrupt(what, "index", error))?;
        bytes = documents.manifest(&choose(what, &index, wanted)?)?;
    }
    Err(Error::corrupt(what, "its index refers to indices without end"))
}

fn corrupt(what: &str, part: &str, error: impl std::fmt::Display) -> Error {
    Error::corrupt(what, format!("its {part} can't be read: {error}"))
}

/// The entry for the wanted machine. An entry that names no machine is one for any.
fn choose(what: &str, index: &OciImageIndex, wanted: &Wanted) -> Result<Digest, Error> {
    let named = |entry: &&oci_client::manifest::ImageIndexEntry| {
        entry.platform.as_ref().map(|platform| format!("{}/{}", platform.os, platform.architecture))
    };
    let fitting = index.manifests.iter().filter(|entry| named(entry).is_none_or(|name| name == wanted.platform()));
    let fitting: Vec<_> = fitting.collect();
    match fitting.as_slice() {
        [] => {
            let mut found: Vec<_> = index.manifests.iter().filter_map(|entry| named(&entry)).collect();
            // Attestations are listed as images for a machine that nobody has.
            found.retain(|name| name != "unknown/unknown");
            let found = if found.is_empty() { "nothing".to_owned() } else { found.join(", ") };
            Err(Error::Platform { what: what.to_owned(), found, wanted: wanted.platform() })
        }
        // Variants of an architecture: the first is the one that runs everywhere.
        [first, rest @ ..] if rest.is_empty() || first.platform.is_some() => digest(what, &first.digest),
        several => Err(Error::Unsupported {
            what: what.to_owned(),
            kind: format!("a file with {} images in it", several.len()),
        }),
    }
}

fn image(what: &str, bytes: &[u8], documents: &dyn Documents, wanted: &Wanted) -> Result<Image, Error> {
    let manifest: OciImageManifest = serde_json::from_slice(bytes).map_err(|error| corrupt(what, "manifest", error))?;
    let layers = manifest.layers.iter().map(|layer| Ok((layer, digest(what, &layer.digest)?)));
    let layers: Vec<_> = layers.collect::<Result<_, Error>>()?;
    let config = documents.document(&manifest.config)?;
    let diff_ids = diff_ids(what, &config, layers.len(), wanted)?;
    let layers = layers.into_iter().zip(diff_ids).map(|((layer, digest), diff_id)| Layer {
        key: digest.to_string(),
        digest: Some(digest),
        size: u64::try_from(layer.size).ok(),
        diff_id,
    });
    Ok(Image { what: what.to_owned(), digest: Digest::of(bytes), layers: layers.collect() })
}

/// What an image's configuration says of its layers, once it is one for this machine and has so many.
pub(crate) fn diff_ids(what: &str, config: &[u8], layers: usize, wanted: &Wanted) -> Result<Vec<Digest>, Error> {
    let config: ConfigFile = serde_json::from_slice(config).map_err(|error| corrupt(what, "configuration", error))?;
    let found = format!("{}/{}", config.os, config.architecture);
    if found != wanted.platform() {
        return Err(Error::Platform { what: what.to_owned(), found, wanted: wanted.platform() });
    }
    if layers > wanted.limits.layers {
        return Err(Error::TooMuch { what: what.to_owned(), limit: format!("{} layers", wanted.limits.layers) });
    }
    let diff_ids = &config.rootfs.diff_ids;
    if diff_ids.len() != layers {
        let reason = format!("it has {layers} layers, and its configuration knows of {}", diff_ids.len());
        return Err(Error::corrupt(what, reason));
    }
    diff_ids.iter().map(|text| digest(what, text)).collect()
}

/// A digest from a document.
pub(crate) fn digest(what: &str, text: &str) -> Result<Digest, Error> {
    text.parse().map_err(|reason: String| Error::corrupt(what, reason))
}
