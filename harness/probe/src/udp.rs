//! UDP: a datagram to an echo, which says what source it saw.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

use lab::serve::datagram;
use tokio::net::UdpSocket;

use crate::attempt::{Attempt, Ending};
use crate::error_queue;
use crate::evidence::{Evidence, Stage};
use crate::mark::{MAGIC, Mark};
use crate::token;

/// An answer is the payload and an address in text.
const ANSWER: usize = 256;

pub(crate) async fn probe(attempt: &Attempt<'_>, target: SocketAddrV4) -> Evidence {
    let token = token::fresh();
    let mark = Mark::Payload(token);
    match echo(attempt, target, token, mark.clone()).await {
        Ok(source) => {
            let mut evidence = Evidence::reply(attempt.elapsed(), vec![mark], format!("echo from {target}"));
            evidence.source_seen = source.map(|source| *source.ip());
            evidence.answer = source.map(|source| source.to_string());
            evidence
        }
        Err(ending) => Evidence::ended(ending, Stage::Exchange, vec![mark]),
    }
}

async fn echo(
    attempt: &Attempt<'_>,
    target: SocketAddrV4,
    token: u64,
    mark: Mark,
) -> Result<Option<SocketAddrV4>, Ending> {
    let socket = connected(attempt, target).await?;
    let payload = [MAGIC, token.to_be_bytes()].concat();
    let mut watched = attempt.watch(mark, *target.ip());
    let answer = async {
        socket.send(&payload).await?;
        let mut buffer = [0; ANSWER];
        loop {
            let length = datagram::receive(&socket, &mut buffer).await?;
            if let Some(rest) = buffer[..length].strip_prefix(&payload[..]) {
                return io::Result::Ok(std::str::from_utf8(rest).ok().and_then(|text| text.parse().ok()));
            }
        }
    };
    attempt.wait(&mut watched, answer).await?.map_err(|error| Ending::of_call(&error, error_queue::take(&socket)))
}

/// A UDP socket that talks to `target` alone and keeps its errors.
pub(crate) async fn connected(attempt: &Attempt<'_>, target: SocketAddrV4) -> Result<UdpSocket, Ending> {
    let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0);
    let socket = attempt.from.udp(any, None).map_err(|error| Ending::of_lab(&error))?;
    let connect = async {
        error_queue::keep(&socket)?;
        socket.connect(target).await
    };
    connect.await.map_err(|error| Ending::of_call(&error, error_queue::take(&socket)))?;
    Ok(socket)
}
