//! `underlay import`: a topology and a scenario out of a real cluster's outputs.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use import::{Error, Files, Imported, Networks, Options, Summary};
use topology::source::{Diagnostic, Diagnostics, Source};

use super::{Stop, place};
use crate::exit;
use crate::report::human::wrap;
use crate::report::paint::{Color, Paint};
use crate::scenario::{self, Overrides};

const EXAMPLES: &str = "\
Examples:
  cilium sysdump --output-filename dump && underlay import dump.zip --name mine
  underlay import outputs/ --name mine       a folder with the output of these:
    on each node, into NODE.json:
      (ip -j -d addr; ip -j -d link; ip -j -d route show table all; ip -j rule)
    kubectl get nodes,ciliumnodes -o json
    kubectl -n kube-system get configmap cilium-config -o json
    kubectl -n kube-system get pods -l k8s-app=cilium -o json

Writes topologies/NAME.yaml and scenarios/NAME.yaml. Public addresses are replaced; secrets are not read.";

/// How deep folders are looked through.
const DEEPEST: usize = 12;

/// Write a topology and a scenario that reproduce a real cluster's node networking.
///
/// Reads a `cilium sysdump` archive, or the output of `ip` and `kubectl`: files, folders, zip and tar archives of them.
/// What can't be known is guessed, and marked in the files with `# unknown:`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Archives, folders, files.
    #[arg(required = true)]
    paths: Vec<PathBuf>,

    /// What to call it: lower-case letters, digits and hyphens.
    #[arg(long, default_value = "imported", value_parser = name)]
    name: String,

    /// The folder to write to; `topologies` and `scenarios` in it are made where they are missing.
    #[arg(long, short, value_name = "FOLDER", default_value = ".")]
    output: PathBuf,

    /// Write over files that are there.
    #[arg(long)]
    force: bool,

    /// Give nodes new names, and interfaces that are named by their hardware address.
    #[arg(long)]
    anonymize: bool,

    /// The Cilium version, whatever the files say.
    #[arg(long, value_name = "VERSION")]
    cilium: Option<cilium::Version>,

    /// Whether interfaces of one subnet on several nodes are in one network, which no output tells.
    #[arg(long, value_enum, default_value_t)]
    networks: Choice,
}

#[derive(Debug, Clone, Copy, Default, clap::ValueEnum)]
enum Choice {
    /// They are, unless the nodes' node IPs are on an overlay.
    #[default]
    Auto,
    /// They are.
    Shared,
    /// Each node is in one of its own.
    Separate,
}

fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ends = text.starts_with('-') || text.ends_with('-');
    match text {
        "" => Err("it is empty".to_owned()),
        _ if text.len() > 63 => Err("it is longer than 63 characters".to_owned()),
        _ if ends || !text.chars().all(fits) => {
            Err("lower-case letters, digits and hyphens, as in `my-lab`".to_owned())
        }
        _ => Ok(text.to_owned()),
    }
}

pub(super) fn run(args: &Args, color: Color) -> Result<u8, Stop> {
    let topology = args.output.join("topologies").join(format!("{}.yaml", args.name));
    let scenario = args.output.join("scenarios").join(format!("{}.yaml", args.name));
    if let Some(there) = [&topology, &scenario].into_iter().find(|path| !args.force && path.exists()) {
        let help = "choose another `--name` or `--output`, or say `--force`";
        return Err(Stop::usage(format!("{} is there already", there.display()), help));
    }
    let options = Options {
        name: args.name.clone(),
        topology_path: format!("../topologies/{}.yaml", args.name),
        anonymize: args.anonymize,
        version: args.cilium.clone(),
        networks: match args.networks {
            Choice::Auto => Networks::Auto,
            Choice::Shared => Networks::Shared,
            Choice::Separate => Networks::Separate,
        },
    };
    let imported = match import::import(gather(&args.paths), &options) {
        Ok(imported) => imported,
        Err(error) => return Err(refused(error, &args.paths)),
    };
    write(&topology, &imported.topology)?;
    write(&scenario, &imported.scenario)?;
    let checked = check(&scenario);
    tell_problems(&imported, color)?;
    let paint = color.for_stream(&io::stdout());
    let text = told(&imported.summary, &topology, &scenario, checked.is_ok(), paint);
    io::stdout().write_all(text.as_bytes())?;
    checked.map_or_else(|mistakes| Err(Stop::Files(vec![mistakes])), |()| Ok(exit::OK))
}

/// All files of use that paths stand for.
fn gather(paths: &[PathBuf]) -> Files {
    let mut files = Files::new();
    for path in paths {
        look(path, true, 0, &mut files);
    }
    files
}

