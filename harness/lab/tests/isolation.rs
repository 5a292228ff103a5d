//! Overlapping networks are apart, and a gateway drops, counts and reports what isn't its own.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use lab::drops::DropReason;
use lab::nft::{Chain, ChainType, Hook, Statement, Table};
use lab::{Lab, Namespace, Sysctls};
use libtest_mimic::{Arguments, Failed, Trial};
use topology::Network;
use topology::network::{Ingress, Internet, InternetHost, Nat, Network as Config, Nic, NicKind, Node, Role, Vcn};

fn main() {
    let sandbox = lab::sandbox::enter();
    let runtime = Arc::new(tokio::runtime::Runtime::new().expect("a runtime"));
    let trial = |name: &str, test: fn(Arc<tokio::runtime::Runtime>) -> Result<(), Failed>| {
        let runtime = Arc::clone(&runtime);
        Trial::test(name, move || test(runtime)).with_ignored_flag(sandbox.is_err())
    };
    let tests = vec![
        trial("same_cidr_twice_is_two_networks", |runtime| runtime.block_on(same_cidr())),
        trial("source_check_counts_and_reports", |runtime| runtime.block_on(source_check())),
        trial("new_traffic_from_outside_stays_outside", |runtime| runtime.block_on(ingress())),
        trial("an_interface_that_comes_back_is_as_before", |runtime| runtime.block_on(plug())),
        trial("a_table_has_as_many_rules_as_wanted", |_| many_rules()),
        trial("a_filter_drops_and_reports_until_it_is_taken_away", |runtime| runtime.block_on(filter())),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

fn nic(vcn: &str, address: &str, public: Option<&str>) -> Nic {
    Nic {
        name: "enp0s6".to_owned(),
        kind: NicKind::Vcn(vcn.to_owned()),
        addresses: vec![address.parse().expect("an address")],
        mtu: 9000,
        default_route: Some(Ipv4Addr::new(10, 0, 0, 1)),
        public_address: public.map(|text| text.parse().expect("an address")),
        up: true,
    }
}

fn node(name: &str, nic: Nic) -> Node {
    Node { name: name.to_owned(), role: Role::Worker, nics: vec![nic], overlay_address: None }
}

fn twins() -> Arc<Network> {
    let vcn = |name: &str| Vcn {
        name: name.to_owned(),
        cidr: "10.0.0.0/24".parse().expect("a network"),
        gateway: Ipv4Addr::new(10, 0, 0, 1),
        nat: Nat::OneToOne,
        source_check: true,
        ingress: Ingress::Deny,
    };
    Arc::new(Config {
        name: "twins".to_owned(),
        internet: Internet {
            hosts: vec![InternetHost {
                name: "dns.google".to_owned(),
                address: Ipv4Addr::new(8, 8, 8, 8),
                serves: vec![],
            }],
        },
        vcns: vec![vcn("a"), vcn("b")],
        overlay: None,
        nodes: vec![
            node("one", nic("a", "10.0.0.239/24", Some("203.0.113.1"))),
            node("two", nic("a", "10.0.0.240/24", Some("203.0.113.2"))),
            node("far", nic("b", "10.0.0.24/24", Some("203.0.113.3"))),
        ],
    })
}

/// The kernel answers all of a table's messages before anybody reads, and the socket has room for some hundred answers.
fn many_rules() -> Result<(), Failed> {
    const RULES: usize = 600;
    let place = Namespace::create("many rules", &Sysctls::HOST)?;
    let table = |last: Statement| {
        let mut chain = Chain::base("input", ChainType::Filter, Hook::Input, 0);
        for port in 0..RULES as u16 {
            chain =
                chain.drop_rule(&format!("port {port}"), [Statement::Protocol(17), Statement::DestinationPort(port)]);
        }
        Table::ipv4("many").chain(chain.rule([last]))
    };
    place.load_nft(&[table(Statement::Jump("nowhere".to_owned()))]).err().ok_or("there is no chain of that name")?;
    place.load_nft(&[table(Statement::Protocol(6))])?;
    let counted = place.nft_counters()?.len();
    if counted == RULES { Ok(()) } else { Err(format!("{counted} of {RULES} rules are there").into()) }
}

/// Sends a datagram between two nodes and says from where it arrived.
async fn datagram(lab: &Lab, from: &str, to: &lab::Namespace, address: Ipv4Addr) -> Option<Ipv4Addr> {
    let receiver = to.udp(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 9), None).ok()?;
    let sender = lab.node(from)?.namespace.udp(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), None).ok()?;
    sender.send_to(b"hello", SocketAddrV4::new(address, 9)).await.ok()?;
    let mut buffer = [0; 16];
    let received = tokio::time::timeout(Duration::from_millis(300), receiver.recv_from(&mut buffer)).await;
    match received.ok()?.ok()?.1.ip() {
        std::net::IpAddr::V4(source) => Some(source),
        std::net::IpAddr::V6(_) => None,
    }
}

