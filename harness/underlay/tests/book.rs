//! Every command in the book is run, a page at a time, and says what the page says.
//!
//! In a `console` block each line after `$ ` is run by `sh`, all of a page's in one folder where `scenarios`,
//! `topologies` and `docs` are at hand and what it writes is thrown away. Where a page shows what a command prints, that
//! is compared: `[…]` or `...` on a line of its own stands for any lines, `[..]` for any part of one, and no time needs to
//! come true. Where it shows nothing, the command must end with 0. Progress is not shown. A `text` block right below `<!-- underlay … -->` is
//! what that command prints. A block below `<!-- file: NAME -->` is that file, there from the start. A block below
//! `<!-- not run: reason -->` is left alone.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::LazyLock;

use libtest_mimic::{Arguments, Failed, Trial};
use regex::Regex;
use snapbox::{Assert, Data, IntoData};

/// What comes with the project that commands name.
const AT_HAND: [&str; 4] = ["scenarios", "topologies", "docs", "ci"];

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut pages = vec![root.join("README.md")];
    let book = fs::read_dir(root.join("docs")).expect("the book is there");
    pages.extend(book.filter_map(|entry| entry.ok().map(|entry| entry.path())));
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    let host = Command::new(env!("CARGO_BIN_EXE_underlay")).arg("doctor").output();
    let host = host.is_ok_and(|doctor| doctor.status.success());
    let trials = pages.into_iter().filter_map(|page| {
        let text = fs::read_to_string(&page).expect("a page can be read");
        let (commands, files) = (commands(&text), files(&text));
        let name = page.file_name()?.to_string_lossy().into_owned();
        (!commands.is_empty())
            .then(|| Trial::test(name, move || run_page(&page, &files, &commands)).with_ignored_flag(!host))
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

/// A command as a page has it.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    line: usize,
    command: String,
    /// What the page says it prints; empty if it says nothing.
    output: String,
}

/// A page's commands that are to be run, in order.
fn commands(page: &str) -> Vec<Shown> {
    let mut commands: Vec<Shown> = Vec::new();
    let mut comment = "";
    let mut block: Option<&str> = None;
    for (index, line) in page.lines().enumerate() {
        let shown = |command: &str| Shown { line: index + 1, command: command.to_owned(), output: String::new() };
        match block {
            None => {
                if let Some(kind) = line.trim_start().strip_prefix("```") {
                    block = Some(if comment.starts_with("not run:") { "left alone" } else { kind });
                    if kind == "text" && comment.starts_with("underlay ") {
                        commands.push(shown(comment));
                        block = Some("output");
                    }
                }
                comment =
                    line.trim().strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->")).unwrap_or_default();
                comment = comment.trim();
            }
            Some(_) if line.trim() == "```" => block = None,
            Some("console") if line.starts_with("$ ") => commands.push(shown(line.trim_start_matches("$ "))),
            Some("console") if line.starts_with("> ") => {
                if let Some(last) = commands.last_mut() {
                    last.command = format!("{}\n{}", last.command, line.trim_start_matches("> "));
                }
            }
            Some("console" | "output") => {
                if let Some(last) = commands.last_mut() {
                    last.output.push_str(if line == "[…]" { "..." } else { line });
                    last.output.push('\n');
                }
            }
            Some(_) => {}
        }
    }
    commands
}

/// A page's files, by name.
fn files(page: &str) -> Vec<(String, String)> {
    let shown = page.split("<!-- file: ").skip(1).filter_map(|rest| {
        let (name, rest) = rest.split_once(" -->\n")?;
        let (_, rest) = rest.strip_prefix("```")?.split_once('\n')?;
        let (text, _) = rest.split_once("```\n")?;
        Some((name.to_owned(), text.to_owned()))
    });
    shown.collect()
}

fn run_page(page: &Path, files: &[(String, String)], commands: &[Shown]) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let root = page.ancestors().find(|folder| folder.join("scenarios").is_dir()).ok_or("no project around the page")?;
    let here = folder.path().join("here");
    fs::create_dir(&here)?;
    for name in AT_HAND.into_iter().filter(|name| root.join(name).exists()) {
        symlink(root.join(name).canonicalize()?, here.join(name))?;
    }
    for (name, text) in files {
        fs::write(here.join(name), text)?;
    }
    let runtime = folder.path().join("run");
    fs::create_dir(&runtime)?;
    for shown in commands {
        let at = format!("{}:{}", page.display(), shown.line);
        run(shown, &here, &runtime).map_err(|wrong| format!("{at}: $ {}\n{wrong}", shown.command))?;
    }
    Ok(())
}

fn run(shown: &Shown, here: &Path, runtime: &Path) -> Result<(), String> {
    let command = shown.command.replace("cargo run --release -- ", "underlay ");
    let output = Command::new("sh")
        .args(["-c", &command])
        .current_dir(here)
        .env("PATH", path())
        .env("COLUMNS", "80")
        .env("NO_COLOR", "1")
        .env("XDG_RUNTIME_DIR", runtime)
        .env("XDG_CACHE_HOME", runtime)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let (status, mut printed) = (output.status, String::from_utf8_lossy(&output.stdout).into_owned());
    // Progress goes to standard error, and complaints, where there is nothing else.
    if printed.is_empty() {
        printed = String::from_utf8_lossy(&output.stderr).into_owned();
    }
    if shown.output.is_empty() {
        return if status.success() { Ok(()) } else { Err(format!("{status}:\n{printed}")) };
    }
    // 1: something asserted doesn't hold; 2: wrong use or files. The page shows it.
    if !matches!(status.code(), Some(0..=2)) {
        return Err(format!("{status}:\n{printed}"));
    }
    let expected = TIME.replace_all(&shown.output, "[..]").into_owned();
    let assert = Assert::new();
    assert.try_eq(None, text(printed), text(expected)).map_err(|difference| difference.to_string())
}

static TIME: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b\d+(\.\d+)? (µs|ms|s)\b").expect("it is one"));

fn text(text: String) -> Data {
    text.trim_end().to_owned().into_data()
}

/// With the program under test first.
fn path() -> OsString {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_underlay"));
    let mut path = OsString::from(program.parent().unwrap_or(Path::new(".")));
    if let Some(rest) = std::env::var_os("PATH") {
        path.push(":");
        path.push(rest);
    }
    path
}
