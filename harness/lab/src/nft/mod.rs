//! nftables without the `nft` program: a ruleset is put together here and loaded in one transaction.

mod log;
mod statement;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE};
use netlink_packet_netfilter::nftables::{
    ChainAttribute, ChainMessage, Expressions, Hook as HookAttribute, HookNumber, InetHookNumber, ListAttribute,
    NfTablesMessage, RuleAttribute, RuleMessage, TableAttribute, TableMessage,
};
use netlink_packet_netfilter::none::ControlMessage;
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};

use crate::error::Result;
use crate::namespace::Namespace;

pub use log::watch_drops;
pub(crate) use log::{INGRESS, SOURCE_CHECK};
pub use statement::{ConntrackState, IcmpUnreachable, Statement};

/// Resource id of nf_tables in a batch (linux/netfilter/nfnetlink.h).
const NFNL_SUBSYS_NFTABLES: u16 = 10;

/// The netlink group that rules with [`Statement::LogDrop`] log to.
pub(crate) const DROP_LOG_GROUP: u16 = 41;

/// Where in a packet's way a chain stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Before routing.
    Prerouting,
    /// To this host.
    Input,
    /// Through this host.
    Forward,
    /// From this host.
    Output,
    /// After routing.
    Postrouting,
}

/// What a base chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChainType {
    /// Drop, accept, mark.
    Filter,
    /// Translate addresses: sees the first packet of a flow only.
    Nat,
    /// Mark packets and route them again (output).
    Route,
}

/// A chain with its rules.
#[derive(Debug, Clone)]
pub struct Chain {
    name: String,
    base: Option<(ChainType, Hook, i32)>,
    rules: Vec<Rule>,
}

/// A rule: all its matches must hold, then its actions are taken in order.
#[derive(Debug, Clone)]
struct Rule {
    comment: Option<String>,
    statements: Vec<Statement>,
}

impl Chain {
    /// A chain that packets pass at `hook`; of several there, the one with the lowest priority is first.
    pub fn base(name: impl Into<String>, kind: ChainType, hook: Hook, priority: i32) -> Self {
        Self { name: name.into(), base: Some((kind, hook, priority)), rules: Vec::new() }
    }

    /// A chain that packets come to by [`Statement::Jump`] only.
    pub fn regular(name: impl Into<String>) -> Self {
        Self { name: name.into(), base: None, rules: Vec::new() }
    }

    /// Appends a rule.
    #[must_use]
    pub fn rule(mut self, statements: impl IntoIterator<Item = Statement>) -> Self {
        self.rules.push(Rule { comment: None, statements: statements.into_iter().collect() });
        self
    }

    /// Appends a rule that drops what matches, counts it, and reports it to the lab's drop log under `name`.
    #[must_use]
    pub fn drop_rule(mut self, name: &str, matches: impl IntoIterator<Item = Statement>) -> Self {
        let mut statements: Vec<_> = matches.into_iter().collect();
        statements.extend([Statement::Counter, Statement::LogDrop(name.to_owned()), Statement::Drop]);
        self.rules.push(Rule { comment: Some(name.to_owned()), statements });
        self
    }

    /// Appends a rule that counts under `name` what matches.
    #[must_use]
    pub fn count_rule(mut self, name: &str, matches: impl IntoIterator<Item = Statement>) -> Self {
        let mut statements: Vec<_> = matches.into_iter().collect();
        statements.push(Statement::Counter);
        self.rules.push(Rule { comment: Some(name.to_owned()), statements });
        self
    }
}

/// A table. Loading it replaces a table of the same name and family.
#[derive(Debug, Clone)]
pub struct Table {
    name: String,
    family: Family,
    chains: Vec<Chain>,
}

/// Which packets a table's chains see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Ipv4,
    Bridge,
}

impl Table {
    /// An empty table for IPv4 packets that are routed.
    pub fn ipv4(name: impl Into<String>) -> Self {
        Self { name: name.into(), family: Family::Ipv4, chains: Vec::new() }
    }

    /// An empty table for frames that pass a bridge.
    pub fn bridge(name: impl Into<String>) -> Self {
        Self { name: name.into(), family: Family::Bridge, chains: Vec::new() }
    }

    /// Appends a chain. A chain must come before those that jump to it.
    #[must_use]
    pub fn chain(mut self, chain: Chain) -> Self {
        self.chains.push(chain);
        self
    }

    fn family(&self) -> NetfilterProtoFamily {
        match self.family {
            Family::Ipv4 => NetfilterProtoFamily::IPv4,
            Family::Bridge => NetfilterProtoFamily::Bridge,
        }
    }

    /// Whether any of its rules reports drops.
    pub fn reports_drops(&self) -> bool {
        self.chains
            .iter()
            .flat_map(|chain| &chain.rules)
            .flat_map(|rule| &rule.statements)
            .any(|statement| matches!(statement, Statement::LogDrop(_)))
    }
}

/// A named rule's counter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// Table the rule is in.
    pub table: String,
    /// The name given to the rule.
    pub rule: String,
    /// Packets that matched.
    pub packets: u64,
    /// Bytes in them.
    pub bytes: u64,
}

fn message(family: NetfilterProtoFamily, inner: NfTablesMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(family, 0, 0), inner)
}

fn batch_edge(edge: ControlMessage) -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, NFNL_SUBSYS_NFTABLES), edge)
}

