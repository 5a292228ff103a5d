//! What a user asked for.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use oci_client::Reference;

use crate::error::Error;
use crate::limits::Limits;

/// Where a component comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An image in a registry, `quay.io/cilium/cilium:v1.18.2`.
    Registry(Reference),
    /// An image in a file or folder: an OCI layout or what `docker save` writes.
    File(PathBuf),
    /// A tree that somebody else unpacked or built.
    Tree(PathBuf),
}

impl FromStr for Origin {
    type Err = Error;

    /// An image by file or by name. What is there as a file, or is written like a path (`./…`, `/…`, `….tar`), is one.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = PathBuf::from(text);
        if path.exists() || text.starts_with(['/', '.']) || text.ends_with(".tar") {
            return Ok(Self::File(path));
        }
        let reference = text.parse::<Reference>();
        reference.map(Self::Registry).map_err(|error| Error::Name { text: text.to_owned(), reason: error.to_string() })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(reference) => write!(formatter, "{reference}"),
            Self::File(path) | Self::Tree(path) => write!(formatter, "{}", path.display()),
        }
    }
}

/// A component to be had.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// From where.
    pub origin: Origin,
    /// The processor's architecture in the words of images, `amd64`.
    pub architecture: String,
    /// How large it may be.
    pub limits: Limits,
}

impl Wanted {
    /// For this machine, with the usual limits.
    pub fn new(origin: Origin) -> Self {
        // Images name architectures as Go does (OCI image specification, config.md).
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Self { origin, architecture: architecture.to_owned(), limits: Limits::default() }
    }

    /// The platform, `linux/amd64`.
    pub(crate) fn platform(&self) -> String {
        format!("linux/{}", self.architecture)
    }
}
