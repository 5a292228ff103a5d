//! No results table in disguise: with every name and address swapped for another, each cell comes out as before.
//!
//! The seed of a failure is printed; `UNDERLAY_SEED=1234 cargo test --test no_results_table` runs it again.
//! `UNDERLAY_SEEDS` says how many are tried.

mod seeded;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use cilium::Decisions;
use ipnet::Ipv4Net;
use libtest_mimic::{Arguments, Failed, Trial};
use probe::evidence::{Outcome, Silence};
use seeded::{Draw, Random};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::Semaphore;
use topology::network::NicKind;
use underlay::case::{Case, Place, ProbeKind, Subject, Workload};
use underlay::engine::netns::Netns;
use underlay::observed::{Agent, Engine, Observed};
use underlay::runner;
use underlay::scenario::{self, Overrides};

/// Seeds tried in a run.
const SEEDS: usize = 2;
/// How long a probe waits where no death was witnessed.
const DEADLINE: Duration = Duration::from_secs(15);
/// The same four values of `devices`, with each of the two node-ips.
const FILES: [&str; 2] = ["scenarios/devices/node-ip-overlay.yaml", "scenarios/devices/node-ip-nic.yaml"];
const VARIANTS: [&str; 4] = ["unset", "enp0s6,tailscale0", "enp0s6", "tailscale0"];

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    let sandbox = lab::sandbox::enter();
    let runtime = Arc::new(Runtime::new().expect("a runtime starts"));
    let missing = sandbox.and_then(|_| runtime.block_on(lab::doctor::try_for(&cases(FILES[0])[0].network))).err();
    if let (Some(missing), false) = (&missing, arguments.list) {
        eprintln!("all is ignored: {missing}");
    }
    let trial = |name: &str, test: fn(&Runtime) -> Result<(), Failed>| {
        let runtime = Arc::clone(&runtime);
        Trial::test(name, move || test(&runtime)).with_ignored_flag(missing.is_some())
    };
    let trials = vec![
        trial("swapped_names_and_addresses_change_no_cell", |runtime| runtime.block_on(swapped())),
        trial("a_name_that_a_rule_knows_changes_what_the_rule_says", |runtime| runtime.block_on(docker())),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn cases(file: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
    let mut cases = scenario::load(&path, &Overrides::default()).unwrap_or_else(|wrong| panic!("{wrong}"));
    cases.retain(|case| VARIANTS.contains(&case.variant.as_str()));
    assert_eq!(cases.len(), VARIANTS.len(), "{file} has the four values of devices");
    cases
}

/// What a case came to, by what was measured: `pod-to-pod`, `master node-ip`.
type Cells = BTreeMap<String, String>;

/// Runs cases side by side, each with the names it has in place of the original's. Cells are those that the shipped
/// scenario asserts: the others may be a matter of luck.
async fn run(cases: Vec<(Case, Arc<Renaming>)>) -> Result<Vec<Cells>, Failed> {
    // Labs built side by side wait for each other; this many is the program's own measure.
    let room = Arc::new(Semaphore::new(runner::default_jobs()));
    let mut running = Vec::new();
    for (mut case, names) in cases {
        // Deaths are witnessed, so only an answer that is late for want of a processor makes use of this.
        case.deadline = DEADLINE;
        let room = Arc::clone(&room);
        running.push(tokio::spawn(async move {
            let _room = room.acquire().await.map_err(|closed| closed.to_string())?;
            let observed = observe(&case, &names).await?;
            Ok::<_, String>((case, names, observed))
        }));
    }
    let seen: Vec<_> = futures::future::try_join_all(running).await?.into_iter().collect::<Result<_, _>>()?;
    let mut all = Vec::new();
    for (case, names, mut observed) in seen {
        if observed.late {
            // As the runner does: once more, alone.
            observed = observe(&case, &names).await?;
        }
        if !observed.doubts.is_empty() {
            let about = format!("{}, with {names}", case.id());
            return Err(format!("{about}: the evidence can't be trusted: {:?}", observed.doubts).into());
        }
        all.push(cells(&case, &observed, &names));
    }
    Ok(all)
}

async fn observe(case: &Case, names: &Renaming) -> Result<Observed, String> {
    Netns.run(case).await.map_err(|error| format!("{}, with {names}: {error}", case.id()))
}

fn cells(case: &Case, observed: &Observed, names: &Renaming) -> Cells {
    let asserted: BTreeSet<_> = case
        .expectations
        .iter()
        .filter_map(|check| match &check.subject {
            Subject::Probe(id) => Some(id.as_str()),
            _ => None,
        })
        .collect();
    let mut cells = Cells::new();
    for (id, evidence) in observed.probes.iter().filter(|(id, _)| asserted.contains(id.as_str())) {
        let mut cell = evidence.outcome.kind().name().to_owned();
        if let Outcome::NotPossible { .. } = evidence.outcome {
            cell += &format!(" ({})", evidence.detail);
        }
        if let Some(source) = evidence.source_seen {
            cell += &format!(" from {}", names.was(source));
        }
        // Where a ping died is part of the outcome. Which of two CoreDNS replicas is asked, and so on whose way a query
        // dies, is a matter of luck.
        let ping = case.probes.iter().any(|probe| probe.id == *id && matches!(probe.kind, ProbeKind::Icmp { .. }));
        if let (Some(Silence::Death(death)), true) = (&evidence.silence, ping) {
            let place = names.name_was(&death.namespace);
            let link = death.interface.as_deref().map(|link| names.name_was(link)).unwrap_or_default();
            cell += &format!(", died in {place} {link}");
        }
        cells.insert(id.clone(), cell);
    }
    cells.insert("dns ready".to_owned(), format!("{} of {}", observed.dns.ready, observed.dns.replicas));
    for (node, agent) in &observed.nodes {
        let node = names.name_was(node);
        match agent {
            Agent::Fatal(_) | Agent::Absent => drop(cells.insert(format!("{node} agent"), agent.to_string())),
            Agent::Running(decisions) => {
                for (fact, value) in facts(decisions, names) {
                    cells.insert(format!("{node} {fact}"), value);
                }
            }
        }
    }
    cells
}

fn facts(decisions: &Decisions, names: &Renaming) -> Vec<(&'static str, String)> {
    let devices: Vec<_> = decisions
        .devices
        .iter()
        .map(|device| {
            let source = device.masquerade_source.map(|source| names.was(source));
            let open: Vec<_> = device.nodeport_addresses.iter().map(|address| names.was(*address)).collect();
            format!("{} masquerades to {source:?}, NodePorts on {open:?}", names.name_was(&device.name))
        })
        .collect();
    let left_out: Vec<_> = decisions.not_selected.iter().map(|other| names.name_was(&other.name)).collect();
    let tunnels: Vec<_> = decisions
        .tunnels
        .iter()
        .map(|tunnel| (names.name_was(&tunnel.peer), tunnel.endpoint.map(|endpoint| names.was(endpoint))))
        .collect();
    let device = |name: &Option<String>| format!("{:?}", name.as_deref().map(|name| names.name_was(name)));
    vec![
        ("devices", format!("{devices:?}")),
        ("not-selected", format!("{left_out:?}")),
        ("node-ip", names.was(decisions.node_ip).to_string()),
        ("direct-routing-device", device(&decisions.direct_routing_device)),
        ("skip-fib", device(&decisions.skip_fib)),
        ("host-routing", format!("{:?}", decisions.host_routing)),
        ("pod-mtu", decisions.pod_mtu.to_string()),
        ("tunnels", format!("{tunnels:?}")),
    ]
}

/// Other names and addresses for all that a case has.
#[derive(Default)]
struct Renaming {
    /// The seed they were drawn from.
    seed: Option<u64>,
    names: BTreeMap<String, String>,
    addresses: BTreeMap<Ipv4Addr, Ipv4Addr>,
    ranges: BTreeMap<Ipv4Net, Ipv4Net>,
}

impl Renaming {
    /// Draws new ones, none of which means anything to a rule: no name begins as Cilium's own links or those it leaves
    /// out, no two ranges overlap.
    fn draw(case: &Case, seed: u64) -> Self {
        let random = &mut Random::new(seed);
        let mut renaming = Self { seed: Some(seed), ..Self::default() };
        let network = &case.network;
        let overlay = network.overlay.as_ref().expect("split-vcn has an overlay");

        let links = network.nodes.iter().flat_map(|node| node.nics.iter().map(|nic| &nic.name));
        let machines = network.nodes.iter().map(|node| &node.name).chain(network.vcns.iter().map(|vcn| &vcn.name));
        for name in links.chain([&overlay.interface]).chain(machines) {
            renaming.names.entry(name.clone()).or_insert_with(|| random.name());
        }
        for host in &network.internet.hosts {
            renaming.names.insert(host.name.clone(), format!("{}.example", random.name()));
        }
        let fresh: BTreeSet<_> = renaming.names.values().collect();
        assert_eq!(fresh.len(), renaming.names.len(), "one seed gave a name twice, which takes 10^12 draws");

        // Three private ranges, one for each purpose in an order that changes; the overlay stays within what tailscaled
        // calls its own (its filter's rules are about 100.64.0.0/10).
        let mut private = [
            [10, random.byte(), random.byte()],
            [172, 16 + random.byte() % 16, random.byte()],
            [192, 168, random.byte()],
        ];
        random.shuffle(&mut private);
        // Nor where tailscaled's resolver is, nor where its filter makes an exception.
        let second = [64, 70, 80, 90, 101, 110, 120, 127][usize::from(random.byte() % 8)];
        let mut range = |from: Ipv4Net, first: [u8; 4]| {
            let to = Ipv4Net::new(first.into(), from.prefix_len()).expect("the length was one before");
            renaming.ranges.insert(from, to.trunc());
        };
        let [[a, b, c], [d, e, _], [f, g, _]] = private;
        for vcn in &network.vcns {
            range(vcn.cidr, [a, b, c, 0]);
        }
        range(case.cluster.pod_cidr, [d, e, 0, 0]);
        range(case.cluster.service_cidr, [f, g, 0, 0]);
        // Of an overlay's /10 only one /16 is used.
        let overlay_first = [100, second, 0, 0];
        renaming.ranges.insert(overlay.cidr, Ipv4Net::new(overlay_first.into(), 16).expect("16 is a length"));

        let mut taken = BTreeSet::new();
        for vcn in &network.vcns {
            let range = renaming.ranges[&vcn.cidr];
            // Gateways of both may be one address, and are.
            let gateway = *renaming.addresses.entry(vcn.gateway).or_insert_with(|| random.host(range, &mut taken));
            taken.insert(gateway);
        }
        for nic in network.nodes.iter().flat_map(|node| &node.nics) {
            for address in &nic.addresses {
                let range = renaming.ranges[&address.trunc()];
                renaming.addresses.insert(address.addr(), random.host(range, &mut taken));
            }
            if let Some(public) = nic.public_address {
                renaming.addresses.insert(public, random.public(&mut taken));
            }
        }
        for address in network.nodes.iter().filter_map(|node| node.overlay_address) {
            let range = renaming.ranges[&overlay.cidr];
            renaming.addresses.insert(address, random.host(range, &mut taken));
        }
        for host in &network.internet.hosts {
            renaming.addresses.insert(host.address, random.public(&mut taken));
        }
        renaming
    }

    /// Only these names.
    fn of_names(names: &[(&str, &str)]) -> Self {
        let names = names.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
        Self { names, ..Self::default() }
    }

    fn name(&self, name: &str) -> String {
        self.names.get(name).map_or(name, String::as_str).to_owned()
    }

    fn address(&self, address: Ipv4Addr) -> Ipv4Addr {
        self.addresses.get(&address).copied().unwrap_or(address)
    }

    fn range(&self, range: Ipv4Net) -> Ipv4Net {
        self.ranges.get(&range).copied().unwrap_or(range)
    }

    /// An address with its prefix length.
    fn interface(&self, address: Ipv4Net) -> Ipv4Net {
        Ipv4Net::new(self.address(address.addr()), self.range(address.trunc()).prefix_len())
            .expect("a length of a range")
    }

    /// The original's name for `name`, which may have a part below it: `NODE/pod`, `vcn NAME`.
    fn name_was(&self, name: &str) -> String {
        let was = |name: &str| {
            let known = self.names.iter().find(|(_, new)| *new == name);
            known.map_or(name, |(old, _)| old.as_str()).to_owned()
        };
        if let Some((node, below)) = name.split_once('/') {
            return format!("{}/{below}", was(node));
        }
        match name.split_once(' ') {
            Some((kind, name)) => format!("{kind} {}", was(name)),
            None => was(name),
        }
    }

    /// The original's address for `address`. Pods keep their place in their range.
    fn was(&self, address: Ipv4Addr) -> Ipv4Addr {
        if let Some((old, _)) = self.addresses.iter().find(|(_, new)| **new == address) {
            return *old;
        }
        match self.ranges.iter().find(|(_, new)| new.contains(&address)) {
            Some((old, new)) => (u32::from(old.network()) + (u32::from(address) - u32::from(new.network()))).into(),
            None => address,
        }
    }

    /// The case with all its names and addresses swapped.
    fn apply(&self, case: &Case) -> Case {
        let mut case = case.clone();
        let network = Arc::make_mut(&mut case.network);
        for host in &mut network.internet.hosts {
            (host.name, host.address) = (self.name(&host.name), self.address(host.address));
        }
        for vcn in &mut network.vcns {
            vcn.name = self.name(&vcn.name);
            vcn.cidr = self.range(vcn.cidr);
            vcn.gateway = self.address(vcn.gateway);
        }
        if let Some(overlay) = &mut network.overlay {
            (overlay.cidr, overlay.interface) = (self.range(overlay.cidr), self.name(&overlay.interface));
        }
        for node in &mut network.nodes {
            node.name = self.name(&node.name);
            node.overlay_address = node.overlay_address.map(|address| self.address(address));
            for nic in &mut node.nics {
                nic.name = self.name(&nic.name);
                let NicKind::Vcn(vcn) = &mut nic.kind else {
                    panic!("split-vcn has bridges and bonds by now: swap them")
                };
                *vcn = self.name(vcn);
                nic.addresses.iter_mut().for_each(|address| *address = self.interface(*address));
                nic.default_route = nic.default_route.map(|gateway| self.address(gateway));
                nic.public_address = nic.public_address.map(|address| self.address(address));
            }
        }
        let cluster = &mut case.cluster;
        cluster.pod_cidr = self.range(cluster.pod_cidr);
        cluster.service_cidr = self.range(cluster.service_cidr);
        cluster.api_server = self.address(cluster.api_server);
        cluster.upstream_dns = self.address(cluster.upstream_dns);
        let node_ips = std::mem::take(&mut cluster.node_ips);
        cluster.node_ips = node_ips.into_iter().map(|(name, ip)| (self.name(&name), self.address(ip))).collect();
        assert!(cluster.identities.is_empty(), "these scenarios choose identities by now: swap their pods' nodes");
        if let Some(devices) = case.values.get_mut("devices") {
            *devices = self.devices(devices);
        }
        assert!(case.set.is_empty(), "these scenarios have --set by now: swap the devices there");
        for probe in &mut case.probes {
            probe.from = self.place(&probe.from);
            probe.kind = self.kind(&probe.kind);
        }
        case
    }

    fn devices(&self, devices: &Value) -> Value {
        match devices {
            Value::String(list) => {
                Value::String(list.split(',').map(|name| self.name(name)).collect::<Vec<_>>().join(","))
            }
            Value::Array(list) => Value::Array(list.iter().map(|entry| self.devices(entry)).collect()),
            other => other.clone(),
        }
    }

    fn place(&self, place: &Place) -> Place {
        match place {
            Place::Pod(Workload { node, index }) => Place::Pod(Workload { node: self.name(node), index: *index }),
            Place::Node(node) => Place::Node(self.name(node)),
            Place::NodeInterface { node, interface } => {
                Place::NodeInterface { node: self.name(node), interface: self.name(interface) }
            }
            Place::Vcn(vcn) => Place::Vcn(self.name(vcn)),
            Place::Address(address) => Place::Address(self.address(*address)),
            Place::Internet | Place::Service(_) | Place::ApiServer => place.clone(),
        }
    }

    fn kind(&self, kind: &ProbeKind) -> ProbeKind {
        match kind.clone() {
            ProbeKind::Icmp { to, size, dont_fragment } => ProbeKind::Icmp { to: self.place(&to), size, dont_fragment },
            ProbeKind::Udp { to, port } => ProbeKind::Udp { to: self.place(&to), port },
            ProbeKind::Tcp { to, port } => ProbeKind::Tcp { to: self.place(&to), port },
            ProbeKind::Dns { name, server } => ProbeKind::Dns { name: self.name(&name), server: self.place(&server) },
            ProbeKind::Http { url, server } => {
                let (scheme, rest) = url.split_once("://").expect("a URL has a scheme");
                let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
                let url = format!("{scheme}://{}/{path}", self.name(host));
                ProbeKind::Http { url, server: self.place(&server) }
            }
        }
    }
}

impl std::fmt::Display for Renaming {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.seed {
            Some(seed) => write!(formatter, "UNDERLAY_SEED={seed}"),
            None if self.names.is_empty() => formatter.write_str("its own names"),
            None => write!(formatter, "{:?}", self.names),
        }
    }
}

