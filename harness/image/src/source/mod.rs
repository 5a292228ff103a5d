//! Where an image's parts are read from.

mod docker;
mod files;
mod layout;
mod registry;

use std::io::Read;
use std::path::Path;

use oci_client::Reference;

use crate::error::Error;
use crate::manifest::{Image, Layer};
use crate::wanted::Wanted;

/// Told how many bytes of a layer are there, and of how many.
pub(crate) type Counter<'a> = &'a mut dyn FnMut(u64, Option<u64>);

/// An image somewhere.
pub(crate) trait Source {
    /// Which layers it has, once it is one for the wanted machine.
    fn resolve(&self, wanted: &Wanted) -> Result<Image, Error>;

    /// A layer's bytes, as they are kept there. `scratch` is a directory of this image's alone, which outlives a
    /// transfer that was cut off.
    fn layer(
        &self,
        layer: &Layer,
        wanted: &Wanted,
        scratch: &Path,
        counter: Counter<'_>,
    ) -> Result<Box<dyn Read + '_>, Error>;
}

/// An image in a registry.
pub(crate) fn registry(reference: &Reference) -> Result<Box<dyn Source>, Error> {
    Ok(Box::new(registry::Registry::of(reference)?))
}

/// An image in a file or folder.
pub(crate) fn file(path: &Path) -> Result<Box<dyn Source>, Error> {
    let files = files::Files::open(path)?;
    // `docker save` has written both kinds into one file since version 25.
    if files.has(layout::INDEX) {
        Ok(Box::new(layout::Layout::of(files)))
    } else if files.has(docker::MANIFEST) {
        Ok(Box::new(docker::DockerArchive::of(files)))
    } else {
        let reason = format!("it has neither {} nor {}", layout::INDEX, docker::MANIFEST);
        Err(Error::NotAnImage { path: path.to_owned(), reason })
    }
}
