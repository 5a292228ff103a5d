//! The private networks.

use std::net::Ipv4Addr;

use indexmap::IndexMap;

use super::{MAX_VCNS, Vcns, addresses, claims::Claims, limit, names};
use crate::{
    file::{IngressFile, NatFile, VcnFile},
    network::{Ingress, Nat, Vcn},
    source::{Mistakes, Position, Spanned},
};

/// A VCN without mistakes, and what its interfaces take from it.
pub(super) struct ReadVcn {
    pub(super) vcn: Vcn,
    pub(super) at: Position,
    pub(super) mtu: u32,
}

/// MTU where neither interface nor VCN nor preset says.
pub(super) const DEFAULT_MTU: u32 = 1500;

pub(super) fn read(
    files: &IndexMap<Spanned<String>, VcnFile>,
    public: &mut Claims,
    mistakes: &mut Mistakes<'_>,
) -> Vcns {
    if let Some((last, _)) = files.last() {
        limit(files.len(), MAX_VCNS, "VCNs", last.at, mistakes);
    }
    let read = |(index, (name, file)): (usize, (&Spanned<String>, &VcnFile))| {
        let read = if index < MAX_VCNS { one(name, file, public, mistakes) } else { None };
        (name.value.clone(), read)
    };
    files.iter().enumerate().map(read).collect()
}

fn one(name: &Spanned<String>, file: &VcnFile, public: &mut Claims, mistakes: &mut Mistakes<'_>) -> Option<ReadVcn> {
    names::label(name, "a VCN's name", mistakes);
    let defaults = file.preset.as_ref().map(|preset| preset.defaults());
    let mtu = file.mtu.as_ref().map(|mtu| addresses::mtu(mtu, 68, mistakes));
    let cidr = addresses::network(&file.cidr, "a VCN's subnet", mistakes);
    let nat = nat(name, file, public, mistakes);
    let gateway = file.gateway.as_ref().map(|gateway| (gateway.at, addresses::address(gateway, mistakes)));
    let cidr = cidr?;
    let gateway = match gateway {
        None => cidr.hosts().next(),
        Some((_, None)) => None,
        Some((at, Some(gateway))) => {
            let inside = cidr.contains(&gateway) && gateway != cidr.network() && gateway != cidr.broadcast();
            if !inside {
                mistakes
                    .add(at, format!("the gateway {gateway} is no host in {cidr}"))
                    .related(file.cidr.at, "the VCN's subnet")
                    .help(format!("pick one from {}", addresses::range(cidr)));
            }
            inside.then_some(gateway)
        }
    };
    let vcn = Vcn {
        name: name.value.clone(),
        cidr,
        gateway: gateway?,
        nat: nat?,
        source_check: file.source_check.or(defaults.map(|defaults| defaults.source_check)).unwrap_or(false),
        ingress: match file.ingress.or(defaults.map(|defaults| defaults.ingress)) {
            Some(IngressFile::Allow) => Ingress::Allow,
            Some(IngressFile::Deny) | None => Ingress::Deny,
        },
    };
    let mtu = mtu.or(defaults.map(|defaults| defaults.mtu)).unwrap_or(DEFAULT_MTU);
    Some(ReadVcn { vcn, at: name.at, mtu })
}

fn nat(name: &Spanned<String>, file: &VcnFile, public: &mut Claims, mistakes: &mut Mistakes<'_>) -> Option<Nat> {
    let public_address = file.public_address.as_ref().map(|text| (text.at, addresses::address(text, mistakes)));
    let kind = file.nat.as_ref().map(|nat| nat.value);
    let Some(kind) = kind.or(file.preset.as_ref().map(|preset| preset.defaults().nat)) else {
        mistakes
            .add(name.at, format!("VCN `{name}` has neither `preset` nor `nat`"))
            .help("say what it imitates (`preset: oci`, `preset: home-router`), or how it translates (`nat: none`)");
        return None;
    };
    let mut shared = |nat: fn(Ipv4Addr) -> Nat| match public_address {
        Some((at, Some(address))) => {
            public.claim(address, at, format!("VCN `{name}`"), mistakes);
            Some(nat(address))
        }
        Some((_, None)) => None,
        None => {
            mistakes
                .add(name.at, format!("VCN `{name}` needs a `public-address`"))
                .help("with this kind of NAT all its nodes share one: `public-address: 203.0.113.7`");
            None
        }
    };
    let unshared = match kind {
        NatFile::EndpointIndependent => {
            return shared(|public_address| Nat::EndpointIndependent { public_address });
        }
        NatFile::EndpointDependent => return shared(|public_address| Nat::EndpointDependent { public_address }),
        NatFile::OneToOne => Nat::OneToOne,
        NatFile::None => Nat::None,
    };
    if let Some((at, _)) = public_address {
        let mistake = mistakes.add(at, format!("VCN `{name}` has no public address of its own"));
        match unshared {
            Nat::OneToOne => mistake.help("with one-to-one NAT each interface has one: move it there"),
            _ => mistake.help("it has no way to the internet (`nat: none`): leave it out"),
        };
    }
    Some(unshared)
}
