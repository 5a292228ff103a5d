//! What the engine takes: programs, charts, images. Found and fetched before anything is built, in the network the process
//! was started in.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use cilium::Version;
use kind::chart::{Chart, Source, Told};
use kind::tools::Tool;
use kind::{Error, Tools, images};
use nix::unistd::geteuid;
use serde_json::json;
use tokio::sync::Mutex;

use super::pool::{self, Pool};
use super::values;
use crate::case::Case;
use crate::observed::EngineError;

/// Its name.
pub const ENGINE: &str = "kind";
/// The chart's, and a release's, name.
pub const CILIUM: &str = "cilium";

/// What somebody can ask of it.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where Cilium's chart comes from.
    pub chart: Source,
    /// Where charts are kept that were fetched.
    pub charts: PathBuf,
    /// The node image; kind's own where there is none.
    pub node_image: Option<String>,
    /// Archives of images that no registry is asked for.
    pub archives: Vec<PathBuf>,
    /// A new cluster for each case.
    pub fresh: bool,
    /// The cluster stays when the run is over.
    pub keep: bool,
    /// A cluster that is there, by its name.
    pub cluster: Option<String>,
}

/// What the engine takes.
#[derive(Debug, Clone)]
pub struct Setup(Arc<Inner>);

/// Tells the user what is about to happen.
pub type Say = fn(&str);

#[derive(Debug)]
struct Inner {
    say: Say,
    tools: Tools,
    options: Options,
    /// By the version asked for; or why there is none.
    releases: BTreeMap<String, Result<Release, String>>,
    /// What the programs call themselves; or what is missing.
    programs: Result<String, String>,
    /// Of all cases, so that one cluster's certificate serves as many as can be.
    api_addresses: Vec<Ipv4Addr>,
    /// What kubelets call themselves, once there was one.
    kubernetes: OnceLock<String>,
    pool: Arc<Mutex<Pool>>,
}

/// A version of Cilium that can be installed.
#[derive(Debug, Clone)]
pub struct Release {
    /// Its chart.
    pub chart: Chart,
    /// The images its pods run.
    pub images: Vec<String>,
}

impl Setup {
    /// Looks for the programs, fetches charts of these cases' versions and the images they run, and says so before it does.
    ///
    /// What is missing is no error: it skips what needs it.
    pub async fn prepare(tools: Tools, options: Options, cases: &[impl AsRef<Case>], say: Say) -> Self {
        let programs = match geteuid().is_root() {
            true => programs(&tools).await,
            false => Err("a lab is plugged into docker's containers by root alone; remedy: sudo".to_owned()),
        };
        let mut releases = BTreeMap::new();
        if programs.is_ok() {
            for archive in &options.archives {
                say(&format!("docker takes in {}", archive.display()));
                if let Err(error) = images::unpack(&tools, archive).await {
                    say(&format!("warning: {error}"));
                }
            }
            match &options.node_image {
                None => say("kind takes its own node image, and pulls it if docker hasn't it"),
                Some(image) if !images::is_there(&tools, image).await.unwrap_or(true) => {
                    say(&format!("docker pulls {image}"));
                    if let Err(error) = images::pull(&tools, image).await {
                        // kind will try too, and says what it needs.
                        say(&format!("warning: {error}"));
                    }
                }
                Some(_) => {}
            }
            for version in cases.iter().flat_map(|case| case.as_ref().versions()) {
                if !releases.contains_key(version.as_str()) {
                    let release = release(&tools, &options, version, say).await;
                    releases.insert(version.as_str().to_owned(), release);
                }
            }
        }
        let api_addresses =
            cases.iter().flat_map(|case| pool::api_addresses(case.as_ref()).collect::<Vec<_>>()).collect();
        let pool = Arc::new(Mutex::new(Pool::default()));
        Self(Arc::new(Inner {
            say,
            tools,
            options,
            releases,
            programs,
            api_addresses,
            kubernetes: OnceLock::new(),
            pool,
        }))
    }

    /// Tells the user something.
    pub fn say(&self, line: &str) {
        (self.0.say)(line);
    }

    /// Who runs programs.
    pub fn tools(&self) -> &Tools {
        &self.0.tools
    }

    /// What was asked for.
    pub fn options(&self) -> &Options {
        &self.0.options
    }

    /// Addresses that the API server may have to be reached under, of all cases.
    pub fn api_addresses(&self) -> &[Ipv4Addr] {
        &self.0.api_addresses
    }

    /// The clusters there are.
    pub fn pool(&self) -> Arc<Mutex<Pool>> {
        Arc::clone(&self.0.pool)
    }

    /// What the programs call themselves.
    ///
    /// # Errors
    /// One is missing.
    pub fn programs(&self) -> Result<&str, EngineError> {
        self.0.programs.as_deref().map_err(|missing| unsupported(format!("run anything: {missing}")))
    }

    /// Takes note of what kubelets call themselves.
    pub fn met(&self, kubelet: &str) {
        // All of a run's are of the same node image.
        let _ = self.0.kubernetes.set(kubelet.to_owned());
    }

