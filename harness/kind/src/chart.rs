//! What Helm is asked for: a chart, from wherever it comes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::tools::{Call, Said, Tool, Tools};

/// How long fetching a chart may take.
const PULL: Duration = Duration::from_secs(120);
/// How long Helm may take with the API server. It waits for no pod.
const APPLY: Duration = Duration::from_secs(120);

/// Where a chart comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A repository, by its URL.
    Repository(String),
    /// An OCI reference, `oci://quay.io/cilium/charts/cilium`.
    Oci(String),
    /// A packed chart or a folder.
    Local(PathBuf),
}

impl std::str::FromStr for Source {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        Ok(if text.starts_with("oci://") {
            Self::Oci(text.to_owned())
        } else if text.starts_with("https://") || text.starts_with("http://") {
            Self::Repository(text.to_owned())
        } else {
            Self::Local(PathBuf::from(text))
        })
    }
}

/// A chart that is on this host: a packed one or a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chart {
    /// Where.
    pub path: PathBuf,
    /// Its own version.
    pub version: String,
}

/// What a release is told: values that are always so, then the user's file, then his `--set` arguments, verbatim.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// In place of the chart's defaults.
    pub defaults: &'a Value,
    /// Values as a document.
    pub values: &'a Value,
    /// `--set` arguments.
    pub set: &'a [String],
}

impl Chart {
    /// Fetches `chart` of that version, unless `kept` has it from an earlier time, and says so before it does; a local one
    /// stays where it is.
    ///
    /// # Errors
    /// Helm's answer.
    pub async fn fetch(
        tools: &Tools,
        source: &Source,
        chart: &str,
        version: &str,
        kept: &Path,
        say: &dyn Fn(&str),
    ) -> Result<Self> {
        let pull = Call::new(Tool::Helm, ["pull"]).patience(PULL);
        let (pull, origin) = match source {
            Source::Local(path) => return Self::at(tools, path.clone()).await,
            Source::Repository(url) => (pull.with([chart, "--repo", url]), url),
            Source::Oci(reference) => (pull.with([reference.as_str()]), reference),
        };
        let origin: String = origin.chars().map(|letter| if letter.is_alphanumeric() { letter } else { '-' }).collect();
        let folder = kept.join(origin).join(version);
        let found = match packed(&folder) {
            Some(found) => found,
            None => {
                say(&format!("helm pulls {chart} {version}"));
                // Helm makes no folder, and one that is killed leaves half a chart: pulled beside, then renamed.
                fs::create_dir_all(kept).map_err(unkept(kept))?;
                let beside = tempfile::Builder::new().prefix(".pulling-").tempdir_in(kept).map_err(unkept(kept))?;
                let destination = beside.path().display().to_string();
                tools.run(&pull.with(["--version", version, "--destination", &destination])).await?;
                let pulled = packed(beside.path());
                let pulled = pulled.ok_or_else(|| Error::unread("what Helm pulled", "there is no packed chart"))?;
                let found = folder.join(pulled.file_name().unwrap_or_default());
                fs::create_dir_all(&folder).map_err(unkept(&folder))?;
                fs::rename(&pulled, &found).map_err(unkept(&found))?;
                found
            }
        };
        Self::at(tools, found).await
    }

    /// A chart on this host.
    ///
    /// # Errors
    /// Helm's answer: it is none.
    pub async fn at(tools: &Tools, path: PathBuf) -> Result<Self> {
        let show = Call::new(Tool::Helm, ["show", "chart"]).with([path.display().to_string()]);
        let text = tools.run(&show).await?;
        let about: Value =
            serde_saphyr::from_str(&text).map_err(|error| Error::unread("a chart's description", error))?;
        let version = about.get("version").and_then(Value::as_str);
        let version = version.ok_or_else(|| Error::unread("a chart's description", "it has no version"))?.to_owned();
        Ok(Self { path, version })
    }

    /// What it renders to; Helm's refusal as it says it.
    ///
    /// # Errors
    /// Helm isn't there, or a file can't be written.
    pub async fn render(
        &self,
        tools: &Tools,
        release: &str,
        told: Told<'_>,
    ) -> Result<std::result::Result<String, String>> {
        let folder = tempfile::tempdir().map_err(unwritten)?;
        let files = Files::write(told, folder.path())?;
        // Of a cluster it knows nothing here: the newest Kubernetes there is, for the chart's own check.
        let call = Call::new(Tool::Helm, ["template", release]).with([self.path.display().to_string()]);
        let call = call.with(["--namespace", NAMESPACE, "--kube-version", "1.34.0"]).with(files.arguments());
        Ok(taken(tools.said(&call).await?))
    }

    /// Installs it on a cluster, or changes what is installed to this.
    ///
    /// # Errors
    /// Helm isn't there, or a file can't be written. Helm's refusal is none.
    pub async fn install(
        &self,
        cluster: &Cluster,
        release: &str,
        told: Told<'_>,
    ) -> Result<std::result::Result<(), String>> {
        // Where nobody else looks.
        let folder = cluster.kubeconfig().parent().unwrap_or(Path::new("."));
        let files = Files::write(told, folder)?;
        let call = Call::new(Tool::Helm, ["upgrade", "--install", release])
            .with([self.path.display().to_string()])
            .with(["--namespace", NAMESPACE, "--reset-values"])
            .with([format!("--kubeconfig={}", cluster.kubeconfig().display())])
            .with(files.arguments())
            .patience(APPLY);
        Ok(taken(cluster.tools().said(&call).await?).map(drop))
    }
}

