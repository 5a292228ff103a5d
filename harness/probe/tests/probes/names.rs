//! DNS, HTTP and HTTPS, and what the far end saw.

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use crate::world::{
    CLIENT, FORBIDDEN, Grim, IPIFY, LONG, MIRROR, Named, RESOLVER, ROUTER, SHORT, SWALLOWED, Verdict, World, at, death,
    expect, trial,
};
use lab::serve::calls::CallLog;
use lab::serve::forward::{Forwarder, Patience};
use lab::serve::tls::Authority;
use lab::serve::{Service, dns, http};
use probe::evidence::{DnsFailure, Silence, Stage};
use probe::mark::Mark;
use probe::spec::{Address, Request};
use probe::{Outcome, Probe};

pub(crate) fn tests() -> Vec<Named> {
    vec![
        trial("dns_answer", dns_answer),
        trial("dns_no_answer", dns_no_answer),
        trial("dns_answer_too_long_for_udp", dns_truncated),
        trial("dns_through_a_forwarder_keeps_the_case", forwarded),
        trial("dns_through_a_forwarder_that_reaches_nobody", forwarded_in_vain),
        trial("dns_probes_at_once_are_spelt_apart", spelt_apart),
        trial("a_name_no_dns_can_carry", no_name),
        trial("http_says_the_caller", http_reply),
        trial("http_resolves_first", http_resolves),
        trial("http_that_does_not_come", http_no_answer),
        trial("http_body_is_cut", http_cut),
        trial("https_trusts_the_lab", https_reply),
        trial("https_trusts_nobody_else", https_wrong_root),
    ]
}

const DNS: u16 = dns::PORT;

fn ask(server: Ipv4Addr, name: &str) -> Probe {
    Probe::Dns { server: at(server, DNS), name: name.to_owned() }
}

fn get(host: &str, port: u16, path: &str, address: Address) -> Request {
    Request { host: host.to_owned(), port, path: path.to_owned(), address }
}

fn resolved() -> Address {
    Address::Resolve(at(RESOLVER, DNS))
}

/// A resolver in the router, at its address on the client's link.
fn resolver(world: &World, resolve: Arc<dyn dns::Resolve>) -> lab::Result<Service> {
    let address = at(ROUTER, DNS);
    Ok(dns::serve(world.router.udp(address, None)?, world.router.tcp_listener(address)?, resolve, CallLog::default()))
}

fn written(marks: &[Mark]) -> Option<&str> {
    marks.iter().find_map(|mark| match mark {
        Mark::Dns(written) => Some(written.as_str()),
        _ => None,
    })
}

async fn dns_answer(world: World) -> Verdict {
    for name in ["api.ipify.org", "api.ipify.org.", "API.ipify.ORG"] {
        let evidence = world.run(&ask(RESOLVER, name), LONG).await;
        expect(evidence.outcome == Outcome::Reply, "8.8.8.8 knows the internet's hosts", &evidence)?;
        expect(evidence.answer.as_deref() == Some("104.26.12.205"), "by their addresses", &evidence)?;
        let written = written(&evidence.marks).unwrap_or_default();
        let seen = world.internet.seen(written);
        expect(seen == Some(CLIENT), "the name arrived in its own spelling", &evidence)?;
        expect(written.eq_ignore_ascii_case("api.ipify.org"), "the spelling is of that name", &evidence)?;
        expect(written != "api.ipify.org", "and nobody else's", &evidence)?;
    }
    Ok(())
}

async fn dns_no_answer(world: World) -> Verdict {
    let evidence = world.run(&ask(RESOLVER, "nobody.example"), LONG).await;
    let outcome = Outcome::DnsFailure(DnsFailure::NoSuchName);
    expect(evidence.outcome == outcome, "a name that is nobody's", &evidence)?;
    let evidence = world.run(&ask(MIRROR, "api.ipify.org"), LONG).await;
    expect(evidence.outcome == Outcome::Refused, "the mirror is no DNS server", &evidence)?;
    let evidence = world.run(&ask(FORBIDDEN, "api.ipify.org"), LONG).await;
    let outcome = Outcome::Unreachable { by: Some(ROUTER), code: 1 };
    expect(evidence.outcome == outcome, "the router has an unreachable route", &evidence)?;
    let evidence = world.run(&ask(SWALLOWED, "api.ipify.org"), SHORT).await;
    expect(evidence.silence == Some(Silence::Deadline(SHORT)), "the question is swallowed", &evidence)?;
    let evidence = probe::run(&ask(SWALLOWED, "api.ipify.org"), &world.client, LONG, &Grim).await;
    expect(evidence.silence == Some(Silence::Death(death())), "and was seen to die", &evidence)
}

async fn dns_truncated(world: World) -> Verdict {
    let mut zone = dns::Zone::default();
    let addresses: Vec<_> = (0..200).map(|last| Ipv4Addr::new(192, 0, 2, last)).collect();
    for address in &addresses {
        zone.insert("many.example", *address);
    }
    let _resolver = resolver(&world, Arc::new(zone))?;
    let evidence = world.run(&ask(ROUTER, "many.example"), LONG).await;
    let all = addresses.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(", ");
    expect(evidence.answer == Some(all), "all 200 addresses come over TCP", &evidence)?;
    let marks = &evidence.marks[..];
    expect(matches!(marks, [Mark::Dns(_), Mark::Tcp { .. }]), "both ways are marked", &evidence)
}

