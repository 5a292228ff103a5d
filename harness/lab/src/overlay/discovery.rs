//! How nodes find a way to each other, as tailscaled does it: each asks two reflectors how its socket's address looks
//! from outside, the coordinator hands the answers round, all try each other's addresses at the same time, and who
//! finds none goes by the relay.
//!
//! It is done with the socket (or, for the kernel's WireGuard, from the port) that carries the traffic later, so the
//! translations it makes in gateways are the ones WireGuard will use. Both nodes of a pair send before either's answer
//! is counted on: a gateway that lets no new traffic in knows the flow by then.
//!
//! No time limit says that a direct way is dead. Each round sends a ping directly and then one through the relay's
//! switchboard; when the answers of [`ROUNDS`] rounds came by the relay and none directly, the direct ones were lost.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use futures::future::join_all;
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::ping::{self, Kind, Message, Secret, Way};
use super::stun::{self, Transaction};

/// Rounds of pings before the relay is chosen. The first one opens the gateways; the second one finds them open, since
/// a node answers only after it has sent its own first round; the third one is for good measure.
const ROUNDS: u8 = 3;

/// What wasn't answered is sent again this often: a lab loses datagrams only where it is built to.
const AGAIN: Duration = Duration::from_millis(200);

/// How long a node waits that hears of nobody. Only nodes with no way out at all ever wait that long.
pub(super) const PATIENCE: Duration = Duration::from_secs(3);

/// How a node's address looks from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapping {
    /// The same from everywhere: endpoint-independent mapping (RFC 4787), "easy" NAT, or no NAT at all.
    Stable(SocketAddrV4),
    /// Different for each destination: endpoint-dependent mapping, "hard" NAT.
    Varying,
    /// It reaches no reflector.
    Unknown,
}

/// A node that looks for ways.
pub(super) struct Seeker {
    /// The socket that carries the traffic later, or one bound to its port.
    pub(super) socket: UdpSocket,
}

/// Asks two reflectors. `transactions` must be hard to guess and different.
pub(super) async fn reflect(
    seeker: &Seeker,
    reflectors: [SocketAddrV4; 2],
    transactions: [Transaction; 2],
    deadline: Instant,
) -> Mapping {
    let mut answers = [None; 2];
    let mut again = interval(AGAIN);
    let mut buffer = [0; stun::ANSWER + 1];
    loop {
        tokio::select! {
            _ = again.tick() => {
                for ((answer, reflector), transaction) in answers.iter().zip(reflectors).zip(transactions) {
                    if answer.is_none() && seeker.socket.send_to(&stun::request(transaction), reflector).await.is_err() {
                        // No route there: waiting won't make one.
                        return Mapping::Unknown;
                    }
                }
            }
            received = seeker.socket.recv_from(&mut buffer) => {
                if let Ok((length, _)) = received
                    && let Some((transaction, mapped)) = stun::parse_answer(&buffer[..length])
                    && let Some(index) = transactions.iter().position(|ours| *ours == transaction)
                {
                    answers[index] = Some(mapped);
                }
            }
            () = tokio::time::sleep_until(deadline) => return Mapping::Unknown,
        }
        match answers {
            [Some(one), Some(other)] if one == other => return Mapping::Stable(one),
            [Some(_), Some(_)] => return Mapping::Varying,
            _ => {}
        }
    }
}

/// What a node tries for a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    /// Addresses to try, the best first.
    pub(super) candidates: Vec<SocketAddrV4>,
    /// Whether a ping from an address that isn't among them makes it one.
    pub(super) learn: bool,
    /// Whether the switchboard can pass pings on between the two.
    pub(super) switchboard: bool,
}

/// How a node came through to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// At this address.
    At(SocketAddrV4),
    /// By the switchboard only.
    Switchboard,
    /// Not at all.
    Nothing,
}

