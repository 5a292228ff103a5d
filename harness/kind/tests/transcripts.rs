//! What Helm and kubectl are asked in a cluster's life, against a golden transcript of a real one: the same questions, in the
//! same order, and out of its answers the same findings.
//!
//! `UNDERLAY_RECORD_CLUSTER=NAME UNDERLAY_CHART=DIR cargo test -p kind --test transcripts` records it anew, on a cluster that
//! is there and has no Cilium.

use std::path::{Path, PathBuf};

use kind::chart::{self, Chart, Told};
use kind::cluster::Cluster;
use kind::kubernetes::Kubernetes;
use kind::transcript::{Entry, Player, Recorder};
use kind::{Result, Tools};
use serde_json::{Value, json};

const NAME: &str = "underlay-golden";
const CHART: &str = "/charts/cilium";
const FOLDER: &str = "/run/underlay";

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts/helm.json")
}

/// What is found in the cluster's life.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    chart: String,
    nodes: Vec<String>,
    devices: Option<String>,
    replicas: usize,
    api: usize,
}

async fn life(tools: &Tools, name: &str, chart: &Path, folder: &Path) -> Result<Found> {
    let cluster = Cluster::find(tools, name, folder.join("kubeconfig")).await?;
    let kubernetes = Kubernetes::of(&cluster);
    let chart = Chart::at(tools, chart.to_owned()).await?;
    let (defaults, values) = (json!({"operator": {"replicas": 1}}), json!({"devices": "enp0s6"}));
    let told = Told { defaults: &defaults, values: &values, set: &["bpf.masquerade=true".to_owned()] };
    chart.install(&cluster, "cilium", told).await?.unwrap_or_else(|refusal| panic!("{refusal}"));
    let nodes = kubernetes.nodes().await?;
    let devices = kubernetes.config_map(chart::NAMESPACE, "cilium-config").await?;
    let replicas = kubernetes.pods(chart::NAMESPACE, "k8s-app=kube-dns").await?;
    let api = kubernetes.endpoints("default", "kubernetes").await?;
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "test", "namespace": "default"}});
    kubernetes.apply(&[object]).await?;
    kubernetes.delete(&["configmap", "--namespace", "default", "test"]).await?;
    let refused = chart.install(&cluster, "cilium", Told { set: &["a[=1".to_owned()], ..told }).await?;
    assert!(refused.is_err(), "Helm takes no such argument");
    chart::uninstall(&cluster, "cilium").await?;
    Ok(Found {
        chart: chart.version,
        nodes: nodes.into_iter().map(|node| node.version).collect(),
        devices: devices.and_then(|mut entries| entries.remove("devices")),
        replicas: replicas.len(),
        api: api.len(),
    })
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(work)
}

#[test]
fn helm_and_kubectl_are_asked_as_in_the_transcript() {
    let folder = tempfile::tempdir().expect("a folder");
    if let (Ok(cluster), Ok(chart)) = (std::env::var("UNDERLAY_RECORD_CLUSTER"), std::env::var("UNDERLAY_CHART")) {
        record(&cluster, &chart, folder.path());
    }
    let text = std::fs::read_to_string(file()).expect("the transcript is there");
    let own = folder.path().display().to_string();
    let entries: Vec<Entry> = serde_json::from_str(&text.replace(FOLDER, &own)).expect("it is a transcript");
    let tools = Tools::by(Player::new(entries));
    let found = block_on(life(&tools, NAME, CHART.as_ref(), folder.path())).unwrap_or_else(|error| panic!("{error}"));
    let expected = Found {
        chart: "1.18.2".to_owned(),
        nodes: vec!["v1.31.4".to_owned(); 2],
        devices: Some("enp0s6".to_owned()),
        replicas: 2,
        api: 1,
    };
    assert_eq!(found, expected);
}

#[test]
fn another_question_ends_the_play() {
    let tools = Tools::by(Player::new(Vec::new()));
    let error = block_on(life(&tools, NAME, CHART.as_ref(), Path::new(FOLDER))).expect_err("nobody answers");
    assert!(error.to_string().contains("the transcript"), "{error}");
}

/// Runs it for real, and writes down what was said: without what is long and nobody reads.
fn record(cluster: &str, chart: &str, folder: &Path) {
    let recorder = Recorder::new(Tools::of_host());
    let tools = Tools::by(recorder.clone());
    block_on(life(&tools, cluster, chart.as_ref(), folder)).unwrap_or_else(|error| panic!("{error}"));
    let mut entries = recorder.entries();
    for entry in &mut entries {
        if let Ok(mut said) = serde_json::from_str::<Value>(&entry.said.output) {
            prune(&mut said);
            entry.said.output = said.to_string();
        }
    }
    let text = serde_json::to_string_pretty(&entries).expect("it is plain data") + "\n";
    let own = folder.display().to_string();
    let text = text.replace(cluster, NAME).replace(chart, CHART).replace(&own, FOLDER);
    std::fs::write(file(), text).expect("the transcript can be written");
}

fn prune(said: &mut Value) {
    const LONG: [&str; 14] = [
        "managedFields",
        "images",
        "annotations",
        "volumes",
        "containers",
        "initContainers",
        "affinity",
        "allocatable",
        "capacity",
        "conditions",
        "containerStatuses",
        "initContainerStatuses",
        "tolerations",
        "machineID",
    ];
    match said {
        Value::Object(map) => {
            map.retain(|key, _| !LONG.contains(&key.as_str()));
            if let Some(Value::Object(info)) = map.get_mut("nodeInfo") {
                info.retain(|key, _| key == "kubeletVersion");
            }
            if let Some(Value::Object(data)) = map.get_mut("data") {
                data.retain(|key, _| key == "devices");
            }
            map.values_mut().for_each(prune);
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        _ => {}
    }
}
