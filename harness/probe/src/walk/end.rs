//! Where and why a packet's way ended, from the evidence there is. Of several pieces the one that says most counts: a
//! witnessed death, then what routers and kernels told, then where the packet was last seen.

use std::net::IpAddr;

use lab::drops::DropReason;

use super::facts::Facts;
use super::journey::Way as Path;
use super::{End, EndReason, Hop, Known, is_request, place, sealed};
use crate::capture::decode::IcmpError;
use crate::capture::sighting::{Direction, Kind, Quoted, Sighting, Transport};
use crate::deathwatch::{Cause, Death};
use crate::evidence::Outcome;

/// EPERM (asm-generic/errno-base.h).
const EPERM: i32 = 1;

type Ask<'f> = &'f mut dyn FnMut(&str) -> Option<Facts>;

/// How the request's way ended. `back` is the way of its answer, `told` that of an ICMP error about it.
pub(super) fn of_request(
    known: &Known<'_>,
    there: &Path<'_>,
    hops: &[Hop],
    back: &Path<'_>,
    told: &Path<'_>,
    ask: Ask<'_>,
) -> End {
    let last_at = hops.last().map_or_else(|| place::name(known.from, None), |hop| hop.at.clone());
    let end = |reason, detail: String| End { at: last_at.clone(), reason, detail };
    let came_back = arrived(known, back);
    if known.evidence.outcome == Outcome::Reply && (there.is_empty() || came_back || back.is_empty()) {
        return end(EndReason::Delivered, String::new());
    }
    // What a server that asks on in the request's name didn't get an answer to, the request died of.
    let answered_there =
        back.first().is_some_and(|first| there.last().is_some_and(|last| first.namespace == last.namespace));
    if answered_there {
        let resets = |sighting: &&Sighting| matches!(sighting.packet.transport, Transport::Tcp { rst: true, .. });
        return match (came_back, back.iter().any(resets)) {
            (true, true) if known.evidence.outcome == Outcome::Refused => {
                end(EndReason::Refused, known.evidence.detail.clone())
            }
            (true, _) if known.evidence.was_answered() => end(EndReason::Delivered, String::new()),
            // The connection was made, and what is lost is a later packet of it.
            (true, _) => end(EndReason::Unknown, "a packet of this connection that came later was lost".to_owned()),
            (false, _) => end(EndReason::AnswerLost, String::new()),
        };
    }
    match death(known) {
        Some(death) if death.answer => return end(EndReason::AnswerLost, String::new()),
        Some(death) => return died(death, hops),
        None => {}
    }
    if let Some(told) = told.first().filter(|first| about(first).is_some()) {
        return told_end(told, there, &last_at);
    }
    if let Some(end) = sent_not(known, there) {
        return end;
    }
    lost(known, there, hops, ask)
}

/// How the answer's way ended, or that of an ICMP error to the sender.
pub(super) fn of_answer(known: &Known<'_>, back: &Path<'_>, hops: &[Hop], told: &Path<'_>, ask: Ask<'_>) -> End {
    let at = hops.last().map(|hop| hop.at.clone()).unwrap_or_default();
    if arrived(known, back) {
        return End { at, reason: EndReason::Delivered, detail: String::new() };
    }
    if let Some(death) = death(known).filter(|death| death.answer) {
        return died(death, hops);
    }
    if let Some(told) = told.first() {
        return told_end(told, back, &at);
    }
    lost(known, back, hops, ask)
}

/// Whether the last packet of a way back reached the probe: its namespace, and whatever filters there.
fn arrived(known: &Known<'_>, back: &Path<'_>) -> bool {
    let silent = known.evidence.outcome == Outcome::Silence;
    !silent && back.last().is_some_and(|last| &*last.namespace == known.from && last.direction == Direction::In)
}

/// The end of an answer that was never seen, but whose death was.
pub(super) fn of_unseen_answer(known: &Known<'_>) -> Option<End> {
    death(known).filter(|death| death.answer).map(|death| died(death, &[]))
}

fn death<'a>(known: &Known<'a>) -> Option<&'a Death> {
    known.evidence.death().or(known.trail.death.as_ref())
}

/// A death's end: at the interface that is known, else where the packet was last seen in the namespace it died in.
fn died(death: &Death, hops: &[Hop]) -> End {
    let in_namespace = place::name(&death.namespace, None);
    let last = hops.iter().rfind(|hop| place::is_at(&hop.at, &in_namespace) || place::is_at(&hop.at, &death.namespace));
    let at = match (&death.interface, last) {
        (Some(interface), _) => place::name(&death.namespace, Some(interface)),
        (None, Some(last)) => last.at.clone(),
        (None, None) => in_namespace,
    };
    let (reason, rule) = reason(&death.cause);
    let detail = match rule {
        Some(rule) if death.detail.is_empty() => rule,
        Some(rule) => format!("{rule}: {}", death.detail),
        None => death.detail.clone(),
    };
    End { at, reason, detail }
}

/// A cause's reason, and the rule's name or the program's words where it is one of those.
fn reason(cause: &Cause) -> (EndReason, Option<String>) {
    let reason = match cause {
        Cause::Dropped(DropReason::SourceCheck) => EndReason::SourceCheck,
        Cause::Dropped(DropReason::IngressDenied) => EndReason::IngressDenied,
        Cause::Dropped(DropReason::NoPeer(_)) => EndReason::OverlayNoPeer,
        Cause::Dropped(DropReason::NotAllowedSource(_)) => EndReason::OverlaySource,
        Cause::Dropped(DropReason::Rule(name)) => return (EndReason::Firewall, Some(format!("rule {name}"))),
        Cause::Dropped(DropReason::Program(drop)) => return (EndReason::Ebpf, Some(drop.to_string())),
        Cause::NoNeighbour(_) => EndReason::NoArpReply,
        Cause::Told { error, .. } => of_icmp(*error),
    };
    (reason, None)
}

