//! Text that a person wrote, read with limits, and the errors that point into it. For every YAML file of the project.

use std::{fs::File, io::Read, path::Path, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use serde_saphyr::Error as YamlError;

use crate::values::Values;
pub use crate::{
    diagnostic::{Diagnostic, Diagnostics, Related},
    spanned::{Position, Spanned},
    suggest::{choices, closest},
};

/// The largest file that is read, in bytes. A topology of 500 nodes is a tenth of it.
pub const MAX_BYTES: usize = 1 << 20;

/// The deepest nesting of lists and maps that is read.
pub const MAX_DEPTH: usize = 32;

/// The most YAML nodes (keys, values, lists, maps) that are read, aliases resolved.
pub const MAX_YAML_NODES: usize = 200_000;

/// So many mistakes are kept of one file; who makes more made one of them many times.
const MAX_MISTAKES: usize = 200;

/// A file's text, and the name that errors call it by.
#[derive(Debug, Clone)]
pub struct Source {
    file: String,
    text: Arc<str>,
}

impl Source {
    /// Reads a file.
    ///
    /// # Errors
    /// It can't be read, is larger than [`MAX_BYTES`], or isn't UTF-8.
    pub fn read(path: &Path) -> Result<Self, Diagnostics> {
        let file = path.display().to_string();
        let unreadable = |error: std::io::Error| {
            let mut diagnostic = Diagnostic::of_file(&file, format!("the file can't be read: {error}"));
            if path.is_dir() {
                diagnostic.help("it is a directory: name a file in it");
            }
            Diagnostics::from(diagnostic)
        };
        let mut bytes = Vec::new();
        // One byte more than the limit tells a file that is too large, whatever a pipe or a device says its size is.
        File::open(path)
            .and_then(|open| open.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes))
            .map_err(unreadable)?;
        Self::from_bytes(file, bytes)
    }

    /// Takes bytes as the text of a file of that name.
    ///
    /// # Errors
    /// They are more than [`MAX_BYTES`], or not UTF-8.
    pub fn from_bytes(file: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Result<Self, Diagnostics> {
        let (file, bytes) = (file.into(), bytes.into());
        if bytes.len() > MAX_BYTES {
            let mut diagnostic = Diagnostic::of_file(file, format!("the file is larger than {} KiB", MAX_BYTES / 1024));
            diagnostic.help("is it the right file? Nothing that is written by hand gets that large");
            return Err(diagnostic.into());
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { file, text: text.into() }),
            Err(error) => {
                let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                let before = String::from_utf8_lossy(valid);
                let line = before.matches('\n').count() as u32 + 1;
                let column = before.rsplit('\n').next().unwrap_or_default().chars().count() as u32 + 1;
                let mut diagnostic = Diagnostic::new(
                    &file,
                    // Nothing to quote: what is there can't be printed.
                    &Arc::default(),
                    Position { line, column, length: 1 },
                    format!("byte {:#04x} here isn't UTF-8", error.as_bytes()[valid.len()]),
                );
                diagnostic.help("save the file as UTF-8; if it is no text, it is the wrong file");
                Err(diagnostic.into())
            }
        }
    }

    /// What errors call the file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Its text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Reads its YAML, one document, as a value.
    ///
    /// `yes`, `no`, `on` and `off` are words, not booleans, as in YAML 1.2; a number with a leading zero is refused where
    /// one is needed and text elsewhere, since half the world's parsers read it as octal. Helm values are read otherwise,
    /// by [`values::read`](crate::values::read).
    ///
    /// # Errors
    /// The first thing that isn't YAML, or isn't what `T` takes: an unknown key, a key given twice, a wrong type.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Diagnostics> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_depth: MAX_DEPTH,
                flow_nesting_limit: MAX_DEPTH,
                max_nodes: MAX_YAML_NODES,
                max_events: 2 * MAX_YAML_NODES,
                max_documents: 2,
                max_anchors: 1000,
                max_aliases: 10_000,
                max_merge_keys: 10_000,
                max_recorded_anchor_events: 2 * MAX_YAML_NODES,
                max_recorded_anchor_bytes: 4 * MAX_BYTES,
                // One anchor used by each of 500 nodes is good style, not an attack; the replay limits bound the work.
                enforce_alias_anchor_ratio: false,
            },
            alias_limits: serde_saphyr::alias_limits! {
                max_total_replayed_events: 2 * MAX_YAML_NODES,
                max_replay_stack_depth: 8,
            },
            emit_comments: false,
            strict_booleans: true,
            leading_zero_numbers_as_strings: true,
            reject_unsupported_tags: true,
            with_snippet: false,
        };
        serde_saphyr::from_str_with_options(&self.text, options).map_err(|error| self.explain(&error).into())
    }

    /// Reads its YAML, one document, as Helm reads a values file.
    ///
    /// # Errors
    /// As of [`parse`](Self::parse).
    pub fn values(&self) -> Result<Map<String, Value>, Diagnostics> {
        self.parse::<Values>().map(|Values(values)| values)
    }

    /// An error at a place in it.
    pub fn error(&self, at: Position, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(&self.file, &self.text, at, message)
    }

    /// Nothing in it but comments.
    fn is_empty(&self) -> bool {
        self.text.lines().map(str::trim).all(|line| line.is_empty() || line == "---" || line.starts_with('#'))
    }

    /// The YAML library's error in this project's words.
    fn explain(&self, error: &YamlError) -> Diagnostic {
        let mut cause = error;
        while let YamlError::AliasError { error, .. } | YamlError::WithSnippet { error, .. } = cause {
            cause = error;
        }
        let (message, help) = explanation(cause, self.is_empty());
        let position = error.location().or(cause.location()).and_then(Position::of);
        let mut diagnostic = match position {
            Some(at) => self.error(at, message),
            None => Diagnostic::of_file(&self.file, message),
        };
        if let Some(help) = help {
            diagnostic.help(help);
        }
        diagnostic
    }
}

