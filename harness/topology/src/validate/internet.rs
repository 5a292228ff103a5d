//! The hosts on the internet.

use super::{MAX_HOSTS, addresses, claims::Claims, limit, names};
use crate::{
    file::{InternetFile, ServiceFile},
    network::{Internet, InternetHost, InternetService},
    source::Mistakes,
};

pub(super) fn read(file: &InternetFile, public: &mut Claims, mistakes: &mut Mistakes<'_>) -> Internet {
    if let Some((last, _)) = file.hosts.last() {
        limit(file.hosts.len(), MAX_HOSTS, "internet hosts", last.at, mistakes);
    }
    let mut hosts = Vec::new();
    for (name, host) in file.hosts.iter().take(MAX_HOSTS) {
        names::dns_name(name, mistakes);
        let mut serves = Vec::new();
        for service in &host.serves {
            let service_read = match service.value {
                ServiceFile::Dns => InternetService::Dns,
                ServiceFile::Http => InternetService::Http,
                ServiceFile::Https => InternetService::Https,
            };
            if serves.contains(&service_read) {
                mistakes.add(service.at, "this service is listed twice");
            } else {
                serves.push(service_read);
            }
        }
        if let Some(address) = addresses::address(&host.address, mistakes) {
            public.claim(address, host.address.at, format!("internet host `{name}`"), mistakes);
            hosts.push(InternetHost { name: name.value.clone(), address, serves });
        }
    }
    Internet { hosts }
}
