//! ICMP, UDP and TCP.

use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::world::{
    CLIENT, FORBIDDEN, Grim, LONG, LOOPED, NARROW, NARROW_AT_HOME, Named, REFUSED_AT_HOME, RESOLVER, ROUTER, SERVER,
    SHORT, SWALLOWED, Verdict, World, at, death, expect, trial,
};
use lab::serve::echo;
use probe::deathwatch::{Deathwatch, NoDeathwatch, Watch};
use probe::evidence::{Silence, Stage};
use probe::mark::Mark;
use probe::{Outcome, Probe};
use tokio::io::AsyncReadExt;

pub(crate) fn tests() -> Vec<Named> {
    vec![
        trial("icmp_reply", icmp_reply),
        trial("icmp_in_fragments", icmp_in_fragments),
        trial("too_big_for_a_route_of_the_sender", too_big_at_home),
        trial("too_big_for_a_link_on_the_way", too_big_on_the_way),
        trial("ttl_exceeded", ttl_exceeded),
        trial("not_possible", not_possible),
        trial("unreachable_says_a_router", unreachable_by_router),
        trial("unreachable_says_the_sender", unreachable_at_home),
        trial("unreachable_since_nobody_answers_arp", no_neighbour),
        trial("silence_takes_the_whole_deadline", silence),
        trial("silence_is_early_where_death_was_seen", death_ends_waiting),
        trial("an_answer_overtakes_a_death", overtaken),
        trial("marks_are_watched_before_anything_is_sent", watched_first),
        trial("udp_reply", udp_reply),
        trial("refused", refused),
        trial("tcp_reply", tcp_reply),
        trial("tcp_broken", tcp_broken),
        trial("tcp_silent_once_connected", tcp_silent),
        trial("many_at_once_keep_apart", many_at_once),
    ]
}

fn ping(target: Ipv4Addr) -> Probe {
    Probe::Icmp { target, size: 56, dont_fragment: false }
}

fn big(target: Ipv4Addr, size: usize) -> Probe {
    Probe::Icmp { target, size, dont_fragment: true }
}

fn three(target: Ipv4Addr) -> [Probe; 3] {
    let echo = at(target, echo::PORT);
    [ping(target), Probe::Udp { target: echo }, Probe::Tcp { target: echo, tells_caller: true }]
}

async fn icmp_reply(world: World) -> Verdict {
    for size in [0, 16, 56, 1252] {
        let probe = Probe::Icmp { target: RESOLVER, size, dont_fragment: true };
        let evidence = world.run(&probe, LONG).await;
        expect(evidence.outcome == Outcome::Reply, "a host on the internet answers ping", &evidence)?;
        expect(evidence.rtt.is_some_and(|rtt| rtt < LONG), "a reply has a round trip", &evidence)?;
        expect(evidence.detail == "reply from 8.8.8.8, ttl 63", "one router takes one from 64", &evidence)?;
        expect(matches!(evidence.marks[..], [Mark::Payload(_)]), "it was marked", &evidence)?;
    }
    Ok(())
}

async fn icmp_in_fragments(world: World) -> Verdict {
    let probe = Probe::Icmp { target: RESOLVER, size: 8000, dont_fragment: false };
    let evidence = world.run(&probe, LONG).await;
    expect(evidence.outcome == Outcome::Reply, "without DF a ping is cut up and put together", &evidence)
}

async fn too_big_at_home(world: World) -> Verdict {
    let evidence = world.run(&big(NARROW_AT_HOME, 1202), LONG).await;
    expect(evidence.outcome == Outcome::Reply, "1202 + 28 bytes fit a route of 1230", &evidence)?;
    let evidence = world.run(&big(NARROW_AT_HOME, 1203), LONG).await;
    let outcome = Outcome::TooBig { by: None, mtu: 1230 };
    expect(evidence.outcome == outcome, "1203 + 28 bytes don't fit, and the sender knows", &evidence)
}

async fn too_big_on_the_way(world: World) -> Verdict {
    let fits = NARROW as usize - 28;
    let evidence = world.run(&big(RESOLVER, fits), LONG).await;
    expect(evidence.outcome == Outcome::Reply, "it just fits the second link", &evidence)?;
    let evidence = world.run(&big(RESOLVER, fits + 1), LONG).await;
    let outcome = Outcome::TooBig { by: Some(ROUTER), mtu: NARROW };
    expect(evidence.outcome == outcome, "the router says that it doesn't fit", &evidence)?;
    let evidence = world.run(&big(RESOLVER, fits + 1), LONG).await;
    let outcome = Outcome::TooBig { by: None, mtu: NARROW };
    expect(evidence.outcome == outcome, "the sender remembers what it was told", &evidence)
}