/// One search: every node after every peer at once.
pub(super) struct Search<'a> {
    /// Tells its datagrams from those of another search.
    pub(super) number: u8,
    /// The nodes.
    pub(super) seekers: &'a [Seeker],
    /// The pairs' secrets, by position; the same both ways.
    pub(super) secrets: &'a [Vec<Secret>],
    /// The relay's switchboard.
    pub(super) switchboard: SocketAddrV4,
}

/// What a node knows about a peer.
struct Peer {
    attempt: Attempt,
    answered: Option<usize>,
    rounds: u8,
    open: bool,
}

impl Peer {
    /// Whether it is decided; the best address needs no waiting for others.
    fn is_decided(&self) -> bool {
        self.answered == Some(0) || self.rounds >= ROUNDS
    }

    fn found(&self) -> Found {
        match self.answered.and_then(|index| self.attempt.candidates.get(index)) {
            Some(address) => Found::At(*address),
            None if self.rounds > 0 => Found::Switchboard,
            None => Found::Nothing,
        }
    }
}

impl Search<'_> {
    /// Searches. `attempts[i][j]` is what node i tries for node j; none where it needn't. The answer has the same shape.
    pub(super) async fn run(&self, attempts: Vec<Vec<Option<Attempt>>>, deadline: Instant) -> Vec<Vec<Found>> {
        let open = attempts.iter().flatten().flatten().count();
        let undecided = watch::Sender::new(open);
        join_all(attempts.into_iter().enumerate().map(|(me, attempts)| self.seek(me, attempts, &undecided, deadline)))
            .await
    }

    async fn seek(
        &self,
        me: usize,
        attempts: Vec<Option<Attempt>>,
        undecided: &watch::Sender<usize>,
        deadline: Instant,
    ) -> Vec<Found> {
        let mut peers: Vec<_> = attempts
            .into_iter()
            .map(|attempt| attempt.map(|attempt| Peer { attempt, answered: None, rounds: 0, open: true }))
            .collect();
        let mut again = interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut others = undecided.subscribe();
        let mut buffer = [0; ping::LENGTH + 1];
        loop {
            tokio::select! {
                _ = again.tick() => {
                    for (index, peer) in peers.iter().enumerate() {
                        if let Some(peer) = peer.as_ref().filter(|peer| peer.open) {
                            self.send_round(me, index, peer).await;
                        }
                    }
                }
                received = self.seekers[me].socket.recv_from(&mut buffer) => {
                    if let Ok((length, SocketAddr::V4(from))) = received
                        && let Some(message) = Message::decode(&buffer[..length])
                        && self.is_genuine(me, &message)
                        && let Some(Some(peer)) = peers.get_mut(usize::from(message.from))
                    {
                        self.handle(me, peer, message, from).await;
                        if peer.open && peer.is_decided() {
                            peer.open = false;
                            undecided.send_modify(|open| *open -= 1);
                        }
                    }
                }
                // Others may need this node's answers until the last one is done.
                () = all_decided(&mut others) => break,
                () = tokio::time::sleep_until(deadline) => break,
            }
        }
        peers.iter().map(|peer| peer.as_ref().map_or(Found::Nothing, Peer::found)).collect()
    }

    fn is_genuine(&self, me: usize, message: &Message) -> bool {
        usize::from(message.to) == me
            && message.search == self.number
            && self.secrets[me].get(usize::from(message.from)) == Some(&message.secret)
    }

    async fn handle(&self, me: usize, peer: &mut Peer, message: Message, from: SocketAddrV4) {
        let index = usize::from(message.from);
        match (message.kind, message.way) {
            (Kind::Ping, way) => {
                self.send(me, index, from, Message { kind: Kind::Pong, ..message }).await;
                if way == Way::Direct && peer.attempt.learn && !peer.attempt.candidates.contains(&from) {
                    peer.attempt.candidates.push(from);
                }
                // The peer is there now, if it wasn't when it was pinged before.
                if peer.open && way == Way::Direct && peer.attempt.candidates.contains(&from) {
                    self.ping(me, index, from, Way::Direct, peer.rounds).await;
                } else if peer.open && peer.rounds == 0 && peer.attempt.switchboard {
                    self.send_round(me, index, peer).await;
                }
            }
            (Kind::Pong, Way::Direct) => {
                let answered = peer.attempt.candidates.iter().position(|candidate| *candidate == from);
                peer.answered = match (peer.answered, answered) {
                    (Some(before), Some(now)) => Some(before.min(now)),
                    (before, now) => before.or(now),
                };
            }
            (Kind::Pong, Way::Switchboard) => {
                // Of several answers to one round the first counts.
                if peer.open && message.round == peer.rounds {
                    peer.rounds += 1;
                    if !peer.is_decided() {
                        self.send_round(me, index, peer).await;
                    }
                }
            }
        }
    }

    /// Directly first, by the relay last: an answer by the relay says that direct ones are due.
    async fn send_round(&self, me: usize, index: usize, peer: &Peer) {
        for candidate in &peer.attempt.candidates {
            self.ping(me, index, *candidate, Way::Direct, peer.rounds).await;
        }
        if peer.attempt.switchboard {
            self.ping(me, index, self.switchboard, Way::Switchboard, peer.rounds).await;
        }
    }

    async fn ping(&self, me: usize, index: usize, address: SocketAddrV4, way: Way, round: u8) {
        let secret = self.secrets[me][index];
        // The positions are filled in by `send`.
        let message = Message { kind: Kind::Ping, way, search: self.number, round, from: 0, to: 0, secret };
        self.send(me, index, address, message).await;
    }

    async fn send(&self, me: usize, index: usize, address: SocketAddrV4, message: Message) {
        let message = Message { from: position(me), to: position(index), ..message };
        // What can't be sent is what isn't answered.
        let _ = self.seekers[me].socket.send_to(&message.encode(), address).await;
    }
}

