//! The matches and actions of a rule, and the expressions of nf_tables' virtual machine they compile to. Numbers are
//! those of linux/netfilter/nf_tables.h.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use netlink_packet_core::DefaultNla;
use netlink_packet_core::Nla as _;
use netlink_packet_netfilter::nftables::{ExpressionAttribute, Expressions, ListAttribute};

use super::{DROP_LOG_GROUP, Expression};

/// A match or an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// Came in by this interface; a trailing `*` matches any rest of the name.
    Input(String),
    /// Did not come in by such an interface.
    NotInput(String),
    /// Leaves by this interface; a trailing `*` matches any rest of the name.
    Output(String),
    /// Does not leave by such an interface.
    NotOutput(String),
    /// An IPv4 packet: in a bridge's table there are others.
    Ipv4,
    /// Source address within.
    Source(Ipv4Net),
    /// Source address not within.
    NotSource(Ipv4Net),
    /// Destination address within.
    Destination(Ipv4Net),
    /// Destination address not within.
    NotDestination(Ipv4Net),
    /// IP protocol: 1 ICMP, 6 TCP, 17 UDP.
    Protocol(u8),
    /// Destination port of TCP or UDP.
    DestinationPort(u16),
    /// Source port of TCP or UDP.
    SourcePort(u16),
    /// Not the first fragment, or one to come after.
    Fragment,
    /// The mark under a mask equals.
    Mark {
        /// Value to compare with.
        value: u32,
        /// Bits to look at.
        mask: u32,
    },
    /// The flow is in one of these states.
    Conntrack(ConntrackState),
    /// The flow's destination was translated.
    DestinationTranslated,
    /// A random one in `of` packets: `equals` of `0..of`.
    OneOf {
        /// The number that matches.
        equals: u32,
        /// How many numbers there are.
        of: u32,
    },
    /// Count.
    Counter,
    /// Report to the lab's drop log under this name.
    LogDrop(String),
    /// Set bits of the mark: `mark = mark & !mask | value`.
    SetMark {
        /// Bits to set.
        value: u32,
        /// Bits to clear first.
        mask: u32,
    },
    /// Translate the source.
    Snat {
        /// To this address.
        to: Ipv4Addr,
        /// Each flow gets a random port of its own, instead of keeping its port where that is free.
        random: bool,
    },
    /// Translate the source to the address of the interface it leaves by.
    Masquerade,
    /// Translate the destination.
    Dnat {
        /// To this address.
        to: Ipv4Addr,
        /// And this port; none to keep it.
        port: Option<u16>,
    },
    /// Answer with an ICMP error and drop.
    Reject(IcmpUnreachable),
    /// Answer with a TCP reset and drop.
    RejectTcp,
    /// Go on in another chain and come back.
    Jump(String),
    /// Leave this chain.
    Return,
    /// Let pass.
    Accept,
    /// Drop without a word.
    Drop,
}

/// Which ICMP destination unreachable to answer with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IcmpUnreachable {
    /// Code 1.
    Host,
    /// Code 3.
    Port,
}

/// A set of conntrack states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConntrackState(u32);

impl ConntrackState {
    /// The packet fits no flow.
    pub const INVALID: Self = Self(1);
    /// The flow was answered.
    pub const ESTABLISHED: Self = Self(2);
    /// It belongs to another flow, as an ICMP error does.
    pub const RELATED: Self = Self(4);
    /// It begins a flow.
    pub const NEW: Self = Self(8);

