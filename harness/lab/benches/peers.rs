//! How long a star takes here, raw, and in the tools people build networks with: `scripts/bench/run`.
//!
//! Every tool builds the same: a bridge with an address in a namespace, and N namespaces with an interface each on it,
//! an address, a default route. The peers then ping from the first node to the last, so that what was timed is known to
//! work. They are measured in turns, so that what else the machine does meets all. What is timed is building and letting
//! go, as the tool itself sees it: the start of an interpreter is not counted against anyone. Speed is told, never
//! asserted.

#[path = "labs/floor.rs"]
mod floor;
#[path = "peers/plot.rs"]
mod plot;
#[path = "peers/table.rs"]
mod table;
#[path = "peers/tool.rs"]
mod tool;

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use clap::Parser;
use tokio::runtime::Runtime;

use tool::{Times, Tool};

/// Stars of several sizes, built by this project and by its peers.
#[derive(Parser)]
struct Arguments {
    /// How many nodes the stars have.
    #[arg(long, value_delimiter = ',', default_value = "6,50,200")]
    nodes: Vec<usize>,
    /// How often each star is built by each tool.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// A tool that took longer than this for a star, in seconds, is not asked for a larger one, and for this one once.
    #[arg(long, default_value_t = 20)]
    patience: u64,
    /// The folder with the peers' programs.
    #[arg(long, value_name = "FOLDER")]
    peers: Option<PathBuf>,
    /// Where the same is drawn as an SVG; without it nothing is written.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Once, with the smallest star only.
    #[arg(long)]
    test: bool,
    /// What `cargo bench` adds.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What a tool took for the stars of one size.
struct Cell {
    nodes: usize,
    times: Vec<Times>,
}

/// A tool and what it took.
struct Row {
    tool: Tool,
    cells: Vec<Cell>,
    /// How often it failed; once may be chance.
    failures: usize,
    /// Why there is nothing more.
    ended: Option<String>,
}

fn main() {
    let mut arguments = Arguments::parse();
    if arguments.test {
        arguments.nodes = arguments.nodes.iter().copied().min().into_iter().collect();
        arguments.rounds = 1;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let peers = arguments.peers.clone().unwrap_or_else(|| root.join("scripts/bench/peers"));
    let runtime = Runtime::new().expect("a runtime starts");
    let mut rows: Vec<_> =
        tool::all(&peers).into_iter().map(|tool| Row { tool, cells: Vec::new(), failures: 0, ended: None }).collect();
    arguments.nodes.sort_unstable();
    for &nodes in &arguments.nodes {
        for round in 0..arguments.rounds {
            for row in &mut rows {
                measure(row, &runtime, nodes, round, Duration::from_secs(arguments.patience));
            }
        }
    }
    println!("{}", table::of(&rows, &arguments.nodes));
    if let Some(file) = &arguments.plot
        && let Err(error) = plot::draw(&rows, file)
    {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn measure(row: &mut Row, runtime: &Runtime, nodes: usize, round: usize, patience: Duration) {
    if row.ended.is_some() {
        return;
    }
    let slow = |cell: &Cell| cell.times.iter().any(|times| times.build > patience);
    if row.cells.iter().any(|cell| slow(cell) && (round > 0 || cell.nodes < nodes)) {
        return;
    }
    match row.tool.star(runtime, nodes) {
        Ok(times) => {
            match row.cells.last_mut().filter(|cell| cell.nodes == nodes) {
                Some(cell) => cell.times.push(times),
                None => row.cells.push(Cell { nodes, times: vec![times] }),
            }
            // The kernel clears namespaces away behind the back of who let them go; the next one would wait for it.
            sleep(Duration::from_millis(15) * nodes as u32);
        }
        Err(reason) => {
            eprintln!("{}: {reason}", row.tool.name);
            row.failures += 1;
            if row.failures > 1 || row.cells.is_empty() {
                row.ended = Some(reason);
            }
        }
    }
}
