//! Probes: from what is written to what is sent.

use indexmap::IndexMap;
use topology::Network;
use topology::source::{Spanned, shown};

use super::file::{ProbeFile, ScenarioFile};
use super::report::Report;
use super::terse::Terse;
use super::{place, text};
use crate::case::{Place, ProbeKind, ProbeSpec, Service};

/// The most probes of one scenario.
pub const MAX_PROBES: usize = 128;

/// The largest payload an IPv4 packet has room for beside its header and ICMP's.
const MAX_ICMP: u32 = 65_535 - 20 - 8;

/// Every probe by name; none for one with a mistake in it, which expectations may still refer to.
pub(super) type Probes<'a> = IndexMap<&'a str, Option<ProbeSpec>>;

pub(super) fn read<'a>(file: &'a ScenarioFile, network: &Network, report: &mut Report<'_>) -> Probes<'a> {
    if let Some((name, _)) = file.probes.get_index(MAX_PROBES) {
        report
            .add(name.at, format!("{} probes; {MAX_PROBES} is the most there can be", file.probes.len()))
            .help("split the scenario");
    }
    let mut probes = Probes::new();
    for (name, probe) in file.probes.iter().take(MAX_PROBES) {
        if let Some(problem) = text::probe_name_problem(name) {
            report.add(name.at, format!("`{}` can't be a probe's name: {problem}", shown(name)));
        }
        probes.insert(name.as_str(), read_one(name, probe, network, report));
    }
    probes
}

pub(super) fn read_one(
    name: &Spanned<String>,
    probe: &ProbeFile,
    network: &Network,
    report: &mut Report<'_>,
) -> Option<ProbeSpec> {
    let from = place::source(&probe.from, network, report);
    let deadline = probe.deadline.as_ref().map(|deadline| text::deadline(deadline, report));
    let written = [
        ("icmp", probe.icmp.as_ref().map(|icmp| icmp.at)),
        ("udp", probe.udp.as_ref().map(|udp| udp.at)),
        ("tcp", probe.tcp.as_ref().map(|tcp| tcp.at)),
        ("dns", probe.dns.as_ref().map(|dns| dns.at)),
        ("http", probe.http.as_ref().map(|http| http.at)),
    ];
    let mut kinds = written.iter().filter_map(|(kind, at)| Some((*kind, (*at)?)));
    match (kinds.next(), kinds.next()) {
        (None, _) => {
            report
                .add(name.at, format!("probe `{}` sends nothing", shown(name)))
                .help("say what: one of `icmp`, `udp`, `tcp`, `dns`, `http`");
            return None;
        }
        (Some((first, _)), Some((second, at))) => {
            report
                .add(at, format!("probe `{}` has both `{first}` and `{second}`", shown(name)))
                .help("one probe sends one thing: make two of it");
            return None;
        }
        _ => {}
    }
    let kind = kind(probe, network, report);
    if let (Some(from), Some(kind)) = (&from, &kind)
        && let Some(server) = server(kind)
        && *server == Place::Service(Service::Dns)
        && matches!(from, Place::Vcn(_) | Place::Internet)
    {
        report
            .add(probe.from.at, format!("`{}` is outside the cluster and can't ask cluster DNS", shown(&probe.from)))
            .help("name a `server`, such as 8.8.8.8");
        return None;
    }
    Some(ProbeSpec { id: name.value.clone(), from: from?, kind: kind?, deadline: deadline.flatten() })
}