async fn forwarded(world: World) -> Verdict {
    let forwarder = Arc::new(Forwarder::new(world.router.clone(), at(RESOLVER, DNS), Patience::default()));
    let _resolver = resolver(&world, forwarder.clone())?;
    let evidence = world.run(&ask(ROUTER, "api.ipify.org"), LONG).await;
    expect(evidence.answer.as_deref() == Some("104.26.12.205"), "the upstream's answer comes back", &evidence)?;
    let seen = world.internet.seen(written(&evidence.marks).unwrap_or_default());
    expect(seen == Some(Ipv4Addr::new(10, 2, 0, 1)), "the upstream saw the forwarder, the spelling kept", &evidence)?;
    let evidence = world.run(&ask(ROUTER, "nobody.example"), LONG).await;
    let outcome = Outcome::DnsFailure(DnsFailure::NoSuchName);
    expect(evidence.outcome == outcome, "NXDOMAIN comes back too", &evidence)?;
    let fared = forwarder.fared();
    expect((fared.requests, fared.failures) == (2, 0), &format!("two questions, both answered: {fared:?}"), &evidence)
}

async fn forwarded_in_vain(world: World) -> Verdict {
    let patience = Patience { each: Duration::from_millis(40), total: Duration::from_millis(100) };
    for (upstream, why) in [
        (at(SWALLOWED, DNS), "read udp 10.8.0.1:53: i/o timeout"),
        (at(MIRROR, DNS), "read udp 151.101.2.132:53: Connection refused (os error 111)"),
        (at(FORBIDDEN, DNS), "read udp 10.9.0.1:53: No route to host (os error 113)"),
    ] {
        let forwarder = Arc::new(Forwarder::new(world.router.clone(), upstream, patience));
        let resolver = resolver(&world, forwarder.clone())?;
        let evidence = world.run(&ask(ROUTER, "api.ipify.org"), LONG).await;
        let outcome = Outcome::DnsFailure(DnsFailure::ServerFailure);
        expect(evidence.outcome == outcome, "a forwarder that gets no answer says SERVFAIL", &evidence)?;
        let fared = forwarder.fared();
        expect((fared.requests, fared.failures) == (1, 1), "and counts it", &evidence)?;
        expect(fared.last_failure.as_deref() == Some(why), &format!("and says why: {fared:?}"), &evidence)?;
        resolver.stop().await;
    }
    Ok(())
}

async fn spelt_apart(world: World) -> Verdict {
    // Two letters have three spellings beside the plain one: the fourth probe waits for one of them.
    let mut zone = dns::Zone::default();
    zone.insert("1.ab", MIRROR);
    zone.insert("many.example", MIRROR);
    let _resolver = resolver(&world, Arc::new(zone))?;
    for (name, times) in [("1.ab", 9), ("many.example", 200)] {
        let probe = ask(ROUTER, name);
        let all = futures::future::join_all((0..times).map(|_| world.run(&probe, LONG))).await;
        for evidence in &all {
            expect(evidence.outcome == Outcome::Reply, "each is answered", evidence)?;
        }
        let spellings: HashSet<_> = all.iter().filter_map(|evidence| written(&evidence.marks)).collect();
        expect(spellings.len() == times.min(if name == "1.ab" { 3 } else { 200 }), "spelt apart", &all[0])?;
    }
    Ok(())
}

async fn no_name(world: World) -> Verdict {
    let evidence = world.run(&ask(RESOLVER, &"a".repeat(64)), LONG).await;
    expect(evidence.outcome == Outcome::NotPossible { errno: None }, "labels have at most 63 bytes", &evidence)
}

async fn http_reply(world: World) -> Verdict {
    let request = get("deb.debian.org", http::PORT, "/", Address::Fixed(MIRROR));
    let evidence = world.run(&Probe::Http(request), LONG).await;
    expect(evidence.outcome == Outcome::Reply && evidence.status == Some(200), "the mirror answers", &evidence)?;
    expect(evidence.source_seen == Some(CLIENT), "and says whom it saw", &evidence)?;
    let request = get("deb.debian.org", http::PORT, "/debian/dists/bookworm/InRelease", Address::Fixed(MIRROR));
    let evidence = world.run(&Probe::Http(request), LONG).await;
    let body = evidence.answer.as_deref().unwrap_or_default();
    expect(body.contains("Codename: bookworm"), "the release file is there", &evidence)?;
    expect(evidence.source_seen == Some(CLIENT), "its header says whom it saw", &evidence)
}

