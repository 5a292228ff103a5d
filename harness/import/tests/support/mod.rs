//! Outputs of a cluster of two nodes that meet over Tailscale alone, as iproute2 6.1, kubectl and a sysdump print them.
#![allow(dead_code, unreachable_pub, reason = "each test target uses its own part")]

use std::io::{Cursor, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use import::{Error, Files, Imported, Options};
use topology::Network;
use topology::source::Source;
use zip::write::SimpleFileOptions;

pub const TIME: &str = "20250101-120000";

/// A node of the cluster.
#[derive(Clone)]
pub struct Machine {
    pub name: &'static str,
    pub pod: &'static str,
    pub own: &'static str,
    pub overlay: &'static str,
    pub peer: &'static str,
    pub public: &'static str,
    pub pods: &'static str,
}

pub const MASTER: Machine = Machine {
    name: "master",
    pod: "cilium-4xkzp",
    own: "10.0.0.239",
    overlay: "100.64.0.1",
    peer: "100.64.0.2",
    public: "168.107.2.60",
    pods: "10.244.0.0/24",
};

pub const WORKER: Machine = Machine {
    name: "worker",
    pod: "cilium-v9d2t",
    own: "10.0.0.24",
    overlay: "100.64.0.2",
    peer: "100.64.0.1",
    public: "168.107.2.61",
    pods: "10.244.1.0/24",
};

impl Machine {
    /// `ip a`
    pub fn addresses(&self) -> String {
        format!(
            "\
1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
    inet6 ::1/128 scope host\x20
       valid_lft forever preferred_lft forever
2: enp0s6: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 9000 qdisc mq state UP group default qlen 1000
    link/ether 02:00:17:0a:7a:b6 brd ff:ff:ff:ff:ff:ff
    inet {}/24 metric 100 brd 10.0.0.255 scope global dynamic enp0s6
       valid_lft 85398sec preferred_lft 85398sec
    inet6 fe80::17ff:fe0a:7ab6/64 scope link\x20
       valid_lft forever preferred_lft forever
3: tailscale0: <POINTOPOINT,MULTICAST,NOARP,UP,LOWER_UP> mtu 1280 qdisc pfifo_fast state UNKNOWN group default qlen 500
    link/none\x20
    inet {}/32 scope global tailscale0
       valid_lft forever preferred_lft forever
4: cilium_net@cilium_host: <BROADCAST,MULTICAST,NOARP,UP,LOWER_UP> mtu 1280 qdisc noqueue state UP group default qlen 1000
    link/ether e6:d6:be:08:69:64 brd ff:ff:ff:ff:ff:ff
5: cilium_host@cilium_net: <BROADCAST,MULTICAST,NOARP,UP,LOWER_UP> mtu 1280 qdisc noqueue state UP group default qlen 1000
    link/ether c6:5e:4e:7c:e3:98 brd ff:ff:ff:ff:ff:ff
    inet 10.244.0.244/32 scope global cilium_host
       valid_lft forever preferred_lft forever
6: cilium_vxlan: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1280 qdisc noqueue state UNKNOWN group default qlen 1000
    link/ether 16:a7:1a:eb:70:9f brd ff:ff:ff:ff:ff:ff
10: lxcfc15c81300bf@if9: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1280 qdisc noqueue state UP group default qlen 1000
    link/ether 56:f7:53:df:75:37 brd ff:ff:ff:ff:ff:ff link-netnsid 0
",
            self.own, self.overlay
        )
    }

    /// `ip -d -s l`, in short.
    pub fn links(&self) -> String {
        "\
2: enp0s6: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 9000 qdisc mq state UP mode DEFAULT group default qlen 1000
    link/ether 02:00:17:0a:7a:b6 brd ff:ff:ff:ff:ff:ff promiscuity 0  allmulti 0 minmtu 68 maxmtu 65535 addrgenmode eui64
    RX:  bytes packets errors dropped  missed   mcast\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20\x20
            90       1      0       0       0       0\x20
3: tailscale0: <POINTOPOINT,MULTICAST,NOARP,UP,LOWER_UP> mtu 1280 qdisc pfifo_fast state UNKNOWN mode DEFAULT group default
    link/none  promiscuity 0  allmulti 0 minmtu 68 maxmtu 65535\x20
    tun type tun pi off vnet_hdr on persist off addrgenmode random numtxqueues 1 numrxqueues 1
"
        .to_owned()
    }

    /// `ip -4 r`
    pub fn routes(&self) -> String {
        format!(
            "\
default via 10.0.0.1 dev enp0s6 proto dhcp src {own} metric 100\x20
10.0.0.0/24 dev enp0s6 proto kernel scope link src {own} metric 100\x20
10.0.0.1 dev enp0s6 proto dhcp scope link src {own} metric 100\x20
10.244.0.0/24 via 10.244.0.244 dev cilium_host proto kernel src 10.244.0.244\x20
10.244.0.244 dev cilium_host proto kernel scope link\x20
169.254.0.0/16 dev enp0s6 proto dhcp scope link src {own} metric 100\x20
",
            own = self.own
        )
    }

    /// `ip -4 route show table 52`
    pub fn table_52(&self) -> String {
        format!("{} dev tailscale0 \n100.100.100.100 dev tailscale0 \n", self.peer)
    }

    /// `ip rule`
    pub fn rules(&self) -> String {
        "\
9:	from all fwmark 0x200/0xf00 lookup 2004
100:	from all lookup local
5210:	from all fwmark 0x80000/0xff0000 lookup main
5230:	from all fwmark 0x80000/0xff0000 lookup default
5250:	from all fwmark 0x80000/0xff0000 unreachable
5270:	from all lookup 52
32766:	from all lookup main
32767:	from all lookup default
"
        .to_owned()
    }

    fn node(&self) -> String {
        let role = if self.name == "master" { "\n      node-role.kubernetes.io/control-plane: \"\"" } else { "" };
        format!(
            "\
- metadata:
    name: {name}
    labels:
      kubernetes.io/os: linux{role}
  spec:
    podCIDR: {pods}
    podCIDRs:
    - {pods}
  status:
    addresses:
    - address: {overlay}
      type: InternalIP
    - address: {public}
      type: ExternalIP
    - address: {name}
      type: Hostname
",
            name = self.name,
            pods = self.pods,
            overlay = self.overlay,
            public = self.public
        )
    }

    fn cilium_node(&self) -> String {
        format!(
            "\
- metadata:
    name: {}
  spec:
    addresses:
    - ip: {}
      type: InternalIP
    - ip: 10.244.0.244
      type: CiliumInternalIP
    ipam:
      podCIDRs:
      - {}
",
            self.name, self.overlay, self.pods
        )
    }
}

pub const CONFIG_MAP: &str = "\
apiVersion: v1
data:
  bpf-map-dynamic-size-ratio: \"0.0025\"
  cluster-pool-ipv4-cidr: 10.244.0.0/16
  devices: enp0s6
  enable-bpf-masquerade: \"true\"
  enable-ipv4-masquerade: \"true\"
  hubble-tls-key-file: /var/lib/cilium/tls/hubble/server.key
  kube-proxy-replacement: \"true\"
  routing-mode: tunnel
  tunnel-protocol: vxlan
kind: ConfigMap
metadata:
  name: cilium-config
  namespace: kube-system
";

const SERVICES: &str = "\
apiVersion: v1
items:
- metadata: {name: kubernetes, namespace: default}
  spec: {clusterIP: 10.96.0.1}
- metadata: {name: kube-dns, namespace: kube-system}
  spec: {clusterIP: 10.96.0.10}
kind: ServiceList
";

const ENDPOINTS: &str = "\
apiVersion: v1
items:
- metadata: {name: kubernetes, namespace: default}
  subsets: [{addresses: [{ip: 100.64.0.1}]}]
kind: EndpointsList
";

const STATUS: &str = "\
KVStore:                 Disabled
Routing:                 Network: Tunnel [vxlan]   Host: BPF
Masquerading:            BPF   [enp0s6]   10.244.0.0/24 [IPv4: Enabled, IPv6: Disabled]
";

/// Files of the cluster's objects, as a sysdump calls them.
pub fn objects() -> Vec<(String, String)> {
    let both = [MASTER, WORKER];
    let list = |kind: &str, items: String| format!("apiVersion: v1\nitems:\n{items}kind: {kind}\n");
    let pods = both.iter().map(|machine| {
        format!(
            "- metadata: {{name: {}, labels: {{k8s-app: cilium}}}}\n  spec:\n    nodeName: {}\n    containers:\n    - {{name: cilium-agent, \
             image: \"quay.io/cilium/cilium:v1.18.2@sha256:858f807ea4e2\"}}\n",
            machine.pod, machine.name
        )
    });
    vec![
        (format!("k8s-nodes-{TIME}.yaml"), list("NodeList", both.iter().map(Machine::node).collect())),
        (format!("ciliumnodes-{TIME}.yaml"), list("CiliumNodeList", both.iter().map(Machine::cilium_node).collect())),
        (format!("k8s-pods-{TIME}.yaml"), list("PodList", pods.collect())),
        (format!("cilium-configmap-{TIME}.yaml"), CONFIG_MAP.to_owned()),
        (format!("k8s-services-{TIME}.yaml"), SERVICES.to_owned()),
        (format!("k8s-endpoints-{TIME}.yaml"), ENDPOINTS.to_owned()),
    ]
}

/// The files of a bugtool's folder.
pub fn bugtool(machine: &Machine) -> Vec<(String, String)> {
    [
        ("ip-a.md", machine.addresses()),
        ("ip--d--s-l.md", machine.links()),
        ("ip--4-r.md", machine.routes()),
        ("ip--4-route-show-table-52.md", machine.table_52()),
        ("ip-rule.md", machine.rules()),
        ("hostname.md", format!("{}\n", machine.name)),
        ("cilium-dbg-status---verbose.md", STATUS.to_owned()),
        ("iptables-save--c.md", "*nat\n".to_owned()),
    ]
    .map(|(file, text)| (format!("cmd/{file}"), text))
    .into()
}

/// Whether a sysdump leaves bugtools' archives as they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bugtools {
    Unpacked,
    Archives,
}

