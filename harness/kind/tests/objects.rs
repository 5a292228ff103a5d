//! What a real API server said, read; and whatever else it could have said.

use std::net::Ipv4Addr;

use futures::FutureExt;
use futures::future::BoxFuture;
use kind::config::Role;
use kind::kubernetes::Kubernetes;
use kind::tools::{Call, Run, Said};
use kind::{Node, Result, Tools};
use serde_json::{Value, json};

/// Says the same to whatever it is asked.
struct Says(String);

impl Run for Says {
    fn run<'a>(&'a self, _: &'a Call) -> BoxFuture<'a, Result<Said>> {
        let said = Said { code: Some(0), output: self.0.clone(), error: String::new() };
        Box::pin(std::future::ready(Ok(said)))
    }
}

fn api(says: &str) -> Kubernetes {
    let tools = Tools::by(Says(says.to_owned()));
    let container = json!({
        "Name": "/c-control-plane", "State": {"Pid": 1}, "Networks": {"c": {"IPAddress": "198.18.0.2"}},
    });
    Kubernetes::on(Node::read(&tools, Role::ControlPlane, "c", &container).expect("it is a node"))
}

fn recorded(name: &str) -> String {
    let path = format!("{}/testdata/kubernetes-1.31/{name}.json", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

const RECORDED: [&str; 5] = ["nodes", "agents", "coredns", "endpoints", "namespaces"];

/// Everything that is ever asked of an API, of something that may be no answer to it.
fn ask_all(says: &str) {
    let api = api(says);
    let asked = async {
        let _ = api.nodes().await;
        let _ = api.pods("kube-system", "k8s-app=cilium").await;
        let _ = api.endpoints("default", "kubernetes").await;
        let _ = api.ending_namespaces().await;
        let _ = api.config_map("kube-system", "cilium-config").await;
    };
    asked.now_or_never().expect("nobody waits for anything");
}

fn now<T>(asked: impl Future<Output = Result<T>>) -> T {
    asked.now_or_never().expect("nobody waits for anything").unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn nodes_tell_their_address_and_range() {
    let nodes = now(api(&recorded("nodes")).nodes());
    let told: Vec<_> = nodes.iter().map(|node| (node.name.as_str(), node.internal_ip, node.version.as_str())).collect();
    let address = |last| Some(Ipv4Addr::new(100, 64, 0, last));
    assert_eq!(told[0], ("underlay-0a1b2c3d-control-plane", address(1), "v1.31.4"));
    assert_eq!(told[1], ("underlay-0a1b2c3d-worker", address(2), "v1.31.4"));
    let ranges: Vec<_> = nodes.iter().filter_map(|node| Some(node.pod_cidr?.to_string())).collect();
    assert_eq!(ranges, ["10.244.0.0/24", "10.244.1.0/24"]);
}

#[test]
fn pods_tell_where_they_are_and_whether_they_are_ready() {
    let pods = now(api(&recorded("agents")).pods("kube-system", "k8s-app=cilium"));
    assert_eq!(pods.len(), 2);
    assert!(pods.iter().all(|pod| !pod.ready && pod.node.is_some() && !pod.ends), "{pods:?}");
    assert!(pods.iter().all(|pod| pod.reason == "PodInitializing"), "they were asked while they began: {pods:?}");
    let replicas = now(api(&recorded("coredns")).pods("kube-system", "k8s-app=kube-dns"));
    assert!(replicas.iter().all(|pod| pod.address.is_some_and(|address| address.octets()[..2] == [10, 244])));
}

#[test]
fn services_and_namespaces() {
    assert_eq!(now(api(&recorded("endpoints")).endpoints("default", "kubernetes")).len(), 1);
    assert!(now(api(&recorded("namespaces")).ending_namespaces()).is_empty());
}

#[test]
fn an_answer_cut_short_is_an_error_and_never_a_panic() {
    for name in RECORDED {
        let whole = recorded(name);
        for end in (0..whole.len() - 2).step_by(97) {
            let cut = whole.get(..end).unwrap_or_default();
            let read = api(cut).nodes().now_or_never().expect("nobody waits");
            assert!(read.is_err(), "{name} cut after {end} bytes");
        }
    }
}

#[test]
fn whatever_is_missing_or_another_kind_of_thing_nothing_panics() {
    for name in RECORDED {
        let whole: Value = serde_json::from_str(&recorded(name)).expect("the recording is JSON");
        let mut places = Vec::new();
        pointers(&whole, String::new(), &mut places);
        for place in places {
            for odd in [Value::Null, json!(-1), json!({"a": [[]]})] {
                let mut spoilt = whole.clone();
                *spoilt.pointer_mut(&place).expect("it was found there") = odd;
                ask_all(&spoilt.to_string());
            }
        }
    }
}

fn pointers(value: &Value, at: String, places: &mut Vec<String>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            pointers(value, format!("{at}/{key}"), places);
        }),
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| pointers(value, format!("{at}/{index}"), places));
        }
        _ => {}
    }
    places.push(at);
}
