//! TCP: a connection, and what the far end says of the caller.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, OwnedFd};

use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, TcpStream};

use crate::attempt::{Attempt, Ending, Watched};
use crate::error_queue::{self, Reported};
use crate::evidence::{Evidence, Outcome, Stage};
use crate::mark::Mark;

/// Bytes the far end may say; an address and a port take 22.
const LINE: u64 = 256;

/// A connection that was made, still watched over.
pub(crate) struct Connected<'a> {
    pub(crate) stream: TcpStream,
    pub(crate) watched: Watched<'a>,
}

/// A connection that was not made.
pub(crate) struct Unconnected {
    ending: Ending,
    mark: Option<Mark>,
}

impl Unconnected {
    /// Why, and the mark it left if anything was sent.
    pub(crate) fn into_parts(self) -> (Ending, Option<Mark>) {
        (self.ending, self.mark)
    }

    /// Evidence of a probe that ends here, having left `marks` before.
    pub(crate) fn evidence(self, mut marks: Vec<Mark>) -> Evidence {
        marks.extend(self.mark);
        Evidence::ended(self.ending, Stage::Connect, marks)
    }
}

pub(crate) async fn probe(attempt: &Attempt<'_>, target: SocketAddrV4, tells_caller: bool) -> Evidence {
    let Connected { mut stream, mut watched } = match connect(attempt, target).await {
        Ok(connected) => connected,
        Err(unconnected) => return unconnected.evidence(Vec::new()),
    };
    let marks = vec![watched.mark.clone()];
    if !tells_caller {
        return Evidence::reply(attempt.elapsed(), marks, format!("connected to {target}"));
    }
    let told = attempt.wait(&mut watched, tell(&mut stream)).await;
    match told.and_then(|told| told.map_err(|error| broken(&error, error_queue::take(&stream)))) {
        Ok(line) => {
            let mut evidence = Evidence::reply(attempt.elapsed(), marks, format!("connected to {target}"));
            evidence.source_seen = line.trim().parse().ok().map(|source: SocketAddrV4| *source.ip());
            evidence.answer = Some(line);
            evidence
        }
        Err(ending) => Evidence::ended(ending, Stage::Exchange, marks),
    }
}

async fn tell(stream: &mut TcpStream) -> io::Result<String> {
    let mut line = String::new();
    stream.take(LINE).read_to_string(&mut line).await?;
    if line.is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(line) }
}

/// Why a connection that had been made came to nothing.
pub(crate) fn broken(error: &io::Error, reported: Option<Reported>) -> Ending {
    match Ending::of_call(error, reported) {
        // Nothing is refused once the connection is there.
        Ending::Told(Outcome::Refused | Outcome::NotPossible { .. }, detail) => Ending::Told(Outcome::Broken, detail),
        ending => ending,
    }
}

/// Connects to `target`. The port is bound first, so that the connection can be watched for before the SYN leaves.
pub(crate) async fn connect<'a>(attempt: &Attempt<'a>, target: SocketAddrV4) -> Result<Connected<'a>, Unconnected> {
    let unmarked = |ending| Unconnected { ending, mark: None };
    let socket = attempt.from.tcp(None).map_err(|error| unmarked(Ending::of_lab(&error)))?;
    let (errors, local_port) = prepare(&socket).map_err(|error| unmarked(Ending::of_call(&error, None)))?;
    let mark = Mark::Tcp { namespace: attempt.from.clone(), local_port, remote: target };
    let mut watched = attempt.watch(mark, *target.ip());
    let connected = attempt.wait(&mut watched, socket.connect(target.into())).await;
    match connected.and_then(|made| made.map_err(|error| Ending::of_call(&error, error_queue::take(&errors)))) {
        Ok(stream) => Ok(Connected { stream, watched }),
        Err(ending) => Err(Unconnected { ending, mark: Some(watched.mark) }),
    }
}

/// Binds a port and returns it, with a second descriptor: a failed connect takes the first one with it, and the error
/// queue is asked afterwards.
fn prepare(socket: &TcpSocket) -> io::Result<(OwnedFd, u16)> {
    error_queue::keep(socket)?;
    socket.bind(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0).into())?;
    Ok((socket.as_fd().try_clone_to_owned()?, socket.local_addr()?.port()))
}