/// What is wrong, and what would be right.
fn explanation(error: &YamlError, empty: bool) -> (String, Option<String>) {
    let help = |text: &str| Some(text.to_owned());
    match error {
        YamlError::SerdeUnknownField { field, expected, .. } => {
            (format!("unknown key `{}`", shown(field)), Some(choices(field, "keys here", expected.iter().copied())))
        }
        YamlError::SerdeUnknownVariant { variant, expected, .. } => (
            format!("`{}` is not known here", shown(variant)),
            Some(choices(variant, "known here", expected.iter().copied())),
        ),
        YamlError::SerdeMissingField { field, .. } if empty => {
            (format!("the file is empty; at least `{field}` is needed"), None)
        }
        YamlError::SerdeMissingField { field, .. } => (format!("the key `{field}` is missing here"), None),
        YamlError::DuplicateMappingKey { key, .. } => (
            match key {
                Some(key) => format!("the key `{}` is given twice", shown(key)),
                None => "a key is given twice".to_owned(),
            },
            help("the same map has it further up: keep one of them"),
        ),
        YamlError::InvalidScalar { ty, .. } => {
            let expected = plainly(ty);
            let number = expected.contains("whole number");
            (format!("expected {expected}"), help("digits alone: no unit, no leading zero").filter(|_| number))
        }
        YamlError::InvalidBooleanStrict { .. } => {
            ("expected `true` or `false`".to_owned(), help("`yes`, `no`, `on` and `off` are plain words in YAML 1.2"))
        }
        YamlError::NullIntoString { .. } => (
            "there is no value here, and one is needed".to_owned(),
            help("if the word `null` or `~` itself is meant, put it in quotes"),
        ),
        YamlError::SerdeInvalidType { unexpected, expected, .. } => {
            (format!("expected {expected}, found {}", shown(&found(unexpected))), None)
        }
        YamlError::SerdeInvalidValue { unexpected, expected, .. } => {
            (format!("expected {expected}, found {}", shown(unexpected)), None)
        }
        YamlError::SerdeInvalidLength { len, expected, .. } => (format!("expected {expected}, found {len}"), None),
        YamlError::Unexpected { expected, .. } => (format!("expected {}", expectation(expected)), None),
        YamlError::Eof { .. } if empty => ("the file is empty".to_owned(), None),
        YamlError::Eof { .. } => ("the file ends too early".to_owned(), help("a quote or bracket may be left open")),
        YamlError::MultipleDocuments { .. } => {
            ("a second document starts here".to_owned(), help("one file holds one document: split it at the `---`"))
        }
        YamlError::UnknownAnchor { .. } => ("this alias names no anchor that stands before it".to_owned(), None),
        YamlError::Budget { .. }
        | YamlError::AliasReplayCounterOverflow { .. }
        | YamlError::AliasReplayLimitExceeded { .. }
        | YamlError::AliasExpansionLimitExceeded { .. }
        | YamlError::AliasReplayStackDepthExceeded { .. } => (
            "the file goes beyond what is read".to_owned(),
            Some(format!(
                "limits: {MAX_DEPTH} levels of nesting, {MAX_YAML_NODES} keys and values with aliases resolved, \
                 1000 anchors, 10000 aliases"
            )),
        ),
        YamlError::UnsupportedTag { tag, .. } => {
            (format!("the tag `{}` means nothing here", shown(tag)), help("leave it out"))
        }
        YamlError::Message { msg, .. } => (shown(msg), parser_help(msg)),
        other => {
            let rendered = other.render_with_options(serde_saphyr::render_options! {
                formatter: &serde_saphyr::UserMessageFormatter,
                snippets: serde_saphyr::SnippetMode::Off,
            });
            // The place is printed by us, once.
            let message = rendered.split(" at line ").next().unwrap_or(&rendered);
            (shown(message), parser_help(message))
        }
    }
}

