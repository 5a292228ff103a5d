//! Servers that tell callers who they are.

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UdpSocket};

use super::calls::CallLog;
use super::{Service, accept};

/// The port both echoes have on the lab's internet: RFC 862's.
pub const PORT: u16 = 7;

/// Largest UDP payload in bytes.
const DATAGRAM: usize = 65_507;

/// Answers every datagram with its payload followed by the caller's address and port as text, `10.0.0.239:40123`.
///
/// The socket has to be bound to one address where its namespace has several: an answer from the wildcard address
/// leaves from the address routing chooses, not from the one that was asked.
pub fn udp(socket: UdpSocket, log: CallLog) -> Service {
    Service::spawn(async move {
        let Ok(server) = socket.local_addr() else { return };
        let mut buffer = vec![0; DATAGRAM];
        while let Ok((length, caller)) = socket.recv_from(&mut buffer).await {
            log.record(server, caller, "");
            let mut answer = buffer[..length].to_vec();
            answer.extend_from_slice(caller.to_string().as_bytes());
            // An answer that can't be sent is one the caller doesn't get: its side tells.
            let _ = socket.send_to(&answer, caller).await;
        }
    })
}

/// Tells every connection the caller's address and port as a line of text, `10.0.0.239:40123`, and closes its side.
pub fn tcp(listener: TcpListener, log: CallLog) -> Service {
    Service::spawn(async move {
        let Ok(server) = listener.local_addr() else { return };
        accept(listener, |mut stream, caller| {
            log.record(server, caller, "");
            async move {
                let _ = stream.write_all(format!("{caller}\n").as_bytes()).await;
                let _ = stream.shutdown().await;
                // Closing with bytes unread would reset the connection before the caller has read the line.
                let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
            }
        })
        .await;
    })
}