/// A whole sysdump.
pub fn sysdump(bugtools: Bugtools) -> Vec<u8> {
    let folder = format!("cilium-sysdump-{TIME}");
    let mut files: Vec<(String, Vec<u8>)> =
        objects().into_iter().map(|(file, text)| (format!("{folder}/{file}"), text.into_bytes())).collect();
    for machine in [MASTER, WORKER] {
        let name = format!("cilium-bugtool-{}-{TIME}", machine.pod);
        match bugtools {
            Bugtools::Unpacked => {
                let inner = bugtool(&machine).into_iter();
                files.extend(inner.map(|(file, text)| (format!("{folder}/{name}/{file}"), text.into_bytes())));
            }
            Bugtools::Archives => {
                let inside = bugtool(&machine).into_iter().map(|(file, text)| (format!("{name}/{file}"), text.into()));
                files.push((format!("{folder}/{name}.tar.gz"), gzip(&tar(inside.collect()))));
            }
        }
    }
    files.push((format!("{folder}/logs-{}-cilium-agent-{TIME}.log", MASTER.pod), b"level=info".to_vec()));
    zip(files)
}

pub fn zip(files: Vec<(String, Vec<u8>)>) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (path, bytes) in files {
        writer.start_file(path, SimpleFileOptions::default()).expect("a zip in memory");
        writer.write_all(&bytes).expect("a zip in memory");
    }
    writer.finish().expect("a zip in memory").into_inner()
}

pub fn tar(files: Vec<(String, Vec<u8>)>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        // Set by hand: the library refuses names that lead elsewhere.
        let name = &mut header.as_old_mut().name;
        name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        builder.append(&header, &bytes[..]).expect("a tar in memory");
    }
    builder.into_inner().expect("a tar in memory")
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("a gzip in memory");
    encoder.finish().expect("a gzip in memory")
}

pub fn options() -> Options {
    Options { name: "lab".to_owned(), topology_path: "../topologies/lab.yaml".to_owned(), ..Options::default() }
}

/// Imports files by name.
pub fn import(files: &[(String, Vec<u8>)], options: &Options) -> Result<Imported, Error> {
    let mut taken = Files::new();
    for (path, bytes) in files {
        taken.add(path, true, Cursor::new(&bytes[..]));
    }
    import::import(taken, options)
}

pub fn network(imported: &Imported) -> Network {
    let source = Source::from_bytes("lab.yaml", imported.topology.as_bytes()).expect("text");
    topology::parse(&source).unwrap_or_else(|wrong| panic!("{wrong}\n{}", imported.topology))
}