/// Waits until no pair is undecided.
async fn all_decided(undecided: &mut watch::Receiver<usize>) {
    // An error says that nobody is left to decide.
    let _ = undecided.wait_for(|open| *open == 0).await;
}

/// A node's number in pings.
fn position(index: usize) -> u16 {
    u16::try_from(index).unwrap_or(u16::MAX)
}

/// What node `from` tries for node `to`, given where both can be reached. None where there is nothing to try.
pub(super) fn attempt(from: Mapping, to: Mapping, shared: &[Ipv4Addr], port: u16) -> Option<Attempt> {
    let mut candidates: Vec<_> = shared.iter().map(|address| SocketAddrV4::new(*address, port)).collect();
    let online = from != Mapping::Unknown && to != Mapping::Unknown;
    if let Mapping::Stable(address) = to
        && online
        && !candidates.contains(&address)
    {
        candidates.push(address);
    }
    (online || !candidates.is_empty()).then_some(Attempt { candidates, learn: true, switchboard: online })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_come_first_and_the_relay_needs_both_online() {
        let address = |text: &str| text.parse::<SocketAddrV4>().expect("an address");
        let public = Mapping::Stable(address("198.51.100.1:41641"));
        let local = [Ipv4Addr::new(10, 0, 0, 2)];

        let both = attempt(public, public, &local, 41641).expect("there is something to try");
        assert_eq!(both.candidates, [address("10.0.0.2:41641"), address("198.51.100.1:41641")]);
        assert!(both.switchboard);

        let offline = attempt(Mapping::Unknown, public, &local, 41641).expect("the local address");
        assert_eq!(offline.candidates, [address("10.0.0.2:41641")]);
        assert!(!offline.switchboard);

        assert_eq!(attempt(Mapping::Unknown, public, &[], 41641), None);
        let hard = attempt(public, Mapping::Varying, &[], 41641).expect("it may call");
        assert!(hard.candidates.is_empty() && hard.learn);
    }
}
