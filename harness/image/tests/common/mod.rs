//! Images made by hand, honest and otherwise.
#![allow(dead_code)] // Each test target uses its own part.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use image::{Cache, Digest, Error, Event, Origin, Root, Wanted};
use serde_json::{Value, json};
use tar::{EntryType, Header};
use tempfile::TempDir;

/// A layer's archive, entry by entry. Names are put in as they are, whatever they say.
#[derive(Default)]
pub struct Layer(Vec<u8>);

impl Layer {
    pub fn file(self, name: &str, content: &str) -> Self {
        self.entry(EntryType::Regular, name, "", 0o644, content.as_bytes())
    }

    pub fn mode(self, name: &str, mode: u32) -> Self {
        self.entry(EntryType::Regular, name, "", mode, b"")
    }

    pub fn directory(self, name: &str) -> Self {
        self.entry(EntryType::Directory, name, "", 0o755, b"")
    }

    pub fn symlink(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, name, target, 0o777, b"")
    }

    pub fn hard_link(self, name: &str, target: &str) -> Self {
        self.entry(EntryType::Link, name, target, 0o644, b"")
    }

    pub fn entry(mut self, kind: EntryType, name: &str, target: &str, mode: u32, content: &[u8]) -> Self {
        for (kind, text) in [(EntryType::GNULongName, name), (EntryType::GNULongLink, target)] {
            if text.len() > 100 {
                self = self.entry(kind, "././@LongLink", "", 0, text.as_bytes());
            }
        }
        let mut header = Header::new_gnu();
        let bytes = header.as_mut_bytes();
        for (text, at) in [(name, 0), (target, 157)] {
            let text = &text.as_bytes()[..text.len().min(100)];
            bytes[at..at + text.len()].copy_from_slice(text);
        }
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn archive(mut self) -> Vec<u8> {
        self.0.extend([0; 1024]);
        self.0
    }
}

/// An image in memory.
pub struct Image {
    pub blobs: BTreeMap<String, Vec<u8>>,
    pub manifest: Vec<u8>,
    pub config: Vec<u8>,
    pub archives: Vec<Vec<u8>>,
}

impl Image {
    pub fn of(layers: impl IntoIterator<Item = Layer>) -> Self {
        Self::with(layers, here())
    }

    pub fn with(layers: impl IntoIterator<Item = Layer>, architecture: &str) -> Self {
        Self::of_archives(layers.into_iter().map(Layer::archive).collect(), architecture)
    }

    pub fn of_archives(archives: Vec<Vec<u8>>, architecture: &str) -> Self {
        let diff_ids: Vec<_> = archives.iter().map(|archive| Digest::of(archive).to_string()).collect();
        let config = json!({
            "architecture": architecture, "os": "linux", "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = config.to_string().into_bytes();
        let mut image = Self { blobs: BTreeMap::new(), manifest: Vec::new(), config: config.clone(), archives };
        let layers: Vec<_> =
            image.archives.clone().iter().map(|archive| image.add(gzip(archive), "layer.v1.tar+gzip")).collect();
        let config = image.add(config, "config.v1+json");
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": layers,
        });
        image.manifest = manifest.to_string().into_bytes();
        image.add(image.manifest.clone(), "manifest.v1+json");
        image
    }

    fn add(&mut self, blob: Vec<u8>, kind: &str) -> Value {
        let digest = Digest::of(&blob).to_string();
        let size = blob.len();
        self.blobs.insert(digest.clone(), blob);
        json!({ "mediaType": format!("application/vnd.oci.image.{kind}"), "digest": digest, "size": size })
    }

    pub fn digest(&self) -> String {
        Digest::of(&self.manifest).to_string()
    }

    /// The blob of a layer, from 0.
    pub fn layer_digest(&self, layer: usize) -> String {
        Digest::of(&gzip(&self.archives[layer])).to_string()
    }

    fn index(&self) -> Vec<u8> {
        let manifest = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": self.digest(), "size": self.manifest.len(),
        });
        json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string().into_bytes()
    }

    /// As an OCI layout in a folder.
    pub fn layout(&self, folder: &Path) -> PathBuf {
        let path = folder.join("layout");
        for (name, content) in self.layout_files() {
            let file = path.join(name);
            fs::create_dir_all(file.parent().expect("a file is in a folder")).expect("make a folder");
            fs::write(file, content).expect("write a file");
        }
        path
    }

    /// As an OCI layout in an archive.
    pub fn layout_archive(&self, folder: &Path) -> PathBuf {
        tar(folder.join("layout.tar"), self.layout_files())
    }

    fn layout_files(&self) -> Vec<(String, Vec<u8>)> {
        let blobs = self.blobs.iter();
        let blobs = blobs.map(|(digest, blob)| (format!("blobs/sha256/{}", &digest["sha256:".len()..]), blob.clone()));
        let head = [
            ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
            ("index.json".to_owned(), self.index()),
        ];
        head.into_iter().chain(blobs).collect()
    }

    /// As `docker save` wrote it before version 25.
    pub fn docker_archive(&self, folder: &Path) -> PathBuf {
        let layer = |number: usize| format!("{number:064x}/layer.tar");
        let layers: Vec<_> = (0..self.archives.len()).map(layer).collect();
        let config = format!("{}.json", Digest::of(&self.config).hex());
        let manifest = json!([{ "Config": config, "RepoTags": ["a:b"], "Layers": layers }]);
        let files = layers.iter().cloned().zip(self.archives.iter().cloned());
        let files =
            files.chain([(config, self.config.clone()), ("manifest.json".to_owned(), manifest.to_string().into())]);
        tar(folder.join("saved.tar"), files.collect())
    }
}

fn tar(path: PathBuf, files: Vec<(String, Vec<u8>)>) -> PathBuf {
    let layer = files
        .into_iter()
        .fold(Layer::default(), |layer, (name, content)| layer.entry(EntryType::Regular, &name, "", 0o644, &content));
    fs::write(&path, layer.archive()).expect("write an archive");
    path
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory can be written to");
    encoder.finish().expect("memory can be written to")
}

/// This machine, in the words of images.
pub fn here() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// A cache of a test's own.
pub struct Place {
    pub folder: TempDir,
    pub cache: Cache,
    pub events: Vec<Event>,
}

impl Place {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cache = Cache::at(folder.path().join("cache"));
        Self { folder, cache, events: Vec::new() }
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn obtain(&mut self, wanted: &Wanted) -> Result<Root, Error> {
        let Self { cache, events, .. } = self;
        image::obtain(wanted, cache, &mut |event| events.push(event.clone()))
    }

    /// An image by way of a layout in a folder.
    pub fn unpack(&mut self, image: &Image) -> Result<Root, Error> {
        let wanted = Wanted::new(Origin::File(image.layout(self.path())));
        self.obtain(&wanted)
    }

    /// Nothing is left of an image that was refused.
    pub fn assert_empty(&self) {
        let kept = self.cache.entries().expect("the cache can be read");
        assert!(kept.iter().all(|entry| !entry.is_whole), "nothing is kept of an image that was refused: {kept:?}");
        let outside =
            fs::read_dir(self.path()).expect("list the folder").map(|entry| entry.expect("an entry").file_name());
        let strange: Vec<_> = outside.filter(|name| name != "cache" && name != "layout").collect();
        assert!(strange.is_empty(), "nothing is written beside the cache: {strange:?}");
    }
}