fn kind(probe: &ProbeFile, network: &Network, report: &mut Report<'_>) -> Option<ProbeKind> {
    if let Some(icmp) = &probe.icmp {
        let (to, size, dont_fragment) = match &icmp.value {
            Terse::Short(to) => (&Spanned { value: to.clone(), at: icmp.at }, None, false),
            Terse::Full(icmp) => (&icmp.to, icmp.size, icmp.df),
        };
        if let Some(size) = size.filter(|size| size.value > MAX_ICMP) {
            report
                .add(size.at, format!("a payload of {} bytes fits no packet", size.value))
                .help(format!("{MAX_ICMP} is the most: 65535, less 20 for IP's header and 8 for ICMP's"));
        }
        let size = size.map_or(56, |size| size.value.min(MAX_ICMP) as usize);
        return Some(ProbeKind::Icmp { to: place::destination(to, network, report)?, size, dont_fragment });
    }
    if let Some(udp) = &probe.udp {
        let (to, port) = to_port(udp, network, report)?;
        return Some(ProbeKind::Udp { to, port });
    }
    if let Some(tcp) = &probe.tcp {
        let (to, port) = to_port(tcp, network, report)?;
        return Some(ProbeKind::Tcp { to, port });
    }
    if let Some(dns) = &probe.dns {
        let (name, server) = match &dns.value {
            Terse::Short(name) => (&Spanned { value: name.clone(), at: dns.at }, None),
            Terse::Full(dns) => (&dns.name, dns.server.as_ref()),
        };
        let server = self::resolver(server, network, report);
        let Some(name) = text::dns_name(name) else {
            report
                .add(name.at, format!("`{}` is not a DNS name", shown(name)))
                .help("a name such as google.com or kubernetes.default.svc.cluster.local");
            return None;
        };
        return Some(ProbeKind::Dns { name, server: server? });
    }
    let http = probe.http.as_ref()?;
    let (url, server) = match &http.value {
        Terse::Short(url) => (&Spanned { value: url.clone(), at: http.at }, None),
        Terse::Full(http) => (&http.url, http.server.as_ref()),
    };
    let server = self::resolver(server, network, report);
    if let Some(problem) = text::url_problem(url) {
        report
            .add(url.at, format!("`{}` is not a URL to ask: {problem}", shown(url)))
            .help("write it as https://api.ipify.org");
        return None;
    }
    Some(ProbeKind::Http { url: url.value.clone(), server: server? })
}

fn to_port(
    written: &Spanned<Terse<super::file::PortFile>>,
    network: &Network,
    report: &mut Report<'_>,
) -> Option<(Place, Option<u16>)> {
    let (to, port) = match &written.value {
        Terse::Short(to) => (&Spanned { value: to.clone(), at: written.at }, None),
        Terse::Full(full) => (&full.to, full.port),
    };
    let (place, beside) = place::destination_port(to, network, report)?;
    let port = match (port, beside) {
        (Some(port), Some(beside)) if port.value != beside => {
            report.add(port.at, format!("the port is both {} and, behind the place, {beside}", port.value));
            return None;
        }
        (Some(port), _) if port.value == 0 => {
            report.add(port.at, "0 is not a port").help("a number from 1 to 65535");
            return None;
        }
        (Some(port), _) => Some(port.value),
        (None, beside) => beside,
    };
    // Known without an engine; elsewhere it is the test pods' server's.
    let port = port.or(match &place {
        Place::Service(Service::Kubernetes) => Some(443),
        Place::Service(Service::Dns) => Some(53),
        Place::Service(Service::Echo) => Some(80),
        Place::ApiServer => Some(6443),
        _ => None,
    });
    Some((place, port))
}

fn resolver(server: Option<&Spanned<String>>, network: &Network, report: &mut Report<'_>) -> Option<Place> {
    match server {
        Some(server) => place::destination(server, network, report),
        None => Some(Place::Service(Service::Dns)),
    }
}

fn server(kind: &ProbeKind) -> Option<&Place> {
    match kind {
        ProbeKind::Dns { server, .. } => Some(server),
        ProbeKind::Http { url, server } => {
            let host = url.split("://").nth(1).unwrap_or_default().split(['/', ':', '?', '#']).next();
            host.is_some_and(|host| host.parse::<std::net::Ipv4Addr>().is_err()).then_some(server)
        }
        _ => None,
    }
}
