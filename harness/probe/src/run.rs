//! Running a probe.

use std::time::Duration;

use lab::Namespace;

use crate::attempt::Attempt;
use crate::deathwatch::Deathwatch;
use crate::evidence::Evidence;
use crate::spec::Probe;
use crate::{dns, http, icmp, tcp, udp};

/// Sends a probe from a namespace and waits for what comes of it, at most for `deadline`.
///
/// It is silent early only where `deathwatch` saw its packet die. Everything that goes wrong is evidence, so there is
/// no error: what the harness couldn't do is [`Outcome::NotPossible`](crate::evidence::Outcome::NotPossible).
///
/// # Panics
/// Outside of a tokio runtime with I/O and time.
pub async fn run(probe: &Probe, from: &Namespace, deadline: Duration, deathwatch: &dyn Deathwatch) -> Evidence {
    let attempt = Attempt::new(from, deathwatch, deadline);
    match probe {
        Probe::Icmp { target, size, dont_fragment } => icmp::probe(&attempt, *target, *size, *dont_fragment).await,
        Probe::Udp { target } => udp::probe(&attempt, *target).await,
        Probe::Tcp { target, tells_caller } => tcp::probe(&attempt, *target, *tells_caller).await,
        Probe::Dns { server, name } => dns::probe(&attempt, *server, name).await,
        Probe::Http(request) => http::probe(&attempt, request, None).await,
        Probe::Https { request, root } => http::probe(&attempt, request, Some(root)).await,
    }
}
