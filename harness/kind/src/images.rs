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

/// Gives the cluster's nodes an image of docker's. kind leaves out nodes that have it.
///
/// # Errors
/// kind's answer.
pub async fn load(cluster: &Cluster, image: &str) -> Result<()> {
    let call = Call::new(Tool::Kind, ["load", "docker-image", image, "--name", &cluster.name]).patience(LOAD);
    cluster.tools().run(&call).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_found_once_wherever_they_stand() {
        let rendered = "---\nspec: {containers: [{image: 'a:1'}, {image: 'b:2'}]}\n---\nspec: {initContainers: [{image: 'a:1'}]}\n---\n# nothing\n";
        assert_eq!(of_chart(rendered).expect("YAML"), ["a:1", "b:2"]);
        assert!(of_chart("a: [").is_err());
    }
}
