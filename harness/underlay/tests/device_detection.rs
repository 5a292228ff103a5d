//! Cilium's own vectors for device selection, in real namespaces: built by the lab, read by the engine's reader, decided
//! by the model.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use cilium::config::AgentConfig;
use cilium::inputs::NodeInputs;
use cilium::{Rules, Values, Version, devices};
use ipnet::Ipv4Net;
use lab::netlink::{BondMode, Route, VethEnd, add_veth};
use lab::{Capability, Missing, Namespace, Sysctls};
use libtest_mimic::{Arguments, Failed, Trial};
use serde::Deserialize;
use serde_json::json;
use tokio::runtime::Runtime;
use underlay::engine::inputs;

const MTU: u32 = 1500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    source: String,
    first_version: String,
    last_version: String,
    #[serde(rename = "about")]
    _about: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    id: String,
    devices: Vec<String>,
    force_device_detection: bool,
    links: Vec<Link>,
    routes: Vec<Hop>,
    #[serde(default)]
    agent_routes: Vec<Hop>,
    selected: Vec<String>,
    not_selected: Vec<String>,
    #[serde(default)]
    reasons: BTreeMap<String, String>,
    #[serde(rename = "note")]
    _note: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    name: String,
    kind: String,
    up: bool,
    addresses: Vec<Ipv4Net>,
    master: Option<String>,
    peer: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hop {
    destination: String,
    via: Option<std::net::Ipv4Addr>,
    dev: String,
}

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let sandbox = lab::sandbox::enter().map(drop);
    let runtime = Runtime::new().expect("a runtime starts");
    let mut host = Host { sandbox, tried: BTreeMap::new(), runtime };
    let mut trials = Vec::new();
    for (stem, file) in files() {
        let file = Arc::new(file);
        for (index, case) in file.cases.iter().enumerate() {
            let name = format!("{stem}::{}", case.id);
            let reason = host.cannot(case);
            if let (Some(reason), false) = (&reason, arguments.list) {
                eprintln!("{name} is ignored: {reason}");
            }
            let file = Arc::clone(&file);
            let test = move || holds(&file, &file.cases[index]);
            trials.push(Trial::test(name, test).with_ignored_flag(reason.is_some()));
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn files() -> Vec<(String, File)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cilium/testdata/device-detection");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the vectors are there")
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    assert!(files.len() >= 6, "only {} files of vectors: they went missing", files.len());
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("it can be read");
            let file = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            (path.file_stem().expect("a file has a name").to_string_lossy().into_owned(), file)
        })
        .collect()
}

/// What the host can do, each thing tried once.
struct Host {
    sandbox: Result<(), Missing>,
    tried: BTreeMap<Capability, Option<Missing>>,
    runtime: Runtime,
}

impl Host {
    /// Why a case can't be had here. Another kind of device in the place of a missing one would be another case: kinds
    /// are what detection looks at.
    fn cannot(&mut self, case: &Case) -> Option<String> {
        if !case.agent_routes.is_empty() {
            return Some("some of its routes are what an agent remembers, and no longer in the kernel".to_owned());
        }
        if let Err(missing) = &self.sandbox {
            return Some(missing.to_string());
        }
        case.links.iter().find_map(|link| {
            let capability = match link.kind.as_str() {
                "veth" => Capability::Veth,
                "bridge" => Capability::Bridge,
                "bond" => Capability::Bond,
                "dummy" => Capability::Dummy,
                other => return Some(format!("this test can't make a {other}")),
            };
            let tried = self.tried.entry(capability);
            let missing = tried.or_insert_with(|| self.runtime.block_on(lab::doctor::try_one(capability)).err());
            missing.as_ref().map(ToString::to_string)
        })
    }
}

fn build(case: &Case) -> Result<Namespace, Failed> {
    let namespace = Namespace::create(&case.id, &Sysctls::HOST)?;
    for (index, link) in case.links.iter().enumerate() {
        match link.kind.as_str() {
            "veth" => {
                let peer = link.peer.as_deref().ok_or("a veth has a peer")?;
                // A pair is made once, at the first of its two.
                if !case.links[..index].iter().any(|other| other.name == peer) {
                    let end = |name| VethEnd::new(&namespace, name, MTU);
                    add_veth(end(&link.name), end(peer))?;
                }
            }
            "bridge" => namespace.netlink()?.add_bridge(&link.name, MTU)?,
            "bond" => namespace.netlink()?.add_bond(&link.name, MTU, BondMode::ActiveBackup)?,
            "dummy" => namespace.netlink()?.add_dummy(&link.name, MTU)?,
            other => return Err(format!("no such kind: {other}").into()),
        }
    }
    let mut netlink = namespace.netlink()?;
    for link in &case.links {
        if let Some(master) = &link.master {
            netlink.set_controller(&link.name, master)?;
        }
    }
    for link in &case.links {
        for address in &link.addresses {
            netlink.add_address(&link.name, *address)?;
        }
        if link.up {
            netlink.link_up(&link.name)?;
        }
    }
    for hop in &case.routes {
        let destination = if hop.destination == "default" { Ipv4Net::default() } else { hop.destination.parse()? };
        let route = Route::through(destination, &hop.dev);
        netlink.add_route(&match hop.via {
            Some(gateway) => route.via(gateway),
            None => route,
        })?;
    }
    drop(netlink);
    Ok(namespace)
}

fn holds(file: &File, case: &Case) -> Result<(), Failed> {
    let namespace = build(case)?;
    let (links, routes) = inputs::seen(&namespace)?;
    let node = NodeInputs {
        name: case.id.clone(),
        links,
        routes,
        internal_ip: None,
        external_ip: None,
        pod_cidr: "10.244.0.0/24".parse()?,
        router_ip: "10.244.0.1".parse()?,
        peers: Vec::new(),
    };
    let (first, last) = (version(&file.first_version)?, version(&file.last_version)?);
    let minors = cilium::version::KNOWN.iter().filter(|minor| (first.minor()..=last.minor()).contains(*minor));
    for minor in minors {
        let version = version(&minor.to_string())?;
        let at = format!("{} of {} on {version}, with {node:#?}", case.id, file.source);
        let values = json!({ "devices": case.devices, "forceDeviceDetection": case.force_device_detection });
        let values = Values::from(values.as_object().cloned().unwrap_or_default());
        let config = AgentConfig::from_values(&version, &values).map_err(told)?;
        let selection = devices::select(&Rules::of(&version), &config, &node, None).map_err(told)?;
        let got: Vec<_> = selection.links(&node).into_iter().map(|link| link.name.as_str()).collect();
        let wrong = |name: &String, wanted| got.contains(&name.as_str()) != wanted;
        if let Some(name) = case.selected.iter().find(|name| wrong(name, true)) {
            return Err(format!("{at}: Cilium selects {name}, the model {got:?}").into());
        }
        if let Some(name) = case.not_selected.iter().find(|name| wrong(name, false)) {
            return Err(format!("{at}: Cilium doesn't select {name}, the model {got:?}").into());
        }
        for (name, reason) in &case.reasons {
            let told = selection.not_selected.iter().find(|entry| entry.name == *name).map(|entry| &entry.reason);
            if told != Some(reason) {
                return Err(format!("{at}: Cilium leaves {name} out since {reason:?}, the model {told:?}").into());
            }
        }
    }
    Ok(())
}

fn version(text: &str) -> Result<Version, Failed> {
    Version::parse(text).map_err(told)
}

fn told(error: impl Debug) -> Failed {
    format!("{error:?}").into()
}
