//! Images in registries (OCI distribution specification 1.1), without a login.

use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::path::Path;
use std::time::Duration;

use futures::StreamExt;
use oci_client::client::{BlobResponse, ClientConfig, ClientProtocol};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::{
    IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
    OciDescriptor,
};
use oci_client::secrets::RegistryAuth;
use oci_client::{Client, Reference};
use tokio::runtime::Runtime;

use super::{Counter, Source};
use crate::digest::{Digest, Hashing};
use crate::error::Error;
use crate::limits::Limits;
use crate::manifest::{self, Documents, Image, Layer};
use crate::wanted::Wanted;

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a registry may say nothing.
const SILENCE: Duration = Duration::from_secs(30);

/// An image's name, and the way to its registry. It has a runtime of its own, which ends with it: afterwards the process
/// has no more threads than before.
pub(super) struct Registry {
    reference: Reference,
    client: Client,
    runtime: Runtime,
}

impl Registry {
    pub(super) fn of(reference: &Reference) -> Result<Self, Error> {
        // The one provider that is linked in; whoever chose one before chose the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed = |reason: String| Error::Registry { reference: reference.to_string(), reason };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| failed(format!("start a runtime: {error}")))?;
        let client = Client::new(ClientConfig {
            protocol: protocol(reference.resolve_registry()),
            read_timeout: Some(SILENCE),
            connect_timeout: Some(CONNECT),
            user_agent: concat!("underlay/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        });
        Ok(Self { reference: reference.clone(), client, runtime })
    }

    fn error(&self, error: &OciDistributionError) -> Error {
        use OciDistributionError as E;
        let reference = self.reference.to_string();
        let refused = |code: &OciErrorCode| {
            use OciErrorCode::{Denied, ManifestUnknown, NameInvalid, NameUnknown, NotFound, Unauthorized};
            matches!(code, Denied | ManifestUnknown | NameInvalid | NameUnknown | NotFound | Unauthorized)
        };
        match error {
            E::RequestError(request) if request.status().is_none() && !request.is_decode() && !request.is_body() => {
                Error::Unreachable { registry: self.reference.resolve_registry().to_owned(), reason: causes(request) }
            }
            E::ImageManifestNotFoundError(_) | E::UnauthorizedError { .. } | E::AuthenticationFailure(_) => {
                Error::NotFound { reference, reason: causes(error) }
            }
            E::RegistryError { envelope, .. } if envelope.errors.iter().any(|error| refused(&error.code)) => {
                Error::NotFound { reference, reason: causes(error) }
            }
            E::DigestError(_) => Error::corrupt(&reference, causes(error)),
            _ => Error::Registry { reference, reason: causes(error) },
        }
    }

    /// A manifest with its digest, which is held against its bytes.
    fn pull_manifest(&self, reference: &Reference) -> Result<Vec<u8>, Error> {
        let accepted = [
            OCI_IMAGE_INDEX_MEDIA_TYPE,
            IMAGE_MANIFEST_LIST_MEDIA_TYPE,
            OCI_IMAGE_MEDIA_TYPE,
            IMAGE_MANIFEST_MEDIA_TYPE,
        ];
        let pulled = self.client.pull_manifest_raw(reference, &RegistryAuth::Anonymous, &accepted);
        let (bytes, _) = self.runtime.block_on(pulled).map_err(|error| self.error(&error))?;
        let limit = Limits::default().document;
        if bytes.len() as u64 > limit {
            let what = format!("the manifest of {reference}");
            return Err(Error::TooMuch { what, limit: format!("{limit} bytes") });
        }
        if let Some(digest) = reference.digest() {
            let (expected, found) = (manifest::digest(&reference.to_string(), digest)?, Digest::of(&bytes));
            if expected != found {
                return Err(Error::mismatch(&format!("the manifest of {reference}"), &expected, &found));
            }
        }
        Ok(bytes.to_vec())
    }

    /// Transfers what is missing of a blob into `file`, of which the first `have` bytes are there. Returns how many there
    /// are now, which may be fewer than there should: then the way was cut.
    async fn transfer(
        &self,
        descriptor: &OciDescriptor,
        file: &mut File,
        have: u64,
        size: u64,
        counter: Counter<'_>,
    ) -> Result<(u64, Option<String>), Error> {
        let what = || format!("layer {} of {}", descriptor.digest, self.reference);
        let written = |error: std::io::Error| Error::Cache { path: what().into(), source: error };
        let response = self.client.pull_blob_stream_partial(&self.reference, descriptor, have, None).await;
        let (mut stream, mut have) = match response.map_err(|error| self.error(&error))? {
            BlobResponse::Partial(stream) => (stream, have),
            // It sends all from the beginning.
            BlobResponse::Full(stream) => {
                file.set_len(0).map_err(written)?;
                (stream, 0)
            }
        };
        while let Some(bytes) = stream.next().await {
            let bytes = match bytes {
                Ok(bytes) => bytes,
                Err(error) => return Ok((have, Some(causes(&error)))),
            };
            have += bytes.len() as u64;
            if have > size {
                return Err(Error::corrupt(&what(), format!("it is longer than its {size} bytes")));
            }
            file.write_all(&bytes).map_err(written)?;
            counter(have, Some(size));
        }
        Ok((have, None))
    }

    /// A blob in a file, whole and verified. What an attempt before this one transferred is not transferred again.
    fn blob(
        &self,
        descriptor: &OciDescriptor,
        limit: u64,
        scratch: &Path,
        counter: Counter<'_>,
    ) -> Result<File, Error> {
        let what = format!("layer {} of {}", descriptor.digest, self.reference);
        let digest = manifest::digest(&what, &descriptor.digest)?;
        let size = u64::try_from(descriptor.size).unwrap_or(u64::MAX);
        if size > limit {
            return Err(Error::TooMuch { what, limit: format!("{} MiB", limit >> 20) });
        }
        let path = scratch.join(digest.hex());
        let mut file =
            OpenOptions::new().create(true).append(true).read(true).open(&path).map_err(Error::cache(&path))?;
        let mut have = file.metadata().map_err(Error::cache(&path))?.len();
        if have > size {
            file.set_len(0).map_err(Error::cache(&path))?;
            have = 0;
        }
        counter(have, Some(size));
        while have < size {
            let before = have;
            let cut;
            (have, cut) = self.runtime.block_on(self.transfer(descriptor, &mut file, before, size, counter))?;
            // As long as every attempt brings something the next one goes on where it ended.
            if have <= before {
                let reason = cut.unwrap_or_else(|| "it ends there".to_owned());
                return Err(Error::corrupt(&what, format!("{have} of {size} bytes came: {reason}")));
            }
        }
        let whole = File::open(&path).map_err(Error::cache(&path))?;
        let found = Hashing::new(BufReader::new(whole)).finish(size).map_err(Error::cache(&path))?;
        if found != digest {
            fs::remove_file(&path).map_err(Error::cache(&path))?;
            return Err(Error::mismatch(&what, &digest, &found));
        }
        File::open(&path).map_err(Error::cache(&path))
    }
}

/// HTTPS, but for registries on this machine, as docker has it.
fn protocol(registry: &str) -> ClientProtocol {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    match host {
        "localhost" | "127.0.0.1" | "[::1]" => ClientProtocol::Http,
        _ => ClientProtocol::Https,
    }
}

/// An error with all its causes in one line.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

impl Documents for Registry {
    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        self.pull_manifest(&self.reference.clone_with_digest(digest.to_string()))
    }

    fn document(&self, descriptor: &OciDescriptor) -> Result<Vec<u8>, Error> {
        let what = format!("the configuration of {}", self.reference);
        let limit = Limits::default().document;
        let pull = async {
            let response = self.client.pull_blob_stream(&self.reference, descriptor).await;
            let mut stream = response.map_err(|error| self.error(&error))?;
            let mut bytes = Vec::new();
            while let Some(more) = stream.next().await {
                bytes.extend_from_slice(&more.map_err(|error| Error::corrupt(&what, causes(&error)))?);
                if bytes.len() as u64 > limit {
                    return Err(Error::TooMuch { what: what.clone(), limit: format!("{limit} bytes") });
                }
            }
            Ok(bytes)
        };
        let bytes = self.runtime.block_on(pull)?;
        let (expected, found) = (manifest::digest(&what, &descriptor.digest)?, Digest::of(&bytes));
        if expected == found { Ok(bytes) } else { Err(Error::mismatch(&what, &expected, &found)) }
    }
}

impl Source for Registry {
    fn resolve(&self, wanted: &Wanted) -> Result<Image, Error> {
        let top = self.pull_manifest(&self.reference)?;
        manifest::resolve(&self.reference.to_string(), top, self, wanted)
    }

    fn layer(
        &self,
        layer: &Layer,
        wanted: &Wanted,
        scratch: &Path,
        counter: Counter<'_>,
    ) -> Result<Box<dyn Read + '_>, Error> {
        let size = layer.size.and_then(|size| i64::try_from(size).ok()).unwrap_or(i64::MAX);
        let descriptor = OciDescriptor { digest: layer.key.clone(), size, ..OciDescriptor::default() };
        Ok(Box::new(self.blob(&descriptor, wanted.limits.layer, scratch, counter)?))
    }
}