async fn same_cidr() -> Result<(), Failed> {
    let lab = Lab::build(twins()).await?;
    let neighbour = lab.node("two").ok_or("two")?.namespace.clone();
    let far = lab.node("far").ok_or("far")?.namespace.clone();
    let seen = datagram(&lab, "one", &neighbour, Ipv4Addr::new(10, 0, 0, 240)).await;
    if seen != Some(Ipv4Addr::new(10, 0, 0, 239)) {
        return Err(format!("a node reaches its neighbour in the same VCN as itself, got {seen:?}").into());
    }
    let seen = datagram(&lab, "one", &far, Ipv4Addr::new(10, 0, 0, 24)).await;
    if seen.is_some() {
        return Err(format!("10.0.0.24 is in another VCN with the same CIDR, yet {seen:?} arrived there").into());
    }
    let out = datagram(&lab, "one", &lab.internet, Ipv4Addr::new(8, 8, 8, 8)).await;
    if out != Some(Ipv4Addr::new(203, 0, 113, 1)) {
        return Err(format!("the internet sees a node's public address, got {out:?}").into());
    }
    Ok(())
}

async fn source_check() -> Result<(), Failed> {
    let lab = Lab::build(twins()).await?;
    let node = &lab.node("one").ok_or("one")?.namespace;
    node.netlink()?.add_address("lo", "10.244.0.5/32".parse()?)?;
    let mut drops = lab.drops.listen();
    let sender = node.udp(SocketAddrV4::new(Ipv4Addr::new(10, 244, 0, 5), 0), None)?;
    sender.send_to(b"from a pod", SocketAddrV4::new(Ipv4Addr::new(8, 8, 8, 8), 9)).await?;
    let dropped = tokio::time::timeout(Duration::from_secs(2), drops.recv()).await??;
    if dropped.reason != DropReason::SourceCheck || dropped.namespace != "vcn a" {
        return Err(format!("the source check of vcn a should have reported the packet, got {dropped:?}").into());
    }
    if !dropped.packet.ends_with(b"from a pod") || dropped.packet[12..16] != [10, 244, 0, 5] {
        return Err(format!("the report should hold the packet from its IP header on, got {dropped:?}").into());
    }
    let counters = lab.vcn("a").ok_or("a")?.namespace.nft_counters()?;
    let counted: u64 = counters.iter().filter(|counter| counter.rule == "source-check").map(|c| c.packets).sum();
    if counted != 1 {
        return Err(format!("one packet was dropped, the counters say {counted}: {counters:?}").into());
    }
    Ok(())
}

async fn ingress() -> Result<(), Failed> {
    let lab = Lab::build(twins()).await?;
    let mut drops = lab.drops.listen();
    let sender = lab.internet.udp(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0), None)?;
    sender.send_to(b"knock", SocketAddrV4::new(Ipv4Addr::new(203, 0, 113, 1), 41641)).await?;
    let dropped = tokio::time::timeout(Duration::from_secs(2), drops.recv()).await??;
    if dropped.reason != DropReason::IngressDenied {
        return Err(format!("new traffic from the internet is denied, got {dropped:?}").into());
    }
    Ok(())
}

async fn plug() -> Result<(), Failed> {
    let lab = Lab::build(twins()).await?;
    let node = lab.node("one").ok_or("one")?;
    node.namespace.netlink()?.delete_link("enp0s6")?;
    let out = datagram(&lab, "one", &lab.internet, Ipv4Addr::new(8, 8, 8, 8)).await;
    if out.is_some() {
        return Err(format!("without its interface a node reaches nobody, yet {out:?} arrived").into());
    }
    lab.plug("one", "enp0s6").await?;
    let out = datagram(&lab, "one", &lab.internet, Ipv4Addr::new(8, 8, 8, 8)).await;
    if out != Some(Ipv4Addr::new(203, 0, 113, 1)) {
        return Err(format!("address, route and translation are as before, got {out:?}").into());
    }
    Ok(())
}

async fn filter() -> Result<(), Failed> {
    let mut lab = Lab::build(twins()).await?;
    let dns = Ipv4Addr::new(8, 8, 8, 8);
    let neighbour = Ipv4Addr::new(10, 0, 0, 240);
    let rule = |name: &str, to: Ipv4Addr| {
        (
            name.to_owned(),
            vec![Statement::Destination(to.into()), Statement::Protocol(17), Statement::DestinationPort(9)],
        )
    };
    lab.block("a", &[rule("no-dns", dns), rule("no-neighbour", neighbour)])?;
    let mut drops = lab.drops.listen();
    let two = lab.node("two").ok_or("two")?.namespace.clone();
    for (to, receiver, name) in [(dns, &lab.internet, "no-dns"), (neighbour, &two, "no-neighbour")] {
        let arrived = datagram(&lab, "one", receiver, to).await;
        if arrived.is_some() {
            return Err(format!("{name} drops, yet {arrived:?} arrived").into());
        }
        let dropped = tokio::time::timeout(Duration::from_secs(2), drops.recv()).await??;
        if dropped.reason != DropReason::Rule(name.to_owned()) || dropped.namespace != "vcn a" {
            return Err(format!("{name} of vcn a should have reported the packet, got {dropped:?}").into());
        }
    }
    lab.block("a", &[])?;
    let out = datagram(&lab, "one", &lab.internet, dns).await;
    if out != Some(Ipv4Addr::new(203, 0, 113, 1)) {
        return Err(format!("without the filter it passes as before, got {out:?}").into());
    }
    Ok(())
}