/// A file, or a folder with all below it. Links in folders aren't followed: a dump may hold any.
fn look(path: &Path, named: bool, depth: usize, files: &mut Files) {
    let name = path.to_string_lossy();
    let kind = if named { fs::metadata(path) } else { fs::symlink_metadata(path) };
    match kind {
        Err(error) => files.unreadable(&name, &error),
        Ok(kind) if kind.is_dir() && depth < DEEPEST => match fs::read_dir(path) {
            Err(error) => files.unreadable(&name, &error),
            Ok(entries) => {
                let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
                paths.sort();
                paths.iter().for_each(|path| look(path, false, depth + 1, files));
            }
        },
        Ok(kind) if kind.is_file() => match File::open(path) {
            Ok(file) => files.add(&name, named, file),
            Err(error) => files.unreadable(&name, &error),
        },
        Ok(kind) if named && !kind.is_dir() => {
            files.unreadable(&name, &io::Error::other("it is neither a file nor a folder"));
        }
        Ok(_) => {}
    }
}

fn refused(error: Error, paths: &[PathBuf]) -> Stop {
    match error {
        Error::Nothing { mut problems, looked_for } => {
            let named = paths.first().map_or_else(String::new, |path| path.display().to_string());
            let mut nothing = Diagnostic::of_file(named, "no node's links and addresses were found");
            nothing.help(format!("looked for, {looked_for}"));
            problems.push(nothing);
            Stop::Files(Diagnostics::from_list(problems).into_iter().collect())
        }
        Error::Invalid { mistakes, .. } => Stop::Files(vec![mistakes]),
    }
}

fn write(path: &Path, text: &str) -> Result<(), Stop> {
    let made = path.parent().map_or(Ok(()), fs::create_dir_all);
    made.and_then(|()| fs::write(path, text)).map_err(|error| {
        Stop::usage(format!("{} can't be written: {error}", path.display()), "choose another folder: `--output`")
    })
}

/// Whether what was written can be run.
fn check(path: &Path) -> Result<(), Diagnostics> {
    scenario::parse(&Source::read(path)?, &Overrides::default()).map(drop)
}

fn tell_problems(imported: &Imported, color: Color) -> io::Result<()> {
    let paint = color.for_stream(&io::stderr());
    let mut err = io::stderr().lock();
    if let Some(problems) = Diagnostics::from_list(imported.summary.problems.clone()) {
        writeln!(err, "{}\n", problems.render(paint.0))?;
    }
    Ok(())
}

/// The summary.
fn told(summary: &Summary, topology: &Path, scenario: &Path, sound: bool, paint: Paint) -> String {
    let width = place::width();
    let mut out = String::new();
    let mut list = |title: &str, lines: &[String]| {
        if lines.is_empty() {
            return;
        }
        let _ = writeln!(out, "{}", paint.strong(title));
        for line in lines {
            let parts = wrap(line, width.saturating_sub(6), &[' ']);
            let _ = writeln!(out, "  - {}", parts.join("\n    "));
        }
    };
    let mut read: Vec<String> = summary.read.iter().map(|(path, what)| format!("{path}: {what}")).collect();
    const SHOWN: usize = 12;
    if read.len() > SHOWN {
        let more = read.len() - SHOWN;
        read.truncate(SHOWN);
        read.push(format!("and {more} files more"));
    }
    if summary.of_no_use > 0 {
        read.push(format!("nothing of use in {} other files", summary.of_no_use));
    }
    let nodes = match &summary.nodes[..] {
        few if few.len() <= SHOWN => few.join(", "),
        many => format!("{} and {} more", many[..SHOWN].join(", "), many.len() - SHOWN),
    };
    list("read", &read);
    list("found", &[format!("nodes {nodes}"), format!("Cilium {}", summary.version)]);
    let replaced = match summary.replaced {
        0 => Vec::new(),
        count => vec![format!("{count} public addresses and networks, by others that are kept for documentation")],
    };
    list("replaced", &replaced);
    list("assumed (in the files: `# unknown:`)", &summary.unknown);
    list("left out (in the files: `# left out:`)", &summary.left_out);
    list("written", &[topology.display().to_string(), scenario.display().to_string()]);
    let scenario = scenario.display();
    let next = match sound {
        true => vec![
            format!("underlay plan {scenario}    what Cilium decides there, without building anything"),
            format!("underlay test {scenario}    whether its pods reach what they should"),
        ],
        false => vec![format!("mend what is wrong below, then: underlay check {scenario}")],
    };
    let _ = writeln!(out, "{}", paint.strong("next"));
    for line in next {
        let _ = writeln!(out, "  {line}");
    }
    out
}