/// What is usually behind the YAML parser's words.
fn parser_help(message: &str) -> Option<String> {
    let help = if message.contains("tabs disallowed") {
        "YAML is indented with spaces"
    } else if message.contains("expected key") {
        "is this line indented as far as the ones it belongs with?"
    } else if message.contains("expected ',' or") {
        "a bracket further up is still open"
    } else {
        return None;
    };
    Some(help.to_owned())
}

/// Rust's names of types, for people.
fn plainly(ty: &str) -> &str {
    match ty {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" | "u64" | "u128" | "usize" => "a whole number, not negative",
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => "a whole number",
        "f32" | "f64" => "a number",
        "bool" | "boolean" => "`true` or `false`",
        other => other,
    }
}

/// The parser's events, for people.
fn expectation(expected: &str) -> &str {
    match expected {
        "string scalar" | "scalar" => "a single value, not a list or a map",
        "mapping start" | "mapping" => "a map (`key: value`)",
        "sequence start" | "sequence" => "a list (`[a, b]`)",
        other => other,
    }
}

/// serde's words for what it found, for people.
fn found(unexpected: &str) -> String {
    match unexpected {
        "unit value" | "Option value" | "null" => "nothing".to_owned(),
        "sequence" => "a list".to_owned(),
        "map" => "a map".to_owned(),
        other => other.to_owned(),
    }
}

/// What a user wrote, for quoting in a message: shortened, control characters made visible.
pub fn shown(text: &str) -> String {
    const SHOWN: usize = 120;
    let end = text.char_indices().nth(SHOWN).map(|(offset, _)| offset);
    let mut out: String = escaped(&text[..end.unwrap_or(text.len())]).collect();
    if end.is_some() {
        out.push('…');
    }
    out
}

/// Control characters as Rust writes them, `\u{1b}`; all else as it is.
pub(crate) fn escaped(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(|c| {
        let (escape, plain) = if c.is_control() { (Some(c.escape_default()), None) } else { (None, Some(c)) };
        escape.into_iter().flatten().chain(plain)
    })
}

/// Collects what a validator finds wrong, so that all of it is reported at once.
#[derive(Debug)]
pub struct Mistakes<'a> {
    source: &'a Source,
    list: Vec<Diagnostic>,
    spare: Diagnostic,
}

impl<'a> Mistakes<'a> {
    /// None yet.
    pub fn new(source: &'a Source) -> Self {
        Self { source, list: Vec::new(), spare: Diagnostic::of_file("", "") }
    }

    /// The text it is about.
    pub fn source(&self) -> &'a Source {
        self.source
    }

    /// Whether any more would be thrown away: no need then to work out what would be right.
    pub fn is_full(&self) -> bool {
        self.list.len() >= MAX_MISTAKES
    }

    /// Adds one; help and related places can be added to what is returned.
    pub fn add(&mut self, at: Position, message: impl Into<String>) -> &mut Diagnostic {
        if self.is_full() {
            self.spare = Diagnostic::of_file("", "");
            return &mut self.spare;
        }
        self.list.push(self.source.error(at, message));
        self.list.last_mut().unwrap_or(&mut self.spare)
    }

    /// The value, if nothing was wrong.
    ///
    /// # Errors
    /// All that was.
    pub fn finish<T>(self, value: T) -> Result<T, Diagnostics> {
        match Diagnostics::from_list(self.list) {
            Some(diagnostics) => Err(diagnostics),
            None => Ok(value),
        }
    }
}