    /// This or that.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Register all single values go through.
const REGISTER: u32 = 1;
/// Second register, for a port beside an address.
const PORT_REGISTER: u32 = 2;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const NLA_F_NESTED: u16 = 1 << 15;

const META_PROTOCOL: u32 = 1;
const META_MARK: u32 = 3;
const META_IIFNAME: u32 = 6;
const META_OIFNAME: u32 = 7;
const META_L4PROTO: u32 = 16;

const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;

/// nf_conntrack_common.h, IPS_DST_NAT.
const IPS_DST_NAT: u32 = 1 << 5;
/// nf_nat.h, NF_NAT_RANGE_PROTO_RANDOM_FULLY.
const RANDOM_FULLY: u32 = 1 << 4;

fn number(kind: u16, value: u32) -> DefaultNla {
    DefaultNla::new(kind, value.to_be_bytes().to_vec())
}

fn string(kind: u16, text: &str) -> DefaultNla {
    let mut value = text.as_bytes().to_vec();
    value.push(0);
    DefaultNla::new(kind, value)
}

fn nested(kind: u16, inner: &[DefaultNla]) -> DefaultNla {
    use netlink_packet_core::Emitable as _;
    let mut value = vec![0; inner.buffer_len()];
    inner.emit(&mut value);
    DefaultNla::new(kind | NLA_F_NESTED, value)
}

fn data(kind: u16, value: &[u8]) -> DefaultNla {
    nested(kind, &[DefaultNla::new(1, value.to_vec())])
}

fn expression(name: &str, attributes: Vec<DefaultNla>) -> Expression {
    Expressions::Other { expression_type: name.to_owned(), attributes }
}

fn load_meta(key: u32) -> Expression {
    expression("meta", vec![number(1, REGISTER), number(2, key)])
}

fn load_payload(base: u32, offset: u32, length: u32) -> Expression {
    expression("payload", vec![number(1, REGISTER), number(2, base), number(3, offset), number(4, length)])
}

fn compare(operator: u32, value: &[u8]) -> Expression {
    expression("cmp", vec![number(1, REGISTER), number(2, operator), data(3, value)])
}

fn bitwise(mask: &[u8], xor: &[u8]) -> Expression {
    expression(
        "bitwise",
        vec![number(1, REGISTER), number(2, REGISTER), number(3, mask.len() as u32), data(4, mask), data(5, xor)],
    )
}

fn immediate(register: u32, value: &[u8]) -> Expression {
    expression("immediate", vec![number(1, register), data(2, value)])
}

fn verdict(code: i32, chain: Option<&str>) -> Expression {
    let mut inner = vec![number(1, code.cast_unsigned())];
    inner.extend(chain.map(|name| string(2, name)));
    // NFTA_DATA_VERDICT inside NFTA_IMMEDIATE_DATA, into the verdict register.
    expression("immediate", vec![number(1, 0), nested(2, &[nested(2, &inner)])])
}

fn interface(key: u32, operator: u32, name: &str) -> Vec<Expression> {
    // Without the closing NUL only as many bytes are compared: a prefix.
    let value = match name.strip_suffix('*') {
        Some(prefix) => prefix.as_bytes().to_vec(),
        None => {
            let mut value = name.as_bytes().to_vec();
            value.resize(16, 0);
            value
        }
    };
    vec![load_meta(key), compare(operator, &value)]
}

fn address(offset: u32, operator: u32, net: Ipv4Net) -> Vec<Expression> {
    let mut expressions = vec![load_payload(NETWORK_HEADER, offset, 4)];
    if net.prefix_len() < 32 {
        expressions.push(bitwise(&net.netmask().octets(), &[0; 4]));
    }
    expressions.push(compare(operator, &net.network().octets()));
    expressions
}

fn nat(kind: u32, to: Ipv4Addr, port: Option<u16>, flags: u32) -> Vec<Expression> {
    const IPV4: u32 = 2;
    let mut expressions = vec![immediate(REGISTER, &to.octets())];
    let mut attributes = vec![number(1, kind), number(2, IPV4), number(3, REGISTER)];
    if let Some(port) = port {
        expressions.push(immediate(PORT_REGISTER, &port.to_be_bytes()));
        attributes.push(number(5, PORT_REGISTER));
    }
    if flags != 0 {
        attributes.push(number(7, flags));
    }
    expressions.push(expression("nat", attributes));
    expressions
}

impl Statement {
    /// What it compiles to.
    pub(super) fn expressions(&self) -> Vec<Expression> {
        match self {
            Self::Input(name) => interface(META_IIFNAME, EQUAL, name),
            Self::NotInput(name) => interface(META_IIFNAME, NOT_EQUAL, name),
            Self::Output(name) => interface(META_OIFNAME, EQUAL, name),
            Self::NotOutput(name) => interface(META_OIFNAME, NOT_EQUAL, name),
            Self::Ipv4 => vec![load_meta(META_PROTOCOL), compare(EQUAL, &0x0800_u16.to_be_bytes())],
            Self::Source(net) => address(12, EQUAL, *net),
            Self::NotSource(net) => address(12, NOT_EQUAL, *net),
            Self::Destination(net) => address(16, EQUAL, *net),
            Self::NotDestination(net) => address(16, NOT_EQUAL, *net),
            Self::Protocol(protocol) => vec![load_meta(META_L4PROTO), compare(EQUAL, &[*protocol])],
            Self::DestinationPort(port) => {
                vec![load_payload(TRANSPORT_HEADER, 2, 2), compare(EQUAL, &port.to_be_bytes())]
            }
            Self::SourcePort(port) => vec![load_payload(TRANSPORT_HEADER, 0, 2), compare(EQUAL, &port.to_be_bytes())],
            Self::Fragment => vec![
                load_payload(NETWORK_HEADER, 6, 2),
                bitwise(&0x3fff_u16.to_be_bytes(), &[0; 2]),
                compare(NOT_EQUAL, &[0; 2]),
            ],
            Self::Mark { value, mask } => {
                vec![load_meta(META_MARK), bitwise(&mask.to_ne_bytes(), &[0; 4]), compare(EQUAL, &value.to_ne_bytes())]
            }
            Self::Conntrack(ConntrackState(bits)) => vec![
                expression("ct", vec![number(1, REGISTER), number(2, 0)]),
                bitwise(&bits.to_ne_bytes(), &[0; 4]),
                compare(NOT_EQUAL, &[0; 4]),
            ],
            Self::DestinationTranslated => vec![
                expression("ct", vec![number(1, REGISTER), number(2, 2)]),
                bitwise(&IPS_DST_NAT.to_ne_bytes(), &[0; 4]),
                compare(NOT_EQUAL, &[0; 4]),
            ],
            Self::OneOf { equals, of } => vec![
                expression("numgen", vec![number(1, REGISTER), number(2, *of), number(3, 1)]),
                compare(EQUAL, &equals.to_ne_bytes()),
            ],
            Self::Counter => {
                vec![expression("counter", vec![DefaultNla::new(1, vec![0; 8]), DefaultNla::new(2, vec![0; 8])])]
            }
            Self::LogDrop(name) => vec![expression(
                "log",
                vec![DefaultNla::new(1, DROP_LOG_GROUP.to_be_bytes().to_vec()), string(2, name), number(3, 256)],
            )],
            Self::SetMark { value, mask } => vec![
                load_meta(META_MARK),
                bitwise(&(!mask).to_ne_bytes(), &value.to_ne_bytes()),
                expression("meta", vec![number(2, META_MARK), number(3, REGISTER)]),
            ],
            Self::Snat { to, random } => nat(0, *to, None, if *random { RANDOM_FULLY } else { 0 }),
            Self::Masquerade => vec![expression("masq", Vec::new())],
            Self::Dnat { to, port } => nat(1, *to, *port, 0),
            Self::Reject(unreachable) => {
                let code = match unreachable {
                    IcmpUnreachable::Host => 1,
                    IcmpUnreachable::Port => 3,
                };
                vec![expression("reject", vec![number(1, 0), DefaultNla::new(2, vec![code])])]
            }
            Self::RejectTcp => vec![expression("reject", vec![number(1, 1)])],
            Self::Jump(chain) => vec![verdict(-3, Some(chain))],
            Self::Return => vec![verdict(-5, None)],
            Self::Accept => vec![verdict(1, None)],
            Self::Drop => vec![verdict(0, None)],
        }
    }
}

/// Packets and bytes of a counter expression.
pub(super) fn counter_values(element: &ListAttribute<ExpressionAttribute>) -> Option<(u64, u64)> {
    let ListAttribute::Element(attributes) = element else { return None };
    let attributes = attributes.iter().find_map(|attribute| match attribute {
        ExpressionAttribute::Data(Expressions::Other { expression_type, attributes })
            if expression_type == "counter" =>
        {
            Some(attributes)
        }
        _ => None,
    })?;
    let value = |kind: u16| {
        let attribute = attributes.iter().find(|attribute| attribute.kind() == kind)?;
        let mut bytes = [0; 8];
        (attribute.value_len() == 8).then(|| attribute.emit_value(&mut bytes))?;
        Some(u64::from_be_bytes(bytes))
    };
    Some((value(2)?, value(1)?))
}
