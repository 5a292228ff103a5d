//! Images: which a chart needs, whether the host has them, how nodes get them.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::Cluster;
use crate::error::{Error, Result};
use crate::tools::{Call, Tool, Tools};

/// How long an image may take to be pulled.
const PULL: Duration = Duration::from_secs(900);
/// How long nodes may take to take one in.
const LOAD: Duration = Duration::from_secs(300);
/// The version of docker's API that knows platforms of images to be saved (moby, docs/api/version-history.md).
const SAVES_PLATFORMS: (u32, u32) = (1, 48);

/// The images a rendered chart's containers run, each once, in its order.
///
/// # Errors
/// It isn't YAML.
pub fn of_chart(rendered: &str) -> Result<Vec<String>> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(rendered).map_err(|error| Error::unread("a rendered chart", error))?;
    let mut images = Vec::new();
    documents.iter().for_each(|document| collect(document, &mut images));
    Ok(images)
}

fn collect(value: &Value, images: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str() {
                    Some(image) if key == "image" && !images.iter().any(|known| known == image) => {
                        images.push(image.to_owned());
                    }
                    _ => collect(value, images),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, images)),
        _ => {}
    }
}

/// Whether docker has an image.
///
/// # Errors
/// docker isn't there.
pub async fn is_there(tools: &Tools, image: &str) -> Result<bool> {
    let call = Call::new(Tool::Docker, ["image", "inspect", "--format", "{{.Id}}", image]);
    Ok(tools.said(&call).await?.code == Some(0))
}

/// Has docker pull an image.
///
/// # Errors
/// docker's answer.
pub async fn pull(tools: &Tools, image: &str) -> Result<()> {
    tools.run(&Call::new(Tool::Docker, ["pull", "--quiet", image]).patience(PULL)).await.map(drop)
}

/// Has docker take the images of an archive, as `docker save` writes it.
///
/// # Errors
/// docker's answer.
pub async fn unpack(tools: &Tools, archive: &Path) -> Result<()> {
    let call = Call::new(Tool::Docker, ["load", "--quiet", "--input"]).with([archive.display().to_string()]);
    tools.run(&call.patience(LOAD)).await.map(drop)
}

/// Gives the cluster's nodes an image of docker's.
///
/// # Errors
/// docker's or kind's answer.
pub async fn load(cluster: &Cluster, image: &str) -> Result<()> {
    give(cluster.tools(), &cluster.name, image).await
}

async fn give(tools: &Tools, cluster: &str, image: &str) -> Result<()> {
    let Some(platform) = saved_platform(tools).await? else {
        // kind leaves out nodes that have it.
        let call = Call::new(Tool::Kind, ["load", "docker-image", image, "--name", cluster]).patience(LOAD);
        return tools.run(&call).await.map(drop);
    };
    let unwritten = |source| Error::File { path: "a folder for an image".to_owned(), source };
    let folder = tempfile::tempdir().map_err(unwritten)?;
    let archive = folder.path().join("image.tar").display().to_string();
    let save = ["image", "save", "--platform", &platform, "--output", &archive, image];
    tools.run(&Call::new(Tool::Docker, save).patience(LOAD)).await?;
    let load = Call::new(Tool::Kind, ["load", "image-archive", &archive, "--name", cluster]).patience(LOAD);
    tools.run(&load).await.map(drop)
}

/// The platform that images are to be saved for, `linux/amd64`, where docker can save for one: version 28, API 1.48.
///
/// From there on docker may keep images as containerd does, of several platforms one. What `kind load docker-image` has it
/// save then names the others too, and nodes refuse it (kind's issues 3795 and 4066).
async fn saved_platform(tools: &Tools) -> Result<Option<String>> {
    // The API's version is the one that both its ends know.
    let call = Call::new(Tool::Docker, ["version", "--format", "{{.Client.APIVersion}} {{.Server.Arch}}"]);
    let said = tools.run(&call).await?;
    let mut words = said.split_whitespace();
    let known = words.next().and_then(|version| {
        let (major, minor) = version.split_once('.')?;
        Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
    });
    let architecture = words.next().filter(|_| known.is_some_and(|known| known >= SAVES_PLATFORMS));
    Ok(architecture.map(|architecture| format!("linux/{architecture}")))
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::FutureExt;

    use super::*;
    use crate::tools::stand_in::{By, done};

    /// What is asked of whom to give nodes an image, archives by their names alone.
    fn asked(version: &'static str) -> Vec<String> {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&asked);
        let tools = Tools::by(By(move |call: &Call| {
            let mut words = vec![call.tool.program().to_owned()];
            for argument in &call.arguments {
                let path = Path::new(argument);
                if path.is_absolute() {
                    assert!(path.parent().is_some_and(Path::is_dir), "docker makes no folder: {argument}");
                    words.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
                } else {
                    words.push(argument.clone());
                }
            }
            hears.lock().expect("nobody panicked").push(words.join(" "));
            done(if call.arguments[0] == "version" { version } else { "" })
        }));
        let given = give(&tools, "c", "quay.io/cilium/cilium:v1.18.2").now_or_never();
        given.expect("nobody waits").unwrap_or_else(|error| panic!("{error}"));
        let mut asked = asked.lock().expect("nobody panicked");
        asked.drain(..).skip(1).collect()
    }

    #[test]
    fn of_several_platforms_nodes_get_theirs_where_docker_can_save_it() {
        for version in ["1.48 amd64\n", "1.52 amd64\n", "2.0 amd64\n"] {
            let expected = [
                "docker image save --platform linux/amd64 --output image.tar quay.io/cilium/cilium:v1.18.2",
                "kind load image-archive image.tar --name c",
            ];
            assert_eq!(asked(version), expected, "{version}");
        }
        for version in ["1.47 amd64\n", "1.45 arm64\n", "", "none\n", "1.48"] {
            assert_eq!(asked(version), ["kind load docker-image quay.io/cilium/cilium:v1.18.2 --name c"], "{version}");
        }
    }

    #[test]
    fn images_are_found_once_wherever_they_stand() {
        let rendered = "---\nspec: {containers: [{image: 'a:1'}, {image: 'b:2'}]}\n---\nspec: {initContainers: [{image: 'a:1'}]}\n---\n# nothing\n";
        assert_eq!(of_chart(rendered).expect("YAML"), ["a:1", "b:2"]);
        assert!(of_chart("a: [").is_err());
    }
}
