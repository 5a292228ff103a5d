//! What of a node's network is not the agent's own doing: when that changes, the agent looks again.

use cilium::Decisions;
use cilium::inputs::{Link, Route};
use lab::netlink::table;

use super::datapath;

/// Devices that agents make (Cilium 1.18, pkg/defaults, `ExcludedDevicePrefixes`).
const OWN: [&str; 2] = ["cilium_", "lxc"];

/// Whether links or routes that are nobody's but the host's differ between what is and what the agent knows.
pub fn differs(decisions: &Decisions, is: (&[Link], &[Route]), known: (&[Link], &[Route])) -> bool {
    let (is, known) = (theirs(decisions, is), theirs(decisions, known));
    !alike(&is.0, &known.0) || !alike(&is.1, &known.1)
}

fn theirs<'a>(decisions: &Decisions, (links, routes): (&'a [Link], &'a [Route])) -> (Vec<&'a Link>, Vec<&'a Route>) {
    let is_own = |link: &Link| OWN.iter().any(|prefix| link.name.starts_with(prefix));
    let by_own = |route: &Route| links.iter().any(|link| link.index == route.link && is_own(link));
    let to_peers = |route: &Route| {
        let is_to = |own: &cilium::decisions::NodeRoute| route.destination == own.pod_cidr.into();
        route.table == table::MAIN && decisions.node_routes.iter().any(is_to)
    };
    let routes =
        routes.iter().filter(|route| !by_own(route) && !to_peers(route) && !datapath::TABLES.contains(&route.table));
    (links.iter().filter(|link| !is_own(link)).collect(), routes.collect())
}

/// Whether the same are in both, in whatever order.
fn alike<T: PartialEq>(a: &[&T], b: &[&T]) -> bool {
    a.len() == b.len() && a.iter().all(|one| b.contains(one))
}
