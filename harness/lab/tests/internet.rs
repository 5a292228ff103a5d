//! The internet's services answer from one namespace, say who called, and end with the value that holds them.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use lab::internet::Internet;
use lab::serve::calls::CallLog;
use lab::serve::forward::{Forwarder, Patience};
use lab::serve::tls::Authority;
use lab::serve::{datagram, dns, echo, http};
use lab::{Namespace, Sysctls};
use libtest_mimic::{Arguments, Failed, Trial};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use topology::network::{Internet as Hosts, InternetHost, InternetService};

const ANY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
const RESOLVER: Ipv4Addr = Ipv4Addr::new(8, 8, 8, 8);
const IPIFY: Ipv4Addr = Ipv4Addr::new(104, 26, 12, 205);

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(10);

type Verdict = Result<(), Failed>;

fn main() {
    let sandbox = lab::sandbox::enter();
    let runtime = Arc::new(tokio::runtime::Runtime::new().expect("a runtime"));
    let trial = |name: &str, test: fn(&tokio::runtime::Runtime) -> Verdict| {
        let runtime = Arc::clone(&runtime);
        Trial::test(name, move || test(&runtime)).with_ignored_flag(sandbox.is_err())
    };
    let tests = vec![
        trial("echoes_say_who_called", |runtime| runtime.block_on(echoes())),
        trial("dns_answers_as_it_was_asked", |runtime| runtime.block_on(resolver())),
        trial("dns_survives_noise", |runtime| runtime.block_on(noise())),
        trial("an_address_taken_is_an_error_with_the_host", |runtime| runtime.block_on(taken())),
        trial("services_end_with_the_internet", |runtime| runtime.block_on(ends())),
        trial("a_stopped_server_can_start_again_at_once", |runtime| runtime.block_on(again())),
        trial("a_forwarder_asks_again_until_its_patience_ends", |runtime| runtime.block_on(patience())),
        trial("labs_share_one_authority", |_| authority()),
    ];
    libtest_mimic::run(&Arguments::from_args(), tests).exit();
}

fn hosts() -> Hosts {
    let host = |name: &str, address, serves: &[InternetService]| InternetHost {
        name: name.to_owned(),
        address,
        serves: serves.to_vec(),
    };
    Hosts {
        hosts: vec![
            host("dns.google", RESOLVER, &[InternetService::Dns, InternetService::Http]),
            host("api.ipify.org", IPIFY, &[InternetService::Https]),
        ],
    }
}

fn internet() -> lab::Result<(Namespace, Internet)> {
    let namespace = Namespace::create("internet", &Sysctls::HOST)?;
    let internet = Internet::start(&namespace, &hosts())?;
    Ok((namespace, internet))
}

fn ensure(holds: bool, why: impl Into<String>) -> Verdict {
    if holds { Ok(()) } else { Err(why.into().into()) }
}

fn at(address: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(address, port)
}

/// Sends one datagram and gives the answer.
async fn ask(from: &Namespace, to: SocketAddrV4, bytes: &[u8]) -> Result<Vec<u8>, Failed> {
    let socket = from.udp(ANY, None)?;
    socket.connect(to).await?;
    socket.send(bytes).await?;
    let mut buffer = vec![0; 65_535];
    let length = timeout(LONG, datagram::receive(&socket, &mut buffer)).await??;
    buffer.truncate(length);
    Ok(buffer)
}

fn query(name: &str, record: RecordType) -> Result<Message, Failed> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name)?, record));
    Ok(message)
}

async fn echoes() -> Verdict {
    let (namespace, internet) = internet()?;
    // To itself, a host's own address is the source.
    let answer = ask(&namespace, at(IPIFY, echo::PORT), b"payload ").await?;
    let text = String::from_utf8_lossy(&answer).into_owned();
    ensure(text.starts_with("payload 104.26.12.205:"), format!("payload, then the caller; not {text}"))?;
    let mut stream = namespace.tcp(Some(RESOLVER))?.connect(at(IPIFY, echo::PORT).into()).await?;
    // Unasked, and in spite of what the caller says meanwhile.
    stream.write_all(b"hello").await?;
    stream.shutdown().await?;
    let mut line = String::new();
    timeout(LONG, stream.read_to_string(&mut line)).await??;
    ensure(line.trim() == stream.local_addr()?.to_string(), format!("the caller's address; not {line}"))?;
    let calls = internet.calls().all();
    ensure(calls.len() == 2 && calls[1].caller == stream.local_addr()?, format!("both calls noted; not {calls:?}"))
}