/// Takes a release off a cluster, if it is there.
///
/// # Errors
/// Helm's answer.
pub async fn uninstall(cluster: &Cluster, release: &str) -> Result<()> {
    let call = Call::new(Tool::Helm, ["uninstall", release, "--namespace", NAMESPACE, "--ignore-not-found"])
        .with([format!("--kubeconfig={}", cluster.kubeconfig().display())])
        .patience(APPLY);
    cluster.tools().run(&call).await.map(drop)
}

/// The packed chart in a folder. Helm writes one under a longer name first (`cilium-1.18.2.tgz123456`), which stays if it
/// is killed.
fn packed(folder: &Path) -> Option<PathBuf> {
    let is_packed = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "tgz") && path.is_file();
    fs::read_dir(folder).ok()?.flatten().map(|file| file.path()).find(is_packed)
}

fn unkept(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::File { path: path.display().to_string(), source }
}

/// Where releases go.
pub const NAMESPACE: &str = "kube-system";

fn taken(said: Said) -> std::result::Result<String, String> {
    match said.code {
        Some(0) => Ok(said.output),
        _ => Err(said.error.lines().filter(|line| !line.starts_with("WARNING")).collect::<Vec<_>>().join("\n")),
    }
}

/// Values on their way to Helm. They never are arguments, but `--set`, each of which is one.
struct Files<'a> {
    folder: &'a Path,
    set: &'a [String],
}

impl<'a> Files<'a> {
    fn write(told: Told<'a>, folder: &'a Path) -> Result<Self> {
        for (name, values) in [(DEFAULTS, told.defaults), (VALUES, told.values)] {
            // JSON is YAML.
            fs::write(folder.join(name), values.to_string()).map_err(unwritten)?;
        }
        Ok(Self { folder, set: told.set })
    }

    fn arguments(&self) -> Vec<String> {
        let file = |name: &str| format!("--values={}", self.folder.join(name).display());
        let set = self.set.iter().map(|argument| format!("--set={argument}"));
        [file(DEFAULTS), file(VALUES)].into_iter().chain(set).collect()
    }
}

const DEFAULTS: &str = "defaults.yaml";
const VALUES: &str = "values.yaml";

fn unwritten(source: std::io::Error) -> Error {
    Error::File { path: "the values for Helm".to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::FutureExt;

    use super::*;
    use crate::tools::stand_in::{By, done};

    /// Helm as far as it pulls (pkg/downloader, internal/fileutil): what it writes gets its name when it is whole, in a
    /// folder that is there.
    fn helm(call: &Call) -> Said {
        let after = |word: &str| call.arguments.iter().skip_while(|argument| *argument != word).nth(1);
        let Some(folder) = after("--destination") else { return done("name: cilium\nversion: 1.18.2\n") };
        let name = Path::new(folder).join("cilium-1.18.2.tgz");
        match fs::write(name.with_extension("tgz42"), "").and_then(|()| fs::rename(name.with_extension("tgz42"), name))
        {
            Ok(()) => done(""),
            Err(error) => Said { code: Some(1), error: error.to_string(), ..done("") },
        }
    }

    fn fetch(tools: &Tools, kept: &Path, said: &Mutex<Vec<String>>) -> Chart {
        let source = Source::Repository("https://helm.cilium.io/".to_owned());
        let say = |line: &str| said.lock().expect("nobody panicked").push(line.to_owned());
        let fetched = Chart::fetch(tools, &source, "cilium", "1.18.2", kept, &say).now_or_never();
        fetched.expect("nobody waits").unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn a_chart_is_pulled_once_and_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = folder.path().join("cache/charts");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&asked);
        let tools = Tools::by(By(move |call: &Call| {
            hears.lock().expect("nobody panicked").push(call.arguments[0].clone());
            helm(call)
        }));
        let said = Mutex::new(Vec::new());
        let first = fetch(&tools, &kept, &said);
        assert_eq!(first.path, kept.join("https---helm-cilium-io-/1.18.2/cilium-1.18.2.tgz"));
        assert!(first.path.is_file(), "it has its place");
        assert_eq!(fs::read_dir(&kept).expect("it is there").count(), 1, "and nothing stays beside it");
        assert_eq!(fetch(&tools, &kept, &said), first, "the next time it is there");
        assert_eq!(*asked.lock().expect("nobody panicked"), ["pull", "show", "show"]);
        assert_eq!(*said.lock().expect("nobody panicked"), ["helm pulls cilium 1.18.2"]);
    }

    #[test]
    fn what_a_killed_helm_left_is_no_chart() {
        let folder = tempfile::tempdir().expect("a folder");
        let version = folder.path().join("https---helm-cilium-io-/1.18.2");
        fs::create_dir_all(&version).expect("make a folder");
        fs::write(version.join("cilium-1.18.2.tgz123456"), "half").expect("write a file");
        let fetched = fetch(&Tools::by(By(helm)), folder.path(), &Mutex::default());
        assert_eq!(fetched.path, version.join("cilium-1.18.2.tgz"));
    }
}
