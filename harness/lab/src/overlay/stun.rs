//! The part of STUN (RFC 8489) that asks what an address looks like from outside: binding requests and their
//! answers, IPv4 over UDP, no other attributes.

use std::net::{Ipv4Addr, SocketAddrV4};

/// The port STUN servers listen on (RFC 8489, section 18.6).
pub(super) const PORT: u16 = 3478;

/// Length of a request in bytes: a header without attributes.
pub(super) const REQUEST: usize = 20;
/// Length of an answer in bytes: a header and one XOR-MAPPED-ADDRESS.
pub(super) const ANSWER: usize = 32;

const BINDING_REQUEST: u16 = 0x0001;
const BINDING_SUCCESS: u16 = 0x0101;
const MAGIC_COOKIE: u32 = 0x2112_a442;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const IPV4: u8 = 1;

/// What ties an answer to its request.
pub(super) type Transaction = [u8; 12];

fn header(kind: u16, length: u16, transaction: Transaction) -> [u8; REQUEST] {
    let mut header = [0; REQUEST];
    header[0..2].copy_from_slice(&kind.to_be_bytes());
    header[2..4].copy_from_slice(&length.to_be_bytes());
    header[4..8].copy_from_slice(&MAGIC_COOKIE.to_be_bytes());
    header[8..20].copy_from_slice(&transaction);
    header
}

/// The transaction of a message of this kind, and its attributes.
fn parse(kind: u16, message: &[u8]) -> Option<(Transaction, &[u8])> {
    let (header, attributes) = message.split_first_chunk::<REQUEST>()?;
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    let ours = header[0..2] == kind.to_be_bytes() && header[4..8] == MAGIC_COOKIE.to_be_bytes();
    (ours && length == attributes.len()).then(|| {
        let mut transaction = [0; 12];
        transaction.copy_from_slice(&header[8..20]);
        (transaction, attributes)
    })
}

/// A binding request.
pub(super) fn request(transaction: Transaction) -> [u8; REQUEST] {
    header(BINDING_REQUEST, 0, transaction)
}

/// Reads a binding request.
pub(super) fn parse_request(message: &[u8]) -> Option<Transaction> {
    parse(BINDING_REQUEST, message).map(|(transaction, _)| transaction)
}

/// The answer to a request that came from `mapped`.
pub(super) fn answer(transaction: Transaction, mapped: SocketAddrV4) -> [u8; ANSWER] {
    let mut message = [0; ANSWER];
    message[..REQUEST].copy_from_slice(&header(BINDING_SUCCESS, 12, transaction));
    message[20..22].copy_from_slice(&XOR_MAPPED_ADDRESS.to_be_bytes());
    message[22..24].copy_from_slice(&8_u16.to_be_bytes());
    message[25] = IPV4;
    message[26..28].copy_from_slice(&(mapped.port() ^ (MAGIC_COOKIE >> 16) as u16).to_be_bytes());
    message[28..32].copy_from_slice(&(mapped.ip().to_bits() ^ MAGIC_COOKIE).to_be_bytes());
    message
}

/// Reads an answer: its transaction, and the address the request came from.
pub(super) fn parse_answer(message: &[u8]) -> Option<(Transaction, SocketAddrV4)> {
    let (transaction, mut attributes) = parse(BINDING_SUCCESS, message)?;
    while let Some((&[kind_high, kind_low, length_high, length_low], rest)) = attributes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        let value = rest.get(..length)?;
        if u16::from_be_bytes([kind_high, kind_low]) == XOR_MAPPED_ADDRESS
            && let &[_, IPV4, port_high, port_low, a, b, c, d] = value
        {
            let port = u16::from_be_bytes([port_high, port_low]) ^ (MAGIC_COOKIE >> 16) as u16;
            let address = Ipv4Addr::from_bits(u32::from_be_bytes([a, b, c, d]) ^ MAGIC_COOKIE);
            return Some((transaction, SocketAddrV4::new(address, port)));
        }
        attributes = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_the_mapped_address() {
        let mapped = "192.0.2.1:32853".parse().expect("an address");
        let answer = answer([7; 12], mapped);
        // The XORed form of this address is RFC 5769's, section 2.2.
        assert_eq!(answer[26..32], [0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        assert_eq!(parse_answer(&answer), Some(([7; 12], mapped)));
    }

    #[test]
    fn only_requests_are_requests() {
        assert_eq!(parse_request(&request([9; 12])), Some([9; 12]));
        assert_eq!(parse_request(&answer([9; 12], "10.0.0.1:1".parse().expect("an address"))), None);
        assert_eq!(parse_request(&request([9; 12])[..19]), None, "cut short");
        assert_eq!(parse_answer(&[0; 4]), None);
    }
}
