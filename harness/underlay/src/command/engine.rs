//! Which engine a command uses, and what that one needs.

use std::path::PathBuf;
use std::sync::Arc;

use lab::keeper::Keeper;

use super::Stop;
use crate::component;
use crate::engine::agent::AgentEngine;
use crate::engine::agent::source::Sources;
use crate::engine::netns::Netns;
use crate::observed::Engine;

/// An engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum EngineName {
    /// Namespaces of this host; Cilium's decisions by a model.
    Netns,
    /// The real cilium-agent in those namespaces, without Kubernetes.
    Agent,
}

/// Where what is real comes from.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Real {
    /// Where Cilium is, for the engine `agent`: a directory with usr/bin/cilium-agent, usr/bin/cilium-dbg and
    /// var/lib/cilium/bpf (an unpacked image, an own build), or a folder of such, by version (1.18.2/, 1.19/).
    #[arg(long, value_name = "DIR", env = "UNDERLAY_CILIUM_ROOT")]
    cilium_root: Option<PathBuf>,

    /// Cilium's image, in place of --cilium-root: its name in a registry (quay.io/cilium/cilium:v1.18.2), or a file that is
    /// an OCI layout or what `docker save` writes. Kept in the cache: see `underlay cache`.
    #[arg(long, value_name = "IMAGE|FILE", conflicts_with = "cilium_root")]
    cilium_image: Option<String>,

    /// etcd's program, for the engine `agent`; without it, the one in PATH.
    #[arg(long, value_name = "FILE", env = "UNDERLAY_ETCD")]
    etcd: Option<PathBuf>,

    /// etcd's image, in place of --etcd: by name (gcr.io/etcd-development/etcd:v3.5.21), or a file.
    #[arg(long, value_name = "IMAGE|FILE", conflicts_with = "etcd")]
    etcd_image: Option<String>,
}

/// Images that were asked for, unpacked. In use as long as this lives.
pub(super) struct Images {
    cilium: Option<image::Root>,
    etcd: Option<image::Root>,
}

impl EngineName {
    /// The engine of that name.
    pub(super) fn engine(self, real: &Real, images: &Images) -> Result<Arc<dyn Engine>, Stop> {
        Ok(match self {
            Self::Netns => Arc::new(Netns),
            Self::Agent => Arc::new(AgentEngine::new(real.sources(images)?)),
        })
    }

    /// Who tidies up behind it, where it needs that. While the process has one thread.
    pub(super) fn keeper(self) -> std::io::Result<Option<Keeper>> {
        match self {
            Self::Netns => Ok(None),
            Self::Agent => Keeper::start().map(Some),
        }
    }
}

impl Real {
    /// Fetches the images that were asked for. Call it in the network the process was started in.
    pub(super) fn images(&self) -> Result<Images, Stop> {
        let obtain = |image: &Option<String>| -> Result<_, Stop> {
            let Some(text) = image else { return Ok(None) };
            Ok(Some(component::obtain(text.parse()?)?))
        };
        Ok(Images { cilium: obtain(&self.cilium_image)?, etcd: obtain(&self.etcd_image)? })
    }

    fn sources(&self, images: &Images) -> Result<Sources, Stop> {
        let help = "name a directory with --cilium-root DIR or an image with --cilium-image IMAGE, or run the model: \
                    --engine netns";
        let Some(root) = images.cilium.as_ref().map(|image| &image.dir).or(self.cilium_root.as_ref()) else {
            return Err(Stop::usage("--engine agent needs a Cilium", help));
        };
        // Where etcd's own image has it (etcd, Dockerfile).
        let etcd = images.etcd.as_ref().map(|image| image.dir.join("usr/local/bin/etcd")).or(self.etcd.clone());
        Sources::new(root, etcd.as_deref()).map_err(|reason| Stop::usage(reason, help))
    }
}