/// Names every cell that differs.
fn compare(case: &Case, names: &Renaming, original: &Cells, other: &Cells) -> Vec<String> {
    let keys: BTreeSet<_> = original.keys().chain(other.keys()).collect();
    keys.into_iter()
        .filter(|key| original.get(*key) != other.get(*key))
        .map(|key| {
            let told = |cells: &Cells| cells.get(key).map_or("nothing", String::as_str).to_owned();
            format!("{}: {key}: {} in the original, {} with {names}", case.id(), told(original), told(other))
        })
        .collect()
}

fn verdict(differences: Vec<String>) -> Result<(), Failed> {
    match differences.is_empty() {
        true => Ok(()),
        false => Err(format!("verdicts follow rules, not names, yet\n{}", differences.join("\n")).into()),
    }
}

async fn swapped() -> Result<(), Failed> {
    let cases: Vec<_> = FILES.into_iter().flat_map(cases).collect();
    let mut renamings = vec![Arc::new(Renaming::default())];
    renamings.extend(seeded::seeds(SEEDS).into_iter().map(|seed| Arc::new(Renaming::draw(&cases[0], seed))));
    let all = renamings.iter().flat_map(|names| cases.iter().map(|case| (names.apply(case), Arc::clone(names))));
    let cells = run(all.collect()).await?;
    let mut runs = cells.chunks(cases.len());
    let originals = runs.next().unwrap_or_default();
    let mut differences = Vec::new();
    for (names, others) in renamings.iter().skip(1).zip(runs) {
        for ((case, original), other) in cases.iter().zip(originals).zip(others) {
            assert!(original.len() > 10, "{}: only {} cells to compare", case.id(), original.len());
            differences.extend(compare(case, names, original, other));
        }
    }
    verdict(differences)
}

