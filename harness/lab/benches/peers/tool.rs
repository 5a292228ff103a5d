//! Who builds stars: this project, the raw floor, and programs that tell their times in a line of JSON.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lab::Lab;
use serde::Deserialize;
use tokio::runtime::Runtime;
use topology::generate::star;
use topology::network::Nat;

use crate::floor;

/// What one star took.
pub struct Times {
    pub build: Duration,
    /// Nothing is said of the floor's, which only closes its descriptors.
    pub close: Option<Duration>,
}

/// Somebody who builds stars.
pub struct Tool {
    pub name: &'static str,
    how: How,
}

enum How {
    Floor,
    Lab,
    Program(PathBuf),
}

/// The floor, this project, and each peer, in the table's order.
pub fn all(peers: &Path) -> Vec<Tool> {
    let program = |name: &'static str, file: &str| Tool { name, how: How::Program(peers.join(file)) };
    vec![
        Tool { name: "the same requests sent raw", how: How::Floor },
        Tool { name: "underlay", how: How::Lab },
        program("`ip -batch`", "ip-batch"),
        program("a shell script of `ip`", "shell"),
        program("mininet", "with-mininet"),
        program("munet", "with-munet"),
    ]
}

/// The last line a peer prints.
#[derive(Deserialize)]
struct Told {
    build_us: u64,
    close_us: u64,
}

impl Tool {
    /// Builds a star and lets it go.
    ///
    /// # Errors
    /// What the tool said; that it isn't there.
    pub fn star(&self, runtime: &Runtime, nodes: usize) -> Result<Times, String> {
        match &self.how {
            How::Floor => Ok(Times { build: floor::star(nodes), close: None }),
            How::Lab => lab_star(runtime, nodes),
            How::Program(program) => told(program, nodes),
        }
    }
}

fn lab_star(runtime: &Runtime, nodes: usize) -> Result<Times, String> {
    let mut network = star(nodes);
    network.vcns[0].nat = Nat::None;
    let network = Arc::new(network);
    runtime.block_on(async {
        let began = Instant::now();
        let lab = Lab::build(network).await.map_err(|error| error.to_string())?;
        let build = began.elapsed();
        let began = Instant::now();
        drop(lab);
        Ok(Times { build, close: Some(began.elapsed()) })
    })
}

/// Runs a peer where it finds nothing of the host's and leaves nothing: in network, mount and process namespaces of its
/// own.
fn told(program: &Path, nodes: usize) -> Result<Times, String> {
    const HERE: &str = r#"ip link set lo up && mkdir -p /run/netns && mount -t tmpfs none /run/netns && "$@""#;
    let output = Command::new("unshare")
        .args(["--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c", HERE, "sh"])
        .arg(program)
        .arg(nodes.to_string())
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("unshare: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let told = said.lines().last().and_then(|line| serde_json::from_str::<Told>(line).ok());
    match told {
        Some(told) if output.status.success() => {
            Ok(Times { build: Duration::from_micros(told.build_us), close: Some(Duration::from_micros(told.close_us)) })
        }
        _ => {
            let complaint = String::from_utf8_lossy(&output.stderr);
            Err(format!("{}: {}", output.status, complaint.lines().last().unwrap_or("said nothing")))
        }
    }
}
