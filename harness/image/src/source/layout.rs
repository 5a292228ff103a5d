//! An OCI image layout (OCI image specification 1.1, image-layout.md), in a folder or a tar archive.

use std::io::Read;
use std::path::Path;

use oci_client::manifest::OciDescriptor;

use super::files::Files;
use super::{Counter, Source};
use crate::digest::Digest;
use crate::error::Error;
use crate::limits::Limits;
use crate::manifest::{self, Documents, Image, Layer};
use crate::wanted::Wanted;

/// Where it begins.
pub(super) const INDEX: &str = "index.json";

/// The layout.
pub(super) struct Layout(Files);

impl Layout {
    pub(super) fn of(files: Files) -> Self {
        Self(files)
    }

    fn verified(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let bytes = self.0.document(&blob(digest), Limits::default().document)?;
        match Digest::of(&bytes) {
            found if found == *digest => Ok(bytes),
            found => Err(Error::mismatch(&format!("{} in {}", blob(digest), self.0.what()), digest, &found)),
        }
    }
}

fn blob(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

impl Documents for Layout {
    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        self.verified(digest)
    }

    fn document(&self, descriptor: &OciDescriptor) -> Result<Vec<u8>, Error> {
        self.verified(&manifest::digest(&self.0.what(), &descriptor.digest)?)
    }
}

impl Source for Layout {
    fn resolve(&self, wanted: &Wanted) -> Result<Image, Error> {
        let index = self.0.document(INDEX, wanted.limits.document)?;
        manifest::resolve(&self.0.what(), index, self, wanted)
    }

    fn layer(&self, layer: &Layer, _: &Wanted, _: &Path, counter: Counter<'_>) -> Result<Box<dyn Read + '_>, Error> {
        let digest = manifest::digest(&self.0.what(), &layer.key)?;
        let (reader, size) = self.0.read(&blob(&digest))?;
        counter(size, Some(size));
        Ok(reader)
    }
}