/// `docker` begins names that detection leaves out (pkg/defaults/node.go, `ExcludedDevicePrefixes`). With its NIC called
/// so and no list of devices, an agent is left with what `devices: tailscale0` gives: all cells must be that row's.
async fn docker() -> Result<(), Failed> {
    let cases = cases(FILES[0]);
    let variant = |name: &str| cases.iter().find(|case| case.variant == name).expect("it was counted");
    let renaming = Renaming::of_names(&[("enp0s6", "docker5")]);
    let mut renamed = renaming.apply(variant("unset"));
    let mut expected = variant("tailscale0").clone();
    // Both rows are asserted in full, though not the same probes: compare what both have.
    let probes = |case: &Case| -> BTreeSet<_> { case.expectations.iter().map(|check| check.subject.clone()).collect() };
    let common: BTreeSet<_> = probes(&renamed).intersection(&probes(&expected)).cloned().collect();
    for case in [&mut renamed, &mut expected] {
        case.expectations.retain(|check| common.contains(&check.subject));
    }
    let renaming = Arc::new(renaming);
    let cases = vec![(expected, Arc::new(Renaming::default())), (renamed.clone(), Arc::clone(&renaming))];
    let cells = run(cases).await?;
    let [by_list, by_name] = &cells[..] else { return Err("two cases have two results".into()) };
    for node in ["master", "worker"] {
        let left_out = by_name.get(&format!("{node} not-selected")).map_or("", String::as_str);
        if !left_out.contains("enp0s6") {
            return Err(format!("docker5 has an excluded prefix, so {node} leaves it out; left out: {left_out}").into());
        }
    }
    verdict(compare(&renamed, &renaming, by_list, by_name))
}
