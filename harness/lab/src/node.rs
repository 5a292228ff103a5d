//! A machine: its namespace and its interfaces.

use topology::network::{Nic, NicKind, Node as Config, Overlay, Role};

use crate::error::{Error, Result};
use crate::host::{Capability, Missing};
use crate::machine::{Guest, Machine};
use crate::namespace::Namespace;
use crate::netlink::{BondMode, Route};
use crate::sysctl::Sysctls;
use crate::vcn::Vcn;

/// A machine in the kernel.
#[derive(Debug)]
pub struct Node {
    /// What was asked for.
    pub config: Config,
    /// Its network namespace.
    pub namespace: Namespace,
    /// Where the machine is somebody else's: what gives it back as it was.
    _guest: Option<Guest>,
}

impl Node {
    /// Makes the machine and plugs its interfaces in. `index` tells the machines of a lab apart.
    ///
    /// # Errors
    /// The kernel's answer; [`Missing`] where a kind of device is unknown to it.
    pub(crate) fn create(config: &Config, index: usize, vcns: &[Vcn]) -> Result<Self> {
        let namespace = Namespace::create(config.name.clone(), &sysctls(config))?;
        Self::plug(Self { config: config.clone(), namespace, _guest: None }, index, vcns)
    }

    /// The same of a machine that is there already.
    ///
    /// # Errors
    /// The kernel's answer; [`Missing`] where a kind of device is unknown to it.
    pub(crate) fn adopt(
        machine: &Machine,
        config: &Config,
        index: usize,
        vcns: &[Vcn],
        overlay: Option<&Overlay>,
    ) -> Result<Self> {
        let guest = Guest::receive(machine, config, overlay, sysctls(config))?;
        let namespace = machine.namespace.clone();
        Self::plug(Self { config: config.clone(), namespace, _guest: Some(guest) }, index, vcns)
    }

    fn plug(node: Self, index: usize, vcns: &[Vcn]) -> Result<Self> {
        let config = &node.config;
        for (nic_index, nic) in config.nics.iter().enumerate() {
            node.add(nic, index, nic_index, vcns)?;
        }
        // Ports and members can be made after their bridge or bond, so they are joined when all are there.
        for nic in &config.nics {
            node.join(nic)?;
        }
        for nic in &config.nics {
            node.configure(nic)?;
        }
        Ok(node)
    }

    fn add(&self, nic: &Nic, node_index: usize, nic_index: usize, vcns: &[Vcn]) -> Result<()> {
        match &nic.kind {
            NicKind::Vcn(name) => {
                let vcn = vcns.iter().find(|vcn| vcn.config.name == *name);
                vcn.expect("a validated interface names a VCN that is there").plug(
                    &self.namespace,
                    node_index,
                    nic_index,
                    nic,
                )
            }
            NicKind::Bridge(_) => self.namespace.netlink()?.add_bridge(&nic.name, nic.mtu),
            NicKind::Bond(_) => self
                .namespace
                .netlink()?
                .add_bond(&nic.name, nic.mtu, BondMode::ActiveBackup)
                .map_err(|error| unknown_device(error, Capability::Bond)),
            NicKind::Dummy => self
                .namespace
                .netlink()?
                .add_dummy(&nic.name, nic.mtu)
                .map_err(|error| unknown_device(error, Capability::Dummy)),
        }
    }

    fn join(&self, nic: &Nic) -> Result<()> {
        let (NicKind::Bridge(members) | NicKind::Bond(members)) = &nic.kind else { return Ok(()) };
        let mut netlink = self.namespace.netlink()?;
        for member in members {
            netlink.set_controller(member, &nic.name)?;
        }
        Ok(())
    }

    fn configure(&self, nic: &Nic) -> Result<()> {
        let mut netlink = self.namespace.netlink()?;
        for address in &nic.addresses {
            netlink.add_address(&nic.name, *address)?;
        }
        drop(netlink);
        if nic.up { self.link_up(nic) } else { Ok(()) }
    }

    /// Makes an interface again that was deleted, as the topology has it. `index` is as it was at first.
    ///
    /// # Errors
    /// The kernel's answer.
    pub(crate) fn restore(&self, nic_index: usize, index: usize, vcns: &[Vcn]) -> Result<()> {
        let Some(nic) = self.config.nics.get(nic_index) else { return Ok(()) };
        self.add(nic, index, nic_index, vcns)?;
        let links = self.namespace.netlink()?.links()?;
        let is_there = |name: &str| links.iter().any(|link| link.name == name);
        for holder in &self.config.nics {
            let (NicKind::Bridge(members) | NicKind::Bond(members)) = &holder.kind else { continue };
            let mut netlink = self.namespace.netlink()?;
            for member in members.iter().filter(|member| holder.name == nic.name || **member == nic.name) {
                if is_there(&holder.name) && is_there(member) {
                    netlink.set_controller(member, &holder.name)?;
                }
            }
        }
        self.configure(nic)
    }

    /// Sets an interface up and gives it its default route, as whoever manages a machine's network does.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn link_up(&self, nic: &Nic) -> Result<()> {
        let mut netlink = self.namespace.netlink()?;
        netlink.link_up(&nic.name)?;
        match nic.default_route {
            Some(gateway) => netlink.replace_route(&Route::default_via(gateway, &nic.name)),
            None => Ok(()),
        }
    }
}

fn sysctls(config: &Config) -> Sysctls {
    if config.role == Role::Host { Sysctls::HOST } else { Sysctls::ROUTER }
}

/// Tells "this kernel has no such device" from other refusals.
fn unknown_device(error: Error, capability: Capability) -> Error {
    match error.raw_os_error() {
        Some(nix::libc::EOPNOTSUPP | nix::libc::ENOENT | nix::libc::ENODEV) => {
            Missing { capability, reason: "the kernel knows no such device".to_owned() }.into()
        }
        _ => error,
    }
}