async fn ttl_exceeded(world: World) -> Verdict {
    // A UDP socket learns it from its error queue.
    for probe in [ping(LOOPED), Probe::Udp { target: at(LOOPED, echo::PORT) }] {
        let evidence = world.run(&probe, LONG).await;
        let outcome = Outcome::TtlExceeded { by: SERVER };
        expect(evidence.outcome == outcome, "router and server pass it to each other; 64 is even", &evidence)?;
    }
    Ok(())
}

async fn not_possible(world: World) -> Verdict {
    let evidence = world.run(&ping(Ipv4Addr::BROADCAST), LONG).await;
    let outcome = Outcome::NotPossible { errno: Some(nix::libc::EACCES) };
    expect(evidence.outcome == outcome, "the kernel lets nobody broadcast unasked", &evidence)?;
    let evidence = world.run(&big(RESOLVER, 70_000), LONG).await;
    expect(matches!(evidence.outcome, Outcome::TooBig { by: None, .. }), "no IPv4 packet is that long", &evidence)
}

async fn unreachable_by_router(world: World) -> Verdict {
    for probe in three(FORBIDDEN) {
        let evidence = world.run(&probe, LONG).await;
        let outcome = Outcome::Unreachable { by: Some(ROUTER), code: 1 };
        expect(evidence.outcome == outcome, "the router has an unreachable route", &evidence)?;
        expect(evidence.detail == "host unreachable, says 10.1.0.1", "the detail says who said what", &evidence)?;
        expect(evidence.silence.is_none() && evidence.rtt.is_none(), "that is neither silence nor reply", &evidence)?;
    }
    Ok(())
}

async fn unreachable_at_home(world: World) -> Verdict {
    for probe in three(REFUSED_AT_HOME) {
        let evidence = world.run(&probe, LONG).await;
        let outcome = Outcome::Unreachable { by: None, code: 1 };
        expect(evidence.outcome == outcome, "the client has an unreachable route", &evidence)?;
    }
    world.client.netlink()?.link_down("eth0")?;
    for probe in three(RESOLVER) {
        let evidence = world.run(&probe, LONG).await;
        let outcome = Outcome::Unreachable { by: None, code: 0 };
        expect(evidence.outcome == outcome, "the client has no route left", &evidence)?;
    }
    Ok(())
}

async fn no_neighbour(world: World) -> Verdict {
    let nobody = Ipv4Addr::new(10, 1, 0, 77);
    let [icmp, udp, tcp] = three(nobody);
    let found = tokio::join!(world.run(&icmp, LONG), world.run(&udp, LONG), world.run(&tcp, LONG));
    for evidence in [found.0, found.1, found.2] {
        let outcome = Outcome::Unreachable { by: Some(CLIENT), code: 1 };
        expect(evidence.outcome == outcome, "the client tells itself once ARP has failed", &evidence)?;
    }
    Ok(())
}

async fn silence(world: World) -> Verdict {
    for probe in three(SWALLOWED) {
        let start = Instant::now();
        let evidence = world.run(&probe, SHORT).await;
        expect(evidence.outcome == Outcome::Silence, "the packet is swallowed", &evidence)?;
        expect(evidence.silence == Some(Silence::Deadline(SHORT)), "nobody saw it die", &evidence)?;
        expect(start.elapsed() >= SHORT, "so the whole deadline is waited", &evidence)?;
    }
    Ok(())
}

async fn death_ends_waiting(world: World) -> Verdict {
    for probe in three(SWALLOWED) {
        let start = Instant::now();
        let evidence = probe::run(&probe, &world.client, LONG, &Grim).await;
        expect(evidence.outcome == Outcome::Silence, "the packet is swallowed", &evidence)?;
        expect(evidence.silence == Some(Silence::Death(death())), "and was seen to die", &evidence)?;
        expect(start.elapsed() < LONG, "so the deadline isn't waited for", &evidence)?;
    }
    Ok(())
}

async fn overtaken(world: World) -> Verdict {
    for probe in three(RESOLVER) {
        let evidence = probe::run(&probe, &world.client, LONG, &Grim).await;
        expect(evidence.outcome == Outcome::Reply, "an answer within the grace stands against a death", &evidence)?;
    }
    Ok(())
}

/// Remembers the marks and, of each, whether the router's end had seen a packet from the client by then.
struct Ledger<'a> {
    world: &'a World,
    marks: Mutex<Vec<(Mark, usize)>>,
}