async fn http_resolves(world: World) -> Verdict {
    let evidence = world.run(&Probe::Http(get("deb.debian.org", http::PORT, "/", resolved())), LONG).await;
    expect(evidence.source_seen == Some(CLIENT), "the name leads to the mirror", &evidence)?;
    let marks = &evidence.marks[..];
    expect(matches!(marks, [Mark::Dns(_), Mark::Tcp { .. }]), "question and connection are marked", &evidence)?;
    let evidence = world.run(&Probe::Http(get("nobody.example", http::PORT, "/", resolved())), LONG).await;
    let outcome = Outcome::DnsFailure(DnsFailure::NoSuchName);
    expect(evidence.outcome == outcome, "no address, no connection", &evidence)?;
    expect(evidence.stage == Stage::Resolve, "it got no further than the name", &evidence)?;
    let silent = Address::Resolve(at(SWALLOWED, DNS));
    let evidence = world.run(&Probe::Http(get("deb.debian.org", http::PORT, "/", silent)), SHORT).await;
    expect(evidence.outcome == Outcome::Silence, "the question is swallowed", &evidence)?;
    expect(evidence.stage == Stage::Resolve, "it got no further than the name", &evidence)
}

async fn http_no_answer(world: World) -> Verdict {
    let fixed = |address, port| Probe::Http(get("host.example", port, "/", Address::Fixed(address)));
    let evidence = world.run(&fixed(RESOLVER, http::PORT), LONG).await;
    expect(evidence.outcome == Outcome::Refused, "8.8.8.8 has no HTTP", &evidence)?;
    expect(evidence.stage == Stage::Connect, "no connection was made", &evidence)?;
    let evidence = world.run(&fixed(FORBIDDEN, http::PORT), LONG).await;
    let outcome = Outcome::Unreachable { by: Some(ROUTER), code: 1 };
    expect(evidence.outcome == outcome, "the router has an unreachable route", &evidence)?;
    let evidence = world.run(&fixed(SWALLOWED, http::PORT), SHORT).await;
    expect(evidence.outcome == Outcome::Silence, "the SYN is swallowed", &evidence)?;
    let target = at(RESOLVER, 2000);
    let listener = world.server.tcp_listener(target)?;
    let probe = fixed(RESOLVER, 2000);
    let (evidence, _) = tokio::join!(world.run(&probe, LONG), async {
        let _ = listener.accept().await;
    });
    expect(evidence.outcome == Outcome::Broken, "the far end hangs up", &evidence)?;
    expect(evidence.stage == Stage::Exchange, "the connection had been made", &evidence)
}

async fn http_cut(world: World) -> Verdict {
    let listener = world.server.tcp_listener(SocketAddrV4::new(RESOLVER, 2000))?;
    let long = axum::Router::new().fallback(|| async { "x".repeat(1 << 20) });
    let _server = http::serve(listener, None, long, CallLog::default());
    let request = get("host.example", 2000, "/", Address::Fixed(RESOLVER));
    let evidence = world.run(&Probe::Http(request), LONG).await;
    expect(evidence.outcome == Outcome::Reply, "a long body is an answer", &evidence.clone())?;
    let length = evidence.answer.as_deref().map(str::len);
    expect(length == Some(64 * 1024), "of which 64 KiB are kept", &probe::Evidence { answer: None, ..evidence })
}

fn ipify(world: &World) -> Probe {
    let request = get("api.ipify.org", http::TLS_PORT, "/", resolved());
    Probe::Https { request, root: world.internet.root_certificate() }
}

async fn https_reply(world: World) -> Verdict {
    let evidence = world.run(&ipify(&world), LONG).await;
    expect(evidence.outcome == Outcome::Reply && evidence.status == Some(200), "the certificate is good", &evidence)?;
    expect(evidence.answer.as_deref() == Some("10.1.0.2"), "the body is the caller's address, no more", &evidence)?;
    expect(evidence.source_seen == Some(CLIENT), "which is what the far end saw", &evidence)?;
    let request = get("104.26.12.205", http::TLS_PORT, "/", Address::Fixed(IPIFY));
    let probe = Probe::Https { request, root: world.internet.root_certificate() };
    let evidence = world.run(&probe, LONG).await;
    expect(evidence.outcome == Outcome::Reply, "the certificate is for the address too", &evidence)
}

async fn https_wrong_root(world: World) -> Verdict {
    let Probe::Https { request, root } = ipify(&world) else { return Err("not reached".into()) };
    let stranger = Authority::new("a stranger")?.root();
    let evidence = world.run(&Probe::Https { request: request.clone(), root: stranger }, LONG).await;
    expect(evidence.outcome == Outcome::TlsFailure, "another authority signed it", &evidence)?;
    expect(evidence.stage == Stage::Handshake, "the connection had been made", &evidence)?;
    let other = Request { host: "other.example".to_owned(), address: Address::Fixed(IPIFY), ..request.clone() };
    let evidence = world.run(&Probe::Https { request: other, root: root.clone() }, LONG).await;
    expect(evidence.outcome == Outcome::TlsFailure, "it is for another name", &evidence)?;
    let plain = Request { port: http::PORT, address: Address::Fixed(MIRROR), ..request };
    let evidence = world.run(&Probe::Https { request: plain, root }, LONG).await;
    expect(evidence.outcome == Outcome::TlsFailure, "port 80 speaks no TLS", &evidence)
}
