//! From what a person wrote to a network in which everything resolves; or all that is wrong with it, each with its
//! place.

mod addresses;
pub use addresses::{address_help, cidr};
mod claims;
mod internet;
mod names;
pub use names::label_problem;
mod nodes;
mod overlay;
mod vcns;

use indexmap::IndexMap;

use crate::{
    file::TopologyFile,
    network::Network,
    source::{Diagnostics, Mistakes, Source},
};

/// The most nodes one network may have.
pub const MAX_NODES: usize = 512;
/// The most VCNs.
pub const MAX_VCNS: usize = 256;
/// The most hosts on the internet.
pub const MAX_HOSTS: usize = 256;
/// The most interfaces of one node, the overlay's and the loopback aside.
pub const MAX_INTERFACES: usize = 64;
/// The most addresses of one interface.
pub const MAX_ADDRESSES: usize = 64;

/// Turns a topology file into a network. `source` is the text it was read from, `fallback_name` the network's name if
/// the file gives none.
///
/// # Errors
/// All that is wrong with it, in the file's order.
pub fn validate(file: &TopologyFile, source: &Source, fallback_name: &str) -> Result<Network, Diagnostics> {
    let mut mistakes = Mistakes::new(source);
    let mut public = claims::Claims::new("is the public address of");
    if let Some(name) = &file.name {
        names::label(name, "a topology's name", &mut mistakes);
    }
    let vcns = vcns::read(&file.vcns, &mut public, &mut mistakes);
    let overlay = overlay::read(file.overlay.as_ref(), &mut mistakes);
    let nodes = nodes::read(&file.nodes, &vcns, overlay.as_ref(), &mut public, &mut mistakes);
    // Last: of an address that is both a host's and a gateway's, the gateway's is more likely the one that is right.
    let internet = internet::read(&file.internet, &mut public, &mut mistakes);
    public.outside(&vcns, overlay.as_ref(), &mut mistakes);
    let name = file.name.as_ref().map_or(fallback_name, |name| name.value.as_str()).to_owned();
    let vcns = vcns.into_values().flatten().map(|vcn| vcn.vcn).collect();
    mistakes.finish(Network { name, internet, vcns, overlay, nodes })
}

/// What was read of the VCNs, by name; none for one with a mistake in it, which others may still refer to.
type Vcns = IndexMap<String, Option<vcns::ReadVcn>>;

/// Counts things against their limit.
fn limit(count: usize, most: usize, what: &str, at: crate::source::Position, mistakes: &mut Mistakes<'_>) {
    if count > most {
        mistakes.add(at, format!("{count} {what}; {most} is the most there can be"));
    }
}
