//! Deaths that ICMP errors tell of.

use std::net::IpAddr;

use super::decode::IcmpError;
use super::sighting::{Kind, Quoted, Summary, Transport};
use crate::correlate::arp::Asked;
use crate::correlate::identify::Identified;
use crate::deathwatch::{Cause, Death};

/// The death that an ICMP error tells somebody else than the probe.
pub(super) fn elsewhere(namespace: &str, found: &Identified) -> Option<Death> {
    let quoted = found.quoted.as_ref()?;
    let elsewhere = !quoted.outer.is_empty() || quoted.answer;
    elsewhere.then(|| death(namespace, found.kind, &found.packet, quoted)).flatten()
}

/// "Host unreachable" from who asks for a hardware address in vain says just that (Linux, net/ipv4/route.c,
/// `ipv4_link_failure`): one death, whether the witness or the kernel was first to lose patience.
pub(super) fn asked_in_vain<'a>(death: Death, questions: impl Iterator<Item = &'a Asked>) -> Death {
    let Cause::Told { error: IcmpError::Unreachable(1), by } = death.cause else { return death };
    let mut own = questions.filter(|asked| IpAddr::V4(asked.asker) == by);
    match (own.next(), own.next()) {
        (Some(asked), None) => {
            Death { interface: Some(asked.interface.to_string()), cause: Cause::NoNeighbour(asked.target), ..death }
        }
        _ => death,
    }
}

/// The death that an ICMP error speaks of, wherever it goes. `namespace` is where it was seen.
pub(crate) fn death(namespace: &str, kind: Kind, packet: &Summary, quoted: &Quoted) -> Option<Death> {
    let Kind::IcmpError(error) = kind else { return None };
    let final_ = match error {
        // An answer that finds its asker gone had been waited for by somebody who has another one.
        IcmpError::Unreachable(3) => !quoted.answer,
        IcmpError::Unreachable(_) | IcmpError::TimeExceeded(_) | IcmpError::TooBig(_) => true,
        IcmpError::Other(..) => false,
    };
    if !final_ || !ends_it(&quoted.packet) {
        return None;
    }
    let what = if quoted.answer { "answer" } else { "packet" };
    let carrier = quoted.outer.first().unwrap_or(&quoted.packet);
    let mut detail = format!("{} told {}: {error}, about the {what} ", packet.source, packet.destination);
    detail.push_str(&format!("{} → {}", carrier.source, carrier.destination));
    if !quoted.outer.is_empty() {
        detail.push_str(&format!(", which carried {} → {}", quoted.packet.source, quoted.packet.destination));
    }
    let cause = Cause::Told { error, by: packet.source };
    Some(Death { namespace: namespace.to_owned(), interface: None, cause, answer: quoted.answer, detail })
}

/// Whether a packet's death is its probe's: a connection whose later segments are lost may yet recover by another way;
/// one that isn't opened won't.
pub(super) fn ends_it(packet: &Summary) -> bool {
    match packet.transport {
        Transport::Tcp { syn, .. } => syn,
        _ => true,
    }
}
