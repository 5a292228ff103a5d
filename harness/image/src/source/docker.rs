//! What `docker save` writes (moby, image/spec/v1.2.md): layers by name, and a configuration that says their digests.

use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use super::files::Files;
use super::{Counter, Source};
use crate::digest::Digest;
use crate::error::Error;
use crate::manifest::{self, Image, Layer};
use crate::wanted::Wanted;

/// Where it begins.
pub(super) const MANIFEST: &str = "manifest.json";

/// The archive.
pub(super) struct DockerArchive(Files);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    layers: Vec<String>,
}

impl DockerArchive {
    pub(super) fn of(files: Files) -> Self {
        Self(files)
    }
}

impl Source for DockerArchive {
    fn resolve(&self, wanted: &Wanted) -> Result<Image, Error> {
        let what = self.0.what();
        let manifest = self.0.document(MANIFEST, wanted.limits.document)?;
        let saved: Vec<Saved> = serde_json::from_slice(&manifest)
            .map_err(|error| Error::corrupt(&what, format!("{MANIFEST} can't be read: {error}")))?;
        let [saved] = saved.as_slice() else {
            let kind = format!("a file with {} images in it", saved.len());
            return Err(Error::Unsupported { what, kind });
        };
        let config = self.0.document(&saved.config, wanted.limits.document)?;
        let diff_ids = manifest::diff_ids(&what, &config, saved.layers.len(), wanted)?;
        let layers = saved.layers.iter().zip(diff_ids);
        let layers = layers.map(|(key, diff_id)| Layer { key: key.clone(), digest: None, size: None, diff_id });
        Ok(Image { what, digest: Digest::of(&config), layers: layers.collect() })
    }

    fn layer(&self, layer: &Layer, _: &Wanted, _: &Path, counter: Counter<'_>) -> Result<Box<dyn Read + '_>, Error> {
        let (reader, size) = self.0.read(&layer.key)?;
        counter(size, Some(size));
        Ok(reader)
    }
}
