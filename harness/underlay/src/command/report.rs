//! `underlay report`: a saved report in another form.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::ValueHint;

use super::{Stop, place};
use crate::exit;
use crate::report::human;
use crate::report::merge::merge;
use crate::report::paint::{Color, Paint};
use crate::report::render::{self, Form};
use crate::report::schema::{Report, SCHEMA_FAMILY};

const EXAMPLES: &str = "\
Examples:
  underlay report report.json
  underlay report report.json --format html -o report.html
  underlay test --format json | underlay report - --format junit
  underlay report --merge reports -o joined.json --format json
                                       every share's report below a folder";

/// Folders in folders that are looked into.
const DEPTH: usize = 8;

/// Render a saved JSON report in another form, or join several.
///
/// Joined reports are held against each other: shares that are missing, cases that are there twice, and what differs
/// between kernels stand before the tables. Ends with 1 where something is missing or twice, else as the joined run
/// would have ended.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// What `underlay test --format json` wrote, or a `report.json` of `--report`; `-` for standard input. To be joined:
    /// several, and folders in which every such file is meant, however deep.
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::AnyPath)]
    files: Vec<PathBuf>,

    /// Join reports into one.
    #[arg(long)]
    merge: bool,

    /// The form.
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    /// Write it to this file, not to standard output.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Format {
    /// For people at a terminal.
    #[default]
    Human,
    /// JUnit XML, for CI systems.
    Junit,
    /// Markdown, for a step summary or a comment.
    Markdown,
    /// One page for a browser, with pictures.
    Html,
    /// For programs.
    Json,
}

pub(super) fn run(args: &Args, color: Color) -> Result<u8, Stop> {
    let report = match (args.files.as_slice(), args.merge) {
        ([file], false) => one(file)?,
        (files, true) => joined(files)?,
        (files, false) => {
            let message = format!("{} reports are named", files.len());
            return Err(Stop::usage(message, "--merge joins them into one"));
        }
    };
    let rendered = match args.format {
        Format::Human => {
            let paint = if args.output.is_some() { Paint(false) } else { color.for_stream(&io::stdout()) };
            let merge = report.merge.as_ref().map(|merge| merge.text(paint) + "\n").unwrap_or_default();
            merge + &human::render(&report, paint, place::width())
        }
        Format::Junit => Form::Junit.render(&report)?,
        Format::Markdown => Form::Markdown.render(&report)?,
        Format::Html => Form::Html.render(&report)?,
        Format::Json => Form::Json.render(&report)?,
    };
    match &args.output {
        Some(path) => write_aside(path, &rendered)?,
        None => io::stdout().write_all(rendered.as_bytes())?,
    }
    Ok(match &report.merge {
        Some(merge) if args.merge && !merge.is_whole() => exit::FAILED,
        Some(_) if args.merge => exit::of_run(&report.summary),
        _ => exit::OK,
    })
}

fn one(path: &Path) -> Result<Report, Stop> {
    render::read(&text_of(path)?).map_err(|error| unreadable(path, &error))
}

fn text_of(path: &Path) -> Result<String, Stop> {
    read(path).map_err(|error| Stop::usage(format!("{}: {error}", path.display()), "is it there, and readable?"))
}

fn unreadable(path: &Path, error: &render::Unreadable) -> Stop {
    let help = match error {
        render::Unreadable::Version { .. } => "render it with the version of underlay that wrote it",
        _ => "`underlay test --format json` and `underlay test --report DIR` write reports",
    };
    Stop::usage(format!("{}: {error}", path.display()), help)
}

/// All reports that are named or lie below a folder that is named. What lies there and is none doesn't matter.
fn joined(paths: &[PathBuf]) -> Result<Report, Stop> {
    let mut reports = Vec::new();
    for path in paths {
        if !path.is_dir() {
            reports.push((path.display().to_string(), one(path)?));
            continue;
        }
        let found = below(path, DEPTH).map_err(|error| Stop::usage(error.to_string(), "is it there, and readable?"))?;
        for path in found {
            let text = text_of(&path)?;
            match render::read(&text) {
                Err(render::Unreadable::NoReport) => {}
                Err(render::Unreadable::Json(_)) if !is_cut_off(&path, &text) => {}
                read => reports.push((path.display().to_string(), read.map_err(|error| unreadable(&path, &error))?)),
            }
        }
    }
    if let Some((file, _)) = reports.iter().find(|(_, report)| report.merge.is_some()) {
        let help = "what a joined one lacks would be lost; name those it was made of, and keep it out of their folder";
        return Err(Stop::usage(format!("{file}: it is joined already"), help));
    }
    if reports.is_empty() {
        return Err(Stop::usage("there is no report to join", "`underlay test --report DIR` writes report.json"));
    }
    Ok(merge(reports))
}

/// Whether what can't be read as JSON was to be a report: by its name, by how it begins, or it is empty.
fn is_cut_off(path: &Path, text: &str) -> bool {
    let begins = || text.chars().take(100).collect::<String>().contains(SCHEMA_FAMILY);
    path.file_name().is_some_and(|name| name == Form::Json.file()) || text.trim().is_empty() || begins()
}

/// Files below a folder that may be reports, in the order of their names.
fn below(folder: &Path, depth: usize) -> io::Result<Vec<PathBuf>> {
    let at = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", folder.display()));
    let entries = fs::read_dir(folder).map_err(at)?.collect::<io::Result<Vec<_>>>().map_err(at)?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.path();
        // Of a link what it leads to, if it leads anywhere.
        let Ok(kind) = fs::metadata(&path).map(|metadata| metadata.file_type()) else { continue };
        if kind.is_dir() {
            let Some(depth) = depth.checked_sub(1) else {
                let deeper = format!("{}: more than {DEPTH} folders deep: name it, too", path.display());
                return Err(io::Error::other(deeper));
            };
            files.extend(below(&path, depth)?);
        } else if kind.is_file() && path.extension().is_some_and(|kind| kind == "json") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> io::Result<String> {
    if path != Path::new("-") {
        return fs::read_to_string(path);
    }
    let mut text = String::new();
    io::stdin().read_to_string(&mut text)?;
    Ok(text)
}

/// Beside the file, then renamed, so that nobody reads half of it.
fn write_aside(path: &Path, text: &str) -> Result<(), Stop> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || {
        // Its error is the folder's; the other one would be of a file that nobody has heard of.
        fs::metadata(folder)?;
        let mut file = tempfile::Builder::new().prefix(".underlay-").permissions(public()).tempfile_in(folder)?;
        file.write_all(text.as_bytes())?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|error: io::Error| Stop::usage(format!("{}: {error}", path.display()), "can it be written there?"))
}

/// As a file that a shell makes: the umask takes from it.
fn public() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    fs::Permissions::from_mode(0o666)
}
