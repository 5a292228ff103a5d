//! `underlay report`: a saved report in another form.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use super::{Stop, place};
use crate::exit;
use crate::report::human;
use crate::report::paint::{Color, Paint};
use crate::report::render::{self, Form};

const EXAMPLES: &str = "\
Examples:
  underlay report report.json
  underlay report report.json --format html -o report.html
  underlay test --format json | underlay report - --format junit";

/// Render a saved JSON report in another form.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// What `underlay test --format json` wrote, or a `report.json` of `--report`; `-` for standard input.
    file: PathBuf,

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
    let name = args.file.display();
    let text =
        read(&args.file).map_err(|error| Stop::usage(format!("{name}: {error}"), "is it there, and readable?"))?;
    let report = render::read(&text).map_err(|error| {
        let help = match error {
            render::Unreadable::Version { .. } => "render it with the version of underlay that wrote it",
            _ => "`underlay test --format json` and `underlay test --report DIR` write reports",
        };
        Stop::usage(format!("{name}: {error}"), help)
    })?;
    let rendered = match args.format {
        Format::Human => {
            let paint = if args.output.is_some() { Paint(false) } else { color.for_stream(&io::stdout()) };
            human::render(&report, paint, place::width())
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
    Ok(exit::OK)
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