    /// What kubelets call themselves, `v1.31.4`, once there was one.
    pub fn kubernetes(&self) -> Option<&str> {
        self.0.kubernetes.get().map(String::as_str)
    }

    /// The version of Kubernetes that was asked for, `v1.31.4`, by the tag of the nodes' image; none where that is none.
    pub fn asked_for(&self) -> Option<&str> {
        version_of(self.options().node_image.as_deref()?)
    }

    /// What runs, of that version of Cilium: its chart, Kubernetes once there was one, the programs.
    pub fn component(&self, version: &Version) -> Option<String> {
        let chart = &self.release(version).ok()?.chart.version;
        let kubernetes = self.kubernetes().map(|kubelet| format!(", Kubernetes {kubelet}")).unwrap_or_default();
        Some(format!("Cilium {chart} by its chart{kubernetes}, {}", self.programs().ok()?))
    }

    /// The release of that version.
    ///
    /// # Errors
    /// It isn't to be had.
    pub fn release(&self, version: &Version) -> Result<&Release, EngineError> {
        self.programs()?;
        match self.0.releases.get(version.as_str()) {
            Some(Ok(release)) => Ok(release),
            Some(Err(why)) => Err(unsupported(format!("install Cilium {version}: {why}"))),
            None => Err(unsupported(format!("install Cilium {version}: nobody asked for it"))),
        }
    }
}

/// Something this host or this engine can't do.
pub fn unsupported(what: String) -> EngineError {
    EngineError::Unsupported { engine: ENGINE, what }
}

/// What the programs call themselves: `docker 26.1.5, kind v0.30.0, helm v3.19.0`.
///
/// # Errors
/// What is missing, with the remedy.
pub async fn programs(tools: &Tools) -> Result<String, String> {
    let mut found = Vec::new();
    for tool in Tool::ALL {
        let remedy = |error: Error| format!("{error}; remedy: {}", remedy(tool));
        found.push(version(tools, tool).await.map_err(remedy)?);
    }
    Ok(found.join(", "))
}

/// What one of them calls itself.
///
/// # Errors
/// It isn't there or doesn't answer.
pub async fn version(tools: &Tools, tool: Tool) -> kind::Result<String> {
    let said = tools.run(&tool.version()).await?;
    // Some say more than their version, and some their name too.
    let version = said.split_whitespace().find(|word| *word != tool.program()).unwrap_or_default();
    Ok(format!("{} {}", tool.program(), version.split('+').next().unwrap_or_default()))
}

/// What to do where a program is missing.
pub fn remedy(tool: Tool) -> &'static str {
    match tool {
        Tool::Docker => "install docker, and start its daemon; DOCKER_HOST names another than the default",
        Tool::Kind => "install kind 0.27 or newer: https://kind.sigs.k8s.io/docs/user/quick-start/",
        Tool::Helm => "install Helm 3.13 or newer: https://helm.sh/docs/intro/install/",
    }
}

async fn release(tools: &Tools, options: &Options, version: &Version, say: Say) -> Result<Release, String> {
    let text = |error: Error| error.to_string();
    let source = &options.chart;
    if version.patch().is_none() && !matches!(source, Source::Local(_)) {
        return Err(format!("no release is of that name; name one, such as {version}.0"));
    }
    let chart = Chart::fetch(tools, source, CILIUM, version.as_str(), &options.charts, &say).await;
    let remedy = "name where it is with --chart: a packed chart, a folder, or a registry's oci://… reference";
    let chart = chart.map_err(|error| format!("{error}; remedy: {remedy}"))?;
    let is_it = chart.version == version.as_str() || chart.version.starts_with(&format!("{version}."));
    if !is_it {
        return Err(format!("{} is the chart of {}", chart.path.display(), chart.version));
    }
    let defaults = values::document(&values::always("0.0.0.0"));
    let told = Told { defaults: &defaults, values: &json!({}), set: &[] };
    let rendered = chart.render(tools, CILIUM, told).await.map_err(text)??;
    let images = images::of_chart(&rendered).map_err(text)?;
    for image in &images {
        if !images::is_there(tools, image).await.map_err(text)? {
            say(&format!("docker pulls {image}"));
            let remedy = "bring it in an archive, as `docker save` writes one: --image-archive FILE";
            images::pull(tools, image).await.map_err(|error| format!("{error}; remedy: {remedy}"))?;
        }
    }
    Ok(Release { chart, images })
}
/// The version in an image's tag, `v1.31.4` of `kindest/node:v1.31.4@sha256:…`.
fn version_of(image: &str) -> Option<&str> {
    let (_, tag) = image.split('@').next()?.rsplit_once(':')?;
    let is_version = tag.strip_prefix('v')?.starts_with(|first: char| first.is_ascii_digit()) && !tag.contains('/');
    is_version.then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_tells_the_version() {
        for (image, version) in [
            ("kindest/node:v1.31.4", Some("v1.31.4")),
            ("localhost:5000/node:v1.35.0@sha256:0123", Some("v1.35.0")),
            ("localhost:5000/node", None),
            ("kindest/node:latest", None),
            ("kindest/node", None),
        ] {
            assert_eq!(version_of(image), version, "{image}");
        }
    }
}