fn of_icmp(error: IcmpError) -> EndReason {
    match error {
        IcmpError::Unreachable(0 | 1) => EndReason::NoRoute,
        IcmpError::Unreachable(2 | 3) => EndReason::Refused,
        IcmpError::Unreachable(9 | 10 | 13) => EndReason::Prohibited,
        IcmpError::Unreachable(_) => EndReason::NoRoute,
        IcmpError::TooBig(_) => EndReason::TooBig,
        IcmpError::TimeExceeded(_) => EndReason::TtlExceeded,
        IcmpError::Other(..) => EndReason::Unknown,
    }
}

fn about(sighting: &Sighting) -> Option<&Quoted> {
    sighting.quoted.as_ref()
}

/// The end that an ICMP error tells: where the error was made, as far as the packet was seen there.
fn told_end(told: &Sighting, way: &Path<'_>, last_at: &str) -> End {
    let Kind::IcmpError(error) = told.kind else {
        return End { at: last_at.to_owned(), reason: EndReason::Unknown, detail: String::new() };
    };
    let here = |sighting: &&&Sighting| sighting.namespace == told.namespace;
    let at = match way.iter().rfind(here) {
        Some(last) => place::name(&last.namespace, Some(&last.interface)),
        None => place::name(&told.namespace, Some(&told.interface)),
    };
    let detail = format!("{error}, says {} to {}", told.packet.source, told.packet.destination);
    End { at, reason: of_icmp(error), detail }
}

/// The end of a packet that the sender's own kernel didn't let go.
fn sent_not(known: &Known<'_>, there: &Path<'_>) -> Option<End> {
    let reason = match known.evidence.outcome {
        Outcome::Unreachable { by: None, .. } => EndReason::NoRoute,
        Outcome::TooBig { by: None, .. } => EndReason::TooBig,
        // What the output hook drops is refused so (net/netfilter/core.c, nf_hook_slow).
        Outcome::NotPossible { errno: Some(EPERM) } => EndReason::Firewall,
        Outcome::NotPossible { .. } => EndReason::NotSent,
        // The kernel's own host-unreachable comes from one of its own addresses.
        Outcome::Unreachable { .. } if there.is_empty() => EndReason::NoRoute,
        _ => return None,
    };
    Some(End { at: place::name(known.from, None), reason, detail: known.evidence.detail.clone() })
}

/// The end of a packet of which nobody told anything.
fn lost(known: &Known<'_>, way: &Path<'_>, hops: &[Hop], ask: Ask<'_>) -> End {
    let Some(last) = way.last() else {
        let at = place::name(known.from, None);
        return End { at, reason: EndReason::Unknown, detail: "the packet was never seen".to_owned() };
    };
    let at = hops.last().map_or_else(|| place::name(&last.namespace, Some(&last.interface)), |hop| hop.at.clone());
    if sealed::enters(last, known) {
        return in_overlay(known, last, hops, at, ask);
    }
    let way_word = match last.direction {
        Direction::In => "coming in by",
        Direction::Out => "going out by",
    };
    let mut detail = format!("last seen {way_word} {}", last.interface);
    let Some(facts) = ask(&last.namespace) else { return End { at, reason: EndReason::Unknown, detail } };
    let carrier = last.outer.first().unwrap_or(&last.packet);
    if last.direction == Direction::In && facts.has(carrier.destination) {
        if last.outer.is_empty() && is_request(last) {
            detail = format!("{} has it, and sent no answer", last.namespace);
            return End { at, reason: EndReason::Unanswered, detail };
        }
        detail.push_str(", and not behind");
    }
    if let Some(link) = facts.links.iter().find(|link| *link.name == *last.interface) {
        if !link.up {
            detail.push_str(&format!("; {} is down", link.name));
        } else if last.direction == Direction::Out && u32::from(carrier.size) > link.mtu {
            detail = format!("{} bytes, and {} takes {}", carrier.size, link.name, link.mtu);
            return End { at, reason: EndReason::TooBig, detail };
        }
    }
    End { at, reason: EndReason::Unknown, detail }
}

/// The end of a packet that the overlay took.
fn in_overlay(known: &Known<'_>, last: &Sighting, hops: &[Hop], at: String, ask: Ask<'_>) -> End {
    let overlay = &last.interface;
    let Some((sealed, datagram)) = sealed::found(last, known, |_| true) else {
        // A rule of the same node's, before anything could be seen.
        if let Some(dead) = sealed::dropped_unseen(last, known) {
            return died(&dead.death, hops);
        }
        let detail = format!("{overlay} took it, and nothing encrypted of its size left {}", last.namespace);
        return End { at, reason: EndReason::OverlayDead, detail };
    };
    if let Some(dead) = known.trail.sealed_deaths.iter().find(|dead| dead.sealed == sealed) {
        return died(&dead.death, hops);
    }
    let Some(end) = datagram.last() else {
        return End { at, reason: EndReason::Unknown, detail: String::new() };
    };
    let mut has = |address: IpAddr| ask(&end.namespace).is_some_and(|facts| facts.has(address));
    if end.direction == Direction::In && has(end.packet.destination) {
        let detail = format!(
            "encrypted, it reached {} at {}, and no {overlay} there gave it out",
            end.namespace, end.packet.destination
        );
        return End { at, reason: EndReason::OverlayDead, detail };
    }
    let detail = format!("encrypted, it was last seen on its way to {}", end.packet.destination);
    End { at, reason: EndReason::Unknown, detail }
}
