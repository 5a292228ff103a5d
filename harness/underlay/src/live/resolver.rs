//! What a place's /etc/resolv.conf says.

use crate::case::Case;

/// Of a pod: cluster DNS, as kubelet writes it for `dnsPolicy: ClusterFirst` (pkg/kubelet/network/dns). Of all else:
/// the DNS server that the lab's machines use.
pub fn resolv_conf(case: &Case, is_pod: bool) -> String {
    let cluster = &case.cluster;
    match is_pod {
        true => format!(
            "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver {}\noptions ndots:5\n",
            cluster.dns_service()
        ),
        false => format!("nameserver {}\n", cluster.upstream_dns),
    }
}

/// The host's /etc/nsswitch.conf with names looked up as /etc/hosts and /etc/resolv.conf say, and by nobody else: a
/// daemon of the host would answer from the host's network.
pub fn nsswitch(hosts: &str) -> String {
    let mut text = String::new();
    for line in hosts.lines() {
        let line = if line.trim_start().starts_with("hosts:") { "hosts: files dns" } else { line };
        text.push_str(line);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_are_nobody_elses_affair() {
        let host = "passwd: files systemd\nhosts: mymachines resolve [!UNAVAIL=return] files dns\n# hosts: x";
        assert_eq!(super::nsswitch(host), "passwd: files systemd\nhosts: files dns\n# hosts: x\n");
    }
}
