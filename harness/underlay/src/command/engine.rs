//! Which engine a command uses, and what that one needs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cilium::Version;
use kind::Tools;
use kind::chart::Source;
use lab::keeper::Keeper;

use super::Stop;
use crate::case::Case;
use crate::component;
use crate::engine::agent::AgentEngine;
use crate::engine::agent::source::{self, Cilium, Sources};
use crate::engine::kind::KindEngine;
use crate::engine::kind::setup::{Options, Say, Setup};
use crate::engine::netns::Netns;
use crate::observed::Engine;

/// An engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum EngineName {
    /// Namespaces of this host; Cilium's decisions by a model.
    Netns,
    /// The real cilium-agent in those namespaces, without Kubernetes.
    Agent,
    /// Kubernetes on kind's nodes, in those namespaces, with Cilium by its chart.
    Kind,
}

/// Each option's own: `next_help_heading` would be that of all options behind them, too.
const OF_AGENT: &str = "Options of the engine `agent`";
const OF_KIND: &str = "Options of the engine `kind`";

/// Where what is real comes from.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Real {
    /// Where Cilium is, for the engine `agent`, in place of the official image of each scenario's version: a directory
    /// with usr/bin/cilium-agent, usr/bin/cilium-dbg and var/lib/cilium/bpf (an unpacked image, an own build), or a folder
    /// of such, by version (1.18.2/, 1.19/).
    #[arg(long, help_heading = OF_AGENT, value_name = "DIR", env = "UNDERLAY_CILIUM_ROOT", hide_env_values = true)]
    cilium_root: Option<PathBuf>,

    /// Cilium's image, in place of --cilium-root: its name in a registry (quay.io/cilium/cilium:v1.18.2), or a file that is
    /// an OCI layout or what `docker save` writes. Kept in the cache: see `underlay cache`.
    #[arg(long, help_heading = OF_AGENT, value_name = "IMAGE|FILE", conflicts_with = "cilium_root")]
    cilium_image: Option<String>,

    /// etcd's program, for the engine `agent`; without it, the one in PATH, else that of its official image.
    #[arg(long, help_heading = OF_AGENT, value_name = "FILE", env = "UNDERLAY_ETCD", hide_env_values = true)]
    etcd: Option<PathBuf>,

    /// etcd's image, in place of --etcd: by name (gcr.io/etcd-development/etcd:v3.5.21), or a file.
    #[arg(long, help_heading = OF_AGENT, value_name = "IMAGE|FILE", conflicts_with = "etcd")]
    etcd_image: Option<String>,

    #[command(flatten)]
    kind: Kind,
}

/// What the engine `kind` takes.
#[derive(Debug, Clone, clap::Args)]
struct Kind {
    /// Where Cilium's chart comes from: a repository, an OCI reference (oci://quay.io/cilium/charts/cilium), or a packed
    /// chart or folder on this host.
    #[arg(
        long,
        help_heading = OF_KIND,
        value_name = "URL|FILE|DIR",
        default_value = "https://helm.cilium.io",
        env = "UNDERLAY_CHART",
        hide_env_values = true
    )]
    chart: String,

    /// The image of nodes, in place of kind's own: it says which Kubernetes runs (kindest/node:v1.33.4).
    #[arg(long, help_heading = OF_KIND, value_name = "IMAGE", env = "UNDERLAY_NODE_IMAGE", hide_env_values = true)]
    node_image: Option<String>,

    /// Images from a file, as `docker save` writes it, in place of a registry. May be given more than once.
    #[arg(long, help_heading = OF_KIND, value_name = "FILE")]
    image_archive: Vec<PathBuf>,

    /// A new cluster for each case; else cases that need the same nodes and ranges share one.
    #[arg(long, help_heading = OF_KIND)]
    fresh: bool,

    /// Leave the cluster there when the run is over.
    #[arg(long, help_heading = OF_KIND, conflicts_with = "fresh")]
    keep: bool,

    /// Use a cluster that --keep left, by its name.
    #[arg(long, help_heading = OF_KIND, value_name = "NAME", conflicts_with_all = ["fresh", "keep"])]
    cluster: Option<String>,
}

/// Images that were asked for, unpacked. In use as long as this lives.
#[derive(Default)]
pub(super) struct Images {
    cilium: Option<image::Root>,
    /// Official ones, by version, or why one isn't to be had.
    official: BTreeMap<String, Result<image::Root, String>>,
    etcd: Option<Result<image::Root, String>>,
    kind: Option<Setup>,
}

impl EngineName {
    /// The engine of that name.
    pub(super) fn engine(self, real: &Real, images: &Images) -> Result<Arc<dyn Engine>, Stop> {
        Ok(match self {
            Self::Netns => Arc::new(Netns),
            Self::Agent => Arc::new(AgentEngine::new(real.sources(images)?)),
            Self::Kind => {
                let setup = images.kind.clone();
                Arc::new(KindEngine::new(setup.expect("it was prepared when images were fetched")))
            }
        })
    }

