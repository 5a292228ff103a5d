//! A node image of 2 MB, and of our own: enough of a node for the real kind to make a cluster of. There is no Kubernetes
//! in it, so nothing about Cilium can be learnt from it.

use std::fs;
use std::path::Path;

use kind::tools::{Call, Tool, Tools};
use tar::{Builder, EntryType, Header};

/// What kind is told to take.
pub const IMAGE: &str = "underlay-stub-node:1";

/// The programs of busybox' that scripts and kind call.
const APPLETS: [&str; 19] = [
    "cat", "chmod", "cp", "date", "echo", "env", "grep", "hostname", "ip", "ls", "mkdir", "mount", "mv", "rm", "sed",
    "sh", "sleep", "tee", "true",
];

/// Says what kind waits for, on either version of cgroups (kind 0.30, pkg/cluster/internal/providers/common/cgroups.go and
/// getNodesReadyRegex), and then nothing until it is told to end.
const ENTRYPOINT: &str = "#!/bin/sh
echo 'detected cgroup v1'
echo 'Reached target Multi-User System.'
trap 'exit 0' TERM INT RTMIN+3
while true; do sleep 1 & wait $!; done
";

/// Writes what the real one writes and others look for, as far as kind and this program read it.
const KUBEADM: &str = r#"#!/bin/sh
mkdir -p /etc/kubernetes/manifests /var/lib/kubelet
own=$(ip -4 -o address show dev eth0 | sed 's/.* inet \([0-9.]*\).*/\1/')
echo "KUBELET_KUBEADM_ARGS=\"--node-ip=$own --node-labels=\"" > /var/lib/kubelet/kubeadm-flags.env
[ "$1" = init ] || exit 0
advertised=$(sed -n 's/^ *advertise-address: //p' /kind/kubeadm.conf)
cat > /etc/kubernetes/manifests/kube-apiserver.yaml <<END
spec:
  containers:
  - command:
    - kube-apiserver
    - --advertise-address=${advertised:-$own}
END
cat > /etc/kubernetes/admin.conf <<END
apiVersion: v1
kind: Config
clusters: [{name: stub, cluster: {server: "https://$(hostname):6443"}}]
contexts: [{name: stub, context: {cluster: stub, user: stub}}]
current-context: stub
users: [{name: stub, user: {}}]
END
"#;

/// Takes everything and says nothing.
const SILENT: &str = "#!/bin/sh\ncat > /dev/null < /dev/null\n";

/// Remembers what it was asked.
const SYSTEMCTL: &str = "#!/bin/sh\necho \"$@\" >> /var/log/systemctl\n";

/// Why there can be no such image here.
pub fn missing() -> Option<String> {
    match busybox() {
        Some(_) => None,
        None => Some("no static busybox in /bin or /usr/bin: `apt-get install busybox-static`".to_owned()),
    }
}

/// Has docker take the image in.
pub async fn import(tools: &Tools, folder: &Path) -> Result<(), String> {
    let archive = folder.join("node.tar");
    write(&archive).map_err(|error| error.to_string())?;
    let call =
        Call::new(Tool::Docker, ["import", "--change", r#"ENTRYPOINT ["/usr/local/bin/entrypoint","/sbin/init"]"#])
            .with(["--change", "ENV PATH=/usr/local/bin:/bin"])
            .with([archive.display().to_string(), IMAGE.to_owned()]);
    tools.run(&call).await.map(drop).map_err(|error| error.to_string())
}

fn busybox() -> Option<Vec<u8>> {
    let found = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find_map(|path| fs::read(path).ok())?;
    (!has_interpreter(&found)?).then_some(found)
}

/// Whether a program names who loads it (ELF-64, little endian: a program header of type PT_INTERP): the image has nobody
/// who would.
fn has_interpreter(program: &[u8]) -> Option<bool> {
    const PT_INTERP: u64 = 3;
    let number = |at: usize, size: usize| -> Option<u64> {
        let bytes = program.get(at..at + size)?;
        Some(bytes.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    };
    let (start, size, count) = (number(0x20, 8)?, number(0x36, 2)?, number(0x38, 2)?);
    let kinds = (0..count).map(|index| number(usize::try_from(start + index * size).ok()?, 4));
    Some(kinds.collect::<Option<Vec<_>>>()?.contains(&PT_INTERP))
}

fn write(archive: &Path) -> std::io::Result<()> {
    let busybox = busybox().ok_or_else(|| std::io::Error::other("no static busybox"))?;
    let mut tar = Builder::new(fs::File::create(archive)?);
    for folder in ["dev", "etc", "kind/manifests", "proc", "run", "sys", "tmp", "usr/local/bin", "var/lib", "var/log"] {
        add(&mut tar, EntryType::Directory, folder, &[])?;
    }
    add(&mut tar, EntryType::Regular, "bin/busybox", &busybox)?;
    for applet in APPLETS {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        header.set_mode(0o777);
        tar.append_link(&mut header, format!("bin/{applet}"), "busybox")?;
    }
    let scripts = [
        ("entrypoint", ENTRYPOINT),
        ("kubeadm", KUBEADM),
        ("kubectl", SILENT),
        ("systemctl", SYSTEMCTL),
        ("crictl", SILENT),
    ];
    for (name, text) in scripts {
        add(&mut tar, EntryType::Regular, &format!("usr/local/bin/{name}"), text.as_bytes())?;
    }
    add(&mut tar, EntryType::Regular, "kind/version", b"v1.34.0\n")?;
    add(&mut tar, EntryType::Regular, "kind/manifests/default-storage.yaml", b"\n")?;
    tar.finish()
}

fn add(tar: &mut Builder<fs::File>, kind: EntryType, path: &str, content: &[u8]) -> std::io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(content.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, path, content)
}
