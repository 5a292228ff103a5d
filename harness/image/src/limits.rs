//! How large an image may be.

/// Limits of what is read and unpacked. Cilium's own image, the largest that is needed, has some 10 layers, 250 MB
/// compressed, 800 MB and 5000 entries unpacked (quay.io/cilium/cilium:v1.18, amd64).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Layers of an image.
    pub layers: usize,
    /// A layer as it is transferred, in bytes.
    pub layer: u64,
    /// All files of the unpacked tree together, in bytes, those included that later layers remove.
    pub unpacked: u64,
    /// Entries of all layers together.
    pub entries: u64,
    /// A manifest or configuration, in bytes.
    pub document: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { layers: 128, layer: 2 << 30, unpacked: 6 << 30, entries: 500_000, document: 4 << 20 }
    }
}
