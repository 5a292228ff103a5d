//! A DNS server on UDP and TCP whose answers come from whoever implements [`Resolve`].

use std::collections::HashMap;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use hickory_proto::op::{Edns, Header, HeaderCounts, Message, MessageType, Metadata, OpCode, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};
use hickory_server::Server;
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};

use super::Service;
use super::calls::CallLog;

/// The port of DNS.
pub const PORT: u16 = 53;

/// Seconds an answer may be cached. Nothing in a lab caches, and nothing should.
const TTL: u32 = 0;

/// UDP payload in bytes that is offered to those who speak EDNS: the DNS flag day 2020's.
const EDNS_PAYLOAD: u16 = 1232;

/// How long a TCP connection may be idle.
const TCP_IDLE: Duration = Duration::from_secs(10);

/// Answers a TCP connection may have waiting.
const TCP_ANSWERS: usize = 16;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The name without its final dot, its letters' case as asked.
    pub name: &'a str,
    /// The record type.
    pub record: RecordType,
    /// Who asks.
    pub caller: SocketAddr,
    /// Whether it came by TCP.
    pub tcp: bool,
    /// The whole query as received, without TCP's length.
    pub message: &'a [u8],
}

/// What is answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The name's addresses. Given to questions for A records; others are told that the name has no such record.
    Addresses(Vec<Ipv4Addr>),
    /// NXDOMAIN.
    NoSuchName,
    /// SERVFAIL.
    Failure,
    /// REFUSED.
    Refused,
    /// What another server said; its records and code are passed on.
    Message(Box<Message>),
}

/// Somebody who knows answers.
pub trait Resolve: Send + Sync + 'static {
    /// Answers a question. Questions are asked concurrently.
    fn resolve<'a>(&'a self, question: Question<'a>) -> BoxFuture<'a, Answer>;
}

/// Names and their addresses; NXDOMAIN for all else. Case doesn't matter.
#[derive(Debug, Clone, Default)]
pub struct Zone(HashMap<String, Vec<Ipv4Addr>>);

impl Zone {
    /// Adds an address to a name. A final dot doesn't matter.
    pub fn insert(&mut self, name: &str, address: Ipv4Addr) {
        self.0.entry(plain(name)).or_default().push(address);
    }

    /// The addresses of a name, in the order they were added.
    pub fn addresses(&self, name: &str) -> Option<&[Ipv4Addr]> {
        self.0.get(&plain(name)).map(Vec::as_slice)
    }
}

fn plain(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

impl Resolve for Zone {
    fn resolve<'a>(&'a self, question: Question<'a>) -> BoxFuture<'a, Answer> {
        let answer = match self.addresses(question.name) {
            Some(addresses) => Answer::Addresses(addresses.to_vec()),
            None => Answer::NoSuchName,
        };
        Box::pin(std::future::ready(answer))
    }
}

/// Serves DNS on a UDP socket and a TCP listener. The name in an answer keeps the question's case.
///
/// The UDP socket has to be bound to one address where its namespace has several: see [`super::echo::udp`].
pub fn serve(udp: UdpSocket, tcp: TcpListener, resolve: Arc<dyn Resolve>, log: CallLog) -> Service {
    // Both have the same address: it is the host's.
    let server = udp.local_addr();
    Service::spawn_until(|stopped| async move {
        let Ok(server) = server else { return };
        let mut server = Server::new(Handler { resolve, log, server });
        server.register_socket(udp);
        server.register_listener(tcp, TCP_IDLE, TCP_ANSWERS);
        tokio::select! {
            _ = server.block_until_done() => {}
            _ = stopped => { let _ = server.shutdown_gracefully().await; }
        }
    })
}

struct Handler {
    resolve: Arc<dyn Resolve>,
    log: CallLog,
    server: SocketAddr,
}

/// The parts of an answer that differ from one to the next.
#[derive(Default)]
struct Parts {
    code: ResponseCode,
    truncated: bool,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    additionals: Vec<Record>,
}

impl From<ResponseCode> for Parts {
    fn from(code: ResponseCode) -> Self {
        Self { code, ..Self::default() }
    }
}

impl Handler {
    async fn answer(&self, request: &Request) -> Parts {
        let [query] = request.queries.queries() else { return ResponseCode::FormErr.into() };
        if request.metadata.op_code != OpCode::Query {
            return ResponseCode::NotImp.into();
        }
        let query = query.original();
        let name = query.name().to_ascii();
        let name = name.strip_suffix('.').unwrap_or(&name);
        self.log.record(self.server, request.src(), name);
        let question = Question {
            name,
            record: query.query_type(),
            caller: request.src(),
            tcp: request.protocol() == Protocol::Tcp,
            message: request.as_slice(),
        };
        match self.resolve.resolve(question).await {
            Answer::Addresses(addresses) => {
                let record =
                    |address: Ipv4Addr| Record::from_rdata(query.name().clone(), TTL, RData::A(address.into()));
                let asked = query.query_type() == RecordType::A;
                Parts { answers: addresses.into_iter().filter(|_| asked).map(record).collect(), ..Parts::default() }
            }
            Answer::NoSuchName => ResponseCode::NXDomain.into(),
            Answer::Failure => ResponseCode::ServFail.into(),
            Answer::Refused => ResponseCode::Refused.into(),
            Answer::Message(message) => Parts {
                code: message.metadata.response_code,
                truncated: message.metadata.truncation,
                answers: message.answers,
                authorities: message.authorities,
                additionals: message.additionals,
            },
        }
    }

    async fn handle<R: ResponseHandler>(&self, request: &Request, mut response: R) -> ResponseInfo {
        let parts = self.answer(request).await;
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.response_code = parts.code;
        metadata.truncation = parts.truncated;
        metadata.recursion_available = true;
        let mut edns = Edns::new();
        edns.set_max_payload(EDNS_PAYLOAD);
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if request.edns.is_some() {
            builder.edns(&edns);
        }
        let message =
            builder.build(metadata, &parts.answers, &parts.authorities, std::iter::empty(), &parts.additionals);
        match response.send_response(message).await {
            Ok(info) => info,
            Err(_) => {
                let mut metadata = Metadata::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
                metadata.response_code = ResponseCode::ServFail;
                Header { metadata, counts: HeaderCounts::default() }.into()
            }
        }
    }
}

impl RequestHandler for Handler {
    // What `async_trait` makes of the trait's `async fn`.
    fn handle_request<'own, 'request, 'all, R, T>(
        &'own self,
        request: &'request Request,
        response: R,
    ) -> Pin<Box<dyn Future<Output = ResponseInfo> + Send + 'all>>
    where
        R: 'all + ResponseHandler,
        T: 'all + Time,
        'own: 'all,
        'request: 'all,
        Self: 'all,
    {
        Box::pin(self.handle(request, response))
    }
}
