//! HTTP and HTTPS: one GET, the name resolved as a pod would, TLS with one trusted root.

use std::error::Error as _;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header;
use hyper::{Request as HttpRequest, Response};
use hyper_util::rt::TokioIo;
use lab::serve::http::CALLER;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::attempt::{Attempt, Ending, Watched};
use crate::dns;
use crate::evidence::{Evidence, Outcome, Stage};
use crate::spec::{Address, Request};
use crate::tcp::{self, Connected};

/// Bytes of a body that are read.
const BODY: usize = 64 * 1024;

/// What a server said.
struct Answer {
    status: u16,
    caller: Option<Ipv4Addr>,
    body: String,
}

pub(crate) async fn probe(
    attempt: &Attempt<'_>,
    request: &Request,
    root: Option<&CertificateDer<'static>>,
) -> Evidence {
    let (address, mut marks) = match request.address {
        Address::Fixed(address) => (address, Vec::new()),
        Address::Resolve(server) => {
            let (evidence, addresses) = dns::resolve(attempt, server, &request.host).await;
            match addresses.first() {
                Some(address) => (*address, evidence.marks),
                None => {
                    let detail = format!("resolving {} at {server}: {}", request.host, evidence.detail);
                    return Evidence { stage: Stage::Resolve, detail, ..evidence };
                }
            }
        }
    };
    let target = SocketAddrV4::new(address, request.port);
    let Connected { stream, mut watched } = match tcp::connect(attempt, target).await {
        Ok(connected) => connected,
        Err(unconnected) => return unconnected.evidence(marks),
    };
    marks.push(watched.mark.clone());
    let answer = match root {
        None => exchange(attempt, &mut watched, request, stream).await,
        Some(root) => match handshake(attempt, &mut watched, &request.host, root, stream).await {
            Ok(stream) => exchange(attempt, &mut watched, request, stream).await,
            Err(ending) => return Evidence::ended(ending, Stage::Handshake, marks),
        },
    };
    match answer {
        Ok(answer) => {
            let detail = format!("status {} from {target}", answer.status);
            Evidence {
                status: Some(answer.status),
                source_seen: answer.caller,
                answer: Some(answer.body),
                ..Evidence::reply(attempt.elapsed(), marks, detail)
            }
        }
        Err(ending) => Evidence::ended(ending, Stage::Exchange, marks),
    }
}

async fn handshake(
    attempt: &Attempt<'_>,
    watched: &mut Watched<'_>,
    host: &str,
    root: &CertificateDer<'static>,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Ending> {
    let config = || -> Result<_, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(root.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        Ok(config.with_root_certificates(roots).with_no_client_auth())
    };
    let config = config().map_err(|error| Ending::impossible(format!("root certificate: {error}")))?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| Ending::impossible(format!("{host} can't be a TLS server's name: {error}")))?;
    let handshake = TlsConnector::from(Arc::new(config)).connect(name, stream);
    attempt.wait(watched, handshake).await?.map_err(|error| {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(tls) => Ending::Told(Outcome::TlsFailure, tls.to_string()),
            None => tcp::broken(&error, None),
        }
    })
}

async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
    attempt: &Attempt<'_>,
    watched: &mut Watched<'_>,
    request: &Request,
    stream: S,
) -> Result<Answer, Ending> {
    let get = HttpRequest::get(&request.path)
        .header(header::HOST, &request.host)
        .header(header::CONNECTION, "close")
        .header(header::USER_AGENT, "underlay")
        .body(Empty::<Bytes>::new())
        .map_err(|error| Ending::impossible(format!("{}{}: {error}", request.host, request.path)))?;
    let answer = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // The connection ends with its sender, which the first half owns.
        let (answer, _) = tokio::join!(async move { read(sender.send_request(get).await?).await }, connection);
        answer
    };
    attempt.wait(watched, answer).await?.map_err(|error: hyper::Error| {
        match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
            Some(error) => tcp::broken(error, None),
            None => Ending::Told(Outcome::Broken, error.to_string()),
        }
    })
}

async fn read(answer: Response<Incoming>) -> Result<Answer, hyper::Error> {
    let status = answer.status().as_u16();
    let header = answer.headers().get(CALLER).and_then(|value| value.to_str().ok()?.parse().ok());
    let (mut incoming, mut body) = (answer.into_body(), Vec::new());
    while body.len() < BODY
        && let Some(frame) = incoming.frame().await
    {
        if let Some(data) = frame?.data_ref() {
            body.extend_from_slice(data);
        }
    }
    body.truncate(BODY);
    let body = String::from_utf8_lossy(&body).into_owned();
    Ok(Answer { status, caller: body.trim().parse().ok().or(header), body })
}
