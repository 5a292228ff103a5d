//! A node: a container, reached by its first process.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use lab::machine::Management;
use lab::netlink::{LinkInfo, Route, table};
use lab::nft::Statement;
use lab::{Machine, Namespace};
use serde_json::Value;
use tokio::process::Child;

use crate::api_server;
use crate::config::Role;
use crate::error::{Error, Result};
use crate::tools::{Call, Tool, Tools};

/// TCP's IP protocol number.
const TCP: u8 = 6;
/// How long a node may take to restart.
const RESTART: Duration = Duration::from_secs(60);

/// What a node's container runtime is asked by, as the beginning of a [`Node::call`]. By itself it waits 2 s for the
/// runtime, which a busy machine can need.
pub const CRICTL: [&str; 2] = ["crictl", "--timeout=30s"];

/// What docker calls the interface by which it reaches a node. Topologies have an `eth0` of their own.
const DOCKERS: &str = "eth0";
/// What it is called once the node is set apart: a name that Cilium's detection of devices never takes (1.14 to 1.20,
/// pkg/defaults, `ExcludedDevicePrefixes`).
pub const INTERFACE: &str = "docker-eth0";

/// A node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its container, and what Kubernetes calls it.
    pub name: String,
    /// Its part in the cluster.
    pub role: Role,
    /// Its first process.
    pub pid: u32,
    /// Its address on docker's network.
    pub address: Ipv4Addr,
    tools: Tools,
}

impl Node {
    /// What docker says of a running container: its name, its state and its networks.
    ///
    /// # Errors
    /// It doesn't run, or isn't on that network.
    pub fn read(tools: &Tools, role: Role, network: &str, container: &Value) -> Result<Self> {
        let what = "what docker says of a node";
        let name = container.pointer("/Name").and_then(Value::as_str).map(|name| name.trim_start_matches('/'));
        let name = name.ok_or_else(|| Error::unread(what, "no name"))?;
        let pid = container.pointer("/State/Pid").and_then(Value::as_u64).and_then(|pid| u32::try_from(pid).ok());
        let pid = pid.filter(|pid| *pid != 0).ok_or_else(|| {
            let state = container.pointer("/State/Status").and_then(Value::as_str).unwrap_or("not there");
            Error::unread(what, format!("{name} is {state}"))
        })?;
        let networks = container.get("Networks").and_then(|networks| networks.get(network));
        let address = networks.and_then(|network| network.get("IPAddress")?.as_str()?.parse().ok());
        let address = address.ok_or_else(|| Error::unread(what, format!("{name} has no address on {network}")))?;
        Ok(Self { name: name.to_owned(), role, pid, address, tools: tools.clone() })
    }

    /// Where this process finds a file of the node's. An absolute symbolic link on the way leads astray.
    pub fn file(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.process().join("root").join(path.strip_prefix("/").unwrap_or(path))
    }

    fn process(&self) -> PathBuf {
        Path::new("/proc").join(self.pid.to_string())
    }