async fn resolver() -> Verdict {
    let (namespace, internet) = internet()?;
    let server = at(RESOLVER, dns::PORT);
    let question = query("aPi.IPIFY.org.", RecordType::A)?;
    let answer = Message::from_vec(&ask(&namespace, server, &question.to_vec()?).await?)?;
    let name = Name::from_ascii("aPi.IPIFY.org.")?;
    ensure(answer.queries[0].name().eq_case(&name), "the question comes back with its letters' case")?;
    ensure(answer.answers.len() == 1, format!("one address; not {:?}", answer.answers))?;
    ensure(answer.answers[0].name.eq_case(&name), "the answer's name has the question's case")?;
    ensure(answer.answers[0].data == RData::A(IPIFY.into()), "the address is the host's")?;
    ensure(internet.seen("aPi.IPIFY.org") == Some(RESOLVER), "the question was noted as it was spelt")?;

    let answer =
        Message::from_vec(&ask(&namespace, server, &query("api.ipify.org.", RecordType::AAAA)?.to_vec()?).await?)?;
    let none = answer.metadata.response_code == ResponseCode::NoError && answer.answers.is_empty();
    ensure(none, format!("a name without AAAA exists all the same; not {answer:?}"))?;

    let mut question = query("nobody.example.", RecordType::A)?;
    question.set_edns(Edns::new());
    let answer = Message::from_vec(&ask(&namespace, server, &question.to_vec()?).await?)?;
    ensure(answer.metadata.response_code == ResponseCode::NXDomain, format!("NXDOMAIN; not {answer:?}"))?;
    ensure(answer.edns.is_some(), "whoever speaks EDNS is answered in it (RFC 6891, 6.1.1)")
}

async fn noise() -> Verdict {
    let (namespace, _internet) = internet()?;
    let server = at(RESOLVER, dns::PORT);
    let socket = namespace.udp(ANY, None)?;
    socket.connect(server).await?;
    for bytes in [&b""[..], b"\0", b"no DNS message at all, and long enough for a header", &[0xff; 512]] {
        socket.send(bytes).await?;
    }
    let mut stream = namespace.tcp(None)?.connect(server.into()).await?;
    stream.write_all(&[0xff; 64]).await?;
    drop(stream);
    let answer = ask(&namespace, server, &query("api.ipify.org.", RecordType::A)?.to_vec()?).await?;
    ensure(Message::from_vec(&answer)?.answers.len() == 1, "the server answers as before")
}

async fn taken() -> Verdict {
    let namespace = Namespace::create("internet", &Sysctls::HOST)?;
    let _first = namespace.tcp_listener(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 443))?;
    match Internet::start(&namespace, &hosts()) {
        Err(error) => {
            let text = error.to_string();
            ensure(text.starts_with("internet host api.ipify.org: "), format!("the host is named: {text}"))?;
            ensure(text.contains("tcp 104.26.12.205:443"), format!("and the socket: {text}"))
        }
        Ok(_) => Err("port 443 is taken".into()),
    }
}

async fn ends() -> Verdict {
    let (namespace, internet) = internet()?;
    let mut stream = namespace.tcp(None)?.connect(at(RESOLVER, http::PORT).into()).await?;
    drop(internet);
    let mut rest = Vec::new();
    // A reset is an end as well.
    let _ = timeout(LONG, stream.read_to_end(&mut rest)).await?;
    ensure(rest.is_empty(), "an open connection is closed without a word")?;
    let closed = async {
        loop {
            match namespace.tcp(None)?.connect(at(RESOLVER, dns::PORT).into()).await {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => return Verdict::Ok(()),
                _ => tokio::task::yield_now().await,
            }
        }
    };
    timeout(LONG, closed).await?
}

async fn again() -> Verdict {
    let (namespace, _internet) = internet()?;
    let server = at(RESOLVER, 5353);
    let zone: Arc<dyn dns::Resolve> = Arc::new(dns::Zone::default());
    for _ in 0..20 {
        let (udp, tcp) = (namespace.udp(server, None)?, namespace.tcp_listener(server)?);
        let service = dns::serve(udp, tcp, Arc::clone(&zone), CallLog::default());
        ask(&namespace, server, &query("nobody.example.", RecordType::A)?.to_vec()?).await?;
        service.stop().await;
    }
    Ok(())
}

async fn patience() -> Verdict {
    let (namespace, _internet) = internet()?;
    let (upstream, server) = (at(IPIFY, 5353), at(RESOLVER, 5353));
    let mute = namespace.udp(upstream, None)?;
    let patience = Patience { each: Duration::from_millis(40), total: Duration::from_millis(100) };
    let forwarder = Arc::new(Forwarder::new(namespace.clone(), upstream, patience));
    let (udp, tcp) = (namespace.udp(server, None)?, namespace.tcp_listener(server)?);
    let _service = dns::serve(udp, tcp, forwarder.clone(), CallLog::default());
    let question = query("aPi.ipify.org.", RecordType::A)?.to_vec()?;
    let answer = Message::from_vec(&ask(&namespace, server, &question).await?)?;
    ensure(answer.metadata.response_code == ResponseCode::ServFail, format!("SERVFAIL; not {answer:?}"))?;
    let mut buffer = [0; 512];
    let mut tries = 0;
    while let Ok(length) = mute.try_recv(&mut buffer) {
        ensure(buffer[..length] == question, "every try is the question as it came")?;
        tries += 1;
    }
    ensure((2..=3).contains(&tries), format!("100 ms have room for tries at 0, 40 and 80 ms; not {tries}"))?;
    let fared = forwarder.fared();
    ensure((fared.requests, fared.failures) == (1, 1), format!("one question, one failure; not {fared:?}"))
}

fn authority() -> Verdict {
    let (one, other) = (Authority::shared()?, Authority::shared()?);
    ensure(one.root() == other.root(), "the shared authority is one")?;
    ensure(Authority::new("other")?.root() != one.root(), "a new one is another")?;
    ensure(one.server(&["a name with spaces".to_owned()]).is_ok(), "rcgen takes any ASCII for a DNS name")?;
    ensure(one.server(&["näme".to_owned()]).is_err(), "but nothing else")
}
