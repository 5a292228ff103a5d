//! DNS: a name's addresses, asked once, with letters in a case that is this probe's alone.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use hickory_proto::op::{Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use lab::serve::datagram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::attempt::{Attempt, Ending};
use crate::error_queue;
use crate::evidence::{DnsFailure, Evidence, Outcome, Stage};
use crate::letter_case::Spelling;
use crate::mark::Mark;
use crate::tcp::{self, Connected};
use crate::token;
use crate::udp;

/// Largest DNS message in bytes.
const MESSAGE: usize = 65_535;

pub(crate) async fn probe(attempt: &Attempt<'_>, server: SocketAddrV4, name: &str) -> Evidence {
    resolve(attempt, server, name).await.0
}

/// Asks `server` for the addresses of `name`; they are empty unless the evidence is a reply.
pub(crate) async fn resolve(attempt: &Attempt<'_>, server: SocketAddrV4, name: &str) -> (Evidence, Vec<Ipv4Addr>) {
    let Some(spelling) = attempt.in_time(Spelling::take(name)).await else {
        let ending = Ending::impossible(format!("other probes use every spelling of {name}"));
        return (Evidence::ended(ending, Stage::Exchange, Vec::new()), Vec::new());
    };
    let written = spelling.written();
    let mark = Mark::Dns(written.clone());
    let mut marks = vec![mark.clone()];
    let answer = async {
        let query = query(&written)?;
        let answer = by_udp(attempt, server, &query, mark).await.map_err(|ending| (ending, Stage::Exchange))?;
        if !answer.metadata.truncation {
            return Ok(answer);
        }
        by_tcp(attempt, server, &query, &mut marks).await
    };
    let answer = answer.await;
    let addresses = match answer.and_then(|answer| addresses(&answer).map_err(|ending| (ending, Stage::Exchange))) {
        Ok(addresses) => addresses,
        Err((ending, stage)) => return (Evidence::ended(ending, stage, marks), Vec::new()),
    };
    let mut evidence = Evidence::reply(attempt.elapsed(), marks, format!("answer from {server}"));
    evidence.answer = Some(addresses.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>().join(", "));
    (evidence, addresses)
}

fn query(written: &str) -> Result<Message, (Ending, Stage)> {
    let impossible = |error| (Ending::impossible(format!("{written} is no DNS name: {error}")), Stage::Exchange);
    let mut name = Name::from_ascii(written).map_err(impossible)?;
    name.set_fqdn(true);
    // Every query has a socket of its own, so the id need not be hard to guess.
    let mut message = Message::new(token::fresh() as u16, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, RecordType::A));
    Ok(message)
}

fn is_answer(query: &Message, answer: &Message) -> bool {
    answer.metadata.message_type == MessageType::Response
        && answer.metadata.id == query.metadata.id
        && answer.queries == query.queries
}

async fn by_udp(attempt: &Attempt<'_>, server: SocketAddrV4, query: &Message, mark: Mark) -> Result<Message, Ending> {
    let socket = udp::connected(attempt, server).await?;
    let bytes = query.to_vec().map_err(|error| Ending::impossible(error.to_string()))?;
    let mut watched = attempt.watch(mark, *server.ip());
    let answer = async {
        socket.send(&bytes).await?;
        let mut buffer = vec![0; MESSAGE];
        loop {
            let length = datagram::receive(&socket, &mut buffer).await?;
            match Message::from_vec(&buffer[..length]) {
                Ok(answer) if is_answer(query, &answer) => return io::Result::Ok(answer),
                _ => {}
            }
        }
    };
    attempt.wait(&mut watched, answer).await?.map_err(|error| Ending::of_call(&error, error_queue::take(&socket)))
}

async fn by_tcp(
    attempt: &Attempt<'_>,
    server: SocketAddrV4,
    query: &Message,
    marks: &mut Vec<Mark>,
) -> Result<Message, (Ending, Stage)> {
    let Connected { mut stream, mut watched } = match tcp::connect(attempt, server).await {
        Ok(connected) => connected,
        Err(unconnected) => {
            let (ending, mark) = unconnected.into_parts();
            marks.extend(mark);
            return Err((ending, Stage::Connect));
        }
    };
    marks.push(watched.mark.clone());
    let answer = async {
        let bytes = query.to_vec().map_err(io::Error::other)?;
        let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat()).await?;
        let mut answer = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut answer).await?;
        let answer = Message::from_vec(&answer).map_err(io::Error::other)?;
        if is_answer(query, &answer) { Ok(answer) } else { Err(io::ErrorKind::InvalidData.into()) }
    };
    let answer = attempt.wait(&mut watched, answer).await;
    answer
        .and_then(|answer| answer.map_err(|error: io::Error| tcp::broken(&error, error_queue::take(&stream))))
        .map_err(|ending| (ending, Stage::Exchange))
}

fn addresses(answer: &Message) -> Result<Vec<Ipv4Addr>, Ending> {
    let failure = match answer.metadata.response_code {
        ResponseCode::NoError => DnsFailure::NoData,
        ResponseCode::NXDomain => DnsFailure::NoSuchName,
        ResponseCode::ServFail => DnsFailure::ServerFailure,
        ResponseCode::Refused => DnsFailure::Refused,
        code => DnsFailure::Other(code.into()),
    };
    let addresses: Vec<_> = answer
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(address) => Some(address.0),
            _ => None,
        })
        .collect();
    if failure == DnsFailure::NoData && !addresses.is_empty() {
        return Ok(addresses);
    }
    Err(Ending::Told(Outcome::DnsFailure(failure), failure.to_string()))
}
