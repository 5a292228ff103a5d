//! What can go wrong on the way to a component, and what a user can do about it.

use std::io;
use std::path::PathBuf;

use crate::digest::Digest;

/// Why there is no tree.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry doesn't answer, or the way to it is closed.
    #[error("the registry {registry} can't be reached: {reason}")]
    Unreachable {
        /// Its name, `quay.io`.
        registry: String,
        /// What the attempt came to.
        reason: String,
    },
    /// The registry has no such image, or doesn't give it to just anybody.
    #[error("{reference}: the registry gives no such image: {reason}")]
    NotFound {
        /// The image's name.
        reference: String,
        /// The registry's answer.
        reason: String,
    },
    /// The registry answers, but not as registries do.
    #[error("{reference}: {reason}")]
    Registry {
        /// The image's name.
        reference: String,
        /// What it answered.
        reason: String,
    },
    /// What was named is neither an image's name nor something that is there.
    #[error("`{text}` is neither a file or folder that is here nor an image's name: {reason}")]
    Name {
        /// As written.
        text: String,
        /// Why it is no image's name.
        reason: String,
    },
    /// A file or folder that can't be read as an image.
    #[error("{}: {reason}", .path.display())]
    NotAnImage {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Content isn't what its digest says, or ends too early.
    #[error("{what} is corrupt: {reason}")]
    Corrupt {
        /// Which part of which image.
        what: String,
        /// In what it shows.
        reason: String,
    },
    /// An entry that no honest image has.
    #[error("{what}: entry `{entry}`: {reason}")]
    Hostile {
        /// Which part of which image.
        what: String,
        /// The entry's name.
        entry: String,
        /// What is wrong with it.
        reason: String,
    },
    /// More than the limits allow.
    #[error("{what} is too large: more than {limit}")]
    TooMuch {
        /// Which part of which image.
        what: String,
        /// The limit with its unit.
        limit: String,
    },
    /// The image is for another kind of machine.
    #[error("{what} is for {found}, and this is {wanted}")]
    Platform {
        /// The image.
        what: String,
        /// What there is, `linux/arm64`.
        found: String,
        /// What is needed, `linux/amd64`.
        wanted: String,
    },
    /// A way of writing images that isn't read here.
    #[error("{what}: {kind} is not read here")]
    Unsupported {
        /// Which part of which image.
        what: String,
        /// The way, `zstd compression`.
        kind: String,
    },
    /// The cache can't be used.
    #[error("the cache: {}: {source}", .path.display())]
    Cache {
        /// The file or folder in it.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Nobody says where the cache is.
    #[error("there is no place for a cache: neither UNDERLAY_CACHE nor XDG_CACHE_HOME nor HOME is set")]
    NoCache,
}

impl Error {
    /// Whether this says that the component is not to be had here, rather than that something is wrong with it: what
    /// needs it is skipped, with the [`remedy`](Self::remedy).
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::NoCache)
    }

    /// What a user can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => {
                "where there is a network, `skopeo copy docker://IMAGE oci-archive:FILE` or `docker save -o FILE IMAGE`, \
                 then name FILE in place of the image; or name a mirror (MIRROR/cilium/cilium:v1.18.2)"
            }
            Self::NotFound { .. } => "check the name and the tag; images that need a login are read from a file",
            Self::Registry { .. } => "try again later, or name another registry or a file",
            Self::Name { .. } => "name a file, a folder, or an image: quay.io/cilium/cilium:v1.18.2",
            Self::NotAnImage { .. } => "an OCI layout (a folder or a tar file) or what `docker save` writes is read",
            Self::Corrupt { .. } => {
                "get it anew: a download is begun again the next time, a file has to be written again"
            }
            Self::Hostile { .. } => "don't use this image; nothing of it was kept",
            Self::TooMuch { .. } => "is it the right image? nothing of it was kept",
            Self::Platform { .. } => "name an image that is made for this machine",
            Self::Unsupported { .. } => "write the image with gzip: skopeo copy --dest-compress-format gzip …",
            Self::Cache { .. } => "set UNDERLAY_CACHE to a folder that can be written to and has room",
            Self::NoCache => "set UNDERLAY_CACHE to a folder that can be written to",
        }
    }

    pub(crate) fn mismatch(what: &str, expected: &Digest, found: &Digest) -> Self {
        Self::Corrupt { what: what.to_owned(), reason: format!("its digest is {found} and should be {expected}") }
    }

    pub(crate) fn corrupt(what: &str, reason: impl ToString) -> Self {
        Self::Corrupt { what: what.to_owned(), reason: reason.to_string() }
    }

    pub(crate) fn hostile(what: &str, entry: impl AsRef<std::path::Path>, reason: impl Into<String>) -> Self {
        let entry = entry.as_ref().display().to_string();
        let entry = entry.chars().take(200).collect();
        Self::Hostile { what: what.to_owned(), entry, reason: reason.into() }
    }

    pub(crate) fn cache(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Cache { path, source }
    }
}