    /// Reads a file of the node's.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn read_file(&self, path: &str) -> Result<String> {
        let failed = |source| Error::File { path: format!("{}:{path}", self.name), source };
        fs::read_to_string(self.file(path)).map_err(failed)
    }

    /// Writes a file of the node's in place, as docker's own (/etc/hosts) want it: they are mounted.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn write_file(&self, path: &str, text: &str) -> Result<()> {
        let failed = |source| Error::File { path: format!("{}:{path}", self.name), source };
        fs::write(self.file(path), text).map_err(failed)
    }

    /// The node's network namespace, by the name the lab has for it.
    ///
    /// # Errors
    /// The node has ended.
    pub fn namespace(&self, name: &str) -> Result<Namespace> {
        Ok(Namespace::open(name, &self.process().join("ns/net"))?)
    }

    /// The network namespace of one of the node's processes, by its number in there.
    ///
    /// # Errors
    /// It has ended.
    pub fn namespace_of(&self, name: &str, pid: u64) -> Result<Namespace> {
        Ok(Namespace::open(name, &self.file(format!("/proc/{pid}/ns/net")))?)
    }

    /// Gives docker's interface another name, if it still has its first: a lab may have one of that name. What goes over it
    /// goes on; a restart of the node undoes it.
    ///
    /// # Errors
    /// The kernel's answer, or the node has ended.
    fn set_apart(&self) -> Result<()> {
        let namespace = self.namespace(&self.name)?;
        let mut netlink = namespace.netlink()?;
        let own = IpAddr::V4(self.address);
        let is_dockers =
            |link: &&LinkInfo| link.name == DOCKERS && link.addresses.iter().any(|address| address.net.addr() == own);
        let Some(link) = netlink.links()?.iter().find(is_dockers).map(|link| link.index) else { return Ok(()) };
        match netlink.rename_link(DOCKERS, INTERFACE) {
            Err(error) if error.raw_os_error() == Some(nix::libc::EBUSY) => {}
            done => return Ok(done?),
        }
        let gateways: Vec<_> = netlink.routes()?.into_iter().filter(|route| route.link == link).collect();
        netlink.link_down(DOCKERS)?;
        netlink.rename_link(DOCKERS, INTERFACE)?;
        netlink.link_up(INTERFACE)?;
        // Addresses stay, and their own routes come back with the link; others don't.
        for route in gateways {
            if let (table::MAIN, Some(IpAddr::V4(gateway))) = (route.table, route.gateway) {
                netlink.replace_route(&Route::default_via(gateway, INTERFACE))?;
            }
        }
        Ok(())
    }

    /// The node as a lab takes it, by the name the lab has for it: set apart, and with nothing allowed on docker's interface
    /// but what goes from and to the API server, which nodes, and the host by its published port, talk to.
    ///
    /// # Errors
    /// The kernel's answer, or the node has ended.
    pub fn machine(&self, name: &str) -> Result<Machine> {
        self.set_apart()?;
        let ports = [Statement::DestinationPort, Statement::SourcePort];
        let allowed = ports.map(|port| vec![Statement::Protocol(TCP), port(api_server::PORT)]).to_vec();
        let management = Some(Management { interface: INTERFACE.to_owned(), allowed });
        Ok(Machine { namespace: self.namespace(name)?, management })
    }

    /// A program in the node.
    pub fn call(&self, arguments: &[&str]) -> Call {
        Call::new(Tool::Docker, ["exec", &self.name]).with(arguments.iter().copied())
    }

    /// Runs a program in the node, and gives what it wrote to standard output.
    ///
    /// # Errors
    /// It isn't there, fails, or takes too long.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        self.tools.run(&self.call(arguments)).await
    }

    /// The same, of a program that writes JSON.
    ///
    /// # Errors
    /// As [`Self::run`]; or it isn't JSON.
    pub async fn json(&self, arguments: &[&str]) -> Result<Value> {
        self.tools.json(&self.call(arguments)).await
    }

    /// The same, of a program that reads `input`.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_with(&self, input: &str, arguments: &[&str]) -> Result<String> {
        let call = Call::new(Tool::Docker, ["exec", "-i", &self.name]).with(arguments.iter().copied());
        self.tools.run(&call.input(input)).await
    }

    /// Asks the node's container runtime, and gives what crictl wrote to standard output.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn crictl(&self, arguments: &[&str]) -> Result<String> {
        self.run(&[&CRICTL[..], arguments].concat()).await
    }

    /// The same, of a question whose answer is JSON.
    ///
    /// # Errors
    /// As [`Self::json`].
    pub async fn crictl_json(&self, verb: &str, arguments: &[&str]) -> Result<Value> {
        self.json(&[&CRICTL[..], &[verb, "--output", "json"], arguments].concat()).await
    }

    /// Starts a program in the node that goes on until it is dropped. What docker started for it may go on until it writes
    /// the next time.
    ///
    /// # Errors
    /// docker isn't there.
    pub fn start(&self, arguments: &[&str]) -> Result<Child> {
        self.tools.start(&self.call(arguments))
    }

    /// Stops it and starts it. It has another first process then and another namespace: what was plugged in is gone.
    ///
    /// # Errors
    /// docker's.
    pub async fn restart(&self) -> Result<()> {
        let call = Call::new(Tool::Docker, ["restart", "--time", "10", &self.name]).patience(RESTART);
        self.tools.run(&call).await.map(drop)
    }
}
