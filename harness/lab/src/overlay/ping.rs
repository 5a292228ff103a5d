//! The datagram by which two nodes try a way to each other: sent from the socket that WireGuard will use, told from
//! WireGuard's own by its first bytes, and proven by a secret of the pair. It plays the part of tailscaled's disco
//! messages (tailscale 1.103, disco/disco.go), which are sealed with keys; here the coordinator hands out the secrets,
//! so an equal address in somebody else's network can't answer in a peer's place.

/// Length in bytes.
pub(super) const LENGTH: usize = 32;

const MAGIC: [u8; 8] = *b"underlay";

/// The secret of a pair of nodes.
pub(super) type Secret = [u8; 16];

/// Question or answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Are you there?
    Ping,
    /// Yes.
    Pong,
}

/// Which way it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// To the address under trial.
    Direct,
    /// Through the relay's switchboard.
    Switchboard,
}

/// A ping or its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Message {
    /// Question or answer.
    pub(super) kind: Kind,
    /// Which way it goes; answers go the way their question came.
    pub(super) way: Way,
    /// Which search it belongs to; a stray of an earlier one is not looked at.
    pub(super) search: u8,
    /// Which round of the search.
    pub(super) round: u8,
    /// Who sent it, by position among the members.
    pub(super) from: u16,
    /// Whom it is for.
    pub(super) to: u16,
    /// Of the pair.
    pub(super) secret: Secret,
}

impl Message {
    /// As bytes.
    pub(super) fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8] = match self.kind {
            Kind::Ping => 1,
            Kind::Pong => 2,
        };
        bytes[9] = match self.way {
            Way::Direct => 0,
            Way::Switchboard => 1,
        };
        bytes[10] = self.search;
        bytes[11] = self.round;
        bytes[12..14].copy_from_slice(&self.from.to_be_bytes());
        bytes[14..16].copy_from_slice(&self.to.to_be_bytes());
        bytes[16..32].copy_from_slice(&self.secret);
        bytes
    }

    /// From bytes; none for anything else that arrives.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LENGTH] = bytes.try_into().ok()?;
        if bytes[0..8] != MAGIC {
            return None;
        }
        let mut secret = Secret::default();
        secret.copy_from_slice(&bytes[16..32]);
        Some(Self {
            kind: match bytes[8] {
                1 => Kind::Ping,
                2 => Kind::Pong,
                _ => return None,
            },
            way: match bytes[9] {
                0 => Way::Direct,
                1 => Way::Switchboard,
                _ => return None,
            },
            search: bytes[10],
            round: bytes[11],
            from: u16::from_be_bytes([bytes[12], bytes[13]]),
            to: u16::from_be_bytes([bytes[14], bytes[15]]),
            secret,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn survives_the_wire() {
        for (kind, way) in [(Kind::Ping, Way::Direct), (Kind::Pong, Way::Switchboard)] {
            let message = Message { kind, way, search: 1, round: 2, from: 3, to: 400, secret: [5; 16] };
            assert_eq!(Message::decode(&message.encode()), Some(message));
        }
    }

    #[test]
    fn is_never_taken_for_wireguard_nor_the_other_way_round() {
        // WireGuard's messages begin with their type, 1 to 4.
        assert!(MAGIC[0] > 4);
        assert_eq!(Message::decode(&[1; LENGTH]), None);
        assert_eq!(Message::decode(b"underlay"), None, "cut short");
    }
}