fn table_messages(table: &Table) -> Vec<NfTablesMessage> {
    let named = || TableMessage { attributes: vec![TableAttribute::Name(table.name.clone())] };
    // Create, delete, create: replaces the table whether or not it was there.
    let mut messages = vec![
        NfTablesMessage::NewTable(named()),
        NfTablesMessage::DeleteTable(named()),
        NfTablesMessage::NewTable(named()),
    ];
    for chain in &table.chains {
        let mut attributes = vec![ChainAttribute::Table(table.name.clone()), ChainAttribute::Name(chain.name.clone())];
        if let Some((kind, hook, priority)) = chain.base {
            let number = match hook {
                Hook::Prerouting => InetHookNumber::PreRouting,
                Hook::Input => InetHookNumber::LocalIn,
                Hook::Forward => InetHookNumber::Forward,
                Hook::Output => InetHookNumber::LocalOut,
                Hook::Postrouting => InetHookNumber::PostRouting,
            };
            attributes.push(ChainAttribute::Hook(vec![
                HookAttribute::Number(HookNumber::Inet(number)),
                HookAttribute::Priority(priority.cast_unsigned()),
            ]));
            let kind = match kind {
                ChainType::Filter => "filter",
                ChainType::Nat => "nat",
                ChainType::Route => "route",
            };
            attributes.push(ChainAttribute::Type(kind.to_owned()));
        }
        messages.push(NfTablesMessage::NewChain(ChainMessage { attributes }));
    }
    for chain in &table.chains {
        for rule in &chain.rules {
            let expressions = rule.statements.iter().flat_map(Statement::expressions).map(ListAttribute::from);
            let mut attributes = vec![
                RuleAttribute::Table(table.name.clone()),
                RuleAttribute::Chain(chain.name.clone()),
                RuleAttribute::Expressions(expressions.collect()),
            ];
            if let Some(comment) = &rule.comment {
                attributes.push(RuleAttribute::UserData(comment_data(comment)));
            }
            messages.push(NfTablesMessage::NewRule(RuleMessage { attributes }));
        }
    }
    messages
}

/// A comment as `nft` writes it into a rule's user data: type 0, length with the closing NUL, text (libnftnl udata.h).
fn comment_data(comment: &str) -> Vec<u8> {
    let text = &comment.as_bytes()[..comment.len().min(127)];
    let mut data = vec![0, text.len() as u8 + 1];
    data.extend_from_slice(text);
    data.push(0);
    data
}

fn comment_of(data: &[u8]) -> Option<String> {
    let (&[0, length], rest) = data.split_first_chunk::<2>()? else { return None };
    let text = rest.get(..usize::from(length).checked_sub(1)?)?;
    Some(String::from_utf8_lossy(text).into_owned())
}

impl Namespace {
    /// Loads tables, all of them or none. The first time in a namespace this takes up to 25 ms, most of
    /// them waiting.
    ///
    /// # Errors
    /// The kernel refused: no nf_tables, or one of the expressions is unknown to it.
    pub fn load_nft(&self, tables: &[Table]) -> Result<()> {
        let mut messages = vec![(batch_edge(ControlMessage::BatchBegin), 0)];
        for table in tables {
            let family = table.family();
            messages.extend(table_messages(table).into_iter().map(|inner| {
                let flags = match inner {
                    NfTablesMessage::NewTable(_) | NfTablesMessage::NewChain(_) => NLM_F_CREATE,
                    // NLM_F_APPEND: at the chain's end, not its start.
                    NfTablesMessage::NewRule(_) => NLM_F_CREATE | netlink_packet_core::NLM_F_APPEND,
                    _ => 0,
                };
                (message(family, inner), flags | NLM_F_ACK)
            }));
        }
        messages.push((batch_edge(ControlMessage::BatchEnd), 0));
        let names: Vec<_> = tables.iter().map(|table| table.name.as_str()).collect();
        self.netfilter()?.batch(&format!("load nftables {}", names.join(", ")), messages)
    }

    /// Takes tables out, by their names, as far as they are there.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn unload_nft(&self, tables: &[Table]) -> Result<()> {
        let mut messages = vec![(batch_edge(ControlMessage::BatchBegin), 0)];
        for table in tables {
            // Made first, since one that isn't there can't be deleted.
            for inner in table_messages(table).into_iter().take(2) {
                let flags = if matches!(inner, NfTablesMessage::NewTable(_)) { NLM_F_CREATE } else { 0 };
                messages.push((message(table.family(), inner), flags | NLM_F_ACK));
            }
        }
        messages.push((batch_edge(ControlMessage::BatchEnd), 0));
        if tables.is_empty() { Ok(()) } else { self.netfilter()?.batch("delete nftables tables", messages) }
    }

    /// The counters of all rules that have a name.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn nft_counters(&self) -> Result<Vec<Counter>> {
        let mut counters = Vec::new();
        let request =
            message(NetfilterProtoFamily::Unspec, NfTablesMessage::GetRule(RuleMessage { attributes: Vec::new() }));
        self.netfilter()?.dump("list nftables rules", request, |answer: NetfilterMessage| {
            if let netlink_packet_netfilter::NetfilterMessageInner::NfTables(NfTablesMessage::NewRule(rule)) =
                answer.inner
                && let Some(counter) = counter_of(rule)
            {
                counters.push(counter);
            }
        })?;
        Ok(counters)
    }
}

fn counter_of(rule: RuleMessage) -> Option<Counter> {
    let mut counter = Counter { table: String::new(), rule: String::new(), packets: 0, bytes: 0 };
    let mut found = None;
    for attribute in rule.attributes {
        match attribute {
            RuleAttribute::Table(table) => counter.table = table,
            RuleAttribute::UserData(data) => counter.rule = comment_of(&data)?,
            RuleAttribute::Expressions(list) => found = list.iter().find_map(statement::counter_values),
            _ => {}
        }
    }
    (counter.packets, counter.bytes) = found?;
    (!counter.rule.is_empty()).then_some(counter)
}

/// All expressions of a rule as the netlink crate has them.
type Expression = Expressions;