impl Deathwatch for Ledger<'_> {
    fn watch(&self, mark: Mark) -> Watch<'_> {
        let calls = self.world.internet.calls().all().len();
        self.marks.lock().expect("no panic").push((mark, calls));
        NoDeathwatch.watch(Mark::Payload(0))
    }
}

async fn watched_first(world: World) -> Verdict {
    for (before, probe) in three(RESOLVER)[1..].iter().enumerate() {
        let ledger = Ledger { world: &world, marks: Mutex::default() };
        let evidence = probe::run(probe, &world.client, LONG, &ledger).await;
        let marks = ledger.marks.into_inner().expect("no panic");
        let told: Vec<_> = marks.iter().map(|(mark, _)| mark.clone()).collect();
        expect(told == evidence.marks, "the evidence names the marks that were watched", &evidence)?;
        expect(marks.iter().all(|(_, calls)| *calls == before), "the far end had no packet by then", &evidence)?;
    }
    Ok(())
}

async fn udp_reply(world: World) -> Verdict {
    let evidence = world.run(&Probe::Udp { target: at(RESOLVER, echo::PORT) }, LONG).await;
    expect(evidence.outcome == Outcome::Reply, "the echo answers", &evidence)?;
    expect(evidence.source_seen == Some(CLIENT), "and says whom it saw", &evidence)
}

async fn refused(world: World) -> Verdict {
    let nobody = at(RESOLVER, 4);
    for probe in [Probe::Udp { target: nobody }, Probe::Tcp { target: nobody, tells_caller: false }] {
        let evidence = world.run(&probe, LONG).await;
        expect(evidence.outcome == Outcome::Refused, "nobody listens on port 4", &evidence)?;
    }
    Ok(())
}

async fn tcp_reply(world: World) -> Verdict {
    let target = at(RESOLVER, echo::PORT);
    let evidence = world.run(&Probe::Tcp { target, tells_caller: true }, LONG).await;
    expect(evidence.outcome == Outcome::Reply, "the echo answers", &evidence)?;
    expect(evidence.source_seen == Some(CLIENT), "and says whom it saw", &evidence)?;
    let [Mark::Tcp { local_port, .. }] = evidence.marks[..] else {
        return Err(format!("a TCP probe has a TCP mark, not {:?}", evidence.marks).into());
    };
    let said = evidence.answer.as_deref().unwrap_or_default().trim();
    expect(said == at(CLIENT, local_port).to_string(), "the marked port is the one that was used", &evidence)?;
    let evidence = world.run(&Probe::Tcp { target: at(RESOLVER, 53), tells_caller: false }, LONG).await;
    expect(evidence.outcome == Outcome::Reply, "a connection is enough where no more is asked", &evidence)
}

async fn tcp_broken(world: World) -> Verdict {
    let target = at(RESOLVER, 2000);
    let listener = world.server.tcp_listener(target)?;
    let probe = Probe::Tcp { target, tells_caller: true };
    let (evidence, _) = tokio::join!(world.run(&probe, LONG), async {
        let _ = listener.accept().await;
    });
    expect(evidence.outcome == Outcome::Broken, "the far end closes without a word", &evidence)?;
    expect(evidence.stage == Stage::Exchange, "the connection had been made", &evidence)
}

async fn tcp_silent(world: World) -> Verdict {
    let target = at(RESOLVER, 2000);
    let listener = world.server.tcp_listener(target)?;
    let probe = Probe::Tcp { target, tells_caller: true };
    let (evidence, _) = tokio::join!(world.run(&probe, SHORT), async {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        let _ = stream.read(&mut [0]).await;
    });
    expect(evidence.outcome == Outcome::Silence, "the far end says nothing", &evidence)?;
    expect(evidence.stage == Stage::Exchange, "though the connection had been made", &evidence)
}

async fn many_at_once(world: World) -> Verdict {
    let probes: Vec<_> = (0..20).flat_map(|_| three(RESOLVER).into_iter().chain(three(SWALLOWED))).collect();
    let deadline = Duration::from_secs(1);
    let all = futures::future::join_all(probes.iter().map(|probe| world.run(probe, deadline))).await;
    for (index, evidence) in all.iter().enumerate() {
        let outcome = if index % 6 < 3 { Outcome::Reply } else { Outcome::Silence };
        expect(evidence.outcome == outcome, &format!("probe {index} takes its own answers and no other's"), evidence)?;
    }
    Ok(())
}
