//! What the kernel of a namespace knows of itself.

use std::net::IpAddr;

use lab::Namespace;

/// What the kernel of a namespace knows of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its links by name, with their MTU in bytes and whether they are up.
    pub links: Vec<Link>,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
}

impl Facts {
    /// Asks a namespace's kernel.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn of(namespace: &Namespace) -> lab::Result<Self> {
        let links = namespace.netlink()?.links()?;
        let addresses = links.iter().flat_map(|link| &link.addresses).map(|address| address.net.addr()).collect();
        let links = links.into_iter().map(|link| Link { up: link.is_up(), mtu: link.mtu, name: link.name }).collect();
        Ok(Self { addresses, links })
    }

    /// Whether it has this address.
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address)
    }
}