    /// Who tidies up behind it, where it needs that. While the process has one thread.
    pub(super) fn keeper(self) -> std::io::Result<Option<Keeper>> {
        match self {
            Self::Netns | Self::Kind => Ok(None),
            Self::Agent => Keeper::start().map(Some),
        }
    }
}

impl Real {
    /// Fetches the images that were asked for, or where none is named those that these cases need on these engines. Call
    /// it in the network the process was started in.
    ///
    /// An image that somebody named and that isn't to be had is an error; an official one skips what needs it.
    pub(super) fn images(&self, engines: &[EngineName], cases: &[impl AsRef<Case>]) -> Result<Images, Stop> {
        let kind = if engines.contains(&EngineName::Kind) { Some(self.kind.prepare(cases)?) } else { None };
        if !engines.contains(&EngineName::Agent) {
            return Ok(Images { kind, ..Images::default() });
        }
        let named = |image: &Option<String>| -> Result<_, Stop> {
            let Some(text) = image else { return Ok(None) };
            Ok(Some(component::obtain(text.parse()?)?))
        };
        let (cilium, etcd) = (named(&self.cilium_image)?, named(&self.etcd_image)?);
        let mut images = Images { cilium, official: BTreeMap::new(), etcd: etcd.map(Ok), kind };
        if images.cilium.is_none() && self.cilium_root.is_none() {
            for version in cases.iter().flat_map(|case| case.as_ref().versions()) {
                let known = images.official.entry(version.as_str().to_owned());
                known.or_insert_with(|| official(version));
            }
        }
        if images.etcd.is_none() && self.etcd.is_none() && source::in_path("etcd").is_none() {
            images.etcd = Some(fetched(component::ETCD_IMAGE, "install etcd, or name it: --etcd FILE"));
        }
        Ok(images)
    }

    fn sources(&self, images: &Images) -> Result<Sources, Stop> {
        let help = "name a directory with --cilium-root DIR or an image with --cilium-image IMAGE, or run the model: \
                    --engine netns";
        let real = |path: &Path| {
            let found = path.canonicalize();
            found.map_err(|error| Stop::usage(format!("{}: {error}", path.display()), help))
        };
        let cilium = match images.cilium.as_ref().map(|image| &image.dir).or(self.cilium_root.as_ref()) {
            Some(tree) => Cilium::Tree(real(tree)?),
            None => {
                Cilium::Official(images.official.iter().map(|(version, found)| (version.clone(), dir(found))).collect())
            }
        };
        let etcd = match (&images.etcd, &self.etcd) {
            // Where its own image has it (etcd, Dockerfile).
            (Some(image), _) => dir(image).map(|dir| dir.join("usr/local/bin/etcd")),
            (None, Some(file)) => Ok(real(file)?),
            (None, None) => source::in_path("etcd").ok_or_else(|| "there is none in PATH".to_owned()),
        };
        Ok(Sources { cilium, etcd })
    }
}

impl Kind {
    fn prepare(&self, cases: &[impl AsRef<Case>]) -> Result<Setup, Stop> {
        let options = Options {
            chart: self.chart.parse().unwrap_or_else(|never: std::convert::Infallible| match never {}),
            charts: image::Cache::of_user()?.root().join("charts"),
            node_image: self.node_image.clone(),
            archives: self.image_archive.clone(),
            fresh: self.fresh,
            keep: self.keep,
            cluster: self.cluster.clone(),
        };
        if let Source::Local(path) = &options.chart
            && let Err(error) = path.metadata()
        {
            let help = "--chart takes a packed chart or a folder of this host, a repository's URL, or oci://…";
            return Err(Stop::usage(format!("{}: {error}", path.display()), help));
        }
        if let Some(archive) = options.archives.iter().find(|archive| !archive.is_file()) {
            let help = "--image-archive takes a file, as `docker save` writes it";
            return Err(Stop::usage(format!("{} is no file", archive.display()), help));
        }
        let say: Say = |line| eprintln!("{line}");
        // No other thread: the process is about to enter a namespace.
        let runtime = super::lone_runtime()?;
        Ok(runtime.block_on(Setup::prepare(Tools::of_host(), options, cases, say)))
    }
}

fn dir(image: &Result<image::Root, String>) -> Result<PathBuf, String> {
    image.as_ref().map(|image| image.dir.clone()).map_err(Clone::clone)
}

/// The official image of a version.
fn official(version: &Version) -> Result<image::Root, String> {
    let remedy = "name a directory with --cilium-root DIR, or another image with --cilium-image IMAGE";
    if version.patch().is_none() {
        return Err(format!("no release is of that name; name one, such as {version}.0; or {remedy}"));
    }
    fetched(&component::cilium_image(version), remedy)
}

fn fetched(image: &str, remedy: &str) -> Result<image::Root, String> {
    let found = image.parse().and_then(component::obtain);
    found.map_err(|error: image::Error| format!("{error}; remedy: {remedy}"))
}
